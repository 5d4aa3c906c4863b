/* kernels/cpu/cpu.h: the kernels of the `cpu` device, and how it calls them. Internal.
 *
 * All of them are compiled once for each level of instructions (level_generic.c, level_avx2.c, level_avx512.c), and a device takes
 * the best that its processor and its capabilities have. A kernel that has none here runs as its reference.
 *
 * A dispatch falls into parts, which may run in any order and at the same time. Into how many depends on the number of threads, but
 * no result does: parts are tiles of outputs, each of which is computed in one order of additions, whoever does it. */
#ifndef LM_KERNELS_CPU_H
#define LM_KERNELS_CPU_H

#include <stdint.h>

#include "kernels/kernels.h"

typedef struct lm_cpu_call {
    const void *params;    /* as of lm_reference_kernel */
    const int32_t *spec;
    void *const *buffers;
    uint32_t threads;      /* that the device has, to cut for: the same when parts are counted and when they are run */
    void *scratch;         /* this thread's, lm_cpu_level.scratch_bytes of it, on a cache line */
} lm_cpu_call;

typedef struct lm_cpu_kernel {
    /* How many parts there are; 1 where it is not worth waking threads. Of a call it looks at params, spec and threads. */
    uint32_t (*parts)(const lm_cpu_call *call);
    void (*run)(const lm_cpu_call *call, uint32_t part); /* NULL: there is no such kernel here */
} lm_cpu_kernel;

typedef struct lm_cpu_level {
    const char *name;      /* "AVX2" */
    size_t scratch_bytes;
    lm_cpu_kernel kernels[LM_KERNEL_COUNT];
    lm_cpu_kernel epilogue; /* of a gemm whose sums lie in C (blas.h); a residual in C is in them */
} lm_cpu_level;

extern const lm_cpu_level lm_cpu_level_generic;
#if defined(LM_CPU_X86)
extern const lm_cpu_level lm_cpu_level_avx2, lm_cpu_level_avx512;
#endif

#endif
