/* kernels/glsl/gemm.comp: C = epilogue(A·B), tiled in shared memory.
 *
 *     C[m,n] = softplus(sum_k A[m,k]·B(k,n) + bias[n]) + residual[m,n], each part where its flag is set
 *
 * A work-group has TILE_M×TILE_N outputs. STAGED steps of k of A and B lie in shared memory, k the slow index, and this
 * twice: while one part is multiplied the next is fetched into registers and then put into the other half, so that a part
 * takes one barrier. Each of the WG_Y slices of a group multiplies DEPTH steps of every part; its WG_X lanes have the whole
 * tile, LANE_M×LANE_N of it each, in runs of 4, so that shared memory is read as vec4, and as few different ones as can be
 * by 32 neighbouring lanes: lanes 2i and 2i + 1 have the same columns, lanes i and i ^ 2 the same rows, which NVIDIA's shared
 * memory reads twice as fast. In the end slices exchange halves of what they have, again and again, until each has the sums of
 * some rows. The order of additions follows from the constants and the depth.
 *
 * IN4 1: there are whole parts, and they are fetched as vec4; rows and columns past the edge repeat the last ones and are not
 * stored. Other parts go to shared memory element by element, and what lies outside counts as 0. OUT4 1: results, bias and
 * residual move as vec4. A part stored along k is transposed on its way, its vec4s swizzled so that neighbours store into
 * different banks. Grid: x tiles of columns, y tiles of rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int B_TRANS = 0;
layout(constant_id = 4) const int TILE_M = 32;
layout(constant_id = 5) const int TILE_N = 32;
layout(constant_id = 6) const int LANE_M = 4;
layout(constant_id = 7) const int DEPTH = 8;
layout(constant_id = 8) const int IN4 = 0;
layout(constant_id = 9) const int OUT4 = 0;
const int WG_X = int(gl_WorkGroupSize.x);
const int WG_Y = int(gl_WorkGroupSize.y);

LM_PARAMETERS(LM_GEMM_FIELDS, 5)
LM_BUFFER(0, readonly, float, a)
LM_BUFFER(0, readonly, vec4, a4)
LM_BUFFER(1, readonly, float, b)
LM_BUFFER(1, readonly, vec4, b4)
LM_BUFFER(2, readonly, float, bias)
LM_BUFFER(2, readonly, vec4, bias4)
LM_BUFFER(3, readonly, float, residual)
LM_BUFFER(3, readonly, vec4, residual4)
LM_BUFFER(4, writeonly, float, c)
LM_BUFFER(4, writeonly, vec4, c4)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/epilogue.glsl"

const int LANE_N = TILE_M * TILE_N / (WG_X * LANE_M);
const int ACROSS = TILE_N / LANE_N, DOWN = TILE_M / LANE_M;
const int RUNS_M = LANE_M / 4, RUNS_N = LANE_N / 4;
const int GROUP = WG_X * WG_Y;
const int STAGED = DEPTH * WG_Y;
const int PART_A = STAGED * TILE_M / 4, PART_B = STAGED * TILE_N / 4, PART = PART_A + PART_B;
const int FETCH_A = (PART_A + GROUP - 1) / GROUP, FETCH_B = (PART_B + GROUP - 1) / GROUP;
const int EXCHANGED = WG_Y / 2 * (TILE_M * TILE_N / 4);
const int KEPT = LANE_M > WG_Y ? LANE_M / WG_Y : 1; /* rows of a lane that a slice has in the end */

/* Vec4 number i of four steps of k trades places with i ^ (k / 4 · SPREAD & TRADES). */
const int SPREAD = STAGED < 32 ? 32 / STAGED : 1;
const int LOW_M = TILE_M / 4 & -(TILE_M / 4), LOW_N = TILE_N / 4 & -(TILE_N / 4);
const int TRADES_M = (LOW_M < 8 ? LOW_M : 8) - 1, TRADES_N = (LOW_N < 8 ? LOW_N : 8) - 1;
const bool RUNS_SHARE_M = DOWN % (TRADES_M + 1) == 0, RUNS_SHARE_N = ACROSS % (TRADES_N + 1) == 0;

