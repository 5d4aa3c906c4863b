/* runtime/opencl/opencl.h: what the files of the OpenCL backend share.
 *
 * api.c       the functions of libOpenCL, loaded at run time, and names of its error codes
 * guard.c     signals, locale, environment and floating-point state, put back after a driver changed them
 * driver.c    platforms and devices found, lm_device_info filled; the table of the backend's functions
 * device.c    context, queues, what an error means
 * buffer.c    memory, and transfers: large ones in pieces through pinned memory
 * pipeline.c  programs built from the embedded sources
 * list.c      commands recorded and replayed
 *
 * OpenCL 1.2 is enough; of later versions only fine-grained shared memory is used, to map buffers where the device works
 * in the host's memory (LM_CAP_UNIFIED_MEMORY). There is one context and one in-order queue a device, so commands run in
 * the order in which they were enqueued and barriers cost nothing. Lists that are timed run on a second queue, because
 * profiling slows every command of a queue that has it; lm_opencl_queue() drains one queue before the other is used, which
 * keeps the order.
 */
#ifndef LM_OPENCL_BACKEND_H
#define LM_OPENCL_BACKEND_H

#define CL_TARGET_OPENCL_VERSION 200
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS /* clCreateCommandQueue */
#include <CL/cl.h>
#include <fenv.h>
#include <signal.h>

#include "runtime/backend.h"

/* ---- api.c ------------------------------------------------------------------------------------------------------ */

#define LM_OPENCL_FUNCTIONS(F) \
    F(clBuildProgram) \
    F(clCreateBuffer) \
    F(clCreateCommandQueue) \
    F(clCreateContext) \
    F(clCreateKernel) \
    F(clCreateProgramWithSource) \
    F(clEnqueueCopyBuffer) \
    F(clEnqueueFillBuffer) \
    F(clEnqueueMapBuffer) \
    F(clEnqueueMarkerWithWaitList) \
    F(clEnqueueNDRangeKernel) \
    F(clEnqueueReadBuffer) \
    F(clEnqueueUnmapMemObject) \
    F(clEnqueueWriteBuffer) \
    F(clFlush) \
    F(clGetDeviceIDs) \
    F(clGetDeviceInfo) \
    F(clGetEventInfo) \
    F(clGetEventProfilingInfo) \
    F(clGetKernelInfo) \
    F(clGetKernelWorkGroupInfo) \
    F(clGetPlatformIDs) \
    F(clGetPlatformInfo) \
    F(clGetProgramBuildInfo) \
    F(clReleaseCommandQueue) \
    F(clReleaseContext) \
    F(clReleaseEvent) \
    F(clReleaseKernel) \
    F(clReleaseMemObject) \
    F(clReleaseProgram) \
    F(clSetKernelArg) \
    F(clWaitForEvents)

/* Those of OpenCL 2.0: NULL where the library has none. */
#define LM_OPENCL_LATER_FUNCTIONS(F) \
    F(clSVMAlloc) \
    F(clSVMFree)

/* Called as cl->clFlush(queue). */
typedef struct lm_opencl_api {
#define LM_OPENCL_DECLARE(name) __typeof__(&name) name;
    LM_OPENCL_FUNCTIONS(LM_OPENCL_DECLARE)
    LM_OPENCL_LATER_FUNCTIONS(LM_OPENCL_DECLARE)
#undef LM_OPENCL_DECLARE
} lm_opencl_api;

/* Returns the library's handle, or NULL (logged) when it is not installed or lacks a function. */
void *lm_opencl_api_load(lm_context *context, lm_opencl_api *api);
void lm_opencl_api_unload(void *library);

/* "CL_OUT_OF_RESOURCES", or "unknown error". */
const char *lm_opencl_error_name(cl_int code);

/* ---- guard.c ---------------------------------------------------------------------------------------------------- */

enum { LM_OPENCL_FEW = 4 }; /* buffers that kernels which gather have usually; else LM_MAX_BINDINGS */

enum { LM_OPENCL_SIGNALS = 65, LM_OPENCL_SLOTS = 2 };

/* State of the process that drivers change: kept by enter(), put back by leave(). Between the two, other threads wait in
 * enter(): one would take what the other's driver has just changed for the application's. */
typedef struct lm_opencl_guard {
    struct sigaction actions[LM_OPENCL_SIGNALS];
    bool known[LM_OPENCL_SIGNALS]; /* a signal that can be asked about */
    char *locale;                  /* only when loading; NULL: could not be kept */
    char **environment;            /* likewise; NULL-terminated */
    fenv_t floating_point;
} lm_opencl_guard;

/* Locale and environment belong to no thread, so they are looked at only when drivers are loaded, not at every build. */
void lm_opencl_guard_enter(lm_opencl_guard *guard, bool loading);
void lm_opencl_guard_leave(lm_opencl_guard *guard);

/* ---- objects ---------------------------------------------------------------------------------------------------- */

