/* runtime/vulkan/vulkan_internal.h: the Vulkan backend's own structs and functions.
 *
 *     driver.c      the loader library, the instance, validation, errors
 *     info.c        what a physical device is and can: fills lm_device_info
 *     device.c      logical device, queue, staging transfers
 *     buffer.c      buffers and their memory
 *     spirv.c       what a shader asks of a device: capabilities, work-group memory
 *     pipeline.c    kernels built for specialisation constants, and their layouts
 *     list.c        command lists
 *
 * Every Vulkan function is reached through a table of the driver or of the device, so that a program with a loader of its
 * own never meets ours.
 */
#ifndef LM_VULKAN_INTERNAL_H
#define LM_VULKAN_INTERNAL_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "runtime/backend.h"

enum {
    LM_VULKAN_MIN_STORAGE_BUFFERS = 10,      /* bindings in one stage that a device must have */
    LM_VULKAN_STAGING_SLOTS = 2,             /* transfers in flight: the host fills one while the device moves the other */
    LM_VULKAN_STAGING_BYTES = 8 * 1024 * 1024, /* of each slot */
    LM_VULKAN_TEXEL_BYTES = 16,              /* of a texel: four floats */
    LM_VULKAN_MOST_PUSH_BYTES = 256,         /* that litemamba has a use for */
    LM_VULKAN_RECENT_SETS = 16,              /* descriptor sets of a list that are looked at before a new one is made */
};

#define LM_VULKAN_INSTANCE_FUNCTIONS(X) \
    X(vkDestroyInstance) \
    X(vkEnumeratePhysicalDevices) \
    X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) \
    X(vkGetPhysicalDeviceFeatures2) \
    X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkEnumerateDeviceExtensionProperties) \
    X(vkCreateDevice) \
    X(vkGetDeviceProcAddr)

#define LM_VULKAN_DEVICE_FUNCTIONS(X) \
    X(vkDestroyDevice) \
    X(vkDeviceWaitIdle) \
    X(vkGetDeviceQueue) \
    X(vkQueueSubmit) \
    X(vkCreateBuffer) \
    X(vkDestroyBuffer) \
    X(vkCreateBufferView) \
    X(vkDestroyBufferView) \
    X(vkGetBufferMemoryRequirements) \
    X(vkAllocateMemory) \
    X(vkFreeMemory) \
    X(vkBindBufferMemory) \
    X(vkMapMemory) \
    X(vkCreateFence) \
    X(vkDestroyFence) \
    X(vkResetFences) \
    X(vkGetFenceStatus) \
    X(vkWaitForFences) \
    X(vkCreateShaderModule) \
    X(vkDestroyShaderModule) \
    X(vkCreatePipelineCache) \
    X(vkDestroyPipelineCache) \
    X(vkCreateDescriptorSetLayout) \
    X(vkDestroyDescriptorSetLayout) \
    X(vkCreatePipelineLayout) \
    X(vkDestroyPipelineLayout) \
    X(vkCreateComputePipelines) \
    X(vkDestroyPipeline) \
    X(vkCreateDescriptorPool) \
    X(vkDestroyDescriptorPool) \
    X(vkAllocateDescriptorSets) \
    X(vkUpdateDescriptorSets) \
    X(vkCreateCommandPool) \
    X(vkDestroyCommandPool) \
    X(vkAllocateCommandBuffers) \
    X(vkBeginCommandBuffer) \
    X(vkEndCommandBuffer) \
    X(vkCmdPipelineBarrier) \
    X(vkCmdCopyBuffer) \
    X(vkCmdFillBuffer) \
    X(vkCmdBindPipeline) \
    X(vkCmdBindDescriptorSets) \
    X(vkCmdPushConstants) \
    X(vkCmdDispatch) \
    X(vkCreateQueryPool) \
    X(vkDestroyQueryPool) \
    X(vkCmdResetQueryPool) \
    X(vkCmdWriteTimestamp) \
    X(vkGetQueryPoolResults)

/* What open() needs to know of a device and lm_device_info does not say. */
typedef struct lm_vulkan_physical {
    VkPhysicalDevice handle;
    uint32_t queue_family;
    uint32_t timestamp_bits;
    uint32_t max_allocations;
    uint32_t max_push_bytes;       /* of push constants, at most LM_VULKAN_MOST_PUSH_BYTES */
    bool portability_subset;
} lm_vulkan_physical;

