/* bench/models.c: times language models: a token's step, and generation.
 *
 * Fresh models have the same weights in every layer, which does not change their time, and a vocabulary so small that the step
 * without the head is what is timed; a model from a folder has what it has. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "host/config.h"
#include "host/reference_model.h"
#include "runtime/clock.h"

typedef struct model_row {
    const char *set;
    uint32_t layers, d_model;
} model_row;

static const model_row model_rows[] = {
    {"targets", 24, 768}, {"targets", 64, 2560}, {"quick", 4, 256}, {"tiny", 2, 32},
};

enum { VOCABULARY = 256 };

/* Of a model that is too large for the reference, one of fewer layers is checked. */
enum { CHECKED_TOKENS = 4, CHECKED_LAYERS = 2 };

typedef struct generate_bench {
    lm_model *model;
    const lm_generate_params *params;
} generate_bench;

typedef struct model_bench {
    lm_model *model;
    lm_state *state;
    uint32_t batch;
    int32_t *tokens;
} model_bench;

static lm_status step(void *user, double *device)
{
    const model_bench *m = user;
    const lm_run_params params = {.batch = m->batch, .length = 1, .tokens = m->tokens, .kind = LM_OUTPUT_NONE};
    const lm_status status = lm_model_run(m->model, m->state, &params);
    *device = lm_model_device_seconds(m->model);
    return status;
}

/* A set whose layers all name the tensors of the one layer of `one`. Free only set->tensors, and the names. */
static bool repeat_layers(const lm_tensor_set *one, uint32_t layers, lm_tensor_set *set)
{
    const size_t most = lm_tensor_set_count(one) * layers;
    *set = (lm_tensor_set){.tensors = calloc(most, sizeof(lm_tensor)), .capacity = most, .path = one->path};
    if (set->tensors == NULL) return false;
    for (size_t i = 0; i < lm_tensor_set_count(one); i++) {
        const lm_tensor *tensor = lm_tensor_set_at(one, i);
        const char *layer = strstr(tensor->name, "layers.0.");
        for (uint32_t n = 0; n < (layer != NULL ? layers : 1); n++) {
            const size_t size = strlen(tensor->name) + 16;
            char *name = malloc(size);
            if (name == NULL) return false;
            if (layer != NULL)
                snprintf(name, size, "%.*slayers.%u.%s", (int)(layer - tensor->name), tensor->name, n, layer + 9);
            else
                snprintf(name, size, "%s", tensor->name);
            set->tensors[set->count] = *tensor;
            set->tensors[set->count++].name = name;
        }
    }
    return true;
}

/* Fresh tensors; free them with free_tensors. */
static lm_status make_tensors(const lm_config *config, lm_tensor_set *one, lm_tensor_set *set)
{
    lm_config first = *config;
    first.layers = 1;
    const lm_status status = lm_init_tensors(&first, &(lm_init_params){.seed = 1}, one);
    if (status == LM_OK && !repeat_layers(one, config->layers, set))
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    return status;
}

static void free_tensors(lm_tensor_set *one, lm_tensor_set *set)
{
    for (size_t i = 0; i < set->count; i++) free((char *)(uintptr_t)set->tensors[i].name);
    free(set->tensors);
    lm_tensor_set_free(one);
}

static lm_status create(bench_session *session, const lm_config *config, const lm_model_params *params, lm_model **model)
{
    lm_tensor_set one = {0}, set = {0};
    if (session->options->model != NULL) return lm_model_load(session->device, session->options->model, params, model);
    lm_status status = make_tensors(config, &one, &set);
    if (status == LM_OK) status = lm_model_create(session->device, config, &set, params, model);
    free_tensors(&one, &set);
    return status;
}

/* Logits of a few steps against those of the reference. */
static lm_status compare_steps(lm_model *model, const lm_reference_model *reference, double *error)
{
    const size_t vocabulary = lm_model_get_config(model)->vocab_size;
    float *got = malloc(CHECKED_TOKENS * vocabulary * sizeof *got);
    double *expected = malloc(CHECKED_TOKENS * vocabulary * sizeof *expected);
    int32_t tokens[CHECKED_TOKENS];
    lm_state *state = NULL;
    lm_status status = got != NULL && expected != NULL ? lm_state_create(model, 1, &state)
                                                       : lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    for (int i = 0; i < CHECKED_TOKENS && status == LM_OK; i++) {
        tokens[i] = (int32_t)((size_t)i * 101 % vocabulary);
        const lm_run_params run = {.batch = 1, .length = 1, .tokens = &tokens[i], .kind = LM_OUTPUT_LAST,
                                   .output = got + (size_t)i * vocabulary};
        status = lm_model_run(model, state, &run);
    }
    if (status == LM_OK) status = lm_reference_model_logits(reference, CHECKED_TOKENS, tokens, expected);
    if (status == LM_OK) *error = bench_error(got, expected, CHECKED_TOKENS * vocabulary);
    lm_state_destroy(&state);
    free(got);
    free(expected);
    return status;
}

static bool is_huge(const lm_config *config)
{
    return config->layers * 3.5 * config->expand * config->d_model * config->d_model > 2e8;
}

