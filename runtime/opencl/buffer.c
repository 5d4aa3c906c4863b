/* runtime/opencl/buffer.c: device memory and transfers. */
#include <stdlib.h>
#include <string.h>

#include "runtime/opencl/opencl.h"

/* Drivers copy through pinned memory of their own and some allocate as much of it as one transfer asks for. */
#define TRANSFER_BYTES (UINT64_C(64) << 20)

/* Of a slot; and what a transfer has to have for them. */
#define SLOT_BYTES (UINT64_C(16) << 20)
#define SLOTS_BYTES (UINT64_C(128) << 10)

/* Host-visible buffers up to this size are written without waiting, from a copy. */
#define SHADOW_BYTES (UINT64_C(64) << 10)

/* Drivers on the processor, PoCL above all, abort the process when memory runs out: ask the C library first. */
static bool host_can_hold(uint64_t size)
{
    if (size > SIZE_MAX) return false;
    void *volatile probe = malloc((size_t)size); /* volatile: a compiler may drop a malloc that is only freed */
    bool fits = probe != NULL;
    free(probe);
    return fits;
}

/* Many drivers allocate at the first use. Used here, a lack of memory is told where it can be handled. */
static cl_int touch(lm_opencl_device *device, cl_mem memory)
{
    const cl_uint zero = 0;
    return device->cl->clEnqueueWriteBuffer(device->last_queue, memory, CL_TRUE, 0, sizeof zero, &zero, 0, NULL, NULL);
}

/* ---- pinned memory ---------------------------------------------------------------------------------------------- */

static void release_pinned(lm_opencl_device *device, lm_opencl_pinned *pinned)
{
    if (pinned->bytes != NULL && !device->base.lost)
        device->cl->clEnqueueUnmapMemObject(device->last_queue, pinned->memory, pinned->bytes, 0, NULL, NULL);
    if (pinned->memory != NULL) device->cl->clReleaseMemObject(pinned->memory);
    *pinned = (lm_opencl_pinned){0};
}

/* False, and nothing, where the driver has none: it is only faster. */
static bool create_pinned(lm_opencl_device *device, size_t size, lm_opencl_pinned *pinned)
{
    const lm_opencl_api *cl = device->cl;
    cl_int code = CL_SUCCESS;
    pinned->memory = cl->clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, size, NULL, &code);
    if (code != CL_SUCCESS) pinned->memory = NULL;
    if (pinned->memory != NULL)
        pinned->bytes = cl->clEnqueueMapBuffer(device->last_queue, pinned->memory, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, size, 0,
                                               NULL, NULL, &code);
    if (code == CL_SUCCESS && pinned->bytes != NULL) return true;
    pinned->bytes = NULL;
    release_pinned(device, pinned);
    return false;
}

void lm_opencl_transfers_close(lm_opencl_device *device)
{
    for (size_t i = 0; i < LM_OPENCL_SLOTS; i++) release_pinned(device, &device->slots[i].pinned);
    lm_copier_close(&device->base.copier);
}

static void free_buffer(lm_opencl_device *device, lm_opencl_buffer *buffer)
{
    release_pinned(device, &buffer->copy);
    if (buffer->memory != NULL) device->cl->clReleaseMemObject(buffer->memory);
    if (buffer->base.mapped != NULL) device->cl->clSVMFree(device->context, buffer->base.mapped);
    free(buffer->shadow);
    free(buffer);
}

