/* host/tensors.c: finds a model's tensors by their PyTorch names and checks their shapes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"

void lm_tensor_set_free(lm_tensor_set *set)
{
    lm_safetensors_close(&set->file);
    for (size_t i = 0; i < set->count; i++) {
        free((char *)set->tensors[i].name);
        free((void *)set->tensors[i].data);
    }
    free(set->tensors);
    memset(set, 0, sizeof *set);
}

size_t lm_tensor_set_count(const lm_tensor_set *set)
{
    return set->file != NULL ? lm_safetensors_count(set->file) : set->count;
}

const lm_tensor *lm_tensor_set_at(const lm_tensor_set *set, size_t index)
{
    return set->file != NULL ? lm_safetensors_at(set->file, index) : &set->tensors[index];
}

const lm_tensor *lm_tensor_set_find(const lm_tensor_set *set, const char *name)
{
    if (set->file != NULL) return lm_safetensors_find(set->file, name);
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->tensors[i].name, name) == 0) return &set->tensors[i];
    return NULL;
}

lm_status lm_tensor_set_open(const char *folder, lm_tensor_set *set)
{
    memset(set, 0, sizeof *set);
    size_t size = strlen(folder) + sizeof "/model.safetensors";
    char *path = malloc(size);
    if (path == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", folder);
    snprintf(path, size, "%s/model.safetensors", folder);
    lm_status status = lm_safetensors_open(path, &set->file);
    free(path);
    if (status == LM_OK) set->path = lm_safetensors_path(set->file);
    return status;
}

lm_status lm_tensor_read(const lm_tensor *tensor, float *out)
{
    return lm_tensor_to_float(tensor, 0, tensor->count, out);
}

/* ---- finding ---------------------------------------------------------------------------------------------------- */

typedef struct finder {
    const lm_tensor_set *set;
    const lm_tensor **used;
    size_t used_count;
} finder;

enum { NAME_SIZE = 160 };

static void mark(finder *f, const lm_tensor *tensor) { f->used[f->used_count++] = tensor; }

static lm_status fail_tensor(const finder *f, const char *name, const char *format, ...)
{
    char cause[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cause, sizeof cause, format, arguments);
    va_end(arguments);
    return lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor '%s': %s", f->set->path, name, cause);
}

static void print_shape(char *text, size_t size, uint32_t rank, const uint64_t *shape)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (uint32_t i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i == 0 ? "%llu" : ", %llu", (unsigned long long)shape[i]);
    if (used < size) snprintf(text + used, size - used, ")");
}

static lm_status check_shape(const finder *f, const lm_tensor *tensor, uint32_t rank, const uint64_t *shape)
{
    if (tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0) return LM_OK;
    char is[128], must[128];
    print_shape(is, sizeof is, tensor->rank, tensor->shape);
    print_shape(must, sizeof must, rank, shape);
    return fail_tensor(f, tensor->name, "has shape %s where config.json asks for %s", is, must);
}

/* The tensor `prefix``name` with this shape. Missing is an error unless optional. */
static lm_status find(finder *f, const char *prefix, const char *name, bool optional, uint32_t rank, const uint64_t *shape,
                      const lm_tensor **out)
{
    char full[NAME_SIZE];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    *out = lm_tensor_set_find(f->set, full);
    if (*out == NULL) return optional ? LM_OK : fail_tensor(f, full, "is missing");
    mark(f, *out);
    return check_shape(f, *out, rank, shape);
}

static lm_status find1(finder *f, const char *prefix, const char *name, uint64_t a, const lm_tensor **out)
{
    return find(f, prefix, name, false, 1, (const uint64_t[]){a}, out);
}

static lm_status find2(finder *f, const char *prefix, const char *name, uint64_t a, uint64_t b, const lm_tensor **out)
{
    return find(f, prefix, name, false, 2, (const uint64_t[]){a, b}, out);
}

/* One of branch `index`'s depthwise tensors. Branch 0 has a second name, conv1d.*: either will do, both must agree. */
static lm_status find_branch(finder *f, const lm_config *config, const char *prefix, uint32_t index, const char *leaf,
                             uint32_t rank, const uint64_t *shape, const lm_tensor **out)
{
    char numbered[64], plain[64];
    snprintf(plain, sizeof plain, "conv1d.%s", leaf);
    if (config->variant == LM_VARIANT_BASELINE) return find(f, prefix, plain, false, rank, shape, out);
    snprintf(numbered, sizeof numbered, "%sconv1d_layers.%u.%s", config->variant == LM_VARIANT_DPWC ? "dw_" : "", index, leaf);
    lm_status status = find(f, prefix, numbered, index == 0, rank, shape, out);
    if (status != LM_OK || index != 0) return status;
    const lm_tensor *second = NULL;
    status = find(f, prefix, plain, *out != NULL, rank, shape, &second);
    if (status != LM_OK || second == NULL) return status;
    if (*out == NULL) {
        *out = second;
        return LM_OK;
    }
    bool equal = false;
    status = lm_tensor_equal(*out, second, &equal);
    if (status != LM_OK) return status;
    return equal ? LM_OK : fail_tensor(f, second->name, "differs from '%s', of which it is a second name", (*out)->name);
}

