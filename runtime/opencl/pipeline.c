/* runtime/opencl/pipeline.c: programs built from the embedded sources. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/opencl/opencl.h"

/* The work-group's size, up to 2^62. */
static uint64_t group_size(const int32_t spec[LM_MAX_SPEC]) { return (uint64_t)spec[0] * (uint64_t)spec[1]; }

bool lm_opencl_supports(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC])
{
    const lm_device_info *info = &device->info;
    return lm_kernel_opencl_source(kernel->id) != NULL && spec[0] > 0 && spec[1] > 0 &&
           (uint32_t)spec[0] <= info->max_workgroup_dim[0] && (uint32_t)spec[1] <= info->max_workgroup_dim[1] &&
           group_size(spec) <= info->max_workgroup_size;
}

/* "-cl-std=CL1.2 -w -DLM_OPENCL -DWG_X=64 …". No fast-math option: those fold the rounding tricks of exp away, drop NaN and
 * change results from one driver to the next. Products and sums may be contracted, as OpenCL C allows by itself. -w: PoCL
 * prints the number of warnings (helpers that one kernel leaves unused) on the application's stderr. */
static bool format_options(const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC], char *text, size_t size)
{
    int length = snprintf(text, size, "-cl-std=CL1.2 -w -DLM_OPENCL");
    const char *name = kernel->spec;
    for (size_t i = 0; i < LM_MAX_SPEC && *name != '\0'; i++) {
        const int name_size = (int)strcspn(name, ",");
        length += snprintf(text + length, size - (size_t)length, " -D%.*s=%d", name_size, name, (int)spec[i]);
        if ((size_t)length >= size) return false;
        name += name_size;
        if (*name == ',') name++;
    }
    return true;
}

/* The first line that speaks of an error, or the first that says anything. */
static void find_headline(const char *log, char *line, size_t size)
{
    const char *first = NULL;
    for (const char *at = log; *at != '\0';) {
        const size_t length = strcspn(at, "\r\n");
        if (length > 0) {
            snprintf(line, size, "%.*s", (int)(length < size ? length : size - 1), at);
            if (strstr(line, "error") != NULL) return;
            if (first == NULL) first = at;
        }
        at += length + (at[length] != '\0');
    }
    if (first != NULL)
        snprintf(line, size, "%.*s", (int)strcspn(first, "\r\n"), first);
    else
        snprintf(line, size, "no build log");
}

/* Line by line, as the log takes it. */
static void log_lines(lm_context *context, lm_log_level level, const char *prefix, const char *text)
{
    while (*text != '\0') {
        const size_t length = strcspn(text, "\r\n");
        if (length > 0) lm_log(context, level, "%s: %.*s", prefix, (int)length, text);
        text += length + (text[length] != '\0');
    }
}

/* Freed by the caller; NULL when there is none. */
static char *get_build_log(const lm_opencl_device *device, cl_program program)
{
    const lm_opencl_api *cl = device->cl;
    size_t size = 0;
    if (cl->clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS) return NULL;
    char *log = calloc(1, size + 1);
    if (log != NULL &&
        cl->clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) != CL_SUCCESS) {
        free(log);
        return NULL;
    }
    return log;
}

static lm_status build(lm_opencl_device *device, const lm_kernel *kernel, const char *options, cl_program program)
{
    const lm_device *base = &device->base;
    const double start = lm_clock();
    lm_opencl_guard guard;
    lm_opencl_guard_enter(&guard, false);
    cl_int code = device->cl->clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    lm_opencl_guard_leave(&guard);
    const double milliseconds = 1e3 * (lm_clock() - start);

    char prefix[128];
    snprintf(prefix, sizeof prefix, "%s: %s.cl", base->info.id, kernel->stem);
    char *log = get_build_log(device, program);
    if (log != NULL) log_lines(base->context, code == CL_SUCCESS ? LM_LOG_DEBUG : LM_LOG_ERROR, prefix, log);
    lm_status status = LM_OK;
    if (code == CL_BUILD_PROGRAM_FAILURE) {
        char line[512];
        find_headline(log != NULL ? log : "", line, sizeof line);
        status = lm_fail(base->context, LM_ERROR_DRIVER, "%s: clBuildProgram(%s): %s (%d): %s", prefix, options,
                         lm_opencl_error_name(code), code, line);
    } else if (code != CL_SUCCESS) {
        status = lm_opencl_fail(device, "clBuildProgram", code);
    } else {
        lm_log(base->context, LM_LOG_DEBUG, "%s: built in %.1f ms with %s", prefix,
               milliseconds, options);
    }
    free(log);
    return status;
}

/* A program of the kernel's source, built. *program is NULL after a failure. */
static lm_status make_program(lm_opencl_device *device, const lm_kernel *kernel, const char *options, cl_program *program)
{
    const char *source = lm_kernel_opencl_source(kernel->id);
    cl_int code = CL_SUCCESS;
    *program = device->cl->clCreateProgramWithSource(device->context, 1, &source, NULL, &code);
    if (code != CL_SUCCESS) {
        *program = NULL;
        return lm_opencl_fail(device, "clCreateProgramWithSource", code);
    }
    lm_status status = build(device, kernel, options, *program);
    if (status == LM_OK) return LM_OK;
    device->cl->clReleaseProgram(*program);
    *program = NULL;
    return status;
}

