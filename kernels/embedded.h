/* kernels/embedded.h: what the build generated from kernels/opencl and kernels/glsl. */
#ifndef LM_EMBEDDED_H
#define LM_EMBEDDED_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

typedef struct lm_embedded_kernel {
    const char *stem;          /* NULL ends the table */
    const char *opencl_source; /* NULL without one */
    struct {
        const uint32_t *words; /* NULL without it */
        size_t size;           /* bytes */
    } spirv[LM_SPIRV_FORMS];
} lm_embedded_kernel;

extern const lm_embedded_kernel lm_embedded_kernels[];

#endif
