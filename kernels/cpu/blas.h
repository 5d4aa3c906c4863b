/* kernels/cpu/blas.h: large products through OpenBLAS, where that is installed. Internal.
 *
 * It is looked for when the first of them is recorded, and stays loaded. Its threads are its own, and so is the order of its
 * additions: deterministic lists do without. */
#ifndef LM_CPU_BLAS_H
#define LM_CPU_BLAS_H

#include <stdbool.h>

#include "kernels/cpu/cpu.h"

/* Whether OpenBLAS is there and this gemm is worth calling it for. Then lm_cpu_blas runs first, and the level's `epilogue`
 * after it. */
bool lm_cpu_blas_takes(const lm_cpu_call *call);

/* C = A·B, or C += A·B where the residual is C. */
extern const lm_cpu_kernel lm_cpu_blas;

#endif