typedef struct lm_vulkan_driver {
    lm_driver base;
    void *library;
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define X(name) PFN_##name name;
    LM_VULKAN_INSTANCE_FUNCTIONS(X)
#undef X
    VkInstance instance;
    uint32_t api_version;          /* that the instance was made for; devices are used up to it */
    VkDebugUtilsMessengerEXT messenger;
    lm_vulkan_physical *physical;  /* parallel to base.devices */
} lm_vulkan_driver;

/* How a kernel's bindings look to the driver. All with bindings have the same push constants, so kernels with equal bindings share
 * layouts and descriptor sets. Kernels that take addresses have no bindings and share one layout. */
typedef struct lm_vulkan_layout {
    uint32_t binding_count;        /* 0: buffers are given by their addresses */
    uint32_t texels;               /* bit i: binding i is a texel buffer, else a storage buffer */
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
} lm_vulkan_layout;

/* One of the staging buffer's parts, with what moves it. */
typedef struct lm_vulkan_slot {
    VkCommandBuffer commands;
    VkFence fence;
    bool pending;                  /* submitted and not waited for */
    uint8_t *bytes;                /* its part of the staging buffer, */
    uint64_t staging_offset;       /* and where that begins there */
    uint8_t *target;               /* where the bytes go when a download has come in; NULL for an upload */
    uint64_t size;
} lm_vulkan_slot;

typedef struct lm_vulkan_device {
    lm_device base;
    const lm_vulkan_physical *physical;
    VkPhysicalDeviceMemoryProperties memory;
#define X(name) PFN_##name name;
    LM_VULKAN_DEVICE_FUNCTIONS(X)
#undef X
    PFN_vkGetBufferDeviceAddress vkGetBufferDeviceAddress; /* NULL without LM_CAP_ADDRESSES */
    VkDevice handle;
    VkQueue queue;
    VkPipelineCache pipeline_cache;
    lm_vulkan_layout layouts[LM_KERNEL_COUNT + 1]; /* layout_count of them, made when first needed */
    size_t layout_count;
    uint32_t allocations;          /* live vkAllocateMemory */
    /* transfers to memory that the host does not see; made when first needed */
    lm_buffer *staging;
    VkCommandPool staging_pool;
    lm_vulkan_slot slots[LM_VULKAN_STAGING_SLOTS];
} lm_vulkan_device;

typedef struct lm_vulkan_buffer {
    lm_buffer base;
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceAddress address;       /* 0 without LM_CAP_ADDRESSES */
    bool cached;                   /* mapped memory that the processor reads fast */
    lm_buffer *copy;               /* where lists that write the buffer bring its content, if it is to be read back */
} lm_vulkan_buffer;

typedef struct lm_vulkan_pipeline {
    lm_pipeline base;
    VkPipeline handle;
    const lm_vulkan_layout *layout; /* the device's */
    uint32_t params_size;          /* bytes */
    uint32_t address_count;        /* buffers whose addresses follow the parameters, from addresses_offset on; 0: they are bound */
    uint32_t addresses_offset;     /* bytes */
} lm_vulkan_pipeline;

typedef struct lm_vulkan_set {
    VkDescriptorSet handle;
    const lm_vulkan_layout *layout;
    lm_view views[LM_MAX_BINDINGS];
} lm_vulkan_set;

typedef struct lm_vulkan_list {
    lm_list base;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool *query_pools;      /* of timestamps: one of two where only the whole is timed */
    size_t query_pool_count;
    uint32_t query_count;          /* timestamps so far: at the beginning, after each command that is timed, at the end */
    VkDescriptorPool *descriptor_pools;
    size_t descriptor_pool_count;
    uint32_t sets_left;            /* in the last pool */
    VkBufferView *texel_views;     /* that its sets refer to */
    size_t texel_view_count;
    size_t texel_view_capacity;
    lm_vulkan_set recent[LM_VULKAN_RECENT_SETS]; /* a ring */
    size_t set_count;              /* made so far; the ring's position */
    VkPipeline bound_pipeline;
    VkDescriptorSet bound_set;
} lm_vulkan_list;

/* ---- driver.c --------------------------------------------------------------------------------------------------- */

/* "VK_ERROR_DEVICE_LOST" and the like, "VkResult" for one that this file does not know. */
const char *lm_vulkan_result_name(VkResult result);
/* Fails for a driver call: names device, call and code; a lost device is marked. */
lm_status lm_vulkan_fail(lm_device *device, const char *call, VkResult result);
bool lm_vulkan_has_extension(const VkExtensionProperties *extensions, uint32_t count, const char *name);

