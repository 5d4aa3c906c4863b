/* runtime/list.c: recording command lists: validation, the pipeline cache, and barriers where hazards need them. */
#include "runtime/list.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/context.h"

lm_view lm_view_whole(lm_buffer *buffer) { return (lm_view){buffer, 0, buffer != NULL ? buffer->size : 0}; }

lm_status lm_list_create(lm_device *device, lm_list_times times, lm_list **out)
{
    LM_REQUIRE(NULL, device != NULL && out != NULL);
    *out = NULL;
    lm_status status = lm_device_check(device);
    if (status != LM_OK) return status;
    lm_list *list = NULL;
    if ((device->info.capabilities & LM_CAP_TIMESTAMPS) == 0) times = LM_TIMES_NONE;
    status = device->ops->list_create(device, times, &list);
    if (status != LM_OK) return status;
    list->device = device;
    list->times = times;
    device->object_count++;
    *out = list;
    return LM_OK;
}

void lm_list_destroy(lm_list **out)
{
    if (out == NULL || *out == NULL) return;
    lm_list *list = *out;
    *out = NULL;
    if (list->device->process != (long)getpid()) return;
    if (list->running) lm_list_wait(list);
    free(list->accesses);
    free(list->read_back);
    free(list->commands);
    list->device->object_count--;
    list->device->ops->list_destroy(list);
}

/* ---- hazards ---------------------------------------------------------------------------------------------------- */

static bool conflicts(const lm_access *a, const lm_access *b)
{
    return a->buffer == b->buffer && (a->write || b->write) && a->begin < b->end && b->begin < a->end;
}

static lm_status remember(lm_list *list, const lm_access *access)
{
    if (list->access_count == list->access_capacity) {
        size_t capacity = list->access_capacity == 0 ? 32 : 2 * list->access_capacity;
        lm_access *grown = realloc(list->accesses, capacity * sizeof *grown);
        if (grown == NULL) return lm_fail(list->device->context, LM_ERROR_OUT_OF_MEMORY, "command list: out of memory");
        list->accesses = grown;
        list->access_capacity = capacity;
    }
    list->accesses[list->access_count++] = *access;
    return LM_OK;
}

/* Notes a written buffer whose content the list has to bring to the host in the end. */
static lm_status note_written(lm_list *list, lm_buffer *buffer)
{
    for (size_t i = 0; i < list->read_back_count; i++)
        if (list->read_back[i] == buffer) return LM_OK;
    lm_buffer **grown = realloc(list->read_back, (list->read_back_count + 1) * sizeof(lm_buffer *));
    if (grown == NULL) return lm_fail(list->device->context, LM_ERROR_OUT_OF_MEMORY, "command list: out of memory");
    list->read_back = grown;
    list->read_back[list->read_back_count++] = buffer;
    return LM_OK;
}

/* Puts a barrier before a command with these accesses if one of them needs what came since the last barrier. */
static lm_status order(lm_list *list, const lm_access *accesses, size_t count)
{
    bool hazard = false;
    for (size_t i = 0; i < count && !hazard; i++)
        for (size_t j = 0; j < list->access_count && !hazard; j++) hazard = conflicts(&accesses[i], &list->accesses[j]);
    if (hazard) {
        lm_status status = list->device->ops->list_barrier(list);
        if (status != LM_OK) return status;
        list->access_count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        lm_status status = remember(list, &accesses[i]);
        if (status == LM_OK && accesses[i].write && accesses[i].buffer->read_back) status = note_written(list, accesses[i].buffer);
        if (status != LM_OK) return status;
    }
    return LM_OK;
}

static lm_status check_recording(lm_list *list, const char *what)
{
    if (list->ended)
        return lm_fail(list->device->context, LM_ERROR_INVALID_ARGUMENT, "%s: the list is already ended", what);
    return lm_device_check(list->device);
}

static lm_status check_view(lm_list *list, const char *what, const lm_view *view, uint32_t alignment)
{
    lm_context *context = list->device->context;
    const lm_device_info *info = &list->device->info;
    if (view->buffer->device != list->device)
        return lm_fail(context, LM_ERROR_INVALID_ARGUMENT, "%s: a buffer of another device", what);
    if (view->size == 0 || view->offset > view->buffer->size || view->size > view->buffer->size - view->offset)
        return lm_fail(context, LM_ERROR_INVALID_ARGUMENT, "%s: bytes %llu + %llu are outside a buffer of %llu", what,
                       (unsigned long long)view->offset, (unsigned long long)view->size,
                       (unsigned long long)view->buffer->size);
    if (view->offset % alignment != 0)
        return lm_fail(context, LM_ERROR_INVALID_ARGUMENT, "%s: offset %llu is not a multiple of %u", what,
                       (unsigned long long)view->offset, alignment);
    if (view->size > info->max_binding_bytes)
        return lm_fail(context, LM_ERROR_OUT_OF_DEVICE_MEMORY, "%s: a binding of %llu bytes is over the device's limit of %llu",
                       what, (unsigned long long)view->size, (unsigned long long)info->max_binding_bytes);
    return LM_OK;
}

