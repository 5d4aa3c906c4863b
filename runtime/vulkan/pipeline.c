/* runtime/vulkan/pipeline.c: kernels built for a set of specialisation constants. */
#include "runtime/vulkan/vulkan_internal.h"

#include <stdlib.h>

bool lm_vulkan_supports(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC])
{
    const lm_device_info *info = &device->info;
    if (spec[0] < 1 || spec[1] < 1 || (uint32_t)spec[0] > info->max_workgroup_dim[0] ||
        (uint32_t)spec[1] > info->max_workgroup_dim[1] || (int64_t)spec[0] * spec[1] > info->max_workgroup_size)
        return false;
    if (kernel->binding_count > LM_VULKAN_MIN_STORAGE_BUFFERS || kernel->params_size > LM_MAX_PARAMS) return false;
    size_t size;
    const uint32_t *words = lm_kernel_spirv(kernel->id, &size);
    lm_spirv_needs needs;
    return lm_spirv_inspect(words, size, spec, &needs) && needs.unknown == 0 &&
           (needs.capabilities & ~info->capabilities) == 0 && needs.shared_bytes <= info->shared_bytes;
}

/* Makes the layouts for a number of bindings, storage buffers 0 … count-1 of set 0, if they are not there yet. */
static lm_status prepare_layouts(lm_vulkan_device *device, uint32_t count)
{
    if (device->set_layouts[count] == VK_NULL_HANDLE) {
        VkDescriptorSetLayoutBinding bindings[LM_MAX_BINDINGS];
        for (uint32_t i = 0; i < count; i++)
            bindings[i] = (VkDescriptorSetLayoutBinding){
                .binding = i,
                .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                .descriptorCount = 1,
                .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
            };
        VkDescriptorSetLayoutCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
            .bindingCount = count,
            .pBindings = bindings,
        };
        VkResult result = device->vkCreateDescriptorSetLayout(device->handle, &info, NULL, &device->set_layouts[count]);
        if (result != VK_SUCCESS) {
            device->set_layouts[count] = VK_NULL_HANDLE;
            return lm_vulkan_fail(&device->base, "vkCreateDescriptorSetLayout", result);
        }
    }
    if (device->pipeline_layouts[count] == VK_NULL_HANDLE) {
        /* Every layout has all the push constants that every device has, whatever a kernel uses of them. */
        VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, LM_MAX_PARAMS};
        VkPipelineLayoutCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
            .setLayoutCount = 1,
            .pSetLayouts = &device->set_layouts[count],
            .pushConstantRangeCount = 1,
            .pPushConstantRanges = &range,
        };
        VkResult result = device->vkCreatePipelineLayout(device->handle, &info, NULL, &device->pipeline_layouts[count]);
        if (result != VK_SUCCESS) {
            device->pipeline_layouts[count] = VK_NULL_HANDLE;
            return lm_vulkan_fail(&device->base, "vkCreatePipelineLayout", result);
        }
    }
    return LM_OK;
}

static lm_status build(lm_vulkan_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                       lm_vulkan_pipeline *pipeline)
{
    size_t size;
    const uint32_t *words = lm_kernel_spirv(kernel->id, &size);
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = size,
        .pCode = words,
    };
    VkShaderModule module;
    VkResult result = device->vkCreateShaderModule(device->handle, &module_info, NULL, &module);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkCreateShaderModule", result);

    VkSpecializationMapEntry entries[LM_MAX_SPEC];
    for (uint32_t i = 0; i < LM_MAX_SPEC; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * (uint32_t)sizeof *spec, sizeof *spec};
    VkSpecializationInfo specialisation = {
        .mapEntryCount = LM_MAX_SPEC,
        .pMapEntries = entries,
        .dataSize = LM_MAX_SPEC * sizeof *spec,
        .pData = spec,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = module,
            .pName = "main",
            .pSpecializationInfo = &specialisation,
        },
        .layout = pipeline->layout,
    };
    result = device->vkCreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, NULL, &pipeline->handle);
    device->vkDestroyShaderModule(device->handle, module, NULL);
    if (result != VK_SUCCESS) {
        pipeline->handle = VK_NULL_HANDLE;
        lm_log(device->base.context, LM_LOG_WARNING, "%s: kernel %s, work-group %d x %d", device->base.info.id, kernel->stem,
               spec[0], spec[1]);
        return lm_vulkan_fail(&device->base, "vkCreateComputePipelines", result);
    }
    return LM_OK;
}

lm_status lm_vulkan_pipeline_create(lm_device *base, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                                    lm_pipeline **result)
{
    lm_vulkan_device *device = (lm_vulkan_device *)base;
    uint32_t binding_count = (uint32_t)kernel->binding_count;
    lm_status status = prepare_layouts(device, binding_count);
    if (status != LM_OK) return status;
    lm_vulkan_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL)
        return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for a pipeline", base->info.id);
    pipeline->base.device = base;
    pipeline->layout = device->pipeline_layouts[binding_count];
    pipeline->binding_count = binding_count;
    pipeline->params_size = (uint32_t)kernel->params_size;
    status = build(device, kernel, spec, pipeline);
    if (status != LM_OK) {
        free(pipeline);
        return status;
    }
    *result = &pipeline->base;
    return LM_OK;
}

void lm_vulkan_pipeline_destroy(lm_pipeline *base)
{
    lm_vulkan_device *device = (lm_vulkan_device *)base->device;
    device->vkDestroyPipeline(device->handle, ((lm_vulkan_pipeline *)base)->handle, NULL);
    free(base);
}
