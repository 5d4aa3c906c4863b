/* runtime/vulkan/driver.c: the Vulkan loader and instance, the validation layer, and errors. */
#include "runtime/vulkan/vulkan_internal.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/context.h"

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

/* ---- errors ----------------------------------------------------------------------------------------------------- */

const char *lm_vulkan_result_name(VkResult result)
{
    switch (result) {
    case VK_SUCCESS: return "VK_SUCCESS";
    case VK_NOT_READY: return "VK_NOT_READY";
    case VK_TIMEOUT: return "VK_TIMEOUT";
    case VK_INCOMPLETE: return "VK_INCOMPLETE";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED: return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_MEMORY_MAP_FAILED: return "VK_ERROR_MEMORY_MAP_FAILED";
    case VK_ERROR_LAYER_NOT_PRESENT: return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_TOO_MANY_OBJECTS: return "VK_ERROR_TOO_MANY_OBJECTS";
    case VK_ERROR_FRAGMENTED_POOL: return "VK_ERROR_FRAGMENTED_POOL";
    case VK_ERROR_UNKNOWN: return "VK_ERROR_UNKNOWN";
    case VK_ERROR_OUT_OF_POOL_MEMORY: return "VK_ERROR_OUT_OF_POOL_MEMORY";
    case VK_ERROR_INVALID_SHADER_NV: return "VK_ERROR_INVALID_SHADER_NV";
    default: return "VkResult";
    }
}

static lm_status status_of(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: return LM_ERROR_OUT_OF_MEMORY;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_MEMORY_MAP_FAILED: return LM_ERROR_OUT_OF_DEVICE_MEMORY;
    case VK_ERROR_DEVICE_LOST: return LM_ERROR_DEVICE_LOST;
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT: return LM_ERROR_UNSUPPORTED;
    default: return LM_ERROR_DRIVER;
    }
}

lm_status lm_vulkan_fail(lm_device *device, const char *call, VkResult result)
{
    if (result == VK_ERROR_DEVICE_LOST) device->lost = true;
    return lm_fail(device->context, status_of(result), "%s (%s): %s: %s (%d)", device->info.id, device->info.name, call,
                   lm_vulkan_result_name(result), (int)result);
}

/* ---- validation ------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    lm_vulkan_driver *driver = user;
    /* The loader speaks through the same channel, of layers and drivers that it skips: no fault of ours. */
    if ((types & VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT) == 0) {
        lm_log(driver->base.context, LM_LOG_WARNING, "vulkan: %s", data->pMessage);
        return VK_FALSE;
    }
    __atomic_fetch_add(&driver->base.context->validation_messages, 1, __ATOMIC_RELAXED);
    lm_log(driver->base.context, LM_LOG_ERROR, "vulkan validation %s: %s",
           severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? "error" : "warning", data->pMessage);
    return VK_FALSE;
}

bool lm_vulkan_has_extension(const VkExtensionProperties *extensions, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(extensions[i].extensionName, name) == 0) return true;
    return false;
}

/* The instance extensions of a layer, or of the loader and its drivers for NULL. *extensions is malloc's. */
static uint32_t list_instance_extensions(lm_vulkan_driver *driver, const char *layer, VkExtensionProperties **extensions)
{
    PFN_vkEnumerateInstanceExtensionProperties enumerate = (PFN_vkEnumerateInstanceExtensionProperties)
        driver->vkGetInstanceProcAddr(VK_NULL_HANDLE, "vkEnumerateInstanceExtensionProperties");
    uint32_t count = 0;
    *extensions = NULL;
    if (enumerate == NULL || enumerate(layer, &count, NULL) != VK_SUCCESS || count == 0) return 0;
    *extensions = calloc(count, sizeof **extensions);
    if (*extensions == NULL || enumerate(layer, &count, *extensions) < VK_SUCCESS) return 0;
    return count;
}

static bool has_validation_layer(lm_vulkan_driver *driver)
{
    PFN_vkEnumerateInstanceLayerProperties enumerate = (PFN_vkEnumerateInstanceLayerProperties)
        driver->vkGetInstanceProcAddr(VK_NULL_HANDLE, "vkEnumerateInstanceLayerProperties");
    uint32_t count = 0;
    if (enumerate == NULL || enumerate(&count, NULL) != VK_SUCCESS || count == 0) return false;
    VkLayerProperties *layers = calloc(count, sizeof *layers);
    bool found = false;
    if (layers != NULL && enumerate(&count, layers) >= VK_SUCCESS)
        for (uint32_t i = 0; i < count; i++) found = found || strcmp(layers[i].layerName, VALIDATION_LAYER) == 0;
    free(layers);
    return found;
}

