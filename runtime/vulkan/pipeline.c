/* runtime/vulkan/pipeline.c: kernels built for a set of specialisation constants. */
#include "runtime/vulkan/vulkan_internal.h"

#include <stdlib.h>
#include <string.h>

/* Where the addresses of a kernel's buffers are among its push constants. */
static size_t addresses_offset(const lm_kernel *kernel) { return (kernel->params_size + 7) / 8 * 8; }

/* The form that a kernel is built in: with addresses, where there is one, the device has them, and push constants room for them. */
static lm_spirv_form form_of(const lm_device *base, const lm_kernel *kernel)
{
    const size_t bytes = addresses_offset(kernel) + kernel->binding_count * sizeof(VkDeviceAddress);
    size_t size;
    if ((base->info.capabilities & LM_CAP_ADDRESSES) == 0 || lm_kernel_spirv(kernel->id, LM_SPIRV_ADDRESSED, &size) == NULL)
        return LM_SPIRV_BOUND;
    return bytes <= ((const lm_vulkan_device *)base)->physical->max_push_bytes ? LM_SPIRV_ADDRESSED : LM_SPIRV_BOUND;
}

bool lm_vulkan_supports(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC])
{
    const lm_device_info *info = &device->info;
    if (spec[0] < 1 || spec[1] < 1 || (uint32_t)spec[0] > info->max_workgroup_dim[0] ||
        (uint32_t)spec[1] > info->max_workgroup_dim[1] || (int64_t)spec[0] * spec[1] > info->max_workgroup_size)
        return false;
    if (kernel->binding_count > LM_VULKAN_MIN_STORAGE_BUFFERS || kernel->params_size > LM_MAX_PARAMS) return false;
    if (strchr(kernel->access, 't') != NULL && (info->capabilities & LM_CAP_TEXELS) == 0) return false;
    size_t size;
    const uint32_t *words = lm_kernel_spirv(kernel->id, form_of(device, kernel), &size);
    lm_spirv_needs needs;
    return lm_spirv_inspect(words, size, spec, &needs) && needs.unknown == 0 &&
           (needs.capabilities & ~info->capabilities) == 0 && needs.shared_bytes <= info->shared_bytes;
}

/* Bit i: binding i is a texel buffer. */
static uint32_t texels_of(const lm_kernel *kernel)
{
    uint32_t texels = 0;
    for (size_t i = 0; i < kernel->binding_count; i++)
        if (kernel->access[i] == 't') texels |= 1u << i;
    return texels;
}

/* Into a struct that holds count and texels. */
static lm_status make_layout(lm_vulkan_device *device, lm_vulkan_layout *layout)
{
    VkDescriptorSetLayoutBinding bindings[LM_MAX_BINDINGS];
    for (uint32_t i = 0; i < layout->binding_count; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = layout->texels >> i & 1 ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER
                                                      : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = layout->binding_count,
        .pBindings = bindings,
    };
    VkResult result = device->vkCreateDescriptorSetLayout(device->handle, &set_info, NULL, &layout->set);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkCreateDescriptorSetLayout", result);
    /* Every layout with bindings has all the push constants that every device has, whatever a kernel uses of them. */
    const uint32_t push_bytes = layout->binding_count > 0 ? LM_MAX_PARAMS : device->physical->max_push_bytes;
    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes};
    VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &layout->set,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    result = device->vkCreatePipelineLayout(device->handle, &info, NULL, &layout->pipeline);
    if (result == VK_SUCCESS) return LM_OK;
    device->vkDestroyDescriptorSetLayout(device->handle, layout->set, NULL);
    return lm_vulkan_fail(&device->base, "vkCreatePipelineLayout", result);
}

/* The device's layout for a kernel's bindings. */
static lm_status get_layout(lm_vulkan_device *device, const lm_kernel *kernel, lm_spirv_form form, const lm_vulkan_layout **out)
{
    const uint32_t count = form == LM_SPIRV_BOUND ? (uint32_t)kernel->binding_count : 0, texels = count > 0 ? texels_of(kernel) : 0;
    lm_vulkan_layout *layout = device->layouts, *end = layout + device->layout_count;
    while (layout < end && (layout->binding_count != count || layout->texels != texels)) layout++;
    *out = layout;
    if (layout < end) return LM_OK;
    layout->binding_count = count;
    layout->texels = texels;
    lm_status status = make_layout(device, layout);
    if (status == LM_OK) device->layout_count++;
    return status;
}

static lm_status build(lm_vulkan_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                       lm_vulkan_pipeline *pipeline)
{
    size_t size;
    const uint32_t *words = lm_kernel_spirv(kernel->id, form_of(&device->base, kernel), &size);
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
        .layout = pipeline->layout->pipeline,
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
    const lm_vulkan_layout *layout;
    const lm_spirv_form form = form_of(base, kernel);
    lm_status status = get_layout(device, kernel, form, &layout);
    if (status != LM_OK) return status;
    lm_vulkan_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL)
        return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for a pipeline", base->info.id);
    pipeline->base.device = base;
    pipeline->layout = layout;
    pipeline->params_size = (uint32_t)kernel->params_size;
    pipeline->address_count = form == LM_SPIRV_BOUND ? 0 : (uint32_t)kernel->binding_count;
    pipeline->addresses_offset = (uint32_t)addresses_offset(kernel);
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
