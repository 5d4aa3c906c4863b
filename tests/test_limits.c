/* tests/test_limits.c: calls and models at the edges of what sizes, devices and memory allow. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/model.h"
#include "host/sample.h"
#include "tests/support/models.h"
#include "tests/support/support.h"

TestSuite(limits, .timeout = 300);

static lm_model *create_model(lm_device *device, const lm_config *config, const lm_model_params *params)
{
    return lm_test_create_model(device, config, 0, params);
}

static const lm_config small_language_model = {
    .variant = LM_VARIANT_STCN,
    .d_model = 12,
    .d_conv = 3,
    .branches = 2,
    .dilations = {1, 3},
    .layers = 2,
    .vocab_size = 300,
};

/* ---- states ----------------------------------------------------------------------------------------------------- */

/* 256 slots of a ring of 2^24 + 1 are 2^32 + 256 entries: in 32 bits that would be a buffer for 256. */
Test(limits, state_sizes_do_not_wrap)
{
    lm_device *device = lm_test_open("cpu", 0);
    const lm_config config = {.variant = LM_VARIANT_PTCN,
                              .d_model = 1,
                              .expand = 1,
                              .d_state = 1,
                              .d_conv = 257,
                              .branches = 1,
                              .dilations = {65536}};
    lm_model *model = create_model(device, &config, NULL);
    lm_state *state = NULL;
    device->info.memory_bytes = UINT64_C(1) << 32;
    cr_expect_eq(lm_state_create(model, 256, &state), LM_ERROR_OUT_OF_DEVICE_MEMORY);
    cr_expect_str_eq(lm_last_error(),
                     "lm_state_create: 256 slots of 67108872 bytes are over the memory of cpu, which holds 63");
    cr_expect_null(state);
    cr_expect_eq(lm_state_create(model, UINT32_MAX, &state), LM_ERROR_OUT_OF_DEVICE_MEMORY);
    device->info.max_binding_bytes = 1 << 20;
    cr_expect_eq(lm_state_create(model, 1, &state), LM_ERROR_OUT_OF_DEVICE_MEMORY);
    cr_expect_str_eq(lm_last_error(), "lm_state_create: one slot of 67108872 bytes a block is over the limits of cpu");
    cr_expect_eq(model->state_count, 0);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* Recorded passes point into their state, the workspace and the model's own state: each may go or be replaced. */
ParameterizedTestParameters(limits, replaced_objects) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, limits, replaced_objects)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_model *model = create_model(device, &small_language_model, NULL);
    enum { VOCAB = 300 };
    int32_t tokens[64];
    for (int32_t i = 0; i < 64; i++) tokens[i] = i * 7 % VOCAB;
    float first[VOCAB], again[VOCAB], step[VOCAB], *many = malloc(64 * VOCAB * sizeof *many);
    lm_run_params run = {.batch = 1, .length = 5, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = first};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());

    /* states one after the other, likely at one address; more of them than passes are kept */
    lm_state *states[LM_PASS_CACHE + 2] = {NULL};
    const lm_run_params one = {.batch = 1, .length = 1, .tokens = tokens + 4, .kind = LM_OUTPUT_LAST, .output = step};
    const lm_run_params four = {.batch = 1, .length = 4, .tokens = tokens, .kind = LM_OUTPUT_NONE};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
            cr_assert_eq(lm_state_create(model, 1, &states[i]), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_model_run(model, states[i], &four), LM_OK, "%s", lm_last_error());
        }
        for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
            cr_assert_eq(lm_model_run(model, states[i], &one), LM_OK, "%s", lm_last_error());
            const double error = lm_test_error_f32(step, first, VOCAB);
            cr_expect(!!(error <= 2e-6), "state %zu, round %d: %.3g of max|logits|", i, round, error);
            lm_state_destroy(&states[i]);
        }
    }
    /* a larger workspace and a larger scratch state, then the first call again */
    run = (lm_run_params){.batch = 4, .length = 16, .tokens = tokens, .kind = LM_OUTPUT_ALL, .output = many};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    run = (lm_run_params){.batch = 1, .length = 5, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = again};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    cr_expect_arr_eq(again, first, sizeof first, "the first call's result changed");
    free(many);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* ---- workspaces ------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(limits, wide_batches) { return lm_test_targets(); }

