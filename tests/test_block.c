/* tests/test_block.c: whole blocks on every device against lite-mamba's goldens and the float64 reference. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "host/model.h"
#include "host/reference_model.h"
#include "tests/support/goldens.h"
#include "tests/support/support.h"

TestSuite(block, .timeout = 600);

/* ---- goldens -------------------------------------------------------------------------------------------------------------- */

/* Of fresh blocks, as of goldens: float32 rounding, some 16 units in the last place of the largest value. */
static const double float64_tolerance = 2e-6;
/* lite-mamba computes in float32 too, in another order. */
static const double lite_mamba_tolerance = 1e-5;

static void expect_close(const char *name, const char *what, const float *got, const float *expected, size_t count,
                         double tolerance)
{
    const double error = lm_test_error_f32(got, expected, count);
    cr_expect(!!(error <= tolerance), "%s: %s: error %.3g over %.3g of max|reference|", name, what, error, tolerance);
}

/* Every slot's past, as saved, against lite-mamba's states after the same tokens. */
static void expect_state(const lm_test_golden *g, lm_state *state, uint32_t batch)
{
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    for (uint32_t b = 0; b < batch; b++) {
        cr_assert_eq(lm_state_save(state, b, path), LM_OK, "%s", lm_last_error());
        lm_tensor_set saved = {0};
        cr_assert_eq(lm_safetensors_open(path, &saved.file), LM_OK, "%s", lm_last_error());
        for (size_t i = 0; i < lm_tensor_set_count(&saved); i++) {
            const lm_tensor *tensor = lm_tensor_set_at(&saved, i), *expected_tensor;
            float *expected = lm_test_golden_values(g, tensor->name, &expected_tensor);
            float *got = malloc((size_t)tensor->nbytes);
            cr_assert_not_null(expected, "%s: no %s", g->name, tensor->name);
            cr_assert_eq(tensor->count * batch, expected_tensor->count, "%s: %s", g->name, tensor->name);
            cr_assert_eq(lm_tensor_read(tensor, got), LM_OK, "%s", lm_last_error());
            expect_close(g->name, tensor->name, got, expected + b * tensor->count, (size_t)tensor->count, lite_mamba_tolerance);
            free(expected);
            free(got);
        }
        lm_tensor_set_free(&saved);
    }
    free(path);
    lm_test_folder_remove(folder);
}

/* y token by token, from an empty state. */
static void run_steps(lm_model *model, lm_state *state, uint32_t batch, uint32_t length, const float *x, float *y)
{
    const size_t width = model->config.d_model;
    float *in = malloc(batch * width * sizeof *in), *out = malloc(batch * width * sizeof *out);
    for (uint32_t t = 0; t < length; t++) {
        for (uint32_t b = 0; b < batch; b++) memcpy(in + b * width, x + (b * length + t) * width, width * sizeof *in);
        cr_assert_eq(lm_block_forward(model, state, batch, 1, in, out), LM_OK, "%s", lm_last_error());
        for (uint32_t b = 0; b < batch; b++) memcpy(y + (b * length + t) * width, out + b * width, width * sizeof *in);
    }
    free(in);
    free(out);
}

