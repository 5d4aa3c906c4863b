/* runtime/vulkan/buffer.c: buffers, each with memory of its own. */
#include "runtime/vulkan/vulkan_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Of the memory that is the device's own and mapped there is often only 256 MiB for all programs: for small things. */
    SMALL_BYTES = 64 * 1024,
    /* Kernels read what is larger again and again: over the bus, that would take longer than a copy. */
    BUS_BYTES = 256 * 1024,
    LARGE_HEAP_BYTES = 1024 * 1024 * 1024,
    /* Reading memory that the processor does not cache goes word by word over the bus; from here on a copy is faster. */
    UNCACHED_READ_BYTES = 1024,
    /* Types with a property out of these are never what a kernel's buffer wants, or need a feature turned on. */
    ODD_MEMORY = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
                 VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD,
    DEVICE_LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    MAPPABLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
};

/* Is more of the device's own memory mapped than the usual 256 MiB ("resizable BAR")? */
static bool maps_device_memory(const lm_vulkan_device *device)
{
    for (uint32_t type = 0; type < device->memory.memoryTypeCount; type++) {
        const VkMemoryType *t = &device->memory.memoryTypes[type];
        if ((t->propertyFlags & (DEVICE_LOCAL | MAPPABLE)) == (DEVICE_LOCAL | MAPPABLE) && (t->propertyFlags & ODD_MEMORY) == 0 &&
            device->memory.memoryHeaps[t->heapIndex].size > LARGE_HEAP_BYTES)
            return true;
    }
    return false;
}

/* Kinds of memory in order of preference; a kind of 0 ends the list. */
static void choose_memory(const lm_vulkan_device *device, uint64_t size, lm_vulkan_placement placement,
                          VkMemoryPropertyFlags kinds[4])
{
    size_t count = 0;
    bool unified = (device->base.info.capabilities & LM_CAP_UNIFIED_MEMORY) != 0, mapped = maps_device_memory(device);
    if (placement == LM_VULKAN_HOST && size > BUS_BYTES && !unified && !mapped) placement = LM_VULKAN_DEVICE;
    if (placement == LM_VULKAN_DEVICE) {
        if (unified) {
            kinds[count++] = DEVICE_LOCAL | MAPPABLE | CACHED;
            kinds[count++] = DEVICE_LOCAL | MAPPABLE;
        }
        kinds[count++] = DEVICE_LOCAL;
    } else {
        if (placement == LM_VULKAN_HOST && (unified || size <= SMALL_BYTES || mapped))
            kinds[count++] = DEVICE_LOCAL | MAPPABLE;
        kinds[count++] = MAPPABLE | CACHED;
        kinds[count++] = MAPPABLE;
    }
    kinds[count] = 0;
}

/* Memory of the first kind that has room for the buffer. *properties: of the type that it came from. */
static VkResult allocate_memory(lm_vulkan_device *device, lm_vulkan_buffer *buffer, lm_vulkan_placement placement,
                                VkMemoryPropertyFlags *properties)
{
    VkMemoryRequirements needs;
    device->vkGetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
    VkMemoryPropertyFlags kinds[4];
    choose_memory(device, needs.size, placement, kinds);
    for (size_t k = 0; kinds[k] != 0; k++) {
        for (uint32_t type = 0; type < device->memory.memoryTypeCount; type++) {
            *properties = device->memory.memoryTypes[type].propertyFlags;
            VkDeviceSize heap = device->memory.memoryHeaps[device->memory.memoryTypes[type].heapIndex].size;
            if ((needs.memoryTypeBits & (1u << type)) == 0 || (*properties & kinds[k]) != kinds[k] ||
                (*properties & ODD_MEMORY) != 0 || needs.size > heap)
                continue;
            const VkMemoryAllocateFlagsInfo flags = {
                .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
            };
            VkMemoryAllocateInfo info = {
                .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                .pNext = device->vkGetBufferDeviceAddress != NULL ? &flags : NULL,
                .allocationSize = needs.size,
                .memoryTypeIndex = type,
            };
            VkResult result = device->vkAllocateMemory(device->handle, &info, NULL, &buffer->memory);
            if (result == VK_SUCCESS) return VK_SUCCESS;
            buffer->memory = VK_NULL_HANDLE;
            if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY) return result;
        }
    }
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

