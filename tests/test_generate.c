/* tests/test_generate.c: many texts at once: the same text as alone, stop sequences, callbacks, cancelling, refusals. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "host/stops.h"
#include "tests/support/goldens.h"
#include "tests/support/support.h"

TestSuite(generate, .timeout = 600);

enum { TEXTS = 12, MOST = 64 };

static const char *const prompts[TEXTS] = {
    ":hacker: n.\n\n",
    "LOVE, n.  ",
    "The ",
    "A program that runs on every machine in the ",
    "x",
    "Unix",
    "HATE, n.  ",
    "To hack is to ",
    "1. ",
    "A user is a person who ",
    ":foo: ",
    "Once upon a time there was a computer; it had no disk, no screen and no keyboard, but it had ",
};

/* Texts of different lengths, so that slots change hands in many steps. */
static uint32_t wanted_length(size_t text) { return (uint32_t)(5 + text * 23 % 37); }

typedef struct answer {
    int32_t prompt[128], tokens[MOST];
    uint32_t count;
    uint32_t end_after; /* on_token returns false then; 0 never */
} answer;

static bool collect(void *user, int32_t token)
{
    answer *a = user;
    cr_assert(a->count < MOST);
    a->tokens[a->count++] = token;
    return a->count != a->end_after;
}

static lm_generate_params text_of(answer *a, const char *prompt, uint32_t max_tokens)
{
    memset(a, 0, sizeof *a);
    for (size_t i = 0; prompt[i] != '\0'; i++) a->prompt[i] = (unsigned char)prompt[i];
    return (lm_generate_params){.prompt = a->prompt,
                                .prompt_length = (uint32_t)strlen(prompt),
                                .max_tokens = max_tokens,
                                .on_token = collect,
                                .user = a};
}

static lm_model *load_with(lm_device *device, const char *name, const lm_model_params *params)
{
    char *folder = lm_test_join(lm_test_models_dir(), name);
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, folder, params, &model), LM_OK, "%s", lm_last_error());
    free(folder);
    return model;
}

static lm_model *load(lm_device *device, const char *name) { return load_with(device, name, NULL); }

/* jargon, or a smaller one where that would take long. */
static const char *model_for(const char *backend) { return strcmp(backend, "vulkan") == 0 ? "jargon-small-stcn" : "jargon"; }

static void expect_same(const answer *got, const answer *expected, const char *where, uint32_t batch, size_t text)
{
    cr_expect_eq(got->count, expected->count, "%s, %u at a time, text %zu: %u tokens instead of %u", where, batch, text,
                 got->count, expected->count);
    for (uint32_t t = 0; t < got->count && t < expected->count; t++)
        if (got->tokens[t] != expected->tokens[t]) {
            cr_expect(false, "%s, %u at a time, text %zu: token %u is %d, alone %d", where, batch, text, t,
                      (int)got->tokens[t], (int)expected->tokens[t]);
            return;
        }
}

/* ---- the same text whatever the batch ---------------------------------------------------------------------------- */

typedef struct endings {
    uint32_t count[TEXTS], steps, most_steps;
    const lm_generate_stats *stats;
} endings;

static bool count_step(void *user)
{
    endings *e = user;
    return e->most_steps == 0 || e->steps++ < e->most_steps;
}

static void count_ending(void *user, uint32_t text, const lm_generate_stats *stats)
{
    endings *e = user;
    e->count[text]++;
    cr_expect_eq(stats->finish, LM_FINISH_LENGTH);
    cr_expect_eq(stats->new_tokens, wanted_length(text));
}

