/* kernels/embedded.h: what the build generated from kernels/opencl and kernels/glsl. */
#ifndef LM_EMBEDDED_H
#define LM_EMBEDDED_H

#include <stddef.h>
#include <stdint.h>

typedef struct lm_embedded_kernel {
    const char *stem;          /* NULL ends the table */
    const char *opencl_source; /* NULL without one */
    const uint32_t *spirv;
    size_t spirv_size;         /* bytes */
} lm_embedded_kernel;

extern const lm_embedded_kernel lm_embedded_kernels[];

#endif
