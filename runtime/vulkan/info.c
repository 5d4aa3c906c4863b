/* runtime/vulkan/info.c: what a physical device is and can. */
#include "runtime/vulkan/vulkan_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Limits that only newer drivers or single makers tell; 0 where unknown. */
typedef struct extra_properties {
    uint64_t max_buffer_bytes;
    uint32_t compute_units;
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceMaintenance3Properties maintenance3;
    VkPhysicalDeviceDriverProperties driver;
    bool portability_subset;
} extra_properties;

static void query_extra(lm_vulkan_driver *driver, VkPhysicalDevice handle, uint32_t version, extra_properties *extra)
{
    VkExtensionProperties *extensions = NULL;
    uint32_t count = 0;
    if (driver->vkEnumerateDeviceExtensionProperties(handle, NULL, &count, NULL) == VK_SUCCESS && count > 0) {
        extensions = calloc(count, sizeof *extensions);
        if (extensions == NULL || driver->vkEnumerateDeviceExtensionProperties(handle, NULL, &count, extensions) < 0)
            count = 0;
    } else {
        count = 0;
    }
    extra->subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES;
    extra->maintenance3.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
    extra->driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES;
    VkPhysicalDeviceMaintenance4Properties maintenance4 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV sm = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCoreProperties2AMD cores = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};

    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &extra->maintenance3};
    extra->maintenance3.pNext = &extra->subgroup;
    void **tail = &extra->subgroup.pNext;
    if (version >= VK_API_VERSION_1_2 ||
        lm_vulkan_has_extension(extensions, count, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) {
        *tail = &extra->driver;
        tail = &extra->driver.pNext;
    }
    if (version >= VK_API_VERSION_1_3 || lm_vulkan_has_extension(extensions, count, VK_KHR_MAINTENANCE_4_EXTENSION_NAME)) {
        *tail = &maintenance4;
        tail = &maintenance4.pNext;
    }
    if (lm_vulkan_has_extension(extensions, count, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
        *tail = &sm;
        tail = &sm.pNext;
    }
    if (lm_vulkan_has_extension(extensions, count, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME)) {
        *tail = &cores;
        tail = &cores.pNext;
    }
    driver->vkGetPhysicalDeviceProperties2(handle, &properties);
    extra->max_buffer_bytes = maintenance4.maxBufferSize;
    extra->compute_units = sm.shaderSMCount > 0 ? sm.shaderSMCount : cores.activeComputeUnitCount;
    extra->portability_subset = lm_vulkan_has_extension(extensions, count, "VK_KHR_portability_subset");
    free(extensions);
}

static lm_device_type type_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return LM_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return LM_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return LM_DEVICE_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return LM_DEVICE_CPU;
    default: return LM_DEVICE_OTHER;
    }
}

/* A family with compute and timestamps, rather one without graphics: its work does not hold up a desktop. */
static bool choose_queue_family(lm_vulkan_driver *driver, VkPhysicalDevice handle, lm_vulkan_physical *physical)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = sizeof families / sizeof *families;
    driver->vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, families);
    int best = -1;
    for (uint32_t i = 0; i < count; i++) {
        if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0 || families[i].queueCount == 0) continue;
        int score = (families[i].timestampValidBits > 0 ? 2 : 0) +
                    ((families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) == 0 ? 1 : 0);
        if (score <= best) continue;
        best = score;
        physical->queue_family = i;
        physical->timestamp_bits = families[i].timestampValidBits;
    }
    return best >= 0;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The largest device-local heap, and whether the host can map it without a copy. */
static void describe_memory(lm_vulkan_driver *driver, VkPhysicalDevice handle, lm_device_info *info)
{
    VkPhysicalDeviceMemoryProperties memory;
    driver->vkGetPhysicalDeviceMemoryProperties(handle, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &memory.memoryHeaps[i];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > info->memory_bytes)
            info->memory_bytes = heap->size;
    }
    if (info->type != LM_DEVICE_INTEGRATED && info->type != LM_DEVICE_CPU) return;
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++)
        if ((memory.memoryTypes[i].propertyFlags & wanted) == wanted &&
            memory.memoryHeaps[memory.memoryTypes[i].heapIndex].size == info->memory_bytes)
            info->capabilities |= LM_CAP_UNIFIED_MEMORY;
}

