/* host/weights.c: from tensors to device buffers, in the layouts that the kernels want.
 *
 * Everything is float32 on the device. Linear weights are stored (in, out), so that lanes read neighbouring output channels,
 * except the vocabulary tables, which stay (vocab, d_model) because embedding lookup reads rows of them. Arrays are gathered
 * on the host and uploaded as few large buffers; a matrix over one binding's limit is cut by output channels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"

enum { BATCH_BYTES = 64 << 20 }; /* gathered on the host before it goes to the device */

typedef struct pending {
    void *data; /* malloc'd */
    uint64_t size;
    lm_view *view;
} pending;

typedef struct uploader {
    lm_model *model;
    pending *items;
    size_t count, capacity;
    uint64_t bytes; /* of all items, each but the last padded to the alignment */
} uploader;

static lm_status out_of_memory(void) { return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "weights: out of memory"); }

/* ---- gathering and uploading --------------------------------------------------------------------------------------- */

static void drop_items(uploader *up)
{
    for (size_t i = 0; i < up->count; i++) free(up->items[i].data);
    up->count = 0;
    up->bytes = 0;
}

static lm_status keep_buffer(lm_model *model, lm_buffer *buffer)
{
    if (model->buffer_count == model->buffer_capacity) {
        size_t capacity = model->buffer_capacity == 0 ? 8 : 2 * model->buffer_capacity;
        lm_buffer **grown = realloc(model->buffers, capacity * sizeof(lm_buffer *));
        if (grown == NULL) return out_of_memory();
        model->buffers = grown;
        model->buffer_capacity = capacity;
    }
    model->buffers[model->buffer_count++] = buffer;
    return LM_OK;
}

static lm_status flush(uploader *up)
{
    if (up->count == 0) return LM_OK;
    const uint64_t alignment = up->model->device->info.binding_alignment;
    lm_buffer *buffer = NULL;
    lm_status status = lm_buffer_create(up->model->device, &(lm_buffer_params){.size = up->bytes}, &buffer);
    if (status == LM_OK) {
        status = keep_buffer(up->model, buffer);
        if (status != LM_OK) lm_buffer_destroy(&buffer);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < up->count && status == LM_OK; i++) {
        status = lm_buffer_upload(buffer, offset, up->items[i].data, up->items[i].size);
        *up->items[i].view = (lm_view){buffer, offset, up->items[i].size};
        offset = lm_align_up(offset + up->items[i].size, alignment);
    }
    drop_items(up);
    return status;
}

/* Makes room in the buffer being gathered for `size` more bytes. */
static lm_status reserve(uploader *up, uint64_t size)
{
    const lm_device_info *info = &up->model->device->info;
    if (size > info->max_binding_bytes)
        return lm_fail(up->model->device->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "weights: an array of %llu bytes is over %s's limit of %llu for one binding", (unsigned long long)size,
                       info->id, (unsigned long long)info->max_binding_bytes);
    const uint64_t start = lm_align_up(up->bytes, info->binding_alignment);
    if (size > info->max_allocation_bytes || start > info->max_allocation_bytes - size) return flush(up);
    return LM_OK;
}

/* Takes `data` (malloc'd, also on failure) and sets *view once it is on the device. */
static lm_status add(uploader *up, void *data, uint64_t size, lm_view *view)
{
    lm_status status = reserve(up, size);
    if (status != LM_OK) {
        free(data);
        return status;
    }
    if (up->count == up->capacity) {
        size_t capacity = up->capacity == 0 ? 64 : 2 * up->capacity;
        pending *grown = realloc(up->items, capacity * sizeof *grown);
        if (grown == NULL) {
            free(data);
            return out_of_memory();
        }
        up->items = grown;
        up->capacity = capacity;
    }
    up->items[up->count++] = (pending){data, size, view};
    up->bytes = lm_align_up(up->bytes, up->model->device->info.binding_alignment) + size;
    return up->bytes >= BATCH_BYTES ? flush(up) : LM_OK;
}

static float *allocate(uint64_t count)
{
    return count <= SIZE_MAX / sizeof(float) ? malloc((size_t)(count == 0 ? 1 : count) * sizeof(float)) : NULL;
}

