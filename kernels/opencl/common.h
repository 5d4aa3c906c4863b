/* kernels/opencl/common.h: what OpenCL kernels share: LANES floats side by side, and accurate exp, softplus and SiLU.
 *
 * OpenCL C 1.2, without fast-relaxed-math. LANES is 1 on a GPU and 16 on a processor, from the same source: `floatv` is a
 * float or a float16, and columns that do not fill the last one are loaded as zeros and not stored.
 */
#if LANES == 16
typedef float16 floatv;
typedef int16 intv;
#define LM_AS_INTV as_int16
#define LM_AS_FLOATV as_float16
#elif LANES == 1
typedef float floatv;
typedef int intv;
#define LM_AS_INTV as_int
#define LM_AS_FLOATV as_float
#else
#error "LANES is 1 or 16"
#endif

/* Where each binding starts in its buffer, in elements. Sub-buffers would say the same, but drivers crash over them. */
typedef struct lm_offsets {
    uint first[12];
} lm_offsets;

/* Kernels of a step, which take microseconds, name few arguments: an argument costs the host a quarter of one at every launch.
 * Instead of one a binding, such a kernel has LM_BUFFERS, the buffers that its bindings lie in, each once, and `in` says which
 * binding is where. With LM_BUFFERS 4 (usually all of a step's arrays lie in three or four buffers) or 12, as it is built. */
typedef struct lm_places {
    uint first[12]; /* as in lm_offsets */
    uint in[2];     /* four bits a binding */
} lm_places;

#ifndef LM_BUFFERS
#define LM_BUFFERS 4
#endif
#if LM_BUFFERS == 4
#define LM_BUFFER_ARGS __global float *b0, __global float *b1, __global float *b2, __global float *b3
#define LM_BINDING(i) lm_place(at, i, b0, b1, b2, b3)
static inline __global float *lm_place(const lm_places at, int i, __global float *b0, __global float *b1, __global float *b2,
                                       __global float *b3)
{
    const uint in = at.in[i / 8] >> (4 * (i % 8)) & 15;
    return (in < 2 ? in == 0 ? b0 : b1 : in == 2 ? b2 : b3) + at.first[i];
}
#else
#define LM_BUFFER_ARGS \
    __global float *b0, __global float *b1, __global float *b2, __global float *b3, __global float *b4, __global float *b5, \
    __global float *b6, __global float *b7, __global float *b8, __global float *b9, __global float *b10, __global float *b11
#define LM_BINDING(i) lm_place(at, i, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11)
static inline __global float *lm_place(const lm_places at, int i, LM_BUFFER_ARGS)
{
    const uint in = at.in[i / 8] >> (4 * (i % 8)) & 15;
    __global float *const low = in < 2 ? in == 0 ? b0 : b1 : in < 4 ? in == 2 ? b2 : b3 : in == 4 ? b4 : b5;
    return (in < 6 ? low : in < 8 ? in == 6 ? b6 : b7 : in < 10 ? in == 8 ? b8 : b9 : in == 10 ? b10 : b11) + at.first[i];
}
#endif

/* a·b + c, fused where that is an instruction. */
#ifdef FP_FAST_FMAF
#define LM_MAD(a, b, c) fma(a, b, c)
#else
#define LM_MAD(a, b, c) ((a) * (b) + (c))
#endif

/* `count` columns from p on, 1 … LANES of them; the rest are 0. */
static inline floatv lm_load(__global const float *p, int count)
{
#if LANES == 1
    return p[0];
#else
    if (count >= LANES) return vload16(0, p);
    float part[LANES];
    for (int i = 0; i < LANES; i++) part[i] = i < count ? p[i] : 0.0f;
    return vload16(0, part);
#endif
}

static inline void lm_store(floatv v, __global float *p, int count)
{
#if LANES == 1
    p[0] = v;
#else
    if (count >= LANES) {
        vstore16(v, 0, p);
    } else {
        float part[LANES];
        vstore16(v, 0, part);
        for (int i = 0; i < count; i++) p[i] = part[i];
    }
#endif
}

/* The sum of a vector's floats, in a fixed order. */
static inline float lm_sum_lanes(floatv v)
{
#if LANES == 1
    return v;
#else
    float part[LANES];
    vstore16(v, 0, part);
    for (int half_n = LANES / 2; half_n > 0; half_n /= 2)
        for (int i = 0; i < half_n; i++) part[i] += part[i + half_n];
    return part[0];
#endif
}

/* 1.5·2^23: adding it rounds to an integer k and leaves LM_ROUNDER_BITS + k as the sum's bits. On a processor rint() is
 * twenty instructions. */
#define LM_ROUNDER 12582912.0f
#define LM_ROUNDER_BITS 0x4b400000

/* e^x = 2^k·(1 + p) for |x| ≤ 176: leaves k + LM_ROUNDER_BITS in *power and returns p = e^r − 1 for r = x − k·ln 2,
 * |r| ≤ ln 2 / 2 (Cody and Waite's two-part ln 2; the polynomial is a minimax one of relative error 1.3e-8). */
