/* kernels/glsl/scan.comp: the selective scan of one chunk of time, with D and the gate.
 *
 *     s_t[n] = exp(Δ_t·A[n])·s_{t−1}[n] + Δ_t·B_t[n]·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A lane has one channel, STATES of its states in registers, and walks the chunk's tokens; what the next tokens need is
 * loaded before these are worked on. With one chunk it starts from state[slot] and leaves the last state there; with
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
const int MATRICES = 2;

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

bool is_first_group() { return p.state_first == 0; }
bool is_gated() { return (p.flags & LM_SCAN_GATE) != 0 && p.state_first + STATES >= p.d_state; }
float gate_at(int row, int c) { return z[row * p.z_stride + p.z_offset + c]; }

/* Of tokens t … t+TOKENS−1 of one channel; those past the chunk are like its last. */
struct Tokens {
    float u[TOKENS];
    float delta[TOKENS];
    float z[TOKENS];
};

void load_tokens(inout Tokens tokens, Chunk chunk, int t, int c)
{
    [[unroll]] for (int i = 0; i < TOKENS; i++) {
        int row = chunk.start + min(t + i, chunk.last - 1);
        tokens.u[i] = u[row * p.u_stride + c];
        tokens.delta[i] = delta[row * p.delta_stride + c];
        if (is_gated()) tokens.z[i] = gate_at(row, c);
    }
}

/* What y starts from. */
float start_of(int row, int c, bool live, float skip, float input_u)
{
    return is_first_group() || !live ? skip * input_u : y[row * p.y_stride + c];
}

/* Tokens 0 … count−1 of the tile one by one, whatever their values are. */
void scan_each(inout float s[STATES], float rate[STATES], float rate_low[STATES], int row0, int count, int half_at, int c,
               bool live, float skip)
{
    for (int i = 0; i < count; i++) {
        int row = row0 + i;
        float input_u = u[row * p.u_stride + c], by = delta[row * p.delta_stride + c];
        float bs[STATES], cs[STATES];
        take_row(bs, half_at, i, 0);
        take_row(cs, half_at, i, 1);
        decay_states(s, rate, rate_low, c, by, by * input_u, bs);
        float sum = start_of(row, c, live, skip, input_u);
        [[unroll]] for (int k = 0; k < STATES; k++) sum = fma(cs[k], s[k], sum);
        if (is_gated()) sum *= lm_silu_fused(gate_at(row, c));
        if (live) y[row * p.y_stride + c] = sum;
    }
}

/* A whole tile; false, and s as it was, where something is not finite. */
bool scan_tile(inout float s[STATES], float rate[STATES], float rate_low[STATES], Tokens tokens, int row0, int half_at, int c,
               bool live, float skip)
{
    float next[STATES], sum[TOKENS];
    [[unroll]] for (int k = 0; k < STATES; k++) next[k] = s[k];
    [[unroll]] for (int i = 0; i < TOKENS; i++) sum[i] = start_of(row0 + i, c, live, skip, tokens.u[i]);
    [[unroll]] for (int i = 0; i < TOKENS; i++) {
        float added = tokens.delta[i] * tokens.u[i];
        float bs[STATES], cs[STATES];
        take_row(bs, half_at, i, 0);
        take_row(cs, half_at, i, 1);
        [[unroll]] for (int k = 0; k < STATES; k++) {
            next[k] = lm_decay_finite(next[k], tokens.delta[i], rate[k], rate_low[k], added * bs[k]);
            sum[i] = fma(cs[k], next[k], sum[i]);
        }
    }
    if (!is_finite(next)) return false;
    [[unroll]] for (int k = 0; k < STATES; k++) s[k] = next[k];
    if (is_gated()) {
        [[unroll]] for (int i = 0; i < TOKENS; i++) sum[i] *= lm_silu_fused(tokens.z[i]);
    }
    if (live) {
        [[unroll]] for (int i = 0; i < TOKENS; i++) y[(row0 + i) * p.y_stride + c] = sum[i];
    }
    return true;
}

void scan_staged(inout float s[STATES], float rate[STATES], Chunk chunk, int c, bool live, float skip)
{
    float rate_low[STATES];
    vec4 fetched[FETCHED];
    [[unroll]] for (int k = 0; k < STATES; k++) {
        float exact = rate[k];
        rate[k] = exact * 1.44269504;
        rate_low[k] = lm_rate_low(exact, rate[k]);
    }
    Tokens next;
    fetch_tile(fetched, chunk, chunk.first);
    put_tile(fetched, 0);
    load_tokens(next, chunk, chunk.first, c);
    barrier();
    int half_at = 0;
    for (int t = chunk.first; t < chunk.last; t += TOKENS) {
        Tokens now = next;
        int row0 = chunk.start + t, count = min(TOKENS, chunk.last - t);
        if (t + TOKENS < chunk.last) {
            fetch_tile(fetched, chunk, t + TOKENS);
            load_tokens(next, chunk, t + TOKENS, c);
        }
        if (count < TOKENS || !scan_tile(s, rate, rate_low, now, row0, half_at, c, live, skip))
            scan_each(s, rate, rate_low, row0, count, half_at, c, live, skip);
        half_at ^= 1;
        put_tile(fetched, half_at);
        barrier();
    }
}

void scan_direct(inout float s[STATES], float rate[STATES], Chunk chunk, int c, bool live, float skip)
{
    int row = chunk.start + chunk.first, last = chunk.start + chunk.last - 1;
    float next_u = u[row * p.u_stride + c], next_delta = delta[row * p.delta_stride + c];
    float next_z = is_gated() ? gate_at(row, c) : 0.0;
    for (; row <= last; row++) {
        float now_u = next_u, by = next_delta, now_z = next_z, added = by * now_u;
        int ahead = min(row + 1, last);
        next_u = u[ahead * p.u_stride + c];
        next_delta = delta[ahead * p.delta_stride + c];
        if (is_gated()) next_z = gate_at(ahead, c);
        float start = start_of(row, c, live, skip, now_u), sum = 0.0;
        [[unroll]] for (int k = 0; k < STATES; k++) {
            s[k] = lm_decay_step(s[k], by * rate[k], added * matrix_at(row, 0, k));
            sum += matrix_at(row, 1, k) * s[k];
        }
        float value = sum + start;
        if (is_gated()) value *= lm_silu(now_z);
        if (live) y[row * p.y_stride + c] = value;
    }
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
    if (STAGED) scan_staged(s, rate, chunk, c, live, skip);
    else scan_direct(s, rate, chunk, c, live, skip);
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
