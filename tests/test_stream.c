/* tests/test_stream.c: state in, state out: pieces, packed sequences of different lengths, slots, copies, snapshots. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "tests/support/goldens.h"
#include "tests/support/models.h"
#include "tests/support/support.h"

TestSuite(stream, .timeout = 600);

enum { WIDTH = 24, VARIANTS = 4 };

static const lm_config blocks[VARIANTS] = {
    {.variant = LM_VARIANT_BASELINE, .d_model = WIDTH},
    {.variant = LM_VARIANT_PTCN, .d_model = WIDTH, .d_conv = 3, .branches = 3, .dilations = {1, 2, 7}, .bias = true},
    {.variant = LM_VARIANT_STCN, .d_model = WIDTH, .d_conv = 3, .branches = 2, .dilations = {4, 1}, .d_state = 20},
    {.variant = LM_VARIANT_DPWC, .d_model = WIDTH, .d_conv = 2, .branches = 2, .dilations = {1, 9}},
};

static const lm_config language = {.variant = LM_VARIANT_STCN, .d_model = WIDTH, .d_conv = 3, .branches = 2, .dilations = {1, 3},
                                   .layers = 2, .vocab_size = 50};

static lm_model *create_model_with(lm_device *device, const lm_config *config, const lm_model_params *params)
{
    return lm_test_create_model(device, config, 3, params);
}

static lm_model *create_model(lm_device *device, const lm_config *given, uint64_t workspace)
{
    return create_model_with(device, given, &(lm_model_params){.workspace_bytes = workspace});
}

static lm_state *create_state(lm_model *model, uint32_t slots)
{
    lm_state *state = NULL;
    cr_assert_eq(lm_state_create(model, slots, &state), LM_OK, "%s", lm_last_error());
    return state;
}

static float *random_rows(uint64_t seed, size_t rows)
{
    float *x = malloc(rows * WIDTH * sizeof *x);
    lm_test_random random = {seed};
    lm_test_fill(&random, x, rows * WIDTH, -1.5, 1.5);
    return x;
}

static void forward(lm_model *model, lm_state *state, uint32_t length, const float *x, float *y)
{
    cr_assert_eq(lm_block_forward(model, state, 1, length, x, y), LM_OK, "%s", lm_last_error());
}

/* ---- pieces --------------------------------------------------------------------------------------------------------------- */

/* Pieces of 1, 3, 64, 257 and all tokens give what one forward gives, and so do steps after a prefill and a prefill after them; bit
 * for bit in deterministic mode, but for the reference, whose state is float64 within a call. */
static void check_pieces(lm_device *device, bool deterministic)
{
    const bool exact = deterministic && lm_device_get_info(device)->backend != LM_BACKEND_REFERENCE;
    enum { LENGTH = 600 };
    static const uint32_t sizes[] = {1, 3, 64, 257, LENGTH};
    float *x = random_rows(lm_test_seed(), LENGTH), *whole = malloc(LENGTH * WIDTH * sizeof *whole),
          *y = malloc(LENGTH * WIDTH * sizeof *y);
    for (size_t v = 0; v < VARIANTS; v++) {
        lm_model *model = create_model_with(device, &blocks[v], &(lm_model_params){.deterministic = deterministic});
        lm_state *state = create_state(model, 1);
        forward(model, NULL, LENGTH, x, whole);
        for (size_t i = 0; i <= sizeof sizes / sizeof *sizes; i++) {
            cr_assert_eq(lm_state_reset(state), LM_OK);
            for (uint32_t t = 0, turn = 0; t < LENGTH; turn++) {
                /* the last round mixes all sizes */
                const uint32_t size = i < sizeof sizes / sizeof *sizes ? sizes[i] : (uint32_t[]){100, 1, 1, 1, 64, 3}[turn % 6];
                const uint32_t n = size < LENGTH - t ? size : LENGTH - t;
                forward(model, state, n, x + t * WIDTH, y + t * WIDTH);
                t += n;
            }
            const double error = lm_test_error_f32(y, whole, LENGTH * WIDTH);
            cr_expect(!!(error <= (exact ? 0.0 : 1e-6)), "%s in pieces of %u: %.3g of max|y|", lm_variant_name(blocks[v].variant),
                      i < sizeof sizes / sizeof *sizes ? sizes[i] : 0, error);
            cr_expect_eq(lm_state_position(state, 0), LENGTH);
        }
        lm_state_destroy(&state);
        lm_model_destroy(&model);
    }
    free(x);
    free(whole);
    free(y);
}

