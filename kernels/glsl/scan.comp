/* kernels/glsl/scan.comp: the selective scan of one chunk of time, with D and the gate.
 *
 *     s_t[n] = exp(Δ_t·A[n])·s_{t−1}[n] + Δ_t·B_t[n]·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A lane has one channel, STATES of its states in registers, and walks the chunk's tokens; what the next token needs is
 * loaded before this one is worked on. With one chunk it starts from state[slot] and leaves the last state there; with
 * more it starts from what scan_carry left for its chunk. More than STATES states take a dispatch a group of them, the
 * later ones adding to y.
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
const int SHARED_MATRICES = 2;

layout(push_constant) uniform Params { LM_SCAN_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer U { float u[]; };
layout(set = 0, binding = 1, std430) readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 2, std430) readonly buffer A { float a[]; };
layout(set = 0, binding = 3, std430) readonly buffer BC { float bc[]; };
layout(set = 0, binding = 4, std430) readonly buffer D { float d[]; };
layout(set = 0, binding = 5, std430) readonly buffer Z { float z[]; };
layout(set = 0, binding = 6, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 7, std430) buffer State { float state[]; };
layout(set = 0, binding = 8, std430) buffer Y { float y[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/chunk.glsl"

/* One token of one channel. */
struct Token {
    float u;
    float delta;
    float z;
    float y; /* of the groups of states before */
};

bool is_first_group() { return p.state_first == 0; }
bool is_gated() { return (p.flags & LM_SCAN_GATE) != 0 && p.state_first + STATES >= p.d_state; }

Token load_token(int row, int c, bool live)
{
    Token token = Token(u[row * p.u_stride + c], delta[row * p.delta_stride + c], 0.0, 0.0);
    if (is_gated()) token.z = z[row * p.z_stride + p.z_offset + c];
    if (!is_first_group() && live) token.y = y[row * p.y_stride + c];
    return token;
}

void scan_chunk(Chunk chunk, int state_index, int tile)
{
    int lane_c = tile * WG_X + int(gl_LocalInvocationID.x);
    bool live = lane_c < p.channels;
    int c = min(lane_c, p.channels - 1); /* a lane beyond the edge reads as the last channel does, and writes nothing */
    float rate[STATES], s[STATES];
    [[unroll]] for (int k = 0; k < STATES; k++) {
        int n = p.state_first + k;
        rate[k] = rate_of(k, c);
        s[k] = 0.0;
        if (live && n < p.d_state && (p.chunks > 1 || chunk.resumes)) s[k] = state[(state_index * p.d_state + n) * p.channels + c];
    }
    float skip = is_first_group() ? d[c] : 0.0;
    Token next = load_token(chunk.start + chunk.first, c, live);
    for (int t0 = chunk.first; t0 < chunk.last; t0 += TOKENS) {
        if (STAGED) stage_matrices(chunk, t0);
        int end = min(t0 + TOKENS, chunk.last);
        for (int t = t0; t < end; t++) {
            int row = chunk.start + t;
            Token now = next;
            next = load_token(chunk.start + min(t + 1, chunk.last - 1), c, live);
            float added = now.delta * now.u;
            float sum = 0.0;
            [[unroll]] for (int k = 0; k < STATES; k++) {
                s[k] = lm_decay_step(s[k], now.delta * rate[k], added * matrix_of(row, t - t0, 0, k));
                sum += matrix_of(row, t - t0, 1, k) * s[k];
            }
            float value = sum + (is_first_group() ? skip * now.u : now.y);
            if (is_gated()) value *= lm_silu(now.z);
            if (live) y[row * p.y_stride + c] = value;
        }
    }
    if (!live || p.chunks > 1) return;
    [[unroll]] for (int k = 0; k < STATES; k++) {
        int n = p.state_first + k;
        if (n < p.d_state) state[(state_index * p.d_state + n) * p.channels + c] = s[k];
    }
}

void main()
{
    LM_EACH_TILE(b, z, p.batch) {
        LM_EACH_TILE(i, y, p.chunks) {
            Chunk chunk = chunk_of(b, i);
            if (chunk.first >= chunk.last) continue;
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X))
                scan_chunk(chunk, p.chunks > 1 ? b * p.chunks + i : chunk.slot, tile);
        }
    }
}
