/* tests/test_rollback.c: slots that go back by the last k tokens, as speculative decoding wants it. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "tests/support/models.h"
#include "tests/support/support.h"

TestSuite(rollback, .timeout = 600);

enum { WIDTH = 20, VOCAB = 40, MODELS = 6, TOKENS = 400 };

/* The four variants, one of them with more states than a scan takes at once, and language models. */
static const lm_config configs[MODELS] = {
    {.variant = LM_VARIANT_BASELINE, .d_model = WIDTH, .d_state = 19},
    {.variant = LM_VARIANT_PTCN, .d_model = WIDTH, .d_conv = 3, .branches = 3, .dilations = {1, 2, 5}},
    {.variant = LM_VARIANT_STCN, .d_model = WIDTH, .d_conv = 3, .branches = 2, .dilations = {4, 1}},
    {.variant = LM_VARIANT_DPWC, .d_model = WIDTH, .d_conv = 2, .branches = 2, .dilations = {1, 9}},
    {.variant = LM_VARIANT_STCN, .d_model = WIDTH, .d_conv = 3, .branches = 2, .dilations = {1, 3}, .layers = 2, .vocab_size = VOCAB},
    {.variant = LM_VARIANT_PTCN, .d_model = WIDTH, .branches = 2, .dilations = {1, 3}, .layers = 2, .vocab_size = VOCAB},
};

static lm_model *create_model(lm_device *device, size_t index, bool deterministic, uint64_t workspace)
{
    const lm_model_params params = {.workspace_bytes = workspace, .deterministic = deterministic};
    return lm_test_create_model(device, &configs[index], 5, &params);
}

static lm_state *create_state(lm_model *model, uint32_t slots, uint32_t rollback)
{
    lm_state *state = NULL;
    cr_assert_eq(lm_state_create_with(model, &(lm_state_params){slots, rollback}, &state), LM_OK, "%s", lm_last_error());
    return state;
}

/* What is run, by the number of the token: a slot's past is a list of them. */
static float inputs[TOKENS * WIDTH];
static int32_t tokens[TOKENS];

static void make_inputs(void)
{
    lm_test_random random = {lm_test_seed()};
    lm_test_fill(&random, inputs, TOKENS * WIDTH, -1.5, 1.5);
    for (size_t i = 0; i < TOKENS; i++) tokens[i] = (int32_t)(lm_test_next(&random) % VOCAB);
}

/* Runs tokens first[i] … first[i]+length[i]−1 in slot slots[i], packed. `out` gets the last rows or logits, WIDTH or VOCAB each. */
static void run(lm_model *model, lm_state *state, uint32_t count, const uint32_t *slots, const uint32_t *first, const uint32_t *length,
                float *out)
{
    static float x[TOKENS * WIDTH], y[TOKENS * WIDTH], logits[TOKENS * VOCAB];
    static int32_t given[TOKENS];
    uint32_t offsets[9] = {0};
    for (uint32_t i = 0; i < count; i++) {
        memcpy(x + offsets[i] * WIDTH, inputs + first[i] * WIDTH, length[i] * WIDTH * sizeof *x);
        memcpy(given + offsets[i], tokens + first[i], length[i] * sizeof *given);
        offsets[i + 1] = offsets[i] + length[i];
    }
    const lm_sequences sequences = {count, offsets, slots};
    const bool language = model->config.layers > 0;
    const lm_run_params params = {.sequences = &sequences, .tokens = given, .kind = LM_OUTPUT_ALL, .output = logits};
    const lm_status status =
        language ? lm_model_run(model, state, &params) : lm_block_forward_packed(model, state, &sequences, x, y);
    cr_assert_eq(status, LM_OK, "%s", lm_last_error());
    const size_t width = language ? VOCAB : WIDTH;
    for (uint32_t i = 0; out != NULL && i < count; i++)
        if (length[i] > 0) memcpy(out + i * width, (language ? logits : y) + (offsets[i + 1] - 1) * width, width * sizeof *out);
}

static void run_one(lm_model *model, lm_state *state, uint32_t slot, uint32_t first, uint32_t length, float *out)
{
    run(model, state, 1, &slot, &first, &length, out);
}

