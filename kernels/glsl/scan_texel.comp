/* kernels/glsl/scan_texel.comp: scan.comp's work on processors (texel.glsl): one chunk of time, with D and the gate.
 *
 *     s_t[n] = exp(Δ_t·A[n])·s_{t−1}[n] + Δ_t·B_t[n]·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A lane has four neighbouring channels and STATES of their states, and walks the chunk's tokens. Channels and their strides
 * are multiples of 4; B and C are read as texels where QUAD_MATRICES says that theirs are, too.
 * Grid: x tiles of 4·WG_X channels, y chunks, z sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int STATES = 16;
layout(constant_id = 4) const int QUAD_MATRICES = 0;
const int WG_X = int(gl_WorkGroupSize.x);
const int QUADS = (STATES + 3) / 4;

layout(push_constant) uniform Params { LM_SCAN_FIELDS } p;
layout(set = 0, binding = 0, rgba32f) readonly uniform imageBuffer u;
layout(set = 0, binding = 1, rgba32f) readonly uniform imageBuffer delta;
layout(set = 0, binding = 2, rgba32f) readonly uniform imageBuffer a;
layout(set = 0, binding = 3, rgba32f) readonly uniform imageBuffer bc;
layout(set = 0, binding = 4, rgba32f) readonly uniform imageBuffer d;
layout(set = 0, binding = 5, rgba32f) readonly uniform imageBuffer z;
layout(set = 0, binding = 6, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 7, std430) buffer State { vec4 state[]; };
layout(set = 0, binding = 8, std430) buffer Y { vec4 y[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/texel.glsl"

/* Elements of B or C, which begins at `from`, of this lane's states k … k+3; zero for states that there are not. */
vec4 matrix_quad(int from, int k)
{
    int n = p.state_first + k, most = p.d_state - 1;
    vec4 v = QUAD_MATRICES != 0 ? LM_QUAD(bc, from + min(n, most & ~3))
                                : vec4(LM_FLOAT(bc, from + min(n, most)), LM_FLOAT(bc, from + min(n + 1, most)),
                                       LM_FLOAT(bc, from + min(n + 2, most)), LM_FLOAT(bc, from + min(n + 3, most)));
    return vec4(n < p.d_state ? v.x : 0.0, n + 1 < p.d_state ? v.y : 0.0, n + 2 < p.d_state ? v.z : 0.0,
                n + 3 < p.d_state ? v.w : 0.0);
}

/* Tokens from row `row` on up to row `last` of channels c … c+3. */
void scan_rows(inout vec4 s[STATES], vec4 rate[STATES], int row, int last, int c, bool live, vec4 skip)
{
    bool gated = (p.flags & LM_SCAN_GATE) != 0 && p.state_first + STATES >= p.d_state;
    for (; row <= last; row++) {
        vec4 now_u = LM_QUAD(u, row * p.u_stride + c), by = LM_QUAD(delta, row * p.delta_stride + c), added = by * now_u;
        int from = row * p.bc_stride, to = (row * p.y_stride + c) >> 2;
        vec4 sum = p.state_first == 0 || !live ? skip * now_u : y[to], from_states = vec4(0.0);
        vec4 in_b[QUADS], in_c[QUADS];
        [[unroll]] for (int k = 0; k < QUADS; k++) {
            in_b[k] = matrix_quad(from + p.b_offset, 4 * k);
            in_c[k] = matrix_quad(from + p.c_offset, 4 * k);
        }
        [[unroll]] for (int k = 0; k < STATES; k++) {
            vec4 x = by * rate[k], b_u = in_b[k / 4][k % 4] * added;
            s[k] = vec4(lm_decay_step(s[k].x, x.x, b_u.x), lm_decay_step(s[k].y, x.y, b_u.y),
                        lm_decay_step(s[k].z, x.z, b_u.z), lm_decay_step(s[k].w, x.w, b_u.w));
            from_states += in_c[k / 4][k % 4] * s[k];
        }
        sum += from_states;
        if (gated) {
            vec4 gate = LM_QUAD(z, row * p.z_stride + p.z_offset + c);
            sum *= vec4(lm_silu(gate.x), lm_silu(gate.y), lm_silu(gate.z), lm_silu(gate.w));
        }
        if (live) y[to] = sum;
    }
}

void scan_chunk(int first_row, int last_row, int state_index, bool resumes, int tile)
{
    int lane_c = (tile * WG_X + int(gl_LocalInvocationID.x)) * 4;
    bool live = lane_c < p.channels;
    int c = min(lane_c, p.channels - 4); /* a lane beyond the edge reads as the last channels do, and writes nothing */
    vec4 rate[STATES], s[STATES];
    [[unroll]] for (int k = 0; k < STATES; k++) {
        int n = p.state_first + k;
        rate[k] = n < p.d_state ? LM_QUAD(a, min(n, p.d_state - 1) * p.channels + c) : vec4(0.0);
        s[k] = vec4(0.0);
        if (live && n < p.d_state && resumes) s[k] = state[((state_index * p.d_state + n) * p.channels + c) >> 2];
    }
    scan_rows(s, rate, first_row, last_row, c, live, p.state_first == 0 ? LM_QUAD(d, c) : vec4(0.0));
    if (!live || p.chunks > 1) return;
    [[unroll]] for (int k = 0; k < STATES; k++) {
        int n = p.state_first + k;
        if (n < p.d_state) state[((state_index * p.d_state + n) * p.channels + c) >> 2] = s[k];
    }
}

void main()
{
    LM_EACH_TILE(b, z, p.batch) {
        int sequence = b * p.rows_stride, start = rows[sequence + LM_ROW_START], count = rows[sequence + LM_ROW_LENGTH];
        LM_EACH_TILE(chunk, y, p.chunks) {
            int first = chunk * p.chunk_length, last = min(first + p.chunk_length, count) - 1;
            if (first > last) continue;
            int state_index = p.chunks > 1 ? b * p.chunks + chunk : rows[sequence + LM_ROW_SLOT];
            bool resumes = p.chunks > 1 || rows[sequence + LM_ROW_SEEN] > 0;
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, 4 * WG_X))
                scan_chunk(start + first, start + last, state_index, resumes, tile);
        }
    }
}
