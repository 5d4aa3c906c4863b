/* kernels/opencl/gemm_tile.h: one TILE_M×TILE_N tile of a gemm on a GPU.
 *
 * STAGED steps of k of A and B lie in local memory, k the slow index, and this twice: while one part is multiplied the next
 * is fetched into registers and then put into the other half, so that a part takes one barrier. Each of the WG_Y slices of
 * a group multiplies DEPTH steps of every part; its WG_X lanes have the whole tile, LANE_M×LANE_N of it each, in runs of 4,
 * so that local memory is read as float4, and as few different ones as can be by 32 neighbouring lanes: lanes 2i and 2i + 1
 * have the same columns, lanes i and i ^ 2 the same rows, which NVIDIA's local memory reads twice as fast. In the end slices
 * exchange halves of what they have, again and again, until each has the sums of some rows. The order of additions follows
 * from the constants and the depth.
 *
 * IN4 1: there are whole parts, and they are fetched as float4; rows and columns past the edge repeat the last ones and are not
 * stored. Other parts go to local memory element by element, and what lies outside counts as 0. OUT4 1: results, bias and
 * residual move as float4. A part stored along k is transposed on its way, its float4s swizzled so that neighbours store into
 * different banks.
 */
#if LANES == 1
#define LANE_N (TILE_M * TILE_N / (WG_X * LANE_M))
#define ACROSS (TILE_N / LANE_N)
#define DOWN (TILE_M / LANE_M)
#define RUNS_M (LANE_M / 4)
#define RUNS_N (LANE_N / 4)
#define GROUP (WG_X * WG_Y)
#define STAGED (DEPTH * WG_Y)
#define PART_A (STAGED * TILE_M / 4)
#define PART_B (STAGED * TILE_N / 4)
#define PART (PART_A + PART_B)
#define FETCH_A ((PART_A + GROUP - 1) / GROUP)
#define FETCH_B ((PART_B + GROUP - 1) / GROUP)
#define EXCHANGED (WG_Y / 2 * TILE_M * TILE_N / 4)
/* Parts that are on their way in registers while one is multiplied: two, where a lane brings little of each. */
#define AHEAD (FETCH_A + FETCH_B <= 4 ? 2 : 1)
/* Rows of a lane that a slice has in the end. */
#define KEPT (LANE_M > WG_Y ? LANE_M / WG_Y : 1)
#define SHARED (2 * PART > EXCHANGED ? 2 * PART : EXCHANGED)

/* Float4 number i of four steps of k trades places with i ^ SWIZZLE(k / 4, width). */
#define LOW_BIT(x) ((x) & -(x))
#define SWIZZLED(width) ((LOW_BIT((width) / 4) < 8 ? LOW_BIT((width) / 4) : 8) - 1)
#define SWIZZLE(k4, width) ((k4) * (STAGED < 32 ? 32 / STAGED : 1) & SWIZZLED(width))
/* (first + i) ^ s, where it can be with an exclusive or that runs of a lane share. */
#define TRADE(first, step, i, s, width) ((step) % (SWIZZLED(width) + 1) == 0 ? (first) + ((i) ^ (s)) : ((first) + (i)) ^ (s))

/* Where element (k, m) of a part lies that is `width` floats wide and swizzled. */
static inline uint lm_swizzled(uint k, uint m, uint width) { return k * width + ((m / 4 ^ SWIZZLE(k / 4, width)) * 4 + m % 4); }

/* A part at the edge, straight to local memory. */
static inline void lm_put_outer(const lm_gemm_params p, __global const float *a, __global const float *b,
                                __local float4 *to, int m0, int n0, int k0)
{
    __local float *to_a = (__local float *)to, *to_b = (__local float *)(to + PART_A);
    const uint lane = get_local_id(1) * WG_X + get_local_id(0);
#pragma unroll 1 /* code that is rarely run, within a loop that is not to be much longer for it */
    for (uint i = lane; i < STAGED * TILE_M; i += GROUP) {
        const int m = m0 + (int)(i / STAGED), k = k0 + (int)(i % STAGED);
        to_a[lm_swizzled(i % STAGED, i / STAGED, TILE_M)] = m < p.rows && k < p.depth ? a[p.a_offset + m * p.lda + k] : 0.0f;
    }
#pragma unroll 1
    for (uint i = lane; i < STAGED * TILE_N; i += GROUP) {
#if B_TRANS
        const int n = n0 + (int)(i / STAGED), k = k0 + (int)(i % STAGED);
        to_b[lm_swizzled(i % STAGED, i / STAGED, TILE_N)] = n < p.cols && k < p.depth ? b[n * p.ldb + k] : 0.0f;
#else
        const int n = n0 + (int)(i % TILE_N), k = k0 + (int)(i / TILE_N);
        to_b[i] = n < p.cols && k < p.depth ? b[k * p.ldb + n] : 0.0f;
#endif
    }
}