static lm_status check(bench_session *session, lm_config config, bench_row *row, char *text, size_t size)
{
    const char *folder = session->options->model;
    lm_reference_model *reference = NULL;
    lm_tensor_set one = {0}, set = {0};
    lm_model *model = NULL;
    double error = 0;
    const uint32_t layers = config.layers;
    if (folder == NULL && is_huge(&config)) config.layers = CHECKED_LAYERS;
    lm_status status = folder != NULL ? lm_reference_model_load(folder, &reference) : make_tensors(&config, &one, &set);
    if (status == LM_OK && folder == NULL) status = lm_reference_model_create(&config, &set, &reference);
    if (status == LM_OK) status = create(session, &config, NULL, &model);
    if (status == LM_OK) status = compare_steps(model, reference, &error);
    if (status == LM_OK) {
        /* A layer adds what a block may be off by, in any direction, to what the layers before it left. */
        row->passed = error <= 2e-6 * (2 + sqrt(config.layers));
        snprintf(text, size, "%u tokens checked%s, error %.1e", CHECKED_TOKENS, config.layers < layers ? " with 2 layers" : "", error);
        row->check = text;
    }
    lm_model_destroy(&model);
    lm_reference_model_destroy(&reference);
    free_tensors(&one, &set);
    return status;
}

static lm_status measure_step(bench_session *session, const lm_config *config, bool timed, model_bench *m, bench_times *host,
                              bench_times *device, bench_profile *profile)
{
    const lm_model_params params = {.deterministic = session->options->deterministic, .device_times = timed};
    lm_status status = create(session, config, &params, &m->model);
    if (status == LM_OK) status = lm_state_create(m->model, m->batch, &m->state);
    if (status == LM_OK) status = bench_measure(session, step, m, session->options->seconds, host, device);
    if (status == LM_OK && profile != NULL) status = bench_profile_measure(session, m->model, step, m, profile);
    lm_state_destroy(&m->state);
    return status;
}

static lm_status generate_once(void *user, double *device)
{
    const generate_bench *g = user;
    lm_generate_stats stats;
    const lm_status status = lm_generate(g->model, NULL, g->params, &stats);
    *device = 0;
    return status;
}

/* Greedy, from the same prompt again and again. A profile is of the whole call. */
static lm_status generate(bench_session *session, const model_bench *m, const char *shape)
{
    enum { PROMPT = 32, NEW = 256, LEAST = 3 };
    int32_t prompt[PROMPT];
    const uint32_t vocabulary = lm_model_get_config(m->model)->vocab_size;
    for (int i = 0; i < PROMPT; i++) prompt[i] = (int32_t)((uint32_t)i * UINT32_C(2654435761) % vocabulary);
    const lm_generate_params params = {.prompt = prompt, .prompt_length = PROMPT, .max_tokens = NEW};
    bench_row row = {.part = "models", .name = "generate", .shape = shape, .unit = "tokens/s", .passed = true};
    /* The first one builds what the others run, while a GPU's clocks fall. */
    double begin = lm_clock();
    for (int i = 0; i < LEAST || lm_clock() - begin < 0.6 + session->options->seconds; i++) {
        if (i == 1) begin = lm_clock();
        lm_generate_stats stats;
        const lm_status status = lm_generate(m->model, NULL, &params, &stats);
        if (status != LM_OK) return status;
        const double rate = (stats.new_tokens - 1) / stats.new_seconds;
        if (rate > row.rate) row.rate = rate, row.host.median = row.host.best = 1 / rate;
        row.host.runs++;
    }
    bench_profile profile = {0};
    generate_bench g = {m->model, &params};
    lm_status status = LM_OK;
    if (session->options->profile) {
        status = bench_profile_measure(session, m->model, generate_once, &g, &profile);
        row.profile = &profile;
    }
    if (status == LM_OK) bench_report(session, &row);
    bench_profile_free(&profile);
    return status;
}

static void bench_model(bench_session *session, lm_config config, uint32_t batch)
{
    const char *folder = session->options->model;
    model_bench m = {.batch = batch, .tokens = calloc(batch, sizeof(int32_t))};
    lm_model_info info = {0};
    char shape[96] = "", checked[80];
    lm_status status = m.tokens != NULL ? LM_OK : lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    if (status == LM_OK && folder != NULL) {
        status = lm_model_inspect(folder, &info);
        config = info.config;
    } else if (status == LM_OK) {
        config.vocab_size = config.vocab_size != 0 ? config.vocab_size : VOCABULARY;
        status = lm_config_complete(&config);
    }
    snprintf(shape, sizeof shape, "B=%u layers=%u d_model=%u m=%u", batch, config.layers, config.d_model, config.branches);
    bench_row row = {.part = "models", .name = "step", .shape = shape, .passed = true};
    bench_times ignored;
    bench_profile profile = {0};
    if (session->options->profile) row.profile = &profile;
    if (status == LM_OK && !session->options->no_check) status = check(session, config, &row, checked, sizeof checked);
    if (status == LM_OK && row.passed)
        status = measure_step(session, &config, true, &m, &row.host, &row.device, row.profile != NULL ? &profile : NULL);
    /* The host's time without timestamps, unless they are lost in it and the model takes long to make. */
    if (!is_huge(&config)) lm_model_destroy(&m.model);
    if (status == LM_OK && row.passed && m.model == NULL)
        status = measure_step(session, &config, false, &m, &row.host, &ignored, NULL);
    if (status == LM_OK) bench_report(session, &row);
    if (status == LM_OK && row.passed && folder != NULL) status = generate(session, &m, shape);
    if (status != LM_OK) bench_report_error(session, "models", "step", shape, status);
    lm_model_destroy(&m.model);
    bench_profile_free(&profile);
    free(m.tokens);
}

void bench_models(bench_session *session)
{
    const bench_options *o = session->options;
    if (o->model != NULL || o->config.layers != 0) {
        bench_model(session, o->config, o->batch);
        return;
    }
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++) {
        if (strcmp(model_rows[i].set, o->set) != 0) continue;
        lm_config config = o->config;
        config.layers = model_rows[i].layers;
        config.d_model = model_rows[i].d_model;
        bench_model(session, config, 1);
    }
}