shared vec4 tile[EXCHANGED > 2 * PART ? EXCHANGED : 2 * PART];

/* Parts that are on their way in registers while one is multiplied: two, where a lane brings little of each. */
const int AHEAD = FETCH_A + FETCH_B <= 4 ? 2 : 1;
vec4 next_a[AHEAD * FETCH_A], next_b[AHEAD * FETCH_B];
int at_a[FETCH_A], at_b[FETCH_B];

/* Which vec4 has element (k, m) of a part that is `width` floats wide and swizzled. */
int swizzled(int k, int m, int width, int trades) { return k * (width / 4) + (m / 4 ^ (k / 4 * SPREAD & trades)); }

/* A part at the edge, straight to shared memory. */
void put_outer(int lane, int to, int row0, int col0, int k0)
{
    for (int i = lane; i < STAGED * TILE_M; i += GROUP) {
        int m = i / STAGED, k = i % STAGED;
        bool inside = row0 + m < p.rows && k0 + k < p.depth;
        float value = LM_AT(a, p.a_offset + (inside ? (row0 + m) * p.lda + k0 + k : 0));
        tile[to + swizzled(k, m, TILE_M, TRADES_M)][m % 4] = inside ? value : 0.0;
    }
    for (int i = lane; i < STAGED * TILE_N; i += GROUP) {
        int n = B_TRANS != 0 ? i / STAGED : i % TILE_N, k = B_TRANS != 0 ? i % STAGED : i / TILE_N;
        bool inside = col0 + n < p.cols && k0 + k < p.depth;
        float value = LM_AT(b, !inside ? 0 : B_TRANS != 0 ? (col0 + n) * p.ldb + k0 + k : (k0 + k) * p.ldb + col0 + n);
        tile[to + PART_A + (B_TRANS != 0 ? swizzled(k, n, TILE_N, TRADES_N) : i / 4)][n % 4] = inside ? value : 0.0;
    }
}

/* Where the lane's vec4s of whole parts lie in A and B, from the first one's k on. */
void locate(int lane, int row0, int col0)
{
    [[unroll]] for (int l = 0; l < FETCH_A; l++) {
        int i = lane + l * GROUP;
        at_a[l] = p.a_offset + min(row0 + i / (STAGED / 4), p.rows - 1) * p.lda + i % (STAGED / 4) * 4;
    }
    [[unroll]] for (int l = 0; l < FETCH_B; l++) {
        int i = lane + l * GROUP;
        at_b[l] = B_TRANS != 0 ? min(col0 + i / (STAGED / 4), p.cols - 1) * p.ldb + i % (STAGED / 4) * 4
                               : i / (TILE_N / 4) * p.ldb + min(col0 + i % (TILE_N / 4) * 4, p.cols - 4);
    }
}

/* The whole part that begins at k0, into registers number `set`. */
void fetch(int lane, int k0, const int set)
{
    [[unroll]] for (int l = 0; l < FETCH_A; l++)
        if (PART_A % GROUP == 0 || lane + l * GROUP < PART_A) next_a[set * FETCH_A + l] = LM_AT(a4, (at_a[l] + k0) >> 2);
    [[unroll]] for (int l = 0; l < FETCH_B; l++)
        if (PART_B % GROUP == 0 || lane + l * GROUP < PART_B)
            next_b[set * FETCH_B + l] = LM_AT(b4, (at_b[l] + k0 * (B_TRANS != 0 ? 1 : p.ldb)) >> 2);
}

/* A lane's vec4 number l. Where that is a row that is swizzled like number 0's, it lies a constant away from there. */
void put_transposed(int to, vec4 v, int lane, const int l, int width, int trades)
{
    const int apart = GROUP / (STAGED / 4);
    bool alike = GROUP % (STAGED / 4) == 0 && apart % (4 * (trades + 1)) == 0;
    int i = alike ? lane : lane + l * GROUP, m = i / (STAGED / 4);
    int at = to + swizzled(i % (STAGED / 4) * 4, m, width, trades) + (alike ? l * (apart / 4) : 0);
    [[unroll]] for (int j = 0; j < 4; j++) tile[at + j * (width / 4)][m % 4] = v[j];
}

