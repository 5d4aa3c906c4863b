/* host/generate_batch.c: the calls that generate: what they refuse, and the memory of the loop. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/checked.h"
#include "host/generate.h"
#include "runtime/backend.h"

enum { DEFAULT_SLOTS = 8, DEFAULT_CHUNK = 512 };

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static lm_status check_tokens(const char *what, const char *name, const int32_t *tokens, uint32_t count, uint32_t vocab)
{
    if (tokens == NULL || count == 0) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: %s without a token", what, name);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT,
                           "%s: token %d at position %u of %s is outside the vocabulary of %u", what, (int)tokens[i], i,
                           name, vocab);
    return LM_OK;
}

static lm_status check_text(const char *what, const lm_generate_params *p, uint32_t vocab)
{
    char name[32];
    if (!(p->temperature >= 0.0f) || isinf(p->temperature) || !(p->top_p >= 0.0f && p->top_p <= 1.0f))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a temperature of 0 or more and top_p from 0 to 1",
                       what);
    if (p->stops == NULL && p->stop_count > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: %u stop sequences are missing", what, p->stop_count);
    lm_status status = check_tokens(what, "a prompt", p->prompt, p->prompt_length, vocab);
    for (uint32_t i = 0; i < p->stop_count && status == LM_OK; i++) {
        snprintf(name, sizeof name, "stop sequence %u", i);
        status = check_tokens(what, name, p->stops[i].tokens, p->stops[i].length, vocab);
    }
    return status;
}

static lm_status check_model(const char *what, const lm_model *model, const void *params)
{
    if (model == NULL || params == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a model and parameters", what);
    if (model->config.layers == 0) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: a bare block has no tokens", what);
    return LM_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* What the texts need at most. */
typedef struct needs {
    uint64_t prompts;            /* tokens of all of them */
    uint64_t stops, stop_tokens; /* of one text */
    bool sampled;
} needs;

static needs count_needs(const lm_generate_batch_params *params)
{
    needs n = {0};
    for (uint32_t i = 0; i < params->count; i++) {
        const lm_generate_params *p = &params->texts[i];
        uint64_t stop_tokens = 0;
        for (uint32_t k = 0; k < p->stop_count; k++) stop_tokens += p->stops[k].length;
        n.prompts += p->prompt_length;
        n.stops = p->stop_count > n.stops ? p->stop_count : n.stops;
        n.stop_tokens = stop_tokens > n.stop_tokens ? stop_tokens : n.stop_tokens;
        n.sampled |= p->temperature > 0.0f;
    }
    return n;
}

/* At least one of them, so that NULL is a failure. */
static void *allocate(uint64_t count, size_t size, bool *failed)
{
    size_t bytes;
    void *memory = lm_checked_bytes(count > 0 ? count : 1, size, &bytes) ? malloc(bytes) : NULL;
    *failed |= memory == NULL;
    return memory;
}

static lm_status create(lm_generator *self, const needs *n)
{
    const uint64_t slots = self->slots, vocab = self->model->config.vocab_size;
    const uint64_t room = (n->prompts < self->chunk ? n->prompts : self->chunk) + slots;
    bool failed = false;
    if (room > UINT32_MAX)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_generate_batch: %u tokens of prompts and %u slots are too much for a step",
                       self->chunk, self->slots);
    self->tokens = allocate(room, sizeof *self->tokens, &failed);
    self->offsets = allocate(slots + 1, sizeof *self->offsets, &failed);
    self->slot_of = allocate(slots, sizeof *self->slot_of, &failed);
    self->chosen = allocate(slots, sizeof *self->chosen, &failed);
    if (n->sampled) {
        self->logits = allocate(slots * vocab, sizeof *self->logits, &failed);
        self->scratch = allocate(vocab, sizeof *self->scratch, &failed);
    }
    self->order = allocate(slots, sizeof *self->order, &failed);
    self->writers = calloc(slots, sizeof *self->writers);
    for (uint32_t i = 0; i < slots && self->writers != NULL && !failed; i++) {
        lm_writer *writer = self->order[i] = &self->writers[i];
        writer->slot = i;
        writer->stops.matched = allocate(n->stops, sizeof(uint32_t), &failed);
        writer->stops.borders = allocate(n->stop_tokens, sizeof(uint32_t), &failed);
    }
    if (failed || self->writers == NULL)
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "generating %u texts: out of memory", self->slots);
    self->offsets[0] = 0;
    return LM_OK;
}

static void destroy(lm_generator *self)
{
    for (uint32_t i = 0; i < self->slots && self->writers != NULL; i++) {
        free(self->writers[i].stops.matched);
        free(self->writers[i].stops.borders);
    }
    free(self->writers);
    free(self->order);
    free(self->tokens);
    free(self->offsets);
    free(self->slot_of);
    free(self->chosen);
    free(self->logits);
    free(self->scratch);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* All is checked. `state` NULL: one for this call. */
static lm_status generate(lm_model *model, lm_state *state, const lm_generate_batch_params *params, lm_generate_stats *stats)
{
    lm_generator self = {.model = model, .state = state, .goes_on = state != NULL, .params = params, .stats = stats};
    self.slots = params->slots > 0 ? params->slots : DEFAULT_SLOTS;
    if (self.slots > params->count) self.slots = params->count;
    self.chunk = params->chunk > 0 ? params->chunk : DEFAULT_CHUNK;
    const needs n = count_needs(params);
    lm_state *own = NULL;
    lm_status status = create(&self, &n);
    if (status == LM_OK && state == NULL) status = lm_state_create(model, self.slots, &own);
    if (own != NULL) self.state = own;
    if (status == LM_OK) status = lm_generator_run(&self);
    destroy(&self);
    lm_state_destroy(&own);
    return status;
}

lm_status lm_generate(lm_model *model, lm_state *state, const lm_generate_params *params, lm_generate_stats *stats)
{
    static const char what[] = "lm_generate";
    if (stats != NULL) *stats = (lm_generate_stats){0};
    lm_status status = check_model(what, model, params);
    if (status == LM_OK) status = check_text(what, params, model->config.vocab_size);
    if (status != LM_OK) return status;
    if (state != NULL && (state->model != model || state->slots != 1))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a state of this model with 1 slot", what);
    return generate(model, state, &(lm_generate_batch_params){.count = 1, .texts = params, .slots = 1, .chunk = UINT32_MAX - 1}, stats);
}

lm_status lm_generate_batch(lm_model *model, const lm_generate_batch_params *params, lm_generate_stats *stats)
{
    char what[48] = "lm_generate_batch";
    lm_status status = check_model(what, model, params);
    if (status != LM_OK) return status;
    if (params->texts == NULL && params->count > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires texts", what);
    for (uint32_t i = 0; stats != NULL && i < params->count; i++) stats[i] = (lm_generate_stats){0};
    for (uint32_t i = 0; i < params->count && status == LM_OK; i++) {
        snprintf(what, sizeof what, "lm_generate_batch: text %u", i);
        status = check_text(what, &params->texts[i], model->config.vocab_size);
    }
    if (status != LM_OK || params->count == 0) return status;
    return generate(model, NULL, params, stats);
}
