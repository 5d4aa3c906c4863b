/* tests/test_sessions.c: states of many slots: more than one binding can hold, what they cost, and calls that fail midway. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"
#include "tests/support/models.h"
#include "tests/support/support.h"

TestSuite(sessions, .timeout = 600);

enum { WIDTH = 20, VOCAB = 40 };

static const lm_config block = {.variant = LM_VARIANT_STCN, .d_model = WIDTH, .d_conv = 3, .branches = 2, .dilations = {4, 1}};
static const lm_config language = {.variant = LM_VARIANT_PTCN, .d_model = WIDTH, .branches = 2, .dilations = {1, 3}, .layers = 2,
                                   .vocab_size = VOCAB};

/* ---- banks ---------------------------------------------------------------------------------------------------------------- */

enum { SLOTS = 11, COUNT = 7, ROWS = 40 };

/* A state whose slots lie in four banks, as if a binding held no more than three. */
static lm_state *create_banks(lm_model *model, uint32_t rollback)
{
    lm_device_info *info = &model->device->info;
    const lm_device_info whole = *info;
    const uint64_t scan = (uint64_t)model->config.d_state * model->d_inner * sizeof(float) * (rollback + 1);
    lm_state *state = NULL;
    info->max_binding_bytes = 3 * scan + scan / 2;
    cr_assert_eq(lm_state_create_with(model, &(lm_state_params){SLOTS, rollback}, &state), LM_OK, "%s", lm_last_error());
    *info = whole;
    cr_expect_eq(state->bank_count, 4);
    cr_expect_eq(state->bank_slots, 3);
    return state;
}

/* Packed calls over slots of all banks, in an order that has nothing to do with theirs, forks and rollbacks from bank to bank: all as
 * in a state of one bank, bit for bit in deterministic mode. */
static void check_banks(lm_device *device, bool deterministic, uint64_t workspace)
{
    static const uint32_t slots[COUNT] = {10, 0, 4, 3, 9, 5, 8}, lengths[COUNT] = {5, 3, 0, 12, 1, 9, 2};
    const double tolerance = deterministic ? 0.0 : 1e-6;
    lm_model *model = lm_test_create_model(device, &block, 3, &(lm_model_params){.deterministic = deterministic, .workspace_bytes = workspace});
    lm_state *banks = create_banks(model, 2), *one = NULL;
    cr_assert_eq(lm_state_create_with(model, &(lm_state_params){SLOTS, 2}, &one), LM_OK, "%s", lm_last_error());
    cr_expect_eq(one->bank_count, 1);
    cr_expect_eq(lm_state_slot_bytes(banks), lm_state_slot_bytes(one));
    float x[ROWS * WIDTH], y[ROWS * WIDTH], expected[ROWS * WIDTH];
    lm_test_random random = {lm_test_seed()};
    for (int round = 0; round < 6; round++) {
        uint32_t offsets[COUNT + 1] = {0}, used[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            offsets[i + 1] = offsets[i] + (round == 2 ? 1 : lengths[(i + (uint32_t)round) % COUNT]);
            used[i] = slots[(i * 3 + (uint32_t)round) % COUNT];
        }
        const lm_sequences sequences = {COUNT, offsets, used};
        const size_t values = offsets[COUNT] * WIDTH;
        lm_test_fill(&random, x, values, -1.5, 1.5);
        cr_assert_eq(lm_block_forward_packed(model, banks, &sequences, x, y), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_block_forward_packed(model, one, &sequences, x, expected), LM_OK, "%s", lm_last_error());
        const double error = lm_test_error_f32(y, expected, values);
        cr_expect(!!(error <= tolerance), "round %d: %.3g of max|y|", round, error);
        lm_state *const both[] = {banks, one};
        for (size_t i = 0; i < 2; i++) {
            cr_assert_eq(lm_state_copy(both[i], slots[round], both[i], slots[round + 1]), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_state_copy(both[i], 7, banks, 10), LM_OK, "%s", lm_last_error());
            if (round == 2) cr_assert_eq(lm_state_rollback(both[i], 9, 1), LM_OK, "%s", lm_last_error());
        }
        for (uint32_t s = 0; s < SLOTS; s++) cr_expect_eq(lm_state_position(banks, s), lm_state_position(one, s), "slot %u", s);
    }
    /* a batch of all slots */
    lm_test_fill(&random, x, SLOTS * 3 * WIDTH, -1.5, 1.5);
    cr_assert_eq(lm_block_forward(model, banks, SLOTS, 3, x, y), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_block_forward(model, one, SLOTS, 3, x, expected), LM_OK, "%s", lm_last_error());
    const double error = lm_test_error_f32(y, expected, SLOTS * 3 * WIDTH);
    cr_expect(!!(error <= tolerance), "all slots: %.3g of max|y|", error);
    lm_state_destroy(&banks);
    lm_state_destroy(&one);
    lm_model_destroy(&model);
}