static void check_golden(lm_device *device, const lm_test_golden *g)
{
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, g->folder, NULL, &model), LM_OK, "%s", lm_last_error());
    const lm_tensor *tensor, *other;
    float *x = lm_test_golden_values(g, "x", &tensor), *y32 = lm_test_golden_values(g, "y", &other),
          *y64 = lm_test_golden_values(g, "y64", &other);
    cr_assert(x != NULL && y32 != NULL && y64 != NULL, "%s: io.safetensors is incomplete", g->name);
    const uint32_t batch = (uint32_t)tensor->shape[0], length = (uint32_t)tensor->shape[1];
    const size_t count = (size_t)tensor->count;
    float *y = malloc(count * sizeof *y), *steps = malloc(count * sizeof *steps);

    cr_assert_eq(lm_block_forward(model, NULL, batch, length, x, y), LM_OK, "%s", lm_last_error());
    expect_close(g->name, "forward, float64", y, y64, count, g->tolerance);
    expect_close(g->name, "forward, lite-mamba", y, y32, count, lite_mamba_tolerance);

    if (length <= 64) {
        lm_state *state = NULL;
        cr_assert_eq(lm_state_create(model, batch, &state), LM_OK, "%s", lm_last_error());
        run_steps(model, state, batch, length, x, steps);
        const double apart = lm_test_error_f32(steps, y, count);
        cr_expect(!!(apart <= 1e-6), "%s on %s: steps are %.3g of max|y| from forward (which is %.3g from float64, they %.3g)", g->name,
                  device->info.id, apart, lm_test_error_f32(y, y64, count), lm_test_error_f32(steps, y64, count));
        cr_expect_eq(lm_state_position(state, 0), length);
        float *y_steps = lm_test_golden_values(g, "y_steps", &other);
        if (y_steps != NULL) {
            expect_close(g->name, "steps, lite-mamba's", steps, y_steps, count, lite_mamba_tolerance);
            expect_state(g, state, batch);
        }
        free(y_steps);

        /* two pieces with a state carried over, in place */
        cr_assert_eq(lm_state_reset(state), LM_OK, "%s", lm_last_error());
        if (batch == 1 && length > 1) {
            const uint32_t first = length / 3 + 1;
            memcpy(steps, x, count * sizeof *x);
            cr_assert_eq(lm_block_forward(model, state, 1, first, steps, steps), LM_OK, "%s", lm_last_error());
            float *rest = steps + (size_t)first * model->config.d_model;
            cr_assert_eq(lm_block_forward(model, state, 1, length - first, rest, rest), LM_OK, "%s", lm_last_error());
            expect_close(g->name, "two pieces against forward", steps, y, count, 1e-6);
        }
        lm_state_destroy(&state);
    }
    /* the same again, from the recorded pass: bit for bit */
    cr_assert_eq(lm_block_forward(model, NULL, batch, length, x, steps), LM_OK, "%s", lm_last_error());
    cr_expect_arr_eq(steps, y, count * sizeof *y, "%s: a second run differs", g->name);

    free(x);
    free(y32);
    free(y64);
    free(y);
    free(steps);
    lm_model_destroy(&model);
}

ParameterizedTestParameters(block, goldens) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, block, goldens)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_test_each_golden("index.txt", device, check_golden);
    lm_test_close(&device);
}

/* The float64 reference itself, against what lite-mamba computes in float64 (kept as float32). */
static void check_reference(lm_device *device, const lm_test_golden *g)
{
    (void)device;
    lm_reference_model *model = NULL;
    cr_assert_eq(lm_reference_model_load(g->folder, &model), LM_OK, "%s", lm_last_error());
    const lm_tensor *tensor, *other;
    float *x = lm_test_golden_values(g, "x", &tensor), *y64 = lm_test_golden_values(g, "y64", &other);
    const uint32_t length = (uint32_t)tensor->shape[1];
    const size_t count = (size_t)tensor->count, sequence = count / (size_t)tensor->shape[0];
    double *in = malloc(count * sizeof *in), *out = malloc(count * sizeof *out);
    for (size_t i = 0; i < count; i++) in[i] = (double)x[i];
    for (size_t b = 0; b < tensor->shape[0]; b++)
        cr_assert_eq(lm_reference_model_forward(model, length, in + b * sequence, out + b * sequence), LM_OK);
    const double error = lm_test_error(y64, out, count);
    cr_expect(!!(error <= 6e-8), "%s: the reference is %.3g from lite-mamba's float64 (kept as float32)", g->name, error);
    free(x);
    free(y64);
    free(in);
    free(out);
    lm_reference_model_destroy(&model);
}

Test(block, reference_goldens) { lm_test_each_golden("index.txt", NULL, check_reference); }

/* ---- a wide grid of fresh blocks ------------------------------------------------------------------------------------------ */

typedef struct shape {
    lm_config config;
    uint32_t batch, length;
} shape;