/* ---- pipelines -------------------------------------------------------------------------------------------------- */

static lm_status get_pipeline(lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                              lm_pipeline **out)
{
    for (size_t i = 0; i < device->pipeline_count; i++) {
        lm_pipeline *pipeline = device->pipelines[i];
        if (pipeline->kernel == kernel->id && memcmp(pipeline->spec, spec, sizeof pipeline->spec) == 0) {
            *out = pipeline;
            return LM_OK;
        }
    }
    if (!device->ops->supports(device, kernel, spec))
        return lm_fail(device->context, LM_ERROR_UNSUPPORTED, "%s cannot run kernel %s with work-groups of %d x %d",
                       device->info.id, kernel->stem, spec[0], spec[1]);
    if (device->pipeline_count == device->pipeline_capacity) {
        size_t capacity = device->pipeline_capacity == 0 ? 16 : 2 * device->pipeline_capacity;
        lm_pipeline **grown = realloc(device->pipelines, capacity * sizeof(lm_pipeline *));
        if (grown == NULL) return lm_fail(device->context, LM_ERROR_OUT_OF_MEMORY, "pipeline cache: out of memory");
        device->pipelines = grown;
        device->pipeline_capacity = capacity;
    }
    lm_pipeline *pipeline = NULL;
    lm_status status = device->ops->pipeline_create(device, kernel, spec, &pipeline);
    if (status != LM_OK) return status;
    pipeline->device = device;
    pipeline->kernel = kernel->id;
    memcpy(pipeline->spec, spec, sizeof pipeline->spec);
    device->pipelines[device->pipeline_count++] = pipeline;
    *out = pipeline;
    return LM_OK;
}

/* FNV-1a. */
static uint64_t mix(uint64_t signature, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++) signature = (signature ^ ((const unsigned char *)data)[i]) * UINT64_C(0x100000001b3);
    return signature;
}

static uint64_t signature_of(lm_kernel_id id, const int32_t constants[LM_MAX_SPEC], const void *params, size_t params_size,
                             const uint32_t groups[3])
{
    const uint64_t kernel = mix(mix(0, &id, sizeof id), constants, LM_MAX_SPEC * sizeof *constants);
    return mix(mix(kernel, params, params_size), groups, 3 * sizeof *groups);
}

