/* runtime/vulkan/list.c: command lists: one command buffer each, recorded once, submitted many times.
 *
 * Timestamps are written once everything before them is done. Where each command has one, independent commands therefore no longer
 * overlap, and a command's time is that from the end of the one before, with the barrier and the gap between them. */
#include "runtime/vulkan/vulkan_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_POOL_SETS = 16,  /* each descriptor pool has twice the sets of the one before, */
    LAST_POOL_SETS = 1024, /* up to this many */
    POOL_QUERIES = 512,    /* timestamps to a pool, where each command has one */
};

#define WORK_STAGES (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT)
#define WORK_WRITES (VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)
#define WORK_READS (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT)

static lm_vulkan_device *device_of(const lm_vulkan_list *list) { return (lm_vulkan_device *)list->base.device; }

static VkBuffer handle_of(const lm_buffer *buffer) { return ((const lm_vulkan_buffer *)buffer)->handle; }

static void put_barrier(lm_vulkan_list *list, VkPipelineStageFlags from, VkAccessFlags writes, VkPipelineStageFlags to,
                        VkAccessFlags accesses)
{
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = writes,
        .dstAccessMask = accesses,
    };
    device_of(list)->vkCmdPipelineBarrier(list->commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* ---- timestamps ------------------------------------------------------------------------------------------------- */

static uint32_t pool_queries(const lm_vulkan_list *list) { return list->base.times == LM_TIMES_EACH ? POOL_QUERIES : 2; }

static lm_status add_query_pool(lm_vulkan_list *list)
{
    lm_vulkan_device *device = device_of(list);
    VkQueryPool *pools = realloc(list->query_pools, (list->query_pool_count + 1) * sizeof *pools);
    if (pools == NULL)
        return lm_fail(device->base.context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for timestamps", device->base.info.id);
    list->query_pools = pools;
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = pool_queries(list),
    };
    VkResult result = device->vkCreateQueryPool(device->handle, &info, NULL, &pools[list->query_pool_count]);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkCreateQueryPool", result);
    device->vkCmdResetQueryPool(list->commands, pools[list->query_pool_count++], 0, info.queryCount);
    return LM_OK;
}

static lm_status put_timestamp(lm_vulkan_list *list, VkPipelineStageFlagBits stage)
{
    const uint32_t place = list->query_count % pool_queries(list);
    lm_status status = place == 0 ? add_query_pool(list) : LM_OK;
    if (status != LM_OK) return status;
    device_of(list)->vkCmdWriteTimestamp(list->commands, stage, list->query_pools[list->query_pool_count - 1], place);
    list->query_count++;
    return LM_OK;
}

/* After a command. */
static lm_status time_command(lm_vulkan_list *list)
{
    return list->base.times == LM_TIMES_EACH ? put_timestamp(list, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT) : LM_OK;
}

/* The last run's timestamps from `first` on, which are of one pool. */
static bool get_ticks(const lm_vulkan_list *list, uint32_t first, uint32_t count, uint64_t *ticks)
{
    const lm_vulkan_device *device = device_of(list);
    const uint32_t size = pool_queries(list);
    return device->vkGetQueryPoolResults(device->handle, list->query_pools[first / size], first % size, count, count * sizeof *ticks,
                                         ticks, sizeof *ticks, VK_QUERY_RESULT_64_BIT) == VK_SUCCESS;
}

static double ns_between(const lm_vulkan_device *device, uint64_t begin, uint64_t end)
{
    const uint32_t bits = device->physical->timestamp_bits;
    const uint64_t mask = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    return (double)((end - begin) & mask) * device->base.info.timestamp_ns;
}

/* ---- making and destroying -------------------------------------------------------------------------------------- */

static lm_status begin_list(lm_vulkan_list *list)
{
    lm_vulkan_device *device = device_of(list);
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = device->physical->queue_family,
    };
    VkResult result = device->vkCreateCommandPool(device->handle, &pool, NULL, &list->pool);
    if (result != VK_SUCCESS) {
        list->pool = VK_NULL_HANDLE;
        return lm_vulkan_fail(&device->base, "vkCreateCommandPool", result);
    }
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = list->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    result = device->vkAllocateCommandBuffers(device->handle, &commands, &list->commands);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkAllocateCommandBuffers", result);
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    result = device->vkCreateFence(device->handle, &fence, NULL, &list->fence);
    if (result != VK_SUCCESS) {
        list->fence = VK_NULL_HANDLE;
        return lm_vulkan_fail(&device->base, "vkCreateFence", result);
    }
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    result = device->vkBeginCommandBuffer(list->commands, &begin);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkBeginCommandBuffer", result);
    /* After earlier uploads and lists, this one's own last run among them. */
    put_barrier(list, WORK_STAGES | VK_PIPELINE_STAGE_HOST_BIT, WORK_WRITES | VK_ACCESS_HOST_WRITE_BIT, WORK_STAGES,
                WORK_READS | WORK_WRITES);
    return list->base.times != LM_TIMES_NONE ? put_timestamp(list, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT) : LM_OK;
}

