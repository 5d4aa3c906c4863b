/* kernels/opencl/gemm.cl: C = epilogue(A·B) for many rows.
 *
 * LANES 1: a group makes TILE_M×TILE_N of C. A and B go through local memory DEPTH of k at a time; what comes next is
 * fetched into registers while the current part is multiplied. A lane has TILE_M/WG_Y rows and TILE_N/WG_X columns in runs
 * of 4, so that it reads local memory as float4 and neighbours read neighbouring ones. What lies outside A and B counts as
 * 0.
 *
 * LANES 16: kernels/opencl/gemm_wide.h.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/epilogue.h"
#include "kernels/opencl/gemm_wide.h"

#if LANES == 1
#define DEPTH 16
#define ROWS_A_LANE (TILE_M / WG_Y)
#define COLS_A_LANE (TILE_N / WG_X)
#define GROUP (WG_X * WG_Y)
#define FETCH_A (TILE_M * DEPTH / GROUP)
#define FETCH_B (TILE_N * DEPTH / GROUP)
#define PITCH_M (TILE_M + 4)
#define PITCH_N (TILE_N + 4)

/* Element i of a tile of A, in the order lanes fetch it: along k first, as A is stored. */
static inline float fetch_a(const lm_gemm_params p, __global const float *a, int m0, int k0, uint i)
{
    const int m = m0 + (int)(i / DEPTH), k = k0 + (int)(i % DEPTH);
    return m < p.rows && k < p.depth ? a[p.a_offset + m * p.lda + k] : 0.0f;
}

/* Likewise of B, whose tile is walked along n or along k as B is stored. */
static inline float fetch_b(const lm_gemm_params p, __global const float *b, int n0, int k0, uint i)
{
#if B_TRANS
    const int n = n0 + (int)(i / DEPTH), k = k0 + (int)(i % DEPTH);
    return n < p.cols && k < p.depth ? b[n * p.ldb + k] : 0.0f;
#else
    const int n = n0 + (int)(i % TILE_N), k = k0 + (int)(i / TILE_N);
    return n < p.cols && k < p.depth ? b[k * p.ldb + n] : 0.0f;
#endif
}
#endif

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_gemm(const lm_gemm_params p, const lm_offsets at, __global const float *a, __global const float *b,
                      __global const float *bias, __global const float *residual, __global float *c)
{
    a += at.first[0], b += at.first[1], bias += at.first[2], residual += at.first[3], c += at.first[4];
#if LANES != 1
    for (int m0 = (int)get_group_id(1) * TILE_M; m0 < p.rows; m0 += (int)get_num_groups(1) * TILE_M)
        for (int n0 = (int)get_group_id(0) * TILE_N; n0 < p.cols; n0 += (int)get_num_groups(0) * TILE_N)
            lm_gemm_wide(p, a, b, bias, residual, c, m0, n0);
#else
    __local float4 tile_a[DEPTH * PITCH_M / 4], tile_b[DEPTH * PITCH_N / 4];
    __local float *to_a = (__local float *)tile_a, *to_b = (__local float *)tile_b;
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1);
    const uint lane = (uint)(ly * WG_X + lx); /* unsigned, so that divisions by powers of two are shifts */

    for (int m0 = (int)get_group_id(1) * TILE_M; m0 < p.rows; m0 += (int)get_num_groups(1) * TILE_M)
    for (int n0 = (int)get_group_id(0) * TILE_N; n0 < p.cols; n0 += (int)get_num_groups(0) * TILE_N) {
        float sum[ROWS_A_LANE][COLS_A_LANE], next_a[FETCH_A], next_b[FETCH_B];
#pragma unroll
        for (int i = 0; i < ROWS_A_LANE; i++)
#pragma unroll
            for (int j = 0; j < COLS_A_LANE; j++) sum[i][j] = 0.0f;
#pragma unroll
        for (int i = 0; i < FETCH_A; i++) next_a[i] = fetch_a(p, a, m0, 0, lane + i * GROUP);
#pragma unroll
        for (int i = 0; i < FETCH_B; i++) next_b[i] = fetch_b(p, b, n0, 0, lane + i * GROUP);

        for (int k0 = 0; k0 < p.depth; k0 += DEPTH) {
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
            for (int i = 0; i < FETCH_A; i++) {
                const uint at = lane + i * GROUP;
                to_a[at % DEPTH * PITCH_M + at / DEPTH] = next_a[i];
            }
#pragma unroll
            for (int i = 0; i < FETCH_B; i++) {
                const uint at = lane + i * GROUP;
                to_b[B_TRANS ? at % DEPTH * PITCH_N + at / DEPTH : at / TILE_N * PITCH_N + at % TILE_N] = next_b[i];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            if (k0 + DEPTH < p.depth) {
#pragma unroll
                for (int i = 0; i < FETCH_A; i++) next_a[i] = fetch_a(p, a, m0, k0 + DEPTH, lane + i * GROUP);
#pragma unroll
                for (int i = 0; i < FETCH_B; i++) next_b[i] = fetch_b(p, b, n0, k0 + DEPTH, lane + i * GROUP);
            }
#pragma unroll
            for (int k = 0; k < DEPTH; k++) {
                float4 av[ROWS_A_LANE / 4], bv[COLS_A_LANE / 4];
#pragma unroll
                for (int i = 0; i < ROWS_A_LANE / 4; i++) av[i] = tile_a[k * PITCH_M / 4 + i * WG_Y + ly];
#pragma unroll
                for (int j = 0; j < COLS_A_LANE / 4; j++) bv[j] = tile_b[k * PITCH_N / 4 + j * WG_X + lx];
#pragma unroll
                for (int i = 0; i < ROWS_A_LANE; i++) {
                    const float4 four = av[i / 4];
                    const float x = i % 4 == 0 ? four.x : i % 4 == 1 ? four.y : i % 4 == 2 ? four.z : four.w;
#pragma unroll
                    for (int j = 0; j < COLS_A_LANE / 4; j++) {
                        sum[i][4 * j] = LM_MAD(x, bv[j].x, sum[i][4 * j]);
                        sum[i][4 * j + 1] = LM_MAD(x, bv[j].y, sum[i][4 * j + 1]);
                        sum[i][4 * j + 2] = LM_MAD(x, bv[j].z, sum[i][4 * j + 2]);
                        sum[i][4 * j + 3] = LM_MAD(x, bv[j].w, sum[i][4 * j + 3]);
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < ROWS_A_LANE; i++) {
            const int m = m0 + (i / 4 * WG_Y + ly) * 4 + i % 4;
#pragma unroll
            for (int j = 0; j < COLS_A_LANE; j++) {
                const int n = n0 + (j / 4 * WG_X + lx) * 4 + j % 4;
                if (m < p.rows && n < p.cols) lm_gemm_store(sum[i][j], p, bias, residual, c, m, n, 1);
            }
        }
    }
#endif
}