/* A wide batch of one token each: logits and states of all sequences at once would be over the workspace and a binding. */
ParameterizedTest(lm_test_target *target, limits, wide_batches)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    enum { BATCH = 500, VOCAB = 300, LIMIT = 1 << 17 };
    device->info.max_binding_bytes = 1 << 15;
    device->info.max_allocation_bytes = 1 << 18;
    lm_model *model = create_model(device, &small_language_model, &(lm_model_params){.workspace_bytes = LIMIT});
    int32_t tokens[BATCH], likeliest[BATCH];
    for (int32_t i = 0; i < BATCH; i++) tokens[i] = i % 7;
    float *last = malloc(BATCH * VOCAB * sizeof *last);
    lm_run_params run = {.batch = BATCH, .length = 1, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = last};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    run.kind = LM_OUTPUT_ARGMAX;
    run.output = likeliest;
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    cr_expect_leq(lm_buffer_size(model->workspace), LIMIT);
    cr_expect_leq(lm_state_slot_bytes(model->scratch) * model->scratch->slots, LIMIT);
    for (size_t b = 7; b < BATCH; b++) {
        const double error = lm_test_error_f32(last + b * VOCAB, last + b % 7 * VOCAB, VOCAB);
        cr_expect(!!(error <= 1e-6), "sequence %zu differs from sequence %zu by %.3g", b, b % 7, error);
        cr_expect_eq(likeliest[b], likeliest[b % 7]);
    }
    free(last);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* Every call fits: the workspace and each part of it that a kernel binds, or one row is too much already. */
Test(limits, calls_fit_the_device)
{
    lm_device *device = lm_test_open("cpu", 0);
    device->info.type = LM_DEVICE_DISCRETE; /* with chunked scans and short submissions, of which nothing is run */
    static const lm_config configs[] = {
        {.variant = LM_VARIANT_BASELINE, .d_model = 3, .d_state = 256},
        {.variant = LM_VARIANT_DPWC, .d_model = 8, .branches = 32, .d_conv = 2},
        {.variant = LM_VARIANT_STCN, .d_model = 24, .branches = 3, .d_state = 100, .expand = 1},
        {.variant = LM_VARIANT_BASELINE, .d_model = 4, .layers = 1, .vocab_size = 5000},
    };
    static const uint32_t sizes[] = {1, 2, 31, 64, 700, 65536, UINT32_MAX};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        lm_model *model = create_model(device, &configs[i], NULL);
        lm_state *state = NULL;
        cr_assert_eq(lm_state_create(model, 1, &state), LM_OK, "%s", lm_last_error());
        for (uint32_t j = 0; j < SIZES * SIZES * 5 * 2; j++) {
            const uint32_t batch = sizes[j % SIZES], length = sizes[j / SIZES % SIZES];
            const lm_output kind = configs[i].layers > 0 ? (lm_output)(j / SIZES / SIZES % 5) : LM_OUTPUT_NONE;
            uint32_t b, rows;
            model->workspace_limit = UINT64_C(64) << 20;
            lm_pass_limits(model, kind, j % 2, batch, &b, &rows);
            cr_assert(b >= 1 && b <= batch && rows >= 1 && rows <= 65535 && b <= rows);
            const uint32_t l = length < rows / b ? length : rows / b;
            lm_block_workspace w;
            uint64_t offset = 0;
            lm_block_plan(model, &(lm_pass_key){.state = state, .pieces = b, .rows = b * l, .longest = l, .kind = kind}, NULL, &offset, &w);
            const lm_view views[] = {w.xz, w.conv[0], w.conv[1], w.wide, w.bcdt, w.delta, w.y, w.summary, w.total};
            for (size_t v = 0; v < sizeof views / sizeof *views; v++)
                cr_assert(views[v].size <= device->info.max_binding_bytes, "part %zu of %u x %u", v, b, l);
            const bool by_row = kind == LM_OUTPUT_ALL || kind == LM_OUTPUT_LOSS;
            const uint64_t logits = by_row ? (uint64_t)b * l : kind != LM_OUTPUT_NONE ? b : 0;
            offset += 4 * (2 * (uint64_t)b * l * model->config.d_model + logits * model->config.vocab_size);
            cr_assert(offset <= model->workspace_limit, "config %zu, %u x %u: %llu bytes", i, b, l,
                      (unsigned long long)offset);
        }
        lm_state_destroy(&state);
        lm_model_destroy(&model);
    }
    device->info.type = LM_DEVICE_CPU;
    lm_test_close(&device);
}

