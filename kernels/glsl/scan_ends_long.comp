/* kernels/glsl/scan_ends_long.comp: scan_ends for long chunks, of which some states remember more than others.
 *
 *     record[i+1] = sum over the tokens t of chunk i of exp(A·σ_t)·Δ_t·B_t·u_t, σ_t the sum of Δ after t; and the sum of all Δ
 *
 * which is the chunk's last state from a zero start. Tokens are taken from the last to the first, a tile at a time: σ grows, and
 * where exp(A·σ) is 0 for four states of a lane it leaves those out. A lane has all states of a channel and OWN tokens of each tile,
 * neighbours have neighbouring channels, and PARTS lanes share a channel: so all have as much to do, however soon some states
 * forget, where lanes of scan_ends have four states each and wait for those that remember longest. What lanes know of each other in a
 * tile is the sum of their Δ; in the end their states are added up. B of two tiles is in shared memory in turn, and what the next two
 * tiles need is on its way. Records are as in scan_ends.
 * Grid: exactly one group for each x tile of CHANNELS channels, y chunk and z sequence.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"
#include "kernels/glsl/tile_ends.glsl"

const int PARTS = 4;
const int CHANNELS = int(gl_WorkGroupSize.x) / PARTS;
const int OWN = 4;
const int TOKENS = PARTS * OWN;

shared vec4 matrices[2 * TOKENS * GROUP];
shared float steps[2 * PARTS * CHANNELS]; /* the sum of a lane's Δ */
shared vec4 added_up[GROUP * PARTS * CHANNELS];

int part = lane / CHANNELS, mine = lane % CHANNELS;

/* What this lane brings of a tile: its tokens, and two floats of B where there is one more for it. */
struct Own {
    vec4 u;
    vec4 delta;
    vec2 b;
};

/* Where the lane's part of the next tile lies; and tokens that are left. */
int at_u, at_delta, at_b, n_b, left;

vec4 s[GROUP], rate[GROUP];
float slowest[GROUP], total = 0.0;

void fetch(out Own own)
{
    [[unroll]] for (int i = 0; i < OWN; i++) {
        own.u[i] = LM_AT(u, at_u + i * p.u_stride);
        own.delta[i] = LM_AT(delta, at_delta + i * p.delta_stride);
    }
    own.b = vec2(0.0);
    if (lane < 2 * TOKENS * GROUP) {
        if ((FLAGS & LM_TILED_VECTORS) != 0) own.b = LM_AT(bc2, at_b >> 1);
        else own.b = vec2(n_b < p.d_state ? LM_AT(bc, at_b) : 0.0, n_b + 1 < p.d_state ? LM_AT(bc, at_b + 1) : 0.0);
    }
    at_u -= TOKENS * p.u_stride;
    at_delta -= TOKENS * p.delta_stride;
    at_b -= TOKENS * p.bc_stride;
}

/* Takes the next tile, of which this lane has `own`, with half `now` of shared memory, and has the tile after the next fetched. */
void take_tile(int now, inout Own own)
{
    vec4 by = own.delta, added = by * own.u;
    bool finite = is_finite_bits(own.b.x) && is_finite_bits(own.b.y);
    [[unroll]] for (int i = 0; i < OWN; i++) finite = finite && is_finite_bits(added[i]);
    if (lane < 2 * TOKENS * GROUP) {
        matrices[now * TOKENS * GROUP + lane / 2][lane % 2 * 2] = own.b.x;
        matrices[now * TOKENS * GROUP + lane / 2][lane % 2 * 2 + 1] = own.b.y;
    }
    steps[(now * PARTS + part) * CHANNELS + mine] = (by.x + by.y) + (by.z + by.w);
    if (!finite) atomicOr(odd[now], 1u);
    barrier();
    if (left > 2 * TOKENS) fetch(own);
    /* σ of the lane's tokens: what comes after them in the tile, and all that came after the tile */
    float later = total;
    [[unroll]] for (int i = PARTS - 1; i >= 0; i--) {
        float of = steps[(now * PARTS + i) * CHANNELS + mine];
        if (i > part) later += of;
        total += of;
    }
    vec4 sigma;
    sigma[OWN - 1] = later;
    [[unroll]] for (int i = OWN - 2; i >= 0; i--) sigma[i] = sigma[i + 1] + by[i + 1];
    int from = (now * TOKENS + part * OWN) * GROUP;
    if (odd[now] != 0u) {
        /* An infinite input stays what it is, however long ago. The bound is OWN, but compilers that knew would unroll this. */
        for (int i = 0; i < min(OWN, p.chunk_length); i++) {
            [[unroll]] for (int q = 0; q < GROUP; q++) {
                vec4 more = added[i] * matrices[from + i * GROUP + q], decay = tile_decay(sigma[i] * rate[q]);
                [[unroll]] for (int k = 0; k < 4; k++) s[q][k] += is_finite_bits(more[k]) ? more[k] * decay[k] : more[k];
            }
        }
    } else {
        [[unroll]] for (int q = 0; q < GROUP; q++) {
            if (later * slowest[q] < FORGOTTEN) {
                [[unroll]] for (int i = OWN - 1; i >= 0; i--)
                    s[q] = fma(tile_decay(sigma[i] * rate[q]), added[i] * matrices[from + i * GROUP + q], s[q]);
            }
        }
    }
    left -= TOKENS;
}