void put(int lane, int to, const int set)
{
    [[unroll]] for (int l = 0; l < FETCH_A; l++)
        if (PART_A % GROUP == 0 || lane + l * GROUP < PART_A) put_transposed(to, next_a[set * FETCH_A + l], lane, l, TILE_M, TRADES_M);
    [[unroll]] for (int l = 0; l < FETCH_B; l++) {
        int i = lane + l * GROUP;
        if (PART_B % GROUP == 0 || i < PART_B) {
            if (B_TRANS != 0) put_transposed(to + PART_A, next_b[set * FETCH_B + l], lane, l, TILE_N, TRADES_N);
            else tile[to + PART_A + i] = next_b[set * FETCH_B + l];
        }
    }
}

vec4 sum[LANE_M * RUNS_N];

void multiply(int at_a, int at_b, int first_k4, int x, int y)
{
    [[unroll]] for (int k = 0; k < DEPTH; k++) {
        vec4 in_a[RUNS_M], in_b[RUNS_N];
        int trade_m = (first_k4 + k / 4) * SPREAD & TRADES_M, trade_n = (first_k4 + k / 4) * SPREAD & TRADES_N;
        [[unroll]] for (int i = 0; i < RUNS_M; i++)
            in_a[i] = tile[at_a + k * (TILE_M / 4) + (RUNS_SHARE_M ? i * DOWN + (y ^ trade_m) : (i * DOWN + y) ^ trade_m)];
        [[unroll]] for (int j = 0; j < RUNS_N; j++)
            in_b[j] = tile[at_b + k * (TILE_N / 4) + (B_TRANS == 0 ? j * ACROSS + x
                           : RUNS_SHARE_N ? j * ACROSS + (x ^ trade_n) : (j * ACROSS + x) ^ trade_n)];
        [[unroll]] for (int i = 0; i < LANE_M; i++)
            [[unroll]] for (int j = 0; j < RUNS_N; j++) sum[i * RUNS_N + j] += in_a[i / 4][i % 4] * in_b[j];
    }
}

/* Adds the slices up. Returns the first of the lane's rows whose sums this slice has: the KEPT first ones of `sum`; -1: none. */
int add_slices(int lx, int slice)
{
    int first = 0;
    [[unroll]] for (int apart = WG_Y / 2; apart > 0; apart /= 2) {
        int rows = LANE_M * apart / WG_Y; /* that it will keep: half of those it has; of a single one the upper slice keeps none */
        int give = (rows > 0 ? rows : 1) * RUNS_N;
        bool upper = (slice & apart) != 0;
        [[unroll]] for (int i = 0; i < give; i++)
            if (rows > 0 || upper) tile[(slice * give + i) * WG_X + lx] = upper ? sum[i] : sum[i + rows * RUNS_N];
        barrier();
        [[unroll]] for (int i = 0; i < give; i++)
            if (rows > 0 || !upper)
                sum[i] = (upper ? sum[i + rows * RUNS_N] : sum[i]) + tile[((slice ^ apart) * give + i) * WG_X + lx];
        barrier();
        if (rows == 0 && upper) first = -LANE_M;
        else if (upper) first += rows;
    }
    return first;
}

/* Four neighbours of row m. */
void store_four(int m, int n, vec4 v)
{
    if (m >= p.rows || n >= p.cols) return;
    if (OUT4 == 0) {
        [[unroll]] for (int j = 0; j < 4; j++) store_result(m, n + j, v[j], bias_of(n + j));
        return;
    }
    int to = (p.c_offset + m * p.ldc + n) >> 2;
    if ((p.flags & LM_GEMM_BIAS) != 0) v += LM_AT(bias4, (p.bias_offset + n) >> 2);
    if ((p.flags & LM_GEMM_SOFTPLUS) != 0)
        v = vec4(lm_softplus_fused(v.x), lm_softplus_fused(v.y), lm_softplus_fused(v.z), lm_softplus_fused(v.w));
    if ((p.flags & LM_GEMM_RESIDUAL) != 0) v += LM_AT(residual4, to);
    LM_AT(c4, to) = v;
}