/* A lane's float4 number l of a part that memory has along k. Where that is a row that is swizzled like number 0's, it lies a
 * constant away from there. */
static inline void lm_put_transposed(__local float4 *to, float4 v, uint lane, uint l, uint width)
{
    const uint apart = GROUP / (STAGED / 4);
    const bool alike = GROUP % (STAGED / 4) == 0 && apart % (4 * (SWIZZLED(width) + 1)) == 0;
    const uint i = alike ? lane : lane + l * GROUP;
    __local float *first = (__local float *)to + lm_swizzled(i % (STAGED / 4) * 4, i / (STAGED / 4), width)
                           + (alike ? l * apart : 0);
    first[0] = v.x, first[width] = v.y, first[2 * width] = v.z, first[3 * width] = v.w;
}

/* The whole part that begins at k0, into registers. */
static inline void lm_fetch(const lm_gemm_params p, __global const float *a, __global const float *b, const int *at_a,
                            const int *at_b, int k0, float4 *next_a, float4 *next_b)
{
    const uint lane = get_local_id(1) * WG_X + get_local_id(0);
#pragma unroll
    for (int l = 0; l < FETCH_A; l++)
        if (PART_A % GROUP == 0 || lane + l * GROUP < PART_A) next_a[l] = *(__global const float4 *)(a + at_a[l] + k0);
#pragma unroll
    for (int l = 0; l < FETCH_B; l++)
        if (PART_B % GROUP == 0 || lane + l * GROUP < PART_B)
            next_b[l] = *(__global const float4 *)(b + at_b[l] + k0 * (B_TRANS ? 1 : p.ldb));
}

static inline void lm_put(__local float4 *to, const float4 *next_a, const float4 *next_b)
{
    const uint lane = get_local_id(1) * WG_X + get_local_id(0);
#pragma unroll
    for (int l = 0; l < FETCH_A; l++)
        if (PART_A % GROUP == 0 || lane + l * GROUP < PART_A) lm_put_transposed(to, next_a[l], lane, l, TILE_M);
#pragma unroll
    for (int l = 0; l < FETCH_B; l++) {
        const uint i = lane + l * GROUP;
        if (PART_B % GROUP != 0 && i >= PART_B) continue;
        if (B_TRANS) lm_put_transposed(to + PART_A, next_b[l], lane, l, TILE_N);
        else to[PART_A + i] = next_b[l];
    }
}

/* Four neighbours of row m. */
static inline void lm_store_four(float4 v, const lm_gemm_params p, __global const float *bias,
                                 __global const float *residual, __global float *c, int m, int n)
{
    if (m >= p.rows || n >= p.cols) return;
#if OUT4
    const int at = p.c_offset + m * p.ldc + n;
    if (p.flags & LM_GEMM_BIAS) v += *(__global const float4 *)(bias + p.bias_offset + n);
    if (p.flags & LM_GEMM_SOFTPLUS) v = (float4)(lm_softplus(v.x), lm_softplus(v.y), lm_softplus(v.z), lm_softplus(v.w));
    if (p.flags & LM_GEMM_RESIDUAL) v += *(__global const float4 *)(residual + at);
    *(__global float4 *)(c + at) = v;
#else
    lm_gemm_store(v.x, p, bias, residual, c, m, n, 1);
    if (n + 1 < p.cols) lm_gemm_store(v.y, p, bias, residual, c, m, n + 1, 1);
    if (n + 2 < p.cols) lm_gemm_store(v.z, p, bias, residual, c, m, n + 2, 1);
    if (n + 3 < p.cols) lm_gemm_store(v.w, p, bias, residual, c, m, n + 3, 1);
#endif
}

