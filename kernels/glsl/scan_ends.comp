/* kernels/glsl/scan_ends.comp: how the chunks of a scan end, so that scan_tiled can walk them all at once.
 *
 *     record[i+1] = sum over the tokens t of chunk i of exp(A·σ_t)·Δ_t·B_t·u_t, σ_t the sum of Δ after t; and the sum of all Δ
 *
 * which is the chunk's last state from a zero start, without a recurrence. Tokens are taken from the last to the first, a tile
 * at a time: σ grows, and where exp(A·σ) is 0 for all states of a lane it only adds up Δ. A lane has 4 states of a channel,
 * neighbours have neighbouring channels; of a tile each brings OWN tokens of its channel and two floats of B. Two tiles are in
 * shared memory in turn. Chunks here are whole tiles; the last one of a sequence ends nowhere. Record 0 is the state that a
 * sequence starts from, as the walk overwrites it.
 * Grid: exactly one group for each x tile of CHANNELS channels, y chunk and z sequence.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int GROUP = 4;
layout(constant_id = 4) const int FLAGS = 0;

LM_PARAMETERS(LM_SCAN_FIELDS, 7)
LM_BUFFER(0, restrict readonly, float, u)
LM_BUFFER(1, restrict readonly, float, delta)
LM_BUFFER(2, restrict readonly, float, a)
LM_BUFFER(3, readonly, float, bc)
LM_BUFFER(3, readonly, vec2, bc2)
LM_BUFFER(4, restrict readonly, int, rows)
LM_BUFFER(5, restrict readonly, float, state)
LM_BUFFER(6, restrict writeonly, float, ends)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/tile_decay.glsl"

const int WG_X = int(gl_WorkGroupSize.x);
const int CHANNELS = WG_X / GROUP;
const int TOKENS = 16;
const int OWN = TOKENS / GROUP;
const int QUADS = TOKENS / 4 * CHANNELS; /* four tokens of a channel side by side */

shared vec4 steps[2 * QUADS];  /* Δ */
shared vec4 inputs[2 * QUADS]; /* Δ·u */
shared vec4 matrices[2 * TOKENS * GROUP];
shared uint odd[2]; /* is something of the tile not finite? */

/* σ·|A| / ln 2 from which on decays count as 0. */
const float FORGOTTEN = 127.0;

/* What this lane brings of a tile, and where it lies. */
float next_u[OWN], next_step[OWN];
vec2 next_b = vec2(0.0);
int at_u, at_delta, at_b, n_b;

void fetch()
{
    [[unroll]] for (int i = 0; i < OWN; i++) {
        next_u[i] = LM_AT(u, at_u + i * p.u_stride);
        next_step[i] = LM_AT(delta, at_delta + i * p.delta_stride);
    }
    if ((FLAGS & LM_TILED_VECTORS) != 0) next_b = LM_AT(bc2, at_b >> 1);
    else next_b = vec2(n_b < p.d_state ? LM_AT(bc, at_b) : 0.0, n_b + 1 < p.d_state ? LM_AT(bc, at_b + 1) : 0.0);
    at_u -= TOKENS * p.u_stride;
    at_delta -= TOKENS * p.delta_stride;
    at_b -= TOKENS * p.bc_stride;
}