bool is_whole(int k0) { return IN4 != 0 && k0 + STAGED <= p.depth; }

/* Multiplies the part from k0 on, which lies at `now`, and brings the one after it to `to`, and another on its way. */
void advance(int lane, int slice, int x, int y, int row0, int col0, int k0, int now, int to, const int set)
{
    int next = k0 + STAGED, ahead = k0 + AHEAD * STAGED;
    /* Without the condition, NVIDIA's compiler moves loads down to where they are needed. */
    if (is_whole(ahead)) fetch(lane, ahead, set);
    multiply(now + slice * (DEPTH * TILE_M / 4), now + PART_A + slice * (DEPTH * TILE_N / 4), slice * (DEPTH / 4), x, y);
    if (is_whole(next)) put(lane, to, (set + 1) % AHEAD);
    else if (next < p.depth) put_outer(lane, to, row0, col0, next);
    barrier();
}

void multiply_tile(int row0, int col0)
{
    int lx = int(gl_LocalInvocationID.x), slice = int(gl_LocalInvocationID.y), lane = slice * WG_X + lx;
    int pair = lx / 2, x = pair % ACROSS, y = pair / ACROSS * 2 + lx % 2;
    if (ACROSS % 8 == 0) { /* 32 neighbours are 8 across and 4 down */
        x = pair % 8 + pair / 16 % (ACROSS / 8) * 8;
        y = (pair / 8 % 2 + pair / 16 / (ACROSS / 8) * 2) * 2 + lx % 2;
    }
    [[unroll]] for (int i = 0; i < LANE_M * RUNS_N; i++) sum[i] = vec4(0.0);
    locate(lane, row0, col0);
    if (IN4 != 0) {
        fetch(lane, 0, 0);
        put(lane, 0, 0);
    } else {
        put_outer(lane, 0, row0, col0, 0);
    }
    if (AHEAD > 1 && is_whole(STAGED)) fetch(lane, STAGED, 1);
    barrier();
    if (AHEAD == 1) {
        for (int k0 = 0, now = 0; k0 < p.depth; k0 += STAGED, now = PART - now)
            advance(lane, slice, x, y, row0, col0, k0, now, PART - now, 0);
    } else {
        for (int k0 = 0; k0 < p.depth; k0 += 2 * STAGED) {
            advance(lane, slice, x, y, row0, col0, k0, 0, PART, 0);
            if (k0 + STAGED >= p.depth) break;
            advance(lane, slice, x, y, row0, col0, k0 + STAGED, PART, 0, 1);
        }
    }
    int first = add_slices(lx, slice);
    if (first < 0) return;
    /* Not unrolled, each row moves to where the first one is: as many copies of the epilogue as there are rows take longer to be
     * fetched, line by line, than all they do (a dispatch of 7 µs took 16 so, between others). */
    [[dont_unroll]] for (int row = first; row < first + KEPT; row++) {
        int m = row0 + (row / 4 * DOWN + y) * 4 + row % 4;
        [[unroll]] for (int j = 0; j < RUNS_N; j++) store_four(m, col0 + (j * ACROSS + x) * 4, sum[j]);
        [[unroll]] for (int i = 0; i < (KEPT - 1) * RUNS_N; i++) sum[i] = sum[i + RUNS_N];
    }
}

void main()
{
    LM_EACH_TILE(tile_y, y, lm_ceil_div(p.rows, TILE_M))
        LM_EACH_TILE(tile_x, x, lm_ceil_div(p.cols, TILE_N)) multiply_tile(tile_y * TILE_M, tile_x * TILE_N);
}
