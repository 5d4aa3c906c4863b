/* tests/test_models.c: the shipped language models on every device against lite-mamba's own logits and bytes. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/cli/npy.h"
#include "host/model.h"
#include "host/sample.h"
#include "litemamba/litemamba.h"
#include "tests/support/goldens.h"
#include "tests/support/support.h"

TestSuite(models, .timeout = 600);

static const char *const names[] = {"jargon", "jargon-small-baseline", "jargon-small-stcn", "jargon-small-dpwc"};

typedef struct reference {
    char *folder;
    int32_t *prompt;
    uint32_t prompt_length;
    char greedy[256];
    lm_npy logits;
} reference;

static reference load_reference(const char *name)
{
    reference r = {.folder = lm_test_join(lm_test_models_dir(), name)};
    char *path = lm_test_join(r.folder, "reference.json"), error[256];
    json_t *json = json_load_file(path, 0, NULL);
    cr_assert_not_null(json, "%s", path);
    const char *prompt = json_string_value(json_object_get(json, "prompt"));
    const char *greedy = json_string_value(json_object_get(json, "greedy_80"));
    cr_assert(prompt != NULL && greedy != NULL && strlen(greedy) == 80);
    snprintf(r.greedy, sizeof r.greedy, "%s", greedy);
    r.prompt_length = (uint32_t)strlen(prompt);
    r.prompt = malloc(r.prompt_length * sizeof *r.prompt);
    for (uint32_t i = 0; i < r.prompt_length; i++) r.prompt[i] = (unsigned char)prompt[i];
    json_decref(json);
    free(path);
    path = lm_test_join(r.folder, "reference_logits.npy");
    cr_assert(lm_npy_read(path, &r.logits, error, sizeof error), "%s", error);
    cr_assert(r.logits.rank == 2 && r.logits.shape[0] == r.prompt_length && r.logits.shape[1] == 256);
    free(path);
    return r;
}

static void free_reference(reference *r)
{
    free(r->folder);
    free(r->prompt);
    lm_npy_free(&r->logits);
}

static double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0.0;
    for (size_t i = 0; i < count && !isnan(largest); i++) { /* a NaN stays */
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= largest)) largest = d;
    }
    return largest;
}

typedef struct text {
    char bytes[256];
    size_t length;
} text;

static bool collect(void *user, int32_t token)
{
    text *t = user;
    t->bytes[t->length++] = (char)token;
    t->bytes[t->length] = '\0';
    return t->length < sizeof t->bytes - 1;
}