/* ---- info.c ----------------------------------------------------------------------------------------------------- */

/* Describes a device. False when litemamba cannot use it: the reason is logged. */
bool lm_vulkan_describe(lm_vulkan_driver *driver, VkPhysicalDevice handle, uint32_t index, lm_device_info *info,
                        lm_vulkan_physical *physical);

/* ---- device.c --------------------------------------------------------------------------------------------------- */

lm_status lm_vulkan_open(lm_driver *driver, const lm_device_info *info, lm_device **device);
void lm_vulkan_close(lm_device *device);
/* Waits for a fence: on a GPU it polls first, which answers sooner than sleeping does. */
lm_status lm_vulkan_wait_fence(lm_vulkan_device *device, VkFence fence);
/* Bytes to or from a buffer without host access, in pieces through the staging buffer. */
lm_status lm_vulkan_stage_upload(lm_vulkan_buffer *buffer, uint64_t offset, const void *data, uint64_t size);
lm_status lm_vulkan_stage_download(lm_vulkan_buffer *buffer, uint64_t offset, void *data, uint64_t size);

/* ---- buffer.c --------------------------------------------------------------------------------------------------- */

/* Where a buffer's memory should lie. */
typedef enum lm_vulkan_placement {
    LM_VULKAN_DEVICE = 0,   /* fast for kernels; mapped only where memory is unified */
    LM_VULKAN_HOST = 1,     /* mapped, small and often written by the host */
    LM_VULKAN_STAGING = 2,  /* mapped, fast for the host to read */
} lm_vulkan_placement;

lm_status lm_vulkan_buffer_allocate(lm_vulkan_device *device, uint64_t size, lm_vulkan_placement placement,
                                    lm_buffer **buffer);
lm_status lm_vulkan_buffer_create(lm_device *device, const lm_buffer_params *params, lm_buffer **buffer);
void lm_vulkan_buffer_destroy(lm_buffer *buffer);
lm_status lm_vulkan_buffer_upload(lm_buffer *buffer, uint64_t offset, const void *data, uint64_t size);
lm_status lm_vulkan_buffer_download(lm_buffer *buffer, uint64_t offset, void *data, uint64_t size);

/* ---- spirv.c ---------------------------------------------------------------------------------------------------- */

/* What a shader asks of a device. */
typedef struct lm_spirv_needs {
    uint32_t capabilities;     /* LM_CAP_... */
    uint32_t unknown;          /* a SPIR-V capability that litemamba turns on for no device, 0 without one */
    uint64_t shared_bytes;     /* work-group memory with these constants */
} lm_spirv_needs;

/* False when the words are no SPIR-V module that this file can follow. */
bool lm_spirv_inspect(const uint32_t *words, size_t size, const int32_t spec[LM_MAX_SPEC], lm_spirv_needs *needs);

/* ---- pipeline.c ------------------------------------------------------------------------------------------------- */

bool lm_vulkan_supports(const lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC]);
lm_status lm_vulkan_pipeline_create(lm_device *device, const lm_kernel *kernel, const int32_t spec[LM_MAX_SPEC],
                                    lm_pipeline **pipeline);
void lm_vulkan_pipeline_destroy(lm_pipeline *pipeline);

/* ---- list.c ----------------------------------------------------------------------------------------------------- */

lm_status lm_vulkan_list_create(lm_device *device, lm_list_times times, lm_list **list);
void lm_vulkan_list_destroy(lm_list *list);
lm_status lm_vulkan_list_dispatch(lm_list *list, lm_pipeline *pipeline, const void *params, const lm_view *views,
                                  const uint32_t groups[3]);
lm_status lm_vulkan_list_copy(lm_list *list, lm_view to, lm_view from);
lm_status lm_vulkan_list_fill(lm_list *list, lm_view to, uint32_t word);
lm_status lm_vulkan_list_barrier(lm_list *list);
lm_status lm_vulkan_list_end(lm_list *list);
lm_status lm_vulkan_list_submit(lm_list *list);
lm_status lm_vulkan_list_wait(lm_list *list);
double lm_vulkan_list_time_ns(lm_list *list);
bool lm_vulkan_list_command_times(lm_list *list, lm_command_time *times);

#endif
