/* runtime/opencl/driver.c: platforms and devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/opencl/opencl.h"

static bool get_uint(const lm_opencl_api *cl, cl_device_id id, cl_device_info what, cl_uint *value)
{
    return cl->clGetDeviceInfo(id, what, sizeof *value, value, NULL) == CL_SUCCESS;
}

static bool get_ulong(const lm_opencl_api *cl, cl_device_id id, cl_device_info what, cl_ulong *value)
{
    return cl->clGetDeviceInfo(id, what, sizeof *value, value, NULL) == CL_SUCCESS;
}

static bool get_bool(const lm_opencl_api *cl, cl_device_id id, cl_device_info what)
{
    cl_bool value = CL_FALSE;
    return cl->clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS && value != CL_FALSE;
}

/* Driver strings come with spaces around them. */
static void copy_trimmed(char *to, size_t size, const char *from)
{
    while (*from == ' ') from++;
    size_t length = strlen(from);
    while (length > 0 && from[length - 1] == ' ') length--;
    snprintf(to, size, "%.*s", (int)length, from);
}

/* Strings over the caller's size are cut; those that cannot be had are empty. */
static void get_device_string(const lm_opencl_api *cl, cl_device_id id, cl_device_info what, char *text, size_t size)
{
    char raw[1024] = "";
    if (cl->clGetDeviceInfo(id, what, sizeof raw - 1, raw, NULL) != CL_SUCCESS) raw[0] = '\0';
    copy_trimmed(text, size, raw);
}

static void get_platform_string(const lm_opencl_api *cl, cl_platform_id id, cl_platform_info what, char *text,
                                size_t size)
{
    char raw[1024] = "";
    if (cl->clGetPlatformInfo(id, what, sizeof raw - 1, raw, NULL) != CL_SUCCESS) raw[0] = '\0';
    copy_trimmed(text, size, raw);
}

/* Why the device cannot be used, or NULL. */
static const char *find_flaw(const lm_opencl_api *cl, cl_device_id id)
{
    char version[128];
    unsigned major = 0, minor = 0;
    get_device_string(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    if (sscanf(version, "OpenCL %u.%u", &major, &minor) != 2) return "it does not say its version";
    if (major < 1 || (major == 1 && minor < 2)) return "it is older than OpenCL 1.2";
    if (!get_bool(cl, id, CL_DEVICE_AVAILABLE)) return "it is not available";
    if (!get_bool(cl, id, CL_DEVICE_COMPILER_AVAILABLE)) return "it has no compiler";
    if (!get_bool(cl, id, CL_DEVICE_ENDIAN_LITTLE)) return "it is not little-endian";
    return NULL;
}

static lm_device_type find_type(const lm_opencl_api *cl, cl_device_id id)
{
    cl_device_type type = 0;
    cl->clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    if ((type & CL_DEVICE_TYPE_CPU) != 0) return LM_DEVICE_CPU;
    if ((type & CL_DEVICE_TYPE_GPU) == 0) return LM_DEVICE_OTHER;
    return get_bool(cl, id, CL_DEVICE_HOST_UNIFIED_MEMORY) ? LM_DEVICE_INTEGRATED : LM_DEVICE_DISCRETE;
}

static uint32_t clamp_u32(uint64_t value) { return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX; }

/* False when the device does not tell what is needed to use it. */
static bool fill_limits(const lm_opencl_api *cl, cl_device_id id, lm_device_info *info)
{
    cl_ulong global = 0, allocation = 0, local = 0;
    cl_uint align_bits = 0, dimensions = 0, units = 0, vendor = 0, address_bits = 0;
    size_t group = 0, group_dim[16] = {0};
    if (!get_ulong(cl, id, CL_DEVICE_GLOBAL_MEM_SIZE, &global) ||
        !get_ulong(cl, id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &allocation) ||
        !get_ulong(cl, id, CL_DEVICE_LOCAL_MEM_SIZE, &local) ||
        !get_uint(cl, id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, &align_bits) ||
        !get_uint(cl, id, CL_DEVICE_ADDRESS_BITS, &address_bits) ||
        !get_uint(cl, id, CL_DEVICE_MAX_WORK_ITEM_DIMENSIONS, &dimensions) || dimensions < 3 || dimensions > 16 ||
        cl->clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL) != CL_SUCCESS ||
        cl->clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, dimensions * sizeof *group_dim, group_dim, NULL) !=
            CL_SUCCESS)
        return false;
    if (global == 0 || allocation == 0 || group == 0) return false;
    get_uint(cl, id, CL_DEVICE_MAX_COMPUTE_UNITS, &units);
    get_uint(cl, id, CL_DEVICE_VENDOR_ID, &vendor);

    info->memory_bytes = global;
    /* Kernels take where a binding starts as a 32-bit count of floats. */
    info->max_allocation_bytes = allocation < (UINT64_C(1) << 34) ? allocation : UINT64_C(1) << 34;
    info->max_binding_bytes = allocation < UINT32_MAX - 3u ? allocation & ~UINT64_C(3) : UINT32_MAX - 3u;
    info->binding_alignment = align_bits / 8 > 16 ? align_bits / 8 : 16;
    info->max_workgroup_size = clamp_u32(group);
    for (int i = 0; i < 3; i++) {
        info->max_workgroup_dim[i] = clamp_u32(group_dim[i]);
        /* OpenCL limits not the groups but the global size, which must fit the device's size_t. */
        info->max_groups[i] = address_bits >= 64 ? INT32_MAX : INT32_MAX / clamp_u32(group);
    }
    info->shared_bytes = clamp_u32(local);
    info->compute_units = units;
    info->vendor_id = vendor;
    return true;
}