/* Slices that are `apart` exchange halves of the rows they have; of a single row the upper one gives all and stores none. */
static inline void lm_add_slices(float (*sum)[LANE_N], __local float *exchange, uint apart, uint *first, bool *stores)
{
    const uint lx = get_local_id(0), slice = get_local_id(1);
    const uint rows = LANE_M * apart / WG_Y, give = rows > 0 ? rows : 1;
    const bool upper = (slice & apart) != 0;
#pragma unroll
    for (uint i = 0; i < give; i++)
#pragma unroll
        for (uint j = 0; j < LANE_N; j++)
            if (rows > 0 || upper) exchange[((slice * give + i) * LANE_N + j) * WG_X + lx] = upper ? sum[i][j] : sum[i + rows][j];
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (uint i = 0; i < give; i++)
#pragma unroll
        for (uint j = 0; j < LANE_N; j++)
            if (rows > 0 || !upper)
                sum[i][j] = (upper ? sum[i + rows][j] : sum[i][j]) +
                            exchange[(((slice ^ apart) * give + i) * LANE_N + j) * WG_X + lx];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (rows > 0) *first += upper ? rows : 0;
    else *stores = *stores && !upper;
}

/* Adds the product of a slice's part to the lane's sums. */
static inline void lm_multiply(float (*sum)[LANE_N], __local const float4 *part, uint slice, uint x, uint y)
{
    __local const float4 *tile_a = part + slice * (DEPTH * TILE_M / 4);
    __local const float4 *tile_b = part + PART_A + slice * (DEPTH * TILE_N / 4);
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
        float4 in_a[RUNS_M], in_b[RUNS_N];
        const uint k4 = slice * (DEPTH / 4) + k / 4;
#pragma unroll
        for (int i = 0; i < RUNS_M; i++)
            in_a[i] = tile_a[k * (TILE_M / 4) + TRADE(i * DOWN, DOWN, y, SWIZZLE(k4, TILE_M), TILE_M)];
#pragma unroll
        for (int j = 0; j < RUNS_N; j++)
            in_b[j] = tile_b[k * (TILE_N / 4) +
                             (B_TRANS ? TRADE(j * ACROSS, ACROSS, x, SWIZZLE(k4, TILE_N), TILE_N) : j * ACROSS + x)];
#pragma unroll
        for (int i = 0; i < LANE_M; i++) {
            const float4 four = in_a[i / 4];
            const float one = i % 4 == 0 ? four.x : i % 4 == 1 ? four.y : i % 4 == 2 ? four.z : four.w;
#pragma unroll
            for (int j = 0; j < RUNS_N; j++) {
                sum[i][4 * j] = LM_MAD(one, in_b[j].x, sum[i][4 * j]);
                sum[i][4 * j + 1] = LM_MAD(one, in_b[j].y, sum[i][4 * j + 1]);
                sum[i][4 * j + 2] = LM_MAD(one, in_b[j].z, sum[i][4 * j + 2]);
                sum[i][4 * j + 3] = LM_MAD(one, in_b[j].w, sum[i][4 * j + 3]);
            }
        }
    }
}

/* A whole part begins at k0. */
#define WHOLE(k0) (IN4 && (k0) + STAGED <= p.depth)

/* Into registers number `set`, the part that begins at k0 if it is whole. With one set NVIDIA's compiler takes loads best that stand
 * under no condition: the last part is then fetched once more. */
#if AHEAD == 1
#define FETCH_AHEAD(k0, set) if (IN4) lm_fetch(p, a, b, at_a, at_b, min(k0, last_whole), next_a[set], next_b[set]);
#else
#define FETCH_AHEAD(k0, set) if (WHOLE(k0)) lm_fetch(p, a, b, at_a, at_b, k0, next_a[set], next_b[set]);
#endif