ParameterizedTestParameters(stream, pieces) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, stream, pieces)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    check_pieces(device, false);
    lm_test_close(&device);
}

ParameterizedTestParameters(stream, deterministic_pieces) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, stream, deterministic_pieces)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    check_pieces(device, true);
    lm_test_close(&device);
}

ParameterizedTestParameters(stream, hundred_runs) { return lm_test_targets(); }

/* The same call gives the same bits, every time. */
ParameterizedTest(lm_test_target *target, stream, hundred_runs)
{
    enum { BATCH = 2, LENGTH = 70, RUNS = 100 };
    lm_device *device = lm_test_open(target->backend, target->disable);
    float *x = random_rows(lm_test_seed(), BATCH * LENGTH);
    static float first[BATCH * LENGTH * WIDTH], y[BATCH * LENGTH * WIDTH];
    for (size_t v = 0; v < VARIANTS; v++) {
        lm_model *model = create_model(device, &blocks[v], 0);
        for (int run = 0; run < RUNS; run++) {
            float *out = run == 0 ? first : y;
            cr_assert_eq(lm_block_forward(model, NULL, BATCH, LENGTH, x, out), LM_OK, "%s", lm_last_error());
            if (run > 0) cr_assert_arr_eq(y, first, sizeof first, "%s: run %d differs", lm_variant_name(blocks[v].variant), run);
        }
        lm_model_destroy(&model);
    }
    free(x);
    lm_test_close(&device);
}

/* ---- packed sequences ------------------------------------------------------------------------------------------------------- */

enum { SEQUENCES = 5, SLOTS = 7, ROUNDS = 4 };
static const uint32_t lengths[ROUNDS][SEQUENCES] = {{5, 0, 40, 1, 17}, {1, 1, 1, 1, 1}, {2, 33, 1, 8, 0}, {70, 3, 3, 0, 130}};
static const uint32_t slots[SEQUENCES] = {6, 2, 0, 5, 3};

/* Every round is one packed call; each sequence alone, in a state of its own, must get the same. */
static void check_packed(lm_device *device, const lm_config *config, const lm_model_params *params)
{
    const double tolerance = params->deterministic ? 0.0 : 1e-6;
    lm_model *model = create_model_with(device, config, params);
    lm_state *state = create_state(model, SLOTS), *alone[SEQUENCES];
    for (size_t i = 0; i < SEQUENCES; i++) alone[i] = create_state(model, 1);
    for (size_t round = 0; round < ROUNDS; round++) {
        uint32_t offsets[SEQUENCES + 1] = {0};
        for (size_t i = 0; i < SEQUENCES; i++) offsets[i + 1] = offsets[i] + lengths[round][i];
        const size_t rows = offsets[SEQUENCES];
        float *x = random_rows(lm_test_seed() + round, rows), *y = malloc(rows * WIDTH * sizeof *y), *one = malloc(rows * WIDTH * sizeof *one);
        const lm_sequences sequences = {.count = SEQUENCES, .offsets = offsets, .slots = slots};
        cr_assert_eq(lm_block_forward_packed(model, state, &sequences, x, y), LM_OK, "%s", lm_last_error());
        for (size_t i = 0; i < SEQUENCES; i++) forward(model, alone[i], lengths[round][i], x + offsets[i] * WIDTH, one + offsets[i] * WIDTH);
        double error = lm_test_error_f32(y, one, rows * WIDTH);
        cr_expect(!!(error <= tolerance), "%s, round %zu: %.3g of max|y|", lm_variant_name(config->variant), round, error);
        if (round == 0) { /* without a state: the same, as all were empty */
            const lm_sequences fresh = {.count = SEQUENCES, .offsets = offsets};
            cr_assert_eq(lm_block_forward_packed(model, NULL, &fresh, x, one), LM_OK, "%s", lm_last_error());
            error = lm_test_error_f32(one, y, rows * WIDTH);
            cr_expect(!!(error <= tolerance), "%s, without a state: %.3g of max|y|", lm_variant_name(config->variant), error);
        }
        free(x);
        free(y);
        free(one);
    }
    for (size_t i = 0; i < SEQUENCES; i++) {
        cr_expect_eq(lm_state_position(state, slots[i]), lm_state_position(alone[i], 0));
        lm_state_destroy(&alone[i]);
    }
    cr_expect_eq(lm_state_position(state, 1), 0);
    lm_state_destroy(&state);
    lm_model_destroy(&model);
}

