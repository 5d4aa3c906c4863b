/* kernels/glsl/step_in.comp: norm, in_proj and all convolutions of one token of each of a few sequences, and what they add to
 * x_proj: all that a channel needs but its own column of in_proj is its past.
 *
 * A group has ROWS sequences and TILE columns of one half of in_proj. A lane has four columns and takes four rows of the matrix at a
 * time, k = 4·y and on by 4·SPLIT; the sums of SPLIT lanes meet in shared memory, in an order that depends on the constants
 * alone. Rows are normed by scaling their results. The other WG_Y − SPLIT lanes along y (all, where there are no others) look back
 * meanwhile: they reduce what is in the rings to one number a branch. With the product there, a lane has a branch of a channel, or
 * with LM_STEP_STACKED a channel and one branch after the other: the ring takes the new input, SiLU, gates; and the group's part of
 * x_proj is summed, which step_scan adds up.
 * ALIGNED: rows and columns come in whole fours at addresses of whole fours. Grid: x tiles of both halves, y ROWS sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int SPLIT = 16;
layout(constant_id = 4) const int ROWS = 1;
layout(constant_id = 5) const int ALIGNED = 0;
layout(constant_id = 6) const int BRANCHES = 1;
layout(constant_id = 7) const int TAPS = 4;
layout(constant_id = 8) const int AHEAD = 1;
layout(constant_id = 9) const int WIDTH = 0;
const int WG_X = int(gl_WorkGroupSize.x);
const int WG_Y = int(gl_WorkGroupSize.y);
const int GROUP = WG_X * WG_Y;
const int TILE = 4 * WG_X;
const int QUADS = WIDTH > 0 ? WIDTH / 4 : 1;
const int ROOM = WIDTH > 0 ? GROUP / QUADS : 1;      /* lanes of one four of x_proj's columns */
const int OWN = WIDTH > 0 ? (TILE + ROOM - 1) / ROOM : 1; /* channels of theirs */

LM_PARAMETERS(LM_STEP_IN_FIELDS, 9)
LM_BUFFER(0, readonly, float, x)
LM_BUFFER(0, readonly, vec4, x4)
LM_BUFFER(1, readonly, float, norm)
LM_BUFFER(1, readonly, vec4, norm4)
LM_BUFFER(2, readonly, float, weight)
LM_BUFFER(2, readonly, vec4, weight4)
LM_BUFFER(3, readonly, float, bias)
LM_BUFFER(4, readonly, float, conv)
LM_BUFFER(4, readonly, int, dilations)
LM_BUFFER(5, readonly, int, rows)
LM_BUFFER(6, , float, history)
LM_BUFFER(7, readonly, float, x_proj)
LM_BUFFER(7, readonly, vec4, x_proj4)
LM_BUFFER(8, writeonly, float, result)

#include "kernels/glsl/common.glsl"

shared float value[ROWS * TILE];           /* in_proj, then u */
shared float past[ROWS * BRANCHES * TILE]; /* of each branch: bias and older taps; then its SiLU */
shared float newest[BRANCHES * TILE];      /* the last tap, */
shared float share[BRANCHES];              /* and the gate */
shared int newest_at[ROWS * BRANCHES];     /* where the tile's newest entry goes in each ring */
shared float columns[WIDTH > 0 ? ROOM * WIDTH : GROUP];

vec4 fours[OWN]; /* of x_proj: a lane's own, from channel first_c on */
int first_c;

#define LM_TILE_NORMS
#include "kernels/glsl/step.glsl"

void load_meanwhile(int lane)
{
    if (WIDTH == 0) return;
    [[unroll]] for (int i = 0; i < OWN; i++) {
        int c = lane / QUADS + i * ROOM;
        fours[i] = c < min(TILE, p.channels - first_c) ? LM_AT(x_proj4, (first_c + c) * QUADS + lane % QUADS) : vec4(0.0);
    }
}

bool has(int flag) { return (p.flags & flag) != 0; }

struct Ring {
    int base; /* of the slot */
    int len;
    int head;
};

