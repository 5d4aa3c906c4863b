/* runtime/vulkan/device.c: the logical device, its queue, waiting, and transfers through the staging buffer. */
#include "runtime/vulkan/vulkan_internal.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"

/* How long a wait polls before it sleeps: about a streaming step. */
#define POLL_SECONDS 200e-6

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static lm_status create_device(lm_vulkan_driver *driver, lm_vulkan_device *device)
{
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = device->physical->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkPhysicalDevice16BitStorageFeatures storage16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .storageBuffer16BitAccess = (device->base.info.capabilities & LM_CAP_FLOAT16_STORAGE) != 0,
    };
    const bool by_address = (device->base.info.capabilities & LM_CAP_ADDRESSES) != 0;
    VkPhysicalDeviceBufferDeviceAddressFeatures addresses = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES,
        .bufferDeviceAddress = VK_TRUE,
    };
    const VkPhysicalDeviceFeatures features = {.shaderInt64 = by_address};
    if (by_address) storage16.pNext = &addresses;
    const char *extensions[] = {"VK_KHR_portability_subset"};
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &storage16,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = device->physical->portability_subset ? 1 : 0,
        .ppEnabledExtensionNames = extensions,
        .pEnabledFeatures = &features,
    };
    VkResult result = driver->vkCreateDevice(device->physical->handle, &info, NULL, &device->handle);
    if (result != VK_SUCCESS) {
        device->handle = VK_NULL_HANDLE;
        return lm_vulkan_fail(&device->base, "vkCreateDevice", result);
    }