/* The file that a slot is saved as: all of its past that counts. */
static char *past_of(const lm_state *state, uint32_t slot, const char *path, size_t *size)
{
    cr_assert_eq(lm_state_save(state, slot, path), LM_OK, "%s", lm_last_error());
    char *bytes = lm_test_file_read(path, size);
    cr_assert_not_null(bytes);
    return bytes;
}

static void expect_same(const lm_state *a, uint32_t a_slot, const lm_state *b, uint32_t b_slot, const char *path, const char *what)
{
    size_t a_size, b_size;
    char *first = past_of(a, a_slot, path, &a_size), *second = past_of(b, b_slot, path, &b_size);
    cr_expect(a_size == b_size && memcmp(first, second, a_size) == 0, "%s: the slots differ", what);
    free(first);
    free(second);
}

/* ---- where calls end ------------------------------------------------------------------------------------------------------ */

/* A slot that is rolled back to where a call ended is what a copy taken there is, bit for bit, and goes on like it, in every model. */
static void check_calls(lm_device *device, const char *path, size_t index, uint32_t rollback)
{
    /* tokens of calls, with all tokens of the ones after them at most 5 */
    static const uint32_t calls[] = {3, 1, 1, 30, 1, 1, 2, 1, 70, 4, 1, 5, 1, 1, 1, 1, 2};
    enum { CALLS = sizeof calls / sizeof *calls };
    char what[120];
    lm_model *model = create_model(device, index, false, 0);
    lm_state *state = create_state(model, 2, rollback), *then = create_state(model, CALLS + 1, 0), *other = create_state(model, 2, rollback);
    float out[64], again[64];
    uint32_t at = 0;
    for (size_t i = 0; i < CALLS; i++) {
        cr_assert_eq(lm_state_copy(then, (uint32_t)i, state, 1), LM_OK, "%s", lm_last_error());
        run_one(model, state, 1, at, calls[i], NULL);
        at += calls[i];
        /* back over as many calls as it can, in a fork, so that the slot goes on */
        for (uint32_t back = 0, j = (uint32_t)i + 1; j-- > 0 && (back += calls[j]) <= rollback;) {
            snprintf(what, sizeof what, "model %zu, rollback %u: after %u tokens %u back", index, rollback, at, back);
            cr_assert_eq(lm_state_copy(state, 0, state, 1), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_state_rollback(state, 0, back), LM_OK, "%s: %s", what, lm_last_error());
            cr_expect_eq(lm_state_position(state, 0), at - back);
            expect_same(state, 0, then, j, path, what);
            cr_assert_eq(lm_state_copy(other, 1, then, j), LM_OK, "%s", lm_last_error());
            run_one(model, state, 0, 200, 1, out); /* other tokens than it took back */
            run_one(model, other, 1, 200, 1, again);
            run_one(model, state, 0, 201, 9, out);
            run_one(model, other, 1, 201, 9, again);
            cr_expect_arr_eq(out, again, (model->config.layers > 0 ? VOCAB : WIDTH) * sizeof *out, "%s: goes on otherwise", what);
        }
    }
    lm_state_destroy(&state);
    lm_state_destroy(&then);
    lm_state_destroy(&other);
    lm_model_destroy(&model);
}

ParameterizedTestParameters(rollback, to_calls) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, rollback, to_calls)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    make_inputs();
    for (size_t i = 0; i < MODELS; i++) check_calls(device, path, i, i == 1 ? 5 : i == 4 ? 8 : 3);
    free(path);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

/* ---- inside calls --------------------------------------------------------------------------------------------------------- */

/* A slot that is rolled back to inside a call is a slot that ran so many tokens in fresh calls: bit for bit in deterministic mode, but
 * for the reference, whose state is float64 within a call; else but for rounding. */
