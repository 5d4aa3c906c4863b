/* runtime/buffer.c: device memory. */
#include <unistd.h>

#include "runtime/context.h"
#include "runtime/list.h"

lm_status lm_buffer_create(lm_device *device, const lm_buffer_params *params, lm_buffer **out)
{
    LM_REQUIRE(NULL, device != NULL && params != NULL && out != NULL);
    *out = NULL;
    lm_status status = lm_device_check(device);
    if (status != LM_OK) return status;
    LM_REQUIRE(device->context, params->size > 0);
    const uint64_t limit = device->info.max_allocation_bytes;
    if (params->size > limit || params->size > UINT64_MAX - 3)
        return lm_fail(device->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "%s: a buffer of %llu bytes is over the device's limit of %llu", device->info.id,
                       (unsigned long long)params->size, (unsigned long long)limit);
    lm_buffer_params rounded = *params;
    rounded.size = (params->size + 3) & ~UINT64_C(3);
    lm_buffer *buffer = NULL;
    status = device->ops->buffer_create(device, &rounded, &buffer);
    if (status != LM_OK) return status;
    buffer->device = device;
    buffer->size = rounded.size;
    device->object_count++;
    device->allocated += buffer->size;
    *out = buffer;
    return LM_OK;
}

void lm_buffer_destroy(lm_buffer **buffer)
{
    if (buffer == NULL || *buffer == NULL) return;
    lm_device *device = (*buffer)->device;
    if (device->process == (long)getpid()) {
        device->object_count--;
        device->allocated -= (*buffer)->size;
        device->ops->buffer_destroy(*buffer);
    }
    *buffer = NULL;
}

uint64_t lm_device_allocated_bytes(const lm_device *device) { return device != NULL ? device->allocated : 0; }

uint64_t lm_buffer_size(const lm_buffer *buffer) { return buffer != NULL ? buffer->size : 0; }

static lm_status check_range(lm_buffer *buffer, const char *what, uint64_t offset, uint64_t size)
{
    if (offset > buffer->size || size > buffer->size - offset)
        return lm_fail(buffer->device->context, LM_ERROR_INVALID_ARGUMENT,
                       "%s: bytes %llu to %llu are outside a buffer of %llu", what, (unsigned long long)offset,
                       (unsigned long long)offset + size, (unsigned long long)buffer->size);
    return lm_device_check(buffer->device);
}

lm_status lm_buffer_upload(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size)
{
    LM_REQUIRE(NULL, buffer != NULL && (data != NULL || size == 0));
    lm_status status = check_range(buffer, "lm_buffer_upload", offset, size);
    if (status != LM_OK || size == 0) return status;
    return buffer->device->ops->buffer_upload(buffer, offset, data, size);
}

lm_status lm_buffer_download(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    LM_REQUIRE(NULL, buffer != NULL && (data != NULL || size == 0));
    lm_status status = check_range(buffer, "lm_buffer_download", offset, size);
    if (status != LM_OK || size == 0) return status;
    return buffer->device->ops->buffer_download(buffer, offset, data, size);
}

void *lm_buffer_map(lm_buffer *buffer) { return buffer != NULL ? buffer->mapped : NULL; }