/* Fills in the memory of a new buffer, and the host's way to it. */
static lm_status allocate(lm_opencl_device *device, lm_opencl_buffer *buffer, const lm_buffer_params *params)
{
    const lm_opencl_api *cl = device->cl;
    const lm_device_info *info = &device->base.info;
    const size_t size = (size_t)buffer->size;
    cl_mem_flags flags = CL_MEM_READ_WRITE;
    if ((info->capabilities & LM_CAP_UNIFIED_MEMORY) != 0) {
        buffer->base.mapped = cl->clSVMAlloc(device->context, CL_MEM_READ_WRITE | CL_MEM_SVM_FINE_GRAIN_BUFFER, size, 0);
        if (buffer->base.mapped == NULL) return lm_opencl_fail(device, "clSVMAlloc", CL_MEM_OBJECT_ALLOCATION_FAILURE);
        flags |= CL_MEM_USE_HOST_PTR;
    } else if (params->host_visible && !params->host_reads && size <= SHADOW_BYTES) {
        buffer->shadow = malloc(size);
        if (buffer->shadow == NULL)
            return lm_fail(device->base.context, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", info->id);
    }
    if (buffer->base.mapped == NULL && (info->type == LM_DEVICE_CPU || info->type == LM_DEVICE_INTEGRATED))
        flags |= CL_MEM_ALLOC_HOST_PTR;
    cl_int code = CL_SUCCESS;
    buffer->memory = cl->clCreateBuffer(device->context, flags, size, buffer->base.mapped, &code);
    if (code != CL_SUCCESS) return lm_opencl_fail(device, "clCreateBuffer", code);
    code = touch(device, buffer->memory);
    if (code != CL_SUCCESS) return lm_opencl_fail(device, "clEnqueueWriteBuffer", code);
    if (params->host_visible && params->host_reads && info->type == LM_DEVICE_DISCRETE)
        buffer->base.read_back = create_pinned(device, size, &buffer->copy);
    return LM_OK;
}

lm_status lm_opencl_buffer_create(lm_device *base, const lm_buffer_params *params, lm_buffer **out)
{
    lm_opencl_device *device = (lm_opencl_device *)base;
    const lm_device_info *info = &base->info;
    const uint64_t left = info->memory_bytes > device->allocated_bytes ? info->memory_bytes - device->allocated_bytes : 0;
    if (params->size > left || params->size > info->max_allocation_bytes ||
        (info->type == LM_DEVICE_CPU && !host_can_hold(params->size)))
        return lm_fail(base->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "%s: no memory for a buffer of %llu bytes; %llu of %llu are in use", info->id,
                       (unsigned long long)params->size, (unsigned long long)device->allocated_bytes,
                       (unsigned long long)info->memory_bytes);
    lm_opencl_buffer *buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL) return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", info->id);
    buffer->size = params->size;
    lm_status status = allocate(device, buffer, params);
    if (status != LM_OK) {
        free_buffer(device, buffer);
        return status;
    }
    device->allocated_bytes += params->size;
    *out = &buffer->base;
    return LM_OK;
}

/* Until an unfinished transfer, if there is one, is done: its memory may be changed again. */
static lm_status finish(lm_opencl_device *device, cl_event *event)
{
    if (*event == NULL) return LM_OK;
    lm_status status = device->base.lost ? LM_OK : lm_opencl_wait(device, *event);
    device->cl->clReleaseEvent(*event);
    *event = NULL;
    return status;
}

void lm_opencl_buffer_destroy(lm_buffer *base)
{
    lm_opencl_device *device = (lm_opencl_device *)base->device;
    lm_opencl_buffer *buffer = (lm_opencl_buffer *)base;
    finish(device, &buffer->upload);
    device->allocated_bytes -= buffer->size;
    free_buffer(device, buffer);
}

/* ---- transfers -------------------------------------------------------------------------------------------------- */

/* Large transfers of a device behind a bus go through pinned memory. Where there is none, the driver does as it likes. */
static bool takes_slots(lm_opencl_device *device, uint64_t size)
{
    if (size < SLOTS_BYTES || device->base.info.type != LM_DEVICE_DISCRETE) return false;
    bool good = true;
    for (size_t i = 0; i < LM_OPENCL_SLOTS && good; i++)
        good = device->slots[i].pinned.bytes != NULL || create_pinned(device, SLOT_BYTES, &device->slots[i].pinned);
    return good;
}

/* Exactly one of `data` (to the device) and `target` (from it) is set. Piece i goes through slot i % LM_OPENCL_SLOTS; a piece from
 * the device is handed out when its slot is needed again, or at the end. */
static lm_status transfer(lm_opencl_device *device, cl_command_queue queue, cl_mem memory, uint64_t offset,
                          const unsigned char *data, unsigned char *target, uint64_t size)
{
    const lm_opencl_api *cl = device->cl;
    const uint64_t pieces = (size + SLOT_BYTES - 1) / SLOT_BYTES;
    lm_status status = LM_OK;
    for (uint64_t i = 0; i < pieces + LM_OPENCL_SLOTS && status == LM_OK; i++) {
        lm_opencl_slot *slot = &device->slots[i % LM_OPENCL_SLOTS];
        const bool used = i >= LM_OPENCL_SLOTS && i - LM_OPENCL_SLOTS < pieces;
        status = finish(device, &slot->event);
        if (status == LM_OK && used && target != NULL) {
            const uint64_t at = (i - LM_OPENCL_SLOTS) * SLOT_BYTES, left = size - at;
            lm_copier_copy(&device->base.copier, target + at, slot->pinned.bytes, left < SLOT_BYTES ? left : SLOT_BYTES);
        }
        if (status != LM_OK || i >= pieces) continue;
        const uint64_t at = i * SLOT_BYTES, left = size - at;
        const size_t part = (size_t)(left < SLOT_BYTES ? left : SLOT_BYTES);
        if (data != NULL) lm_copier_copy(&device->base.copier, slot->pinned.bytes, data + at, part);
        cl_int code = data != NULL ? cl->clEnqueueWriteBuffer(queue, memory, CL_FALSE, (size_t)(offset + at), part,
                                                              slot->pinned.bytes, 0, NULL, &slot->event)
                                   : cl->clEnqueueReadBuffer(queue, memory, CL_FALSE, (size_t)(offset + at), part,
                                                             slot->pinned.bytes, 0, NULL, &slot->event);
        if (code == CL_SUCCESS) code = cl->clFlush(queue);
        if (code != CL_SUCCESS) status = lm_opencl_fail(device, "a transfer", code);
    }
    for (size_t i = 0; i < LM_OPENCL_SLOTS; i++) { /* after a failure */
        lm_status finished = finish(device, &device->slots[i].event);
        if (status == LM_OK) status = finished;
    }
    return status;
}

