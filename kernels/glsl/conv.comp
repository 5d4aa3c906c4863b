/* kernels/glsl/conv.comp: causal depthwise convolutions of several branches, SiLU, and their gated sum or concatenation.
 *
 *     c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  s_k = SiLU(c_k)
 *     out = sum_k g_k·s_k, or all s_k side by side
 *
 * A lane has one channel and STEPS consecutive tokens, so that a weight is loaded once for all of them and their inputs
 * are STEPS independent loads; neighbouring lanes read neighbouring channels. Inputs that other taps and branches need
 * again come from the cache. Grid: x tiles of WG_X channels, y tiles of STEPS tokens, z sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int STEPS = 8;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_CONV_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer Weight { float weight[]; };
layout(set = 0, binding = 2, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3, std430) readonly buffer Gates { float gates[]; };
layout(set = 0, binding = 4, std430) readonly buffer Dilations { int dilations[]; };
layout(set = 0, binding = 5, std430) readonly buffer History { float history[]; };
layout(set = 0, binding = 6, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 7, std430) writeonly buffer Out { float result[]; };

#include "kernels/glsl/common.glsl"

struct Sequence {
    int slot;
    int start;
    int count; /* tokens */
    int head;
    int seen; /* tokens before this call */
};

/* Input of token t < count, which lies in the ring when it is negative. */
float input_at(Sequence q, int t, int c)
{
    if (t >= 0) return x[p.x_offset + (q.start + t) * p.x_stride + c];
    if (t < -min(p.history, q.seen)) return 0.0;
    int place = q.head + t;
    if (place < 0) place += p.history;
    return history[(q.slot * p.history + place) * p.channels + c];
}

/* Tokens first … first+STEPS−1 of one channel. */
void convolve(Sequence q, int first, int c)
{
    float sum[STEPS];
    [[unroll]] for (int i = 0; i < STEPS; i++) sum[i] = 0.0;
    for (int k = 0; k < p.branches; k++) {
        int branch = p.branch_first + k, dilation = dilations[branch];
        float start = (p.flags & LM_CONV_BIAS) != 0 ? bias[branch * p.channels + c] : 0.0;
        float value[STEPS];
        [[unroll]] for (int i = 0; i < STEPS; i++) value[i] = start;
        for (int j = 0; j < p.taps; j++) {
            float w = weight[(branch * p.taps + j) * p.channels + c];
            int t = first - (p.taps - 1 - j) * dilation;
            if (t >= 0 && first + STEPS <= q.count) {
                int from = p.x_offset + (q.start + t) * p.x_stride + c;
                [[unroll]] for (int i = 0; i < STEPS; i++) value[i] += w * x[from + i * p.x_stride];
            } else {
                [[unroll]] for (int i = 0; i < STEPS; i++)
                    if (first + i < q.count) value[i] += w * input_at(q, t + i, c);
            }
        }
        float gate = (p.flags & LM_CONV_GATES) != 0 ? gates[branch] : 1.0;
        [[unroll]] for (int i = 0; i < STEPS; i++) {
            float s = lm_silu(value[i]);
            sum[i] += gate * s;
            if ((p.flags & LM_CONV_CONCAT) != 0 && first + i < q.count)
                result[(q.start + first + i) * p.out_stride + k * p.channels + c] = s;
        }
    }
    if ((p.flags & LM_CONV_CONCAT) != 0) return;
    [[unroll]] for (int i = 0; i < STEPS; i++)
        if (first + i < q.count) result[(q.start + first + i) * p.out_stride + c] = sum[i];
}

void main()
{
    LM_EACH_TILE(b, z, p.batch) {
        int row = b * p.rows_stride;
        Sequence q = Sequence(rows[row + LM_ROW_SLOT], rows[row + LM_ROW_START], rows[row + LM_ROW_LENGTH],
                              rows[row + LM_ROW_HEADS + p.ring], rows[row + LM_ROW_SEEN]);
        LM_EACH_TILE(step, y, lm_ceil_div(q.count, STEPS)) {
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X)) {
                int c = tile * WG_X + int(gl_LocalInvocationID.x);
                if (c < p.channels) convolve(q, step * STEPS, c);
            }
        }
    }
}