static inline void lm_gemm_tile(const lm_gemm_params p, __global const float *a, __global const float *b,
                                __global const float *bias, __global const float *residual, __global float *c,
                                __local float4 *shared, int m0, int n0)
{
    const uint lx = get_local_id(0), slice = get_local_id(1), lane = slice * WG_X + lx;
    const uint pair = lx / 2;
#if ACROSS % 8 == 0 /* 32 neighbours are 8 across and 4 down */
    const uint x = pair % 8 + pair / 16 % (ACROSS / 8) * 8, y = (pair / 8 % 2 + pair / 16 / (ACROSS / 8) * 2) * 2 + lx % 2;
#else
    const uint x = pair % ACROSS, y = pair / ACROSS * 2 + lx % 2;
#endif
    float sum[LANE_M][LANE_N];
    float4 next_a[AHEAD][FETCH_A], next_b[AHEAD][FETCH_B];
    int at_a[FETCH_A], at_b[FETCH_B];
#if AHEAD == 1
    const int last_whole = p.depth / STAGED * STAGED - STAGED;
#endif
#pragma unroll
    for (int i = 0; i < LANE_M; i++)
#pragma unroll
        for (int j = 0; j < LANE_N; j++) sum[i][j] = 0.0f;
#pragma unroll
    for (int l = 0; l < FETCH_A; l++) {
        const uint i = lane + l * GROUP;
        at_a[l] = p.a_offset + min(m0 + (int)(i / (STAGED / 4)), p.rows - 1) * p.lda + (int)(i % (STAGED / 4)) * 4;
    }
#pragma unroll
    for (int l = 0; l < FETCH_B; l++) {
        const uint i = lane + l * GROUP;
        at_b[l] = B_TRANS ? min(n0 + (int)(i / (STAGED / 4)), p.cols - 1) * p.ldb + (int)(i % (STAGED / 4)) * 4
                          : (int)(i / (TILE_N / 4)) * p.ldb + min(n0 + (int)(i % (TILE_N / 4)) * 4, p.cols - 4);
    }
    if (IN4) {
        lm_fetch(p, a, b, at_a, at_b, 0, next_a[0], next_b[0]);
        lm_put(shared, next_a[0], next_b[0]);
    } else {
        lm_put_outer(p, a, b, shared, m0, n0, 0);
    }
#if AHEAD > 1
    FETCH_AHEAD(STAGED, 1)
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    /* Multiplies the part from k0 on, which lies at `now`, brings the one after it to `to`, and another on its way. */
#define ADVANCE(k0, now, to, set) { \
    FETCH_AHEAD((k0) + AHEAD * STAGED, set) \
    lm_multiply(sum, now, slice, x, y); \
    if (WHOLE((k0) + STAGED)) lm_put(to, next_a[(set + 1) % AHEAD], next_b[(set + 1) % AHEAD]); \
    else if ((k0) + STAGED < p.depth) lm_put_outer(p, a, b, to, m0, n0, (k0) + STAGED); \
    barrier(CLK_LOCAL_MEM_FENCE); }
#if AHEAD == 1
    uint half_now = 0;
    for (int k0 = 0; k0 < p.depth; k0 += STAGED, half_now = PART - half_now)
        ADVANCE(k0, shared + half_now, shared + (PART - half_now), 0)
#else
    for (int k0 = 0; k0 < p.depth; k0 += 2 * STAGED) {
        ADVANCE(k0, shared, shared + PART, 0)
        if (k0 + STAGED >= p.depth) break;
        ADVANCE(k0 + STAGED, shared + PART, shared, 1)
    }
#endif

    uint first = 0; /* the lane's rows that sum has: first … */
    bool stores = true;
#if WG_Y > 8
    lm_add_slices(sum, (__local float *)shared, 8, &first, &stores);
#endif
#if WG_Y > 4
    lm_add_slices(sum, (__local float *)shared, 4, &first, &stores);
#endif
#if WG_Y > 2
    lm_add_slices(sum, (__local float *)shared, 2, &first, &stores);
#endif
#if WG_Y > 1
    lm_add_slices(sum, (__local float *)shared, 1, &first, &stores);
#endif
    if (!stores) return;
    /* Each row moves to where the first one is: as many copies of the epilogue as there are rows take longer to be fetched, line by
     * line, than all they do. */
#pragma unroll 1
    for (uint row = first; row < first + KEPT; row++) {
        const int m = m0 + (int)((row / 4 * DOWN + y) * 4 + row % 4);
#pragma unroll
        for (uint j = 0; j < RUNS_N; j++)
            lm_store_four((float4)(sum[0][4 * j], sum[0][4 * j + 1], sum[0][4 * j + 2], sum[0][4 * j + 3]), p, bias, residual, c,
                          m, n0 + (int)(j * ACROSS + x) * 4);
#pragma unroll
        for (uint i = 0; i + 1 < KEPT; i++)
#pragma unroll
            for (uint j = 0; j < LANE_N; j++) sum[i][j] = sum[i + 1][j];
    }
}
#endif