lm_status lm_opencl_buffer_upload(lm_buffer *base, uint64_t offset, const void *data, uint64_t size)
{
    lm_opencl_device *device = (lm_opencl_device *)base->device;
    const lm_opencl_api *cl = device->cl;
    lm_opencl_buffer *buffer = (lm_opencl_buffer *)base;
    if (base->mapped != NULL) { /* no list that uses the buffer is running */
        lm_copier_copy(&device->base.copier, (unsigned char *)base->mapped + offset, data, size);
        return LM_OK;
    }
    cl_command_queue queue = NULL;
    lm_status status = lm_opencl_queue(device, false, &queue);
    if (status == LM_OK && buffer->shadow != NULL) {
        status = finish(device, &buffer->upload);
        if (status != LM_OK) return status;
        memcpy(buffer->shadow + offset, data, (size_t)size);
        /* What uses the buffer comes later on the same queue, so nothing has to wait here. */
        cl_int code = cl->clEnqueueWriteBuffer(queue, buffer->memory, CL_FALSE, (size_t)offset, (size_t)size,
                                               buffer->shadow + offset, 0, NULL, &buffer->upload);
        if (code == CL_SUCCESS) return LM_OK;
        buffer->upload = NULL;
        return lm_opencl_fail(device, "clEnqueueWriteBuffer", code);
    }
    base->is_read_back = false;
    if (status == LM_OK && takes_slots(device, size)) return transfer(device, queue, buffer->memory, offset, data, NULL, size);
    const unsigned char *bytes = data;
    for (uint64_t done = 0; status == LM_OK && done < size;) {
        const uint64_t part = size - done < TRANSFER_BYTES ? size - done : TRANSFER_BYTES;
        cl_int code = cl->clEnqueueWriteBuffer(queue, buffer->memory, CL_TRUE, (size_t)(offset + done), (size_t)part,
                                               bytes + done, 0, NULL, NULL);
        if (code != CL_SUCCESS) status = lm_opencl_fail(device, "clEnqueueWriteBuffer", code);
        done += part;
    }
    return status;
}

lm_status lm_opencl_buffer_download(lm_buffer *base, uint64_t offset, void *data, uint64_t size)
{
    lm_opencl_device *device = (lm_opencl_device *)base->device;
    const lm_opencl_buffer *buffer = (const lm_opencl_buffer *)base;
    if (base->mapped != NULL) {
        lm_copier_copy(&device->base.copier, data, (const unsigned char *)base->mapped + offset, size);
        return LM_OK;
    }
    if (base->is_read_back) {
        lm_copier_copy(&device->base.copier, data, buffer->copy.bytes + offset, size);
        return LM_OK;
    }
    cl_command_queue queue = NULL;
    lm_status status = lm_opencl_queue(device, false, &queue);
    if (status == LM_OK && takes_slots(device, size)) return transfer(device, queue, buffer->memory, offset, NULL, data, size);
    unsigned char *bytes = data;
    for (uint64_t done = 0; status == LM_OK && done < size;) {
        const uint64_t part = size - done < TRANSFER_BYTES ? size - done : TRANSFER_BYTES;
        cl_int code = device->cl->clEnqueueReadBuffer(queue, buffer->memory, CL_TRUE, (size_t)(offset + done), (size_t)part,
                                                      bytes + done, 0, NULL, NULL);
        if (code != CL_SUCCESS) status = lm_opencl_fail(device, "clEnqueueReadBuffer", code);
        done += part;
    }
    return status;
}