static void check_model(lm_device *device, const char *name)
{
    reference r = load_reference(name);
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, r.folder, NULL, &model), LM_OK, "%s", lm_last_error());
    const size_t count = (size_t)r.logits.count, vocab = 256;
    float *logits = malloc(count * sizeof *logits), *steps = malloc(count * sizeof *steps), *loss = malloc(count * sizeof *loss);

    lm_run_params run = {.batch = 1, .length = r.prompt_length, .tokens = r.prompt, .kind = LM_OUTPUT_ALL, .output = logits};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    double error = largest_difference(logits, r.logits.data, count);
    cr_expect(!!(error <= 1e-4), "%s: logits are %.3g from lite-mamba's", name, error);
    cr_assert_eq(lm_verify_model(model, r.folder, r.prompt, r.prompt_length, &error), LM_OK, "%s", lm_last_error());
    cr_expect(!!(error <= 1e-4), "%s: logits are %.3g from the float64 reference's", name, error);

    /* one token at a time */
    lm_state *state = NULL;
    cr_assert_eq(lm_state_create(model, 1, &state), LM_OK, "%s", lm_last_error());
    for (uint32_t t = 0; t < r.prompt_length; t++) {
        const lm_run_params one = {.batch = 1, .length = 1, .tokens = r.prompt + t, .kind = LM_OUTPUT_LAST, .output = steps + t * vocab};
        cr_assert_eq(lm_model_run(model, state, &one), LM_OK, "%s", lm_last_error());
    }
    const double relative = lm_test_error_f32(steps, logits, count);
    cr_expect(!!(relative <= 1e-6), "%s: steps are %.3g of max|logits| from forward", name, relative);

    /* the same answer in every form */
    int32_t likeliest = -1, expected = 0;
    for (int32_t v = 1; v < 256; v++)
        if (logits[(r.prompt_length - 1) * vocab + (size_t)v] > logits[(r.prompt_length - 1) * vocab + (size_t)expected]) expected = v;
    run.kind = LM_OUTPUT_ARGMAX;
    run.output = &likeliest;
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    cr_expect_eq(likeliest, expected);
    run.kind = LM_OUTPUT_LOSS;
    run.output = loss;
    run.length = r.prompt_length - 1;
    run.targets = r.prompt + 1;
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    for (uint32_t t = 0; t + 1 < r.prompt_length; t++) {
        double sum = 0.0;
        for (size_t v = 0; v < vocab; v++) sum += exp((double)r.logits.data[t * vocab + v]);
        const double wanted = log(sum) - (double)r.logits.data[t * vocab + (size_t)r.prompt[t + 1]];
        cr_expect(!!(fabs((double)loss[t] - wanted) <= 1e-4), "%s: loss of token %u is %g, not %g", name, t + 1, (double)loss[t], wanted);
    }

    /* 80 greedy bytes */
    text t = {.length = 0};
    const lm_generate_params generate = {.prompt = r.prompt, .prompt_length = r.prompt_length, .max_tokens = 80, .on_token = collect,
                                         .user = &t};
    lm_generate_stats stats;
    cr_assert_eq(lm_generate(model, NULL, &generate, &stats), LM_OK, "%s", lm_last_error());
    cr_expect_str_eq(t.bytes, r.greedy, "%s: greedy text", name);
    cr_expect_eq(stats.new_tokens, 80);

    free(logits);
    free(steps);
    free(loss);
    lm_state_destroy(&state);
    lm_model_destroy(&model);
    free_reference(&r);
}

ParameterizedTestParameters(models, reference) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, models, reference)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_model(device, names[i]);
    lm_test_close(&device);
}

/* lite-mamba's logits of a language model among the goldens: separate heads, biases, other vocabularies than bytes. */
static void check_golden(lm_device *device, const lm_test_golden *g)
{
    const lm_tensor *shape, *tensor;
    float *wide = lm_test_golden_values(g, "tokens", &shape), *logits32 = lm_test_golden_values(g, "logits", &tensor),
          *logits64 = lm_test_golden_values(g, "logits64", &tensor);
    cr_assert(wide != NULL && logits32 != NULL && logits64 != NULL, "%s: io.safetensors is incomplete", g->name);
    int32_t *tokens = malloc((size_t)shape->count * sizeof *tokens);
    for (uint64_t i = 0; i < shape->count; i++) tokens[i] = (int32_t)wide[i];
    float *logits = malloc((size_t)tensor->nbytes);
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, g->folder, NULL, &model), LM_OK, "%s", lm_last_error());
    const lm_run_params run = {.batch = (uint32_t)shape->shape[0], .length = (uint32_t)shape->shape[1], .tokens = tokens,
                               .kind = LM_OUTPUT_ALL, .output = logits};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    double error = lm_test_error_f32(logits, logits64, (size_t)tensor->count);
    cr_expect(!!(error <= g->tolerance), "%s: %.3g of max|logits| from float64", g->name, error);
    error = lm_test_error_f32(logits, logits32, (size_t)tensor->count);
    cr_expect(!!(error <= 1e-5), "%s: %.3g of max|logits| from lite-mamba", g->name, error);
    lm_model_destroy(&model);
    free(wide);
    free(logits32);
    free(logits64);
    free(tokens);
    free(logits);
}

ParameterizedTestParameters(models, goldens) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, models, goldens)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_test_each_golden("index_lm.txt", device, check_golden);
    lm_test_close(&device);
}