bool lm_vulkan_describe(lm_vulkan_driver *driver, VkPhysicalDevice handle, uint32_t index, lm_device_info *info,
                        lm_vulkan_physical *physical)
{
    lm_context *context = driver->base.context;
    VkPhysicalDeviceProperties properties;
    driver->vkGetPhysicalDeviceProperties(handle, &properties);
    const VkPhysicalDeviceLimits *limits = &properties.limits;
    if (properties.apiVersion < VK_API_VERSION_1_1) {
        lm_log(context, LM_LOG_WARNING, "vulkan: %s skipped: it has only Vulkan 1.0", properties.deviceName);
        return false;
    }
    if (limits->maxPerStageDescriptorStorageBuffers < LM_VULKAN_MIN_STORAGE_BUFFERS ||
        limits->maxDescriptorSetStorageBuffers < LM_VULKAN_MIN_STORAGE_BUFFERS) {
        lm_log(context, LM_LOG_WARNING, "vulkan: %s skipped: %u storage buffers in a stage, %d needed",
               properties.deviceName, limits->maxPerStageDescriptorStorageBuffers, LM_VULKAN_MIN_STORAGE_BUFFERS);
        return false;
    }
    memset(physical, 0, sizeof *physical);
    physical->handle = handle;
    physical->max_allocations = limits->maxMemoryAllocationCount;
    physical->max_push_bytes =
        limits->maxPushConstantsSize < LM_VULKAN_MOST_PUSH_BYTES ? limits->maxPushConstantsSize : LM_VULKAN_MOST_PUSH_BYTES;
    if (!choose_queue_family(driver, handle, physical)) {
        lm_log(context, LM_LOG_WARNING, "vulkan: %s skipped: no queue for compute", properties.deviceName);
        return false;
    }

    uint32_t version = properties.apiVersion < driver->api_version ? properties.apiVersion : driver->api_version;
    extra_properties extra = {0};
    query_extra(driver, handle, version, &extra);
    physical->portability_subset = extra.portability_subset;

    memset(info, 0, sizeof *info);
    info->backend = LM_BACKEND_VULKAN;
    info->type = type_of(properties.deviceType);
    info->index = index;
    snprintf(info->id, sizeof info->id, "vulkan:%u", index);
    snprintf(info->name, sizeof info->name, "%s", properties.deviceName);
    if (extra.driver.driverName[0] != '\0')
        snprintf(info->driver, sizeof info->driver, "%.120s %.130s", extra.driver.driverName, extra.driver.driverInfo);
    else
        snprintf(info->driver, sizeof info->driver, "version 0x%08x", properties.driverVersion);
    snprintf(info->api, sizeof info->api, "Vulkan %u.%u.%u", VK_API_VERSION_MAJOR(properties.apiVersion),
             VK_API_VERSION_MINOR(properties.apiVersion), VK_API_VERSION_PATCH(properties.apiVersion));
    info->vendor_id = properties.vendorID;
    describe_memory(driver, handle, info);
    info->max_allocation_bytes = extra.maintenance3.maxMemoryAllocationSize;
    if (extra.max_buffer_bytes > 0)
        info->max_allocation_bytes = min_u64(info->max_allocation_bytes, extra.max_buffer_bytes);
    if (info->memory_bytes > 0) info->max_allocation_bytes = min_u64(info->max_allocation_bytes, info->memory_bytes);
    info->max_allocation_bytes &= ~(uint64_t)3;
    info->max_binding_bytes = min_u64(limits->maxStorageBufferRange, info->max_allocation_bytes) & ~(uint64_t)3;
    info->binding_alignment = limits->minStorageBufferOffsetAlignment > 16
                                  ? (uint32_t)limits->minStorageBufferOffsetAlignment : 16;
    info->max_workgroup_size = limits->maxComputeWorkGroupInvocations;
    memcpy(info->max_workgroup_dim, limits->maxComputeWorkGroupSize, sizeof info->max_workgroup_dim);
    memcpy(info->max_groups, limits->maxComputeWorkGroupCount, sizeof info->max_groups);
    info->shared_bytes = limits->maxComputeSharedMemorySize;
    info->compute_units = extra.compute_units;
    if (info->compute_units == 0 && info->type == LM_DEVICE_CPU) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        info->compute_units = processors > 0 ? (uint32_t)processors : 0;
    }
    info->lanes = 1;

    const VkSubgroupFeatureFlags operations =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    if ((extra.subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) && extra.subgroup.subgroupSize > 1 &&
        (extra.subgroup.supportedOperations & operations) == operations) {
        info->capabilities |= LM_CAP_SUBGROUP;
        info->subgroup_size = extra.subgroup.subgroupSize;
    }
    VkPhysicalDevice16BitStorageFeatures storage16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceBufferDeviceAddressFeatures addresses = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES};
    if (version >= VK_API_VERSION_1_2) storage16.pNext = &addresses;
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &storage16};
    driver->vkGetPhysicalDeviceFeatures2(handle, &features);
    if (storage16.storageBuffer16BitAccess) info->capabilities |= LM_CAP_FLOAT16_STORAGE;
    if (addresses.bufferDeviceAddress && features.features.shaderInt64) info->capabilities |= LM_CAP_ADDRESSES;
    if (physical->timestamp_bits > 0 && limits->timestampPeriod > 0) {
        info->capabilities |= LM_CAP_TIMESTAMPS;
        info->timestamp_ns = limits->timestampPeriod;
    }
    if (info->shared_bytes >= 32768) info->capabilities |= LM_CAP_LARGE_SHARED;
    if ((uint64_t)limits->maxTexelBufferElements * LM_VULKAN_TEXEL_BYTES >= info->max_binding_bytes &&
        limits->maxPerStageDescriptorStorageImages >= LM_VULKAN_MIN_STORAGE_BUFFERS &&
        limits->maxDescriptorSetStorageImages >= LM_VULKAN_MIN_STORAGE_BUFFERS &&
        info->binding_alignment % limits->minTexelBufferOffsetAlignment == 0)
        info->capabilities |= LM_CAP_TEXELS;
    return true;
}
