/* runtime/backend.h: the contract that every backend (opencl, vulkan, cpu, reference) fills.
 *
 * The public layer (context.c, buffer.c, list.c) checks arguments, keeps the pipeline cache and finds hazards; a
 * backend trusts what it is given. A backend reports failure with lm_fail(), naming the driver call and its code, and
 * leaves nothing behind. Once a driver says that a device is lost, the backend sets device->lost and every later call
 * answers LM_ERROR_DEVICE_LOST without reaching the driver; destroying still works.
 */
#ifndef LM_BACKEND_H
#define LM_BACKEND_H

#include "kernels/kernels.h"
#include "litemamba/runtime.h"
#include "runtime/copy.h"

enum { LM_MAX_BINDINGS = 12, LM_MAX_PARAMS = 128 };

typedef struct lm_backend_ops lm_backend_ops;
typedef struct lm_pipeline lm_pipeline;
typedef struct lm_list lm_list;

/* One API as loaded by one context. A backend embeds it first in a struct of its own. */
typedef struct lm_driver {
    const lm_backend_ops *ops;
    lm_context *context;   /* for lm_log */
    size_t device_count;
    lm_device_info *devices; /* device_count of them, allocated with malloc by load(), freed by the public layer */
} lm_driver;

/* The heads of the runtime's objects. A backend allocates its own larger struct with this first. */
struct lm_device {
    const lm_backend_ops *ops;
    lm_driver *driver;
    lm_context *context;
    lm_device_info info;
    bool lost;
    long process;                /* getpid() at open: a forked child is refused */
    lm_pipeline **pipelines;     /* the cache, owned by the public layer */
    size_t pipeline_count;
    size_t pipeline_capacity;
    int32_t tuning[LM_MAX_KNOBS]; /* choices of the kernels for this device, kernels/tuning.h; 0: none */
    bool tuned;                  /* the user's own choices were looked for, host/tune.h */
    lm_buffer *dummy;            /* bound where a kernel's optional argument is absent */
    size_t object_count;         /* live buffers and lists, checked at destruction */
    uint64_t allocated;          /* bytes of live buffers */
    lm_copier copier;            /* between the host's memory and what is mapped; a backend closes it */
};

struct lm_buffer {
    lm_device *device;
    uint64_t size;               /* bytes, a multiple of 4 */
    void *mapped;                /* host address where the device's memory is coherent and mapped, else NULL */
    bool read_back;              /* lists that write it bring its content to where the host reads it fast */
    bool is_read_back;           /* and the last one to write it has */
};

/* A kernel built for one set of specialisation constants. */
struct lm_pipeline {
    lm_device *device;
    lm_kernel_id kernel;
    int32_t spec[LM_MAX_SPEC];   /* unused ones 0; spec[0], spec[1] are the work-group's x and y, z is 1 */
};

/* Part of a buffer: size at most info.max_binding_bytes; offset a multiple of info.binding_alignment where it is bound to a
 * kernel, of 4 where it is copied or filled. */
typedef struct lm_view {
    lm_buffer *buffer;           /* NULL: absent (the dummy is bound) */
    uint64_t offset;             /* bytes */
    uint64_t size;               /* bytes */
} lm_view;

/* What a list finds out about its time on the device. */
typedef enum lm_list_times {
    LM_TIMES_NONE,
    LM_TIMES_WHOLE,              /* lm_list_time_ns */
    LM_TIMES_EACH,               /* and lm_list_command_times, for a timestamp or an event a command */
} lm_list_times;

/* When a command of a list ran, in device nanoseconds after the list began. Of a backend that only knows ends (Vulkan, cpu) a
 * command begins where the one before ended: the barrier between them, and what the device waits, is in its time. */
typedef struct lm_command_time {
    double begin, end;
} lm_command_time;

/* What a list of LM_TIMES_EACH remembers of a command. */
typedef struct lm_command {
    const char *name;            /* the kernel's stem, "copy", "fill" */
    uint32_t groups[3];          /* work-groups; of copies and fills 0 */
    uint64_t signature;          /* of a dispatch's kernel, constants, parameters and groups; of copies and fills the size */
} lm_command;

