/* host/model.c: models, and how a call is cut into passes. */
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "host/model.h"
#include "host/tune.h"
#include "runtime/backend.h"

/* ---- creation ----------------------------------------------------------------------------------------------------------- */

/* What a device of its own memory has plenty of; elsewhere it is the application's, too, and passes gain little from more. */
static uint64_t default_workspace(const lm_device *device)
{
    const uint64_t least = UINT64_C(256) << 20, most = UINT64_C(2) << 30, share = device->info.memory_bytes / 16;
    if (device->info.type != LM_DEVICE_DISCRETE || share < least) return least;
    return share < most ? share : most;
}

lm_status lm_model_create(lm_device *device, const lm_config *config, const lm_tensor_set *set, const lm_model_params *params,
                          lm_model **out)
{
    *out = NULL;
    lm_model_tensors tensors;
    lm_status status = lm_model_tensors_find(set, config, &tensors); /* before anything is allocated for weights */
    if (status != LM_OK) return status;
    lm_model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        lm_model_tensors_free(&tensors);
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", set->path);
    }
    model->device = device;
    model->config = *config;
    model->d_inner = lm_config_d_inner(config);
    model->workspace_limit = params != NULL && params->workspace_bytes > 0 ? params->workspace_bytes : default_workspace(device);
    model->timed = params != NULL && params->device_times;
    model->deterministic = params != NULL && params->deterministic;

    const bool stacked = config->variant == LM_VARIANT_STCN;
    model->rings = stacked ? config->branches : 1;
    for (uint32_t i = 0; i < config->branches; i++) {
        const uint32_t length = (config->d_conv - 1) * config->dilations[i] + 1, ring = stacked ? i : 0;
        if (length > model->ring_length[ring]) model->ring_length[ring] = length;
    }
    status = lm_weights_upload(model, &tensors);
    lm_model_tensors_free(&tensors);
    if (status != LM_OK) {
        lm_model_destroy(&model);
        return status;
    }
    *out = model;
    return LM_OK;
}

