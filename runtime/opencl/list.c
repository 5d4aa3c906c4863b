/* runtime/opencl/list.c: commands recorded once and replayed.
 *
 * OpenCL 1.2 has no command buffers: a list is an array of commands, and submitting it enqueues them one by one. A kernel
 * object holds its arguments, so each dispatch has one of its own, with everything set while recording; a replay is then
 * one clEnqueueNDRangeKernel a dispatch.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/opencl/opencl.h"

typedef enum opencl_command_kind { OPENCL_DISPATCH, OPENCL_COPY, OPENCL_FILL } opencl_command_kind;

typedef struct opencl_command {
    opencl_command_kind kind;
    cl_kernel kernel; /* dispatch: the list's */
    size_t global[3];
    size_t local[3];
    cl_mem to, from; /* copy and fill */
    size_t to_offset, from_offset, size;
    cl_uint word; /* fill */
    cl_event event; /* of the latest run, until it is done; NULL where nobody asks for it */
} opencl_command;

/* Argument 1 of every kernel: where each binding starts in its buffer, in elements (kernels/opencl/common.h). Views are not
 * made into sub-buffers: releasing those of a buffer that several lists use crashes NVIDIA's driver (580.159). */
typedef struct opencl_offsets {
    cl_uint first[LM_MAX_BINDINGS];
    cl_uint in[2]; /* of kernels that gather: the buffers' numbers, four bits each */
} opencl_offsets;

/* What a dispatch names of buffers; NULL from `count` on, and what is absent. */
typedef struct gathered {
    cl_mem buffers[LM_MAX_BINDINGS];
    uint32_t count;
} gathered;

typedef struct opencl_list {
    lm_list base;
    opencl_command *commands;
    size_t count, capacity;
    cl_event done;             /* of the latest run, all of it, where something is read back at its end */
    double time_ns;
    lm_command_time *command_times; /* of LM_TIMES_EACH, else NULL */
    bool commands_timed;       /* and they are the latest run's */
} opencl_list;

static lm_opencl_device *device_of(const lm_list *list) { return (lm_opencl_device *)list->device; }

lm_status lm_opencl_list_create(lm_device *base, lm_list_times times, lm_list **out)
{
    lm_opencl_device *device = (lm_opencl_device *)base;
    if (times != LM_TIMES_NONE && device->timed_queue == NULL) {
        cl_int code = CL_SUCCESS;
        device->timed_queue =
            device->cl->clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, &code);
        if (code != CL_SUCCESS) {
            device->timed_queue = NULL;
            return lm_opencl_fail(device, "clCreateCommandQueue", code);
        }
    }
    opencl_list *list = calloc(1, sizeof *list);
    if (list == NULL) return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", base->info.id);
    *out = &list->base;
    return LM_OK;
}

/* The next command after this one that has an event: the last, and where they are timed all, or the first. */
static size_t next_event(const opencl_list *list, size_t i)
{
    return list->base.times == LM_TIMES_EACH || i + 1 >= list->count ? i + 1 : list->count - 1;
}

static size_t first_event(const opencl_list *list)
{
    return list->base.times != LM_TIMES_NONE || list->count == 0 ? 0 : list->count - 1;
}

static void release_event(const lm_opencl_api *cl, cl_event *event)
{
    if (*event != NULL) cl->clReleaseEvent(*event);
    *event = NULL;
}

static void release_events(const lm_opencl_api *cl, opencl_list *list)
{
    for (size_t i = first_event(list); i < list->count; i = next_event(list, i)) release_event(cl, &list->commands[i].event);
    release_event(cl, &list->done);
}

void lm_opencl_list_destroy(lm_list *base)
{
    opencl_list *list = (opencl_list *)base;
    const lm_opencl_api *cl = device_of(base)->cl;
    release_events(cl, list);
    for (size_t i = 0; i < list->count; i++)
        if (list->commands[i].kernel != NULL) cl->clReleaseKernel(list->commands[i].kernel);
    free(list->commands);
    free(list->command_times);
    free(list);
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

static lm_status append(lm_list *base, const opencl_command *command)
{
    opencl_list *list = (opencl_list *)base;
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 32 : 2 * list->capacity;
        opencl_command *grown = realloc(list->commands, capacity * sizeof *grown);
        if (grown == NULL)
            return lm_fail(base->device->context, LM_ERROR_OUT_OF_MEMORY, "%s: command list: out of memory",
                           base->device->info.id);
        list->commands = grown;
        list->capacity = capacity;
    }
    list->commands[list->count++] = *command;
    return LM_OK;
}

/* One for each binding. What is absent takes NVIDIA's driver (580.159) no time as NULL, and 0.27 µs of each submission as any
 * buffer. */
