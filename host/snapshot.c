/* host/snapshot.c: slots to and from safetensors, in lite-mamba's layout, any number of them as the sequences of one file.
 *
 * lite-mamba keeps, per branch k, the last S_k = (K−1)·δ_k + 1 inputs as (B, d_inner, S_k), oldest first and zeros where there was no
 * token yet, and the scan's state as (B, d_inner, d_state). Here rings and states are channel-last, and ptcn's, dpwc's and baseline's
 * branches share the ring of the longest one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/checked.h"
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

/* `count` floats a sequence, malloc'd; NULL when memory is short. */
static float *allocate(uint64_t sequences, uint64_t count)
{
    size_t bytes;
    return lm_checked_multiply(count, sequences, &count) && lm_checked_bytes(count, sizeof(float), &bytes) ? malloc(bytes) : NULL;
}

static lm_status check_slots(const char *what, const lm_state *state, uint32_t count, const uint32_t *slots, const char *path)
{
    if (state == NULL || path == NULL || slots == NULL || count == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a state, at least one of its slots, and a path", what);
    for (uint32_t i = 0; i < count; i++)
        if (slots[i] >= state->slots)
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slot %u is outside a state of %u slots", what, slots[i], state->slots);
    return LM_OK;
}

/* ---- saving --------------------------------------------------------------------------------------------------------------- */

/* Appends a tensor (sequences, channels, width); its data is what is returned, NULL when memory is short. */
static float *add_tensor(lm_tensor_set *set, const char *name, uint64_t sequences, uint64_t channels, uint64_t width)
{
    float *data = allocate(sequences, channels * width);
    char *copy = strdup(name);
    if (data == NULL || copy == NULL) {
        free(data);
        free(copy);
        return NULL;
    }
    const uint64_t count = sequences * channels * width;
    set->tensors[set->count++] = (lm_tensor){.name = copy, .dtype = LM_DTYPE_F32, .rank = 3, .shape = {sequences, channels, width},
                                             .count = count, .nbytes = count * sizeof(float), .data = data};
    return data;
}

/* A branch's inputs from its ring (ring_length, channels): entry i of `kept` is the input of token position − kept + i. */
static void unroll(size_t channels, const float *ring, uint32_t ring_length, uint64_t position, uint32_t kept, float *out)
{
    for (uint32_t i = 0; i < kept; i++) {
        const uint32_t back = kept - i; /* 1 is the newest */
        const float *entry = ring + (position + ring_length - back) % ring_length * channels;
        for (size_t c = 0; c < channels; c++) out[c * kept + i] = back <= position ? entry[c] : 0.0f;
    }
}

static lm_status download(lm_view view, float *data) { return lm_buffer_download(view.buffer, view.offset, data, view.size); }

/* One block of one slot into sequence `sequence` of the block's tensors, the branches' and then the scan's. `raw` is for a view. */
static lm_status gather_slot(const lm_state *state, uint32_t slot, uint32_t block, uint32_t sequence, const lm_tensor *tensors,
                             float *raw)
{
    const lm_model *model = state->model;
    const lm_config *config = &model->config;
    const size_t channels = model->d_inner, states = config->d_state;
    const uint64_t position = state->positions[slot];
    lm_status status = LM_OK;
    for (uint32_t k = 0; k < config->branches && status == LM_OK; k++) {
        const uint32_t ring = model->rings > 1 ? k : 0, kept = branch_inputs(config, k);
        if (ring == k) status = download(lm_state_history(state, block, ring, slot), raw);
        float *out = (float *)tensors[k].data + sequence * channels * kept;
        if (status == LM_OK) unroll(channels, raw, state->ring_length[ring], position, kept, out);
    }
    if (status == LM_OK) status = download(lm_state_scan(state, block, slot, position), raw);
    float *out = (float *)tensors[config->branches].data + sequence * channels * states;
    for (size_t c = 0; c < channels && status == LM_OK; c++)
        for (size_t n = 0; n < states; n++) out[c * states + n] = position > 0 ? raw[n * channels + c] : 0.0f;
    return status;
}

static lm_status gather_block(const lm_state *state, uint32_t count, const uint32_t *slots, uint32_t block, lm_tensor_set *set,
                              float *raw)
{
    const lm_model *model = state->model;
    const lm_tensor *tensors = set->tensors + set->count;
    char name[NAME_SIZE];
    for (uint32_t k = 0; k <= model->config.branches; k++) {
        const bool scan = k == model->config.branches;
        if (scan)
            scan_name(model, block, name);
        else
            conv_name(model, block, k, name);
        const uint64_t width = scan ? model->config.d_state : branch_inputs(&model->config, k);
        if (add_tensor(set, name, count, model->d_inner, width) == NULL) return out_of_memory(set->path);
    }
    lm_status status = LM_OK;
    for (uint32_t i = 0; i < count && status == LM_OK; i++) status = gather_slot(state, slots[i], block, i, tensors, raw);
    return status;
}

/* Floats of the largest view of a slot. */
static size_t largest_view(const lm_state *state)
{
    size_t longest = state->model->config.d_state;
    for (uint32_t r = 0; r < state->model->rings; r++) longest = state->ring_length[r] > longest ? state->ring_length[r] : longest;
    return longest * state->model->d_inner;
}

/* The slots' positions as text, with commas, malloc'd. */
static char *positions_text(const lm_state *state, uint32_t count, const uint32_t *slots)
{
    enum { DIGITS = 21 };
    char *text = malloc((size_t)count * DIGITS + 1), *at = text;
    for (uint32_t i = 0; i < count && text != NULL; i++)
        at += snprintf(at, DIGITS + 1, "%s%" PRIu64, i > 0 ? "," : "", state->positions[slots[i]]);
    return text;
}

lm_status lm_state_save_slots(const lm_state *state, uint32_t count, const uint32_t *slots, const char *path)
{
    lm_status status = check_slots("lm_state_save", state, count, slots, path);
    if (status != LM_OK) return status;
    const lm_model *model = state->model;
    lm_tensor_set set = {.path = path};
    set.tensors = calloc((size_t)model->block_count * (model->config.branches + 1), sizeof *set.tensors);
    float *raw = allocate(1, largest_view(state));
    char hash[HASH_SIZE], *positions = positions_text(state, count, slots);
    config_hash(&model->config, hash);
    if (set.tensors == NULL || raw == NULL || positions == NULL) status = out_of_memory(path);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = gather_block(state, count, slots, i, &set, raw);
    const lm_metadata metadata[] = {{"litemamba.config", hash}, {"litemamba.position", positions}};
    if (status == LM_OK)
        status = lm_safetensors_write(path, set.tensors, set.count, metadata, sizeof metadata / sizeof *metadata);
    free(positions);
    free(raw);
    lm_tensor_set_free(&set);
    return status;
}

lm_status lm_state_save(const lm_state *state, uint32_t slot, const char *path)
{
    return lm_state_save_slots(state, 1, &slot, path);
}

/* ---- loading -------------------------------------------------------------------------------------------------------------- */

/* What is read of a file: sequences first … first+count−1 of `sequences`. */
typedef struct part {
    const lm_safetensors *file;
    const char *path;
    uint64_t sequences, first, count;
} part;

/* Those sequences of a tensor (sequences, channels, width), as float32, malloc'd. */
static lm_status read_tensor(const part *p, const char *name, uint64_t channels, uint64_t width, float **out)
{
    const lm_tensor *tensor = lm_safetensors_find(p->file, name);
    if (tensor == NULL) return lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': is missing", p->path, name);
    if (tensor->rank != 3 || tensor->shape[0] != p->sequences || tensor->shape[1] != channels || tensor->shape[2] != width)
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': is not of shape (%" PRIu64 ", %" PRIu64 ", %" PRIu64 ")", p->path,
                       name, p->sequences, channels, width);
    *out = allocate(p->count, channels * width);
    if (*out == NULL) return out_of_memory(p->path);
    return lm_tensor_to_float(tensor, p->first * channels * width, p->count * channels * width, *out);
}