ParameterizedTestParameters(models, calls) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, models, calls)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    char *folder = lm_test_join(lm_test_models_dir(), names[1]);
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(device, folder, &(lm_model_params){.workspace_bytes = 65536}, &model), LM_OK, "%s", lm_last_error());
    enum { BATCH = 3, LENGTH = 41, VOCAB = 256 };
    int32_t tokens[BATCH * LENGTH], targets[BATCH * LENGTH];
    lm_test_random random = {lm_test_seed()};
    for (size_t i = 0; i < BATCH * LENGTH; i++) {
        tokens[i] = (int32_t)(lm_test_next(&random) % VOCAB);
        targets[i] = (int32_t)(lm_test_next(&random) % VOCAB);
    }
    /* a batch in many passes equals its sequences one by one */
    static float all[BATCH * LENGTH * VOCAB], one[LENGTH * VOCAB], last[BATCH * VOCAB], loss[BATCH * LENGTH];
    lm_run_params run = {.batch = BATCH, .length = LENGTH, .tokens = tokens, .targets = targets, .kind = LM_OUTPUT_ALL, .output = all};
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    run.kind = LM_OUTPUT_LAST;
    run.output = last;
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    run.kind = LM_OUTPUT_LOSS;
    run.output = loss;
    cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
    for (uint32_t b = 0; b < BATCH; b++) {
        const lm_run_params alone = {.batch = 1, .length = LENGTH, .tokens = tokens + b * LENGTH, .kind = LM_OUTPUT_ALL, .output = one};
        cr_assert_eq(lm_model_run(model, NULL, &alone), LM_OK, "%s", lm_last_error());
        const float *mine = all + b * LENGTH * VOCAB;
        double error = lm_test_error_f32(mine, one, LENGTH * VOCAB);
        cr_expect(!!(error <= 2e-6), "sequence %u of a batch: %.3g of max|logits|", b, error);
        error = lm_test_error_f32(last + b * VOCAB, one + (LENGTH - 1) * VOCAB, VOCAB);
        cr_expect(!!(error <= 2e-6), "last logits of sequence %u: %.3g", b, error);
        for (uint32_t t = 0; t < LENGTH; t++) {
            double sum = 0.0;
            for (size_t v = 0; v < VOCAB; v++) sum += exp((double)one[t * VOCAB + v]);
            const double wanted = log(sum) - (double)one[t * VOCAB + (size_t)targets[b * LENGTH + t]];
            cr_expect(!!(fabs((double)loss[b * LENGTH + t] - wanted) <= 1e-5 * (1.0 + fabs(wanted))), "loss %u of sequence %u", t, b);
        }
    }
    tokens[LENGTH + 5] = 256;
    cr_expect_eq(lm_model_run(model, NULL, &run), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_str_eq(lm_last_error(), "lm_model_run: token 256 at position 5 of sequence 1 is outside the vocabulary of 256");
    run.length = 0;
    run.kind = LM_OUTPUT_LAST;
    cr_expect_eq(lm_model_run(model, NULL, &run), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_block_forward(model, NULL, 1, 1, one, one), LM_ERROR_INVALID_ARGUMENT);

    /* the same seed, the same text; another seed, another */
    text first = {.length = 0}, second = {.length = 0}, other = {.length = 0};
    lm_generate_params generate = {.prompt = tokens, .prompt_length = 3, .max_tokens = 40, .temperature = 0.9f, .top_k = 50,
                                   .top_p = 0.95f, .seed = 11, .on_token = collect, .user = &first};
    cr_assert_eq(lm_generate(model, NULL, &generate, NULL), LM_OK, "%s", lm_last_error());
    generate.user = &second;
    cr_assert_eq(lm_generate(model, NULL, &generate, NULL), LM_OK, "%s", lm_last_error());
    generate.user = &other;
    generate.seed = 12;
    cr_assert_eq(lm_generate(model, NULL, &generate, NULL), LM_OK, "%s", lm_last_error());
    cr_expect(memcmp(first.bytes, second.bytes, 40) == 0 && memcmp(first.bytes, other.bytes, 40) != 0);
    lm_model_destroy(&model);
    free(folder);
    lm_test_close(&device);
}

