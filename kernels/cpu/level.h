/* kernels/cpu/level.h: all kernels of the `cpu` device, for the level of instructions that the file including this is compiled for.
 *
 * LANES: floats of a vector; everything below is written for any number of them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/params.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/functions.h"

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemv.h"
#include "kernels/cpu/conv.h"
#include "kernels/cpu/scan.h"
#include "kernels/cpu/rows.h"

typedef union level_scratch {
    gemm_scratch gemm;
    scan_scratch scan;
} level_scratch;

#define LEVEL_KERNELS \
    { \
        [LM_KERNEL_GEMM] = {gemm_parts, gemm_run}, \
        [LM_KERNEL_GEMV] = {gemv_parts, gemv_run}, \
        [LM_KERNEL_CONV] = {conv_parts, conv_run}, \
        [LM_KERNEL_CONV_STATE] = {conv_state_parts, conv_state_run}, \
        [LM_KERNEL_SCAN] = {scan_parts, scan_run}, \
        [LM_KERNEL_RMSNORM] = {rmsnorm_parts, rmsnorm_run}, \
        [LM_KERNEL_EMBED] = {embed_parts, embed_run}, \
        [LM_KERNEL_ARGMAX] = {argmax_parts, argmax_run}, \
        [LM_KERNEL_CROSS_ENTROPY] = {cross_entropy_parts, cross_entropy_run}, \
    }