static void check_inside(lm_device *device, const char *path, size_t index, bool deterministic, uint64_t workspace)
{
    static const uint32_t lengths[] = {2, 7, 8, 9, 64, 100};
    enum { ROLLBACK = 8 };
    const bool exact = deterministic && lm_device_get_info(device)->backend != LM_BACKEND_REFERENCE;
    char what[120];
    lm_model *model = create_model(device, index, deterministic, workspace);
    const size_t width = model->config.layers > 0 ? VOCAB : WIDTH;
    lm_state *state = create_state(model, 3, ROLLBACK), *fresh = create_state(model, 1, 0);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (uint32_t back = 1; back <= ROLLBACK && back <= lengths[i]; back += back % 3 + 1) {
            /* beside another slot that is at another place of its own, and with a past */
            const uint32_t slots[2] = {2, 0}, first[2] = {11, 50}, length[2] = {lengths[i], 3}, left = 11 + lengths[i] - back;
            snprintf(what, sizeof what, "model %zu: %u of %u tokens back", index, back, lengths[i]);
            cr_assert_eq(lm_state_reset(state), LM_OK);
            cr_assert_eq(lm_state_reset(fresh), LM_OK);
            run_one(model, state, 2, 0, 11, NULL);
            run(model, state, 2, slots, first, length, NULL);
            cr_assert_eq(lm_state_rollback(state, 2, back), LM_OK, "%s: %s", what, lm_last_error());
            run_one(model, fresh, 0, 0, left, NULL);
            float out[64], again[64];
            if (exact) expect_same(state, 2, fresh, 0, path, what);
            run_one(model, state, 2, 300, 3, out);
            run_one(model, fresh, 0, 300, 3, again);
            const double error = lm_test_error_f32(out, again, width);
            cr_expect(!!(error <= (exact ? 0.0 : 2e-6)), "%s: %.3g of max|y|", what, error);
        }
    }
    lm_state_destroy(&state);
    lm_state_destroy(&fresh);
    lm_model_destroy(&model);
}

ParameterizedTestParameters(rollback, inside_calls) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, rollback, inside_calls)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    make_inputs();
    for (size_t i = 0; i < MODELS; i++) {
        check_inside(device, path, i, true, 0);
        check_inside(device, path, i, false, 0);
        check_inside(device, path, i, true, 40000); /* in passes of few rows */
    }
    free(path);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

/* ---- speculation ---------------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(rollback, speculation) { return lm_test_targets(); }

/* Guesses of four tokens in three slots, of which some are right: what is kept in the end is what steps alone give. */
ParameterizedTest(lm_test_target *target, rollback, speculation)
{
    enum { SLOTS = 3, LENGTH = 60, GUESS = 4 };
    lm_device *device = lm_test_open(target->backend, target->disable);
    const bool exact = lm_device_get_info(device)->backend != LM_BACKEND_REFERENCE;
    make_inputs();
    for (size_t m = 0; m < MODELS; m++) {
        lm_model *model = create_model(device, m, true, 0);
        lm_state *state = create_state(model, SLOTS, GUESS), *steps = create_state(model, 1, 0);
        lm_test_random random = {lm_test_seed()};
        const size_t width = model->config.layers > 0 ? VOCAB : WIDTH;
        float out[SLOTS * 64], again[64];
        const uint32_t slots[SLOTS] = {1, 2, 0};
        uint32_t at[SLOTS] = {0}; /* slot i runs tokens 10·i … */
        while (at[0] < LENGTH) {
            uint32_t first[SLOTS], length[SLOTS];
            for (uint32_t i = 0; i < SLOTS; i++) first[i] = 10 * i + at[i], length[i] = GUESS;
            run(model, state, SLOTS, slots, first, length, NULL);
            for (uint32_t i = 0; i < SLOTS; i++) {
                const uint32_t right = (uint32_t)(lm_test_next(&random) % (GUESS + 1));
                cr_assert_eq(lm_state_rollback(state, slots[i], GUESS - right), LM_OK, "%s", lm_last_error());
                at[i] += right;
                cr_assert_eq(lm_state_position(state, slots[i]), at[i]);
            }
        }
        const uint32_t next[SLOTS] = {350, 350, 350}, ones[SLOTS] = {1, 1, 1};
        run(model, state, SLOTS, slots, next, ones, out);
        for (uint32_t i = 0; i < SLOTS; i++) {
            cr_assert_eq(lm_state_reset(steps), LM_OK);
            for (uint32_t t = 0; t < at[i]; t++) run_one(model, steps, 0, 10 * i + t, 1, NULL);
            run_one(model, steps, 0, 350, 1, again);
            const double error = lm_test_error_f32(out + i * width, again, width);
            cr_expect(!!(error <= (exact ? 0.0 : 2e-6)), "model %zu, slot %u: %.3g of max|y|", m, slots[i], error);
        }
        lm_state_destroy(&state);
        lm_state_destroy(&steps);
        lm_model_destroy(&model);
    }
    lm_test_close(&device);
}