ParameterizedTestParameters(sessions, banks) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, sessions, banks)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    check_banks(device, false, 0);
    check_banks(device, true, 0);
    check_banks(device, true, 40000); /* in passes of few rows */
    lm_test_close(&device);
}

ParameterizedTestParameters(sessions, banks_of_tokens) { return lm_test_targets(); }

/* What sequences have one of goes to the right one of them, whatever the bank; snapshots go from bank to bank. */
ParameterizedTest(lm_test_target *target, sessions, banks_of_tokens)
{
    static const uint32_t slots[COUNT] = {10, 0, 4, 3, 9, 5, 8}, offsets[COUNT + 1] = {0, 2, 5, 6, 16, 17, 30, 35};
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    lm_model *model = lm_test_create_model(device, &language, 3, &(lm_model_params){.deterministic = true});
    lm_state *banks = create_banks(model, 0), *one = NULL;
    cr_assert_eq(lm_state_create(model, SLOTS, &one), LM_OK, "%s", lm_last_error());
    int32_t tokens[ROWS], likeliest[COUNT], expected_likeliest[COUNT];
    lm_test_random random = {lm_test_seed()};
    for (size_t i = 0; i < ROWS; i++) tokens[i] = (int32_t)(lm_test_next(&random) % VOCAB);
    float y[ROWS * VOCAB], expected[ROWS * VOCAB];
    const lm_sequences sequences = {COUNT, offsets, slots};
    static const lm_output kinds[] = {LM_OUTPUT_ALL, LM_OUTPUT_LAST, LM_OUTPUT_LOSS, LM_OUTPUT_ARGMAX};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const bool argmax = kinds[k] == LM_OUTPUT_ARGMAX;
        const size_t values = kinds[k] == LM_OUTPUT_ALL ? 35 * VOCAB : kinds[k] == LM_OUTPUT_LAST ? COUNT * VOCAB : 35;
        lm_run_params run = {.sequences = &sequences, .tokens = tokens, .targets = tokens + 1, .kind = kinds[k],
                             .output = argmax ? (void *)likeliest : (void *)y};
        cr_assert_eq(lm_model_run(model, banks, &run), LM_OK, "%s", lm_last_error());
        run.output = argmax ? (void *)expected_likeliest : (void *)expected;
        cr_assert_eq(lm_model_run(model, one, &run), LM_OK, "%s", lm_last_error());
        if (argmax)
            cr_expect_arr_eq(likeliest, expected_likeliest, sizeof likeliest);
        else
            cr_expect_arr_eq(y, expected, values * sizeof *y, "kind %d differs", (int)kinds[k]);
    }
    cr_assert_eq(lm_state_save(banks, 9, path), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_state_load(banks, 1, path), LM_OK, "%s", lm_last_error());
    const uint32_t two[] = {1, 9}, ends[] = {0, 5, 10};
    const lm_sequences same = {2, ends, two};
    memcpy(tokens + 5, tokens, 5 * sizeof *tokens);
    const lm_run_params run = {.sequences = &same, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = y};
    cr_assert_eq(lm_model_run(model, banks, &run), LM_OK, "%s", lm_last_error());
    cr_expect_arr_eq(y, y + VOCAB, VOCAB * sizeof *y, "a slot loaded into another bank goes on otherwise");
    lm_state_destroy(&banks);
    lm_state_destroy(&one);
    lm_model_destroy(&model);
    free(path);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

