/* kernels/cpu/level_generic.c: the kernels of the `cpu` device compiled for what every processor has (SSE2, NEON). */
#define LANES 4
#include "kernels/cpu/level.h"

const lm_cpu_level lm_cpu_level_generic = {
    .name = "baseline",
    .scratch_bytes = sizeof(level_scratch),
    .kernels = LEVEL_KERNELS,
    .epilogue = {epilogue_parts, epilogue_run},
};