/* One block's past of all sequences: histories with the oldest input first, then the scan's states. */
typedef struct block_past {
    float *rings[LM_MAX_BRANCHES]; /* (count, ring_length of the model, d_inner) */
    float *scan;                   /* (count, d_state, d_inner) */
} block_past;

/* A branch's inputs (count, channels, kept) as the end of its history. Histories that branches share must hold the same, as far as
 * they go: the longest one is filled in, the others are compared with it. */
static bool merge_branch(const float *values, uint64_t count, size_t channels, size_t kept, size_t length, bool fill, float *history)
{
    for (uint64_t b = 0; b < count; b++)
        for (size_t i = 0; i < kept; i++)
            for (size_t c = 0; c < channels; c++) {
                float *place = history + (b * length + length - kept + i) * channels + c;
                const float *value = values + (b * channels + c) * kept + i;
                if (fill)
                    *place = *value;
                else if (memcmp(place, value, sizeof *place) != 0)
                    return false;
            }
    return true;
}

static lm_status read_ring(const lm_model *model, const part *p, uint32_t block, uint32_t ring, float **out)
{
    const lm_config *config = &model->config;
    const size_t channels = model->d_inner, length = model->ring_length[ring];
    const uint32_t first = model->rings > 1 ? ring : 0, last = model->rings > 1 ? ring : config->branches - 1;
    *out = allocate(p->count, length * channels);
    if (*out == NULL) return out_of_memory(p->path);
    lm_status status = LM_OK;
    for (uint32_t pass = 0; pass < 2; pass++) /* the longest fills it, then all are compared with it */
        for (uint32_t k = first; k <= last && status == LM_OK; k++) {
            const size_t kept = branch_inputs(config, k);
            if (pass == 0 && kept != length) continue;
            char name[NAME_SIZE];
            float *values = NULL;
            conv_name(model, block, k, name);
            if (config->variant == LM_VARIANT_BASELINE && lm_safetensors_find(p->file, name) == NULL)
                *strrchr(name, '.') = '\0'; /* lite-mamba's baseline has a bare tensor */
            status = read_tensor(p, name, channels, kept, &values);
            if (status == LM_OK && !merge_branch(values, p->count, channels, kept, length, pass == 0, *out))
                status = lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': holds other inputs than the longest branch", p->path, name);
            free(values);
        }
    return status;
}