/* ---- what slots cost ------------------------------------------------------------------------------------------------------ */

static uint64_t weight_bytes(const lm_model *model)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->buffer_count; i++) bytes += lm_buffer_size(model->buffers[i]);
    return bytes;
}

ParameterizedTestParameters(sessions, memory) { return lm_test_targets(); }

/* All that is allocated on the device is weights, slots, the workspace, and little for each shape that was run. */
ParameterizedTest(lm_test_target *target, sessions, memory)
{
    enum { THOUSAND = 1000, BATCH = 64, FOLDER_VOCAB = 256 };
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_join(lm_test_models_dir(), "jargon");
    lm_model_info info;
    lm_model *model = NULL;
    lm_state *state = NULL;
    cr_assert_eq(lm_device_allocated_bytes(device), 0);
    cr_assert_eq(lm_model_inspect(folder, &info), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_model_load(device, folder, NULL, &model), LM_OK, "%s", lm_last_error());
    const uint64_t weights = lm_device_allocated_bytes(device);
    cr_expect_eq(weights, weight_bytes(model));
    cr_expect(weights >= info.device_bytes && (double)weights <= 1.05 * (double)info.device_bytes, "weights: %llu bytes for %llu",
              (unsigned long long)weights, (unsigned long long)info.device_bytes);
    cr_assert_eq(lm_state_create(model, THOUSAND, &state), LM_OK, "%s", lm_last_error());
    const uint64_t slots = THOUSAND * info.state_bytes, with_state = lm_device_allocated_bytes(device) - weights;
    const uint64_t padding = (uint64_t)model->block_count * model->rings * device->info.binding_alignment * state->bank_count;
    cr_expect_eq(lm_state_slot_bytes(state), info.state_bytes);
    cr_expect(with_state >= slots && with_state <= slots + padding, "slots: %llu bytes for %llu", (unsigned long long)with_state,
              (unsigned long long)slots);
    /* prompts and steps in slots from everywhere */
    int32_t tokens[BATCH * 3], next[BATCH];
    uint32_t used[BATCH], offsets[2][BATCH + 1];
    for (uint32_t i = 0; i < BATCH * 3; i++) tokens[i] = (int32_t)(i * 7 % FOLDER_VOCAB);
    for (uint32_t i = 0; i <= BATCH; i++) offsets[0][i] = 3 * i, offsets[1][i] = i;
    for (uint32_t i = 0; i < BATCH; i++) used[i] = i * 15 + 31;
    static const uint32_t counts[] = {BATCH, 8, 1, BATCH, 8, 1};
    uint64_t after_one = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            const lm_sequences sequences = {counts[k], offsets[k / 3], used};
            const lm_run_params run = {.sequences = &sequences, .tokens = tokens, .kind = LM_OUTPUT_ARGMAX, .output = next};
            cr_assert_eq(lm_model_run(model, state, &run), LM_OK, "%s", lm_last_error());
        }
        const uint64_t now = lm_device_allocated_bytes(device);
        if (round == 1) after_one = now;
        if (round == 2) cr_expect_eq(now, after_one, "memory grows from call to call");
    }
    const uint64_t workspace = lm_buffer_size(model->workspace), all = lm_device_allocated_bytes(device);
    cr_expect_leq(workspace, UINT64_C(256) << 20);
    const uint64_t expected = slots + info.device_bytes + workspace;
    cr_expect(all >= expected && (double)all <= 1.05 * (double)expected, "%llu bytes where %llu are expected",
              (unsigned long long)all, (unsigned long long)expected);
    lm_state_destroy(&state);
    cr_expect_leq(lm_device_allocated_bytes(device), weights + workspace);
    lm_model_destroy(&model);
    cr_expect_eq(lm_device_allocated_bytes(device), 0);
    free(folder);
    lm_test_close(&device);
}

