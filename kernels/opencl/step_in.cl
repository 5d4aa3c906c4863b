/* kernels/opencl/step_in.cl: norm, in_proj and all convolutions of one token of each of a few sequences, and what they add to
 * x_proj: all that a channel needs but its own column of in_proj is its past.
 *
 * A group has ROWS sequences and TILE columns of one half of in_proj. While SPLIT lanes along y sum the product, the other WG_Y −
 * SPLIT (all, where there are no others) look back: they reduce what is in the rings to one number a branch. With the product
 * there, a lane has a branch of a channel, or with LM_STEP_STACKED a channel and one branch after the other: the ring takes the new
 * input, SiLU, gates; and the group's part of x_proj is summed, which step_scan adds up. (LANES 16: a group is one lane, and does it
 * all in turn.)
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/step.h"

#define VECTORS (TILE / LANES) /* what a lane has at once, of a tile's channels */
#if WIDTH > 0
#define QUADS (WIDTH / 4)
#define ROOM (GROUP / QUADS)             /* lanes of one four of x_proj's columns */
#define OWN ((TILE + ROOM - 1) / ROOM)   /* channels of theirs */
#endif

/* Where the ring of branch k starts, its length and its head. */
typedef struct lm_ring {
    int base, length, head;
} lm_ring;

