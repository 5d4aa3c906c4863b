/* host/snapshot.c: slots to and from safetensors, in lite-mamba's layout.
 *
 * lite-mamba keeps, per branch k, the last S_k = (K−1)·δ_k + 1 inputs as (B, d_inner, S_k), oldest first and zeros where there was no
 * token yet, and the scan's state as (B, d_inner, d_state). Here rings and states are channel-last, and ptcn's, dpwc's and baseline's
 * branches share the ring of the longest one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"

enum { NAME_SIZE = 64, HASH_SIZE = 17 };

/* What makes states of two models interchangeable: everything of the configuration that shapes or reads a state. */
static void config_hash(const lm_config *config, char text[HASH_SIZE])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    const uint32_t head[] = {(uint32_t)config->variant, config->d_model, config->d_state, config->d_conv, config->branches,
                             lm_config_d_inner(config), config->dt_rank, config->layers, config->vocab_size};
    const size_t head_count = sizeof head / sizeof *head;
    for (size_t i = 0; i < head_count + config->branches; i++) {
        const uint32_t value = i < head_count ? head[i] : config->dilations[i - head_count];
        for (int byte = 0; byte < 4; byte++) hash = (hash ^ (value >> 8 * byte & 0xff)) * UINT64_C(0x100000001b3);
    }
    snprintf(text, HASH_SIZE, "%016" PRIx64, hash);
}

static uint32_t branch_inputs(const lm_config *config, uint32_t branch)
{
    return (config->d_conv - 1) * config->dilations[branch] + 1;
}

static void conv_name(const lm_model *model, uint32_t block, uint32_t branch, char name[NAME_SIZE])
{
    if (model->config.layers > 0)
        snprintf(name, NAME_SIZE, "layers.%u.conv_state.%u", block, branch);
    else
        snprintf(name, NAME_SIZE, "conv_state.%u", branch);
}

static void scan_name(const lm_model *model, uint32_t block, char name[NAME_SIZE])
{
    if (model->config.layers > 0)
        snprintf(name, NAME_SIZE, "layers.%u.ssm_state", block);
    else
        snprintf(name, NAME_SIZE, "ssm_state");
}