static gathered list_all(const lm_list *list, const lm_kernel *kernel, const lm_view *views, opencl_offsets *offsets)
{
    gathered g = {.count = (uint32_t)kernel->binding_count};
    for (uint32_t i = 0; i < g.count; i++) {
        if (views[i].buffer == list->device->dummy) continue;
        g.buffers[i] = ((const lm_opencl_buffer *)views[i].buffer)->memory;
        offsets->first[i] = (cl_uint)(views[i].offset / 4); /* max_allocation_bytes is at most 2^34 */
    }
    return g;
}

/* Those that differ; what is absent may be anywhere. */
static gathered gather(const lm_list *list, const lm_kernel *kernel, const lm_view *views, opencl_offsets *offsets)
{
    gathered g = {.count = 0};
    const gathered all = list_all(list, kernel, views, offsets);
    for (uint32_t i = 0; i < all.count; i++) {
        uint32_t n = 0;
        if (all.buffers[i] == NULL) continue;
        while (n < g.count && g.buffers[n] != all.buffers[i]) n++;
        if (n == g.count) g.buffers[g.count++] = all.buffers[i];
        offsets->in[i / 8] |= n << (4 * (i % 8));
    }
    return g;
}

lm_status lm_opencl_list_dispatch(lm_list *base, lm_pipeline *pipeline, const void *params, const lm_view *views,
                                  const uint32_t groups[3])
{
    lm_opencl_device *device = device_of(base);
    const lm_opencl_api *cl = device->cl;
    const lm_kernel *kernel = lm_kernel_get(pipeline->kernel);
    opencl_command command = {.kind = OPENCL_DISPATCH, .local = {(size_t)pipeline->spec[0], (size_t)pipeline->spec[1], 1}};
    for (int i = 0; i < 3; i++) command.global[i] = groups[i] * command.local[i];

    opencl_offsets offsets = {{0}, {0}};
    const bool gathers = ((lm_opencl_pipeline *)pipeline)->gathers;
    const gathered g = gathers ? gather(base, kernel, views, &offsets) : list_all(base, kernel, views, &offsets);
    lm_status status = lm_opencl_pipeline_kernel(device, (lm_opencl_pipeline *)pipeline, kernel, g.count, &command.kernel);
    if (status != LM_OK) return status;
    cl_int code = cl->clSetKernelArg(command.kernel, 0, kernel->params_size, params);
    if (code == CL_SUCCESS) code = cl->clSetKernelArg(command.kernel, 1, gathers ? sizeof offsets : sizeof offsets.first, &offsets);
    const uint32_t arguments = !gathers ? g.count : g.count <= LM_OPENCL_FEW ? LM_OPENCL_FEW : LM_MAX_BINDINGS;
    for (uint32_t i = 0; i < arguments && code == CL_SUCCESS; i++)
        code = cl->clSetKernelArg(command.kernel, i + 2, sizeof(cl_mem), &g.buffers[i]);
    if (code != CL_SUCCESS) status = lm_opencl_fail(device, "clSetKernelArg", code);
    if (status == LM_OK) status = append(base, &command);
    if (status != LM_OK) cl->clReleaseKernel(command.kernel);
    return status;
}

lm_status lm_opencl_list_copy(lm_list *list, lm_view to, lm_view from)
{
    const opencl_command command = {.kind = OPENCL_COPY,
                                    .to = ((const lm_opencl_buffer *)to.buffer)->memory,
                                    .from = ((const lm_opencl_buffer *)from.buffer)->memory,
                                    .to_offset = (size_t)to.offset,
                                    .from_offset = (size_t)from.offset,
                                    .size = (size_t)to.size};
    return append(list, &command);
}

lm_status lm_opencl_list_fill(lm_list *list, lm_view to, uint32_t word)
{
    const opencl_command command = {.kind = OPENCL_FILL,
                                    .to = ((const lm_opencl_buffer *)to.buffer)->memory,
                                    .to_offset = (size_t)to.offset,
                                    .size = (size_t)to.size,
                                    .word = word};
    return append(list, &command);
}

/* The queue is in order. */
lm_status lm_opencl_list_barrier(lm_list *list)
{
    (void)list;
    return LM_OK;
}