#define X(name) \
    device->name = (PFN_##name)driver->vkGetDeviceProcAddr(device->handle, #name); \
    if (device->name == NULL) \
        return lm_fail(device->base.context, LM_ERROR_DRIVER, "%s: the driver lacks " #name, device->base.info.id);
    LM_VULKAN_DEVICE_FUNCTIONS(X)
#undef X
    if (by_address) {
        device->vkGetBufferDeviceAddress =
            (PFN_vkGetBufferDeviceAddress)driver->vkGetDeviceProcAddr(device->handle, "vkGetBufferDeviceAddress");
        if (device->vkGetBufferDeviceAddress == NULL)
            return lm_fail(device->base.context, LM_ERROR_DRIVER, "%s: the driver lacks vkGetBufferDeviceAddress",
                           device->base.info.id);
    }
    device->vkGetDeviceQueue(device->handle, device->physical->queue_family, 0, &device->queue);

    VkPipelineCacheCreateInfo cache = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    result = device->vkCreatePipelineCache(device->handle, &cache, NULL, &device->pipeline_cache);
    if (result != VK_SUCCESS) {
        device->pipeline_cache = VK_NULL_HANDLE;
        return lm_vulkan_fail(&device->base, "vkCreatePipelineCache", result);
    }
    return LM_OK;
}

lm_status lm_vulkan_open(lm_driver *base, const lm_device_info *info, lm_device **result)
{
    lm_vulkan_driver *driver = (lm_vulkan_driver *)base;
    lm_vulkan_device *device = calloc(1, sizeof *device);
    if (device == NULL) return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for the device", info->id);
    device->base.ops = base->ops;
    device->base.driver = base;
    device->base.context = base->context;
    device->base.info = *info;
    device->physical = &driver->physical[info->index];
    driver->vkGetPhysicalDeviceMemoryProperties(device->physical->handle, &device->memory);
    lm_status status = create_device(driver, device);
    if (status != LM_OK) {
        lm_vulkan_close(&device->base);
        return status;
    }
    *result = &device->base;
    return LM_OK;
}

static void destroy_staging(lm_vulkan_device *device)
{
    for (size_t i = 0; i < LM_VULKAN_STAGING_SLOTS; i++) {
        if (device->slots[i].fence != VK_NULL_HANDLE) device->vkDestroyFence(device->handle, device->slots[i].fence, NULL);
        memset(&device->slots[i], 0, sizeof device->slots[i]);
    }
    if (device->staging_pool != VK_NULL_HANDLE) device->vkDestroyCommandPool(device->handle, device->staging_pool, NULL);
    device->staging_pool = VK_NULL_HANDLE;
    if (device->staging != NULL) lm_vulkan_buffer_destroy(device->staging);
    device->staging = NULL;
    lm_copier_close(&device->base.copier);
}

/* Also takes a device that was opened in part. */
void lm_vulkan_close(lm_device *base)
{
    lm_vulkan_device *device = (lm_vulkan_device *)base;
    if (device->handle != VK_NULL_HANDLE && device->vkDeviceWaitIdle != NULL && device->vkDestroyDevice != NULL) {
        device->vkDeviceWaitIdle(device->handle);
        /* vkGetQueryPoolResults is the table's last: with it all of the table is there. */
        if (device->vkGetQueryPoolResults != NULL) {
            destroy_staging(device);
            for (size_t i = 0; i < device->layout_count; i++) {
                device->vkDestroyPipelineLayout(device->handle, device->layouts[i].pipeline, NULL);
                device->vkDestroyDescriptorSetLayout(device->handle, device->layouts[i].set, NULL);
            }
            if (device->pipeline_cache != VK_NULL_HANDLE)
                device->vkDestroyPipelineCache(device->handle, device->pipeline_cache, NULL);
        }
        device->vkDestroyDevice(device->handle, NULL);
    }
    free(device);
}

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

/* The caller of a wait that failed takes the work for done and may destroy what it uses, so what still runs must end first.
 * On a lost device this returns too, and soon. */
static lm_status fail_wait(lm_vulkan_device *device, const char *call, VkResult result)
{
    if (device->vkDeviceWaitIdle(device->handle) == VK_ERROR_DEVICE_LOST) result = VK_ERROR_DEVICE_LOST;
    return lm_vulkan_fail(&device->base, call, result);
}

lm_status lm_vulkan_wait_fence(lm_vulkan_device *device, VkFence fence)
{
    /* A driver on the processor needs for its work the very core that polling would keep busy. */
    if (device->base.info.type != LM_DEVICE_CPU) {
        const double end = lm_clock() + POLL_SECONDS;
        do {
            VkResult result = device->vkGetFenceStatus(device->handle, fence);
            if (result == VK_SUCCESS) return LM_OK;
            if (result != VK_NOT_READY) return fail_wait(device, "vkGetFenceStatus", result);
        } while (lm_clock() < end);
    }
    VkResult result;
    do {
        result = device->vkWaitForFences(device->handle, 1, &fence, VK_TRUE, UINT64_MAX);
    } while (result == VK_TIMEOUT);
    return result == VK_SUCCESS ? LM_OK : fail_wait(device, "vkWaitForFences", result);
}

/* ---- transfers -------------------------------------------------------------------------------------------------- */

static lm_status create_staging(lm_vulkan_device *device)
{
    lm_status status = lm_vulkan_buffer_allocate(device, (uint64_t)LM_VULKAN_STAGING_SLOTS * LM_VULKAN_STAGING_BYTES,
                                                 LM_VULKAN_STAGING, &device->staging);
    if (status != LM_OK) return status;
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = device->physical->queue_family,
    };
    VkResult result = device->vkCreateCommandPool(device->handle, &pool, NULL, &device->staging_pool);
    if (result != VK_SUCCESS) {
        device->staging_pool = VK_NULL_HANDLE;
        return lm_vulkan_fail(&device->base, "vkCreateCommandPool", result);
    }
    for (size_t i = 0; i < LM_VULKAN_STAGING_SLOTS; i++) {
        lm_vulkan_slot *slot = &device->slots[i];
        VkCommandBufferAllocateInfo commands = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = device->staging_pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        result = device->vkAllocateCommandBuffers(device->handle, &commands, &slot->commands);
        if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkAllocateCommandBuffers", result);
        VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
        result = device->vkCreateFence(device->handle, &fence, NULL, &slot->fence);
        if (result != VK_SUCCESS) {
            slot->fence = VK_NULL_HANDLE;
            return lm_vulkan_fail(&device->base, "vkCreateFence", result);
        }
        slot->staging_offset = i * LM_VULKAN_STAGING_BYTES;
        slot->bytes = (uint8_t *)device->staging->mapped + slot->staging_offset;
    }
    return LM_OK;
}