static lm_status out_of_memory(const char *path) { return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", path); }

/* A view's floats, malloc'd. */
static lm_status download(const char *path, lm_view view, float **out)
{
    *out = malloc((size_t)view.size);
    if (*out == NULL) return out_of_memory(path);
    return lm_buffer_download(view.buffer, view.offset, *out, view.size);
}

/* ---- saving --------------------------------------------------------------------------------------------------------------- */

/* Appends a tensor (1, channels, width); its data is what is returned, NULL when memory is short. */
static float *add_tensor(lm_tensor_set *set, const char *name, uint64_t channels, uint64_t width)
{
    const uint64_t count = channels * width;
    float *data = malloc((size_t)(count * sizeof(float)));
    char *copy = strdup(name);
    if (data == NULL || copy == NULL) {
        free(data);
        free(copy);
        return NULL;
    }
    set->tensors[set->count++] = (lm_tensor){.name = copy, .dtype = LM_DTYPE_F32, .rank = 3, .shape = {1, channels, width},
                                             .count = count, .nbytes = count * sizeof(float), .data = data};
    return data;
}

/* Branch `branch`'s inputs from its ring (ring_length, channels): entry i of `kept` is the input of token position − kept + i. */
static void unroll(const lm_model *model, const float *ring, uint32_t ring_length, uint64_t position, uint32_t kept, float *out)
{
    const size_t channels = model->d_inner;
    for (uint32_t i = 0; i < kept; i++) {
        const uint32_t back = kept - i; /* 1 is the newest */
        const float *entry = ring + (position + ring_length - back) % ring_length * channels;
        for (size_t c = 0; c < channels; c++) out[c * kept + i] = back <= position ? entry[c] : 0.0f;
    }
}

static lm_status gather_block(const lm_state *state, uint32_t slot, uint32_t block, const char *path, lm_tensor_set *set)
{
    const lm_model *model = state->model;
    const lm_config *config = &model->config;
    const size_t channels = model->d_inner, states = config->d_state;
    const uint64_t position = state->positions[slot];
    char name[NAME_SIZE];
    float *raw = NULL;
    lm_status status = LM_OK;
    for (uint32_t k = 0; k < config->branches && status == LM_OK; k++) {
        const uint32_t ring = model->rings > 1 ? k : 0;
        if (ring == k) {
            free(raw);
            status = download(path, lm_state_history(state, block, ring, slot), &raw);
        }
        conv_name(model, block, k, name);
        float *out = status == LM_OK ? add_tensor(set, name, channels, branch_inputs(config, k)) : NULL;
        if (status == LM_OK && out == NULL) status = out_of_memory(path);
        if (status == LM_OK) unroll(model, raw, state->ring_length[ring], position, branch_inputs(config, k), out);
    }
    free(raw);
    raw = NULL;
    if (status == LM_OK) status = download(path, lm_state_scan(state, block, slot, position), &raw);
    scan_name(model, block, name);
    float *out = status == LM_OK ? add_tensor(set, name, channels, states) : NULL;
    if (status == LM_OK && out == NULL) status = out_of_memory(path);
    for (size_t c = 0; c < channels && status == LM_OK; c++)
        for (size_t n = 0; n < states; n++) out[c * states + n] = position > 0 ? raw[n * channels + c] : 0.0f;
    free(raw);
    return status;
}

lm_status lm_state_save(const lm_state *state, uint32_t slot, const char *path)
{
    if (state == NULL || path == NULL || slot >= state->slots)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_save: requires a state, one of its slots, and a path");
    const lm_model *model = state->model;
    lm_tensor_set set = {.path = path};
    set.tensors = calloc((size_t)model->block_count * (model->config.branches + 1), sizeof *set.tensors);
    lm_status status = set.tensors != NULL ? LM_OK : out_of_memory(path);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = gather_block(state, slot, i, path, &set);
    char hash[HASH_SIZE], position[24];
    config_hash(&model->config, hash);
    snprintf(position, sizeof position, "%" PRIu64, state->positions[slot]);
    const lm_metadata metadata[] = {{"litemamba.config", hash}, {"litemamba.position", position}};
    if (status == LM_OK)
        status = lm_safetensors_write(path, set.tensors, set.count, metadata, sizeof metadata / sizeof *metadata);
    lm_tensor_set_free(&set);
    return status;
}

/* ---- loading -------------------------------------------------------------------------------------------------------------- */

/* A tensor (1, channels, width) of the file as float32, malloc'd. */
static lm_status read_tensor(const lm_safetensors *file, const char *name, uint64_t channels, uint64_t width, float **out)
{
    const char *path = lm_safetensors_path(file);
    const lm_tensor *tensor = lm_safetensors_find(file, name);
    if (tensor == NULL) return lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': is missing", path, name);
    if (tensor->rank != 3 || tensor->shape[0] != 1 || tensor->shape[1] != channels || tensor->shape[2] != width)
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': is not of shape (1, %" PRIu64 ", %" PRIu64 ")", path, name,
                       channels, width);
    *out = malloc((size_t)(tensor->count * sizeof(float)));
    return *out != NULL ? lm_tensor_read(tensor, *out) : out_of_memory(path);
}

/* One block's past as it will lie in the slot: rings with the oldest entry first (head 0), then the scan's state. */
typedef struct block_past {
    float *rings[LM_MAX_BRANCHES];
    float *scan;
} block_past;

/* The ring of a history from the branch that keeps most of it; the others must hold the same, as far as they go. */
static lm_status read_ring(const lm_model *model, const lm_safetensors *file, uint32_t block, uint32_t ring, float **out)
{
    const lm_config *config = &model->config;
    const size_t channels = model->d_inner, length = model->ring_length[ring];
    const uint32_t first = model->rings > 1 ? ring : 0, last = model->rings > 1 ? ring : config->branches - 1;
    *out = malloc(length * channels * sizeof **out);
    if (*out == NULL) return out_of_memory(lm_safetensors_path(file));
    lm_status status = LM_OK;
    for (uint32_t pass = 0; pass < 2; pass++) /* the longest fills it, then all are compared with it */
        for (uint32_t k = first; k <= last && status == LM_OK; k++) {
            const size_t kept = branch_inputs(config, k);
            if (pass == 0 && kept != length) continue;
            char name[NAME_SIZE];
            float *values = NULL;
            conv_name(model, block, k, name);
            if (config->variant == LM_VARIANT_BASELINE && lm_safetensors_find(file, name) == NULL)
                *strrchr(name, '.') = '\0'; /* lite-mamba's baseline has a bare tensor */
            status = read_tensor(file, name, channels, kept, &values);
            for (size_t i = 0; i < kept && status == LM_OK; i++)
                for (size_t c = 0; c < channels && status == LM_OK; c++) {
                    float *place = *out + (length - kept + i) * channels + c;
                    if (pass == 0)
                        *place = values[c * kept + i];
                    else if (memcmp(place, &values[c * kept + i], sizeof *place) != 0)
                        status = lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': holds other inputs than the longest branch",
                                         lm_safetensors_path(file), name);
                }
            free(values);
        }
    return status;
}