lm_status lm_opencl_list_end(lm_list *base)
{
    opencl_list *list = (opencl_list *)base;
    if (base->times != LM_TIMES_EACH || list->count == 0) return LM_OK;
    list->command_times = calloc(list->count, sizeof *list->command_times);
    if (list->command_times != NULL) return LM_OK;
    return lm_fail(base->device->context, LM_ERROR_OUT_OF_MEMORY, "%s: command list: out of memory", base->device->info.id);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static cl_int enqueue(const lm_opencl_api *cl, cl_command_queue queue, const opencl_command *command, cl_event *event,
                      const char **call)
{
    switch (command->kind) {
    case OPENCL_DISPATCH:
        *call = "clEnqueueNDRangeKernel";
        return cl->clEnqueueNDRangeKernel(queue, command->kernel, 3, NULL, command->global, command->local, 0, NULL, event);
    case OPENCL_COPY:
        *call = "clEnqueueCopyBuffer";
        return cl->clEnqueueCopyBuffer(queue, command->from, command->to, command->from_offset, command->to_offset,
                                       command->size, 0, NULL, event);
    case OPENCL_FILL:
        *call = "clEnqueueFillBuffer";
        return cl->clEnqueueFillBuffer(queue, command->to, &command->word, sizeof command->word, command->to_offset,
                                       command->size, 0, NULL, event);
    }
    return CL_INVALID_OPERATION;
}

lm_status lm_opencl_list_submit(lm_list *base)
{
    opencl_list *list = (opencl_list *)base;
    lm_opencl_device *device = device_of(base);
    const lm_opencl_api *cl = device->cl;
    release_events(cl, list);
    list->time_ns = 0;
    list->commands_timed = false;
    cl_command_queue queue = NULL;
    lm_status status = lm_opencl_queue(device, base->times != LM_TIMES_NONE, &queue);
    if (status != LM_OK) return status;
    const char *call = "";
    cl_int code = CL_SUCCESS;
    for (size_t i = 0, kept = first_event(list); i < list->count && code == CL_SUCCESS; i++) {
        cl_event event = NULL;
        code = enqueue(cl, queue, &list->commands[i], i == kept ? &event : NULL, &call);
        if (code != CL_SUCCESS || i != kept) continue;
        list->commands[i].event = event;
        kept = next_event(list, i);
    }
    for (size_t i = 0; i < base->read_back_count && code == CL_SUCCESS; i++) {
        lm_opencl_buffer *buffer = (lm_opencl_buffer *)base->read_back[i];
        cl_event *event = i + 1 == base->read_back_count ? &list->done : NULL;
        call = "clEnqueueReadBuffer";
        code = cl->clEnqueueReadBuffer(queue, buffer->memory, CL_FALSE, 0, (size_t)buffer->size, buffer->copy.bytes, 0, NULL, event);
        buffer->base.is_read_back = code == CL_SUCCESS;
    }
    if (code == CL_SUCCESS) {
        call = "clFlush";
        code = cl->clFlush(queue);
    }
    if (code == CL_SUCCESS) return LM_OK;
    for (size_t i = 0; i < base->read_back_count; i++) base->read_back[i]->is_read_back = false;
    /* The commands before the failed one must not run on behind the caller's back. */
    lm_opencl_drain(cl, queue);
    status = lm_opencl_fail(device, call, code);
    release_events(cl, list);
    return status;
}

static bool ask_time(const lm_opencl_api *cl, cl_event event, cl_profiling_info what, cl_ulong *time)
{
    return cl->clGetEventProfilingInfo(event, what, sizeof *time, time, NULL) == CL_SUCCESS;
}

/* From the start of the first command to the end of the last, and of each: nothing where the driver does not tell. */
static void measure(const lm_opencl_api *cl, opencl_list *list)
{
    cl_ulong start = 0, end = 0;
    if (!ask_time(cl, list->commands[0].event, CL_PROFILING_COMMAND_START, &start) ||
        !ask_time(cl, list->commands[list->count - 1].event, CL_PROFILING_COMMAND_END, &end) || end <= start)
        return;
    list->time_ns = (double)(end - start);
    if (list->base.times != LM_TIMES_EACH) return;
    for (size_t i = 0; i < list->count; i++) {
        cl_ulong began = 0, ended = 0;
        if (!ask_time(cl, list->commands[i].event, CL_PROFILING_COMMAND_START, &began) ||
            !ask_time(cl, list->commands[i].event, CL_PROFILING_COMMAND_END, &ended) || began < start || ended < began)
            return;
        list->command_times[i] = (lm_command_time){(double)(began - start), (double)(ended - start)};
    }
    list->commands_timed = true;
}

lm_status lm_opencl_list_wait(lm_list *base)
{
    opencl_list *list = (opencl_list *)base;
    lm_opencl_device *device = device_of(base);
    if (list->count == 0) return LM_OK;
    lm_status status = lm_opencl_wait(device, list->done != NULL ? list->done : list->commands[list->count - 1].event);
    if (status == LM_OK && base->times != LM_TIMES_NONE) measure(device->cl, list);
    release_events(device->cl, list);
    return status;
}

double lm_opencl_list_time_ns(lm_list *list) { return ((const opencl_list *)list)->time_ns; }

bool lm_opencl_list_command_times(lm_list *base, lm_command_time *times)
{
    const opencl_list *list = (const opencl_list *)base;
    if (!list->commands_timed) return false;
    memcpy(times, list->command_times, list->count * sizeof *times);
    return true;
}
