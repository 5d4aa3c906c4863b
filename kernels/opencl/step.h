/* kernels/opencl/step.h: a tile of TILE columns of the product of a few rows with a matrix (depth, columns), for steps, where
 * reading the matrix is the work and the time that it takes to begin is half of the rest.
 *
 * LANES 1: a lane has four columns and takes four rows of the matrix at a time, k = 4·ly and on by 4·SPLIT, AHEAD of them at once:
 * all of them are on their way, and what they are multiplied with too, before the first is used. The sums of SPLIT lanes meet in
 * local memory, in an order that depends on the constants alone; with SPLIT 1 there are none. LANES 16: one lane has SPLIT vectors
 * of columns.
 * The rows may be normed: their squares are summed along the way, and the result is scaled instead of them.
 */
#if LANES == 1
#define TILE (4 * WG_X)
#else
#define TILE (LANES * SPLIT)
#endif
#define GROUP (WG_X * WG_Y)

/* What a lane works on at once, in local memory. */
#if LANES == 1
#define LM_LOCAL(p) (*(p))
#define LM_KEEP(v, p) (*(p) = (v))
#else
#define LM_LOCAL(p) vload16(0, p)
#define LM_KEEP(v, p) vstore16(v, 0, p)
#endif

/* Where ALIGNED, rows and columns come in whole fours at addresses of whole fours. */
typedef struct lm_tile {
    __global const float *x; /* the first of `rows` rows, `depth` wide; ROWS are worked on */
    int rows, depth;
    __global const float *norm; /* where `normed` */
    bool normed;
    float epsilon;
    __global const float *b; /* the tile's first column */
    int ldb, count;          /* columns that there are */
} lm_tile;

#if LANES == 1
/* Up to four floats from p on, zeros for what is not there. */
static inline float4 lm_four(__global const float *p, int count)
{
#if ALIGNED
    return *(__global const float4 *)p;
#else
    return (float4)(count > 0 ? p[0] : 0.0f, count > 1 ? p[1] : 0.0f, count > 2 ? p[2] : 0.0f, count > 3 ? p[3] : 0.0f);
#endif
}

/* A lane's own, of all rows. */
typedef struct lm_sums {
    float4 sum[ROWS];
    float squares[ROWS];
} lm_sums;