static inline floatv lm_exp_parts(floatv x, intv *power)
{
    const floatv rounded = x * 1.44269504f + LM_ROUNDER;
    const floatv k = rounded - LM_ROUNDER;
    floatv r = LM_MAD(k, (floatv)(-0.693359375f), x);
    r = LM_MAD(k, (floatv)(2.12194440e-4f), r);
    floatv q = (floatv)(0.00139464736f);
    q = LM_MAD(q, r, (floatv)(0.00836659803f));
    q = LM_MAD(q, r, (floatv)(0.0416662818f));
    q = LM_MAD(q, r, (floatv)(0.166665429f));
    q = LM_MAD(q, r, (floatv)(0.500000006f));
    *power = LM_AS_INTV(rounded);
    return LM_MAD(q, r * r, r);
}

/* Bounds that, as comparisons and unlike min and max, let NaN through. */
static inline floatv lm_at_least(floatv x, float low) { return x < low ? (floatv)(low) : x; }
static inline floatv lm_at_most(floatv x, float high) { return x > high ? (floatv)(high) : x; }

/* 2^k for −127 ≤ k ≤ 128; −127 gives 0 and 128 infinity. Of k only the last nine bits count, so LM_ROUNDER_BITS may be
 * left in. */
static inline floatv lm_power2(intv k) { return LM_AS_FLOATV((k + 127) << 23); }

/* e^x within 1.1 ULP; 0 and infinity where it under- and overflows. 2^k is applied in halves, each of which is a float as
 * long as |x| ≤ 176, where e^x is long 0 or infinite. */
static inline floatv lm_exp(floatv x)
{
    intv k;
    const floatv p = lm_exp_parts(lm_at_most(lm_at_least(x, -176.0f), 176.0f), &k);
    k -= LM_ROUNDER_BITS;
    const intv half_k = k >> 1;
    return (1.0f + p) * lm_power2(half_k) * lm_power2(k - half_k);
}

/* One step of a decaying state, e^x·s + input for x ≤ 0: with e^x = 2^k·(1 + p) it is 2^k·s + (p·(2^k·s) + input), where
 * nothing is rounded before p. A decay near 1 then keeps what 1 + p would lose: the difference between drifting and not over
 * a million tokens. Decays below 2^-126 count as 0. The second term sees no infinity, as it may have the other sign. */
static inline floatv lm_decay(floatv x, floatv s, floatv input)
{
    intv k;
    const floatv p = lm_exp_parts(lm_at_least(x, -88.0f), &k);
    const floatv kept = lm_power2(k) * s;
    return kept + LM_MAD(p, lm_at_most(lm_at_least(kept, -FLT_MAX), FLT_MAX), input);
}

/* a/b within 1 ULP for b in 1 … 4: the language allows a division 2.5, so the quotient is corrected once. An infinite
 * quotient is left alone, where the correction would be NaN. */
static inline floatv lm_divide(floatv a, floatv b)
{
#ifdef FP_FAST_FMAF
#if LANES == 1
    /* A division is a call with branches on some GPUs; one step of Newton's makes any native reciprocal good enough. */
    const float guess = native_recip(b), inverse = fma(fma(-b, guess, 1.0f), guess, guess), q = a * inverse;
#else
    const floatv inverse = 1.0f / b, q = a * inverse;
#endif
    return isinf(q) ? q : fma(fma(-q, b, a), inverse, q);
#else
    return a / b;
#endif
}

/* ln(1 + e^x) within 4 ULP everywhere: max(x, 0) + ln(1 + e), e = e^-|x|, and ln(1 + e) = 2·atanh(e / (2 + e)). Where x > 20
 * this is x. */
static inline floatv lm_softplus(floatv x)
{
    const floatv e = lm_exp(-fabs(x));
    const floatv s = lm_divide(e, 2.0f + e);
    const floatv t = s * s;
    floatv q = (floatv)(0.1401379f);
    q = LM_MAD(q, t, (floatv)(0.139993556f));
    q = LM_MAD(q, t, (floatv)(0.200108547f));
    q = LM_MAD(q, t, (floatv)(0.333332067f));
    const floatv log1p_e = 2.0f * LM_MAD(q * t, s, s);
    return x > 0.0f ? x + log1p_e : log1p_e;
}

/* x / (1 + e^-x) within 4 ULP while the result is a normal number: for negative x it is x·e^x / (1 + e^x), with x·e^x formed
 * before it is scaled down. Minus infinity gives NaN, as in PyTorch. */
static inline floatv lm_silu(floatv x)
{
    intv k;
    const floatv p = lm_exp_parts(lm_at_least(-fabs(x), -176.0f), &k);
    k -= LM_ROUNDER_BITS;
    const intv half_k = k >> 1;
    const floatv low = lm_power2(half_k), high = lm_power2(k - half_k), m = 1.0f + p;
    const floatv top = x < 0.0f ? x * m * low * high : x;
    return lm_divide(top, 1.0f + m * low * high);
}
