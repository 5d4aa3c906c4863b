/* litemamba/runtime.h: devices, buffers and errors.
 *
 * Nothing here knows of Mamba; litemamba.h builds on it.
 *
 * Errors. Every function that can fail returns lm_status; LM_OK is 0. lm_last_error() has one line of text about the
 * last failure on the calling thread: which object, which value, which driver call with its native code.
 * The library never prints, aborts, exits, or changes signals, locale or environment.
 *
 * Parameters. `const lm_x_params *` may be NULL, and a zeroed struct is the default.
 *
 * Threading. A context and its device list may be used from many threads. A device, and everything created from it,
 * may be used by one thread at a time; different devices are independent. After fork() every call in the child that
 * would reach a driver fails with LM_ERROR_DEVICE_LOST.
 */
#ifndef LITEMAMBA_RUNTIME_H
#define LITEMAMBA_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LM_API
#else
#define LM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LM_VERSION_MAJOR 0
#define LM_VERSION_MINOR 1
#define LM_VERSION_PATCH 0

/* "0.1.0" of the library that runs, which may differ from the header's. */
LM_API const char *lm_version(void);

typedef enum lm_status {
    LM_OK = 0,
    LM_ERROR_INVALID_ARGUMENT = 1,     /* a value the documentation forbids */
    LM_ERROR_OUT_OF_MEMORY = 2,        /* host memory */
    LM_ERROR_OUT_OF_DEVICE_MEMORY = 3, /* device memory, or an object over the device's limits */
    LM_ERROR_IO = 4,                   /* a file could not be opened, read, mapped or written */
    LM_ERROR_FORMAT = 5,               /* a file's content is refused */
    LM_ERROR_UNSUPPORTED = 6,          /* this device, or this version, cannot do it */
    LM_ERROR_NO_DEVICE = 7,            /* no device of that name */
    LM_ERROR_DEVICE_LOST = 8,          /* the device stopped; it stays lost and can only be destroyed */
    LM_ERROR_DRIVER = 9,               /* any other failed driver call */
    LM_ERROR_CANCELLED = 10,           /* a callback of the caller's asked to stop */
} lm_status;

/* A short constant English text, never NULL. */
LM_API const char *lm_status_string(lm_status status);

/* One line about the last failed call on this thread, "" when there was none. Valid until the next failure there. */
LM_API const char *lm_last_error(void);

typedef enum lm_log_level { LM_LOG_ERROR = 0, LM_LOG_WARNING = 1, LM_LOG_INFO = 2, LM_LOG_DEBUG = 3 } lm_log_level;

/* Called on the thread that made the call; must not call back into the library. `text` has no line end. */
typedef void (*lm_log_callback)(void *user, lm_log_level level, const char *text);

/* ---- context ---------------------------------------------------------------------------------------------------- */

/* The loaded driver libraries and the devices they have. Outlives every device opened from it. */
typedef struct lm_context lm_context;

typedef struct lm_context_params {
    lm_log_callback log;     /* NULL: no log */
    void *log_user;
    lm_log_level log_level;  /* the most talkative level wanted; default errors only */
    bool no_opencl;          /* do not load OpenCL */
    bool no_vulkan;          /* do not load Vulkan */
    const char *device;      /* a name as lm_device_open takes it: load only its backend, which is sooner done; default all */
    bool validate;           /* turn on VK_LAYER_KHRONOS_validation where installed; its messages go to the log as errors */
} lm_context_params;

/* Loads what is installed and lists every device. Missing or broken drivers are logged, not errors: `cpu` and
 * `reference` are always there. Signal handlers that a driver installs while loading are put back. */
LM_API lm_status lm_context_create(const lm_context_params *params, lm_context **context);

/* Every device of the context must be destroyed before. Sets *context to NULL; NULL is ignored. */
LM_API void lm_context_destroy(lm_context **context);

/* ---- devices ---------------------------------------------------------------------------------------------------- */

typedef enum lm_backend {
    LM_BACKEND_CPU = 0,       /* litemamba's own kernels on the host's processor */
    LM_BACKEND_OPENCL = 1,
    LM_BACKEND_VULKAN = 2,
    LM_BACKEND_REFERENCE = 3, /* plain C with double accumulators: what the others are checked against */
} lm_backend;

typedef enum lm_device_type {
    LM_DEVICE_DISCRETE = 0,   /* a GPU with memory of its own */
    LM_DEVICE_INTEGRATED = 1, /* a GPU that shares the host's memory */
    LM_DEVICE_VIRTUAL = 2,    /* a GPU seen through a virtual machine */
    LM_DEVICE_OTHER = 3,      /* an accelerator of another kind */
    LM_DEVICE_CPU = 4,        /* the host's processor: `cpu`, or a driver that runs there (PoCL, lavapipe) */
    LM_DEVICE_REFERENCE = 5,  /* `reference`: right rather than fast */
} lm_device_type;