Ring ring_of(int row, int k)
{
    Ring ring = Ring(0, p.history, LM_AT(rows, row + LM_ROW_HEADS));
    if (has(LM_STEP_STACKED)) {
        for (int i = 0; i < k; i++)
            ring.base += lm_ceil_div(p.slots * ((TAPS - 1) * LM_AT(dilations, i) + 1) * p.channels, p.ring_align) * p.ring_align;
        ring.len = (TAPS - 1) * LM_AT(dilations, k) + 1;
        ring.head = LM_AT(rows, row + LM_ROW_HEADS + k);
    }
    ring.base += LM_AT(rows, row + LM_ROW_SLOT) * ring.len * p.channels;
    return ring;
}

/* Bias and older taps of branch k of the group's row r at channel c0 + c. */
void look_back(int m0, int r, int k, int c0, int c)
{
    int row = (m0 + r) * p.rows_stride, seen = LM_AT(rows, row + LM_ROW_SEEN), dilation = LM_AT(dilations, k);
    Ring ring = ring_of(row, k);
    float sum = LM_AT(conv, p.bias_offset + k * p.channels + c0 + c);
    int w = p.weight_offset + k * TAPS * p.channels + c0 + c;
    [[unroll]] for (int j = 0; j < TAPS - 1; j++) {
        int back = (TAPS - 1 - j) * dilation, place = ring.head - back;
        place = place < 0 ? place + ring.len : place;
        if (back <= seen) sum += LM_AT(conv, w + j * p.channels) * LM_AT(history, ring.base + place * p.channels + c0 + c);
    }
    past[(r * BRANCHES + k) * TILE + c] = sum;
    if (r == 0) newest[k * TILE + c] = LM_AT(conv, w + (TAPS - 1) * p.channels);
    if (r == 0 && c == 0) share[k] = LM_AT(conv, p.gate_offset + k);
    if (c == 0) newest_at[r * BRANCHES + k] = ring.base + ring.head * p.channels + c0;
}

/* Column n of in_proj for row r of the group, c of the tile. */
float projected(int r, int c, int n) { return value[r * TILE + c] + (has(LM_STEP_BIAS) ? LM_AT(bias, n) : 0.0); }

/* From in_proj to u, in value, for the rows and channels that there are. */
void convolve(int m0, int m_end, int c0, int c_end, int lane)
{
    if (has(LM_STEP_STACKED)) {
        for (int i = lane; i < ROWS * TILE; i += GROUP) {
            int c = i % TILE, r = i / TILE;
            if (r >= m_end || c >= c_end) continue;
            float v = projected(r, c, c0 + c);
            [[unroll]] for (int k = 0; k < BRANCHES; k++) {
                LM_AT(history, newest_at[r * BRANCHES + k] + c) = v;
                v = lm_silu_fused(newest[k * TILE + c] * v + past[(r * BRANCHES + k) * TILE + c]);
            }
            value[i] = v;
            LM_AT(result, p.u_offset + (m0 + r) * p.channels + c0 + c) = v;
        }
        return;
    }
    for (int i = lane; i < ROWS * BRANCHES * TILE; i += GROUP) {
        int c = i % TILE, k = i / TILE % BRANCHES, r = i / (TILE * BRANCHES);
        if (r >= m_end || c >= c_end) continue;
        float v = projected(r, c, c0 + c), s = lm_silu_fused(newest[k * TILE + c] * v + past[i]);
        if (k == 0) LM_AT(history, newest_at[r * BRANCHES] + c) = v;
        if (has(LM_STEP_CONCAT)) LM_AT(result, p.u_offset + ((m0 + r) * BRANCHES + k) * p.channels + c0 + c) = s;
        past[i] = s;
    }
    if (has(LM_STEP_CONCAT)) return;
    barrier();
    for (int i = lane; i < ROWS * TILE; i += GROUP) {
        int c = i % TILE, r = i / TILE;
        if (r >= m_end || c >= c_end) continue;
        float u = 0.0;
        [[unroll]] for (int k = 0; k < BRANCHES; k++) u += share[k] * past[(r * BRANCHES + k) * TILE + c];
        value[i] = u;
        LM_AT(result, p.u_offset + (m0 + r) * p.channels + c0 + c) = u;
    }
}

