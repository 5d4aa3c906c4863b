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
const int MATRICES = 1;

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

/* Of tokens t … t+TOKENS−1 of one channel; those past the chunk are like its last. */
struct Tokens {
    float u[TOKENS];
    float delta[TOKENS];
};

void load_tokens(inout Tokens tokens, Chunk chunk, int t, int c)
{
    [[unroll]] for (int i = 0; i < TOKENS; i++) {
        int row = chunk.start + min(t + i, chunk.last - 1);
        tokens.u[i] = u[row * p.u_stride + c];
        tokens.delta[i] = delta[row * p.delta_stride + c];
    }
}

/* A whole tile; false, and s as it was, where something is not finite. */
bool sum_tile(inout float s[STATES], float rate[STATES], float rate_low[STATES], Tokens tokens, int half_at)
{
    float next[STATES];
    [[unroll]] for (int k = 0; k < STATES; k++) next[k] = s[k];
    [[unroll]] for (int i = 0; i < TOKENS; i++) {
        float added = tokens.delta[i] * tokens.u[i];
        float bs[STATES];
        take_row(bs, half_at, i, 0);
        [[unroll]] for (int k = 0; k < STATES; k++)
            next[k] = lm_decay_finite(next[k], tokens.delta[i], rate[k], rate_low[k], added * bs[k]);
    }
    if (!is_finite(next)) return false;
    [[unroll]] for (int k = 0; k < STATES; k++) s[k] = next[k];
    return true;
}

/* Returns the sum of Δ. */
float sum_staged(inout float s[STATES], float rate[STATES], Chunk chunk, int c)
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
    float sum = 0.0;
    for (int t = chunk.first; t < chunk.last; t += TOKENS) {
        Tokens now = next;
        int count = min(TOKENS, chunk.last - t);
        if (t + TOKENS < chunk.last) {
            fetch_tile(fetched, chunk, t + TOKENS);
            load_tokens(next, chunk, t + TOKENS, c);
        }
        [[unroll]] for (int i = 0; i < TOKENS; i++) sum += i < count ? now.delta[i] : 0.0;
        if (count < TOKENS || !sum_tile(s, rate, rate_low, now, half_at)) {
            for (int i = 0; i < count; i++) {
                int row = chunk.start + t + i;
                float by = delta[row * p.delta_stride + c], bs[STATES];
                take_row(bs, half_at, i, 0);
                decay_states(s, rate, rate_low, c, by, by * u[row * p.u_stride + c], bs);
            }
        }
        half_at ^= 1;
        put_tile(fetched, half_at);
        barrier();
    }
    return sum;
}

float sum_direct(inout float s[STATES], float rate[STATES], Chunk chunk, int c)
{
    int row = chunk.start + chunk.first, last = chunk.start + chunk.last - 1;
    float sum = 0.0, next_u = u[row * p.u_stride + c], next_delta = delta[row * p.delta_stride + c];
    for (; row <= last; row++) {
        float by = next_delta, added = next_delta * next_u;
        int ahead = min(row + 1, last);
        next_u = u[ahead * p.u_stride + c];
        next_delta = delta[ahead * p.delta_stride + c];
        sum += by;
        [[unroll]] for (int k = 0; k < STATES; k++)
            s[k] = lm_decay_step(s[k], by * rate[k], added * matrix_at(row, 0, k));
    }
    return sum;
}

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
    if (chunk.first < chunk.last) {
        if (STAGED) sum = sum_staged(s, rate, chunk, c);
        else sum = sum_direct(s, rate, chunk, c);
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