lm_status lm_model_load(lm_device *device, const char *folder, const lm_model_params *params, lm_model **out)
{
    if (device == NULL || folder == NULL || out == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_load: requires a device, a folder and a place for the model");
    *out = NULL;
    lm_config config;
    lm_tensor_set set;
    lm_status status = lm_config_read(folder, &config);
    if (status != LM_OK) return status;
    if (params == NULL || !params->untuned) lm_tune_load(device);
    status = lm_tensor_set_open(folder, &set);
    if (status != LM_OK) return status;
    status = lm_model_create(device, &config, &set, params, out);
    lm_tensor_set_free(&set);
    return status;
}

void lm_model_destroy(lm_model **out)
{
    if (out == NULL || *out == NULL) return;
    lm_model *model = *out;
    lm_state_destroy(&model->scratch);
    lm_pass_forget(model, NULL);
    if (model->state_count > 0)
        lm_log(model->device->context, LM_LOG_ERROR, "a model is destroyed with %u states alive", model->state_count);
    lm_buffer_destroy(&model->workspace);
    lm_weights_free(model);
    free(model->pieces);
    free(model);
    *out = NULL;
}

const lm_config *lm_model_get_config(const lm_model *model) { return model != NULL ? &model->config : NULL; }

double lm_model_device_seconds(const lm_model *model) { return model != NULL ? model->device_seconds : 0.0; }

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

/* The model's own state for calls without one, with at least `slots` slots. */
static lm_status get_scratch(lm_model *model, uint32_t slots, lm_state **out)
{
    if (model->scratch == NULL || model->scratch->slots < slots) { /* which fit one bank: lm_pass_limits */
        lm_state_destroy(&model->scratch);
        lm_status status = lm_state_create(model, slots, &model->scratch);
        if (status != LM_OK) return status;
    }
    *out = model->scratch;
    return LM_OK;
}

/* What a call runs: packed sequences, and where their slots are. */
typedef struct call {
    lm_sequences sequences;      /* offsets NULL: each has `length` tokens */
    uint32_t length;
    lm_output kind;
    lm_pass_io io;
} call;

static uint64_t sequence_first(const call *c, uint32_t i)
{
    return c->sequences.offsets != NULL ? c->sequences.offsets[i] : (uint64_t)i * c->length;
}

static uint32_t sequence_length(const call *c, uint32_t i)
{
    return c->sequences.offsets != NULL ? c->sequences.offsets[i + 1] - c->sequences.offsets[i] : c->length;
}

/* Where a call has got to in a bank of slots: tokens of sequence `next` before `done` have been given to passes. */
typedef struct progress {
    uint32_t bank, next, done;
} progress;

static uint32_t slot_of(const call *c, uint32_t i) { return c->sequences.slots != NULL ? c->sequences.slots[i] : i; }

/* Takes the pieces of the next pass over a bank: whole sequences while they fit, or as much as fits of one. A sequence that is cut
 * stands alone but for its rest, which is first in its pass: so calls without a state, which give slots by place, go on in slot 0. */
static uint32_t take_pieces(lm_model *model, const call *c, bool fresh, uint32_t most, uint32_t max_rows, progress *at,
                            lm_pass_key *key)
{
    uint32_t count = 0;
    key->rows = key->longest = 0;
    while (count < most && at->next < c->sequences.count) {
        const uint32_t left = sequence_length(c, at->next) - at->done;
        if (left == 0 || (!fresh && slot_of(c, at->next) / key->state->bank_slots != at->bank)) {
            at->next++;
            at->done = 0;
            continue;
        }
        const uint32_t longest = left > key->longest ? left : key->longest;
        if (count > 0 && (uint64_t)(count + 1) * longest > max_rows) break;
        lm_piece *piece = &model->pieces[count];
        *piece = (lm_piece){
            .slot = fresh ? count : slot_of(c, at->next),
            .sequence = at->next,
            .length = left < max_rows ? left : max_rows,
            .row = sequence_first(c, at->next) + at->done,
            .ends = left <= max_rows,
        };
        if (fresh && at->done == 0) lm_state_place(model->scratch, count, 0, 0);
        key->rows += piece->length;
        if (piece->length > key->longest) key->longest = piece->length;
        count++;
        at->done += piece->length;
        if (!piece->ends) break;
        at->next++;
        at->done = 0;
    }
    key->pieces = count;
    return count;
}

static lm_status reserve_pieces(lm_model *model, uint32_t count)
{
    if (count <= model->piece_capacity) return LM_OK;
    lm_piece *grown = realloc(model->pieces, count * sizeof *grown);
    if (grown == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "a batch of %u sequences: out of memory", count);
    model->pieces = grown;
    model->piece_capacity = count;
    return LM_OK;
}

static lm_status run_call(lm_model *model, const call *c, lm_state *state)
{
    const bool fresh = state == NULL, by_row = c->kind == LM_OUTPUT_ALL || c->kind == LM_OUTPUT_LOSS;
    model->device_seconds = 0.0;
    if (c->sequences.count == 0) return LM_OK;
    uint32_t most, max_rows;
    lm_pass_limits(model, c->kind, fresh, c->sequences.count, &most, &max_rows);
    lm_status status = reserve_pieces(model, most);
    if (status == LM_OK && fresh) status = get_scratch(model, most, &state);
    bool started = false;
    for (progress at = {0}; status == LM_OK && at.bank < state->bank_count;) {
        lm_pass_key key = {.state = state, .bank = at.bank, .kind = c->kind};
        if (take_pieces(model, c, fresh, most, max_rows, &at, &key) == 0) {
            at = (progress){.bank = fresh ? state->bank_count : at.bank + 1};
            continue;
        }
        if (!by_row && !model->pieces[key.pieces - 1].ends) key.kind = LM_OUTPUT_NONE; /* a cut sequence stands alone */
        lm_pass *pass = NULL;
        status = lm_pass_get(model, &key, &pass);
        if (status == LM_OK) status = lm_pass_run(model, pass, model->pieces, &c->io, &started);
        /* The caller's state has moved on in part and cannot be taken back: no later call may use it. */
        if (status != LM_OK && started && !fresh) status = lm_state_spoilt(state, "a call");
    }
    return status;
}

/* Refuses sequences that do not fit the state. */
static lm_status check_sequences(const char *what, const lm_sequences *sequences, lm_state *state)
{
    const uint32_t *offsets = sequences->offsets, *slots = sequences->slots, count = sequences->count;
    if (offsets == NULL && count > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: sequences need offsets", what);
    if (count > 0 && offsets[0] != 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: offsets start at %u instead of 0", what, offsets[0]);
    for (uint32_t i = 0; i < count; i++)
        if (offsets[i + 1] < offsets[i])
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: offsets decrease from %u to %u at sequence %u", what, offsets[i],
                           offsets[i + 1], i);
    if (state == NULL) {
        if (slots != NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slots without a state", what);
        return LM_OK;
    }
    lm_state_mark(state);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t slot = slots != NULL ? slots[i] : i;
        if (slot >= state->slots)
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slot %u of sequence %u is outside a state of %u slots", what, slot, i,
                           state->slots);
        if (!lm_state_mark_slot(state, slot))
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slot %u is used twice in one batch", what, slot);
    }
    return LM_OK;
}

static lm_status check_model(const char *what, const lm_model *model, const lm_state *state)
{
    if (state == NULL || state->model == model) return LM_OK;
    return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: the state is of another model", what);
}

static lm_status check_batch(const char *what, const lm_state *state, uint32_t batch)
{
    if (state == NULL || state->slots == batch) return LM_OK;
    return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: a batch of %u does not match a state of %u slots", what, batch,
                   state->slots);
}