static const shape shapes[] = {
    {{.variant = LM_VARIANT_BASELINE, .d_model = 64}, 2, 100},
    {{.variant = LM_VARIANT_BASELINE, .d_model = 1, .expand = 1, .d_state = 1, .d_conv = 1}, 1, 1},
    {{.variant = LM_VARIANT_PTCN, .d_model = 96, .d_conv = 3, .branches = 4, .dilations = {1, 2, 4, 8}}, 2, 257},
    {{.variant = LM_VARIANT_PTCN, .d_model = 31, .d_conv = 5, .branches = 3, .dilations = {7, 1, 100}, .expand = 1.7, .bias = true}, 3, 61},
    {{.variant = LM_VARIANT_PTCN, .d_model = 40, .d_conv = 2, .branches = 32,
      .dilations = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}},
     1, 65},
    {{.variant = LM_VARIANT_STCN, .d_model = 48, .d_conv = 3, .branches = 3, .dilations = {1, 2, 4}, .d_state = 33}, 2, 130},
    {{.variant = LM_VARIANT_STCN, .d_model = 17, .d_conv = 4, .branches = 2, .dilations = {5, 64}, .no_conv_bias = true}, 1, 40},
    {{.variant = LM_VARIANT_DPWC, .d_model = 32, .d_conv = 3, .branches = 3, .dilations = {1, 2, 4}}, 2, 129},
    {{.variant = LM_VARIANT_DPWC, .d_model = 13, .d_conv = 7, .branches = 5, .dilations = {3, 1, 9, 2, 1}, .dt_rank = 5, .d_state = 100}, 1, 77},
    {{.variant = LM_VARIANT_PTCN, .d_model = 128, .d_conv = 3, .branches = 2, .dilations = {1, 16}, .d_state = 256}, 1, 300},
    {{.variant = LM_VARIANT_BASELINE, .d_model = 16}, 67, 3},
    {{.variant = LM_VARIANT_PTCN, .d_model = 8, .d_conv = 3, .branches = 2, .dilations = {1, 512}}, 1, 5000},
    /* over the 65535 iterations after which llvmpipe ends a loop */
    {{.variant = LM_VARIANT_BASELINE, .d_model = 32, .d_state = 2}, 1, 70000},
};

static void check_shape_row(lm_device *device, const shape *s, uint64_t seed, uint64_t workspace)
{
    char name[128];
    lm_config config = s->config;
    cr_assert_eq(lm_config_complete(&config), LM_OK, "%s", lm_last_error());
    snprintf(name, sizeof name, "%s d_model=%u d_state=%u d_conv=%u branches=%u batch=%u length=%u", lm_variant_name(config.variant),
             config.d_model, config.d_state, config.d_conv, config.branches, s->batch, s->length);
    lm_tensor_set set = {0};
    lm_model *model = NULL;
    lm_reference_model *reference = NULL;
    cr_assert_eq(lm_init_tensors(&config, &(lm_init_params){.seed = seed}, &set), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_model_create(device, &config, &set, &(lm_model_params){.workspace_bytes = workspace}, &model), LM_OK, "%s: %s",
                 name, lm_last_error());
    cr_assert_eq(lm_reference_model_create(&config, &set, &reference), LM_OK, "%s", lm_last_error());

    const size_t sequence = (size_t)s->length * config.d_model, count = s->batch * sequence;
    float *x = malloc(count * sizeof *x), *y = malloc(count * sizeof *y);
    double *in = malloc(count * sizeof *in), *out = malloc(count * sizeof *out);
    lm_test_random random = {seed};
    lm_test_fill(&random, x, count, -1.7, 1.7);
    for (size_t i = 0; i < count; i++) in[i] = (double)x[i];
    for (uint32_t b = 0; b < s->batch; b++)
        cr_assert_eq(lm_reference_model_forward(reference, s->length, in + b * sequence, out + b * sequence), LM_OK);
    for (size_t i = 0; i < count; i++) y[i] = NAN;
    cr_assert_eq(lm_block_forward(model, NULL, s->batch, s->length, x, y), LM_OK, "%s: %s", name, lm_last_error());
    const double error = lm_test_error(y, out, count);
    cr_expect(!!(error <= float64_tolerance), "%s (seed %llu, workspace %llu): error %.3g of max|y|", name, (unsigned long long)seed,
              (unsigned long long)workspace, error);
    free(x);
    free(y);
    free(in);
    free(out);
    lm_reference_model_destroy(&reference);
    lm_model_destroy(&model);
    lm_tensor_set_free(&set);
}

ParameterizedTestParameters(block, shapes) { return lm_test_targets(); }

