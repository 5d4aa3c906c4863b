/* runtime/cpu/cpu.c: the devices of the host's processor.
 *
 * `cpu` runs the kernels of kernels/cpu, vectorised and on all threads (run.c). `reference` runs those of kernels/reference one
 * after the other: it is the oracle of the tests, written to be right rather than fast. All else is the same: buffers are host
 * memory and a dispatch is a function call. */
#include "runtime/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cpu/blas.h"

/* "model name" of /proc/cpuinfo; other systems keep the plain name. */
static void processor_name(char *name, size_t size)
{
    snprintf(name, size, "processor");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        snprintf(name, size, "%.200s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(file);
}

/* ---- levels ---------------------------------------------------------------------------------------------------------------- */

/* What the processor, and the system that saves its registers, can do of what there are kernels for. */
static uint32_t find_levels(void)
{
    uint32_t found = 0;
#if defined(LM_CPU_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found |= LM_CAP_AVX2;
    if ((found & LM_CAP_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found |= LM_CAP_AVX512;
#endif
    return found;
}

static const lm_cpu_level *level_of(uint32_t capabilities)
{
#if defined(LM_CPU_X86)
    if ((capabilities & LM_CAP_AVX2) && (capabilities & LM_CAP_AVX512)) return &lm_cpu_level_avx512;
    if (capabilities & LM_CAP_AVX2) return &lm_cpu_level_avx2;
#endif
    (void)capabilities;
    return &lm_cpu_level_generic;
}

/* ---- devices --------------------------------------------------------------------------------------------------------------- */

static lm_status load_one(lm_context *context, lm_driver **out)
{
    lm_driver *driver = calloc(1, sizeof *driver);
    lm_device_info *info = calloc(1, sizeof *info);
    if (driver == NULL || info == NULL) {
        free(driver);
        free(info);
        return lm_fail(context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
    }
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 32;
    *info = (lm_device_info){
        .driver = "litemamba",
        .memory_bytes = memory,
        .max_allocation_bytes = memory,
        .max_binding_bytes = UINT32_MAX - 3u,
        .binding_alignment = 16,
        .max_workgroup_size = 1024,
        .max_workgroup_dim = {1024, 1024, 64},
        .max_groups = {INT32_MAX, INT32_MAX, INT32_MAX},
        .shared_bytes = 16384,
        .compute_units = 1,
        .lanes = 1,
        .capabilities = LM_CAP_UNIFIED_MEMORY | LM_CAP_TIMESTAMPS,
        .timestamp_ns = 1.0,
    };
    driver->devices = info;
    driver->device_count = 1;
    *out = driver;
    return LM_OK;
}

static lm_status cpu_load(lm_context *context, const lm_context_params *params, lm_driver **out)
{
    (void)params;
    lm_status status = load_one(context, out);
    if (status != LM_OK) return status;
    lm_device_info *info = (*out)->devices;
    info->backend = LM_BACKEND_CPU;
    info->type = LM_DEVICE_CPU;
    info->compute_units = lm_team_threads();
    info->capabilities |= find_levels() | LM_CAP_OPENBLAS | (info->compute_units > 1 ? LM_CAP_THREADS : 0);
    snprintf(info->id, sizeof info->id, "cpu");
    snprintf(info->api, sizeof info->api, "C11, %s, %u threads", level_of(info->capabilities)->name, info->compute_units);
    processor_name(info->name, sizeof info->name);
    return LM_OK;
}

static lm_status reference_load(lm_context *context, const lm_context_params *params, lm_driver **out)
{
    (void)params;
    lm_status status = load_one(context, out);
    if (status != LM_OK) return status;
    lm_device_info *info = (*out)->devices;
    info->backend = LM_BACKEND_REFERENCE;
    info->type = LM_DEVICE_REFERENCE;
    snprintf(info->id, sizeof info->id, "reference");
    snprintf(info->api, sizeof info->api, "C11, double accumulators");
    processor_name(info->name, sizeof info->name);
    return LM_OK;
}

static void cpu_unload(lm_driver *driver) { free(driver); }

static lm_status cpu_open(lm_driver *driver, const lm_device_info *info, lm_device **out)
{
    cpu_device *device = calloc(1, sizeof *device);
    if (device == NULL) return lm_fail(driver->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
    device->threads = 1;
    if (info->backend == LM_BACKEND_CPU) {
        device->level = level_of(info->capabilities);
        device->threads = info->capabilities & LM_CAP_THREADS ? info->compute_units : 1;
        device->scratch_stride = (device->level->scratch_bytes + 4095) & ~(size_t)4095;
        /* Its pages cost nothing before a thread touches them. */
        device->scratch = aligned_alloc(4096, device->threads * device->scratch_stride);
        if (device->scratch == NULL) {
            free(device);
            return lm_fail(driver->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
        }
    }
    *out = &device->base;
    return LM_OK;
}

static void cpu_close(lm_device *device)
{
    lm_team_destroy(((cpu_device *)device)->team);
    free(((cpu_device *)device)->scratch);
    free(device);
}

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

static lm_status cpu_list_create(lm_device *device, lm_list_times times, lm_list **out)
{
    (void)times;
    cpu_list *list = calloc(1, sizeof *list);
    if (list == NULL) return lm_fail(device->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
    *out = &list->base;
    return LM_OK;
}

static void cpu_list_destroy(lm_list *base)
{
    cpu_list *list = (cpu_list *)base;
    free(list->commands);
    free(list->ends);
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

static lm_status append_native(lm_list *list, cpu_command *command, const lm_cpu_kernel *native, const lm_cpu_call *call)
{
    command->native = native;
    command->parts = native->parts(call);
    return append(list, command);
}

static lm_status cpu_list_dispatch(lm_list *list, lm_pipeline *pipeline, const void *params, const lm_view *views,
                                   const uint32_t groups[3])
{
    (void)groups; /* kernels loop over everything themselves */
    const lm_kernel *kernel = lm_kernel_get(pipeline->kernel);
    const cpu_device *device = (const cpu_device *)list->device;
    cpu_command command = {.kind = CPU_DISPATCH, .pipeline = pipeline, .parts = 1};
    memcpy(command.params, params, kernel->params_size);
    for (size_t i = 0; i < kernel->binding_count; i++) command.buffers[i] = view_address(&views[i]);
    if (device->level == NULL) return append(list, &command);
    const lm_cpu_call call = {command.params, pipeline->spec, command.buffers, device->threads, NULL};
    if (kernel->id == LM_KERNEL_GEMM && !list->deterministic && (device->base.info.capabilities & LM_CAP_OPENBLAS) &&
        lm_cpu_blas_takes(&call)) {
        command.goes_on = true;
        lm_status status = append_native(list, &command, &lm_cpu_blas, &call);
        command.goes_on = false;
        return status == LM_OK ? append_native(list, &command, &device->level->epilogue, &call) : status;
    }
    const lm_cpu_kernel *native = &device->level->kernels[kernel->id];
    return native->run != NULL ? append_native(list, &command, native, &call) : append(list, &command);
}

static lm_status cpu_list_copy(lm_list *list, lm_view to, lm_view from)
{
    const cpu_command command = {
        .kind = CPU_COPY, .buffers = {view_address(&to), view_address(&from)}, .size = to.size, .parts = 1};
    return append(list, &command);
}

static lm_status cpu_list_fill(lm_list *list, lm_view to, uint32_t word)
{
    const cpu_command command = {
        .kind = CPU_FILL, .buffers = {view_address(&to)}, .size = to.size, .word = word, .parts = 1};
    return append(list, &command);
}

static lm_status cpu_list_barrier(lm_list *list)
{
    (void)list;
    return LM_OK;
}

static lm_status cpu_list_end(lm_list *base)
{
    cpu_list *list = (cpu_list *)base;
    if (base->times != LM_TIMES_EACH || base->command_count == 0) return LM_OK;
    list->ends = calloc(base->command_count, sizeof *list->ends);
    return list->ends != NULL ? LM_OK : lm_fail(base->device->context, LM_ERROR_OUT_OF_MEMORY, "cpu: out of memory");
}

static lm_status cpu_list_submit(lm_list *list)
{
    lm_cpu_run((cpu_list *)list);
    return LM_OK;
}

static lm_status cpu_list_wait(lm_list *list)
{
    (void)list;
    return LM_OK;
}

static double cpu_list_time_ns(lm_list *list) { return ((const cpu_list *)list)->time_ns; }

static bool cpu_list_command_times(lm_list *base, lm_command_time *times)
{
    const cpu_list *list = (const cpu_list *)base;
    if (list->time_ns == 0) return false;
    for (size_t i = 0; i < base->command_count; i++) times[i] = (lm_command_time){i > 0 ? list->ends[i - 1] : 0, list->ends[i]};
    return true;
}

/* Both have these. */
#define SHARED_OPS \
    .unload = cpu_unload, \
    .open = cpu_open, \
    .close = cpu_close, \
    .supports = cpu_supports, \
    .buffer_create = cpu_buffer_create, \
    .buffer_destroy = cpu_buffer_destroy, \
    .buffer_upload = cpu_buffer_upload, \
    .buffer_download = cpu_buffer_download, \
    .pipeline_create = cpu_pipeline_create, \
    .pipeline_destroy = cpu_pipeline_destroy, \
    .list_create = cpu_list_create, \
    .list_destroy = cpu_list_destroy, \
    .list_dispatch = cpu_list_dispatch, \
    .list_copy = cpu_list_copy, \
    .list_fill = cpu_list_fill, \
    .list_barrier = cpu_list_barrier, \
    .list_end = cpu_list_end, \
    .list_submit = cpu_list_submit, \
    .list_wait = cpu_list_wait, \
    .list_time_ns = cpu_list_time_ns, \
    .list_command_times = cpu_list_command_times

const lm_backend_ops lm_backend_cpu = {.backend = LM_BACKEND_CPU, .name = "cpu", .load = cpu_load, SHARED_OPS};
const lm_backend_ops lm_backend_reference = {
    .backend = LM_BACKEND_REFERENCE, .name = "reference", .load = reference_load, SHARED_OPS};