static lm_status check_block_call(const char *what, const lm_model *model, const lm_state *state)
{
    if (model == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a model", what);
    if (model->config.layers > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: this is a language model; it runs tokens (lm_model_run)", what);
    return check_model(what, model, state);
}

lm_status lm_block_forward(lm_model *model, lm_state *state, uint32_t batch, uint32_t length, const float *x, float *y)
{
    lm_status status = check_block_call("lm_block_forward", model, state);
    if (status == LM_OK) status = check_batch("lm_block_forward", state, batch);
    if (status != LM_OK) return status;
    if ((x == NULL || y == NULL) && batch > 0 && length > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_block_forward: requires an input and an output");
    const call c = {.sequences = {.count = batch}, .length = length, .io = {.x = x, .y = y}};
    return run_call(model, &c, state);
}

lm_status lm_block_forward_packed(lm_model *model, lm_state *state, const lm_sequences *sequences, const float *x, float *y)
{
    static const char what[] = "lm_block_forward_packed";
    lm_status status = check_block_call(what, model, state);
    if (status != LM_OK) return status;
    if (sequences == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires sequences", what);
    status = check_sequences(what, sequences, state);
    if (status != LM_OK) return status;
    if ((x == NULL || y == NULL) && sequences->count > 0 && sequences->offsets[sequences->count] > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires an input and an output", what);
    const call c = {.sequences = *sequences, .io = {.x = x, .y = y}};
    return run_call(model, &c, state);
}

/* The sequence that row `row` of the call belongs to. */
static uint32_t sequence_of(const call *c, uint64_t row)
{
    uint32_t i = 0;
    while (row >= sequence_first(c, i) + sequence_length(c, i)) i++;
    return i;
}

static lm_status check_tokens(const char *name, const int32_t *tokens, const call *c, uint64_t rows, uint32_t vocab)
{
    for (uint64_t i = 0; i < rows; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab) {
            const uint32_t sequence = sequence_of(c, i);
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT,
                           "lm_model_run: %s %d at position %llu of sequence %u is outside the vocabulary of %u", name,
                           (int)tokens[i], (unsigned long long)(i - sequence_first(c, sequence)), sequence, vocab);
        }
    return LM_OK;
}

static lm_status check_run(const lm_model *model, const lm_run_params *p, const call *c)
{
    uint64_t rows = c->sequences.count == 0 ? 0 : sequence_first(c, c->sequences.count - 1);
    if (c->sequences.count > 0) rows += sequence_length(c, c->sequences.count - 1);
    if ((unsigned)p->kind > LM_OUTPUT_LOSS)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: %d is no kind of output", (int)p->kind);
    if (rows > 0 && (p->tokens == NULL || (p->kind != LM_OUTPUT_NONE && p->output == NULL) ||
                     (p->kind == LM_OUTPUT_LOSS && p->targets == NULL)))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: tokens, targets or output are missing");
    if (p->kind == LM_OUTPUT_LAST || p->kind == LM_OUTPUT_ARGMAX)
        for (uint32_t i = 0; i < c->sequences.count; i++)
            if (sequence_length(c, i) == 0)
                return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: sequence %u has no tokens, and so no last one", i);
    lm_status status = check_tokens("token", p->tokens, c, rows, model->config.vocab_size);
    if (status == LM_OK && p->kind == LM_OUTPUT_LOSS)
        status = check_tokens("target", p->targets, c, rows, model->config.vocab_size);
    return status;
}

lm_status lm_model_run(lm_model *model, lm_state *state, const lm_run_params *params)
{
    static const char what[] = "lm_model_run";
    if (model == NULL || params == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a model and parameters", what);
    if (model->config.layers == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: this is a bare block; it runs lm_block_forward", what);
    const lm_run_params *p = params;
    lm_status status = check_model(what, model, state);
    if (status == LM_OK)
        status = p->sequences != NULL ? check_sequences(what, p->sequences, state) : check_batch(what, state, p->batch);
    if (status != LM_OK) return status;
    call c = {.sequences = {.count = p->batch}, .length = p->length, .kind = p->kind,
              .io = {.tokens = p->tokens, .targets = p->targets, .output = p->output}};
    if (p->sequences != NULL) c.sequences = *p->sequences;
    status = check_run(model, p, &c);
    return status == LM_OK ? run_call(model, &c, state) : status;
}