/* Columns j0 … of the tile's part of x_proj: lanes of one column share its channels, as many as there is room for. */
void project(int m0, int m_end, int tile, int tiles, int c_end, int lane, int j0)
{
    int wide = min(p.width - j0, GROUP), room = max(GROUP / p.width, 1), j = j0 + lane % wide, q = lane / wide;
    float sum[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; r++) sum[r] = 0.0;
    if (q < room) {
        int from = tile * TILE * p.width + j;
        for (int c = q; c < c_end; c += 4 * room) {
            float w[4];
            [[unroll]] for (int i = 0; i < 4; i++) w[i] = LM_AT(x_proj, from + min(c + i * room, c_end - 1) * p.width);
            [[unroll]] for (int i = 0; i < 4; i++) {
                int at = c + i * room;
                [[unroll]] for (int r = 0; r < ROWS; r++) /* fused, as products are */
                    if (at < c_end) sum[r] = fma(value[r * TILE + at], w[i], sum[r]);
            }
        }
    }
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        if (room > 1) {
            columns[lane] = sum[r];
            barrier();
            if (q == 0) {
                for (int i = 1; i < room; i++) sum[r] += columns[lane + i * wide];
            }
            barrier();
        }
        if (q == 0 && r < m_end) LM_AT(result, p.part_offset + ((m0 + r) * tiles + tile) * p.width + j) = sum[r];
    }
}

/* The same where x_proj is on its way already: a lane's fours are of channels lane / QUADS and on by ROOM. */
void project_fours(int m0, int m_end, int tile, int tiles, int c_end, int lane)
{
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        vec4 sum = vec4(0.0);
        [[unroll]] for (int i = 0; i < OWN; i++) {
            int c = lane / QUADS + i * ROOM;
            if (c < c_end) sum = fma(fours[i], vec4(value[r * TILE + c]), sum);
        }
        if (lane < ROOM * QUADS) {
            [[unroll]] for (int i = 0; i < 4; i++) columns[4 * lane + i] = sum[i];
        }
        barrier();
        for (int j = lane; j < WIDTH && r < m_end; j += GROUP) {
            float total = 0.0;
            [[unroll]] for (int q = 0; q < ROOM; q++) total += columns[q * WIDTH + j];
            LM_AT(result, p.part_offset + ((m0 + r) * tiles + tile) * WIDTH + j) = total;
        }
        if (r + 1 < ROWS) barrier();
    }
}

void step_tile(int m0, int tile, int tiles, int lane)
{
    bool front = tile < tiles;
    int c0 = (front ? tile : tile - tiles) * TILE, n0 = front ? c0 : p.channels + c0;
    int m_end = min(p.rows - m0, ROWS), c_end = min(TILE, p.channels - c0);
    const int first = SPLIT < WG_Y ? SPLIT * WG_X : 0; /* of the lanes that look back */
    barrier(); /* the tile before may still be reading */
    if (front && lane >= first) {
        for (int i = lane - first; i < ROWS * BRANCHES * TILE; i += GROUP - first) {
            int c = i % TILE, k = i / TILE % BRANCHES, r = i / (TILE * BRANCHES);
            if (r < m_end && c < c_end) look_back(m0, r, k, c0, c);
        }
    }
    first_c = front ? c0 : p.channels;
    multiply_rows(m0, m_end, n0, c_end, 2 * p.channels, lane);
    barrier();
    if (!front) {
        for (int i = lane; i < ROWS * TILE; i += GROUP) {
            int c = i % TILE, r = i / TILE;
            if (r < m_end && c < c_end) LM_AT(result, p.z_offset + (m0 + r) * p.channels + c0 + c) = projected(r, c, n0 + c);
        }
        return;
    }
    convolve(m0, m_end, c0, c_end, lane);
    barrier();
    if (WIDTH > 0) {
        project_fours(m0, m_end, tile, tiles, c_end, lane);
    } else {
        for (int j0 = 0; j0 < p.width; j0 += GROUP) project(m0, m_end, tile, tiles, c_end, lane, j0);
    }
}

void main()
{
    int lane = int(gl_LocalInvocationID.y) * WG_X + int(gl_LocalInvocationID.x), tiles = lm_ceil_div(p.channels, TILE);
    LM_EACH_TILE(tile_m, y, lm_ceil_div(p.rows, ROWS))
        LM_EACH_TILE(tile, x, 2 * tiles) step_tile(tile_m * ROWS, tile, tiles, lane);
}
