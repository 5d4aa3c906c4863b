/* kernels/cpu/level_avx2.c: the kernels of the `cpu` device compiled for AVX2 and FMA. */
#define LANES 8
#include "kernels/cpu/level.h"

const lm_cpu_level lm_cpu_level_avx2 = {
    .name = "AVX2",
    .scratch_bytes = sizeof(level_scratch),
    .kernels = LEVEL_KERNELS,
    .epilogue = {epilogue_parts, epilogue_run},
};
