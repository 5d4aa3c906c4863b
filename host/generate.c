/* host/generate.c: prompt in, tokens out. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "host/model.h"
#include "host/sample.h"
#include "runtime/backend.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct generator {
    lm_model *model;
    lm_state *state;
    const lm_generate_params *params;
    lm_sampling sampling;
    lm_random random;
    float *logits;           /* NULL when greedy: the device finds the likeliest token */
    lm_candidate *scratch;
    lm_generate_stats stats;
} generator;

/* Runs tokens and chooses the one that follows. */
static lm_status next_token(generator *g, const int32_t *tokens, uint32_t count, int32_t *next)
{
    const bool greedy = g->logits == NULL;
    const lm_run_params run = {
        .batch = 1,
        .length = count,
        .tokens = tokens,
        .kind = greedy ? LM_OUTPUT_ARGMAX : LM_OUTPUT_LAST,
        .output = greedy ? (void *)next : (void *)g->logits,
    };
    lm_status status = lm_model_run(g->model, g->state, &run);
    if (status == LM_OK && !greedy)
        *next = lm_sample(&g->sampling, g->logits, g->model->config.vocab_size, g->scratch, &g->random);
    return status;
}

static lm_status generate(generator *g)
{
    const lm_generate_params *p = g->params;
    const uint32_t max_tokens = p->max_tokens > 0 ? p->max_tokens : 200;
    const double start = now();
    int32_t token = 0;
    lm_status status = next_token(g, p->prompt, p->prompt_length, &token);
    const double first = now();
    g->stats.prompt_tokens = p->prompt_length;
    g->stats.prompt_seconds = first - start;
    while (status == LM_OK) {
        g->stats.new_tokens++;
        if (p->on_token != NULL && !p->on_token(p->user, token)) break;
        if (g->stats.new_tokens == max_tokens) break;
        const int32_t last = token;
        status = next_token(g, &last, 1, &token);
    }
    g->stats.new_seconds = now() - first;
    return status;
}

lm_status lm_generate(lm_model *model, lm_state *state, const lm_generate_params *params, lm_generate_stats *stats)
{
    if (model == NULL || params == NULL || params->prompt == NULL || params->prompt_length == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_generate: requires a model and a prompt of at least one token");
    if (model->config.layers == 0) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_generate: a bare block has no tokens");
    if (state != NULL && (state->model != model || state->slots != 1))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_generate: requires a state of this model with 1 slot");
    if (!(params->temperature >= 0.0f) || isinf(params->temperature) || !(params->top_p >= 0.0f && params->top_p <= 1.0f))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_generate: requires a temperature of 0 or more and top_p from 0 to 1");

    generator g = {
        .model = model,
        .state = state,
        .params = params,
        .sampling = {.temperature = params->temperature, .top_p = params->top_p, .top_k = params->top_k},
        .random = lm_random_stream(params->seed, "sample"),
    };
    lm_state *own = NULL;
    lm_status status = LM_OK;
    if (state == NULL) {
        status = lm_state_create(model, 1, &own);
        g.state = own;
    }
    if (status == LM_OK && params->temperature > 0.0f) {
        g.logits = malloc(model->config.vocab_size * sizeof *g.logits);
        g.scratch = malloc(model->config.vocab_size * sizeof *g.scratch);
        if (g.logits == NULL || g.scratch == NULL) status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_generate: out of memory");
    }
    if (status == LM_OK) status = generate(&g);
    if (stats != NULL) *stats = g.stats;
    free(g.logits);
    free(g.scratch);
    lm_state_destroy(&own);
    return status;
}
