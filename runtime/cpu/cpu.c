/* runtime/cpu/cpu.c: the `cpu` device: runs the reference kernels on the host, one after the other.
 *
 * It is the oracle of the tests, written to be right rather than fast: buffers are host memory, a dispatch is a function
 * call, and there is nothing to order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/backend.h"

typedef enum cpu_command_kind { CPU_DISPATCH, CPU_COPY, CPU_FILL } cpu_command_kind;

typedef struct cpu_command {
    cpu_command_kind kind;
    const lm_pipeline *pipeline;
    unsigned char params[LM_MAX_PARAMS];
    void *buffers[LM_MAX_BINDINGS]; /* copy: to, from; fill: to */
    uint64_t size;                  /* copy and fill */
    uint32_t word;
} cpu_command;

typedef struct cpu_list {
    lm_list base;
    cpu_command *commands;
    size_t count, capacity;
    double time_ns;
} cpu_list;

/* "model name" of /proc/cpuinfo; other systems keep the plain name. */
static void processor_name(char *name, size_t size)
{
    snprintf(name, size, "reference");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        snprintf(name, size, "reference on%.200s", colon + 1);
        break;
    }
    fclose(file);
}

static lm_status cpu_load(lm_context *context, const lm_context_params *params, lm_driver **out)
{
    (void)params;
    lm_driver *driver = calloc(1, sizeof *driver);
    lm_device_info *info = calloc(1, sizeof *info);
    if (driver == NULL || info == NULL) {
        free(driver);
        free(info);
        return lm_fail(context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
    }
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE), units = sysconf(_SC_NPROCESSORS_ONLN);
    const uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 32;
    *info = (lm_device_info){
        .backend = LM_BACKEND_CPU,
        .type = LM_DEVICE_REFERENCE,
        .id = "cpu",
        .driver = "litemamba",
        .api = "C11, double accumulators",
        .memory_bytes = memory,
        .max_allocation_bytes = memory,
        .max_binding_bytes = UINT32_MAX - 3u,
        .binding_alignment = 16,
        .max_workgroup_size = 1024,
        .max_workgroup_dim = {1024, 1024, 64},
        .max_groups = {INT32_MAX, INT32_MAX, INT32_MAX},
        .shared_bytes = 16384,
        .compute_units = units > 0 ? (uint32_t)units : 1,
        .lanes = 1,
        .capabilities = LM_CAP_UNIFIED_MEMORY | LM_CAP_TIMESTAMPS,
        .timestamp_ns = 1.0,
    };
    processor_name(info->name, sizeof info->name);
    driver->devices = info;
    driver->device_count = 1;
    *out = driver;
    return LM_OK;
}

static void cpu_unload(lm_driver *driver) { free(driver); }

static lm_status cpu_open(lm_driver *driver, const lm_device_info *info, lm_device **out)
{
    (void)info;
    *out = calloc(1, sizeof **out);
    return *out != NULL ? LM_OK : lm_fail(driver->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
}

static void cpu_close(lm_device *device) { free(device); }

static bool cpu_supports(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC])
{
    (void)device;
    (void)spec;
    return kernel->reference != NULL;
}

static lm_status cpu_buffer_create(lm_device *device, const lm_buffer_params *params, lm_buffer **out)
{
    lm_buffer *buffer = calloc(1, sizeof *buffer);
    /* 64 bytes: no access of a kernel shares a cache line with another buffer. */
    const uint64_t rounded = (params->size + 63) & ~UINT64_C(63);
    void *memory = buffer != NULL && rounded <= SIZE_MAX ? aligned_alloc(64, (size_t)rounded) : NULL;
    if (memory == NULL) {
        free(buffer);
        return lm_fail(device->context, LM_ERROR_OUT_OF_DEVICE_MEMORY, "cpu: no memory for a buffer of %llu bytes",
                       (unsigned long long)params->size);
    }
    buffer->mapped = memory;
    *out = buffer;
    return LM_OK;
}

static void cpu_buffer_destroy(lm_buffer *buffer)
{
    free(buffer->mapped);
    free(buffer);
}

static lm_status cpu_buffer_upload(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size)
{
    memcpy((unsigned char *)buffer->mapped + offset, data, (size_t)size);
    return LM_OK;
}

static lm_status cpu_buffer_download(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    memcpy(data, (const unsigned char *)buffer->mapped + offset, (size_t)size);
    return LM_OK;
}