/* ---- calls that fail midway ----------------------------------------------------------------------------------------------- */

static const lm_backend_ops *honest;
static int countdown; /* to the driver's call that fails; below it: none */

static bool failed(void) { return countdown > 0 && --countdown == 0; }
static lm_status failure(void) { return lm_fail(NULL, LM_ERROR_DRIVER, "a failure by design"); }

static lm_status fail_buffer_create(lm_device *device, const lm_buffer_params *params, lm_buffer **buffer)
{
    return failed() ? failure() : honest->buffer_create(device, params, buffer);
}

static lm_status fail_upload(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size)
{
    return failed() ? failure() : honest->buffer_upload(buffer, offset, data, size);
}

static lm_status fail_download(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    return failed() ? failure() : honest->buffer_download(buffer, offset, data, size);
}

static lm_status fail_list_create(lm_device *device, lm_list_times times, lm_list **list)
{
    return failed() ? failure() : honest->list_create(device, times, list);
}

static lm_status fail_dispatch(lm_list *list, lm_pipeline *pipeline, const void *params, const lm_view *views, const uint32_t groups[3])
{
    return failed() ? failure() : honest->list_dispatch(list, pipeline, params, views, groups);
}

static lm_status fail_copy(lm_list *list, lm_view to, lm_view from) { return failed() ? failure() : honest->list_copy(list, to, from); }
static lm_status fail_end(lm_list *list) { return failed() ? failure() : honest->list_end(list); }
static lm_status fail_submit(lm_list *list) { return failed() ? failure() : honest->list_submit(list); }

/* It has done its work, and says that it failed. */
static lm_status fail_wait(lm_list *list)
{
    const lm_status status = honest->list_wait(list);
    return status == LM_OK && failed() ? failure() : status;
}

enum { FAIL_SLOTS = 5, CALLS = 4 };
static const char *const call_names[CALLS] = {"a packed call", "lm_state_copy", "lm_state_load_slots", "lm_state_save_slots"};

typedef struct scene {
    lm_model *model;
    lm_state *state;
    char *before[FAIL_SLOTS], *saved, *now; /* paths */
    float x[ROWS * WIDTH], y[ROWS * WIDTH];
} scene;

static lm_status make_call(scene *s, int call)
{
    static const uint32_t slots[3] = {4, 0, 3}, offsets[4] = {0, 30, 33, 40}, two[2] = {1, 4};
    switch (call) {
    case 0: return lm_block_forward_packed(s->model, s->state, &(lm_sequences){3, offsets, slots}, s->x, s->y);
    case 1: return lm_state_copy(s->state, 4, s->state, 3);
    case 2: return lm_state_load_slots(s->state, 2, two, 0, s->saved);
    default: return lm_state_save_slots(s->state, 2, two, s->now);
    }
}

/* The slots as they were, from files; nothing recorded. */
static void restore(scene *s)
{
    lm_pass_forget(s->model, NULL);
    for (uint32_t i = 0; i < FAIL_SLOTS; i++) cr_assert_eq(lm_state_load(s->state, i, s->before[i]), LM_OK, "%s", lm_last_error());
}