ParameterizedTestParameters(stream, packed) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, stream, packed)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (size_t v = 0; v < VARIANTS; v++) {
        check_packed(device, &blocks[v], &(lm_model_params){0});
        check_packed(device, &blocks[v], &(lm_model_params){.workspace_bytes = 70000}); /* in many passes */
        check_packed(device, &blocks[v], &(lm_model_params){.deterministic = true});
    }
    lm_test_close(&device);
}

ParameterizedTestParameters(stream, packed_tokens) { return lm_test_targets(); }

/* Language models: all kinds of output for packed prompts. */
ParameterizedTest(lm_test_target *target, stream, packed_tokens)
{
    enum { VOCAB = 50, COUNT = 4, ROWS = 47 };
    static const uint32_t offsets[COUNT + 1] = {0, 3, 4, 40, ROWS};
    lm_device *device = lm_test_open(target->backend, target->disable);
    int32_t tokens[ROWS], targets[ROWS], likeliest[COUNT];
    lm_test_random random = {lm_test_seed()};
    for (size_t i = 0; i < ROWS; i++) {
        tokens[i] = (int32_t)(lm_test_next(&random) % VOCAB);
        targets[i] = (int32_t)(lm_test_next(&random) % VOCAB);
    }
    for (int small = 0; small < 2; small++) {
        lm_model *model = create_model(device, &language, small ? 30000 : 0);
        static float all[ROWS * VOCAB], one[ROWS * VOCAB], last[COUNT * VOCAB], loss[ROWS];
        const lm_sequences sequences = {.count = COUNT, .offsets = offsets};
        lm_run_params run = {.sequences = &sequences, .tokens = tokens, .targets = targets, .kind = LM_OUTPUT_ALL, .output = all};
        cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
        run.kind = LM_OUTPUT_LAST;
        run.output = last;
        cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
        run.kind = LM_OUTPUT_ARGMAX;
        run.output = likeliest;
        cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
        run.kind = LM_OUTPUT_LOSS;
        run.output = loss;
        cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
        for (size_t i = 0; i < COUNT; i++) {
            const uint32_t length = offsets[i + 1] - offsets[i];
            const lm_run_params alone = {.batch = 1, .length = length, .tokens = tokens + offsets[i], .kind = LM_OUTPUT_ALL,
                                         .output = one + offsets[i] * VOCAB};
            cr_assert_eq(lm_model_run(model, NULL, &alone), LM_OK, "%s", lm_last_error());
            const float *end = one + (offsets[i + 1] - 1) * VOCAB;
            const double error = lm_test_error_f32(last + i * VOCAB, end, VOCAB);
            cr_expect(!!(error <= 2e-6), "last logits of sequence %zu: %.3g", i, error);
            cr_expect(fabsf(end[likeliest[i]] - end[0]) >= 0.0f);
            for (size_t v = 0; v < VOCAB; v++) cr_expect(end[v] <= end[likeliest[i]] + 1e-5f, "sequence %zu: token %zu is likelier", i, v);
        }
        const double error = lm_test_error_f32(all, one, ROWS * VOCAB);
        cr_expect(!!(error <= 2e-6), "all logits: %.3g", error);
        for (size_t r = 0; r < ROWS; r++) {
            double sum = 0.0;
            for (size_t v = 0; v < VOCAB; v++) sum += exp((double)one[r * VOCAB + v]);
            const double wanted = log(sum) - (double)one[r * VOCAB + (size_t)targets[r]];
            cr_expect(!!(fabs((double)loss[r] - wanted) <= 1e-5 * (1.0 + fabs(wanted))), "loss of row %zu", r);
        }
        lm_model_destroy(&model);
    }
    lm_test_close(&device);
}

/* ---- slots ------------------------------------------------------------------------------------------------------------------ */

