/* kernels/opencl/conv.cl: dilated causal depthwise convolutions, SiLU, and their gated sum or concatenation, all branches in
 * one pass.
 *
 *   c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  out = sum_k g_k·SiLU(c_k), or the SiLU(c_k) side by side
 *
 * A lane has LANES channels and STEPS consecutive tokens, BLOCK of them in registers at a time, so that a weight is
 * loaded once for BLOCK tokens. Where a block reaches past the ends, tokens past the last repeat it and are not stored,
 * and tokens before the first come from the history ring, or are 0 where there were none.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

#if LANES > 1 && STEPS > 4
#define BLOCK 4
#else
#define BLOCK STEPS
#endif

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_conv(const lm_conv_params p, const lm_offsets at, __global const float *x, __global const float *weight,
                      __global const float *bias, __global const float *gates, __global const int *dilations,
                      __global const float *history, __global const int *rows, __global float *out)
{
    x += at.first[0], weight += at.first[1], bias += at.first[2], gates += at.first[3], dilations += at.first[4],
    history += at.first[5], rows += at.first[6], out += at.first[7];
    for (int b = (int)get_group_id(2); b < p.batch; b += (int)get_num_groups(2)) {
        __global const int *row = rows + b * p.rows_stride;
        const int start = row[LM_ROW_START], length = row[LM_ROW_LENGTH], head = row[LM_ROW_HEADS + p.ring];
        const int seen = row[LM_ROW_SEEN];
        const int ring = row[LM_ROW_SLOT] * p.history;
        for (int c = (int)get_global_id(0) * LANES; c < p.channels; c += (int)get_global_size(0) * LANES)
        for (int tile = (int)get_group_id(1) * STEPS; tile < length; tile += (int)get_num_groups(1) * STEPS)
        for (int first = tile; first < min(tile + STEPS, length); first += BLOCK) {
            const int count = min(LANES, p.channels - c);
            floatv sum[BLOCK];
#pragma unroll
            for (int s = 0; s < BLOCK; s++) sum[s] = (floatv)(0.0f);
            for (int i = 0; i < p.branches; i++) {
                const int k = p.branch_first + i, dilation = dilations[k];
                floatv value[BLOCK];
                const floatv from = p.flags & LM_CONV_BIAS ? lm_load(bias + k * p.channels + c, count) : (floatv)(0.0f);
#pragma unroll
                for (int s = 0; s < BLOCK; s++) value[s] = from;
                for (int j = 0; j < p.taps; j++) {
                    const floatv w = lm_load(weight + (k * p.taps + j) * p.channels + c, count);
                    const int back = (p.taps - 1 - j) * dilation;
                    if (first >= back && first + BLOCK <= length) {
                        __global const float *at = x + p.x_offset + (start + first - back) * p.x_stride + c;
#pragma unroll
                        for (int s = 0; s < BLOCK; s++) value[s] = LM_MAD(w, lm_load(at + s * p.x_stride, count), value[s]);
                        continue;
                    }
#pragma unroll
                    for (int s = 0; s < BLOCK; s++) {
                        const int t = min(first + s, length - 1) - back;
                        __global const float *at;
                        if (t >= 0) at = x + p.x_offset + (start + t) * p.x_stride;
                        else at = history + (ring + (head + p.history + t) % p.history) * p.channels;
                        if (t >= -seen) value[s] = LM_MAD(w, lm_load(at + c, count), value[s]);
                    }
                }
                const float gate = p.flags & LM_CONV_GATES ? gates[k] : 1.0f;
#pragma unroll
                for (int s = 0; s < BLOCK; s++) {
                    const floatv y = lm_silu(value[s]);
                    if (!(p.flags & LM_CONV_CONCAT)) sum[s] = LM_MAD((floatv)(gate), y, sum[s]);
                    else if (first + s < length)
                        lm_store(y, out + (start + first + s) * p.out_stride + i * p.channels + c, count);
                }
            }
            if (p.flags & LM_CONV_CONCAT) continue;
#pragma unroll
            for (int s = 0; s < BLOCK; s++)
                if (first + s < length) lm_store(sum[s], out + (start + first + s) * p.out_stride + c, count);
        }
    }
}
