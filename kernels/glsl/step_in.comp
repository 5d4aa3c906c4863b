/* kernels/glsl/step_in.comp: norm, in_proj and all convolutions of one token of each of a few sequences, and what they add to
 * x_proj: all that a channel needs but its own column of in_proj is its past.
 *
 * A group has ROWS sequences and TILE columns of one half of in_proj. A lane has four columns and takes four rows of the matrix at a
 * time, k = 4·y and on by 4·SPLIT; the sums of SPLIT lanes meet in shared memory, in an order that depends on the constants
 * alone. Rows are normed by scaling their results. The other WG_Y − SPLIT lanes along y (all, where there are no others) look back
 * meanwhile: they reduce what is in the rings to one number a branch. With the product there, a lane has a channel: SiLU, gates,
 * or the next branch; the ring takes the new input; and the group's part of x_proj is summed, which step_scan adds up.
 * ALIGNED: rows and columns come in whole fours at addresses of whole fours. Grid: x tiles of both halves, y ROWS sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

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

layout(push_constant) uniform Params { LM_STEP_IN_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 0, std430) readonly buffer X4 { vec4 x4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Norm { float norm[]; };
layout(set = 0, binding = 1, std430) readonly buffer Norm4 { vec4 norm4[]; };
layout(set = 0, binding = 2, std430) readonly buffer Weight { float weight[]; };
layout(set = 0, binding = 2, std430) readonly buffer Weight4 { vec4 weight4[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Conv { float conv[]; };
layout(set = 0, binding = 4, std430) readonly buffer Dilations { int dilations[]; };
layout(set = 0, binding = 5, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 6, std430) buffer History { float history[]; };
layout(set = 0, binding = 7, std430) readonly buffer XProj { float x_proj[]; };
layout(set = 0, binding = 7, std430) readonly buffer XProj4 { vec4 x_proj4[]; };
layout(set = 0, binding = 8, std430) writeonly buffer Out { float result[]; };

#include "kernels/glsl/common.glsl"

shared float value[ROWS * TILE];           /* in_proj, then u */
shared float past[ROWS * BRANCHES * TILE]; /* of each branch: bias and older taps; then its input */
shared float newest[BRANCHES * TILE];      /* the last tap, */
shared float share[BRANCHES];              /* and the gate */
shared float columns[WIDTH > 0 ? ROOM * WIDTH : GROUP];

#define LM_TILE_NORMS
#include "kernels/glsl/step.glsl"

bool has(int flag) { return (p.flags & flag) != 0; }

struct Ring {
    int base; /* of the slot */
    int len;
    int head;
};

Ring ring_of(int row, int k)
{
    Ring ring = Ring(0, p.history, rows[row + LM_ROW_HEADS]);
    if (has(LM_STEP_STACKED)) {
        for (int i = 0; i < k; i++)
            ring.base += lm_ceil_div(p.slots * ((TAPS - 1) * dilations[i] + 1) * p.channels, p.ring_align) * p.ring_align;
        ring.len = (TAPS - 1) * dilations[k] + 1;
        ring.head = rows[row + LM_ROW_HEADS + k];
    }
    ring.base += rows[row + LM_ROW_SLOT] * ring.len * p.channels;
    return ring;
}

/* Bias and older taps of branch k of the group's row r at channel c0 + c. */
void look_back(int m0, int r, int k, int c0, int c)
{
    int row = (m0 + r) * p.rows_stride, seen = rows[row + LM_ROW_SEEN], dilation = dilations[k];
    Ring ring = ring_of(row, k);
    float sum = conv[p.bias_offset + k * p.channels + c0 + c];
    int w = p.weight_offset + k * TAPS * p.channels + c0 + c;
    [[unroll]] for (int j = 0; j < TAPS - 1; j++) {
        int back = (TAPS - 1 - j) * dilation, place = ring.head - back;
        place = place < 0 ? place + ring.len : place;
        if (back <= seen) sum += conv[w + j * p.channels] * history[ring.base + place * p.channels + c0 + c];
    }
    past[(r * BRANCHES + k) * TILE + c] = sum;
    if (r == 0) newest[k * TILE + c] = conv[w + (TAPS - 1) * p.channels];
    if (r == 0 && c == 0) share[k] = conv[p.gate_offset + k];
}