/* Every `sampled`th text takes tokens by chance. A chunk of 0 is the default, which holds all prompts. */
static void check_batches(lm_model *model, const char *where, float temperature, size_t sampled, uint32_t chunk)
{
    static answer alone[TEXTS], together[TEXTS];
    static const uint32_t batches[] = {1, 3, 8};
    lm_generate_params texts[TEXTS];
    lm_generate_stats stats[TEXTS];
    for (size_t i = 0; i < TEXTS; i++) {
        lm_generate_params params = text_of(&alone[i], prompts[i], wanted_length(i));
        params.temperature = i % sampled == sampled / 4 ? temperature : 0.0f;
        params.seed = i;
        cr_assert_eq(lm_generate(model, NULL, &params, &stats[i]), LM_OK, "%s", lm_last_error());
        cr_expect_eq(alone[i].count, wanted_length(i));
        cr_expect_eq(stats[i].finish, LM_FINISH_LENGTH);
    }
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        endings e = {.most_steps = 1000};
        for (size_t i = 0; i < TEXTS; i++) {
            texts[i] = text_of(&together[i], prompts[i], wanted_length(i));
            texts[i].temperature = i % sampled == sampled / 4 ? temperature : 0.0f;
            texts[i].seed = i;
        }
        const lm_generate_batch_params params = {.count = TEXTS,
                                                 .texts = texts,
                                                 .slots = batches[b],
                                                 .chunk = chunk,
                                                 .on_step = count_step,
                                                 .on_finish = count_ending,
                                                 .user = &e};
        cr_assert_eq(lm_generate_batch(model, &params, stats), LM_OK, "%s", lm_last_error());
        uint32_t tokens = 0, longest = 0, prompt_tokens = 0;
        for (size_t i = 0; i < TEXTS; i++) {
            prompt_tokens += texts[i].prompt_length;
            expect_same(&together[i], &alone[i], where, batches[b], i);
            cr_expect_eq(e.count[i], 1);
            cr_expect_eq(stats[i].finish, LM_FINISH_LENGTH);
            cr_expect_eq(stats[i].prompt_tokens, strlen(prompts[i]));
            cr_expect(stats[i].prompt_seconds > 0.0 && stats[i].new_seconds >= 0.0);
            tokens += wanted_length(i);
            longest = wanted_length(i) > longest ? wanted_length(i) : longest;
        }
        /* no slot is idle while a text waits: then fewer than `longest` steps are left */
        const uint32_t reading = chunk > 0 ? prompt_tokens / chunk + TEXTS : 0; /* steps more, at most */
        cr_expect(e.steps <= tokens / batches[b] + longest + reading, "%s: %u steps with %u at a time", where, e.steps, batches[b]);
        if (batches[b] == 1 && chunk == 0) cr_expect_eq(e.steps, tokens);
    }
}

ParameterizedTestParameters(generate, batches) { return lm_test_targets(); }

/* Greedy, and greedy and sampled texts side by side. */
ParameterizedTest(lm_test_target *target, generate, batches)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_model *model = load(device, model_for(target->backend));
    check_batches(model, "greedy", 0.0f, 4, 0);
    check_batches(model, "mixed", 0.8f, 4, 0);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

ParameterizedTestParameters(generate, chunks) { return lm_test_targets(); }

/* Prompts in pieces, several of them in a step and one over several. */
ParameterizedTest(lm_test_target *target, generate, chunks)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_model *model = load(device, model_for(target->backend));
    check_batches(model, "prompts in pieces of 1", 0.8f, 4, 1);
    check_batches(model, "prompts in pieces of 25", 0.0f, 4, 25);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

ParameterizedTestParameters(generate, deterministic) { return lm_test_targets(); }