lm_status lm_vulkan_list_create(lm_device *device, lm_list_times times, lm_list **result)
{
    lm_vulkan_list *list = calloc(1, sizeof *list);
    if (list == NULL)
        return lm_fail(device->context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for a command list", device->info.id);
    list->base.device = device;
    list->base.times = times;
    lm_status status = begin_list(list);
    if (status != LM_OK) {
        lm_vulkan_list_destroy(&list->base);
        return status;
    }
    *result = &list->base;
    return LM_OK;
}

/* Also takes a list that was made in part. */
void lm_vulkan_list_destroy(lm_list *base)
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    lm_vulkan_device *device = device_of(list);
    for (size_t i = 0; i < list->query_pool_count; i++) device->vkDestroyQueryPool(device->handle, list->query_pools[i], NULL);
    if (list->fence != VK_NULL_HANDLE) device->vkDestroyFence(device->handle, list->fence, NULL);
    if (list->pool != VK_NULL_HANDLE) device->vkDestroyCommandPool(device->handle, list->pool, NULL);
    for (size_t i = 0; i < list->descriptor_pool_count; i++)
        device->vkDestroyDescriptorPool(device->handle, list->descriptor_pools[i], NULL);
    for (size_t i = 0; i < list->texel_view_count; i++)
        device->vkDestroyBufferView(device->handle, list->texel_views[i], NULL);
    free(list->query_pools);
    free(list->texel_views);
    free(list->descriptor_pools);
    free(list);
}

/* ---- descriptor sets -------------------------------------------------------------------------------------------- */

static lm_status add_descriptor_pool(lm_vulkan_list *list)
{
    lm_vulkan_device *device = device_of(list);
    VkDescriptorPool *pools = realloc(list->descriptor_pools, (list->descriptor_pool_count + 1) * sizeof *pools);
    if (pools == NULL)
        return lm_fail(device->base.context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for descriptor pools",
                       device->base.info.id);
    list->descriptor_pools = pools;
    uint32_t sets = LAST_POOL_SETS;
    if (list->descriptor_pool_count < 6) sets = FIRST_POOL_SETS << list->descriptor_pool_count;
    const VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, sets * LM_MAX_BINDINGS},
                                          {VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER, sets * LM_MAX_BINDINGS}};
    VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = sets,
        .poolSizeCount = device->base.info.capabilities & LM_CAP_TEXELS ? 2 : 1,
        .pPoolSizes = sizes,
    };
    VkResult result = device->vkCreateDescriptorPool(device->handle, &info, NULL, &pools[list->descriptor_pool_count]);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkCreateDescriptorPool", result);
    list->descriptor_pool_count++;
    list->sets_left = sets;
    return LM_OK;
}

static bool same_views(const lm_view *a, const lm_view *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (a[i].buffer != b[i].buffer || a[i].offset != b[i].offset || a[i].size != b[i].size) return false;
    return true;
}

/* A view's floats as texels; the list keeps it. */
static lm_status add_texel_view(lm_vulkan_list *list, const lm_view *view, VkBufferView *handle)
{
    lm_vulkan_device *device = device_of(list);
    if (list->texel_view_count == list->texel_view_capacity) {
        const size_t capacity = list->texel_view_capacity == 0 ? 32 : 2 * list->texel_view_capacity;
        VkBufferView *grown = realloc(list->texel_views, capacity * sizeof *grown);
        if (grown == NULL)
            return lm_fail(device->base.context, LM_ERROR_OUT_OF_MEMORY, "%s: no memory for buffer views", device->base.info.id);
        list->texel_views = grown;
        list->texel_view_capacity = capacity;
    }
    VkBufferViewCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = handle_of(view->buffer),
        .format = VK_FORMAT_R32G32B32A32_SFLOAT,
        .offset = view->offset,
        .range = (view->size + LM_VULKAN_TEXEL_BYTES - 1) / LM_VULKAN_TEXEL_BYTES * LM_VULKAN_TEXEL_BYTES,
    };
    VkResult result = device->vkCreateBufferView(device->handle, &info, NULL, handle);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkCreateBufferView", result);
    list->texel_views[list->texel_view_count++] = *handle;
    return LM_OK;
}