/* Memory that host and device both see at every synchronisation point, without maps in between. */
static bool shares_memory(const lm_opencl_api *cl, cl_device_id id, lm_device_type type, unsigned major)
{
    cl_device_svm_capabilities svm = 0;
    return major >= 2 && cl->clSVMAlloc != NULL && cl->clSVMFree != NULL &&
           (type == LM_DEVICE_CPU || type == LM_DEVICE_INTEGRATED) &&
           cl->clGetDeviceInfo(id, CL_DEVICE_SVM_CAPABILITIES, sizeof svm, &svm, NULL) == CL_SUCCESS &&
           (svm & CL_DEVICE_SVM_FINE_GRAIN_BUFFER) != 0;
}

static bool fill_info(const lm_opencl_api *cl, cl_platform_id platform, cl_device_id id, uint32_t index,
                      lm_device_info *info)
{
    *info = (lm_device_info){.backend = LM_BACKEND_OPENCL, .type = find_type(cl, id), .index = index};
    if (!fill_limits(cl, id, info)) return false;

    snprintf(info->id, sizeof info->id, "opencl:%u", index);
    get_device_string(cl, id, CL_DEVICE_NAME, info->name, sizeof info->name);
    char platform_name[160], driver_version[80], version[128];
    get_platform_string(cl, platform, CL_PLATFORM_NAME, platform_name, sizeof platform_name);
    get_device_string(cl, id, CL_DRIVER_VERSION, driver_version, sizeof driver_version);
    snprintf(info->driver, sizeof info->driver, "%s %s", platform_name, driver_version);
    unsigned major = 0, minor = 0;
    get_device_string(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    sscanf(version, "OpenCL %u.%u", &major, &minor);
    snprintf(info->api, sizeof info->api, "OpenCL %u.%u", major, minor);

    /* Every queue can be asked to profile, in nanoseconds, and vload_half is in OpenCL C 1.2 itself. */
    info->timestamp_ns = 1.0;
    info->lanes = 1;
    info->capabilities = LM_CAP_TIMESTAMPS | LM_CAP_FLOAT16_STORAGE;
    if (shares_memory(cl, id, info->type, major)) info->capabilities |= LM_CAP_UNIFIED_MEMORY;
    if (info->shared_bytes >= 32768) info->capabilities |= LM_CAP_LARGE_SHARED;
    /* Mesa's llvmpipe makes vectors of neighbouring work-items itself, and ends every loop, without a word, once a
     * work-item has gone round 65535 times in all: it is better off with many small work-items. */
    if (info->type == LM_DEVICE_CPU && strstr(info->name, "llvmpipe") == NULL) {
        info->capabilities |= LM_CAP_WIDE_LANES;
        info->lanes = 16;
    }
    return true;
}

/* Room for `more` devices behind those there are. */
static bool grow_devices(lm_opencl_driver *driver, size_t more)
{
    const size_t count = driver->base.device_count + more;
    lm_device_info *devices = realloc(driver->base.devices, count * sizeof *devices);
    if (devices != NULL) driver->base.devices = devices;
    cl_device_id *ids = realloc(driver->ids, count * sizeof(cl_device_id));
    if (ids != NULL) driver->ids = ids;
    return devices != NULL && ids != NULL;
}

/* False when host memory ran out. */
static bool add_platform(lm_opencl_driver *driver, lm_context *context, cl_platform_id platform)
{
    const lm_opencl_api *cl = &driver->api;
    char name[160];
    get_platform_string(cl, platform, CL_PLATFORM_NAME, name, sizeof name);
    cl_uint count = 0;
    cl_int code = cl->clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
    if (code == CL_DEVICE_NOT_FOUND || (code == CL_SUCCESS && count == 0)) {
        lm_log(context, LM_LOG_INFO, "opencl: platform '%s' has no device", name);
        return true;
    }
    cl_device_id *ids = code == CL_SUCCESS ? calloc(count, sizeof(cl_device_id)) : NULL;
    if (ids != NULL) code = cl->clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, NULL);
    if (code != CL_SUCCESS) {
        lm_log(context, LM_LOG_WARNING, "opencl: platform '%s' is left out: clGetDeviceIDs: %s (%d)", name,
               lm_opencl_error_name(code), code);
        free(ids);
        return true;
    }
    if (ids == NULL || !grow_devices(driver, count)) {
        free(ids);
        return false;
    }
    for (cl_uint i = 0; i < count; i++) {
        const size_t index = driver->base.device_count;
        const char *flaw = find_flaw(cl, ids[i]);
        if (flaw == NULL && !fill_info(cl, platform, ids[i], (uint32_t)index, &driver->base.devices[index]))
            flaw = "it does not tell its limits";
        if (flaw != NULL) {
            char device_name[256];
            get_device_string(cl, ids[i], CL_DEVICE_NAME, device_name, sizeof device_name);
            lm_log(context, LM_LOG_WARNING, "opencl: device '%s' of platform '%s' is left out: %s", device_name, name, flaw);
            continue;
        }
        driver->ids[index] = ids[i];
        driver->base.device_count++;
    }
    free(ids);
    return true;
}

