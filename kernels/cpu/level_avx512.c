/* kernels/cpu/level_avx512.c: the kernels of the `cpu` device compiled for AVX-512 (F, BW, DQ, VL) and FMA. */
#define LANES 16
#include "kernels/cpu/level.h"

const lm_cpu_level lm_cpu_level_avx512 = {
    .name = "AVX-512",
    .scratch_bytes = sizeof(level_scratch),
    .kernels = LEVEL_KERNELS,
    .epilogue = {epilogue_parts, epilogue_run},
};