static inline lm_ring lm_ring_of(const lm_step_in_params p, __global const int *dilations, __global const int *row, int k)
{
    lm_ring ring = {0, p.history, row[LM_ROW_HEADS]};
    if (p.flags & LM_STEP_STACKED) {
        for (int i = 0; i < k; i++) {
            const uint size = (uint)(p.slots * ((TAPS - 1) * dilations[i] + 1) * p.channels), align = (uint)p.ring_align;
            ring.base += (int)((size + align - 1) / align * align);
        }
        ring.length = (TAPS - 1) * dilations[k] + 1;
        ring.head = row[LM_ROW_HEADS + k];
    }
    ring.base += row[LM_ROW_SLOT] * ring.length * p.channels;
    return ring;
}

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_step_in(const lm_step_in_params p, const lm_places at, LM_BUFFER_ARGS)
{
    __global const float *x = LM_BINDING(0);
    __global const float *norm = LM_BINDING(1);
    __global const float *weight = LM_BINDING(2);
    __global const float *bias = LM_BINDING(3);
    __global const float *conv = LM_BINDING(4);
    __global const int *rows = (__global const int *)LM_BINDING(5);
    __global float *history = LM_BINDING(6);
    __global const float *x_proj = LM_BINDING(7);
    __global float *out = LM_BINDING(8);
    __global const int *dilations = (__global const int *)conv;
    __local float value[ROWS * TILE];           /* in_proj, then u */
    __local float past[ROWS * BRANCHES * TILE]; /* of each branch: bias and older taps; then its SiLU */
    __local float newest[BRANCHES * TILE];      /* the last tap, */
    __local float share[BRANCHES];              /* and the gate */
    __local int newest_at[ROWS * BRANCHES];     /* where the tile's newest entry goes in each ring */
    __local float part[LANES == 1 ? (SPLIT + SPLIT / 4) * (TILE + 1) : 1];
#if WIDTH > 0
    __local float columns[ROOM * WIDTH];
#else
    __local float columns[GROUP];
#endif
    const int lane = (int)get_local_id(1) * WG_X + (int)get_local_id(0);
    const int tiles = (p.channels + TILE - 1) / TILE;
    for (int m0 = (int)get_group_id(1) * ROWS; m0 < p.rows; m0 += (int)get_num_groups(1) * ROWS)
    for (int tile = (int)get_group_id(0); tile < 2 * tiles; tile += (int)get_num_groups(0)) {
        const bool front = tile < tiles;
        const int c0 = (front ? tile : tile - tiles) * TILE, n0 = front ? c0 : p.channels + c0, m_end = min(p.rows - m0, ROWS);
        const int helpers = SPLIT < WG_Y && LANES == 1 ? SPLIT * WG_X : 0; /* the first of them */
        for (int i = lane - helpers; front && i >= 0 && i < ROWS * BRANCHES * VECTORS; i += GROUP - helpers) {
            const uint vector = (uint)i / VECTORS;
            const int c = (int)((uint)i % VECTORS) * LANES, r = (int)(vector / BRANCHES), k = (int)vector - r * BRANCHES;
            const int count = min(LANES, p.channels - c0 - c);
            if (r >= m_end || count <= 0) continue;
            __global const int *row = rows + (m0 + r) * p.rows_stride;
            const lm_ring ring = lm_ring_of(p, dilations, row, k);
            const int seen = row[LM_ROW_SEEN], dilation = dilations[k];
            __global const float *w = conv + p.weight_offset + k * TAPS * p.channels + c0 + c;
            floatv sum = lm_load(conv + p.bias_offset + k * p.channels + c0 + c, count);
#pragma unroll
            for (int j = 0; j < TAPS - 1; j++) {
                const int back = (TAPS - 1 - j) * dilation, place = ring.head - back;
                __global const float *from = history + ring.base + (place < 0 ? place + ring.length : place) * p.channels + c0 + c;
                if (back <= seen) sum = LM_MAD(lm_load(w + j * p.channels, count), lm_load(from, count), sum);
            }
            LM_KEEP(sum, past + (r * BRANCHES + k) * TILE + c);
            if (r == 0) LM_KEEP(lm_load(w + (TAPS - 1) * p.channels, count), newest + k * TILE + c);
            if (r == 0 && c == 0) share[k] = conv[p.gate_offset + k];
            if (c == 0) newest_at[r * BRANCHES + k] = ring.base + ring.head * p.channels + c0;
        }
        const lm_tile product = {x + m0 * p.depth, m_end, p.depth, norm, (p.flags & LM_STEP_NORM) != 0, p.epsilon, weight + n0,
                                 2 * p.channels, min(TILE, p.channels - c0)};
        lm_sums own;
        lm_tile_multiply(product, &own);
#if WIDTH > 0
        float4 fours[OWN]; /* of x_proj, on their way while sums meet: of channels lane / QUADS and on by ROOM */
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            const int c = (int)((uint)lane / QUADS) + i * ROOM;
            fours[i] = (float4)(0.0f);
            if (front && c < TILE && c0 + c < p.channels)
                fours[i] = ((__global const float4 *)x_proj)[(c0 + c) * QUADS + (int)((uint)lane % QUADS)];
        }
#endif
        lm_tile_add(product, &own, value, part);
        barrier(CLK_LOCAL_MEM_FENCE);
        const bool stacked = (p.flags & LM_STEP_STACKED) != 0;
        for (int i = lane; (!front || stacked) && i < ROWS * VECTORS; i += GROUP) {
            const int c = (int)((uint)i % VECTORS) * LANES, r = (int)((uint)i / VECTORS), count = min(LANES, p.channels - c0 - c);
            if (r >= m_end || count <= 0) continue;
            floatv v = LM_LOCAL(value + r * TILE + c);
            if (p.flags & LM_STEP_BIAS) v += lm_load(bias + n0 + c, count);
#pragma unroll
            for (int k = 0; k < BRANCHES; k++) {
                if (!front) continue;
                lm_store(v, history + newest_at[r * BRANCHES + k] + c, count);
                v = lm_silu(LM_MAD(LM_LOCAL(newest + k * TILE + c), v, LM_LOCAL(past + (r * BRANCHES + k) * TILE + c)));
            }
            LM_KEEP(v, value + r * TILE + c);
            lm_store(v, out + (front ? p.u_offset : p.z_offset) + (m0 + r) * p.channels + c0 + c, count);
        }
        for (int i = lane; front && !stacked && i < ROWS * BRANCHES * VECTORS; i += GROUP) {
            const uint vector = (uint)i / VECTORS;
            const int c = (int)((uint)i % VECTORS) * LANES, r = (int)(vector / BRANCHES), k = (int)vector - r * BRANCHES;
            const int count = min(LANES, p.channels - c0 - c);
            if (r >= m_end || count <= 0) continue;
            __local float *was = past + (r * BRANCHES + k) * TILE + c;
            floatv v = LM_LOCAL(value + r * TILE + c);
            if (p.flags & LM_STEP_BIAS) v += lm_load(bias + n0 + c, count);
            if (k == 0) lm_store(v, history + newest_at[r * BRANCHES] + c, count);
            v = lm_silu(LM_MAD(LM_LOCAL(newest + k * TILE + c), v, LM_LOCAL(was)));
            if (p.flags & LM_STEP_CONCAT) lm_store(v, out + p.u_offset + ((m0 + r) * BRANCHES + k) * p.channels + c0 + c, count);
            LM_KEEP(v, was);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; front && !stacked && !(p.flags & LM_STEP_CONCAT) && i < ROWS * VECTORS; i += GROUP) {
            const int c = (int)((uint)i % VECTORS) * LANES, r = (int)((uint)i / VECTORS), count = min(LANES, p.channels - c0 - c);
            if (r >= m_end || count <= 0) continue;
            floatv u = (floatv)(0.0f);
#pragma unroll
            for (int k = 0; k < BRANCHES; k++) u = LM_MAD((floatv)(share[k]), LM_LOCAL(past + (r * BRANCHES + k) * TILE + c), u);
            LM_KEEP(u, value + r * TILE + c);
            lm_store(u, out + p.u_offset + (m0 + r) * p.channels + c0 + c, count);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (!front) continue;
        const int c_end = min(TILE, p.channels - c0);
#if WIDTH > 0
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float4 sum = (float4)(0.0f);
#pragma unroll
            for (int i = 0; i < OWN; i++) {
                const int c = (int)((uint)lane / QUADS) + i * ROOM;
                if (c < c_end) sum = LM_MAD(fours[i], (float4)(value[r * TILE + c]), sum);
            }
            if (lane < ROOM * QUADS) vstore4(sum, lane, columns);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int j = lane; j < WIDTH && r < m_end; j += GROUP) {
                float total = 0.0f;
#pragma unroll
                for (int q = 0; q < ROOM; q++) total += columns[q * WIDTH + j];
                out[p.part_offset + ((m0 + r) * tiles + tile) * WIDTH + j] = total;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#else
        /* Lanes of one column share its channels; there are as many of them as the group has room for. */
        const int room = max(GROUP / max(p.width, 1), 1);
        for (int j0 = 0; j0 < p.width; j0 += GROUP * LANES) {
            const int wide = min(p.width - j0, GROUP);
            const int q = LANES == 1 ? (int)((uint)lane / (uint)wide) : 0, j = LANES == 1 ? j0 + lane - q * wide : j0;
            const int count = min(LANES, p.width - j);
            __global const float *from = x_proj + c0 * p.width + j;
            floatv sum[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] = (floatv)(0.0f);
            if (q < room) {
#pragma unroll 8
                for (int c = q; c < c_end; c += room) {
                    const floatv w = lm_load(from + c * p.width, count);
#pragma unroll
                    for (int r = 0; r < ROWS; r++) sum[r] = LM_MAD((floatv)(value[r * TILE + c]), w, sum[r]);
                }
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                __global float *to = out + p.part_offset + ((m0 + r) * tiles + tile) * p.width + j;
#if LANES == 1
                columns[lane] = sum[r];
                barrier(CLK_LOCAL_MEM_FENCE);
                for (int i = 1; i < room && q == 0; i++) sum[r] += columns[lane + i * wide];
                barrier(CLK_LOCAL_MEM_FENCE);
#endif
                if (q == 0 && r < m_end) lm_store(sum[r], to, count);
            }
        }
#endif
        barrier(CLK_LOCAL_MEM_FENCE); /* the next tile writes what this one reads */
    }
}