ParameterizedTestParameters(stream, slots_copy_and_reset) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, stream, slots_copy_and_reset)
{
    enum { PREFIX = 45, REST = 12 };
    lm_device *device = lm_test_open(target->backend, target->disable);
    float *x = random_rows(lm_test_seed(), PREFIX + REST);
    float y[3][REST * WIDTH], expected[REST * WIDTH], start[REST * WIDTH];
    for (size_t v = 0; v < VARIANTS; v++) {
        lm_model *model = create_model(device, &blocks[v], 0);
        lm_state *one = create_state(model, 1), *pool = create_state(model, 4);
        float *prefix = malloc(PREFIX * WIDTH * sizeof *prefix);
        forward(model, one, PREFIX, x, prefix);
        /* a conversation that is forked twice, into slots with a past of their own */
        const uint32_t offsets[2] = {0, PREFIX}, used = 3;
        cr_assert_eq(lm_block_forward_packed(model, pool, &(lm_sequences){1, offsets, &used}, x, prefix), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_state_copy(pool, 3, one, 0), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_state_copy(pool, 1, pool, 3), LM_OK, "%s", lm_last_error());
        forward(model, one, REST, x + PREFIX * WIDTH, expected);
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t rest[2] = {0, REST}, slot = i == 0 ? 1 : 3;
            cr_assert_eq(lm_block_forward_packed(model, pool, &(lm_sequences){1, rest, &slot}, x + PREFIX * WIDTH, y[i]), LM_OK);
            cr_expect_arr_eq(y[i], expected, sizeof expected, "%s: fork %u differs", lm_variant_name(blocks[v].variant), i);
        }
        /* a reset slot is a new one */
        forward(model, NULL, REST, x, start);
        cr_assert_eq(lm_state_reset_slot(pool, 3), LM_OK);
        const uint32_t rest[2] = {0, REST}, slot = 3;
        cr_assert_eq(lm_block_forward_packed(model, pool, &(lm_sequences){1, rest, &slot}, x, y[2]), LM_OK);
        cr_expect_arr_eq(y[2], start, sizeof start, "%s: a reset slot remembers", lm_variant_name(blocks[v].variant));
        cr_expect_eq(lm_state_position(pool, 1), PREFIX + REST);
        free(prefix);
        lm_state_destroy(&one);
        lm_state_destroy(&pool);
        lm_model_destroy(&model);
    }
    free(x);
    lm_test_close(&device);
}

