/* kernels/opencl/scan_tile.h: what scan_tiled keeps of a tile in local memory, and the steps of its states.
 *
 * A tile is TOKENS tokens of CHANNELS channels. A lane has 4 states of WIDTH channels, GROUP lanes a channel, and walks the
 * STEPS tokens of one of SEGMENTS segments of the tile. Before and after that it is the owner of OWN tokens of one channel,
 * which it brings and finishes; neighbours own neighbouring channels, as memory wants it.
 *
 * NVIDIA's local memory gives 16 bytes to each lane of a warp twice as fast where lanes i and i ^ 1, or i and i ^ 2, read the same:
 * so bit 0 of a lane is a bit of its channel, and bit 1 one of its states. A lane's channels lie APART, so that its neighbours'
 * are next to them.
 *
 * Local memory has four tokens of a channel side by side, and tokens' rows of B and C as GROUP float4 each. */
#define STATES (4 * GROUP)
#define CHANNELS (WIDTH * WG_X / (GROUP * SEGMENTS))
#define APART (CHANNELS / WIDTH)              /* from one channel of a lane to the next */
#define TOKENS (SEGMENTS * STEPS)
#define OWN (STEPS * WIDTH / GROUP)
#define BC_TILE (2 * TOKENS * GROUP)
#define FETCHED ((BC_TILE + WG_X - 1) / WG_X) /* float4 of B and C that a lane brings */
#define HELD ((CHANNELS * STATES + WG_X - 1) / WG_X) /* states that a lane takes through the segments */
#define PITCH (CHANNELS + 2)                  /* of sums: the lanes of a channel reach different banks */
#define EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)

/* Tokens of an owner, as many at a time as lie side by side. */
#if OWN % 4 == 0
#define SPAN 4
typedef float4 spanv;
#define SPAN_LOAD vload4
#define SPAN_STORE vstore4
#elif OWN % 2 == 0
#define SPAN 2
typedef float2 spanv;
#define SPAN_LOAD vload2
#define SPAN_STORE vstore2
#else
#error "an owner has an even number of tokens"
#endif

/* Which span of a buffer of float4 has token t (a multiple of SPAN) in column `column` of rows of `pitch` columns. */
static inline uint lm_span_at(uint t, uint pitch, uint column) { return (t / 4 * pitch + column) * (4 / SPAN) + t % 4 / SPAN; }

/* The device's own where they are good. */
#if FLAGS & LM_TILED_OWN_EXP2
static inline float lm_fast_exp2(float x) { return exp2(x); }
static inline float lm_fast_recip(float x) { return 1.0f / x; }
#else
#define lm_fast_exp2 lm_hardware_exp2
#define lm_fast_recip lm_hardware_recip
#endif

/* The largest |A| of a channel's states. */
static inline float lm_tile_fastest(__global const float *a, const lm_scan_params *p, int c)
{
    float most = 0.0f;
    for (int n = p->state_first; n < min(p->state_first + STATES, p->d_state); n++) most = fmax(most, fabs(a[n * p->channels + c]));
    return most;
}

/* Below this, Δ·|A| is small: 2^x is then so near 1 that its own rounding counts. */
#define SMALL_STEP 0.0078125f

/* 2^x − 1 within 1e-9 of itself, down to x = -0.18, which is what eight small steps come to; three terms do for one. */
static inline float lm_tile_expm1(float x)
{
    const float q = fma(x, fma(x, 1.54035304e-4f, 1.33335581e-3f), 9.61812911e-3f);
    return x * fma(x, fma(x, fma(x, q, 5.55041087e-2f), 0.240226507f), 0.693147181f);
}
static inline float4 lm_tile_small_expm1(float4 x)
{
    return x * fma(x, fma(x, (float4)(5.55041087e-2f), (float4)(0.240226507f)), (float4)(0.693147181f));
}

static inline float4 lm_tile_decay(float4 x)
{
    return (float4)(lm_fast_exp2(x.x), lm_fast_exp2(x.y), lm_fast_exp2(x.z), lm_fast_exp2(x.w));
}

static inline float lm_tile_sigmoid(float x) { return lm_fast_recip(1.0f + lm_fast_exp2(x * -1.44269504f)); }

static inline float lm_dot4(float4 a, float4 b) { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, a.x * b.x))); }

#define TOKEN(v, j) ((j) == 0 ? (v).x : (j) == 1 ? (v).y : (j) == 2 ? (v).z : (v).w)

/* This lane's part of B and C of the tile from row `first` on, `tokens` of it; the rest is 0. `whole`, a constant, says that
 * all are there: what is fetched is then not looked at, and nothing waits for it. */
static inline void lm_tile_fetch(float4 *to, __global const float *bc, const lm_scan_params *p, int first, int tokens, bool whole)
{
    EACH(k, FETCHED) {
        const uint i = (uint)get_local_id(0) + (uint)(k * WG_X);
        const int n = p->state_first + (int)(i % GROUP) * 4, token = (int)(i / (2 * GROUP));
        const bool there = whole || token < tokens;
        __global const float *from = bc + (first + (whole ? min(token, TOKENS - 1) : min(token, tokens - 1))) * p->bc_stride + n
                                     + (i / GROUP % 2 == 0 ? p->b_offset : p->c_offset);
#if FLAGS & LM_TILED_VECTORS
        const float4 v = *(__global const float4 *)from;
        to[k] = there ? v : (float4)(0.0f);
#else
        to[k] = (float4)(there && n < p->d_state ? from[0] : 0.0f, there && n + 1 < p->d_state ? from[1] : 0.0f,
                         there && n + 2 < p->d_state ? from[2] : 0.0f, there && n + 3 < p->d_state ? from[3] : 0.0f);
#endif
    }
}

/* The tokens of this lane one by one where its steps are small: s + ((exp(Δ·A) − 1)·s + Δ·B·u). An infinite s stays what it
 * is: the clamp keeps its opposite out of the sum. */
static inline void lm_tile_walk_small(float4 *s, const float4 *rate, __local const float4 *steps, __local const float4 *inputs,
                                      __local const float4 *bc, __local float4 *sums, bool sums_too)
{
#pragma unroll 1
    for (uint i = 0; i < STEPS; i++) {
        const float4 b = bc[i * 2 * GROUP], c = bc[(i * 2 + 1) * GROUP];
        EACH(x, WIDTH) {
            const float step = ((__local const float *)(steps + i / 4 * CHANNELS + x * APART))[i % 4];
            const float input = ((__local const float *)(inputs + i / 4 * CHANNELS + x * APART))[i % 4];
            s[x] += fma(lm_tile_small_expm1(step * rate[x]), clamp(s[x], (float4)(-FLT_MAX), (float4)(FLT_MAX)), input * b);
            if (sums_too) ((__local float *)(sums + i / 4 * GROUP * PITCH + x * APART))[i % 4] = lm_dot4(c, s[x]);
        }
    }
}
