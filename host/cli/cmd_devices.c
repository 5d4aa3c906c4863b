/* host/cli/cmd_devices.c: litemamba devices. */
#include <jansson.h>
#include <string.h>

#include "host/cli/cli.h"

static const char *backend_name(lm_backend backend)
{
    switch (backend) {
    case LM_BACKEND_CPU: return "cpu";
    case LM_BACKEND_OPENCL: return "opencl";
    case LM_BACKEND_VULKAN: return "vulkan";
    case LM_BACKEND_REFERENCE: return "reference";
    }
    return "unknown";
}

static const char *type_name(lm_device_type type)
{
    switch (type) {
    case LM_DEVICE_DISCRETE: return "discrete";
    case LM_DEVICE_INTEGRATED: return "integrated";
    case LM_DEVICE_VIRTUAL: return "virtual";
    case LM_DEVICE_OTHER: return "other";
    case LM_DEVICE_CPU: return "processor";
    case LM_DEVICE_REFERENCE: return "reference";
    }
    return "unknown";
}

static const struct {
    uint32_t bit;
    const char *name;
} capabilities[] = {
    {LM_CAP_SUBGROUP, "subgroup"},     {LM_CAP_FLOAT16_STORAGE, "float16_storage"},
    {LM_CAP_TIMESTAMPS, "timestamps"}, {LM_CAP_UNIFIED_MEMORY, "unified_memory"},
    {LM_CAP_WIDE_LANES, "wide_lanes"}, {LM_CAP_LARGE_SHARED, "large_shared"},
    {LM_CAP_THREADS, "threads"},       {LM_CAP_AVX2, "avx2"},
    {LM_CAP_AVX512, "avx512"},         {LM_CAP_OPENBLAS, "openblas"},
    {LM_CAP_TEXELS, "texels"},         {LM_CAP_ADDRESSES, "addresses"},
};

/* ---- JSON ------------------------------------------------------------------------------------------------------------- */

/* A driver may name its device in any bytes; those that are not UTF-8 become '?'. */
static json_t *text_value(const char *text)
{
    char copy[256];
    json_t *value = json_string(text);
    if (value != NULL) return value;
    size_t length = 0;
    for (; text[length] != 0 && length < sizeof copy - 1; length++)
        copy[length] = (text[length] & 0x80) != 0 ? '?' : text[length];
    copy[length] = 0;
    return json_string(copy);
}

static json_t *triple(const uint32_t values[3])
{
    return json_pack("[I, I, I]", (json_int_t)values[0], (json_int_t)values[1], (json_int_t)values[2]);
}

static json_t *device_value(const lm_device_info *info)
{
    json_t *object = json_object(), *names = json_array();
    int failed = 0;
    for (size_t i = 0; i < CLI_COUNT(capabilities); i++)
        if ((info->capabilities & capabilities[i].bit) != 0)
            failed |= json_array_append_new(names, json_string(capabilities[i].name));
    failed |= json_object_set_new(object, "id", text_value(info->id));
    failed |= json_object_set_new(object, "backend", json_string(backend_name(info->backend)));
    failed |= json_object_set_new(object, "index", json_integer(info->index));
    failed |= json_object_set_new(object, "type", json_string(type_name(info->type)));
    failed |= json_object_set_new(object, "name", text_value(info->name));
    failed |= json_object_set_new(object, "driver", text_value(info->driver));
    failed |= json_object_set_new(object, "api", text_value(info->api));
    failed |= json_object_set_new(object, "vendor_id", json_integer(info->vendor_id));
    failed |= json_object_set_new(object, "memory_bytes", json_integer((json_int_t)info->memory_bytes));
    failed |= json_object_set_new(object, "max_allocation_bytes", json_integer((json_int_t)info->max_allocation_bytes));
    failed |= json_object_set_new(object, "max_binding_bytes", json_integer((json_int_t)info->max_binding_bytes));
    failed |= json_object_set_new(object, "binding_alignment", json_integer(info->binding_alignment));
    failed |= json_object_set_new(object, "max_workgroup_size", json_integer(info->max_workgroup_size));
    failed |= json_object_set_new(object, "max_workgroup_dim", triple(info->max_workgroup_dim));
    failed |= json_object_set_new(object, "max_groups", triple(info->max_groups));
    failed |= json_object_set_new(object, "shared_bytes", json_integer(info->shared_bytes));
    failed |= json_object_set_new(object, "subgroup_size", json_integer(info->subgroup_size));
    failed |= json_object_set_new(object, "compute_units", json_integer(info->compute_units));
    failed |= json_object_set_new(object, "lanes", json_integer(info->lanes));
    failed |= json_object_set_new(object, "capabilities", names);
    failed |= json_object_set_new(object, "timestamp_ns", json_real(info->timestamp_ns));
    if (failed == 0) return object;
    json_decref(object);
    return NULL;
}

static int print_json(const lm_context *context)
{
    json_t *devices = json_array();
    int failed = 0;
    for (size_t i = 0; i < lm_context_device_count(context); i++)
        failed |= json_array_append_new(devices, device_value(lm_context_device_info(context, i)));
    if (failed == 0) failed = json_dumpf(devices, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(devices);
    printf("\n");
    return failed == 0 || !cli_flush() ? CLI_OK : cli_error("devices: out of memory");
}

/* ---- table ------------------------------------------------------------------------------------------------------------ */

/* "31.3 GiB", in a buffer of the caller's. */
static const char *size_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < CLI_COUNT(units); unit++) value /= 1024;
    snprintf(text, 32, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static void print_table(const lm_context *context)
{
    size_t count = lm_context_device_count(context);
    int id = 6, name = 4, api = 3;
    for (size_t i = 0; i < count; i++) {
        const lm_device_info *info = lm_context_device_info(context, i);
        if ((int)strlen(info->id) > id) id = (int)strlen(info->id);
        if ((int)strlen(info->name) > name) name = (int)strlen(info->name);
        if ((int)strlen(info->api) > api) api = (int)strlen(info->api);
    }
    printf("%-*s  %-10s  %-*s  %-*s  %8s  %s\n", id, "device", "type", name, "name", api, "api", "memory", "driver");
    for (size_t i = 0; i < count; i++) {
        const lm_device_info *info = lm_context_device_info(context, i);
        char memory[32] = "-";
        if (info->memory_bytes != 0) size_text(info->memory_bytes, memory);
        printf("%-*s  %-10s  %-*s  %-*s  %8s  %s\n", id, info->id, type_name(info->type), name, info->name, api, info->api,
               memory, info->driver);
    }
}

int cli_devices(const cli_command *command, int argc, char **argv)
{
    bool json = false;
    int code;
    cli_session session = {0};
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &json, NULL, "Everything that is known of each device, as JSON", 0, 0},
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, NULL, 0, 0, &code)) return code;

    code = cli_open_context(&session);
    if (code == CLI_OK && json)
        code = print_json(session.context);
    else if (code == CLI_OK)
        print_table(session.context);
    cli_close(&session);
    return code;
}