ParameterizedTestParameters(models, small_bindings) { return lm_test_targets(); }

/* A device whose bindings are so small that every matrix, the vocabulary included, is in pieces. */
ParameterizedTest(lm_test_target *target, models, small_bindings)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    device->info.max_binding_bytes = 18000;
    for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
        reference r = load_reference(names[i]);
        lm_model *model = NULL;
        cr_assert_eq(lm_model_load(device, r.folder, NULL, &model), LM_OK, "%s", lm_last_error());
        cr_expect_gt(model->embeddings.piece_count, 3);
        cr_expect_gt(model->blocks[0].in_proj.piece_count, 3);
        float *logits = malloc((size_t)r.logits.count * sizeof *logits);
        int32_t likeliest = -1;
        lm_run_params run = {.batch = 1, .length = r.prompt_length, .tokens = r.prompt, .kind = LM_OUTPUT_ALL, .output = logits};
        cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
        const double error = largest_difference(logits, r.logits.data, (size_t)r.logits.count);
        cr_expect(!!(error <= 1e-4), "%s: logits are %.3g from lite-mamba's", names[i], error);
        run.kind = LM_OUTPUT_ARGMAX;
        run.output = &likeliest;
        cr_assert_eq(lm_model_run(model, NULL, &run), LM_OK, "%s", lm_last_error());
        cr_expect_eq(likeliest, (unsigned char)r.greedy[0], "%s", names[i]);
        lm_model_destroy(&model);
        free(logits);
        free_reference(&r);
    }
    lm_test_close(&device);
}

/* Sampling: what is kept, and that draws follow the distribution. */
Test(models, sampling)
{
    const float logits[6] = {0.0f, 3.0f, NAN, 2.0f, 1.0f, -INFINITY};
    lm_candidate scratch[6];
    lm_random random = {5};
    cr_expect_eq(lm_sample(&(lm_sampling){0}, logits, 6, scratch, &random), 1);
    cr_expect_eq(lm_sample(&(lm_sampling){.temperature = 1, .top_k = 1}, logits, 6, scratch, &random), 1);
    const struct {
        lm_sampling sampling;
        unsigned kept; /* bit mask */
    } rows[] = {
        {{.temperature = 1.0f}, 0x1b},
        {{.temperature = 1.0f, .top_k = 2}, 0x0a},
        {{.temperature = 1.0f, .top_p = 0.6f}, 0x02},  /* 0.644 */
        {{.temperature = 1.0f, .top_p = 0.7f}, 0x0a},  /* 0.644 + 0.237 */
        {{.temperature = 1.0f, .top_k = 3, .top_p = 0.95f}, 0x1a},
    };
    const double weights[6] = {1.0, exp(3.0), 0.0, exp(2.0), exp(1.0), 0.0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum { DRAWS = 40000 };
        size_t seen[6] = {0};
        double sum = 0.0;
        for (size_t v = 0; v < 6; v++) sum += rows[i].kept >> v & 1 ? weights[v] : 0.0;
        for (int d = 0; d < DRAWS; d++) seen[lm_sample(&rows[i].sampling, logits, 6, scratch, &random)]++;
        for (size_t v = 0; v < 6; v++) {
            const double p = rows[i].kept >> v & 1 ? weights[v] / sum : 0.0;
            /* five standard deviations of a binomial */
            cr_expect(fabs((double)seen[v] / DRAWS - p) <= 5.0 * sqrt(p * (1.0 - p) / DRAWS), "row %zu: token %zu was drawn %zu times", i, v, seen[v]);
        }
    }
    const float nothing[2] = {NAN, NAN};
    cr_expect_eq(lm_sample(&(lm_sampling){.temperature = 1}, nothing, 2, scratch, &random), 0);
}
