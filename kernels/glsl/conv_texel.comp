/* kernels/glsl/conv_texel.comp: conv.comp's work on processors (texel.glsl).
 *
 *     c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  s_k = SiLU(c_k)
 *     out = sum_k g_k·s_k, or all s_k side by side
 *
 * A lane has four neighbouring channels and STEPS consecutive tokens at a time, so that a weight is loaded once for all of them.
 * It goes over RUN tokens and, within these, over TILES such runs of channels, so that rows are read in longer pieces; first
 * over the tokens that may reach into the ring, then over the others, since a branch that is not taken costs as much there as
 * one that is, but a loop ends. Channels, strides and offsets are multiples of 4.
 * Grid: x tiles of 4·WG_X·TILES channels, y runs, z sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int STEPS = 8;
layout(constant_id = 4) const int RUN = 32;
layout(constant_id = 5) const int TILES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_CONV_FIELDS } p;
layout(set = 0, binding = 0, rgba32f) readonly uniform imageBuffer x;
layout(set = 0, binding = 1, rgba32f) readonly uniform imageBuffer weight;
layout(set = 0, binding = 2, rgba32f) readonly uniform imageBuffer bias;
layout(set = 0, binding = 3, rgba32f) readonly uniform imageBuffer gates;
layout(set = 0, binding = 4, std430) readonly buffer Dilations { int dilations[]; };
layout(set = 0, binding = 5, rgba32f) readonly uniform imageBuffer history;
layout(set = 0, binding = 6, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 7, std430) writeonly buffer Out { vec4 result[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/texel.glsl"

struct Sequence {
    int slot;
    int start;
    int count; /* tokens */
    int head;
    int seen; /* tokens before this call */
};

/* Inputs c … c+3 of token t ≥ 0; tokens past the sequence are like its last. */
vec4 own_input(Sequence q, int t, int c) { return LM_QUAD(x, p.x_offset + (q.start + min(t, q.count - 1)) * p.x_stride + c); }

/* The same of any token; it lies in the ring when it is negative. */
vec4 input_at(Sequence q, int t, int c)
{
    vec4 own = own_input(q, max(t, 0), c);
    int place = q.head + clamp(t, -p.history, -1);
    if (place < 0) place += p.history;
    vec4 earlier = LM_QUAD(history, (q.slot * p.history + place) * p.channels + c);
    return t >= 0 ? own : t >= -min(p.history, q.seen) ? earlier : vec4(0.0);
}

vec4 silu4(vec4 v) { return vec4(lm_silu(v.x), lm_silu(v.y), lm_silu(v.z), lm_silu(v.w)); }

/* Tokens first … first+STEPS−1 of channels c … c+3; inside: none of them reaches before token 0. */
void convolve(Sequence q, int first, int c, const bool inside)
{
    vec4 sum[STEPS];
    [[unroll]] for (int i = 0; i < STEPS; i++) sum[i] = vec4(0.0);
    for (int k = 0; k < p.branches; k++) {
        int branch = p.branch_first + k, dilation = dilations[branch];
        vec4 start = (p.flags & LM_CONV_BIAS) != 0 ? LM_QUAD(bias, branch * p.channels + c) : vec4(0.0), value[STEPS];
        [[unroll]] for (int i = 0; i < STEPS; i++) value[i] = start;
        for (int j = 0; j < p.taps; j++) {
            vec4 w = LM_QUAD(weight, (branch * p.taps + j) * p.channels + c);
            int t = first - (p.taps - 1 - j) * dilation;
            [[unroll]] for (int i = 0; i < STEPS; i++) value[i] += w * (inside ? own_input(q, t + i, c) : input_at(q, t + i, c));
        }
        float gate = (p.flags & LM_CONV_GATES) != 0 ? LM_FLOAT(gates, branch) : 1.0;
        [[unroll]] for (int i = 0; i < STEPS; i++) {
            vec4 s = silu4(value[i]);
            sum[i] += gate * s;
            if ((p.flags & LM_CONV_CONCAT) != 0 && first + i < q.count)
                result[((q.start + first + i) * p.out_stride + k * p.channels + c) >> 2] = s;
        }
    }
    if ((p.flags & LM_CONV_CONCAT) != 0) return;
    [[unroll]] for (int i = 0; i < STEPS; i++)
        if (first + i < q.count) result[((q.start + first + i) * p.out_stride + c) >> 2] = sum[i];
}

void main()
{
    int reach = 0;
    for (int k = 0; k < p.branches; k++) reach = max(reach, (p.taps - 1) * dilations[p.branch_first + k]);
    LM_EACH_TILE(b, z, p.batch) {
        int row = b * p.rows_stride;
        Sequence q = Sequence(rows[row + LM_ROW_SLOT], rows[row + LM_ROW_START], rows[row + LM_ROW_LENGTH],
                              rows[row + LM_ROW_HEADS + p.ring], rows[row + LM_ROW_SEEN]);
        LM_EACH_TILE(run, y, lm_ceil_div(q.count, RUN)) {
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, 4 * WG_X * TILES)) {
                int c0 = (tile * WG_X * TILES + int(gl_LocalInvocationID.x)) * 4, end_c = min(c0 + 4 * WG_X * TILES, p.channels);
                int t = run * RUN, last = min(t + RUN, q.count);
                for (; t < min(last, reach); t += STEPS)
                    for (int c = c0; c < end_c; c += 4 * WG_X) convolve(q, t, c, false);
                for (; t < last; t += STEPS)
                    for (int c = c0; c < end_c; c += 4 * WG_X) convolve(q, t, c, true);
            }
        }
    }
}