/* Logits of prompts and of the steps after them, of texts side by side and of each alone: bit for bit. */
static void check_logits(lm_model *model)
{
    enum { COUNT = 5, STEPS = 6, VOCAB = 256 };
    lm_state *state = NULL, *alone = NULL;
    cr_assert_eq(lm_state_create(model, COUNT, &state), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_state_create(model, 1, &alone), LM_OK, "%s", lm_last_error());
    static float together[STEPS][COUNT * VOCAB], one[VOCAB];
    static answer a[COUNT];
    static const uint32_t slots[COUNT] = {3, 0, 4, 1, 2}, first[2] = {0, 1};
    int32_t tokens[MOST * COUNT];
    for (uint32_t i = 0; i < COUNT; i++) text_of(&a[i], prompts[i], 1);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t offsets[COUNT + 1] = {0};
        for (uint32_t i = 0; i < COUNT; i++) {
            const uint32_t n = step == 0 ? (uint32_t)strlen(prompts[i]) : 1;
            memcpy(tokens + offsets[i], a[i].prompt + (step == 0 ? 0 : step), n * sizeof *tokens);
            offsets[i + 1] = offsets[i] + n;
        }
        const lm_sequences sequences = {COUNT, offsets, slots};
        const lm_run_params run = {.sequences = &sequences, .tokens = tokens, .kind = LM_OUTPUT_LAST, .output = together[step]};
        cr_assert_eq(lm_model_run(model, state, &run), LM_OK, "%s", lm_last_error());
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        cr_assert_eq(lm_state_reset(alone), LM_OK);
        for (uint32_t step = 0; step < STEPS; step++) {
            const uint32_t whole[2] = {0, (uint32_t)strlen(prompts[i])};
            const lm_sequences sequences = {1, step == 0 ? whole : first, NULL};
            const lm_run_params run = {
                .sequences = &sequences, .tokens = a[i].prompt + step, .kind = LM_OUTPUT_LAST, .output = one};
            cr_assert_eq(lm_model_run(model, alone, &run), LM_OK, "%s", lm_last_error());
            cr_expect_arr_eq(one, together[step] + i * VOCAB, sizeof one, "text %u, step %u: other logits in the batch", i, step);
        }
    }
    lm_state_destroy(&state);
    lm_state_destroy(&alone);
}

/* In a deterministic model chance makes no difference: every text's draws see the same bits, whatever else runs, and however its
 * prompt is cut but on the reference, whose state is float64 within a call. */
ParameterizedTest(lm_test_target *target, generate, deterministic)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_model *model = load_with(device, model_for(target->backend), &(lm_model_params){.deterministic = true});
    check_logits(model);
    check_batches(model, "deterministic", 1.0f, 1, 0);
    if (lm_device_get_info(device)->backend != LM_BACKEND_REFERENCE) check_batches(model, "deterministic, in pieces", 1.0f, 1, 13);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* ---- prompts do not stall others --------------------------------------------------------------------------------- */

typedef struct waiting {
    uint32_t step, arrived[3][MOST]; /* the step of each token */
    uint32_t count[3];
} waiting;

typedef struct waiter {
    waiting *all;
    uint32_t text;
} waiter;

static bool next_step(void *user)
{
    ((waiting *)user)->step++;
    return true;
}

static bool arrives(void *user, int32_t token)
{
    const waiter *w = user;
    (void)token;
    w->all->arrived[w->text][w->all->count[w->text]++] = w->all->step;
    return true;
}

