/* kernels/opencl/scan_tokens.h: how scan and scan_summary reach B and C of the next tokens, and a step of their states. */
#define STAGED (LANES == 1 && WG_X > 16)

/* On a GPU the states live in registers, so every loop over them has constant bounds; on a processor they live in the first
 * cache and only those that exist are walked. */
#if LANES == 1
#define EACH_STATE(n) _Pragma("unroll") for (int n = 0; n < STATES; n++)
#else
#define EACH_STATE(n) for (int n = 0; n < states; n++)
#endif

/* Element n of B or C, 0 past the last state. */
#if LANES > 1
#define SHARED(from, n) (from)[n]
#else
#define SHARED(from, n) ((n) < states ? (from)[n] : 0.0f)
#endif

#if STAGED
/* Tokens of a tile: what a tile needs is loaded while the one before is worked on. Twice as many are slower: the loop over
 * tiles then no longer fits the instruction cache. */
#define TOKENS 4
#define EACH_TOKEN(i) _Pragma("unroll") for (int i = 0; i < TOKENS; i++)

/* A row of B or C in local memory is VECTORS float4, and a tile of m matrices is m rows a token; a lane brings FETCHED of its
 * float4. */
#define VECTORS ((STATES + 3) / 4)
#define TILE(m) (TOKENS * (m) * VECTORS)
#define FETCHED(m) ((TILE(m) + WG_X - 1) / WG_X)

/* This lane's part of the tile of `tokens` tokens from row `first` on; what is not there is 0. */
static inline void lm_fetch(float4 *to, int m, __global const float *bc, const lm_scan_params *p, int first, int tokens,
                            int states)
{
#pragma unroll
    for (int k = 0; k < FETCHED(m); k++) {
        const uint i = (uint)get_local_id(0) + (uint)(k * WG_X); /* unsigned: divisions are shifts */
        const int n = (int)(i % VECTORS) * 4, token = (int)(i / (uint)(m * VECTORS));
        __global const float *from = bc + (first + min(token, tokens - 1)) * p->bc_stride + p->state_first + n
                                     + (i / VECTORS % m == 0 ? p->b_offset : p->c_offset);
        to[k] = (float4)(n < states ? from[0] : 0.0f, n + 1 < states ? from[1] : 0.0f, n + 2 < states ? from[2] : 0.0f,
                         n + 3 < states ? from[3] : 0.0f);
    }
}

static inline void lm_put(__local float4 *to, int m, const float4 *from)
{
#pragma unroll
    for (int k = 0; k < FETCHED(m); k++) {
        const int i = (int)get_local_id(0) + k * WG_X;
        if (TILE(m) % WG_X == 0 || i < TILE(m)) to[i] = from[k];
    }
}

/* to[n] = element n of a staged row. */
static inline void lm_take(float *to, __local const float4 *row)
{
#if STATES < 4
    to[0] = row[0].x;
#else
#pragma unroll
    for (int n = 0; n < STATES; n += 4) {
        const float4 v = row[n / 4];
        to[n] = v.x, to[n + 1] = v.y, to[n + 2] = v.z, to[n + 3] = v.w;
    }
#endif
}

/* lm_decay with x = step·A given as step·(rate + rate_low), where that is A / ln 2 in two parts: products are exact, so that
 * the exponent is better than a rounded x has it. Here and not in lm_decay an infinite s gives NaN, and so do steps of 10^6
 * and more: callers look for what is not finite. */
static inline float lm_decay_finite(float step, float rate, float rate_low, float s, float input)
{
    const float rounded = fma(step, rate, LM_ROUNDER);
    const float k = rounded - LM_ROUNDER;
    const float f = fma(step, rate_low, fma(step, rate, -k));
    /* (2^f − 1) / f within 1.9e-8 for |f| ≤ 0.5. */
    float q = 1.53239656e-4f;
    q = fma(q, f, 1.33911788e-3f);
    q = fma(q, f, 9.61852074e-3f);
    q = fma(q, f, 5.55035919e-2f);
    q = fma(q, f, 0.240226477f);
    q = fma(q, f, 0.693147182f);
    const float kept = lm_power2(as_int(fmax(rounded, LM_ROUNDER - 127.0f))) * s;
    return kept + fma(q * f, kept, input);
}

/* A / ln 2 = rate + rate_low. */
static inline float lm_rate_low(float a, float rate) { return fma(a, 1.92596299e-8f, fma(a, 1.44269504f, -rate)); }

/* 0, or NaN where a state is not finite. */
static inline float lm_finite(const float *s)
{
    float sum = 0.0f;
    EACH_STATE(n) sum = fma(s[n], 0.0f, sum);
    return sum;
}

/* One step of all states of a lane, whatever is in them. */
static inline void lm_decay_states(float *s, const float *rate, const float *rate_low, __global const float *a, int stride,
                                   int states, float step, float scaled, const float *bs)
{
    float next[STATES];
    EACH_STATE(n) next[n] = lm_decay_finite(step, rate[n], rate_low[n], s[n], bs[n] * scaled);
    if (isnan(lm_finite(next))) {
        EACH_STATE(n)
            next[n] = lm_decay(n < states ? step * a[n * stride] : 0.0f, s[n], bs[n] * scaled);
    }
    EACH_STATE(n) s[n] = next[n];
}
#endif