static lm_status read_block(const lm_model *model, const lm_safetensors *file, uint32_t block, block_past *past)
{
    const size_t channels = model->d_inner, states = model->config.d_state;
    char name[NAME_SIZE];
    lm_status status = LM_OK;
    for (uint32_t r = 0; r < model->rings && status == LM_OK; r++) status = read_ring(model, file, block, r, &past->rings[r]);
    scan_name(model, block, name);
    float *values = NULL;
    if (status == LM_OK) status = read_tensor(file, name, channels, states, &values);
    if (status == LM_OK) {
        past->scan = malloc(channels * states * sizeof(float));
        if (past->scan == NULL) status = out_of_memory(lm_safetensors_path(file));
    }
    for (size_t n = 0; n < states && status == LM_OK; n++)
        for (size_t c = 0; c < channels; c++) past->scan[n * channels + c] = values[c * states + n];
    free(values);
    return status;
}

static lm_status upload(lm_view view, const float *data) { return lm_buffer_upload(view.buffer, view.offset, data, view.size); }

/* What the file says of itself: the model it is of, and how many tokens it has seen. */
static lm_status read_metadata(const lm_model *model, const lm_safetensors *file, uint64_t *position)
{
    char hash[HASH_SIZE];
    config_hash(&model->config, hash);
    const char *of = lm_safetensors_metadata(file, "litemamba.config"), *at = lm_safetensors_metadata(file, "litemamba.position");
    if (of != NULL && strcmp(of, hash) != 0)
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: a state of another model (configuration %.16s, not %s)", lm_safetensors_path(file),
                       of, hash);
    *position = UINT32_MAX; /* of a file that does not tell: long ago */
    if (at == NULL) return LM_OK;
    char *end = NULL;
    *position = strtoull(at, &end, 10);
    if (*at < '0' || *at > '9' || *end != '\0')
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: litemamba.position is no number", lm_safetensors_path(file));
    return LM_OK;
}

/* Puts the last `kept` inputs, oldest first, where a ring of `length` entries has them after `position` tokens. */
static void turn(float *ring, size_t length, const float *inputs, size_t kept, size_t channels, uint64_t position)
{
    const size_t first = (size_t)(position % length) + length - kept;
    memset(ring, 0, length * channels * sizeof *ring);
    for (size_t i = 0; i < kept; i++)
        memcpy(ring + (first + i) % length * channels, inputs + i * channels, channels * sizeof *ring);
}

lm_status lm_state_load(lm_state *state, uint32_t slot, const char *path)
{
    if (state == NULL || path == NULL || slot >= state->slots)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_load: requires a state, one of its slots, and a path");
    const lm_model *model = state->model;
    const size_t channels = model->d_inner;
    lm_safetensors *file = NULL;
    uint64_t position = 0;
    lm_status status = lm_safetensors_open(path, &file);
    if (status != LM_OK) return status;
    status = read_metadata(model, file, &position);
    const size_t tensors = (size_t)model->block_count * (model->config.branches + 1);
    if (status == LM_OK && lm_safetensors_count(file) != tensors)
        status = lm_fail(NULL, LM_ERROR_FORMAT, "%s: has %zu tensors where a state of this model has %zu", path,
                         lm_safetensors_count(file), tensors);
    uint32_t longest = 0;
    for (uint32_t r = 0; r < model->rings; r++) longest = state->ring_length[r] > longest ? state->ring_length[r] : longest;
    block_past *pasts = calloc(model->block_count, sizeof *pasts);
    float *scratch = malloc(longest * channels * sizeof *scratch);
    if (status == LM_OK && (pasts == NULL || scratch == NULL)) status = out_of_memory(path);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = read_block(model, file, i, &pasts[i]);
    /* All of the file was good: from here on only the device can fail. */
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) {
        for (uint32_t r = 0; r < model->rings && status == LM_OK; r++) {
            turn(scratch, state->ring_length[r], pasts[i].rings[r], model->ring_length[r], channels, position);
            status = upload(lm_state_history(state, i, r, slot), scratch);
        }
        if (status == LM_OK) status = upload(lm_state_scan(state, i, slot, position), pasts[i].scan);
    }
    if (status == LM_OK) lm_state_place(state, slot, position, 0);
    for (uint32_t i = 0; i < model->block_count && pasts != NULL; i++) {
        for (uint32_t r = 0; r < model->rings; r++) free(pasts[i].rings[r]);
        free(pasts[i].scan);
    }
    free(pasts);
    free(scratch);
    lm_safetensors_close(&file);
    return status;
}
