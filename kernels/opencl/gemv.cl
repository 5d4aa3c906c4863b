/* kernels/opencl/gemv.cl: C = epilogue(A·B) for a few rows, where reading B is the work. ROWS rows share each element of B.
 *
 * B_TRANS 0: a lane has LANES columns; lanes of one x but different y take every WG_Y-th k, and lane y = 0 adds their sums
 * in order of y. B_TRANS 1: WG_X lanes walk one column of B (a row in memory) LANES at a time, a tree adds their sums, and
 * y is the column in the group. Either way the order of additions depends on the constants alone.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/epilogue.h"

/* Rows past the last repeat it and are not stored. */
static inline int row_start(const lm_gemm_params p, int m) { return p.a_offset + min(m, p.rows - 1) * p.lda; }

#if B_TRANS
#define COLS_A_GROUP WG_Y
#else
#define COLS_A_GROUP (WG_X * LANES)
#endif

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_gemv(const lm_gemm_params p, const lm_offsets at, __global const float *a, __global const float *b,
                      __global const float *bias, __global const float *residual, __global float *c)
{
    a += at.first[0], b += at.first[1], bias += at.first[2], residual += at.first[3], c += at.first[4];
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1);
#if B_TRANS && WG_X > 1
    __local float part[ROWS][WG_Y][WG_X];
#elif !B_TRANS && WG_Y > 1
    /* Of y = 1 and on: with y = 0 it could be all of 16 KiB, of which drivers take some. */
    __local floatv part[ROWS][WG_Y - 1][WG_X];
#endif
    for (int m0 = (int)get_group_id(1) * ROWS; m0 < p.rows; m0 += (int)get_num_groups(1) * ROWS)
    for (int n0 = (int)get_group_id(0) * COLS_A_GROUP; n0 < p.cols; n0 += (int)get_num_groups(0) * COLS_A_GROUP) {
        floatv sum[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) sum[i] = (floatv)(0.0f);
#if B_TRANS
        const int n = n0 + ly;
        __global const float *column = b + min(n, p.cols - 1) * p.ldb;
        for (int k = lx * LANES; k < p.depth; k += WG_X * LANES) {
            const int count = min(LANES, p.depth - k);
            const floatv x = lm_load(column + k, count);
#pragma unroll
            for (int i = 0; i < ROWS; i++) sum[i] = LM_MAD(lm_load(a + row_start(p, m0 + i) + k, count), x, sum[i]);
        }
        float total[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) total[i] = lm_sum_lanes(sum[i]);
#if WG_X > 1
#pragma unroll
        for (int i = 0; i < ROWS; i++) part[i][ly][lx] = total[i];
        for (int half_x = WG_X / 2; half_x > 0; half_x /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (lx < half_x)
                for (int i = 0; i < ROWS; i++) part[i][ly][lx] += part[i][ly][lx + half_x];
        }
        if (lx == 0)
            for (int i = 0; i < ROWS; i++) total[i] = part[i][ly][0];
#endif
        if (lx == 0 && n < p.cols) {
            for (int i = 0; i < ROWS && m0 + i < p.rows; i++) {
                /* One float of an output vector. */
                lm_gemm_store((floatv)(total[i]), p, bias, residual, c, m0 + i, n, 1);
            }
        }
#else
        const int n = n0 + lx * LANES, count = min(LANES, p.cols - n);
        if (count > 0) {
#pragma unroll 8
            for (int k = ly; k < p.depth; k += WG_Y) {
                const floatv x = lm_load(b + k * p.ldb + n, count);
#pragma unroll
                for (int i = 0; i < ROWS; i++) sum[i] = LM_MAD((floatv)(a[row_start(p, m0 + i) + k]), x, sum[i]);
            }
        }
#if WG_Y > 1
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            if (ly > 0) part[i][ly - 1][lx] = sum[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (ly == 0)
            for (int i = 0; i < ROWS; i++)
                for (int y = 1; y < WG_Y; y++) sum[i] += part[i][y - 1][lx];
#endif
        if (ly == 0 && count > 0)
            for (int i = 0; i < ROWS && m0 + i < p.rows; i++) lm_gemm_store(sum[i], p, bias, residual, c, m0 + i, n, count);
#endif
#if WG_X * WG_Y > 1
        barrier(CLK_LOCAL_MEM_FENCE); /* before the next tile overwrites `part` */
#endif
    }
}