/* A descriptor set with these views: a recent one of the list's, or a new one. */
static lm_status get_set(lm_vulkan_list *list, const lm_vulkan_layout *layout, const lm_view *views, VkDescriptorSet *handle)
{
    lm_vulkan_device *device = device_of(list);
    const uint32_t count = layout->binding_count;
    size_t recent_count = list->set_count < LM_VULKAN_RECENT_SETS ? list->set_count : LM_VULKAN_RECENT_SETS;
    for (size_t i = 0; i < recent_count; i++) {
        const lm_vulkan_set *set = &list->recent[i];
        if (set->layout == layout && same_views(set->views, views, count)) {
            *handle = set->handle;
            return LM_OK;
        }
    }
    if (list->sets_left == 0) {
        lm_status status = add_descriptor_pool(list);
        if (status != LM_OK) return status;
    }
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = list->descriptor_pools[list->descriptor_pool_count - 1],
        .descriptorSetCount = 1,
        .pSetLayouts = &layout->set,
    };
    VkResult result = device->vkAllocateDescriptorSets(device->handle, &info, handle);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkAllocateDescriptorSets", result);
    list->sets_left--;

    VkDescriptorBufferInfo buffers[LM_MAX_BINDINGS];
    VkBufferView texel_views[LM_MAX_BINDINGS];
    VkWriteDescriptorSet writes[LM_MAX_BINDINGS];
    for (uint32_t i = 0; i < count; i++) {
        const bool texels = (layout->texels >> i & 1) != 0;
        if (texels) {
            lm_status status = add_texel_view(list, &views[i], &texel_views[i]);
            if (status != LM_OK) return status;
        }
        buffers[i] = (VkDescriptorBufferInfo){handle_of(views[i].buffer), views[i].offset, views[i].size};
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *handle,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = texels ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffers[i],
            .pTexelBufferView = &texel_views[i],
        };
    }
    device->vkUpdateDescriptorSets(device->handle, count, writes, 0, NULL);
    lm_vulkan_set *set = &list->recent[list->set_count++ % LM_VULKAN_RECENT_SETS];
    set->handle = *handle;
    set->layout = layout;
    memcpy(set->views, views, count * sizeof *views);
    return LM_OK;
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

/* Push constants: the parameters, and the addresses of buffers where the pipeline takes those. */
static void push(lm_vulkan_list *list, const lm_vulkan_pipeline *pipeline, const void *params, const lm_view *views)
{
    uint8_t bytes[LM_VULKAN_MOST_PUSH_BYTES] = {0};
    uint32_t size = pipeline->params_size;
    memcpy(bytes, params, size);
    for (uint32_t i = 0; i < pipeline->address_count; i++) {
        const VkDeviceAddress address = ((const lm_vulkan_buffer *)views[i].buffer)->address + views[i].offset;
        memcpy(bytes + pipeline->addresses_offset + i * sizeof address, &address, sizeof address);
        size = pipeline->addresses_offset + (i + 1) * (uint32_t)sizeof address;
    }
    device_of(list)->vkCmdPushConstants(list->commands, pipeline->layout->pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0, size, bytes);
}

lm_status lm_vulkan_list_dispatch(lm_list *base, lm_pipeline *base_pipeline, const void *params, const lm_view *views,
                                  const uint32_t groups[3])
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    lm_vulkan_device *device = device_of(list);
    const lm_vulkan_pipeline *pipeline = (const lm_vulkan_pipeline *)base_pipeline;
    VkDescriptorSet set = list->bound_set;
    lm_status status = pipeline->address_count == 0 ? get_set(list, pipeline->layout, views, &set) : LM_OK;
    if (status != LM_OK) return status;
    if (list->bound_pipeline != pipeline->handle) {
        device->vkCmdBindPipeline(list->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->handle);
        list->bound_pipeline = pipeline->handle;
    }
    /* A set is made for one layout, so the same set was bound with the same layout. */
    if (list->bound_set != set) {
        device->vkCmdBindDescriptorSets(list->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->layout->pipeline, 0, 1, &set, 0,
                                        NULL);
        list->bound_set = set;
    }
    push(list, pipeline, params, views);
    device->vkCmdDispatch(list->commands, groups[0], groups[1], groups[2]);
    return time_command(list);
}

