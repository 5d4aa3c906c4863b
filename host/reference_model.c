/* host/reference_model.c: whole models in float64. */
#include "host/reference_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "runtime/backend.h"

static lm_status out_of_memory(void) { return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "the float64 reference: out of memory"); }

/* Remembers an allocation, to be freed with the model. */
static void *keep(lm_reference_model *model, size_t bytes)
{
    if (model->array_count == model->array_capacity) {
        size_t capacity = model->array_capacity == 0 ? 64 : 2 * model->array_capacity;
        double **grown = realloc(model->arrays, capacity * sizeof(double *));
        if (grown == NULL) return NULL;
        model->arrays = grown;
        model->array_capacity = capacity;
    }
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    if (memory != NULL) model->arrays[model->array_count++] = memory;
    return memory;
}

/* The tensor in float64; NULL stays NULL. */
static lm_status widen(lm_reference_model *model, const lm_tensor *tensor, double **out)
{
    *out = NULL;
    if (tensor == NULL) return LM_OK;
    double *wide = tensor->count <= SIZE_MAX / sizeof(double) ? keep(model, (size_t)tensor->count * sizeof(double)) : NULL;
    float *narrow = malloc((size_t)tensor->count * sizeof(float) + 1);
    lm_status status = wide != NULL && narrow != NULL ? lm_tensor_read(tensor, narrow) : out_of_memory();
    for (uint64_t i = 0; status == LM_OK && i < tensor->count; i++) wide[i] = (double)narrow[i];
    free(narrow);
    *out = wide;
    return status;
}

static lm_status create_block(lm_reference_model *model, const lm_block_tensors *t, lm_reference_weights *w)
{
    const lm_config *c = &model->config;
    static const lm_reference_variant variants[] = {
        [LM_VARIANT_BASELINE] = LM_REFERENCE_BASELINE,
        [LM_VARIANT_PTCN] = LM_REFERENCE_PTCN,
        [LM_VARIANT_STCN] = LM_REFERENCE_STCN,
        [LM_VARIANT_DPWC] = LM_REFERENCE_DPWC,
    };
    const size_t pointers = c->branches * sizeof(double *);
    const double **conv_weight = keep(model, pointers), **conv_bias = keep(model, pointers);
    const double **pw_weight = keep(model, pointers), **pw_bias = keep(model, pointers);
    int32_t *dilations = keep(model, c->branches * sizeof *dilations);
    if (conv_weight == NULL || conv_bias == NULL || pw_weight == NULL || pw_bias == NULL || dilations == NULL)
        return out_of_memory();
    for (uint32_t i = 0; i < c->branches; i++) dilations[i] = (int32_t)c->dilations[i];
    *w = (lm_reference_weights){
        .variant = variants[c->variant],
        .d_model = c->d_model,
        .d_inner = lm_config_d_inner(c),
        .d_state = c->d_state,
        .dt_rank = c->dt_rank,
        .d_conv = c->d_conv,
        .branches = c->branches,
        .dilations = dilations,
        .conv_weight = conv_weight,
        .conv_bias = conv_bias,
        .pw_weight = pw_weight,
        .pw_bias = pw_bias,
    };
    const struct {
        const lm_tensor *from;
        const double **to;
    } plain[] = {
        {t->in_proj_weight, &w->in_proj_weight}, {t->in_proj_bias, &w->in_proj_bias},   {t->conv_gates, &w->conv_gates},
        {t->x_proj_weight, &w->x_proj_weight},   {t->dt_proj_weight, &w->dt_proj_weight}, {t->dt_proj_bias, &w->dt_proj_bias},
        {t->a_log, &w->a_log},                   {t->d, &w->d},                         {t->out_proj_weight, &w->out_proj_weight},
        {t->out_proj_bias, &w->out_proj_bias},
    };
    lm_status status = LM_OK;
    double *wide = NULL;
    for (size_t i = 0; i < sizeof plain / sizeof *plain && status == LM_OK; i++) {
        status = widen(model, plain[i].from, &wide);
        *plain[i].to = wide;
    }
    for (uint32_t i = 0; i < c->branches; i++) {
        const lm_tensor *from[] = {t->conv_weight[i], t->conv_bias[i], t->pw_weight[i], t->pw_bias[i]};
        const double **to[] = {&conv_weight[i], &conv_bias[i], &pw_weight[i], &pw_bias[i]};
        for (size_t j = 0; j < 4 && status == LM_OK; j++) {
            status = widen(model, from[j], &wide);
            *to[j] = wide;
        }
    }
    return status;
}

