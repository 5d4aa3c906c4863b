/* kernels/opencl/step_out.cl: out_proj of a few sequences of one token: out = x·weight (+ bias) (+ residual).
 *
 * A group has ROWS sequences and TILE columns (kernels/opencl/step.h).
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/step.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_step_out(const lm_step_out_params p, const lm_places at, LM_BUFFER_ARGS)
{
    __global const float *x = LM_BINDING(0);
    __global const float *weight = LM_BINDING(1);
    __global const float *bias = LM_BINDING(2);
    __global const float *residual = LM_BINDING(3);
    __global float *out = LM_BINDING(4);
    __local float value[ROWS * TILE];
    __local float part[LANES == 1 ? (SPLIT + SPLIT / 4) * (TILE + 1) : 1];
    const int lane = (int)get_local_id(1) * WG_X + (int)get_local_id(0), tiles = (p.cols + TILE - 1) / TILE;
    for (int m0 = (int)get_group_id(1) * ROWS; m0 < p.rows; m0 += (int)get_num_groups(1) * ROWS)
    for (int tile = (int)get_group_id(0); tile < tiles; tile += (int)get_num_groups(0)) {
        const int n0 = tile * TILE, m_end = min(p.rows - m0, ROWS), cols = min(TILE, p.cols - n0);
        const int c = (int)((uint)(lane * LANES) % TILE), count = min(LANES, cols - c), n = n0 + c;
        const int at_c = (m0 + (int)((uint)(lane * LANES) / TILE)) * p.cols + n;
        const bool there = lane * LANES < m_end * TILE && count > 0;
        const lm_tile product = {x + m0 * p.depth, m_end, p.depth, x, false, 0.0f, weight + n0, p.cols, cols};
        lm_sums own;
        lm_tile_multiply(product, &own);
        floatv add = (floatv)(0.0f), before = (floatv)(0.0f); /* on their way while sums meet */
        if (there && (p.flags & LM_STEP_BIAS)) add = lm_load(bias + n, count);
        if (there && (p.flags & LM_STEP_RESIDUAL)) before = lm_load(residual + at_c, count);
        lm_tile_add(product, &own, value, part);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (there) lm_store(LM_LOCAL(value + lane * LANES) + add + before, out + at_c, count);
        for (int i = (lane + GROUP) * LANES; i < m_end * TILE; i += GROUP * LANES) {
            const int r = (int)((uint)i / TILE), from = i - r * TILE, left = min(LANES, cols - from), to = (m0 + r) * p.cols + n0 + from;
            if (left <= 0) continue;
            floatv sum = LM_LOCAL(value + i);
            if (p.flags & LM_STEP_BIAS) sum += lm_load(bias + n0 + from, left);
            if (p.flags & LM_STEP_RESIDUAL) sum += lm_load(residual + to, left);
            lm_store(sum, out + to, left);
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* the next tile writes what this one reads */
    }
}
