/* kernels/kernels.h: the table of kernels, from kernels.def. */
#ifndef LM_KERNELS_H
#define LM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { LM_MAX_SPEC = 10, LM_MAX_KNOBS = 32 };

typedef enum lm_kernel_id {
#define LM_KERNEL(id, stem, reference, params, access, spec) id,
#include "kernels/kernels.def"
#undef LM_KERNEL
    LM_KERNEL_COUNT
} lm_kernel_id;

/* The reference in plain C: `params` is the kernel's struct of params.h, `spec` its specialisation constants in the order of
 * kernels.def, `buffers` its bindings in order. */
typedef void (*lm_reference_kernel)(const void *params, const int32_t *spec, void *const *buffers);

typedef struct lm_kernel {
    lm_kernel_id id;
    const char *stem;              /* file name in reference/, opencl/ and glsl/; entry point lm_<stem> in OpenCL */
    lm_reference_kernel reference;
    size_t params_size;
    size_t binding_count;
    const char *access;            /* a letter a binding: r read, t read as texels (Vulkan), w written, x both */
    const char *spec;              /* names of the specialisation constants, with commas; the first two WG_X and WG_Y */
} lm_kernel;

/* How a SPIR-V kernel finds its buffers (kernels/glsl/buffers.glsl). */
typedef enum lm_spirv_form {
    LM_SPIRV_BOUND,     /* through descriptors */
    LM_SPIRV_ADDRESSED, /* by addresses behind the parameters among the push constants */
    LM_SPIRV_FORMS
} lm_spirv_form;

/* NULL for what is no kernel. */
const lm_kernel *lm_kernel_get(lm_kernel_id id);

/* What the build embedded: OpenCL C with its includes resolved, zero-terminated, and SPIR-V with its size in bytes. NULL where a
 * kernel has no such form. */
const char *lm_kernel_opencl_source(lm_kernel_id id);
const uint32_t *lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size);

#endif