/* What a lane has of the product. */
static inline void lm_tile_multiply(const lm_tile t, lm_sums *own)
{
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1);
    float4 sum[ROWS];
    float squares[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) sum[r] = (float4)(0.0f), squares[r] = 0.0f;
    if (ly < SPLIT) {
        const int c = min(4 * lx, (t.count - 1) & ~3), left_c = t.count - c;
        __global const float *b = t.b + c;
        for (int k0 = 4 * ly; k0 < t.depth; k0 += AHEAD * 4 * SPLIT) {
            float4 four[4 * AHEAD], norms[AHEAD], vs[AHEAD * ROWS]; /* past the end, where all is aligned, the last rows again */
#pragma unroll
            for (int i = 0; i < 4 * AHEAD; i++) {
                const int k = k0 + i / 4 * (4 * SPLIT), from = (ALIGNED ? min(k, t.depth - 4) : k) + i % 4;
                four[i] = lm_four(b + from * t.ldb, from < t.depth ? left_c : 0);
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                const int k = k0 + j * (4 * SPLIT), from = ALIGNED ? min(k, t.depth - 4) : k;
                norms[j] = t.normed ? lm_four(t.norm + from, t.depth - k) : (float4)(1.0f);
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    vs[j * ROWS + r] = lm_four(t.x + min(r, t.rows - 1) * t.depth + from, t.depth - k);
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                if (k0 + j * (4 * SPLIT) >= t.depth) continue;
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    float4 v = vs[j * ROWS + r];
                    squares[r] = LM_MAD(v.x, v.x, LM_MAD(v.y, v.y, LM_MAD(v.z, v.z, LM_MAD(v.w, v.w, squares[r]))));
                    v *= norms[j];
                    sum[r] = LM_MAD((float4)(v.x), four[4 * j], sum[r]);
                    sum[r] = LM_MAD((float4)(v.y), four[4 * j + 1], sum[r]);
                    sum[r] = LM_MAD((float4)(v.z), four[4 * j + 2], sum[r]);
                    sum[r] = LM_MAD((float4)(v.w), four[4 * j + 3], sum[r]);
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) own->sum[r] = sum[r], own->squares[r] = squares[r];
}

/* value[r·TILE + c] for r < ROWS, from the lanes' sums; other lanes see it after a barrier. `part` has (SPLIT + SPLIT / 4)·(TILE + 1)
 * floats. */
static inline void lm_tile_add(const lm_tile t, const lm_sums *own, __local float *value, __local float *part)
{
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1), lane = ly * WG_X + lx;
#if SPLIT == 1
    if (ly > 0) return;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        vstore4(t.normed ? own->sum[r] * (1.0f / sqrt(own->squares[r] / (float)t.depth + t.epsilon)) : own->sum[r], lx, value + r * TILE);
#else
    __local float *part_squares = part + SPLIT * TILE, *quarter = part_squares + SPLIT;
    __local float *quarter_squares = quarter + SPLIT / 4 * TILE;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (ly < SPLIT) {
            vstore4(own->sum[r], lx, part + ly * TILE);
            if (lx == 0) part_squares[ly] = own->squares[r];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const int four = (int)((uint)lane / TILE), c = (int)((uint)lane % TILE);
        if (four < SPLIT / 4) {
            __local const float *from = part + 4 * four * TILE + c, *from_squares = part_squares + 4 * four;
            quarter[four * TILE + c] = (from[0] + from[TILE]) + (from[2 * TILE] + from[3 * TILE]);
            if (c == 0) quarter_squares[four] = (from_squares[0] + from_squares[1]) + (from_squares[2] + from_squares[3]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < TILE) {
            float total = 0.0f, all_squares = 0.0f;
#pragma unroll
            for (int i = 0; i < SPLIT / 4; i++) total += quarter[i * TILE + lane], all_squares += quarter_squares[i];
            if (t.normed) total *= 1.0f / sqrt(all_squares / (float)t.depth + t.epsilon);
            value[r * TILE + lane] = total;
        }
    }
#endif
}
#else
/* One lane does it all at the end. */
typedef int lm_sums;
static inline void lm_tile_multiply(const lm_tile t, lm_sums *own) { *own = t.rows; }

static inline void lm_tile_add(const lm_tile t, const lm_sums *own, __local float *value, __local float *part)
{
    floatv sum[ROWS][SPLIT], squares[ROWS];
    float scale[ROWS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < SPLIT; i++) sum[r][i] = (floatv)(0.0f);
        scale[r] = 1.0f;
        if (!t.normed) continue;
        __global const float *x = t.x + min(r, t.rows - 1) * t.depth;
        squares[r] = (floatv)(0.0f);
        for (int k = 0; k < t.depth; k += LANES) {
            const floatv v = lm_load(x + k, min(LANES, t.depth - k));
            squares[r] = LM_MAD(v, v, squares[r]);
        }
        scale[r] = 1.0f / sqrt(lm_sum_lanes(squares[r]) / (float)t.depth + t.epsilon);
    }
    for (int k = 0; k < t.depth; k++) {
        const float norm = t.normed ? t.norm[k] : 1.0f;
        floatv b[SPLIT];
#pragma unroll
        for (int i = 0; i < SPLIT; i++)
            b[i] = i * LANES < t.count ? lm_load(t.b + k * t.ldb + i * LANES, min(LANES, t.count - i * LANES)) : (floatv)(0.0f);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const floatv v = (floatv)(t.x[min(r, t.rows - 1) * t.depth + k] * norm);
#pragma unroll
            for (int i = 0; i < SPLIT; i++) sum[r][i] = LM_MAD(v, b[i], sum[r][i]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < SPLIT; i++) vstore16(sum[r][i] * scale[r], 0, value + r * TILE + i * LANES);
}
#endif