/* LITEMAMBA_VALIDATE in the environment: "" or "0" off, "sync" without the slow GPU-assisted part, else all of it. */
static bool wants_validation(const lm_context_params *params, bool *gpu_assisted)
{
    const char *text = getenv("LITEMAMBA_VALIDATE");
    *gpu_assisted = text == NULL || strcmp(text, "sync") != 0;
    return (params != NULL && params->validate) || (text != NULL && text[0] != '\0' && strcmp(text, "0") != 0);
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

/* Opens the library and says which version of the API it speaks: 0 when there is none that litemamba can use. */
static uint32_t open_library(lm_vulkan_driver *driver)
{
    driver->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver->library == NULL) driver->library = dlopen("libvulkan.so", RTLD_NOW | RTLD_LOCAL);
    if (driver->library == NULL) {
        lm_log(driver->base.context, LM_LOG_INFO, "vulkan: not installed: %s", dlerror());
        return 0;
    }
    /* dlsym gives an object pointer, which ISO C does not convert to a function's. */
    void *symbol = dlsym(driver->library, "vkGetInstanceProcAddr");
    memcpy(&driver->vkGetInstanceProcAddr, &symbol, sizeof symbol);
    if (driver->vkGetInstanceProcAddr == NULL) {
        lm_log(driver->base.context, LM_LOG_WARNING, "vulkan: libvulkan has no vkGetInstanceProcAddr");
        return 0;
    }
    PFN_vkEnumerateInstanceVersion enumerate_version = (PFN_vkEnumerateInstanceVersion)
        driver->vkGetInstanceProcAddr(VK_NULL_HANDLE, "vkEnumerateInstanceVersion");
    uint32_t version = VK_API_VERSION_1_0;
    if (enumerate_version != NULL && enumerate_version(&version) != VK_SUCCESS) version = VK_API_VERSION_1_0;
    if (version < VK_API_VERSION_1_1) {
        lm_log(driver->base.context, LM_LOG_WARNING, "vulkan: the loader speaks only Vulkan 1.0");
        return 0;
    }
    return version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3;
}