static lm_status prepare_staging(lm_vulkan_device *device)
{
    if (device->staging != NULL) return LM_OK;
    lm_status status = create_staging(device);
    if (status != LM_OK) destroy_staging(device);
    return status;
}

/* Copies between the slot and `buffer` on the device; to the slot when slot->target is set. */
static lm_status submit_slot(lm_vulkan_device *device, lm_vulkan_slot *slot, const lm_vulkan_buffer *buffer,
                             uint64_t offset)
{
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkResult result = device->vkBeginCommandBuffer(slot->commands, &begin);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkBeginCommandBuffer", result);
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    device->vkCmdPipelineBarrier(slot->commands,
                                 VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |
                                     VK_PIPELINE_STAGE_HOST_BIT,
                                 VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    VkBuffer staging = ((lm_vulkan_buffer *)device->staging)->handle;
    if (slot->target != NULL) {
        VkBufferCopy region = {offset, slot->staging_offset, slot->size};
        device->vkCmdCopyBuffer(slot->commands, buffer->handle, staging, 1, &region);
        barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
        barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
        device->vkCmdPipelineBarrier(slot->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                                     &barrier, 0, NULL, 0, NULL);
    } else {
        VkBufferCopy region = {slot->staging_offset, offset, slot->size};
        device->vkCmdCopyBuffer(slot->commands, staging, buffer->handle, 1, &region);
    }
    result = device->vkEndCommandBuffer(slot->commands);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkEndCommandBuffer", result);
    result = device->vkResetFences(device->handle, 1, &slot->fence);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkResetFences", result);
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &slot->commands,
    };
    result = device->vkQueueSubmit(device->queue, 1, &submit, slot->fence);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkQueueSubmit", result);
    slot->pending = true;
    return LM_OK;
}

/* Waits for the slot's transfer, if there is one, and hands out what a download brought. */
static lm_status finish_slot(lm_vulkan_device *device, lm_vulkan_slot *slot)
{
    if (!slot->pending) return LM_OK;
    slot->pending = false;
    lm_status status = lm_vulkan_wait_fence(device, slot->fence);
    if (status != LM_OK) return status;
    if (slot->target != NULL) lm_copier_copy(&device->base.copier, slot->target, slot->bytes, slot->size);
    return LM_OK;
}

/* Exactly one of `data` (to the device) and `target` (from it) is set. */
static lm_status transfer(lm_vulkan_buffer *buffer, uint64_t offset, const uint8_t *data, uint8_t *target, uint64_t size)
{
    lm_vulkan_device *device = (lm_vulkan_device *)buffer->base.device;
    lm_status status = prepare_staging(device);
    size_t turn = 0;
    for (uint64_t done = 0; status == LM_OK && done < size; turn++) {
        lm_vulkan_slot *slot = &device->slots[turn % LM_VULKAN_STAGING_SLOTS];
        status = finish_slot(device, slot);
        if (status != LM_OK) break;
        slot->size = size - done < LM_VULKAN_STAGING_BYTES ? size - done : LM_VULKAN_STAGING_BYTES;
        slot->target = target != NULL ? target + done : NULL;
        if (data != NULL) lm_copier_copy(&device->base.copier, slot->bytes, data + done, slot->size);
        status = submit_slot(device, slot, buffer, offset + done);
        done += slot->size;
    }
    for (size_t i = 0; i < LM_VULKAN_STAGING_SLOTS; i++) {
        lm_status finished = finish_slot(device, &device->slots[i]);
        if (status == LM_OK) status = finished;
    }
    return status;
}

lm_status lm_vulkan_stage_upload(lm_vulkan_buffer *buffer, uint64_t offset, const void *data, uint64_t size)
{
    return transfer(buffer, offset, data, NULL, size);
}

lm_status lm_vulkan_stage_download(lm_vulkan_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    return transfer(buffer, offset, NULL, data, size);
}
