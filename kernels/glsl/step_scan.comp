/* kernels/glsl/step_scan.comp: adds the parts of x_proj up, and takes one token of each of a few sequences through dt_proj and
 * the selective scan.
 *
 *     Δ = softplus(low·dt_weight + dt_bias);  s = exp(Δ·A)·s + Δ·B·u;  y = (sum_n C·s + D·u)·SiLU(z)
 *
 * A group has WG_X channels of a sequence, and its own copy of low, B and C. Lanes along y share a channel's ranks and states:
 * lane y has those from y on by WG_Y, RANKS and STATES of them, which are on their way while the parts are added up. ALIGNED:
 * rows of parts are whole fours of floats. Grid: x tiles of WG_X channels, and a group for look_ahead(); y sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int STATES = 16;
layout(constant_id = 4) const int RANKS = 16;
layout(constant_id = 5) const int WIDTH = 48;
layout(constant_id = 6) const int ALIGNED = 0;
layout(constant_id = 7) const int AT_ONCE = 2; /* parts on their way */
const int WG_X = int(gl_WorkGroupSize.x);
const int WG_Y = int(gl_WorkGroupSize.y);
const int GROUP = WG_X * WG_Y;
const int FOURS = (WIDTH + 3) / 4;
const int SHARES = GROUP > FOURS ? GROUP / FOURS : 1; /* lanes that add up the same columns */

LM_PARAMETERS(LM_STEP_SCAN_FIELDS, 10)
LM_BUFFER(0, readonly, float, from)
LM_BUFFER(0, readonly, vec4, from4)
LM_BUFFER(1, readonly, float, dt_weight)
LM_BUFFER(2, readonly, float, dt_bias)
LM_BUFFER(3, readonly, float, a)
LM_BUFFER(4, readonly, float, d)
LM_BUFFER(5, readonly, int, rows)
LM_BUFFER(6, , float, state)
LM_BUFFER(7, writeonly, float, y)
LM_BUFFER(8, readonly, int, soon_0)
LM_BUFFER(9, readonly, int, soon_1)

#include "kernels/glsl/common.glsl"

shared vec4 shares[FOURS * SHARES];
shared float projected[FOURS * 4];
shared float low[GROUP];
shared float sums[GROUP];

vec4 four_of_part(int part, int column)
{
    int at = part + 4 * column, left = WIDTH - 4 * column;
    if (ALIGNED != 0) return LM_AT(from4, at >> 2);
    return vec4(LM_AT(from, at), left > 1 ? LM_AT(from, at + 1) : 0.0, left > 2 ? LM_AT(from, at + 2) : 0.0,
                left > 3 ? LM_AT(from, at + 3) : 0.0);
}

/* shares: each one's sum of some of a row's parts. */
void add_parts(int parts, int lane)
{
    for (int i = lane; i < FOURS * SHARES; i += GROUP) {
        int column = i % FOURS, share = i / FOURS;
        vec4 sum = vec4(0.0);
        int part = share;
        for (; part < p.parts; part += AT_ONCE * SHARES) {
            vec4 v[AT_ONCE]; /* zeros past the last part */
            [[unroll]] for (int k = 0; k < AT_ONCE; k++)
                v[k] = part + k * SHARES < p.parts ? four_of_part(parts + (part + k * SHARES) * WIDTH, column) : vec4(0.0);
            [[unroll]] for (int k = 0; k < AT_ONCE; k++) sum += v[k];
        }
        shares[i] = sum;
    }
    barrier();
}

/* projected[0 … WIDTH−1]: the sum of the shares. */
void add_shares(int lane)
{
    for (int column = lane; column < 4 * FOURS; column += GROUP) {
        float sum = 0.0;
        [[unroll]] for (int share = 0; share < SHARES; share++) sum += shares[share * FOURS + column / 4][column % 4];
        projected[column] = sum;
    }
    barrier();
}

