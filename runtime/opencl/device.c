/* runtime/opencl/device.c: opening a device, its queues, and what its errors mean. */
#include <stdlib.h>

#include "runtime/clock.h"
#include "runtime/opencl/opencl.h"

/* How long to spin before a wait that may put the thread to sleep: most steps of a model end sooner than a wake-up. */
#define POLL_SECONDS 50e-6

lm_status lm_opencl_open(lm_driver *base, const lm_device_info *info, lm_device **out)
{
    lm_opencl_driver *driver = (lm_opencl_driver *)base;
    const lm_opencl_api *cl = &driver->api;
    lm_opencl_device *device = calloc(1, sizeof *device);
    if (device == NULL) return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", info->id);
    device->base.context = base->context; /* for lm_opencl_fail */
    device->base.info = *info;
    device->cl = cl;
    device->id = driver->ids[info->index];
    device->polls = info->type != LM_DEVICE_CPU; /* there spinning would take a core from the kernels */

    lm_opencl_guard guard;
    lm_opencl_guard_enter(&guard, false);
    const char *call = "clGetDeviceInfo";
    cl_platform_id platform = NULL;
    cl_int code = cl->clGetDeviceInfo(device->id, CL_DEVICE_PLATFORM, sizeof(cl_platform_id), &platform, NULL);
    if (code == CL_SUCCESS) {
        const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0};
        call = "clCreateContext";
        /* No callback: drivers call it on threads of their own, and the log is promised the caller's. */
        device->context = cl->clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    }
    if (code == CL_SUCCESS) {
        call = "clCreateCommandQueue";
        device->queue = cl->clCreateCommandQueue(device->context, device->id, 0, &code);
    }
    lm_opencl_guard_leave(&guard);
    if (code != CL_SUCCESS) {
        lm_status status = lm_opencl_fail(device, call, code);
        lm_opencl_close(&device->base);
        return status;
    }
    device->last_queue = device->queue;
    *out = &device->base;
    return LM_OK;
}

void lm_opencl_close(lm_device *base)
{
    lm_opencl_device *device = (lm_opencl_device *)base;
    const lm_opencl_api *cl = device->cl;
    cl_command_queue queues[] = {device->timed_queue, device->queue};
    lm_opencl_transfers_close(device);
    for (size_t i = 0; i < 2; i++) {
        if (queues[i] == NULL) continue;
        if (!base->lost) lm_opencl_drain(cl, queues[i]);
        cl->clReleaseCommandQueue(queues[i]);
    }
    if (device->context != NULL) cl->clReleaseContext(device->context);
    free(device);
}

/* After CL_OUT_OF_RESOURCES: short of memory, or broken down? NVIDIA's driver says both so; a queue that still drains
 * is alive. */
static bool still_works(lm_opencl_device *device)
{
    return lm_opencl_drain(device->cl, device->queue) == CL_SUCCESS &&
           (device->timed_queue == NULL || lm_opencl_drain(device->cl, device->timed_queue) == CL_SUCCESS);
}

lm_status lm_opencl_fail(lm_opencl_device *device, const char *call, cl_int code)
{
    lm_status status = LM_ERROR_DRIVER;
    switch (code) {
    case CL_OUT_OF_HOST_MEMORY: status = LM_ERROR_OUT_OF_MEMORY; break;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_INVALID_BUFFER_SIZE: status = LM_ERROR_OUT_OF_DEVICE_MEMORY; break;
    case CL_OUT_OF_RESOURCES:
        status = device->queue == NULL || still_works(device) ? LM_ERROR_OUT_OF_DEVICE_MEMORY : LM_ERROR_DEVICE_LOST;
        break;
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_INVALID_COMMAND_QUEUE: /* the queues are ours and valid until the driver gives them up */
        status = LM_ERROR_DEVICE_LOST;
        break;
    default: break;
    }
    if (status == LM_ERROR_DEVICE_LOST) device->base.lost = true;
    return lm_fail(device->base.context, status, "%s: %s: %s (%d)%s", device->base.info.id, call, lm_opencl_error_name(code),
                   code, status == LM_ERROR_DEVICE_LOST ? "; the device is lost" : "");
}

/* Not clFinish: rusticl's does not wait for commands that were flushed before it. */
cl_int lm_opencl_drain(const lm_opencl_api *cl, cl_command_queue queue)
{
    cl_event event = NULL;
    cl_int code = cl->clEnqueueMarkerWithWaitList(queue, 0, NULL, &event);
    if (code != CL_SUCCESS) return code;
    code = cl->clFlush(queue);
    if (code == CL_SUCCESS) code = cl->clWaitForEvents(1, &event);
    cl->clReleaseEvent(event);
    return code;
}

lm_status lm_opencl_queue(lm_opencl_device *device, bool timed, cl_command_queue *queue)
{
    cl_command_queue wanted = timed ? device->timed_queue : device->queue;
    if (wanted != device->last_queue) {
        cl_int code = lm_opencl_drain(device->cl, device->last_queue);
        if (code != CL_SUCCESS) return lm_opencl_fail(device, "draining a queue", code);
        device->last_queue = wanted;
    }
    *queue = wanted;
    return LM_OK;
}

/* CL_COMPLETE, a state before it (above), or the code with which the command failed (below). */
static cl_int execution_status(const lm_opencl_api *cl, cl_event event)
{
    cl_int status = CL_QUEUED;
    cl_int code = cl->clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
    return code == CL_SUCCESS ? status : code;
}

lm_status lm_opencl_wait(lm_opencl_device *device, cl_event event)
{
    const lm_opencl_api *cl = device->cl;
    cl_int status = execution_status(cl, event);
    if (status > CL_COMPLETE && device->polls) {
        const double end = lm_clock() + POLL_SECONDS;
        while (status > CL_COMPLETE && lm_clock() < end) status = execution_status(cl, event);
    }
    if (status > CL_COMPLETE) {
        cl_int code = cl->clWaitForEvents(1, &event);
        status = execution_status(cl, event);
        if (status >= CL_COMPLETE && code != CL_SUCCESS) status = code;
    }
    if (status == CL_COMPLETE) return LM_OK;
    if (status == CL_MEM_OBJECT_ALLOCATION_FAILURE || status == CL_OUT_OF_HOST_MEMORY)
        return lm_opencl_fail(device, "a command", status);
    /* A command that stopped half-way leaves its outputs, and everything queued behind it, undefined. */
    device->base.lost = true;
    return lm_fail(device->base.context, LM_ERROR_DEVICE_LOST, "%s: a command ended with %s (%d); the device is lost",
                   device->base.info.id, lm_opencl_error_name(status), status);
}