static lm_status read_block(const lm_model *model, const part *p, uint32_t block, block_past *past)
{
    const size_t channels = model->d_inner, states = model->config.d_state;
    char name[NAME_SIZE];
    lm_status status = LM_OK;
    for (uint32_t r = 0; r < model->rings && status == LM_OK; r++) status = read_ring(model, p, block, r, &past->rings[r]);
    scan_name(model, block, name);
    float *values = NULL;
    if (status == LM_OK) status = read_tensor(p, name, channels, states, &values);
    if (status == LM_OK) {
        past->scan = allocate(p->count, channels * states);
        if (past->scan == NULL) status = out_of_memory(p->path);
    }
    for (uint64_t b = 0; b < p->count && status == LM_OK; b++)
        for (size_t n = 0; n < states; n++)
            for (size_t c = 0; c < channels; c++)
                past->scan[(b * states + n) * channels + c] = values[(b * channels + c) * states + n];
    free(values);
    return status;
}

/* The positions of all sequences of the file. NULL: it does not tell, or memory is short. */
static lm_status read_positions(const part *p, uint64_t **out)
{
    const char *at = lm_safetensors_metadata(p->file, "litemamba.position");
    *out = NULL;
    if (at == NULL) return LM_OK;
    uint64_t *positions = calloc((size_t)p->sequences, sizeof *positions);
    if (positions == NULL) return out_of_memory(p->path);
    bool good = true;
    for (uint64_t i = 0; i < p->sequences && good; i++) {
        char *end = NULL;
        good = *at >= '0' && *at <= '9';
        positions[i] = good ? strtoull(at, &end, 10) : 0;
        good = good && *end == (i + 1 < p->sequences ? ',' : '\0');
        at = good ? end + 1 : at;
    }
    if (good) {
        *out = positions;
        return LM_OK;
    }
    free(positions);
    return lm_fail(NULL, LM_ERROR_FORMAT, "%s: litemamba.position is not a number a sequence", p->path);
}

/* Sequences of an opened file: all of its tensors have the same number of them. */
static lm_status count_sequences(const lm_safetensors *file, uint64_t *count)
{
    const lm_tensor *tensor = lm_safetensors_count(file) > 0 ? lm_safetensors_at(file, 0) : NULL;
    *count = tensor != NULL && tensor->rank == 3 ? tensor->shape[0] : 0;
    if (*count > 0 && *count <= UINT32_MAX) return LM_OK;
    return lm_fail(NULL, LM_ERROR_FORMAT, "%s: is no state: its tensors are not (sequences, d_inner, …)", lm_safetensors_path(file));
}

static lm_status check_file(const lm_model *model, const part *p)
{
    char hash[HASH_SIZE];
    config_hash(&model->config, hash);
    const char *of = lm_safetensors_metadata(p->file, "litemamba.config");
    if (of != NULL && strcmp(of, hash) != 0)
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: a state of another model (configuration %.16s, not %s)", p->path, of, hash);
    const size_t tensors = (size_t)model->block_count * (model->config.branches + 1);
    if (lm_safetensors_count(p->file) != tensors)
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: has %zu tensors where a state of this model has %zu", p->path,
                       lm_safetensors_count(p->file), tensors);
    if (p->first + p->count > p->sequences)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: holds %" PRIu64 " sequences, not %" PRIu64 " from %" PRIu64 " on", p->path,
                       p->sequences, p->count, p->first);
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