lm_status lm_reference_model_create(const lm_config *config, const lm_tensor_set *set, lm_reference_model **out)
{
    *out = NULL;
    lm_model_tensors tensors;
    lm_status status = lm_model_tensors_find(set, config, &tensors);
    if (status != LM_OK) return status;
    lm_reference_model *model = calloc(1, sizeof *model);
    const uint32_t blocks = config->layers > 0 ? config->layers : 1;
    if (model == NULL) {
        lm_model_tensors_free(&tensors);
        return out_of_memory();
    }
    model->config = *config;
    model->blocks = keep(model, blocks * sizeof *model->blocks);
    model->norms = keep(model, blocks * sizeof *model->norms);
    if (model->blocks == NULL || model->norms == NULL) status = out_of_memory();
    for (uint32_t i = 0; i < blocks && status == LM_OK; i++) {
        status = widen(model, tensors.norms[i], &model->norms[i]);
        if (status == LM_OK) status = create_block(model, &tensors.blocks[i], &model->blocks[i]);
    }
    if (status == LM_OK) status = widen(model, tensors.embeddings, &model->embeddings);
    if (status == LM_OK) status = widen(model, tensors.norm_f, &model->norm_f);
    if (status == LM_OK) status = widen(model, tensors.head, &model->head);
    if (model->head == NULL) model->head = model->embeddings;
    lm_model_tensors_free(&tensors);
    if (status != LM_OK) {
        lm_reference_model_destroy(&model);
        return status;
    }
    *out = model;
    return LM_OK;
}

lm_status lm_reference_model_load(const char *folder, lm_reference_model **out)
{
    *out = NULL;
    lm_config config;
    lm_tensor_set set;
    lm_status status = lm_config_read(folder, &config);
    if (status == LM_OK) status = lm_tensor_set_open(folder, &set);
    if (status != LM_OK) return status;
    status = lm_reference_model_create(&config, &set, out);
    lm_tensor_set_free(&set);
    return status;
}

void lm_reference_model_destroy(lm_reference_model **model)
{
    if (model == NULL || *model == NULL) return;
    for (size_t i = 0; i < (*model)->array_count; i++) free((*model)->arrays[i]);
    free((*model)->arrays);
    free(*model);
    *model = NULL;
}

lm_status lm_reference_model_forward(const lm_reference_model *model, uint32_t length, const double *x, double *y)
{
    return lm_reference_block(&model->blocks[0], NULL, length, x, y) ? LM_OK : out_of_memory();
}

lm_status lm_reference_model_logits(const lm_reference_model *model, uint32_t length, const int32_t *tokens, double *logits)
{
    const lm_config *c = &model->config;
    const size_t dm = c->d_model, count = length * dm;
    double *x = malloc((count + 1) * sizeof *x), *normed = malloc((count + 1) * sizeof *x), *y = malloc((count + 1) * sizeof *x);
    lm_status status = x != NULL && normed != NULL && y != NULL ? LM_OK : out_of_memory();
    for (uint32_t t = 0; t < length && status == LM_OK; t++)
        memcpy(x + t * dm, model->embeddings + (size_t)tokens[t] * dm, dm * sizeof *x);
    for (uint32_t i = 0; i < c->layers && status == LM_OK; i++) {
        lm_reference_rmsnorm64(length, dm, c->norm_epsilon, x, model->norms[i], normed);
        if (!lm_reference_block(&model->blocks[i], NULL, length, normed, y)) status = out_of_memory();
        for (size_t j = 0; j < count && status == LM_OK; j++) x[j] += y[j];
    }
    if (status == LM_OK) {
        lm_reference_rmsnorm64(length, dm, c->norm_epsilon, x, model->norm_f, normed);
        for (uint32_t t = 0; t < length; t++)
            for (uint32_t v = 0; v < c->vocab_size; v++) {
                double sum = 0.0;
                for (size_t j = 0; j < dm; j++) sum += normed[t * dm + j] * model->head[v * dm + j];
                logits[(size_t)t * c->vocab_size + v] = sum;
            }
    }
    free(x);
    free(normed);
    free(y);
    return status;
}

lm_status lm_verify_model(lm_model *model, const char *folder, const int32_t *tokens, uint32_t length, double *error)
{
    if (model == NULL || folder == NULL || tokens == NULL || length == 0 || error == NULL || model->config.layers == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_verify_model: requires a language model, its folder and tokens");
    const size_t count = (size_t)length * model->config.vocab_size;
    lm_reference_model *reference = NULL;
    float *logits = malloc(count * sizeof *logits);
    double *expected = malloc(count * sizeof *expected);
    lm_status status = logits != NULL && expected != NULL ? LM_OK : out_of_memory();
    const lm_run_params run = {.batch = 1, .length = length, .tokens = tokens, .kind = LM_OUTPUT_ALL, .output = logits};
    if (status == LM_OK) status = lm_model_run(model, NULL, &run); /* checks the tokens too */
    if (status == LM_OK) status = lm_reference_model_load(folder, &reference);
    if (status == LM_OK && reference->config.vocab_size != model->config.vocab_size)
        status = lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_verify_model: %s holds another model", folder);
    if (status == LM_OK) status = lm_reference_model_logits(reference, length, tokens, expected);
    double largest = 0.0;
    for (size_t i = 0; i < count && status == LM_OK && !isnan(largest); i++) {
        const double difference = fabs((double)logits[i] - expected[i]);
        if (!(difference <= largest)) largest = difference; /* a NaN counts, and stays */
    }
    *error = largest;
    lm_reference_model_destroy(&reference);
    free(logits);
    free(expected);
    return status;
}