static lm_status cpu_pipeline_create(lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                                     lm_pipeline **out)
{
    (void)kernel;
    (void)spec;
    *out = calloc(1, sizeof **out);
    return *out != NULL ? LM_OK : lm_fail(device->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
}

static void cpu_pipeline_destroy(lm_pipeline *pipeline) { free(pipeline); }

static lm_status cpu_list_create(lm_device *device, bool timed, lm_list **out)
{
    (void)timed;
    cpu_list *list = calloc(1, sizeof *list);
    if (list == NULL) return lm_fail(device->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
    *out = &list->base;
    return LM_OK;
}

static void cpu_list_destroy(lm_list *base)
{
    cpu_list *list = (cpu_list *)base;
    free(list->commands);
    free(list);
}

static lm_status append(lm_list *base, const cpu_command *command)
{
    cpu_list *list = (cpu_list *)base;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 32 : 2 * list->capacity;
        cpu_command *grown = realloc(list->commands, capacity * sizeof *grown);
        if (grown == NULL) return lm_fail(base->device->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
        list->commands = grown;
        list->capacity = capacity;
    }
    list->commands[list->count++] = *command;
    return LM_OK;
}

static void *view_address(const lm_view *view) { return (unsigned char *)view->buffer->mapped + view->offset; }

static lm_status cpu_list_dispatch(lm_list *list, lm_pipeline *pipeline, const void *params, const lm_view *views,
                                   const uint32_t groups[3])
{
    (void)groups; /* the reference loops over everything itself */
    const lm_kernel *kernel = lm_kernel_get(pipeline->kernel);
    cpu_command command = {.kind = CPU_DISPATCH, .pipeline = pipeline};
    memcpy(command.params, params, kernel->params_size);
    for (size_t i = 0; i < kernel->binding_count; i++) command.buffers[i] = view_address(&views[i]);
    return append(list, &command);
}

static lm_status cpu_list_copy(lm_list *list, lm_view to, lm_view from)
{
    const cpu_command command = {
        .kind = CPU_COPY, .buffers = {view_address(&to), view_address(&from)}, .size = to.size};
    return append(list, &command);
}

static lm_status cpu_list_fill(lm_list *list, lm_view to, uint32_t word)
{
    const cpu_command command = {.kind = CPU_FILL, .buffers = {view_address(&to)}, .size = to.size, .word = word};
    return append(list, &command);
}

static lm_status cpu_list_barrier(lm_list *list)
{
    (void)list;
    return LM_OK;
}

static lm_status cpu_list_end(lm_list *list)
{
    (void)list;
    return LM_OK;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void run(const cpu_command *command)
{
    switch (command->kind) {
    case CPU_DISPATCH:
        lm_kernel_get(command->pipeline->kernel)->reference(command->params, command->pipeline->spec, command->buffers);
        break;
    case CPU_COPY: memcpy(command->buffers[0], command->buffers[1], (size_t)command->size); break;
    case CPU_FILL:
        for (uint64_t i = 0; i < command->size / 4; i++) ((uint32_t *)command->buffers[0])[i] = command->word;
        break;
    }
}

static lm_status cpu_list_submit(lm_list *base)
{
    cpu_list *list = (cpu_list *)base;
    const double start = now_ns();
    for (size_t i = 0; i < list->count; i++) run(&list->commands[i]);
    list->time_ns = now_ns() - start;
    return LM_OK;
}

static lm_status cpu_list_wait(lm_list *list)
{
    (void)list;
    return LM_OK;
}

static double cpu_list_time_ns(lm_list *list) { return ((const cpu_list *)list)->time_ns; }

const lm_backend_ops lm_backend_cpu = {
    .backend = LM_BACKEND_CPU,
    .name = "cpu",
    .load = cpu_load,
    .unload = cpu_unload,
    .open = cpu_open,
    .close = cpu_close,
    .supports = cpu_supports,
    .buffer_create = cpu_buffer_create,
    .buffer_destroy = cpu_buffer_destroy,
    .buffer_upload = cpu_buffer_upload,
    .buffer_download = cpu_buffer_download,
    .pipeline_create = cpu_pipeline_create,
    .pipeline_destroy = cpu_pipeline_destroy,
    .list_create = cpu_list_create,
    .list_destroy = cpu_list_destroy,
    .list_dispatch = cpu_list_dispatch,
    .list_copy = cpu_list_copy,
    .list_fill = cpu_list_fill,
    .list_barrier = cpu_list_barrier,
    .list_end = cpu_list_end,
    .list_submit = cpu_list_submit,
    .list_wait = cpu_list_wait,
    .list_time_ns = cpu_list_time_ns,
};