static bool create_instance(lm_vulkan_driver *driver, const lm_context_params *params)
{
    lm_context *context = driver->base.context;
    bool gpu_assisted = false, validate = wants_validation(params, &gpu_assisted);
    if (validate && !has_validation_layer(driver)) {
        lm_log(context, LM_LOG_WARNING, "vulkan: validation was asked for, but %s is not installed", VALIDATION_LAYER);
        validate = false;
    }

    const char *names[3];
    uint32_t name_count = 0;
    VkExtensionProperties *extensions;
    uint32_t extension_count = list_instance_extensions(driver, NULL, &extensions);
    VkInstanceCreateFlags flags = 0;
    if (lm_vulkan_has_extension(extensions, extension_count, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
        names[name_count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        flags = VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
    bool messenger = validate && lm_vulkan_has_extension(extensions, extension_count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    free(extensions);
    bool features = false;
    if (validate) {
        extension_count = list_instance_extensions(driver, VALIDATION_LAYER, &extensions);
        messenger = messenger || lm_vulkan_has_extension(extensions, extension_count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
        features = lm_vulkan_has_extension(extensions, extension_count, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
        free(extensions);
    }
    if (messenger) names[name_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (features) names[name_count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;

    VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = driver,
    };
    const VkValidationFeatureEnableEXT enables[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,
        VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT,
        VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_RESERVE_BINDING_SLOT_EXT,
    };
    VkValidationFeaturesEXT features_info = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = messenger ? &messenger_info : NULL,
        .enabledValidationFeatureCount = gpu_assisted ? 3 : 1,
        .pEnabledValidationFeatures = enables,
    };
    const char *layers[] = {VALIDATION_LAYER};
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "litemamba",
        .pEngineName = "litemamba",
        .engineVersion = VK_MAKE_API_VERSION(0, LM_VERSION_MAJOR, LM_VERSION_MINOR, LM_VERSION_PATCH),
        .apiVersion = driver->api_version,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = features ? (const void *)&features_info : messenger ? (const void *)&messenger_info : NULL,
        .flags = flags,
        .pApplicationInfo = &application,
        .enabledLayerCount = validate ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = name_count,
        .ppEnabledExtensionNames = names,
    };
    PFN_vkCreateInstance vkCreateInstance = (PFN_vkCreateInstance)
        driver->vkGetInstanceProcAddr(VK_NULL_HANDLE, "vkCreateInstance");
    VkResult result = vkCreateInstance != NULL ? vkCreateInstance(&info, NULL, &driver->instance)
                                               : VK_ERROR_INITIALIZATION_FAILED;
    if (result != VK_SUCCESS) {
        driver->instance = VK_NULL_HANDLE;
        lm_log(context, result == VK_ERROR_INCOMPATIBLE_DRIVER ? LM_LOG_INFO : LM_LOG_WARNING,
               "vulkan: vkCreateInstance: %s (%d)", lm_vulkan_result_name(result), (int)result);
        return false;
    }

#define X(name) \
    driver->name = (PFN_##name)driver->vkGetInstanceProcAddr(driver->instance, #name); \
    if (driver->name == NULL) { \
        lm_log(context, LM_LOG_WARNING, "vulkan: the loader lacks " #name); \
        return false; \
    }
    LM_VULKAN_INSTANCE_FUNCTIONS(X)
#undef X

    if (messenger) {
        PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)
            driver->vkGetInstanceProcAddr(driver->instance, "vkCreateDebugUtilsMessengerEXT");
        if (create == NULL || create(driver->instance, &messenger_info, NULL, &driver->messenger) != VK_SUCCESS) {
            driver->messenger = VK_NULL_HANDLE;
            lm_log(context, LM_LOG_WARNING, "vulkan: no messages from the validation layer");
        }
    }
    return true;
}

/* LM_ERROR_OUT_OF_MEMORY is the only failure; a driver that will not say its devices has none. */
static lm_status list_devices(lm_vulkan_driver *driver)
{
    lm_context *context = driver->base.context;
    uint32_t count = 0;
    VkResult result = driver->vkEnumeratePhysicalDevices(driver->instance, &count, NULL);
    if (result != VK_SUCCESS || count == 0) {
        lm_log(context, result == VK_SUCCESS ? LM_LOG_INFO : LM_LOG_WARNING, "vulkan: no devices: %s (%d)",
               lm_vulkan_result_name(result), (int)result);
        return LM_OK;
    }
    VkPhysicalDevice *handles = calloc(count, sizeof *handles);
    driver->base.devices = calloc(count, sizeof *driver->base.devices);
    driver->physical = calloc(count, sizeof *driver->physical);
    if (handles == NULL || driver->base.devices == NULL || driver->physical == NULL) {
        free(handles);
        return lm_fail(context, LM_ERROR_OUT_OF_MEMORY, "vulkan: no memory for a list of %u devices", count);
    }
    /* VK_INCOMPLETE: one more device came up between the calls; the others are good. */
    result = driver->vkEnumeratePhysicalDevices(driver->instance, &count, handles);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        lm_log(context, LM_LOG_WARNING, "vulkan: vkEnumeratePhysicalDevices: %s (%d)", lm_vulkan_result_name(result),
               (int)result);
        count = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (uint32_t)driver->base.device_count;
        if (lm_vulkan_describe(driver, handles[i], index, &driver->base.devices[index], &driver->physical[index]))
            driver->base.device_count++;
    }
    free(handles);
    return LM_OK;
}

/* Everything but the struct and base.devices. Safe on a driver that was loaded in part. */
static void unload_parts(lm_vulkan_driver *driver)
{
    if (driver->messenger != VK_NULL_HANDLE) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)
            driver->vkGetInstanceProcAddr(driver->instance, "vkDestroyDebugUtilsMessengerEXT");
        if (destroy != NULL) destroy(driver->instance, driver->messenger, NULL);
    }
    if (driver->instance != VK_NULL_HANDLE && driver->vkDestroyInstance != NULL)
        driver->vkDestroyInstance(driver->instance, NULL);
    if (driver->library != NULL) dlclose(driver->library);
    free(driver->physical);
}

static lm_status lm_vulkan_load(lm_context *context, const lm_context_params *params, lm_driver **result)
{
    lm_vulkan_driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) return lm_fail(context, LM_ERROR_OUT_OF_MEMORY, "vulkan: no memory for the driver");
    driver->base.ops = &lm_backend_vulkan;
    driver->base.context = context;

    driver->api_version = open_library(driver);
    lm_status status = LM_OK;
    if (driver->api_version != 0 && create_instance(driver, params)) status = list_devices(driver);
    if (status != LM_OK) {
        unload_parts(driver);
        free(driver->base.devices);
        free(driver);
        return status;
    }
    *result = &driver->base;
    return LM_OK;
}

static void lm_vulkan_unload(lm_driver *base)
{
    lm_vulkan_driver *driver = (lm_vulkan_driver *)base;
    unload_parts(driver);
    free(driver);
}

const lm_backend_ops lm_backend_vulkan = {
    .backend = LM_BACKEND_VULKAN,
    .name = "vulkan",
    .load = lm_vulkan_load,
    .unload = lm_vulkan_unload,
    .open = lm_vulkan_open,
    .close = lm_vulkan_close,
    .supports = lm_vulkan_supports,
    .buffer_create = lm_vulkan_buffer_create,
    .buffer_destroy = lm_vulkan_buffer_destroy,
    .buffer_upload = lm_vulkan_buffer_upload,
    .buffer_download = lm_vulkan_buffer_download,
    .pipeline_create = lm_vulkan_pipeline_create,
    .pipeline_destroy = lm_vulkan_pipeline_destroy,
    .list_create = lm_vulkan_list_create,
    .list_destroy = lm_vulkan_list_destroy,
    .list_dispatch = lm_vulkan_list_dispatch,
    .list_copy = lm_vulkan_list_copy,
    .list_fill = lm_vulkan_list_fill,
    .list_barrier = lm_vulkan_list_barrier,
    .list_end = lm_vulkan_list_end,
    .list_submit = lm_vulkan_list_submit,
    .list_wait = lm_vulkan_list_wait,
    .list_time_ns = lm_vulkan_list_time_ns,
    .list_command_times = lm_vulkan_list_command_times,
};