/* Row r, channel c of the tile, from in_proj's sum v to u. */
float convolve(int m, int r, int c0, int c, float v)
{
    float u = 0.0;
    [[unroll]] for (int k = 0; k < BRANCHES; k++) {
        int was = (r * BRANCHES + k) * TILE + c;
        float s = lm_silu(newest[k * TILE + c] * v + past[was]);
        past[was] = v;
        if (has(LM_STEP_CONCAT)) result[p.u_offset + (m * BRANCHES + k) * p.channels + c0 + c] = s;
        if (has(LM_STEP_STACKED)) u = v = s;
        else u += share[k] * s;
    }
    return u;
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
            [[unroll]] for (int i = 0; i < 4; i++) w[i] = x_proj[from + min(c + i * room, c_end - 1) * p.width];
            [[unroll]] for (int i = 0; i < 4; i++) {
                int at = c + i * room;
                [[unroll]] for (int r = 0; r < ROWS; r++) sum[r] += at < c_end ? value[r * TILE + at] * w[i] : 0.0;
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
        if (q == 0 && r < m_end) result[p.part_offset + ((m0 + r) * tiles + tile) * p.width + j] = sum[r];
    }
}

/* The same where x_proj has been on its way since the beginning: a lane's fours are of channels lane / QUADS and on by ROOM. */
void project_fours(int m0, int m_end, int tile, int tiles, int c_end, int lane, vec4 fours[OWN])
{
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        vec4 sum = vec4(0.0);
        [[unroll]] for (int i = 0; i < OWN; i++) {
            int c = lane / QUADS + i * ROOM;
            if (c < c_end) sum += fours[i] * value[r * TILE + c];
        }
        if (lane < ROOM * QUADS) {
            [[unroll]] for (int i = 0; i < 4; i++) columns[4 * lane + i] = sum[i];
        }
        barrier();
        for (int j = lane; j < WIDTH && r < m_end; j += GROUP) {
            float total = 0.0;
            [[unroll]] for (int q = 0; q < ROOM; q++) total += columns[q * WIDTH + j];
            result[p.part_offset + ((m0 + r) * tiles + tile) * WIDTH + j] = total;
        }
        barrier();
    }
}

void step_tile(int m0, int tile, int tiles, int lane)
{
    bool front = tile < tiles;
    int c0 = (front ? tile : tile - tiles) * TILE, n0 = front ? c0 : p.channels + c0;
    int m_end = min(p.rows - m0, ROWS), c_end = min(TILE, p.channels - c0);
    const int first = SPLIT < WG_Y ? SPLIT * WG_X : 0; /* of the lanes that look back */
    barrier(); /* the tile before may still be reading */
    vec4 fours[OWN];
    [[unroll]] for (int i = 0; i < OWN; i++) {
        int c = lane / QUADS + i * ROOM;
        fours[i] = WIDTH > 0 && front && c < c_end ? x_proj4[(c0 + c) * QUADS + lane % QUADS] : vec4(0.0);
    }
    if (front && lane >= first) {
        for (int i = lane - first; i < ROWS * BRANCHES * TILE; i += GROUP - first) {
            int c = i % TILE, k = i / TILE % BRANCHES, r = i / (TILE * BRANCHES);
            if (r < m_end && c < c_end) look_back(m0, r, k, c0, c);
        }
    }
    multiply_rows(m0, m_end, n0, c_end, 2 * p.channels, lane);
    barrier();
    for (int i = lane; i < ROWS * TILE; i += GROUP) {
        int c = i % TILE, r = i / TILE, m = m0 + r;
        if (r >= m_end || c >= c_end) continue;
        float v = value[i] + (has(LM_STEP_BIAS) ? bias[n0 + c] : 0.0);
        if (!front) {
            result[p.z_offset + m * p.channels + c0 + c] = v;
            continue;
        }
        float u = convolve(m, r, c0, c, v);
        value[i] = u;
        if (!has(LM_STEP_CONCAT)) result[p.u_offset + m * p.channels + c0 + c] = u;
    }
    if (!front) return;
    barrier();
    if (WIDTH > 0) {
        project_fours(m0, m_end, tile, tiles, c_end, lane, fours);
    } else {
        for (int j0 = 0; j0 < p.width; j0 += GROUP) project(m0, m_end, tile, tiles, c_end, lane, j0);
    }
    int rings = has(LM_STEP_STACKED) ? BRANCHES : 1;
    for (int i = lane; i < ROWS * rings * TILE; i += GROUP) {
        int c = i % TILE, k = i / TILE % rings, r = i / (TILE * rings);
        if (r >= m_end || c >= c_end) continue;
        Ring ring = ring_of((m0 + r) * p.rows_stride, k);
        history[ring.base + ring.head * p.channels + c0 + c] = past[(r * BRANCHES + k) * TILE + c];
    }
}

void main()
{
    int lane = int(gl_LocalInvocationID.y) * WG_X + int(gl_LocalInvocationID.x), tiles = lm_ceil_div(p.channels, TILE);
    LM_EACH_TILE(tile_m, y, lm_ceil_div(p.rows, ROWS))
        LM_EACH_TILE(tile, x, 2 * tiles) step_tile(tile_m * ROWS, tile, tiles, lane);
}
