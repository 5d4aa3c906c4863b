/* runtime/context.c: contexts, errors and the log. */
#include "runtime/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static _Thread_local char last_error[2048];

const char *lm_version(void) { return "0.1.0"; }

const char *lm_status_string(lm_status status)
{
    switch (status) {
    case LM_OK: return "success";
    case LM_ERROR_INVALID_ARGUMENT: return "invalid argument";
    case LM_ERROR_OUT_OF_MEMORY: return "out of memory";
    case LM_ERROR_OUT_OF_DEVICE_MEMORY: return "out of device memory";
    case LM_ERROR_IO: return "input/output error";
    case LM_ERROR_FORMAT: return "bad file";
    case LM_ERROR_UNSUPPORTED: return "not supported";
    case LM_ERROR_NO_DEVICE: return "no such device";
    case LM_ERROR_DEVICE_LOST: return "device lost";
    case LM_ERROR_DRIVER: return "driver error";
    case LM_ERROR_CANCELLED: return "cancelled";
    }
    return "unknown status";
}

const char *lm_last_error(void) { return last_error; }

static void log_text(lm_context *context, lm_log_level level, const char *text)
{
    if (context != NULL && context->log != NULL && level <= context->log_level)
        context->log(context->log_user, level, text);
}

lm_status lm_fail(lm_context *context, lm_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[sizeof last_error]; /* an argument may be the last error itself */
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(last_error, text, sizeof text);
    log_text(context, LM_LOG_ERROR, last_error);
    return status;
}

void lm_log(lm_context *context, lm_log_level level, const char *format, ...)
{
    if (context == NULL || context->log == NULL || level > context->log_level) return;
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_text(context, level, text);
}

/* In the order in which devices are listed. */
static const lm_backend_ops *const backends[] = {
#ifdef LM_HAVE_OPENCL
    &lm_backend_opencl,
#endif
#ifdef LM_HAVE_VULKAN
    &lm_backend_vulkan,
#endif
    &lm_backend_cpu,
    &lm_backend_reference,
};

/* May a device of this name be of another backend? Not if it names one of them, alone or before a colon. */
static bool is_elsewhere(const lm_backend_ops *ops, const char *device)
{
    const size_t length = device != NULL ? strcspn(device, ":") : 0;
    const lm_backend_ops *named = NULL;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strlen(backends[i]->name) == length && strncasecmp(backends[i]->name, device, length) == 0) named = backends[i];
    return named != NULL && named != ops;
}

lm_status lm_context_create(const lm_context_params *params, lm_context **out)
{
    LM_REQUIRE(NULL, out != NULL);
    *out = NULL;
    static const lm_context_params defaults;
    if (params == NULL) params = &defaults;
    lm_context *context = calloc(1, sizeof *context);
    if (context == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_context_create: out of memory");
    context->log = params->log;
    context->log_user = params->log_user;
    context->log_level = params->log_level;
    context->process = (long)getpid();

    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const lm_backend_ops *ops = backends[i];
        if ((ops->backend == LM_BACKEND_OPENCL && params->no_opencl) ||
            (ops->backend == LM_BACKEND_VULKAN && params->no_vulkan) || is_elsewhere(ops, params->device))
            continue;
        lm_driver *driver = NULL;
        lm_status status = ops->load(context, params, &driver);
        if (status == LM_ERROR_OUT_OF_MEMORY) {
            lm_context_destroy(&context);
            return status;
        }
        if (status != LM_OK || driver == NULL) {
            lm_log(context, LM_LOG_WARNING, "%s is left out: %s", ops->name, last_error);
            continue;
        }
        driver->ops = ops;
        driver->context = context;
        context->drivers[context->driver_count++] = driver;
    }
    *out = context;
    return LM_OK;
}

void lm_context_destroy(lm_context **context)
{
    if (context == NULL || *context == NULL) return;
    const bool forked = (*context)->process != (long)getpid(); /* then the drivers must not be touched: they would hang */
    for (size_t i = 0; i < (*context)->driver_count; i++) {
        lm_driver *driver = (*context)->drivers[i];
        free(driver->devices);
        driver->devices = NULL;
        if (!forked) driver->ops->unload(driver);
    }
    free(*context);
    *context = NULL;
}

size_t lm_context_device_count(const lm_context *context)
{
    size_t count = 0;
    if (context != NULL)
        for (size_t i = 0; i < context->driver_count; i++) count += context->drivers[i]->device_count;
    return count;
}

const lm_device_info *lm_context_device_info(const lm_context *context, size_t index)
{
    if (context == NULL) return NULL;
    for (size_t i = 0; i < context->driver_count; i++) {
        const lm_driver *driver = context->drivers[i];
        if (index < driver->device_count) return &driver->devices[index];
        index -= driver->device_count;
    }
    return NULL;
}