void main()
{
    int lane = int(gl_LocalInvocationID.x), g = lane / CHANNELS, mine = lane % CHANNELS, own_t = g * OWN;
    int tile = int(gl_WorkGroupID.x) * CHANNELS, chunk = int(gl_WorkGroupID.y), b = int(gl_WorkGroupID.z), row = b * p.rows_stride;
    int n = p.state_first + 4 * g, states = min(4, p.d_state - n), c = min(tile + mine, p.channels - 1);
    int t_end = chunk * p.chunk_length;
    if (t_end >= LM_AT(rows, row + LM_ROW_LENGTH)) return;
    bool resumes = chunk == 0 && LM_AT(rows, row + LM_ROW_SEEN) > 0;
    vec4 s = vec4(0.0), rate = vec4(0.0);
    float total = 0.0, slowest = 3.4028235e38;
    [[unroll]] for (int k = 0; k < 4; k++) {
        if (k >= states) break;
        rate[k] = LM_AT(a, (n + k) * p.channels + c) * 1.44269504;
        slowest = min(slowest, -rate[k]);
        if (resumes) s[k] = LM_AT(state, (LM_AT(rows, row + LM_ROW_SLOT) * p.d_state + n + k) * p.channels + c);
    }
    int left = chunk > 0 ? p.chunk_length : 0, r = LM_AT(rows, row + LM_ROW_START) + t_end - TOKENS;
    n_b = p.state_first + lane % (2 * GROUP) * 2;
    at_u = (r + own_t) * p.u_stride + c;
    at_delta = (r + own_t) * p.delta_stride + c;
    at_b = (r + lane / (2 * GROUP)) * p.bc_stride + p.b_offset + n_b;
    if (left > 0) fetch();
    if (lane < 2) odd[lane] = 0u;
    barrier();
    for (int now = 0; left > 0; left -= TOKENS, now ^= 1) {
        bool finite = is_finite_bits(next_b.x) && is_finite_bits(next_b.y);
        [[unroll]] for (int i = 0; i < OWN; i += 4) {
            vec4 by = vec4(next_step[i], next_step[i + 1], next_step[i + 2], next_step[i + 3]);
            vec4 added = by * vec4(next_u[i], next_u[i + 1], next_u[i + 2], next_u[i + 3]);
            steps[now * QUADS + (own_t + i) / 4 * CHANNELS + mine] = by;
            inputs[now * QUADS + (own_t + i) / 4 * CHANNELS + mine] = added;
            [[unroll]] for (int k = 0; k < 4; k++) finite = finite && is_finite_bits(added[k]);
        }
        matrices[(now * WG_X + lane) / 2][lane % 2 * 2] = next_b.x;
        matrices[(now * WG_X + lane) / 2][lane % 2 * 2 + 1] = next_b.y;
        if (!finite) atomicOr(odd[now], 1u);
        barrier();
        if (left > TOKENS) fetch();
        int at = now * QUADS + mine, from = now * TOKENS * GROUP + g;
        float sum = 0.0;
        if (odd[now] != 0u) {
            /* An infinite input stays what it is, however long ago. */
            [[dont_unroll]] for (int i = TOKENS - 1; i >= 0; i--) {
                vec4 added = inputs[at + i / 4 * CHANNELS][i % 4] * matrices[from + i * GROUP];
                vec4 decay = tile_decay((total + sum) * rate);
                [[unroll]] for (int k = 0; k < 4; k++) s[k] += is_finite_bits(added[k]) ? added[k] * decay[k] : added[k];
                sum += steps[at + i / 4 * CHANNELS][i % 4];
            }
        } else if (total * slowest < FORGOTTEN) {
            vec4 far = total * rate;
            [[unroll]] for (int q = TOKENS / 4 - 1; q >= 0; q--) {
                vec4 by = steps[at + q * CHANNELS], added = inputs[at + q * CHANNELS];
                [[unroll]] for (int j = 3; j >= 0; j--) {
                    s = fma(tile_decay(fma(vec4(sum), rate, far)), added[j] * matrices[from + (4 * q + j) * GROUP], s);
                    sum += by[j];
                }
            }
        } else {
            [[unroll]] for (int q = 0; q < TOKENS / 4; q++) {
                vec4 by = steps[at + q * CHANNELS];
                sum += (by.x + by.y) + (by.z + by.w);
            }
        }
        total += sum;
    }
    if (tile + mine >= p.channels) return;
    int record = (b * p.chunks + chunk) * (p.d_state + 1) * p.channels + c;
    [[unroll]] for (int k = 0; k < 4; k++)
        if (k < states) LM_AT(ends, record + (n + k) * p.channels) = s[k];
    if (n == 0) LM_AT(ends, record + p.d_state * p.channels) = total;
}