typedef struct lm_opencl_driver {
    lm_driver base;
    void *library; /* NULL: not installed */
    lm_opencl_api api;
    cl_device_id *ids; /* of base.devices, in the same order */
} lm_opencl_driver;

/* Host memory that the device reaches by itself. Drivers copy what lies elsewhere, on one thread and while the caller waits. */
typedef struct lm_opencl_pinned {
    cl_mem memory;                /* NULL: there is none */
    unsigned char *bytes;
} lm_opencl_pinned;

/* One of the pieces in flight of a large transfer: the host fills or empties one while the device moves the other. */
typedef struct lm_opencl_slot {
    lm_opencl_pinned pinned;
    cl_event event;               /* of its transfer, NULL without one */
} lm_opencl_slot;

typedef struct lm_opencl_device {
    lm_device base;
    const lm_opencl_api *cl; /* the driver's */
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    cl_command_queue timed_queue; /* with profiling; NULL until the first timed list */
    cl_command_queue last_queue;  /* the one used last */
    uint64_t allocated_bytes;     /* of all buffers */
    bool polls;                   /* spin a little before a blocking wait */
    lm_opencl_slot slots[LM_OPENCL_SLOTS]; /* for large transfers; made when first needed */
} lm_opencl_device;

typedef struct lm_opencl_buffer {
    lm_buffer base;
    cl_mem memory;         /* over base.mapped where that is not NULL */
    uint64_t size;         /* base.size is set only after creation */
    unsigned char *shadow; /* host-visible buffers that are not mapped: what an unfinished upload still reads; else NULL */
    cl_event upload;       /* the last unfinished upload from the shadow, or NULL */
    lm_opencl_pinned copy; /* where lists that write the buffer bring its content, if it is to be read back */
} lm_opencl_buffer;

typedef struct lm_opencl_pipeline {
    lm_pipeline base;
    const lm_opencl_api *cl;
    cl_program program;
    bool gathers;          /* names buffers, not bindings: LM_BUFFER_ARGS of kernels/opencl/common.h */
    cl_program many;       /* then, for dispatches of more than LM_OPENCL_FEW buffers: made when there is one */
} lm_opencl_pipeline;

/* ---- device.c --------------------------------------------------------------------------------------------------- */

lm_status lm_opencl_open(lm_driver *driver, const lm_device_info *info, lm_device **device);
void lm_opencl_close(lm_device *device);

/* The status for a failed call, after telling of it; notices a lost device. */
lm_status lm_opencl_fail(lm_opencl_device *device, const char *call, cl_int code);

/* Until all commands of the queue are done. */
cl_int lm_opencl_drain(const lm_opencl_api *cl, cl_command_queue queue);

/* The queue to use next; what was enqueued on the other one is done. */
lm_status lm_opencl_queue(lm_opencl_device *device, bool timed, cl_command_queue *queue);

/* Until the event's command is done, or has failed. */
lm_status lm_opencl_wait(lm_opencl_device *device, cl_event event);

/* ---- buffer.c --------------------------------------------------------------------------------------------------- */

/* Ends what device->slots and copier have. */
void lm_opencl_transfers_close(lm_opencl_device *device);
lm_status lm_opencl_buffer_create(lm_device *device, const lm_buffer_params *params, lm_buffer **buffer);
void lm_opencl_buffer_destroy(lm_buffer *buffer);
lm_status lm_opencl_buffer_upload(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size);
lm_status lm_opencl_buffer_download(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size);

/* ---- pipeline.c ------------------------------------------------------------------------------------------------- */

bool lm_opencl_supports(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC]);
lm_status lm_opencl_pipeline_create(lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                                    lm_pipeline **pipeline);
void lm_opencl_pipeline_destroy(lm_pipeline *pipeline);
/* A kernel object of the pipeline's entry point, for one set of arguments, of `buffers` buffers where the pipeline gathers. */
lm_status lm_opencl_pipeline_kernel(lm_opencl_device *device, lm_opencl_pipeline *pipeline, const lm_kernel *kernel,
                                    uint32_t buffers, cl_kernel *object);

/* ---- list.c ----------------------------------------------------------------------------------------------------- */

lm_status lm_opencl_list_create(lm_device *device, lm_list_times times, lm_list **list);
void lm_opencl_list_destroy(lm_list *list);
lm_status lm_opencl_list_dispatch(lm_list *list, lm_pipeline *pipeline, const void *params, const lm_view *views,
                                  const uint32_t groups[3]);
lm_status lm_opencl_list_copy(lm_list *list, lm_view to, lm_view from);
lm_status lm_opencl_list_fill(lm_list *list, lm_view to, uint32_t word);
lm_status lm_opencl_list_barrier(lm_list *list);
lm_status lm_opencl_list_end(lm_list *list);
lm_status lm_opencl_list_submit(lm_list *list);
lm_status lm_opencl_list_wait(lm_list *list);
double lm_opencl_list_time_ns(lm_list *list);
bool lm_opencl_list_command_times(lm_list *list, lm_command_time *times);

#endif
