/* host/inspect.c: what a model folder holds, told without a device. */
#include <stdio.h>
#include <string.h>

#include "host/config.h"
#include "host/model.h"
#include "runtime/backend.h"

static const char *const dtype_names[] = {[LM_DTYPE_BF16] = "BF16", [LM_DTYPE_F16] = "F16", [LM_DTYPE_F32] = "F32"};

/* Parameters of a model, each counted once however many names and heads the file has for it, and the 4-byte words that they
 * become on a device, where weights.c folds gates and pointwise biases into other weights. */
typedef struct totals {
    uint64_t parameters, words;
} totals;

static void count(totals *t, const lm_tensor *tensor, bool on_device)
{
    if (tensor == NULL) return;
    t->parameters += tensor->count;
    if (on_device) t->words += tensor->count;
}

static void count_block(totals *t, const lm_config *config, const lm_block_tensors *block)
{
    const lm_tensor *const whole[] = {block->in_proj_weight, block->in_proj_bias, block->x_proj_weight,
                                      block->dt_proj_weight, block->dt_proj_bias, block->out_proj_weight,
                                      block->out_proj_bias,  block->a_log,        block->d};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) count(t, whole[i], true);
    count(t, block->conv_gates, config->variant == LM_VARIANT_PTCN && config->branches > 1);
    for (uint32_t i = 0; i < config->branches; i++) {
        count(t, block->conv_weight[i], true);
        count(t, block->conv_bias[i], true);
        count(t, block->pw_weight[i], true);
        count(t, block->pw_bias[i], i == 0);
    }
}

static void count_model(lm_model_info *info, const lm_model_tensors *tensors)
{
    const lm_config *config = &info->config;
    totals t = {.words = config->branches}; /* the dilations */
    count(&t, tensors->embeddings, true);
    count(&t, tensors->head, true);
    count(&t, tensors->norm_f, true);
    const uint32_t blocks = config->layers > 0 ? config->layers : 1;
    for (uint32_t i = 0; i < blocks; i++) {
        count(&t, tensors->norms[i], true);
        count_block(&t, config, &tensors->blocks[i]);
    }
    info->parameters = t.parameters;
    info->device_bytes = 4 * t.words;
}

/* A state keeps, a layer, the last inputs of the convolutions and the scan's states. Branches that read the same input share
 * one ring, as long as the longest of them needs. Far from overflow within the ranges that lm_config_complete checks. */
static uint64_t count_state(const lm_config *config)
{
    uint64_t inputs = 0;
    for (uint32_t i = 0; i < config->branches; i++) {
        const uint64_t ring = (uint64_t)(config->d_conv - 1) * config->dilations[i] + 1;
        if (config->variant == LM_VARIANT_STCN)
            inputs += ring;
        else if (ring > inputs)
            inputs = ring;
    }
    return 4 * (inputs + config->d_state) * lm_config_d_inner(config) * (config->layers > 0 ? config->layers : 1);
}

static void count_file(lm_model_info *info, const lm_tensor_set *set)
{
    bool seen[sizeof dtype_names / sizeof *dtype_names] = {false};
    info->tensors = lm_tensor_set_count(set);
    for (size_t i = 0; i < info->tensors; i++) {
        const lm_tensor *tensor = lm_tensor_set_at(set, i);
        info->file_bytes += tensor->nbytes;
        seen[tensor->dtype] = true;
    }
    static const lm_dtype order[] = {LM_DTYPE_BF16, LM_DTYPE_F16, LM_DTYPE_F32};
    size_t used = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (seen[order[i]])
            used += (size_t)snprintf(info->types + used, sizeof info->types - used, "%s%s", used > 0 ? " " : "",
                                     dtype_names[order[i]]);
}

lm_status lm_model_inspect(const char *folder, lm_model_info *info)
{
    if (folder == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_inspect: folder is NULL");
    lm_model_info found = {0};
    lm_tensor_set set = {0};
    lm_model_tensors tensors = {0};
    lm_status status = lm_config_read(folder, &found.config);
    if (status == LM_OK) status = lm_tensor_set_open(folder, &set);
    if (status == LM_OK) status = lm_model_tensors_find(&set, &found.config, &tensors);
    if (status == LM_OK) {
        count_file(&found, &set);
        count_model(&found, &tensors);
        found.state_bytes = count_state(&found.config);
        if (info != NULL) *info = found;
    }
    lm_model_tensors_free(&tensors);
    lm_tensor_set_free(&set);
    return status;
}
