/* kernels/glsl/scan_summary.comp: what a chunk of time does to the state, so that chunks can be scanned side by side.
 *
 *     summary[n] = the chunk's last state from a zero start;  total = sum of the chunk's Δ
 *
 * The decay of a whole chunk is exp(A·total). Mapping as scan's: a lane has one channel and STATES of its states.
 * Grid: x tiles of WG_X channels, y chunks, z sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int STATES = 16;
const int WG_X = int(gl_WorkGroupSize.x);
const int SHARED_MATRICES = 1;

layout(push_constant) uniform Params { LM_SCAN_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer U { float u[]; };
layout(set = 0, binding = 1, std430) readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 2, std430) readonly buffer A { float a[]; };
layout(set = 0, binding = 3, std430) readonly buffer BC { float bc[]; };
layout(set = 0, binding = 4, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Summary { float summary[]; };
layout(set = 0, binding = 6, std430) writeonly buffer Total { float total[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/chunk.glsl"

void summarise(Chunk chunk, int index, int tile)
{
    int lane_c = tile * WG_X + int(gl_LocalInvocationID.x);
    int c = min(lane_c, p.channels - 1); /* a lane beyond the edge reads as the last channel does, and writes nothing */
    float rate[STATES], s[STATES];
    [[unroll]] for (int k = 0; k < STATES; k++) {
        rate[k] = rate_of(k, c);
        s[k] = 0.0;
    }
    float sum = 0.0;
    float next_u = 0.0, next_delta = 0.0;
    if (chunk.first < chunk.last) {
        next_u = u[(chunk.start + chunk.first) * p.u_stride + c];
        next_delta = delta[(chunk.start + chunk.first) * p.delta_stride + c];
    }
    for (int t0 = chunk.first; t0 < chunk.last; t0 += TOKENS) {
        if (STAGED) stage_matrices(chunk, t0);
        int end = min(t0 + TOKENS, chunk.last);
        for (int t = t0; t < end; t++) {
            float now_delta = next_delta, added = next_delta * next_u;
            int ahead = chunk.start + min(t + 1, chunk.last - 1);
            next_u = u[ahead * p.u_stride + c];
            next_delta = delta[ahead * p.delta_stride + c];
            sum += now_delta;
            [[unroll]] for (int k = 0; k < STATES; k++)
                s[k] = lm_decay_step(s[k], now_delta * rate[k], added * matrix_of(chunk.start + t, t - t0, 0, k));
        }
    }
    if (lane_c >= p.channels) return;
    total[index * p.channels + c] = sum;
    [[unroll]] for (int k = 0; k < STATES; k++) {
        int n = p.state_first + k;
        if (n < p.d_state) summary[(index * p.d_state + n) * p.channels + c] = s[k];
    }
}

void main()
{
    LM_EACH_TILE(b, z, p.batch)
        LM_EACH_TILE(i, y, p.chunks)
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X)) summarise(chunk_of(b, i), b * p.chunks + i, tile);
}