/* While a long prompt is read, 16 tokens a step, the text beside it has a token in every step. */
Test(generate, no_stall)
{
    enum { CHUNK = 16, LENGTH = 300, OTHERS = 40 };
    lm_device *device = lm_test_open("cpu", 0);
    lm_model *model = load(device, "jargon-small-baseline");
    int32_t prompt[LENGTH];
    for (int32_t i = 0; i < LENGTH; i++) prompt[i] = 'a' + i % 26;
    waiting all = {0};
    waiter who[3] = {{&all, 0}, {&all, 1}, {&all, 2}};
    const uint32_t lengths[3] = {10, LENGTH, 20};
    lm_generate_params texts[3];
    for (size_t i = 0; i < 3; i++)
        texts[i] = (lm_generate_params){.prompt = prompt, .prompt_length = lengths[i], .max_tokens = i == 1 ? 3 : OTHERS,
                                        .on_token = arrives, .user = &who[i]};
    const lm_generate_batch_params params = {.count = 3, .texts = texts, .slots = 3, .chunk = CHUNK, .on_step = next_step, .user = &all};
    cr_assert_eq(lm_generate_batch(model, &params, NULL), LM_OK, "%s", lm_last_error());
    cr_expect_eq(all.count[0], OTHERS);
    for (uint32_t t = 0; t < OTHERS; t++) cr_expect_eq(all.arrived[0][t], t + 1, "token %u", t);
    /* 6 tokens in the first step, which has 10 of the text before; then 16 a step */
    cr_expect_eq(all.arrived[1][0], 1 + (LENGTH - 6 + CHUNK - 1) / CHUNK);
    /* the third has what is left of that step, and the next */
    cr_expect_eq(all.arrived[2][0], (10 + LENGTH + 20 + CHUNK - 1) / CHUNK);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* ---- stop sequences ---------------------------------------------------------------------------------------------- */

typedef struct stop_row {
    const char *text;
    const char *stops[4];
    const char *delivered;
    bool stopped;
} stop_row;

/* Every byte a token: what is delivered, and that it is as early as it can be. */
Test(generate, stop_automaton)
{
    static const stop_row rows[] = {
        {"plain text", {"\n\n"}, "plain text", false},
        {"one\n\ntwo", {"\n\n"}, "one", true},
        {"one\ntwo", {"\n\n"}, "one\ntwo", false},
        {"\n\n", {"\n\n"}, "", true},
        {"a", {"a"}, "", true},
        {"aaab", {"aab"}, "a", true}, /* the match begins inside a partial one */
        {"ababac", {"abac"}, "ab", true},
        {"abcabcabd!", {"abcabd"}, "abc", true},
        {"xabcd", {"abcd", "bc"}, "xa", true},     /* the shorter ends first, in the middle of the longer */
        {"xabc", {"bc", "abc"}, "x", true},        /* both end here: the longest counts */
        {"abcx bcd", {"abcd", "bcx "}, "a", true}, /* what is held back changes from one to the other */
        {"the en", {"the end"}, "", false},        /* still held back at the end of the text */
        {"STO STOP", {"STOP", "TOPS"}, "STO ", true},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        int32_t storage[4][16];
        lm_stop stops[4];
        uint32_t count = 0, matched[4], borders[64];
        for (; count < 4 && rows[r].stops[count] != NULL; count++) {
            const size_t length = strlen(rows[r].stops[count]);
            for (size_t i = 0; i < length; i++) storage[count][i] = rows[r].stops[count][i];
            stops[count] = (lm_stop){storage[count], (uint32_t)length};
        }
        lm_stops self = {.matched = matched, .borders = borders};
        lm_stops_start(&self, stops, count);
        char delivered[64] = "";
        size_t length = 0;
        bool stopped = false;
        for (size_t t = 0; rows[r].text[t] != '\0' && !stopped; t++) {
            const uint32_t held = self.held;
            const lm_stops_verdict verdict = lm_stops_next(&self, rows[r].text[t]);
            for (uint32_t i = 0; i < verdict.count; i++)
                delivered[length++] = (char)(i < held ? verdict.held[i] : rows[r].text[t]);
            delivered[length] = '\0';
            stopped = verdict.stop;
            cr_expect(stopped || memcmp(delivered, rows[r].text, length) == 0, "row %zu", r);
            cr_expect(stopped || length + self.held == t + 1, "row %zu: tokens are lost", r);
        }
        cr_expect_eq(stopped, rows[r].stopped, "row %zu", r);
        cr_expect_str_eq(delivered, rows[r].delivered, "row %zu", r);
    }
}

/* Against the plain definition: the first token at which the text ends with a stop ends it, before the longest of those. */
Test(generate, stops_at_random)
{
    lm_test_random random = {lm_test_seed()};
    for (size_t round = 0; round < 3000; round++) {
        enum { LENGTH = 40 };
        int32_t text[LENGTH], storage[3][6], delivered[LENGTH];
        lm_stop stops[3];
        uint32_t matched[3], borders[18], out = 0, expected = LENGTH;
        const uint32_t count = (uint32_t)(lm_test_next(&random) % 4), letters = (uint32_t)(2 + lm_test_next(&random) % 2);
        for (size_t i = 0; i < LENGTH; i++) text[i] = (int32_t)(lm_test_next(&random) % letters);
        for (uint32_t s = 0; s < count; s++) {
            stops[s] = (lm_stop){storage[s], (uint32_t)(1 + lm_test_next(&random) % 6)};
            for (uint32_t i = 0; i < stops[s].length; i++) storage[s][i] = (int32_t)(lm_test_next(&random) % letters);
        }
        bool found = false;
        for (uint32_t end = 1; end <= LENGTH && !found; end++)
            for (uint32_t s = 0; s < count; s++) {
                const uint32_t n = stops[s].length;
                if (n > end || memcmp(text + end - n, stops[s].tokens, n * sizeof *text) != 0) continue;
                if (!found || end - n < expected) expected = end - n;
                found = true;
            }
        lm_stops self = {.matched = matched, .borders = borders};
        lm_stops_start(&self, stops, count);
        bool stopped = false;
        for (uint32_t t = 0; t < LENGTH && !stopped; t++) {
            const uint32_t held = self.held;
            const lm_stops_verdict verdict = lm_stops_next(&self, text[t]);
            for (uint32_t i = 0; i < verdict.count; i++) delivered[out++] = i < held ? verdict.held[i] : text[t];
            stopped = verdict.stop;
        }
        for (uint32_t i = 0; !stopped && i < self.held; i++) delivered[out++] = stops[self.holder].tokens[i];
        cr_assert_eq(stopped, found, "round %zu", round);
        cr_assert_eq(out, expected, "round %zu", round);
        cr_assert(memcmp(delivered, text, out * sizeof *text) == 0, "round %zu", round);
    }
}

ParameterizedTestParameters(generate, stops) { return lm_test_targets(); }

/* Parts of what a text alone says, as stop sequences of others in the batch. */
ParameterizedTest(lm_test_target *target, generate, stops)
{
    enum { LENGTH = 40, FROM = 17, SIZE = 5 };
    static answer whole, cut[4];
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_model *model = load(device, "jargon-small-stcn");
    lm_generate_params params = text_of(&whole, prompts[3], LENGTH), texts[4];
    lm_generate_stats stats[4];
    cr_assert_eq(lm_generate(model, NULL, &params, NULL), LM_OK, "%s", lm_last_error());

    int32_t later[SIZE + 1], never[LENGTH];
    /* begins at the text's end and is not complete there */
    memcpy(later, whole.tokens + LENGTH - SIZE, SIZE * sizeof *later);
    later[SIZE] = 0;
    for (size_t i = 0; i < LENGTH; i++) never[i] = 1;
    const lm_stop part[] = {{never, LENGTH}, {whole.tokens + FROM, SIZE}}, beginning[] = {{later, SIZE + 1}},
                  first = {whole.tokens, 1};
    for (size_t i = 0; i < 4; i++) texts[i] = text_of(&cut[i], prompts[3], LENGTH);
    texts[0].stops = part;
    texts[0].stop_count = 2;
    texts[1].stops = beginning;
    texts[1].stop_count = 1;
    texts[2].stops = &first;
    texts[2].stop_count = 1;
    cut[3].end_after = 7;
    cr_assert_eq(lm_generate_batch(model, &(lm_generate_batch_params){.count = 4, .texts = texts, .slots = 3}, stats), LM_OK,
                 "%s", lm_last_error());

    /* the first place where the part is, for the text may say it twice */
    uint32_t place = 0;
    while (memcmp(whole.tokens + place, part[1].tokens, SIZE * sizeof(int32_t)) != 0) place++;
    const uint32_t lengths[4] = {place, LENGTH, 0, 7}, chosen[4] = {place + SIZE, LENGTH, 1, 7};
    const lm_finish finishes[4] = {LM_FINISH_STOP, LM_FINISH_LENGTH, LM_FINISH_STOP, LM_FINISH_CALLBACK};
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(cut[i].count, lengths[i], "text %zu: %u tokens instead of %u", i, cut[i].count, lengths[i]);
        cr_expect(memcmp(cut[i].tokens, whole.tokens, cut[i].count * sizeof(int32_t)) == 0, "text %zu differs", i);
        cr_expect_eq(stats[i].finish, finishes[i], "text %zu", i);
        cr_expect_eq(stats[i].new_tokens, chosen[i], "text %zu", i);
    }
    /* and alone */
    params = text_of(&whole, prompts[3], LENGTH);
    params.stops = part;
    params.stop_count = 2;
    cr_assert_eq(lm_generate(model, NULL, &params, stats), LM_OK, "%s", lm_last_error());
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(generate, cancel) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, generate, cancel)
{
    enum { STEPS = 7, SLOTS = 3 };
    static answer answers[TEXTS];
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_model *model = load(device, "jargon-small-stcn");
    lm_generate_params texts[TEXTS];
    lm_generate_stats stats[TEXTS];
    endings e = {.most_steps = STEPS};
    for (size_t i = 0; i < TEXTS; i++) texts[i] = text_of(&answers[i], prompts[i], wanted_length(i));
    const lm_generate_batch_params params = {
        .count = TEXTS, .texts = texts, .slots = SLOTS, .on_step = count_step, .on_finish = count_ending, .user = &e};
    cr_expect_eq(lm_generate_batch(model, &params, stats), LM_ERROR_CANCELLED);
    cr_expect_str_eq(lm_last_error(), "lm_generate_batch: cancelled with 1 of 12 texts ended");
    uint32_t tokens = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        tokens += answers[i].count;
        cr_expect_eq(e.count[i], i == 0);
        cr_expect_eq(stats[i].finish, i == 0 ? LM_FINISH_LENGTH : LM_FINISH_NONE, "text %zu", i);
        cr_expect_eq(stats[i].new_tokens, answers[i].count, "text %zu", i);
    }
    cr_expect_eq(tokens, STEPS * SLOTS);
    /* the model is as good as before */
    e = (endings){.most_steps = 1000};
    for (size_t i = 0; i < TEXTS; i++) answers[i].count = 0;
    cr_expect_eq(lm_generate_batch(model, &params, NULL), LM_OK, "%s", lm_last_error());
    for (size_t i = 0; i < TEXTS; i++) cr_expect_eq(answers[i].count, wanted_length(i));
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* ---- long prompts and refusals ----------------------------------------------------------------------------------- */