static lm_status read_tensor(const lm_tensor *tensor, float **out)
{
    *out = allocate(tensor->count);
    if (*out == NULL) return out_of_memory();
    lm_status status = lm_tensor_read(tensor, *out);
    if (status != LM_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* A vector or table as it is; absent tensors leave the view absent. */
static lm_status add_plain(uploader *up, const lm_tensor *tensor, lm_view *view)
{
    if (tensor == NULL) return LM_OK;
    float *data = NULL;
    lm_status status = read_tensor(tensor, &data);
    return status != LM_OK ? status : add(up, data, tensor->count * sizeof(float), view);
}

/* ---- matrices --------------------------------------------------------------------------------------------------------- */

/* to (in, count) = rows first … first+count−1 of from (out, in), transposed in blocks that fit the first cache. */
static void transpose(const float *from, uint32_t in, uint32_t first, uint32_t count, float *to)
{
    enum { BLOCK = 32 };
    for (uint32_t n0 = 0; n0 < count; n0 += BLOCK)
        for (uint32_t k0 = 0; k0 < in; k0 += BLOCK)
            for (uint32_t n = n0; n < n0 + BLOCK && n < count; n++)
                for (uint32_t k = k0; k < k0 + BLOCK && k < in; k++)
                    to[(size_t)k * count + n] = from[(size_t)(first + n) * in + k];
}

/* Cuts W (out, in) into pieces and uploads them. Frees `data`. */
static lm_status add_matrix(uploader *up, float *data, uint32_t out, uint32_t in, bool trans, lm_matrix *matrix)
{
    const uint64_t limit = up->model->device->info.max_binding_bytes, row = (uint64_t)in * sizeof(float);
    *matrix = (lm_matrix){.in = in, .out = out, .trans = trans};
    const uint64_t per_piece = limit / row < out ? limit / row : out;
    if (per_piece == 0) {
        free(data);
        return lm_fail(NULL, LM_ERROR_OUT_OF_DEVICE_MEMORY, "weights: one channel of %llu bytes is over the device's binding limit",
                       (unsigned long long)row);
    }
    matrix->piece_count = (size_t)((out + per_piece - 1) / per_piece);
    matrix->pieces = calloc(matrix->piece_count, sizeof *matrix->pieces);
    lm_status status = matrix->pieces != NULL ? LM_OK : out_of_memory();
    if (matrix->pieces == NULL) matrix->piece_count = 0;
    for (size_t i = 0; i < matrix->piece_count && status == LM_OK; i++) {
        lm_matrix_piece *piece = &matrix->pieces[i];
        piece->first = (uint32_t)(i * per_piece);
        piece->count = (uint32_t)(per_piece < out - piece->first ? per_piece : out - piece->first);
        const uint64_t count = (uint64_t)piece->count * in;
        float *stored = allocate(count);
        if (stored == NULL) {
            status = out_of_memory();
        } else {
            if (trans)
                memcpy(stored, data + (size_t)piece->first * in, (size_t)count * sizeof(float));
            else
                transpose(data, in, piece->first, piece->count, stored);
            status = add(up, stored, count * sizeof(float), &piece->view);
        }
    }
    free(data);
    return status;
}

static lm_status add_linear(uploader *up, const lm_tensor *tensor, bool trans, lm_matrix *matrix)
{
    float *data = NULL;
    lm_status status = read_tensor(tensor, &data);
    if (status != LM_OK) return status;
    return add_matrix(up, data, (uint32_t)tensor->shape[0], (uint32_t)tensor->shape[1], trans, matrix);
}

/* ---- the parts of a block ----------------------------------------------------------------------------------------------- */

static lm_status read_gates(const lm_config *config, const lm_tensor *tensor, double gates[LM_MAX_BRANCHES])
{
    for (uint32_t i = 0; i < config->branches; i++) gates[i] = 1.0;
    if (tensor == NULL) return LM_OK;
    float *raw = NULL;
    lm_status status = read_tensor(tensor, &raw);
    if (status != LM_OK) return status;
    double largest = -INFINITY, sum = 0.0;
    for (uint32_t i = 0; i < config->branches; i++) largest = fmax(largest, raw[i]);
    for (uint32_t i = 0; i < config->branches; i++) sum += gates[i] = exp(raw[i] - largest);
    for (uint32_t i = 0; i < config->branches; i++) gates[i] /= sum;
    free(raw);
    return LM_OK;
}

/* A = −exp(A_log), as (d_state, d_inner). */
static lm_status add_decay(uploader *up, const lm_tensor *tensor, lm_view *view)
{
    float *a_log = NULL;
    lm_status status = read_tensor(tensor, &a_log);
    if (status != LM_OK) return status;
    float *a = allocate(tensor->count);
    if (a == NULL) {
        free(a_log);
        return out_of_memory();
    }
    const size_t channels = (size_t)tensor->shape[0], states = (size_t)tensor->shape[1];
    for (size_t c = 0; c < channels; c++)
        for (size_t n = 0; n < states; n++) a[n * channels + c] = (float)-exp((double)a_log[c * states + n]);
    free(a_log);
    return add(up, a, tensor->count * sizeof(float), view);
}

lm_conv_layout lm_conv_layout_of(const lm_model *model)
{
    /* Each part may be bound by itself. */
    const uint64_t branches = model->config.branches, channels = model->d_inner;
    const uint64_t alignment = model->device->info.binding_alignment / sizeof(float);
    lm_conv_layout layout;
    layout.gates = lm_align_up(branches, alignment);
    layout.bias = lm_align_up(layout.gates + branches, alignment);
    layout.weight = lm_align_up(layout.bias + branches * channels, alignment);
    layout.size = layout.weight + branches * model->config.d_conv * channels;
    return layout;
}

/* Dilations, gates, all branches' depthwise biases as (branches, d_inner) and weights as (branches, d_conv, d_inner). */
static lm_status add_conv(uploader *up, const lm_block_tensors *t, const double *gates, lm_block *block)
{
    const lm_config *config = &up->model->config;
    const size_t channels = up->model->d_inner, taps = config->d_conv, branches = config->branches;
    const lm_conv_layout layout = lm_conv_layout_of(up->model);
    float *all = allocate(layout.size);
    if (all == NULL) return out_of_memory();
    memset(all, 0, layout.size * sizeof(float));
    lm_status status = LM_OK;
    for (size_t i = 0; i < branches && status == LM_OK; i++) {
        const int32_t dilation = (int32_t)config->dilations[i];
        memcpy(all + i, &dilation, sizeof dilation);
        all[layout.gates + i] = (float)gates[i];
        float *raw = NULL;
        status = read_tensor(t->conv_weight[i], &raw);
        if (status != LM_OK) break;
        for (size_t c = 0; c < channels; c++)
            for (size_t j = 0; j < taps; j++) all[layout.weight + (i * taps + j) * channels + c] = raw[c * taps + j];
        free(raw);
        if (t->conv_bias[i] != NULL && !config->no_conv_bias)
            status = lm_tensor_read(t->conv_bias[i], all + layout.bias + i * channels);
    }
    if (status == LM_OK) return add(up, all, layout.size * sizeof(float), &block->conv);
    free(all);
    return status;
}

/* The parts of what is on the device. */
static void divide_conv(const lm_model *model, lm_block *block)
{
    const lm_config *config = &model->config;
    const lm_conv_layout layout = lm_conv_layout_of(model);
    const uint64_t word = sizeof(float), start = block->conv.offset, branches = config->branches;
    const lm_view weight = {block->conv.buffer, start + layout.weight * word, (layout.size - layout.weight) * word};
    const lm_view bias = {block->conv.buffer, start + layout.bias * word, branches * model->d_inner * word};
    const lm_view gates = {block->conv.buffer, start + layout.gates * word, branches * word};
    block->conv_weight = weight;
    if (!config->no_conv_bias) block->conv_bias = bias;
    if (config->variant == LM_VARIANT_PTCN && config->branches > 1) block->conv_gates = gates;
}

/* dpwc: sum_k g_k·(pw_k·s_k + b_k) is one product with [g_0·pw_0 | g_1·pw_1 | …] and the bias sum_k g_k·b_k. */
static lm_status add_pointwise(uploader *up, const lm_block_tensors *t, const double *gates, lm_block *block)
{
    const size_t channels = up->model->d_inner, branches = up->model->config.branches, width = branches * channels;
    float *weight = allocate((uint64_t)channels * width), *bias = allocate(channels);
    double *sum = calloc(channels, sizeof *sum);
    lm_status status = weight != NULL && bias != NULL && sum != NULL ? LM_OK : out_of_memory();
    for (size_t i = 0; i < branches && status == LM_OK; i++) {
        float *raw = NULL;
        status = read_tensor(t->pw_weight[i], &raw);
        if (status != LM_OK) break;
        for (size_t o = 0; o < channels; o++)
            for (size_t c = 0; c < channels; c++)
                weight[o * width + i * channels + c] = (float)(gates[i] * (double)raw[o * channels + c]);
        status = lm_tensor_read(t->pw_bias[i], raw);
        for (size_t c = 0; c < channels && status == LM_OK; c++) sum[c] += gates[i] * (double)raw[c];
        free(raw);
    }
    for (size_t c = 0; c < channels && status == LM_OK; c++) bias[c] = (float)sum[c];
    free(sum);
    if (status != LM_OK) {
        free(weight);
        free(bias);
        return status;
    }
    status = add_matrix(up, weight, (uint32_t)channels, (uint32_t)width, false, &block->pointwise);
    if (status == LM_OK) return add(up, bias, channels * sizeof(float), &block->pointwise_bias);
    free(bias);
    return status;
}

static lm_status add_block(uploader *up, const lm_block_tensors *t, lm_block *block)
{
    const lm_config *config = &up->model->config;
    double gates[LM_MAX_BRANCHES];
    lm_status status = read_gates(config, t->conv_gates, gates);
    if (status == LM_OK) status = add_linear(up, t->in_proj_weight, false, &block->in_proj);
    if (status == LM_OK) status = add_plain(up, t->in_proj_bias, &block->in_bias);
    if (status == LM_OK) status = add_conv(up, t, gates, block);
    if (status == LM_OK && config->variant == LM_VARIANT_DPWC) status = add_pointwise(up, t, gates, block);
    if (status == LM_OK) status = add_linear(up, t->x_proj_weight, false, &block->x_proj);
    if (status == LM_OK) status = add_linear(up, t->dt_proj_weight, false, &block->dt_proj);
    if (status == LM_OK) status = add_plain(up, t->dt_proj_bias, &block->dt_bias);
    if (status == LM_OK) status = add_decay(up, t->a_log, &block->a);
    if (status == LM_OK) status = add_plain(up, t->d, &block->d);
    if (status == LM_OK) status = add_linear(up, t->out_proj_weight, false, &block->out_proj);
    if (status == LM_OK) status = add_plain(up, t->out_proj_bias, &block->out_bias);
    return status;
}

static lm_status add_dilations(uploader *up)
{
    const lm_config *config = &up->model->config;
    int32_t *values = malloc(config->branches * sizeof *values);
    if (values == NULL) return out_of_memory();
    for (uint32_t i = 0; i < config->branches; i++) values[i] = (int32_t)config->dilations[i];
    return add(up, values, config->branches * sizeof *values, &up->model->dilations);
}

lm_status lm_weights_upload(lm_model *model, const lm_model_tensors *tensors)
{
    uploader up = {.model = model};
    model->block_count = model->config.layers > 0 ? model->config.layers : 1;
    model->blocks = calloc(model->block_count, sizeof *model->blocks);
    if (model->blocks == NULL) return out_of_memory();
    lm_status status = add_dilations(&up);
    if (status == LM_OK && model->config.layers > 0) {
        status = add_linear(&up, tensors->embeddings, true, &model->embeddings);
        if (status == LM_OK && tensors->head != NULL) status = add_linear(&up, tensors->head, true, &model->head);
        if (status == LM_OK) status = add_plain(&up, tensors->norm_f, &model->norm_f);
    }
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) {
        status = add_plain(&up, tensors->norms[i], &model->blocks[i].norm);
        if (status == LM_OK) status = add_block(&up, &tensors->blocks[i], &model->blocks[i]);
    }
    if (status == LM_OK) status = flush(&up);
    if (status == LM_OK && tensors->head == NULL) model->head = model->embeddings;
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) divide_conv(model, &model->blocks[i]);
    drop_items(&up);
    free(up.items);
    return status;
}

void lm_weights_free(lm_model *model)
{
    for (uint32_t i = 0; i < model->block_count && model->blocks != NULL; i++) {
        lm_block *block = &model->blocks[i];
        lm_matrix *matrices[] = {&block->in_proj, &block->x_proj, &block->dt_proj, &block->out_proj, &block->pointwise};
        for (size_t j = 0; j < sizeof matrices / sizeof *matrices; j++) free(matrices[j]->pieces);
    }
    if (model->head.pieces != model->embeddings.pieces) free(model->head.pieces);
    free(model->embeddings.pieces);
    free(model->blocks);
    for (size_t i = 0; i < model->buffer_count; i++) lm_buffer_destroy(&model->buffers[i]);
    free(model->buffers);
}
