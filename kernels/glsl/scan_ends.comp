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
#include "kernels/glsl/tile_ends.glsl"

const int WG_X = int(gl_WorkGroupSize.x);
const int CHANNELS = WG_X / GROUP;
const int TOKENS = 16;
const int OWN = TOKENS / GROUP;
const int QUADS = TOKENS / 4 * CHANNELS; /* four tokens of a channel side by side */

shared vec4 steps[2 * QUADS];  /* Δ */
shared vec4 inputs[2 * QUADS]; /* Δ·u */
shared vec4 matrices[2 * TOKENS * GROUP];

/* What this lane brings of a tile. */
struct Part {
    float u[OWN];
    float delta[OWN];
    vec2 b;
};

/* Where it lies, and the lane's place. */
int at_u, at_delta, at_b, n_b, left;
int g = lane / CHANNELS, mine = lane % CHANNELS, own_t = g * OWN;

void fetch(out Part part)
{
    [[unroll]] for (int i = 0; i < OWN; i++) {
        part.u[i] = LM_AT(u, at_u + i * p.u_stride);
        part.delta[i] = LM_AT(delta, at_delta + i * p.delta_stride);
    }
    if ((FLAGS & LM_TILED_VECTORS) != 0) part.b = LM_AT(bc2, at_b >> 1);
    else part.b = vec2(n_b < p.d_state ? LM_AT(bc, at_b) : 0.0, n_b + 1 < p.d_state ? LM_AT(bc, at_b + 1) : 0.0);
    at_u -= TOKENS * p.u_stride;
    at_delta -= TOKENS * p.delta_stride;
    at_b -= TOKENS * p.bc_stride;
}

/* Takes the next tile, of which this lane has `part`, with half `now` of shared memory, and has the one after it fetched. */
void take_tile(int now, inout Part part, inout vec4 s, inout float total, vec4 rate, float slowest)
{
    bool finite = is_finite_bits(part.b.x) && is_finite_bits(part.b.y);
    [[unroll]] for (int i = 0; i < OWN; i += 4) {
        vec4 by = vec4(part.delta[i], part.delta[i + 1], part.delta[i + 2], part.delta[i + 3]);
        vec4 added = by * vec4(part.u[i], part.u[i + 1], part.u[i + 2], part.u[i + 3]);
        steps[now * QUADS + (own_t + i) / 4 * CHANNELS + mine] = by;
        inputs[now * QUADS + (own_t + i) / 4 * CHANNELS + mine] = added;
        [[unroll]] for (int k = 0; k < 4; k++) finite = finite && is_finite_bits(added[k]);
    }
    matrices[(now * WG_X + lane) / 2][lane % 2 * 2] = part.b.x;
    matrices[(now * WG_X + lane) / 2][lane % 2 * 2 + 1] = part.b.y;
    if (!finite) atomicOr(odd[now], 1u);
    barrier();
    if (left > TOKENS) fetch(part);
    int at = now * QUADS + mine, from = now * TOKENS * GROUP + g;
    float sum = 0.0;
    if (odd[now] != 0u) {
        /* An infinite input stays what it is, however long ago. There are TOKENS, but compilers that knew would unroll this. */
        [[dont_unroll]] for (int i = min(TOKENS, p.chunk_length) - 1; i >= 0; i--) {
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
    left -= TOKENS;
}

void main()
{
    int tile = int(gl_WorkGroupID.x) * CHANNELS, chunk = int(gl_WorkGroupID.y), b = int(gl_WorkGroupID.z);
    int n = p.state_first + 4 * g, states = min(4, p.d_state - n), c = min(tile + mine, p.channels - 1);
    int t_end = chunk * p.chunk_length;
    vec4 s = vec4(0.0), rate = vec4(0.0);
    /* All at once what does not depend on something else: the first lanes read a word of the row table each. */
    if (lane < LM_ROW_HEADS) head[lane] = LM_AT(rows, b * p.rows_stride + lane);
    [[unroll]] for (int k = 0; k < 4; k++) rate[k] = k < states ? LM_AT(a, (n + k) * p.channels + c) : 0.0;
    if (lane < 2) odd[lane] = 0u;
    barrier();
    if (t_end >= head[LM_ROW_LENGTH]) return;
    left = chunk > 0 ? p.chunk_length : 0;
    int r = head[LM_ROW_START] + t_end - TOKENS;
    n_b = p.state_first + lane % (2 * GROUP) * 2;
    at_u = (r + own_t) * p.u_stride + c;
    at_delta = (r + own_t) * p.delta_stride + c;
    at_b = (r + lane / (2 * GROUP)) * p.bc_stride + p.b_offset + n_b;
    Part part;
    if (left > 0) fetch(part);
    if (chunk == 0 && head[LM_ROW_SEEN] > 0)
        [[unroll]] for (int k = 0; k < 4; k++)
            s[k] = k < states ? LM_AT(state, (head[LM_ROW_SLOT] * p.d_state + n + k) * p.channels + c) : 0.0;
    float total = 0.0, slowest = 3.4028235e38;
    [[unroll]] for (int k = 0; k < 4; k++) {
        rate[k] *= 1.44269504;
        if (k < states) slowest = min(slowest, -rate[k]);
    }
    for (int now = 0; left > 0; now ^= 1) take_tile(now, part, s, total, rate, slowest);
    if (tile + mine >= p.channels) return;
    int record = (b * p.chunks + chunk) * (p.d_state + 1) * p.channels + c;
    [[unroll]] for (int k = 0; k < 4; k++)
        if (k < states) LM_AT(ends, record + (n + k) * p.channels) = s[k];
    if (n == 0) LM_AT(ends, record + p.d_state * p.channels) = total;
}