void step_tile(int b, int tile, int lane)
{
    int row = b * p.rows_stride, lx = int(gl_LocalInvocationID.x), ly = int(gl_LocalInvocationID.y);
    bool resumes = LM_AT(rows, row + LM_ROW_SEEN) > 0;
    int own = tile * WG_X + lx, c = min(own, p.channels - 1); /* lanes past the last channel repeat it and store nothing */
    bool live = own < p.channels;
    int at = LM_AT(rows, row + LM_ROW_SLOT) * p.d_state * p.channels + c;
    float u = LM_AT(from, p.u_offset + b * p.channels + c), z = LM_AT(from, p.z_offset + b * p.channels + c);
    float skip = LM_AT(d, c), bias = LM_AT(dt_bias, c);
    float weights[RANKS], s[STATES], rate[STATES];
    [[unroll]] for (int i = 0; i < RANKS; i++) {
        int r = ly + i * WG_Y;
        weights[i] = r < p.rank ? LM_AT(dt_weight, r * p.channels + c) : 0.0;
    }
    [[unroll]] for (int i = 0; i < STATES; i++) {
        int n = ly + i * WG_Y;
        s[i] = resumes && live && n < p.d_state ? LM_AT(state, at + n * p.channels) : 0.0;
        rate[i] = n < p.d_state ? LM_AT(a, n * p.channels + c) : 0.0;
    }
    bool first = tile == int(gl_WorkGroupID.x), last = ly == WG_Y - 1;
    if (first) add_parts(p.part_offset + b * p.parts * WIDTH, lane);
    float gate = last ? lm_silu_fused(z) : 0.0; /* while the lanes at the other end add */
    if (first) add_shares(lane);
    float sum = 0.0;
    [[unroll]] for (int i = 0; i < RANKS; i++) {
        int r = ly + i * WG_Y;
        if (r < p.rank) sum += projected[r] * weights[i];
    }
    low[lane] = sum;
    barrier();
    float by = 0.0;
    [[unroll]] for (int i = 0; i < WG_Y; i++) by += low[i * WG_X + lx];
    by = lm_softplus_fused(by + bias);
    float added = by * u;
    sum = 0.0;
    [[unroll]] for (int i = 0; i < STATES; i++) {
        int n = ly + i * WG_Y;
        if (n < p.d_state) {
            s[i] = lm_decay_step(s[i], by * rate[i], added * projected[p.rank + n]);
            sum += projected[p.rank + p.d_state + n] * s[i];
            if (live) LM_AT(state, at + n * p.channels) = s[i];
        }
    }
    sums[lane] = sum;
    barrier();
    if (!last || !live) return;
    [[unroll]] for (int i = 0; i < WG_Y - 1; i++) sum += sums[i * WG_X + lx];
    LM_AT(y, b * p.channels + c) = (sum + skip * u) * gate;
}

/* Reads a number of every 2 MiB of the weights that come next. A GPU looks up in tables where a page is in memory, which takes long
 * where it does not remember it, and it remembers fewer pages than a large model has: with this, 64 layers of d_model 2560 take
 * 3.50 ms on an H200, and 3.74 without. */
void look_ahead(int lane)
{
    const int PAGE = 1 << 19;
    int seen = 0;
    for (int at = lane * PAGE; p.soon_size_0 > 0 && at < p.soon_size_0 + PAGE; at += GROUP * PAGE)
        seen ^= LM_AT(soon_0, min(at, p.soon_size_0 - 1));
    for (int at = lane * PAGE; p.soon_size_1 > 0 && at < p.soon_size_1 + PAGE; at += GROUP * PAGE)
        seen ^= LM_AT(soon_1, min(at, p.soon_size_1 - 1));
    /* Never so, as squares are 0, 1 or 4 modulo 8: but compilers do not know, and keep the loads. */
    if ((seen * seen & 7) == 5) LM_AT(y, 0) = 0.0;
}

void main()
{
    int lane = int(gl_LocalInvocationID.y) * WG_X + int(gl_LocalInvocationID.x);
    if (gl_WorkGroupID.x == gl_NumWorkGroups.x - 1 && gl_WorkGroupID.y == 0) look_ahead(lane);
    LM_EACH_TILE(b, y, p.rows) {
        LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X)) step_tile(b, tile, lane);
    }
}