lm_status lm_opencl_pipeline_kernel(lm_opencl_device *device, lm_opencl_pipeline *pipeline, const lm_kernel *kernel,
                                    uint32_t buffers, cl_kernel *object)
{
    char name[64], options[512];
    const bool many = pipeline->gathers && buffers > LM_OPENCL_FEW;
    if (many && pipeline->many == NULL) {
        if (!format_options(kernel, pipeline->base.spec, options, sizeof options) ||
            strlen(options) + sizeof " -DLM_BUFFERS=12" > sizeof options)
            return lm_fail(device->base.context, LM_ERROR_UNSUPPORTED, "%s: there is no OpenCL form of %s", device->base.info.id,
                           kernel->stem);
        strcat(options, " -DLM_BUFFERS=12");
        lm_status status = make_program(device, kernel, options, &pipeline->many);
        if (status != LM_OK) return status;
    }
    snprintf(name, sizeof name, "lm_%s", kernel->stem);
    cl_int code = CL_SUCCESS;
    *object = device->cl->clCreateKernel(many ? pipeline->many : pipeline->program, name, &code);
    if (code == CL_SUCCESS) return LM_OK;
    char call[96];
    snprintf(call, sizeof call, "clCreateKernel(%s)", name);
    return lm_opencl_fail(device, call, code);
}

/* Registers and local memory are known only once the kernel is built. Also notes whether it gathers. */
static lm_status check_resources(lm_opencl_device *device, lm_opencl_pipeline *pipeline, const lm_kernel *kernel,
                                 const int32_t spec[LM_MAX_SPEC])
{
    const lm_opencl_api *cl = device->cl;
    const lm_device_info *info = &device->base.info;
    cl_kernel object = NULL;
    lm_status status = lm_opencl_pipeline_kernel(device, pipeline, kernel, 0, &object);
    if (status != LM_OK) return status;
    size_t largest = 0, compiled[3] = {0, 0, 0};
    cl_ulong local = 0;
    cl_uint arguments = 0;
    cl_int code = cl->clGetKernelInfo(object, CL_KERNEL_NUM_ARGS, sizeof arguments, &arguments, NULL);
    pipeline->gathers = arguments != kernel->binding_count + 2; /* none of those has LM_OPENCL_FEW bindings */
    if (code == CL_SUCCESS)
        code = cl->clGetKernelWorkGroupInfo(object, device->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof largest, &largest, NULL);
    if (code == CL_SUCCESS)
        code = cl->clGetKernelWorkGroupInfo(object, device->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof compiled,
                                            compiled, NULL);
    if (code == CL_SUCCESS)
        code = cl->clGetKernelWorkGroupInfo(object, device->id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    cl->clReleaseKernel(object);
    if (code != CL_SUCCESS) return lm_opencl_fail(device, "clGetKernelWorkGroupInfo", code);
    /* A kernel compiled for exactly this size (reqd_work_group_size) runs with it: the build would have failed else. And
     * Mesa's rusticl names 32 for every kernel. */
    const bool exact = compiled[0] == (size_t)spec[0] && compiled[1] == (size_t)spec[1];
    if (group_size(spec) > largest && !exact)
        return lm_fail(device->base.context, LM_ERROR_UNSUPPORTED,
                       "%s: %s.cl runs in work-groups of at most %zu, not %d x %d", info->id, kernel->stem, largest,
                       (int)spec[0], (int)spec[1]);
    if (local > info->shared_bytes)
        return lm_fail(device->base.context, LM_ERROR_UNSUPPORTED, "%s: %s.cl needs %llu bytes of local memory, not %u",
                       info->id, kernel->stem, (unsigned long long)local, info->shared_bytes);
    return LM_OK;
}

lm_status lm_opencl_pipeline_create(lm_device *base, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                                    lm_pipeline **out)
{
    lm_opencl_device *device = (lm_opencl_device *)base;
    char options[512];
    if (lm_kernel_opencl_source(kernel->id) == NULL || !format_options(kernel, spec, options, sizeof options))
        return lm_fail(base->context, LM_ERROR_UNSUPPORTED, "%s: there is no OpenCL form of %s", base->info.id,
                       kernel->stem);
    lm_opencl_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL) return lm_fail(base->context, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", base->info.id);
    pipeline->cl = device->cl;
    lm_status status = make_program(device, kernel, options, &pipeline->program);
    if (status == LM_OK) status = check_resources(device, pipeline, kernel, spec);
    if (status != LM_OK) {
        lm_opencl_pipeline_destroy(&pipeline->base);
        return status;
    }
    *out = &pipeline->base;
    return LM_OK;
}

void lm_opencl_pipeline_destroy(lm_pipeline *base)
{
    lm_opencl_pipeline *pipeline = (lm_opencl_pipeline *)base;
    if (pipeline->program != NULL) pipeline->cl->clReleaseProgram(pipeline->program);
    if (pipeline->many != NULL) pipeline->cl->clReleaseProgram(pipeline->many);
    free(pipeline);
}