/* False when host memory ran out. */
static bool add_platforms(lm_opencl_driver *driver, lm_context *context)
{
    cl_uint count = 0;
    cl_int code = driver->api.clGetPlatformIDs(0, NULL, &count);
    cl_platform_id *platforms = NULL;
    if (code == CL_SUCCESS && count > 0) {
        platforms = calloc(count, sizeof(cl_platform_id));
        if (platforms == NULL) return false;
        code = driver->api.clGetPlatformIDs(count, platforms, NULL);
    }
    /* The loader answers -1001 when no driver is installed. */
    if (code != CL_SUCCESS) {
        lm_log(context, code == -1001 ? LM_LOG_INFO : LM_LOG_WARNING, "opencl: clGetPlatformIDs: %s (%d)",
               lm_opencl_error_name(code), code);
        count = 0;
    }
    bool enough = true;
    for (cl_uint i = 0; i < count && enough; i++) enough = add_platform(driver, context, platforms[i]);
    free(platforms);
    return enough;
}

static void unload(lm_driver *base)
{
    lm_opencl_driver *driver = (lm_opencl_driver *)base;
    lm_opencl_api_unload(driver->library);
    free(driver->ids);
    free(driver);
}

static lm_status load(lm_context *context, const lm_context_params *params, lm_driver **out)
{
    (void)params;
    lm_opencl_driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) return lm_fail(context, LM_ERROR_OUT_OF_MEMORY, "opencl: out of memory");
    lm_opencl_guard guard;
    lm_opencl_guard_enter(&guard, true);
    driver->library = lm_opencl_api_load(context, &driver->api);
    const bool enough = driver->library == NULL || add_platforms(driver, context);
    lm_opencl_guard_leave(&guard);
    if (!enough) {
        free(driver->base.devices);
        unload(&driver->base);
        return lm_fail(context, LM_ERROR_OUT_OF_MEMORY, "opencl: out of memory");
    }
    *out = &driver->base;
    return LM_OK;
}

const lm_backend_ops lm_backend_opencl = {
    .backend = LM_BACKEND_OPENCL,
    .name = "opencl",
    .load = load,
    .unload = unload,
    .open = lm_opencl_open,
    .close = lm_opencl_close,
    .supports = lm_opencl_supports,
    .buffer_create = lm_opencl_buffer_create,
    .buffer_destroy = lm_opencl_buffer_destroy,
    .buffer_upload = lm_opencl_buffer_upload,
    .buffer_download = lm_opencl_buffer_download,
    .pipeline_create = lm_opencl_pipeline_create,
    .pipeline_destroy = lm_opencl_pipeline_destroy,
    .list_create = lm_opencl_list_create,
    .list_destroy = lm_opencl_list_destroy,
    .list_dispatch = lm_opencl_list_dispatch,
    .list_copy = lm_opencl_list_copy,
    .list_fill = lm_opencl_list_fill,
    .list_barrier = lm_opencl_list_barrier,
    .list_end = lm_opencl_list_end,
    .list_submit = lm_opencl_list_submit,
    .list_wait = lm_opencl_list_wait,
    .list_time_ns = lm_opencl_list_time_ns,
    .list_command_times = lm_opencl_list_command_times,
};
