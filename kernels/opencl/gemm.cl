/* kernels/opencl/gemm.cl: C = epilogue(A·B) for many rows.
 *
 * LANES 1: kernels/opencl/gemm_tile.h. LANES 16: kernels/opencl/gemm_wide.h.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/epilogue.h"
#include "kernels/opencl/gemm_tile.h"
#include "kernels/opencl/gemm_wide.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_gemm(const lm_gemm_params p, const lm_offsets at, __global const float *a, __global const float *b,
                      __global const float *bias, __global const float *residual, __global float *c)
{
    a += at.first[0], b += at.first[1], bias += at.first[2], residual += at.first[3], c += at.first[4];
#if LANES == 1
    __local float4 memory[SHARED];
    /* + 0, which compilers cannot know: PoCL leaves constant addresses in local memory to all its threads together. */
    __local float4 *shared = memory + (get_num_groups(2) - 1);
#endif
    for (int m0 = (int)get_group_id(1) * TILE_M; m0 < p.rows; m0 += (int)get_num_groups(1) * TILE_M)
        for (int n0 = (int)get_group_id(0) * TILE_N; n0 < p.cols; n0 += (int)get_num_groups(0) * TILE_N) {
#if LANES == 1
            lm_gemm_tile(p, a, b, bias, residual, c, shared, m0, n0);
#else
            lm_gemm_wide(p, a, b, bias, residual, c, m0, n0);
#endif
        }
}