/* ---- what can be rolled back ---------------------------------------------------------------------------------------------- */

static void refused(lm_state *state, uint32_t slot, uint32_t back, const char *message)
{
    const uint64_t position = lm_state_position(state, slot);
    cr_expect_eq(lm_state_rollback(state, slot, back), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), message);
    cr_expect_eq(lm_state_position(state, slot), position);
}

Test(rollback, bounds)
{
    lm_device *device = lm_test_open("cpu", 0);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    make_inputs();
    lm_model *model = create_model(device, 1, false, 0);
    lm_state *none = NULL, *state = create_state(model, 2, 4), *plain = create_state(model, 1, 0);
    cr_expect_eq(lm_state_create_with(model, &(lm_state_params){1, LM_MAX_ROLLBACK + 1}, &none), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_state_create: a rollback of 257 tokens is over 256");
    cr_expect_eq(lm_state_create_with(model, &(lm_state_params){0}, &none), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_state_rollback(NULL, 0, 1), LM_ERROR_INVALID_ARGUMENT);
    refused(plain, 0, 1, "lm_state_rollback: the state was made without rollback (lm_state_params)");
    refused(state, 2, 1, "lm_state_rollback: slot 2 is outside a state of 2 slots");
    refused(state, 1, 1, "lm_state_rollback: slot 1 can go back 0 tokens of 4, not 1");
    cr_expect_eq(lm_state_rollback(state, 1, 0), LM_OK);
    run_one(model, state, 1, 0, 3, NULL);
    refused(state, 1, 4, "lm_state_rollback: slot 1 can go back 3 tokens of 4, not 4");
    run_one(model, state, 1, 3, 9, NULL);
    refused(state, 1, 5, "lm_state_rollback: slot 1 can go back 4 tokens of 4, not 5");
    cr_expect_eq(lm_state_rollback(state, 1, 3), LM_OK);
    refused(state, 1, 2, "lm_state_rollback: slot 1 can go back 1 tokens of 4, not 2");
    run_one(model, state, 1, 9, 1, NULL);
    /* forks: what both have; of one without, nothing */
    cr_assert_eq(lm_state_copy(state, 0, state, 1), LM_OK);
    refused(state, 0, 3, "lm_state_rollback: slot 0 can go back 2 tokens of 4, not 3");
    cr_expect_eq(lm_state_rollback(state, 0, 2), LM_OK);
    cr_expect_eq(lm_state_position(state, 0), 8);
    cr_assert_eq(lm_state_copy(plain, 0, state, 1), LM_OK);
    cr_assert_eq(lm_state_copy(state, 0, plain, 0), LM_OK);
    refused(state, 0, 1, "lm_state_rollback: slot 0 can go back 0 tokens of 4, not 1");
    /* a loaded past has no tokens of its own, a new one neither */
    cr_assert_eq(lm_state_save(state, 1, path), LM_OK);
    cr_assert_eq(lm_state_load(state, 1, path), LM_OK);
    refused(state, 1, 1, "lm_state_rollback: slot 1 can go back 0 tokens of 4, not 1");
    run_one(model, state, 1, 10, 2, NULL);
    cr_expect_eq(lm_state_rollback(state, 1, 2), LM_OK);
    expect_same(state, 1, plain, 0, path, "a loaded slot");
    run_one(model, state, 1, 10, 2, NULL);
    cr_assert_eq(lm_state_reset_slot(state, 1), LM_OK);
    refused(state, 1, 1, "lm_state_rollback: slot 1 can go back 0 tokens of 4, not 1");
    /* to nothing and on */
    run_one(model, state, 1, 0, 3, NULL);
    cr_expect_eq(lm_state_rollback(state, 1, 3), LM_OK);
    cr_assert_eq(lm_state_reset(plain), LM_OK);
    expect_same(state, 1, plain, 0, path, "an emptied slot");
    cr_expect_eq(lm_state_slot_bytes(state) - lm_state_slot_bytes(plain), 4 * (16 + 1) * 2 * WIDTH * sizeof(float));
    free(path);
    lm_test_folder_remove(folder);
    lm_state_destroy(&state);
    lm_state_destroy(&plain);
    lm_model_destroy(&model);
    lm_test_close(&device);
}