/* With workspace for everything, and with so little that sequences and batches are cut into many passes. */
ParameterizedTest(lm_test_target *target, block, shapes)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_shape_row(device, &shapes[i], lm_test_seed() + i, 0);
        if (shapes[i].length < 1000) check_shape_row(device, &shapes[i], lm_test_seed() + i, 65536);
    }
    lm_test_close(&device);
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(block, calls) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, block, calls)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create();
    const lm_config config = {.variant = LM_VARIANT_PTCN, .d_model = 8, .d_conv = 3, .branches = 2, .dilations = {1, 4}};
    cr_assert_eq(lm_model_init(folder, &config, NULL), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_model_init(folder, &config, NULL), LM_ERROR_IO, "a folder with a model was written over");
    lm_model *model = NULL, *other = NULL;
    lm_state *state = NULL;
    cr_assert_eq(lm_model_load(device, folder, NULL, &model), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_model_load(device, folder, NULL, &other), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_state_create(model, 2, &state), LM_OK, "%s", lm_last_error());
    float x[2 * 3 * 8] = {1.0f}, y[2 * 3 * 8], again[2 * 3 * 8];

    /* no tokens: legal, and nothing changes */
    cr_expect_eq(lm_block_forward(model, state, 2, 0, NULL, NULL), LM_OK);
    cr_expect_eq(lm_block_forward(model, NULL, 0, 5, NULL, NULL), LM_OK);
    cr_expect_eq(lm_state_position(state, 0), 0);
    /* what is refused changes nothing either */
    cr_expect_eq(lm_block_forward(model, state, 1, 3, x, y), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_block_forward: a batch of 1 does not match a state of 2 slots");
    cr_expect_eq(lm_block_forward(other, state, 2, 3, x, y), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_block_forward: the state is of another model");
    cr_expect_eq(lm_block_forward(model, state, 2, 3, NULL, y), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_model_run(model, state, &(lm_run_params){.batch = 2}), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_state_position(state, 0), 0);

    cr_assert_eq(lm_block_forward(model, state, 2, 3, x, y), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_state_position(state, 1), 3);
    cr_assert_eq(lm_state_reset(state), LM_OK);
    cr_assert_eq(lm_block_forward(model, state, 2, 3, x, again), LM_OK);
    cr_expect_arr_eq(again, y, sizeof y, "a reset state is not an empty one");
    cr_assert_eq(lm_block_forward(model, NULL, 2, 3, x, again), LM_OK);
    cr_expect_arr_eq(again, y, sizeof y, "no state is not an empty one");

    /* NaN in: NaN out, from its token on, in its sequence only */
    x[8] = NAN;
    cr_assert_eq(lm_block_forward(model, NULL, 2, 3, x, again), LM_OK);
    cr_expect_arr_eq(again, y, 8 * sizeof *y, "NaN went back in time");
    cr_expect(isnan(again[8]) && isnan(again[16]), "NaN was lost");
    cr_expect_arr_eq(again + 24, y + 24, 24 * sizeof *y, "NaN went into another sequence");

    lm_state_destroy(&state);
    lm_model_destroy(&model);
    lm_model_destroy(&other);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

/* The same seed gives the same bytes, and these are known: a checksum that every machine must find. */
Test(block, fresh_weights_are_the_same_everywhere)
{
    const lm_config config = {.variant = LM_VARIANT_DPWC, .d_model = 24, .d_conv = 3, .branches = 2, .dilations = {1, 4}, .bias = true};
    lm_config complete = config;
    cr_assert_eq(lm_config_complete(&complete), LM_OK);
    lm_tensor_set set = {0};
    cr_assert_eq(lm_init_tensors(&complete, &(lm_init_params){.seed = 7}, &set), LM_OK);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < set.count; i++)
        for (uint64_t j = 0; j < set.tensors[i].count; j++) {
            uint32_t bits;
            memcpy(&bits, (const float *)set.tensors[i].data + j, sizeof bits);
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
    cr_expect_eq(hash, UINT64_C(0x609ea24d87e46457), "checksum %#llx", (unsigned long long)hash);

    /* and they are what spec.md says */
    for (size_t i = 0; i < set.count; i++) {
        const lm_tensor *t = &set.tensors[i];
        const float *v = t->data;
        for (uint64_t j = 0; j < t->count; j++) {
            if (strcmp(t->name, "A_log") == 0) cr_assert(fabs((double)v[j] - log((double)(j % 16 + 1))) < 1e-6);
            if (strcmp(t->name, "D") == 0 || strcmp(t->name, "conv_gates") == 0) cr_assert_eq(v[j], 1.0f);
            if (strcmp(t->name, "in_proj.weight") == 0) cr_assert(fabs((double)v[j]) <= 1.0 / sqrt(24.0));
            if (strcmp(t->name, "dt_proj.bias") == 0) {
                const double dt = log1p(exp((double)v[j]));
                cr_assert(dt >= 0.99999e-3 && dt <= 1.00001e-1, "dt %g", dt);
            }
        }
    }
    lm_tensor_set_free(&set);
}