static lm_status upload(lm_view view, const float *data) { return lm_buffer_upload(view.buffer, view.offset, data, view.size); }

/* Sequence `b` of what was read into a slot that has seen `position` tokens. `raw` is for a view. */
static lm_status scatter_slot(lm_state *state, uint32_t slot, const block_past *pasts, uint64_t b, uint64_t position, float *raw)
{
    const lm_model *model = state->model;
    const size_t channels = model->d_inner;
    lm_status status = LM_OK;
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) {
        for (uint32_t r = 0; r < model->rings && status == LM_OK; r++) {
            const size_t kept = model->ring_length[r];
            turn(raw, state->ring_length[r], pasts[i].rings[r] + b * kept * channels, kept, channels, position);
            status = upload(lm_state_history(state, i, r, slot), raw);
        }
        if (status == LM_OK)
            status = upload(lm_state_scan(state, i, slot, position), pasts[i].scan + b * model->config.d_state * channels);
    }
    return status;
}

/* Reads everything before it changes anything. */
static lm_status load(lm_state *state, const part *p, const uint32_t *slots)
{
    const lm_model *model = state->model;
    uint64_t *positions = NULL;
    lm_status status = check_file(model, p);
    if (status == LM_OK) status = read_positions(p, &positions);
    block_past *pasts = calloc(model->block_count, sizeof *pasts);
    float *raw = allocate(1, largest_view(state));
    if (status == LM_OK && (pasts == NULL || raw == NULL)) status = out_of_memory(p->path);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = read_block(model, p, i, &pasts[i]);
    /* All of the file was good: from here on only the device can fail. */
    for (uint64_t b = 0; b < p->count && status == LM_OK; b++) {
        const uint64_t position = positions != NULL ? positions[p->first + b] : UINT32_MAX; /* it does not tell: long ago */
        if (scatter_slot(state, slots[b], pasts, b, position, raw) != LM_OK)
            status = lm_state_spoilt(state, "lm_state_load");
        else
            lm_state_place(state, slots[b], position, 0);
    }
    for (uint32_t i = 0; i < model->block_count && pasts != NULL; i++) {
        for (uint32_t r = 0; r < model->rings; r++) free(pasts[i].rings[r]);
        free(pasts[i].scan);
    }
    free(pasts);
    free(positions);
    free(raw);
    return status;
}

/* Opens the file and counts its sequences; closes it again after a failure. */
static lm_status open_file(const char *path, lm_safetensors **file, uint64_t *sequences)
{
    lm_status status = lm_safetensors_open(path, file);
    if (status != LM_OK) return status;
    status = count_sequences(*file, sequences);
    if (status != LM_OK) lm_safetensors_close(file);
    return status;
}

lm_status lm_state_load_slots(lm_state *state, uint32_t count, const uint32_t *slots, uint32_t first, const char *path)
{
    static const char what[] = "lm_state_load";
    lm_status status = check_slots(what, state, count, slots, path);
    if (status != LM_OK) return status;
    lm_state_mark(state);
    for (uint32_t i = 0; i < count; i++)
        if (!lm_state_mark_slot(state, slots[i]))
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slot %u is named twice", what, slots[i]);
    lm_safetensors *file = NULL;
    part p = {.path = path, .first = first, .count = count};
    status = open_file(path, &file, &p.sequences);
    if (status != LM_OK) return status;
    p.file = file;
    status = load(state, &p, slots);
    lm_safetensors_close(&file);
    return status;
}

lm_status lm_state_load(lm_state *state, uint32_t slot, const char *path)
{
    lm_status status = check_slots("lm_state_load", state, 1, &slot, path);
    lm_safetensors *file = NULL;
    part p = {.path = path, .count = 1};
    if (status == LM_OK) status = open_file(path, &file, &p.sequences);
    if (status != LM_OK) return status;
    p.file = file;
    status = p.sequences == 1 ? load(state, &p, &slot)
                              : lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT,
                                        "%s: holds %" PRIu64 " sequences; lm_state_load_slots reads some or all", path, p.sequences);
    lm_safetensors_close(&file);
    return status;
}

lm_status lm_state_inspect(const char *path, uint32_t *sequences)
{
    if (path == NULL || sequences == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_inspect: requires a path and a place for the number");
    lm_safetensors *file = NULL;
    uint64_t count = 0;
    lm_status status = open_file(path, &file, &count);
    if (status == LM_OK) *sequences = (uint32_t)count;
    lm_safetensors_close(&file);
    return status;
}