/* Prompts longer than a pass, and than what a step takes of several, in a small workspace. */
Test(generate, long_prompts)
{
    enum { COUNT = 5, LENGTH = 3000 };
    static answer alone[COUNT], together[COUNT];
    lm_device *device = lm_test_open("cpu", 0);
    char *folder = lm_test_join(lm_test_models_dir(), "jargon-small-baseline");
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, folder, &(lm_model_params){.workspace_bytes = 1 << 20}, &model), LM_OK, "%s",
                 lm_last_error());
    free(folder);
    int32_t *prompt = malloc(LENGTH * sizeof *prompt);
    for (size_t i = 0; i < LENGTH; i++) prompt[i] = (unsigned char)prompts[11][i % strlen(prompts[11])];
    lm_generate_params texts[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        texts[i] = text_of(&alone[i], "x", 6);
        texts[i].prompt = prompt + i;
        texts[i].prompt_length = i == 2 ? 5 : LENGTH - (uint32_t)i;
        cr_assert_eq(lm_generate(model, NULL, &texts[i], NULL), LM_OK, "%s", lm_last_error());
        memset(&together[i], 0, sizeof together[i]);
        texts[i].user = &together[i];
    }
    cr_assert_eq(lm_generate_batch(model, &(lm_generate_batch_params){.count = COUNT, .texts = texts}, NULL), LM_OK, "%s",
                 lm_last_error());
    for (size_t i = 0; i < COUNT; i++) expect_same(&together[i], &alone[i], "long prompts", 8, i);
    free(prompt);
    lm_model_destroy(&model);
    lm_test_close(&device);
}

