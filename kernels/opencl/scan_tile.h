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

/* Below this, Δ·|A| / ln 2 is small: 2^x is then so near 1 that its own rounding counts. */
#define SMALL_STEP 0.0112710550f

/* The same for one small step. */
static inline float4 lm_tile_small_expm1(float4 x)
{
    return x * fma(x, fma(x, (float4)(5.55041087e-2f), (float4)(0.240226507f)), (float4)(0.693147181f));
}

/* The 4 states n … of channel c at the start of chunk `chunk`: sum over j ≤ chunk of exp(A·ΣΔ)·record j of scan_ends, ΣΔ of the
 * chunks j … chunk−1. What is not finite stays what it is. `first` is the sequence's first record; BATCH are on their way. */
#define BATCH 4
static inline float4 lm_tile_start(__global const float *ends, __global const float *a, const lm_scan_params *p, int first,
                                   int chunk, int n, int c)
{
    float rates[4], since = 0.0f;
    EACH(k, 4) rates[k] = n + k < p->d_state ? a[(n + k) * p->channels + c] * 1.44269504f : 0.0f;
    const float4 rate = vload4(0, rates);
    float4 s = (float4)(0.0f);
    for (int last = chunk; last >= 0; last -= BATCH) {
        float4 end[BATCH];
        float by[BATCH];
        EACH(i, BATCH) {
            __global const float *record = ends + (first + max(last - i, 0)) * (p->d_state + 1) * p->channels + c;
            float from[4];
            EACH(k, 4) from[k] = i <= last && n + k < p->d_state ? record[(n + k) * p->channels] : 0.0f;
            end[i] = vload4(0, from), by[i] = record[p->d_state * p->channels];
        }
        EACH(i, BATCH) {
            const float4 x = since * rate;
            const float4 less_one = (float4)(lm_tile_expm1(x.x), lm_tile_expm1(x.y), lm_tile_expm1(x.z), lm_tile_expm1(x.w));
            const float4 kept = select(lm_tile_decay(x) * end[i], fma(less_one, end[i], end[i]), isgreater(x, (float4)(-0.17f)));
            s += select(end[i], kept, isfinite(end[i]));
            since += by[i];
        }
    }
    return s;
}

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