static lm_status find_block(finder *f, const lm_config *c, const char *prefix, lm_block_tensors *t)
{
    const uint64_t di = lm_config_d_inner(c), dm = c->d_model, n = c->d_state, r = c->dt_rank;
    lm_status status = find2(f, prefix, "in_proj.weight", 2 * di, dm, &t->in_proj_weight);
    if (status == LM_OK && c->bias) status = find1(f, prefix, "in_proj.bias", 2 * di, &t->in_proj_bias);
    if (status == LM_OK) status = find2(f, prefix, "x_proj.weight", r + 2 * n, di, &t->x_proj_weight);
    if (status == LM_OK) status = find2(f, prefix, "dt_proj.weight", di, r, &t->dt_proj_weight);
    if (status == LM_OK) status = find1(f, prefix, "dt_proj.bias", di, &t->dt_proj_bias);
    if (status == LM_OK) status = find2(f, prefix, "A_log", di, n, &t->a_log);
    if (status == LM_OK) status = find1(f, prefix, "D", di, &t->d);
    if (status == LM_OK) status = find2(f, prefix, "out_proj.weight", dm, di, &t->out_proj_weight);
    if (status == LM_OK && c->bias) status = find1(f, prefix, "out_proj.bias", dm, &t->out_proj_bias);
    if (status == LM_OK && (c->variant == LM_VARIANT_PTCN || c->variant == LM_VARIANT_DPWC)) /* of one branch, all is 1 */
        status = find(f, prefix, "conv_gates", c->branches == 1, 1, (const uint64_t[]){c->branches}, &t->conv_gates);
    for (uint32_t i = 0; i < c->branches && status == LM_OK; i++) {
        const uint64_t shape[3] = {di, 1, c->d_conv}, square[3] = {di, di, 1};
        status = find_branch(f, c, prefix, i, "weight", 3, shape, &t->conv_weight[i]);
        if (status == LM_OK && !c->no_conv_bias) status = find_branch(f, c, prefix, i, "bias", 1, shape, &t->conv_bias[i]);
        if (status != LM_OK || c->variant != LM_VARIANT_DPWC) continue;
        char name[64];
        snprintf(name, sizeof name, "pw_conv1d_layers.%u.weight", i);
        status = find(f, prefix, name, false, 3, square, &t->pw_weight[i]);
        snprintf(name, sizeof name, "pw_conv1d_layers.%u.bias", i);
        if (status == LM_OK) status = find1(f, prefix, name, di, &t->pw_bias[i]);
    }
    return status;
}

static lm_status find_language_model(finder *f, const lm_config *c, lm_model_tensors *t)
{
    const uint64_t table[2] = {c->vocab_size, c->d_model};
    lm_status status = find(f, "", "backbone.embeddings.weight", false, 2, table, &t->embeddings);
    for (uint32_t i = 0; i < c->layers && status == LM_OK; i++) {
        char prefix[NAME_SIZE / 2];
        snprintf(prefix, sizeof prefix, "backbone.layers.%u.norm.", i);
        status = find1(f, prefix, "weight", c->d_model, &t->norms[i]);
        snprintf(prefix, sizeof prefix, "backbone.layers.%u.mixer.", i);
        if (status == LM_OK) status = find_block(f, c, prefix, &t->blocks[i]);
    }
    if (status == LM_OK) status = find1(f, "", "backbone.norm_f.weight", c->d_model, &t->norm_f);
    const lm_tensor *head = NULL;
    if (status == LM_OK) status = find(f, "", "lm_head.weight", !c->untied, 2, table, &head);
    if (status != LM_OK) return status;
    if (c->untied) {
        t->head = head;
    } else if (head != NULL) { /* a tied head that was saved all the same */
        bool equal = true;
        status = lm_tensor_equal(head, t->embeddings, &equal);
        if (status == LM_OK && !equal)
            status = fail_tensor(f, head->name, "differs from the embeddings although config.json has \"tie_word_embeddings\": true");
    }
    return status;
}

static int compare_addresses(const void *a, const void *b)
{
    const lm_tensor *const *x = a, *const *y = b;
    return (*x > *y) - (*x < *y);
}

/* Every tensor of the set was asked for; names the first that was not. */
static lm_status check_left_over(const finder *f)
{
    const size_t count = lm_tensor_set_count(f->set);
    if (f->used_count == count) return LM_OK;
    qsort(f->used, f->used_count, sizeof *f->used, compare_addresses);
    for (size_t i = 0; i < count; i++) {
        const lm_tensor *tensor = lm_tensor_set_at(f->set, i);
        if (bsearch(&tensor, f->used, f->used_count, sizeof *f->used, compare_addresses) == NULL)
            return fail_tensor(f, tensor->name, "does not belong to the model that config.json describes");
    }
    return LM_OK;
}

void lm_model_tensors_free(lm_model_tensors *tensors)
{
    free(tensors->blocks);
    free(tensors->norms);
    memset(tensors, 0, sizeof *tensors);
}

lm_status lm_model_tensors_find(const lm_tensor_set *set, const lm_config *config, lm_model_tensors *tensors)
{
    const uint32_t blocks = config->layers > 0 ? config->layers : 1;
    memset(tensors, 0, sizeof *tensors);
    tensors->blocks = calloc(blocks, sizeof *tensors->blocks);
    tensors->norms = calloc(blocks, sizeof *tensors->norms);
    /* each tensor is marked at most once, since each name is asked for once */
    finder f = {set, calloc(lm_tensor_set_count(set) + 1, sizeof *f.used), 0};
    lm_status status = LM_OK;
    if (tensors->blocks == NULL || tensors->norms == NULL || f.used == NULL)
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", set->path);
    if (status == LM_OK)
        status = config->layers > 0 ? find_language_model(&f, config, tensors) : find_block(&f, config, "", tensors->blocks);
    if (status == LM_OK) status = check_left_over(&f);
    free(f.used);
    if (status != LM_OK) lm_model_tensors_free(tensors);
    return status;
}