Test(stream, pool)
{
    lm_device *device = lm_test_open("cpu", 0);
    lm_model *model = create_model(device, &blocks[0], 0);
    lm_state *state = create_state(model, 3);
    uint32_t taken[3], another;
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(lm_state_acquire(state, &taken[i]), LM_OK);
        cr_expect_eq(taken[i], i);
    }
    cr_expect_eq(lm_state_acquire(state, &another), LM_ERROR_OUT_OF_DEVICE_MEMORY);
    cr_expect_str_eq(lm_last_error(), "lm_state_acquire: all 3 slots are taken");
    cr_expect_eq(lm_state_release(state, 1), LM_OK);
    cr_expect_eq(lm_state_release(state, 1), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_state_release: slot 1 is not taken");
    cr_expect_eq(lm_state_acquire(state, &another), LM_OK);
    cr_expect_eq(another, 1);
    lm_state_destroy(&state);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* Every bad call is refused with its reason and changes no slot. */
Test(stream, refused)
{
    lm_device *device = lm_test_open("cpu", 0);
    lm_model *model = create_model(device, &blocks[1], 0), *other = create_model(device, &blocks[1], 0);
    lm_state *state = create_state(model, 3), *strange = create_state(other, 3);
    float *x = random_rows(1, 8), y[8 * WIDTH];
    const uint32_t good[] = {0, 2, 5}, falling[] = {0, 5, 2}, late[] = {1, 2, 5}, outside[] = {0, 3}, twice[] = {2, 2};
    const struct {
        lm_sequences sequences;
        lm_state *state;
        const char *message;
    } rows[] = {
        {{2, good, outside}, state, "lm_block_forward_packed: slot 3 of sequence 1 is outside a state of 3 slots"},
        {{2, good, twice}, state, "lm_block_forward_packed: slot 2 is used twice in one batch"},
        {{2, falling, NULL}, state, "lm_block_forward_packed: offsets decrease from 5 to 2 at sequence 1"},
        {{2, late, NULL}, state, "lm_block_forward_packed: offsets start at 1 instead of 0"},
        {{2, NULL, NULL}, state, "lm_block_forward_packed: sequences need offsets"},
        {{2, good, NULL}, strange, "lm_block_forward_packed: the state is of another model"},
        {{2, good, twice}, NULL, "lm_block_forward_packed: slots without a state"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(lm_block_forward_packed(model, rows[i].state, &rows[i].sequences, x, y), LM_ERROR_INVALID_ARGUMENT, "row %zu", i);
        cr_expect_str_eq(lm_last_error(), rows[i].message);
    }
    for (uint32_t s = 0; s < 3; s++) cr_expect_eq(lm_state_position(state, s), 0);
    cr_expect_eq(lm_state_copy(state, 0, strange, 0), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_state_copy: the states are of different models");
    cr_expect_eq(lm_state_copy(state, 0, state, 3), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_state_copy: slot 3 is outside a state of 3 slots");
    cr_expect_eq(lm_state_reset_slot(state, 4), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_block_forward_packed(model, state, &(lm_sequences){2, good, NULL}, x, y), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_state_position(state, 1), 3);
    free(x);
    lm_state_destroy(&state);
    lm_state_destroy(&strange);
    lm_model_destroy(&model);
    lm_model_destroy(&other);
    lm_test_close(&device);
}

/* ---- snapshots ------------------------------------------------------------------------------------------------------------ */

static lm_model *create_any(lm_device *device, size_t index)
{
    return create_model(device, index < VARIANTS ? &blocks[index] : &language, 0);
}

/* Runs `length` rows or tokens through a slot and returns what comes out of the last of them (d_model or vocab values). */
static size_t advance(lm_model *model, lm_state *state, uint32_t slot, uint32_t length, const float *x, const int32_t *tokens, float *out)
{
    const uint32_t offsets[2] = {0, length};
    const lm_sequences sequences = {1, offsets, &slot};
    if (model->config.layers > 0) {
        const lm_run_params run = {.sequences = &sequences, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = out};
        cr_assert_eq(lm_model_run(model, state, &run), LM_OK, "%s", lm_last_error());
        return model->config.vocab_size;
    }
    float *y = malloc(length * WIDTH * sizeof *y);
    cr_assert_eq(lm_block_forward_packed(model, state, &sequences, x, y), LM_OK, "%s", lm_last_error());
    memcpy(out, y + (length - 1) * WIDTH, WIDTH * sizeof *out);
    free(y);
    return WIDTH;
}

ParameterizedTestParameters(stream, snapshots) { return lm_test_targets(); }

/* A slot saved after few, some and many tokens goes on elsewhere, bit for bit; an empty one is empty. */
ParameterizedTest(lm_test_target *target, stream, snapshots)
{
    enum { MOST = 200 };
    static const uint32_t prefixes[] = {0, 1, 5, 50, 200};
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    float *x = random_rows(lm_test_seed(), MOST), out[64], again[64];
    int32_t tokens[MOST];
    for (size_t i = 0; i < MOST; i++) tokens[i] = (int32_t)(i * i % 50);
    for (size_t v = 0; v <= VARIANTS; v++) {
        lm_model *model = create_any(device, v), *later = create_any(device, v);
        lm_state *state = create_state(model, 2), *resumed = create_state(later, 3);
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
            cr_assert_eq(lm_state_reset(state), LM_OK);
            if (prefixes[i] > 0) advance(model, state, 1, prefixes[i], x, tokens, out);
            cr_assert_eq(lm_state_save(state, 1, path), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_state_load(resumed, 2, path), LM_OK, "%s", lm_last_error());
            cr_expect_eq(lm_state_position(resumed, 2), prefixes[i]);
            const size_t count = advance(model, state, 1, 30, x, tokens, out);
            advance(later, resumed, 2, 30, x, tokens, again);
            cr_expect_arr_eq(again, out, count * sizeof *out, "model %zu after %u tokens", v, prefixes[i]);
        }
        lm_state_destroy(&state);
        lm_state_destroy(&resumed);
        lm_model_destroy(&model);
        lm_model_destroy(&later);
    }
    free(x);
    free(path);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

ParameterizedTestParameters(stream, snapshots_of_many) { return lm_test_targets(); }

/* Slots that were saved as one file go on elsewhere, all of them or some, in other slots and with a rollback of another length. */
ParameterizedTest(lm_test_target *target, stream, snapshots_of_many)
{
    enum { COUNT = 4, MOST = 60 };
    static const uint32_t saved[COUNT] = {3, 0, 4, 1}, prefixes[COUNT] = {17, 0, 2, 45}, loaded[COUNT] = {1, 2, 5, 0};
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors"), *one = lm_test_join(folder, "one");
    float *x = random_rows(lm_test_seed(), MOST), out[64], again[64];
    int32_t tokens[MOST];
    for (size_t i = 0; i < MOST; i++) tokens[i] = (int32_t)(i * i % 50);
    for (size_t v = 0; v <= VARIANTS; v++) {
        lm_model *model = create_any(device, v);
        lm_state *state = create_state(model, 5), *resumed = NULL;
        cr_assert_eq(lm_state_create_with(model, &(lm_state_params){6, 3}, &resumed), LM_OK, "%s", lm_last_error());
        for (uint32_t i = 0; i < COUNT; i++)
            if (prefixes[i] > 0) advance(model, state, saved[i], prefixes[i], x + i * WIDTH, tokens + i, out);
        cr_assert_eq(lm_state_save_slots(state, COUNT, saved, path), LM_OK, "%s", lm_last_error());
        uint32_t sequences = 0;
        cr_assert_eq(lm_state_inspect(path, &sequences), LM_OK, "%s", lm_last_error());
        cr_expect_eq(sequences, COUNT);
        /* all; and then two of them again, over others */
        cr_assert_eq(lm_state_load_slots(resumed, COUNT, loaded, 0, path), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_state_load_slots(resumed, 2, (uint32_t[]){4, 5}, 2, path), LM_OK, "%s", lm_last_error());
        for (uint32_t i = 0; i < COUNT; i++) {
            cr_expect_eq(lm_state_position(resumed, loaded[i]), i == 2 ? prefixes[3] : prefixes[i]);
            /* as a file of its own */
            cr_assert_eq(lm_state_save(state, saved[i], one), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_state_load(resumed, 3, one), LM_OK, "%s", lm_last_error());
            const size_t count = advance(model, resumed, 3, 10, x, tokens, again);
            advance(model, resumed, i < 2 ? loaded[i] : i == 2 ? 4 : 5, 10, x, tokens, out);
            cr_expect_arr_eq(again, out, count * sizeof *out, "model %zu, sequence %u", v, i);
        }
        cr_expect_eq(lm_state_load(resumed, 0, path), LM_ERROR_INVALID_ARGUMENT);
        cr_expect_neq(strstr(lm_last_error(), "holds 4 sequences; lm_state_load_slots reads some or all"), NULL, "%s", lm_last_error());
        cr_expect_eq(lm_state_load_slots(resumed, 2, loaded, 3, path), LM_ERROR_INVALID_ARGUMENT);
        cr_expect_neq(strstr(lm_last_error(), "holds 4 sequences, not 2 from 3 on"), NULL, "%s", lm_last_error());
        cr_expect_eq(lm_state_load_slots(resumed, 2, (uint32_t[]){1, 1}, 0, path), LM_ERROR_INVALID_ARGUMENT);
        cr_expect_str_eq(lm_last_error(), "lm_state_load: slot 1 is named twice");
        cr_expect_eq(lm_state_save_slots(state, 2, (uint32_t[]){1, 5}, path), LM_ERROR_INVALID_ARGUMENT);
        cr_expect_str_eq(lm_last_error(), "lm_state_save: slot 5 is outside a state of 5 slots");
        cr_expect_eq(lm_state_inspect(folder, &sequences), LM_ERROR_IO);
        lm_state_destroy(&state);
        lm_state_destroy(&resumed);
        lm_model_destroy(&model);
    }
    free(x);
    free(path);
    free(one);
    lm_test_folder_remove(folder);
    lm_test_close(&device);
}

/* Copies a golden's states into a file as lite-mamba would write it: all sequences at once. False when it has none. */
static bool write_lite_mamba_states(const lm_test_golden *g, const char *path)
{
    lm_tensor tensors[LM_MAX_BRANCHES + 1];
    float *values[LM_MAX_BRANCHES + 1];
    char names[LM_MAX_BRANCHES][24];
    size_t count = 0;
    const lm_tensor *from;
    for (uint32_t k = 0; k <= LM_MAX_BRANCHES; k++) {
        const bool last = k == LM_MAX_BRANCHES;
        if (!last) snprintf(names[k], sizeof names[k], "conv_state.%u", k);
        values[count] = lm_test_golden_values(g, last ? "ssm_state" : names[k], &from);
        if (values[count] == NULL) continue;
        tensors[count] = (lm_tensor){.name = last ? "ssm_state" : names[k], .dtype = LM_DTYPE_F32, .rank = 3,
                                     .shape = {from->shape[0], from->shape[1], from->shape[2]}, .count = from->count,
                                     .nbytes = from->count * sizeof(float), .data = values[count]};
        count++;
    }
    if (count > 0) cr_assert_eq(lm_safetensors_write(path, tensors, count, NULL, 0), LM_OK, "%s", lm_last_error());
    for (size_t i = 0; i < count; i++) free(values[i]);
    return count > 0;
}

static size_t states_checked;

static void check_lite_mamba_state(lm_device *device, const lm_test_golden *g)
{
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors");
    const lm_tensor *tensor;
    float *x = lm_test_golden_values(g, "x", &tensor);
    if (write_lite_mamba_states(g, path)) {
        lm_model *model = NULL;
        cr_assert_eq(lm_model_load(device, g->folder, NULL, &model), LM_OK, "%s", lm_last_error());
        const uint32_t batch = (uint32_t)tensor->shape[0], length = (uint32_t)tensor->shape[1], places[] = {0, 1, 2, 3};
        cr_assert_leq(batch, 4);
        lm_state *ours = create_state(model, batch), *theirs = create_state(model, batch);
        const size_t bytes = batch * length * (size_t)tensor->shape[2] * sizeof(float);
        float *y = malloc(bytes), *expected = malloc(bytes);
        cr_assert_eq(lm_block_forward(model, ours, batch, length, x, expected), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_state_load_slots(theirs, batch, places, 0, path), LM_OK, "%s: %s", g->name, lm_last_error());
        cr_assert_eq(lm_block_forward(model, ours, batch, length, x, expected), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_block_forward(model, theirs, batch, length, x, y), LM_OK, "%s", lm_last_error());
        const double error = lm_test_error_f32(y, expected, bytes / sizeof(float));
        cr_expect(!!(error <= 1e-5), "%s: %.3g of max|y|", g->name, error);
        states_checked++;
        free(y);
        free(expected);
        lm_state_destroy(&ours);
        lm_state_destroy(&theirs);
        lm_model_destroy(&model);
    }
    free(x);
    free(path);
    lm_test_folder_remove(folder);
}

ParameterizedTestParameters(stream, lite_mamba_states) { return lm_test_targets(); }

/* lite-mamba's states after the golden's tokens go on here as our own states after the same tokens do. */
ParameterizedTest(lm_test_target *target, stream, lite_mamba_states)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_test_each_golden("index.txt", device, check_lite_mamba_state);
    cr_expect_gt(states_checked, 20);
    lm_test_close(&device);
}

/* From a state that lite-mamba saved after some steps, everything goes on as it does there, whatever the pieces; and our own state
 * after the same steps is its. */
static void check_continuation(lm_device *device, const lm_test_golden *g)
{
    enum { MOST = 4 };
    static const uint32_t all[MOST] = {0, 1, 2, 3}, pieces[] = {1, 1, 7, 100};
    char *path = lm_test_join(g->folder, "state.safetensors"), *folder = lm_test_folder_create(), *own = lm_test_join(folder, "own");
    const lm_tensor *tensor, *expected_tensor;
    float *x = lm_test_golden_values(g, "x", &tensor), *y64 = lm_test_golden_values(g, "y64", &expected_tensor);
    float *expected = lm_test_golden_values(g, "y", &expected_tensor);
    const uint32_t batch = (uint32_t)tensor->shape[0], more = (uint32_t)expected_tensor->shape[1];
    const uint32_t steps = (uint32_t)tensor->shape[1] - more;
    const size_t width = (size_t)tensor->shape[2], values = batch * more * width;
    float *part = malloc(batch * (steps + more) * width * sizeof *part), *y = malloc(values * sizeof *y);
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, g->folder, NULL, &model), LM_OK, "%s", lm_last_error());
    lm_state *state = create_state(model, batch);
    cr_assert_leq(batch, MOST);
    for (int mine = 0; mine < 2; mine++) { /* their state, then our own through a file */
        if (mine) {
            for (uint32_t b = 0; b < batch; b++)
                memcpy(part + b * steps * width, x + b * (steps + more) * width, steps * width * sizeof *part);
            cr_assert_eq(lm_state_reset(state), LM_OK);
            cr_assert_eq(lm_block_forward(model, state, batch, steps, part, part), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_state_save_slots(state, batch, all, own), LM_OK, "%s", lm_last_error());
        }
        cr_assert_eq(lm_state_load_slots(state, batch, all, 0, mine ? own : path), LM_OK, "%s: %s", g->name, lm_last_error());
        for (uint32_t t = 0, turn = 0; t < more; turn++) {
            const uint32_t wanted = pieces[turn % 4], n = wanted < more - t ? wanted : more - t;
            for (uint32_t b = 0; b < batch; b++)
                memcpy(part + b * n * width, x + (b * (steps + more) + steps + t) * width, n * width * sizeof *part);
            cr_assert_eq(lm_block_forward(model, state, batch, n, part, part), LM_OK, "%s", lm_last_error());
            for (uint32_t b = 0; b < batch; b++) memcpy(y + (b * more + t) * width, part + b * n * width, n * width * sizeof *y);
            t += n;
        }
        const double theirs = lm_test_error_f32(y, expected, values), exact = lm_test_error_f32(y, y64, values);
        cr_expect(!!(theirs <= 1e-5), "%s: %.3g of max|y| from how lite-mamba goes on", g->name, theirs);
        cr_expect(!!(exact <= g->tolerance), "%s: %.3g of max|y| from float64", g->name, exact);
    }
    free(x);
    free(y);
    free(y64);
    free(part);
    free(expected);
    free(path);
    free(own);
    lm_test_folder_remove(folder);
    lm_state_destroy(&state);
    lm_model_destroy(&model);
}

ParameterizedTestParameters(stream, lite_mamba_continues) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, stream, lite_mamba_continues)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_test_each_golden("index_states.txt", device, check_continuation);
    lm_test_close(&device);
}

