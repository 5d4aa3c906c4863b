/* host/model.c: models, and how a call is cut into passes. */
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "host/model.h"
#include "runtime/backend.h"

/* ---- creation ----------------------------------------------------------------------------------------------------------- */

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
    model->workspace_limit =
        params != NULL && params->workspace_bytes > 0 ? params->workspace_bytes : UINT64_C(256) << 20;
    model->timed = params != NULL && params->device_times;

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
    free(model);
    *out = NULL;
}

const lm_config *lm_model_get_config(const lm_model *model) { return model != NULL ? &model->config : NULL; }

double lm_model_device_seconds(const lm_model *model) { return model != NULL ? model->device_seconds : 0.0; }

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

/* The model's own state for calls without one, with at least `slots` slots. */
static lm_status get_scratch(lm_model *model, uint32_t slots, lm_state **out)
{
    if (model->scratch == NULL || model->scratch->slots < slots) {
        lm_state_destroy(&model->scratch);
        lm_status status = lm_state_create(model, slots, &model->scratch);
        if (status != LM_OK) return status;
    }
    *out = model->scratch;
    return LM_OK;
}

typedef struct call {
    uint32_t batch, length;
    lm_output kind;
    const float *x;
    float *y;
    const int32_t *tokens, *targets;
    void *output;
} call;

/* Where sequence b0, token t0 lies in an array of `width` elements a row; NULL stays NULL. */
static const void *at(const void *base, size_t row, size_t width)
{
    return base != NULL ? (const unsigned char *)base + row * width * sizeof(float) : NULL;
}

/* Runs tokens t0 … t0+length−1 of sequences b0 … b0+batch−1. */
static lm_status run_piece(lm_model *model, const call *c, lm_state *state, bool fresh, uint32_t b0, uint32_t batch,
                           uint32_t t0, uint32_t length)
{
    const bool last = t0 + length == c->length;
    const bool by_row = c->kind == LM_OUTPUT_ALL || c->kind == LM_OUTPUT_LOSS;
    const lm_output kind = by_row || last ? c->kind : LM_OUTPUT_NONE;
    const lm_pass_key key = {.state = state, .batch = batch, .length = length, .kind = kind, .fresh = fresh && t0 == 0};
    lm_pass *pass = NULL;
    lm_status status = lm_pass_get(model, &key, &pass);
    if (status != LM_OK) return status;
    const size_t row = (size_t)b0 * c->length + t0, width = model->config.d_model;
    const size_t out_width = c->kind == LM_OUTPUT_ALL || c->kind == LM_OUTPUT_LAST ? model->config.vocab_size : 1;
    const lm_pass_io io = {
        .first_slot = fresh ? 0 : b0, /* the scratch state is used from its first slot on, group by group */
        .x = at(c->x, row, width),
        .y = (float *)at(c->y, row, width),
        .tokens = at(c->tokens, row, 1),
        .targets = at(c->targets, row, 1),
        .output = (void *)at(c->output, by_row ? row : b0, out_width),
        .stride = c->length,
    };
    return lm_pass_run(model, pass, &io);
}

static lm_status run_call(lm_model *model, const call *c, lm_state *state)
{
    model->device_seconds = 0.0;
    if (c->batch == 0 || c->length == 0) return LM_OK;
    uint32_t batch = c->batch, length = c->length;
    const bool fresh = state == NULL;
    lm_pass_fit(model, c->kind, fresh, &batch, &length);
    lm_status status = LM_OK;
    if (fresh) status = get_scratch(model, batch, &state);
    for (uint32_t b0 = 0, b = batch; b0 < c->batch && status == LM_OK; b0 += b) {
        if (b > c->batch - b0) b = c->batch - b0;
        for (uint32_t t0 = 0, t = length; t0 < c->length && status == LM_OK; t0 += t) {
            if (t > c->length - t0) t = c->length - t0; /* so that t0 ends at length and cannot wrap round */
            status = run_piece(model, c, state, fresh, b0, b, t0, t);
        }
    }
    return status;
}

static lm_status check_state(const lm_model *model, const lm_state *state, uint32_t batch, const char *what)
{
    if (state == NULL) return LM_OK;
    if (state->model != model) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: the state is of another model", what);
    if (state->slots != batch)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: a batch of %u does not match a state of %u slots", what, batch,
                       state->slots);
    return LM_OK;
}

lm_status lm_block_forward(lm_model *model, lm_state *state, uint32_t batch, uint32_t length, const float *x, float *y)
{
    if (model == NULL || ((x == NULL || y == NULL) && batch > 0 && length > 0))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_block_forward: requires a model, an input and an output");
    if (model->config.layers > 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_block_forward: this is a language model; it runs tokens (lm_model_run)");
    lm_status status = check_state(model, state, batch, "lm_block_forward");
    if (status != LM_OK) return status;
    const call c = {.batch = batch, .length = length, .kind = LM_OUTPUT_NONE, .x = x, .y = y};
    return run_call(model, &c, state);
}

static lm_status check_tokens(const char *name, const int32_t *tokens, uint32_t batch, uint32_t length, uint32_t vocab)
{
    for (size_t i = 0; i < (size_t)batch * length; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: %s %d at position %zu of sequence %zu is outside the "
                           "vocabulary of %u", name, (int)tokens[i], i % length, i / length, vocab);
    return LM_OK;
}

lm_status lm_model_run(lm_model *model, lm_state *state, const lm_run_params *params)
{
    if (model == NULL || params == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: requires a model and parameters");
    if (model->config.layers == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: this is a bare block; it runs lm_block_forward");
    const lm_run_params *p = params;
    const bool empty = p->batch == 0 || p->length == 0;
    if ((unsigned)p->kind > LM_OUTPUT_LOSS)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: %d is no kind of output", (int)p->kind);
    if (!empty && (p->tokens == NULL || (p->kind != LM_OUTPUT_NONE && p->output == NULL) ||
                   (p->kind == LM_OUTPUT_LOSS && p->targets == NULL)))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: tokens, targets or output are missing");
    if (p->length == 0 && p->batch > 0 && (p->kind == LM_OUTPUT_LAST || p->kind == LM_OUTPUT_ARGMAX))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_run: no tokens have no last one");
    lm_status status = check_state(model, state, p->batch, "lm_model_run");
    if (status == LM_OK && !empty) status = check_tokens("token", p->tokens, p->batch, p->length, model->config.vocab_size);
    if (status == LM_OK && !empty && p->kind == LM_OUTPUT_LOSS)
        status = check_tokens("target", p->targets, p->batch, p->length, model->config.vocab_size);
    if (status != LM_OK) return status;
    const call c = {.batch = p->batch, .length = p->length, .kind = p->kind, .tokens = p->tokens, .targets = p->targets,
                    .output = p->output};
    return run_call(model, &c, state);
}