/* Everything is refused before anything runs. */
Test(generate, refused)
{
    static answer good, bad;
    lm_device *device = lm_test_open("cpu", 0);
    lm_model *model = load(device, "jargon-small-baseline");
    const int32_t outside[] = {65, 256, 65}, negative[] = {-1};
    const lm_stop empty = {outside, 0}, strange = {negative, 1};
    lm_generate_params texts[2] = {text_of(&good, "x", 5), text_of(&bad, "y", 5)};
    const lm_generate_params base = texts[1];
    const struct {
        lm_generate_params change;
        const char *message;
    } rows[] = {
        {{.prompt = outside, .prompt_length = 0}, "a prompt without a token"},
        {{.prompt = NULL, .prompt_length = 3}, "a prompt without a token"},
        {{.prompt = outside, .prompt_length = 3}, "token 256 at position 1 of a prompt is outside the vocabulary of 256"},
        {{.prompt = negative, .prompt_length = 1}, "token -1 at position 0 of a prompt is outside the vocabulary of 256"},
        {{.prompt = base.prompt, .prompt_length = 1, .temperature = -1.0f},
         "requires a temperature of 0 or more and top_p from 0 to 1"},
        {{.prompt = base.prompt, .prompt_length = 1, .top_p = 1.5f},
         "requires a temperature of 0 or more and top_p from 0 to 1"},
        {{.prompt = base.prompt, .prompt_length = 1, .stop_count = 2}, "2 stop sequences are missing"},
        {{.prompt = base.prompt, .prompt_length = 1, .stops = &empty, .stop_count = 1}, "stop sequence 0 without a token"},
        {{.prompt = base.prompt, .prompt_length = 1, .stops = &strange, .stop_count = 1},
         "token -1 at position 0 of stop sequence 0 is outside the vocabulary of 256"},
    };
    char message[256];
    const lm_generate_batch_params params = {.count = 2, .texts = texts};
    lm_generate_stats stats[2];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        texts[1] = rows[i].change;
        cr_expect_eq(lm_generate_batch(model, &params, stats), LM_ERROR_INVALID_ARGUMENT, "row %zu", i);
        snprintf(message, sizeof message, "lm_generate_batch: text 1: %s", rows[i].message);
        cr_expect_str_eq(lm_last_error(), message);
        cr_expect_eq(good.count, 0, "row %zu: something ran", i);
        cr_expect_eq(stats[0].finish, LM_FINISH_NONE);
        cr_expect_eq(lm_generate(model, NULL, &texts[1], NULL), LM_ERROR_INVALID_ARGUMENT, "row %zu", i);
        snprintf(message, sizeof message, "lm_generate: %s", rows[i].message);
        cr_expect_str_eq(lm_last_error(), message);
    }
    cr_expect_eq(lm_generate_batch(NULL, &params, NULL), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_generate_batch(model, NULL, NULL), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_generate_batch(model, &(lm_generate_batch_params){.count = 1}, NULL), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_generate_batch: requires texts");
    cr_expect_eq(lm_generate_batch(model, &(lm_generate_batch_params){.count = 0}, NULL), LM_OK);
    texts[1] = base;
    cr_expect_eq(lm_generate_batch(model, &params, stats), LM_OK, "%s", lm_last_error());
    cr_expect_eq(good.count, 5);
    lm_model_destroy(&model);
    lm_test_close(&device);
}
