/* runtime/device.c: opening devices by name. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "kernels/tuning.h"
#include "runtime/context.h"
#include "runtime/list.h"

lm_status lm_device_check(lm_device *device)
{
    if (device->process != (long)getpid())
        return lm_fail(NULL, LM_ERROR_DEVICE_LOST, "%s: the device was opened before fork(); drivers do not survive it",
                       device->info.id);
    if (device->lost)
        return lm_fail(device->context, LM_ERROR_DEVICE_LOST, "%s: the device is lost", device->info.id);
    return LM_OK;
}

/* Smaller is better. The processor never comes before a real device, nor a driver on it before `cpu`; the reference is last. */
static int device_rank(const lm_device_info *info)
{
    bool opencl = info->backend == LM_BACKEND_OPENCL;
    switch (info->type) {
    case LM_DEVICE_DISCRETE: return 0 + opencl;
    case LM_DEVICE_INTEGRATED: return 2 + opencl;
    case LM_DEVICE_VIRTUAL: return 4 + opencl;
    case LM_DEVICE_OTHER: return 6 + opencl;
    case LM_DEVICE_CPU: return info->backend == LM_BACKEND_CPU ? 8 : 9 + !opencl; /* here OpenCL has vectors of 16 */
    case LM_DEVICE_REFERENCE: return 11;
    }
    return 12;
}

static bool contains_ignoring_case(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text != '\0'; text++)
        if (strncasecmp(text, part, length) == 0) return true;
    return length == 0;
}

static bool all_digits(const char *text)
{
    if (*text == '\0') return false;
    for (; *text != '\0'; text++)
        if (!isdigit((unsigned char)*text)) return false;
    return true;
}

/* Does the device answer to "backend", "backend:index" or "backend:part of its name"? */
static bool device_matches(const lm_device_info *info, const char *backend_name, const char *name)
{
    size_t length = strlen(backend_name);
    if (strncasecmp(name, backend_name, length) != 0) return false;
    const char *rest = name + length;
    if (*rest == '\0') return true;
    if (*rest++ != ':' || *rest == '\0') return false;
    if (all_digits(rest)) return strlen(rest) < 9 && (uint32_t)atol(rest) == info->index;
    return contains_ignoring_case(info->name, rest) || contains_ignoring_case(info->driver, rest);
}

static lm_status create_dummy(lm_device *device)
{
    const lm_buffer_params params = {.size = 256};
    lm_status status = device->ops->buffer_create(device, &params, &device->dummy);
    if (status != LM_OK) return status;
    device->dummy->device = device;
    device->dummy->size = params.size;
    return LM_OK;
}

static lm_status device_open(lm_driver *driver, size_t index, const lm_device_params *params, lm_device **out)
{
    lm_device_info info = driver->devices[index];
    if (params != NULL) info.capabilities &= ~params->disable;
    if ((info.capabilities & LM_CAP_WIDE_LANES) == 0) info.lanes = 1;
    if ((info.capabilities & LM_CAP_SUBGROUP) == 0) info.subgroup_size = 0;
    if ((info.capabilities & LM_CAP_TIMESTAMPS) == 0) info.timestamp_ns = 0;
    if ((info.capabilities & LM_CAP_LARGE_SHARED) == 0 && info.shared_bytes > 16384) info.shared_bytes = 16384;

    lm_device *device = NULL;
    lm_status status = driver->ops->open(driver, &info, &device);
    if (status != LM_OK) return status;
    device->ops = driver->ops;
    device->driver = driver;
    device->context = driver->context;
    device->info = info;
    device->process = (long)getpid();
    device->copier.alone = info.type == LM_DEVICE_CPU; /* its threads have the processors */
    lm_tuning_defaults(device);
    status = create_dummy(device);
    if (status != LM_OK) {
        device->ops->close(device);
        return status;
    }
    *out = device;
    return LM_OK;
}

lm_status lm_device_open(lm_context *context, const char *name, const lm_device_params *params, lm_device **out)
{
    LM_REQUIRE(context, out != NULL);
    *out = NULL;
    LM_REQUIRE(NULL, context != NULL);
    if (context->process != (long)getpid())
        return lm_fail(NULL, LM_ERROR_DEVICE_LOST, "lm_device_open: the context was made before fork()");
    const char *source = "";
    if (name == NULL || *name == '\0') {
        name = getenv("LITEMAMBA_DEVICE");
        source = " (from LITEMAMBA_DEVICE)";
    }
    bool any = name == NULL || *name == '\0';

    lm_driver *best_driver = NULL;
    size_t best_index = 0;
    int best_rank = 0;
    for (size_t i = 0; i < context->driver_count; i++) {
        lm_driver *driver = context->drivers[i];
        for (size_t j = 0; j < driver->device_count; j++) {
            const lm_device_info *info = &driver->devices[j];
            if (!any && !device_matches(info, driver->ops->name, name)) continue;
            int rank = device_rank(info);
            if (best_driver == NULL || rank < best_rank) {
                best_driver = driver;
                best_index = j;
                best_rank = rank;
            }
        }
    }
    if (best_driver == NULL)
        return lm_fail(context, LM_ERROR_NO_DEVICE, "no device is called '%s'%s; the command `litemamba devices` lists them",
                       any ? "" : name, source);
    return device_open(best_driver, best_index, params, out);
}

const lm_device_info *lm_device_get_info(const lm_device *device) { return device != NULL ? &device->info : NULL; }

void lm_device_destroy(lm_device **out)
{
    if (out == NULL || *out == NULL) return;
    lm_device *device = *out;
    *out = NULL;
    /* A forked child owns none of the driver's state: touching it would hang. Its copy of the memory goes with it. */
    if (device->process != (long)getpid()) return;
    if (device->object_count != 0)
        lm_log(device->context, LM_LOG_ERROR, "%s: destroyed with %zu buffers and lists alive", device->info.id,
               device->object_count);
    for (size_t i = 0; i < device->pipeline_count; i++) device->ops->pipeline_destroy(device->pipelines[i]);
    free(device->pipelines);
    device->ops->buffer_destroy(device->dummy);
    device->ops->close(device);
}