lm_status lm_vulkan_list_copy(lm_list *base, lm_view to, lm_view from)
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    VkBufferCopy region = {from.offset, to.offset, to.size};
    device_of(list)->vkCmdCopyBuffer(list->commands, handle_of(from.buffer), handle_of(to.buffer), 1, &region);
    return time_command(list);
}

lm_status lm_vulkan_list_fill(lm_list *base, lm_view to, uint32_t word)
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    device_of(list)->vkCmdFillBuffer(list->commands, handle_of(to.buffer), to.offset, to.size, word);
    return time_command(list);
}

lm_status lm_vulkan_list_barrier(lm_list *base)
{
    put_barrier((lm_vulkan_list *)base, WORK_STAGES, WORK_WRITES, WORK_STAGES, WORK_READS | WORK_WRITES);
    return LM_OK;
}

lm_status lm_vulkan_list_end(lm_list *base)
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    lm_vulkan_device *device = device_of(list);
    lm_status status = base->times != LM_TIMES_NONE ? put_timestamp(list, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT) : LM_OK;
    if (status != LM_OK) return status;
    if (base->read_back_count > 0)
        put_barrier(list, WORK_STAGES, WORK_WRITES, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    for (size_t i = 0; i < base->read_back_count; i++) {
        const lm_buffer *from = base->read_back[i], *to = ((const lm_vulkan_buffer *)from)->copy;
        VkBufferCopy region = {0, 0, from->size};
        device->vkCmdCopyBuffer(list->commands, handle_of(from), handle_of(to), 1, &region);
    }
    put_barrier(list, WORK_STAGES, WORK_WRITES, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    VkResult result = device->vkEndCommandBuffer(list->commands);
    return result == VK_SUCCESS ? LM_OK : lm_vulkan_fail(&device->base, "vkEndCommandBuffer", result);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

lm_status lm_vulkan_list_submit(lm_list *base)
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    lm_vulkan_device *device = device_of(list);
    VkResult result = device->vkResetFences(device->handle, 1, &list->fence);
    if (result != VK_SUCCESS) return lm_vulkan_fail(&device->base, "vkResetFences", result);
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &list->commands,
    };
    result = device->vkQueueSubmit(device->queue, 1, &submit, list->fence);
    for (size_t i = 0; i < base->read_back_count; i++) base->read_back[i]->is_read_back = result == VK_SUCCESS;
    return result == VK_SUCCESS ? LM_OK : lm_vulkan_fail(&device->base, "vkQueueSubmit", result);
}

lm_status lm_vulkan_list_wait(lm_list *base)
{
    lm_vulkan_list *list = (lm_vulkan_list *)base;
    return lm_vulkan_wait_fence(device_of(list), list->fence);
}

double lm_vulkan_list_time_ns(lm_list *base)
{
    const lm_vulkan_list *list = (const lm_vulkan_list *)base;
    const lm_vulkan_device *device = device_of(list);
    uint64_t begin, end;
    if (device->base.lost || !get_ticks(list, 0, 1, &begin) || !get_ticks(list, list->query_count - 1, 1, &end)) return 0.0;
    return ns_between(device, begin, end);
}

bool lm_vulkan_list_command_times(lm_list *base, lm_command_time *times)
{
    const lm_vulkan_list *list = (const lm_vulkan_list *)base;
    const lm_vulkan_device *device = device_of(list);
    uint64_t ticks[POOL_QUERIES], begin = 0;
    double end = 0;
    if (device->base.lost) return false;
    for (uint32_t first = 0; first < list->query_count; first += POOL_QUERIES) {
        const uint32_t left = list->query_count - first, count = left < POOL_QUERIES ? left : POOL_QUERIES;
        if (!get_ticks(list, first, count, ticks)) return false;
        if (first == 0) begin = ticks[0];
        for (uint32_t i = first == 0 ? 1 : 0; i < count && first + i <= base->command_count; i++) {
            const double now = ns_between(device, begin, ticks[i]);
            times[first + i - 1] = (lm_command_time){end, now};
            end = now;
        }
    }
    return true;
}