/* Recorded commands. Recording → end → submitted any number of times, one at a time. */
struct lm_list {
    lm_device *device;
    bool ended;
    bool running;                /* submitted, not yet waited for */
    lm_list_times times;
    lm_command *commands;        /* of LM_TIMES_EACH, else none */
    size_t command_count, command_capacity;
    uint64_t signature;          /* of all dispatches' kernels, constants, sizes and parameters: lists with the same do the same */
    bool deterministic;          /* wants kernels whose results for a row do not depend on the other rows (kernels/launch.h) */
    /* hazard tracking, the public layer's */
    struct lm_access *accesses;
    size_t access_count;
    size_t access_capacity;
    lm_buffer **read_back;       /* written buffers that are to be */
    size_t read_back_count;
};

struct lm_backend_ops {
    lm_backend backend;
    const char *name; /* "opencl" */

    /* Load the API and list its devices. An API that is not installed, or has no device, is LM_OK with none. Broken
     * platforms or drivers are logged and skipped. */
    lm_status (*load)(lm_context *context, const lm_context_params *params, lm_driver **driver);
    void (*unload)(lm_driver *driver);

    /* device->info, ops, driver and context are filled by the public layer from the struct that open() allocates:
     * it needs only to allocate and open its own part. `info` has masked capabilities already taken out. */
    lm_status (*open)(lm_driver *driver, const lm_device_info *info, lm_device **device);
    void (*close)(lm_device *device); /* waits for the device, frees it */

    /* Can the device run this kernel with these constants (work-group size, shared memory, features)? */
    bool (*supports)(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC]);

    lm_status (*buffer_create)(lm_device *device, const lm_buffer_params *params, lm_buffer **buffer);
    void (*buffer_destroy)(lm_buffer *buffer);
    lm_status (*buffer_upload)(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size);
    lm_status (*buffer_download)(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size);

    lm_status (*pipeline_create)(lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                                 lm_pipeline **pipeline);
    void (*pipeline_destroy)(lm_pipeline *pipeline);

    lm_status (*list_create)(lm_device *device, lm_list_times times, lm_list **list);
    void (*list_destroy)(lm_list *list);
    /* `params` is copied; `views` has kernel->binding_count entries, every one with a buffer; `groups` are counts of
     * work-groups, all above 0 and within the device's limits. */
    lm_status (*list_dispatch)(lm_list *list, lm_pipeline *pipeline, const void *params, const lm_view *views,
                               const uint32_t groups[3]);
    lm_status (*list_copy)(lm_list *list, lm_view to, lm_view from); /* equal sizes, no overlap, multiples of 4 bytes */
    lm_status (*list_fill)(lm_list *list, lm_view to, uint32_t word);
    /* What comes after sees what came before: called by the public layer exactly where a hazard needs it. */
    lm_status (*list_barrier)(lm_list *list);
    lm_status (*list_end)(lm_list *list);
    lm_status (*list_submit)(lm_list *list); /* starts it; earlier uploads are visible to it */
    lm_status (*list_wait)(lm_list *list);   /* until it is done and downloads see its results; polls first */
    /* Device nanoseconds between the first and the last command of the last run of a timed list; 0 when unknown. */
    double (*list_time_ns)(lm_list *list);
    /* Of each of list->command_count commands in the last run of a list of LM_TIMES_EACH; false when unknown. */
    bool (*list_command_times)(lm_list *list, lm_command_time *times);
};

extern const lm_backend_ops lm_backend_cpu, lm_backend_reference, lm_backend_opencl, lm_backend_vulkan;

/* ---- helpers for backends and the host ------------------------------------------------------------------------------ */

/* Formats the thread's last error, logs it where there is a context (may be NULL), and returns status. */
lm_status lm_fail(lm_context *context, lm_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
void lm_log(lm_context *context, lm_log_level level, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

#endif