void main()
{
    int tile = int(gl_WorkGroupID.x) * CHANNELS, chunk = int(gl_WorkGroupID.y), b = int(gl_WorkGroupID.z);
    int c = min(tile + mine, p.channels - 1), t_end = chunk * p.chunk_length;
    /* All at once what does not depend on something else: the first lanes read a word of the row table each. */
    if (lane < LM_ROW_HEADS) head[lane] = LM_AT(rows, b * p.rows_stride + lane);
    [[unroll]] for (int i = 0; i < 4 * GROUP; i++) {
        int n = p.state_first + i;
        rate[i / 4][i % 4] = n < p.d_state ? LM_AT(a, n * p.channels + c) : 0.0;
    }
    if (lane < 2) odd[lane] = 0u;
    barrier();
    if (t_end >= head[LM_ROW_LENGTH]) return;
    left = chunk > 0 ? p.chunk_length : 0;
    int r = head[LM_ROW_START] + t_end - TOKENS;
    n_b = p.state_first + lane % (2 * GROUP) * 2;
    at_u = (r + part * OWN) * p.u_stride + c;
    at_delta = (r + part * OWN) * p.delta_stride + c;
    at_b = (r + lane / (2 * GROUP)) * p.bc_stride + p.b_offset + n_b;
    Own even_tile, odd_tile;
    if (left > 0) fetch(even_tile);
    if (left > TOKENS) fetch(odd_tile);
    bool resumes = part == 0 && chunk == 0 && head[LM_ROW_SEEN] > 0;
    [[unroll]] for (int q = 0; q < GROUP; q++) {
        slowest[q] = 3.4028235e38;
        [[unroll]] for (int k = 0; k < 4; k++) {
            int n = p.state_first + 4 * q + k;
            rate[q][k] *= 1.44269504;
            if (n < p.d_state) slowest[q] = min(slowest[q], -rate[q][k]);
            s[q][k] = resumes && n < p.d_state ? LM_AT(state, (head[LM_ROW_SLOT] * p.d_state + n) * p.channels + c) : 0.0;
        }
    }
    while (left > 0) {
        take_tile(0, even_tile);
        if (left <= 0) break;
        take_tile(1, odd_tile);
    }
    [[unroll]] for (int q = 0; q < GROUP; q++) added_up[q * PARTS * CHANNELS + lane] = s[q];
    barrier();
    /* Part q of a channel's lanes adds its four states q up. */
    if (part >= GROUP || tile + mine >= p.channels) return;
    int record = (b * p.chunks + chunk) * (p.d_state + 1) * p.channels + c;
    vec4 sum = vec4(0.0);
    [[unroll]] for (int i = 0; i < PARTS; i++) sum += added_up[(part * PARTS + i) * CHANNELS + mine];
    [[unroll]] for (int k = 0; k < 4; k++) {
        int n = p.state_first + 4 * part + k;
        if (n < p.d_state) LM_AT(ends, record + n * p.channels) = sum[k];
    }
    if (part == 0 && p.state_first == 0) LM_AT(ends, record + p.d_state * p.channels) = total;
}