static void expect_as_before(scene *s, const char *what, int place)
{
    for (uint32_t i = 0; i < FAIL_SLOTS; i++) {
        size_t was_size, size;
        cr_assert_eq(lm_state_save(s->state, i, s->now), LM_OK, "%s", lm_last_error());
        char *was = lm_test_file_read(s->before[i], &was_size), *bytes = lm_test_file_read(s->now, &size);
        cr_expect(size == was_size && memcmp(bytes, was, size) == 0, "%s, failure %d: slot %u changed", what, place, i);
        free(was);
        free(bytes);
    }
}

ParameterizedTestParameters(sessions, failures) { return lm_test_targets(); }

/* Whichever of the driver's calls fails: every slot is as it was, or the device is lost. */
ParameterizedTest(lm_test_target *target, sessions, failures)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create(), name[16];
    scene s = {.saved = lm_test_join(folder, "saved"), .now = lm_test_join(folder, "now")};
    s.model = lm_test_create_model(device, &block, 3, &(lm_model_params){.workspace_bytes = 40000});
    cr_assert_eq(lm_state_create_with(s.model, &(lm_state_params){FAIL_SLOTS, 2}, &s.state), LM_OK, "%s", lm_last_error());
    lm_test_random random = {lm_test_seed()};
    lm_test_fill(&random, s.x, ROWS * WIDTH, -1.5, 1.5);
    for (uint32_t i = 0; i < FAIL_SLOTS; i++) { /* slot i has i·3 tokens */
        const uint32_t offsets[2] = {0, 3 * i};
        cr_assert_eq(lm_block_forward_packed(s.model, s.state, &(lm_sequences){1, offsets, &i}, s.x + i * WIDTH, s.y), LM_OK);
        snprintf(name, sizeof name, "before%u", i);
        s.before[i] = lm_test_join(folder, name);
        cr_assert_eq(lm_state_save(s.state, i, s.before[i]), LM_OK, "%s", lm_last_error());
    }
    cr_assert_eq(lm_state_save_slots(s.state, 2, (uint32_t[]){2, 3}, s.saved), LM_OK, "%s", lm_last_error());

    honest = device->ops;
    lm_backend_ops failing = *honest;
    failing.buffer_create = fail_buffer_create;
    failing.buffer_upload = fail_upload;
    failing.buffer_download = fail_download;
    failing.list_create = fail_list_create;
    failing.list_dispatch = fail_dispatch;
    failing.list_copy = fail_copy;
    failing.list_end = fail_end;
    failing.list_submit = fail_submit;
    failing.list_wait = fail_wait;
    for (int call = 0; call < CALLS; call++) {
        int lost = 0, kept = 0, place = 1;
        for (bool through = false; !through; place++) {
            cr_assert_lt(place, 2000);
            restore(&s);
            countdown = place;
            device->ops = &failing;
            const lm_status status = make_call(&s, call);
            device->ops = honest;
            through = countdown > 0; /* it has fewer calls than that */
            if (through) {
                cr_expect_eq(status, LM_OK, "%s: %s", call_names[call], lm_last_error());
            } else if (device->lost) {
                cr_expect_eq(status, LM_ERROR_DEVICE_LOST, "%s, failure %d: %s", call_names[call], place, lm_last_error());
                cr_expect_eq(make_call(&s, call), LM_ERROR_DEVICE_LOST);
                device->lost = false; /* for the next round: nothing is wrong with it */
                lost++;
            } else {
                cr_expect_eq(status, LM_ERROR_DRIVER, "%s, failure %d: %s", call_names[call], place, lm_last_error());
                expect_as_before(&s, call_names[call], place);
                kept++;
            }
        }
        cr_expect(call == 2 || kept > 0, "%s: no failure before anything changed", call_names[call]); /* loading begins with that */
        cr_expect(call == 3 ? lost == 0 : lost > 0, "%s: %d failures once it had begun", call_names[call], lost);
    }
    for (uint32_t i = 0; i < FAIL_SLOTS; i++) free(s.before[i]);
    free(s.saved);
    free(s.now);
    lm_state_destroy(&s.state);
    lm_model_destroy(&s.model);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}