/* Where each command is timed, what it is. */
static lm_status note_command(lm_list *list, const char *name, const uint32_t groups[3], uint64_t signature)
{
    if (list->times != LM_TIMES_EACH) return LM_OK;
    if (list->command_count == list->command_capacity) {
        const size_t capacity = list->command_capacity == 0 ? 32 : 2 * list->command_capacity;
        lm_command *grown = realloc(list->commands, capacity * sizeof *grown);
        if (grown == NULL) return lm_fail(list->device->context, LM_ERROR_OUT_OF_MEMORY, "command list: out of memory");
        list->commands = grown;
        list->command_capacity = capacity;
    }
    list->commands[list->command_count++] = (lm_command){name, {groups[0], groups[1], groups[2]}, signature};
    return LM_OK;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

lm_status lm_list_dispatch(lm_list *list, lm_kernel_id id, const int32_t *spec, const void *params, size_t params_size,
                           const lm_view *views, size_t view_count, const uint32_t groups[3])
{
    const lm_kernel *kernel = lm_kernel_get(id);
    LM_REQUIRE(NULL, list != NULL && kernel != NULL && spec != NULL && views != NULL && groups != NULL);
    lm_device *device = list->device;
    LM_REQUIRE(device->context, params != NULL && params_size == kernel->params_size);
    LM_REQUIRE(device->context, view_count == kernel->binding_count && view_count <= LM_MAX_BINDINGS);
    lm_status status = check_recording(list, kernel->stem);
    if (status != LM_OK) return status;
    if (groups[0] == 0 || groups[1] == 0 || groups[2] == 0) return LM_OK;
    for (int i = 0; i < 3; i++)
        if (groups[i] > device->info.max_groups[i])
            return lm_fail(device->context, LM_ERROR_UNSUPPORTED, "%s: %u work-groups in dimension %d are over the limit of %u",
                           kernel->stem, groups[i], i, device->info.max_groups[i]);

    lm_view bound[LM_MAX_BINDINGS];
    lm_access accesses[LM_MAX_BINDINGS];
    size_t access_count = 0;
    for (size_t i = 0; i < view_count; i++) {
        bound[i] = views[i];
        if (bound[i].buffer == NULL) {
            bound[i] = lm_view_whole(device->dummy);
            continue;
        }
        status = check_view(list, kernel->stem, &bound[i], device->info.binding_alignment);
        if (status != LM_OK) return status;
        accesses[access_count++] = (lm_access){bound[i].buffer, bound[i].offset, bound[i].offset + bound[i].size,
                                               kernel->access[i] == 'w' || kernel->access[i] == 'x'};
    }
    int32_t constants[LM_MAX_SPEC];
    memcpy(constants, spec, sizeof constants);
    lm_pipeline *pipeline = NULL;
    status = get_pipeline(device, kernel, constants, &pipeline);
    if (status != LM_OK) return status;
    status = order(list, accesses, access_count);
    if (status != LM_OK) return status;
    const uint64_t signature = signature_of(id, constants, params, params_size, groups);
    list->signature = mix(list->signature, &signature, sizeof signature);
    status = device->ops->list_dispatch(list, pipeline, params, bound, groups);
    return status != LM_OK ? status : note_command(list, kernel->stem, groups, signature);
}

lm_status lm_list_copy(lm_list *list, lm_view to, lm_view from)
{
    LM_REQUIRE(NULL, list != NULL && to.buffer != NULL && from.buffer != NULL);
    LM_REQUIRE(list->device->context, to.size == from.size && to.size % 4 == 0);
    lm_status status = check_recording(list, "lm_list_copy");
    if (status == LM_OK) status = check_view(list, "lm_list_copy", &to, 4);
    if (status == LM_OK) status = check_view(list, "lm_list_copy", &from, 4);
    if (status != LM_OK) return status;
    const lm_access accesses[2] = {{to.buffer, to.offset, to.offset + to.size, true},
                                   {from.buffer, from.offset, from.offset + from.size, false}};
    LM_REQUIRE(list->device->context, !conflicts(&accesses[0], &accesses[1]));
    status = order(list, accesses, 2);
    if (status == LM_OK) status = list->device->ops->list_copy(list, to, from);
    return status != LM_OK ? status : note_command(list, "copy", (uint32_t[3]){0}, to.size);
}

lm_status lm_list_fill(lm_list *list, lm_view to, uint32_t word)
{
    LM_REQUIRE(NULL, list != NULL && to.buffer != NULL);
    LM_REQUIRE(list->device->context, to.size % 4 == 0);
    lm_status status = check_recording(list, "lm_list_fill");
    if (status == LM_OK) status = check_view(list, "lm_list_fill", &to, 4);
    if (status != LM_OK) return status;
    const lm_access access = {to.buffer, to.offset, to.offset + to.size, true};
    status = order(list, &access, 1);
    if (status == LM_OK) status = list->device->ops->list_fill(list, to, word);
    return status != LM_OK ? status : note_command(list, "fill", (uint32_t[3]){0}, to.size);
}

lm_status lm_list_end(lm_list *list)
{
    LM_REQUIRE(NULL, list != NULL);
    lm_status status = check_recording(list, "lm_list_end");
    if (status == LM_OK) status = list->device->ops->list_end(list);
    if (status == LM_OK) list->ended = true;
    return status;
}

lm_status lm_list_submit(lm_list *list)
{
    LM_REQUIRE(NULL, list != NULL);
    LM_REQUIRE(list->device->context, list->ended && !list->running);
    lm_status status = lm_device_check(list->device);
    if (status == LM_OK) status = list->device->ops->list_submit(list);
    if (status == LM_OK) list->running = true;
    return status;
}

lm_status lm_list_wait(lm_list *list)
{
    LM_REQUIRE(NULL, list != NULL);
    if (!list->running) return LM_OK;
    lm_status status = lm_device_check(list->device);
    if (status == LM_OK) status = list->device->ops->list_wait(list);
    list->running = false;
    return status;
}

lm_status lm_list_run(lm_list *list)
{
    lm_status status = lm_list_submit(list);
    return status != LM_OK ? status : lm_list_wait(list);
}

static bool has_times(const lm_list *list, lm_list_times times)
{
    return list != NULL && list->times >= times && list->ended && !list->running;
}

double lm_list_time_ns(lm_list *list) { return has_times(list, LM_TIMES_WHOLE) ? list->device->ops->list_time_ns(list) : 0.0; }

bool lm_list_command_times(lm_list *list, lm_command_time *times)
{
    return has_times(list, LM_TIMES_EACH) && list->device->ops->list_command_times(list, times);
}