/* ---- weights ---------------------------------------------------------------------------------------------------- */

/* Weights are gathered into buffers, of which none may be over the device's largest allocation. */
ParameterizedTestParameters(limits, small_allocations) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, limits, small_allocations)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const uint64_t allocation = device->info.max_allocation_bytes;
    int32_t tokens[9] = {5, 299, 0, 1, 1, 17, 256, 255, 254};
    float whole[300], cut[300];
    lm_run_params run = {.batch = 1, .length = 9, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = whole};
    lm_model *model = create_model(device, &small_language_model, NULL);
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    lm_model_destroy(&model);

    device->info.max_allocation_bytes = device->info.max_binding_bytes = 5000;
    model = create_model(device, &small_language_model, NULL);
    cr_expect_gt(model->buffer_count, 4);
    device->info.max_allocation_bytes = allocation;
    run.output = cut;
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    const double error = lm_test_error_f32(cut, whole, 300);
    cr_expect(!!(error <= 2e-6), "%.3g of max|logits|", error);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* What cannot be cut is refused when the model is loaded, with its size, and not when it first runs. */
Test(limits, arrays_over_a_binding)
{
    lm_device *device = lm_test_open("cpu", 0);
    device->info.max_binding_bytes = 4096;
    const lm_config config = {.variant = LM_VARIANT_PTCN, .d_model = 16, .d_conv = 40, .branches = 2, .dilations = {1, 1}};
    lm_config complete = config;
    lm_tensor_set set = {0};
    lm_model *model = NULL;
    cr_assert_eq(lm_config_complete(&complete), LM_OK);
    cr_assert_eq(lm_init_tensors(&complete, NULL, &set), LM_OK);
    cr_expect_eq(lm_model_create(device, &complete, &set, NULL, &model), LM_ERROR_OUT_OF_DEVICE_MEMORY);
    cr_expect_str_eq(lm_last_error(), "weights: an array of 10528 bytes is over cpu's limit of 4096 for one binding");
    cr_expect_null(model);
    lm_tensor_set_free(&set);
    lm_test_close(&device);
}

/* The reach (d_conv − 1)·dilation could be 65535·65536, and the ring as long. */
Test(limits, reach)
{
    lm_config config = {.variant = LM_VARIANT_STCN, .d_model = 1, .d_conv = 65536, .branches = 2, .dilations = {1, 65536}};
    cr_expect_eq(lm_config_complete(&config), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "dilations[1] reaches back 4294901760 tokens, over 16777216");
}

/* ---- fresh models ----------------------------------------------------------------------------------------------- */

/* Steps so small that 1 − e^−Δ has no bits left: the bias is ln Δ all the same. */
Test(limits, tiny_steps)
{
    lm_config config = {.variant = LM_VARIANT_BASELINE, .d_model = 8};
    cr_assert_eq(lm_config_complete(&config), LM_OK);
    lm_tensor_set set = {0};
    const lm_init_params params = {.dt_min = 1e-20, .dt_max = 1e-18, .dt_init_floor = 1e-30};
    cr_assert_eq(lm_init_tensors(&config, &params, &set), LM_OK, "%s", lm_last_error());
    const lm_tensor *bias = lm_tensor_set_find(&set, "dt_proj.bias");
    for (uint64_t i = 0; i < bias->count; i++) {
        const float value = ((const float *)bias->data)[i];
        cr_expect(value >= -46.06f && value <= -41.44f, "%g is no logarithm of a step", (double)value);
    }
    lm_tensor_set_free(&set);
}