/* The parts of a buffer, into a struct that holds device and size. */
static lm_status fill_buffer(lm_vulkan_device *device, lm_vulkan_buffer *buffer, lm_vulkan_placement placement)
{
    lm_device *base = &device->base;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = buffer->base.size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    if (base->info.capabilities & LM_CAP_TEXELS) { /* so that the last floats are in a texel, too */
        info.size = (info.size + LM_VULKAN_TEXEL_BYTES - 1) / LM_VULKAN_TEXEL_BYTES * LM_VULKAN_TEXEL_BYTES;
        info.usage |= VK_BUFFER_USAGE_STORAGE_TEXEL_BUFFER_BIT;
    }
    if (device->vkGetBufferDeviceAddress != NULL) info.usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    VkResult result = device->vkCreateBuffer(device->handle, &info, NULL, &buffer->handle);
    if (result != VK_SUCCESS) {
        buffer->handle = VK_NULL_HANDLE;
        return lm_vulkan_fail(base, "vkCreateBuffer", result);
    }
    if (device->allocations >= device->physical->max_allocations)
        return lm_fail(base->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "%s (%s): %u buffers are alive, and the driver allows no more allocations", base->info.id,
                       base->info.name, device->allocations);
    VkMemoryPropertyFlags properties;
    result = allocate_memory(device, buffer, placement, &properties);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return lm_fail(base->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "%s (%s): no room for a buffer of %" PRIu64 " bytes: vkAllocateMemory: %s (%d)", base->info.id,
                       base->info.name, buffer->base.size, lm_vulkan_result_name(result), (int)result);
    if (result != VK_SUCCESS) return lm_vulkan_fail(base, "vkAllocateMemory", result);
    device->allocations++;
    result = device->vkBindBufferMemory(device->handle, buffer->handle, buffer->memory, 0);
    if (result != VK_SUCCESS) return lm_vulkan_fail(base, "vkBindBufferMemory", result);
    const VkBufferDeviceAddressInfo whole = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = buffer->handle};
    if (device->vkGetBufferDeviceAddress != NULL) buffer->address = device->vkGetBufferDeviceAddress(device->handle, &whole);

    bool unified = (base->info.capabilities & LM_CAP_UNIFIED_MEMORY) != 0;
    if ((placement != LM_VULKAN_DEVICE || unified) && (properties & MAPPABLE) == MAPPABLE) {
        result = device->vkMapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->base.mapped);
        if (result != VK_SUCCESS) {
            buffer->base.mapped = NULL;
            return lm_vulkan_fail(base, "vkMapMemory", result);
        }
        buffer->cached = (properties & CACHED) != 0;
    }
    return LM_OK;
}

lm_status lm_vulkan_buffer_allocate(lm_vulkan_device *device, uint64_t size, lm_vulkan_placement placement,
                                    lm_buffer **result)
{
    lm_vulkan_buffer *buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL)
        return lm_fail(device->base.context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for a buffer", device->base.info.id);
    buffer->base.device = &device->base;
    buffer->base.size = size;
    lm_status status = fill_buffer(device, buffer, placement);
    if (status != LM_OK) {
        lm_vulkan_buffer_destroy(&buffer->base);
        return status;
    }
    *result = &buffer->base;
    return LM_OK;
}

lm_status lm_vulkan_buffer_create(lm_device *base, const lm_buffer_params *params, lm_buffer **out)
{
    lm_vulkan_device *device = (lm_vulkan_device *)base;
    lm_vulkan_placement placement = LM_VULKAN_DEVICE;
    if (params->host_visible) placement = params->host_reads ? LM_VULKAN_STAGING : LM_VULKAN_HOST;
    /* Kernels write a few results to the host's memory themselves; more of them take longer over the bus than a copy does. */
    const bool read_back = placement == LM_VULKAN_STAGING && params->size > SMALL_BYTES &&
                           (base->info.capabilities & LM_CAP_UNIFIED_MEMORY) == 0;
    lm_status status = lm_vulkan_buffer_allocate(device, params->size, read_back ? LM_VULKAN_DEVICE : placement, out);
    if (status != LM_OK || !read_back) return status;
    status = lm_vulkan_buffer_allocate(device, params->size, LM_VULKAN_STAGING, &((lm_vulkan_buffer *)*out)->copy);
    (*out)->read_back = status == LM_OK;
    if (status == LM_OK) return LM_OK;
    lm_vulkan_buffer_destroy(*out);
    *out = NULL;
    return status;
}

/* Also takes a buffer that was made in part. Freeing memory unmaps it. */
void lm_vulkan_buffer_destroy(lm_buffer *base)
{
    lm_vulkan_buffer *buffer = (lm_vulkan_buffer *)base;
    lm_vulkan_device *device = (lm_vulkan_device *)base->device;
    if (buffer->copy != NULL) lm_vulkan_buffer_destroy(buffer->copy);
    if (buffer->handle != VK_NULL_HANDLE) device->vkDestroyBuffer(device->handle, buffer->handle, NULL);
    if (buffer->memory != VK_NULL_HANDLE) {
        device->vkFreeMemory(device->handle, buffer->memory, NULL);
        device->allocations--;
    }
    free(buffer);
}

lm_status lm_vulkan_buffer_upload(lm_buffer *base, uint64_t offset, const void *data, uint64_t size)
{
    base->is_read_back = false;
    if (base->mapped == NULL) return lm_vulkan_stage_upload((lm_vulkan_buffer *)base, offset, data, size);
    lm_copier_copy(&base->device->copier, (uint8_t *)base->mapped + offset, data, size);
    return LM_OK;
}

lm_status lm_vulkan_buffer_download(lm_buffer *base, uint64_t offset, void *data, uint64_t size)
{
    lm_vulkan_buffer *buffer = (lm_vulkan_buffer *)base;
    if (base->is_read_back) return lm_vulkan_buffer_download(buffer->copy, offset, data, size);
    if (base->mapped == NULL || (!buffer->cached && size >= UNCACHED_READ_BYTES && base->device->info.type != LM_DEVICE_CPU))
        return lm_vulkan_stage_download(buffer, offset, data, size);
    lm_copier_copy(&base->device->copier, data, (const uint8_t *)base->mapped + offset, size);
    return LM_OK;
}