/* Capabilities beyond the baseline; lm_device_params.disable masks them. */
enum {
    LM_CAP_SUBGROUP = 1u << 0,        /* subgroup arithmetic and shuffles in compute */
    LM_CAP_FLOAT16_STORAGE = 1u << 1, /* 16-bit floats in storage buffers */
    LM_CAP_TIMESTAMPS = 1u << 2,      /* device timestamps */
    LM_CAP_UNIFIED_MEMORY = 1u << 3,  /* buffers can be mapped without a copy */
    LM_CAP_WIDE_LANES = 1u << 4,      /* OpenCL on a processor: kernels work on 16 floats a lane */
    LM_CAP_LARGE_SHARED = 1u << 5,    /* 32 KiB or more of work-group memory */
    LM_CAP_TEXELS = 1u << 6,          /* Vulkan: texel buffers as large as a binding, to read four floats at a time */
    LM_CAP_ADDRESSES = 1u << 7,       /* Vulkan: kernels may be given buffers' addresses instead of descriptors */
    /* of `cpu` */
    LM_CAP_THREADS = 1u << 24,        /* more than one thread; results do not depend on it */
    LM_CAP_AVX2 = 1u << 25,           /* and FMA */
    LM_CAP_AVX512 = 1u << 26,         /* F, BW, DQ and VL; not used without LM_CAP_AVX2 */
    LM_CAP_OPENBLAS = 1u << 27,       /* large products take libopenblas.so.0 if it is there when the first one is recorded; not in
                                       * deterministic models */
};

typedef struct lm_device_info {
    lm_backend backend;
    lm_device_type type;
    uint32_t index;                  /* among the backend's devices */
    char id[32];                     /* "cpu", "reference", "opencl:0", "vulkan:1" */
    char name[256];                  /* the driver's name of it */
    char driver[256];                /* platform or driver, with its version */
    char api[64];                    /* e.g. "Vulkan 1.3.230", "OpenCL 3.0" */
    uint32_t vendor_id;              /* PCI vendor, 0 when unknown */
    uint64_t memory_bytes;           /* device memory, or the host's share of it */
    uint64_t max_allocation_bytes;   /* largest single buffer */
    uint64_t max_binding_bytes;      /* largest part of a buffer one kernel argument reaches; at most 4 GiB - 4 */
    uint32_t binding_alignment;      /* bytes; offsets of bindings are multiples of it */
    uint32_t max_workgroup_size;     /* lanes */
    uint32_t max_workgroup_dim[3];
    uint32_t max_groups[3];
    uint32_t shared_bytes;           /* work-group memory */
    uint32_t subgroup_size;          /* lanes, 0 without subgroups */
    uint32_t compute_units;          /* 0 when unknown */
    uint32_t lanes;                  /* floats a lane works on: 16 for OpenCL on a processor, else 1 */
    uint32_t capabilities;           /* LM_CAP_... */
    double timestamp_ns;             /* nanoseconds a tick, 0 without timestamps */
} lm_device_info;

/* Devices in the order opencl, vulkan, cpu, reference. The pointer lives as long as the context; NULL past the end. */
LM_API size_t lm_context_device_count(const lm_context *context);
LM_API const lm_device_info *lm_context_device_info(const lm_context *context, size_t index);

typedef struct lm_device lm_device;

typedef struct lm_device_params {
    uint32_t disable;          /* LM_CAP_... not to use, to test or to compare paths */
} lm_device_params;

/* Opens a device by name: "cpu" or "reference"; "opencl" or "vulkan" (the best of that backend); "opencl:1" (its index);
 * "vulkan:H200" (part of the device's name or driver, in any case). NULL or "" means LITEMAMBA_DEVICE from the
 * environment, or without it the best: discrete before integrated before virtual GPUs, Vulkan before OpenCL among
 * equals, and the processor only when there is no GPU: `cpu`, before drivers that run there. Destroy with
 * lm_device_destroy. LM_ERROR_NO_DEVICE when no device has that name. */
LM_API lm_status lm_device_open(lm_context *context, const char *name, const lm_device_params *params,
                                lm_device **device);

/* The device's own, its masked capabilities taken out. */
LM_API const lm_device_info *lm_device_get_info(const lm_device *device);

/* Bytes of the device's buffers that are alive: of weights, states, workspaces, and the application's. What drivers take beside them,
 * for programs and transfers, is not in it. */
LM_API uint64_t lm_device_allocated_bytes(const lm_device *device);

/* Waits for its work first. Everything created from the device must be destroyed before. NULL is ignored. */
LM_API void lm_device_destroy(lm_device **device);

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

/* Device memory. Freed with lm_buffer_destroy, before its device. */
typedef struct lm_buffer lm_buffer;

typedef struct lm_buffer_params {
    uint64_t size;      /* bytes, above 0; rounded up to a multiple of 4 */
    bool host_visible;  /* small and often written by the host: placed where that is cheap */
    bool host_reads;    /* with host_visible: it is rather the host that reads what the device wrote */
} lm_buffer_params;

/* Content is undefined. LM_ERROR_OUT_OF_DEVICE_MEMORY when it does not fit. */
LM_API lm_status lm_buffer_create(lm_device *device, const lm_buffer_params *params, lm_buffer **buffer);
LM_API void lm_buffer_destroy(lm_buffer **buffer);
LM_API uint64_t lm_buffer_size(const lm_buffer *buffer);

/* Copy between host memory and the buffer; offset and size in bytes, within the buffer. Both wait: upload until `data`
 * may be reused and later work sees it, download until the bytes are there. No list that uses the buffer may be
 * running. */
LM_API lm_status lm_buffer_upload(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size);
LM_API lm_status lm_buffer_download(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size);

/* The buffer's bytes in host memory, or NULL where the device cannot show them (use upload and download). The pointer
 * lives as long as the buffer; touch it only while no list that uses the buffer is running. */
LM_API void *lm_buffer_map(lm_buffer *buffer);

#ifdef __cplusplus
}
#endif
#endif