/* Snapshots of another model, or damaged ones, are refused and change nothing. */
Test(stream, refused_snapshots)
{
    lm_device *device = lm_test_open("cpu", 0);
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "state.safetensors"), expected[512];
    lm_model *one = create_model(device, &blocks[1], 0), *two = create_model(device, &blocks[3], 0);
    lm_state *first = create_state(one, 1), *second = create_state(two, 1);
    float *x = random_rows(1, 20), y[20 * WIDTH];
    forward(one, first, 20, x, y);
    cr_assert_eq(lm_state_save(first, 0, path), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_state_load(second, 0, path), LM_ERROR_FORMAT);
    snprintf(expected, sizeof expected, "%s: a state of another model", path);
    cr_expect(strncmp(lm_last_error(), expected, strlen(expected)) == 0, "%s", lm_last_error());
    cr_expect_eq(lm_state_position(second, 0), 0);
    cr_expect_eq(lm_state_load(first, 1, path), LM_ERROR_INVALID_ARGUMENT);

    /* one tensor of the wrong shape, no word of a model */
    lm_tensor_set saved = {0};
    cr_assert_eq(lm_safetensors_open(path, &saved.file), LM_OK);
    lm_tensor tensors[8];
    const size_t count = lm_tensor_set_count(&saved);
    cr_assert_eq(count, 4);
    float *values[8];
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *lm_tensor_set_at(&saved, i);
        values[i] = malloc((size_t)tensors[i].nbytes);
        cr_assert_eq(lm_tensor_read(&tensors[i], values[i]), LM_OK);
        tensors[i].data = values[i];
        tensors[i].file = NULL;
    }
    const uint64_t width = tensors[0].shape[2];
    tensors[0].shape[1] = width;
    tensors[0].shape[2] = 48;
    cr_assert_eq(lm_safetensors_write(path, tensors, count, NULL, 0), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_state_load(first, 0, path), LM_ERROR_FORMAT);
    cr_expect_eq(lm_state_position(first, 0), 20);
    /* branches that contradict each other */
    tensors[0].shape[1] = 48;
    tensors[0].shape[2] = width;
    values[0][0] += 1.0f;
    cr_assert_eq(lm_safetensors_write(path, tensors, count, NULL, 0), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_state_load(first, 0, path), LM_ERROR_FORMAT);
    /* a tensor too few */
    cr_assert_eq(lm_safetensors_write(path, tensors, count - 1, NULL, 0), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_state_load(first, 0, path), LM_ERROR_FORMAT);
    snprintf(expected, sizeof expected, "%s: has 3 tensors where a state of this model has 4", path);
    cr_expect_str_eq(lm_last_error(), expected);
    for (size_t i = 0; i < count; i++) free(values[i]);
    lm_tensor_set_free(&saved);
    free(x);
    free(path);
    lm_test_folder_remove(folder);
    lm_state_destroy(&first);
    lm_state_destroy(&second);
    lm_model_destroy(&one);
    lm_model_destroy(&two);
    lm_test_close(&device);
}