Test(limits, failed_init_leaves_nothing)
{
    char *parent = lm_test_folder_create(), *folder = lm_test_join(parent, "model");
    const lm_config config = {.variant = LM_VARIANT_BASELINE, .d_model = 8};
    cr_expect_eq(lm_model_init(folder, &config, &(lm_init_params){.dt_min = -1}), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(access(folder, F_OK), -1, "a folder was left behind");
    cr_expect_eq(lm_model_init(folder, &config, NULL), LM_OK, "%s", lm_last_error());
    free(folder);
    lm_test_folder_remove(parent);
}

/* ---- NaN -------------------------------------------------------------------------------------------------------- */

/* One NaN among weights is an error that no later, finite difference covers up. */
Test(limits, measured_error_of_nan)
{
    lm_device *device = lm_test_open("cpu", 0);
    char *folder = lm_test_folder_create();
    cr_assert_eq(lm_model_init(folder, &small_language_model, NULL), LM_OK, "%s", lm_last_error());
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, folder, NULL, &model), LM_OK, "%s", lm_last_error());
    const int32_t tokens[3] = {1, 2, 3};
    double error = NAN;
    cr_assert_eq(lm_verify_model(model, folder, tokens, 3, &error), LM_OK, "%s", lm_last_error());
    cr_expect(!!(error <= 1e-6), "%g", error);
    /* tied: token 4's embedding is no input here, but a column of every row of logits, in front of finite ones */
    const float nan_value = NAN;
    const lm_matrix_piece *piece = &model->embeddings.pieces[0];
    const uint64_t place = piece->view.offset + 4 * 12 * sizeof(float);
    cr_assert_eq(lm_buffer_upload(piece->view.buffer, place, &nan_value, sizeof nan_value), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_verify_model(model, folder, tokens, 3, &error), LM_OK, "%s", lm_last_error());
    cr_expect(isnan(error), "a NaN was lost: %g", error);
    lm_model_destroy(&model);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(limits, fork) { return lm_test_targets(); }

/* In a forked child every call says that the device is lost, and destroying everything neither hangs nor fails. */
ParameterizedTest(lm_test_target *target, limits, fork)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_context *context = lm_test_context();
    lm_model *model = create_model(device, &small_language_model, NULL);
    lm_state *state = NULL;
    cr_assert_eq(lm_state_create(model, 1, &state), LM_OK, "%s", lm_last_error());
    const int32_t token = 3;
    int32_t next = -1;
    const lm_run_params run = {.batch = 1, .length = 1, .tokens = &token, .kind = LM_OUTPUT_ARGMAX, .output = &next};
    cr_assert_eq(lm_model_run(model, state, &run), LM_OK, "%s", lm_last_error());
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        alarm(60);
        bool lost = lm_model_run(model, state, &run) == LM_ERROR_DEVICE_LOST;
        lost &= lm_model_run(model, NULL, &run) == LM_ERROR_DEVICE_LOST;
        lost &= lm_state_copy(state, 0, state, 0) == LM_OK; /* nothing to do */
        lm_device *another = NULL;
        lost &= lm_device_open(context, target->backend, NULL, &another) == LM_ERROR_DEVICE_LOST;
        lm_state_destroy(&state);
        lm_model_destroy(&model);
        lm_device_destroy(&device);
        lm_context_destroy(&context);
        _exit(lost ? 0 : 1);
    }
    int result = -1;
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_expect(WIFEXITED(result) && WEXITSTATUS(result) == 0, "the child ended with %#x", (unsigned)result);
    cr_expect_eq(lm_model_run(model, state, &run), LM_OK, "%s", lm_last_error());
    lm_state_destroy(&state);
    lm_model_destroy(&model);
    lm_test_close(&device);
}
