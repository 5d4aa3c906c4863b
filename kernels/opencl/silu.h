/* kernels/opencl/silu.h: sums of SiLUs with few operations. After common.h and hardware.h.
 *
 * SiLU(v) = v / d with d = 1 + e^-v, and several of them share a division: v0/d0 + v1/d1 = (v0·d1 + v1·d0) / (d0·d1). Nothing
 * cancels, so every one is as good as alone, as long as the product of the denominators is below 2^125 and nothing overflows.
 * `range` tells: it becomes large, infinite or NaN where that is not so (arguments below -87 in sum, infinities, NaN), and then
 * the caller takes lm_silu. Operations stand in one order, explicitly fused, so that all kernels round alike.
 *
 * Functions take t = LM_SILU_SCALE·v and a gate that has LM_SILU_GATE in it: what exp2 wants costs nothing where v is a sum
 * whose weights can have the factor. Constants of the kernel: LM_CONV_HARDWARE_EXP in FORM: native_exp2 and native_recip are
 * within 2 ULP. TAPS: the sum of several products has a rounding error of its own, as large as that of v·log2 e; where there is
 * but one, e^(h + r) = e^h + e^h·r puts that back.
 */
#if LANES == 1 && (FORM & LM_CONV_HARDWARE_EXP)
#define LM_SILU_INVERSE lm_hardware_recip
#else
#define LM_SILU_INVERSE 1.0f /
#endif

#define LM_SILU_RANGE 0x1p125f

#if (FORM & LM_CONV_HARDWARE_EXP) && TAPS > 1
#define LM_SILU_SCALE -1.44269504f
#define LM_SILU_GATE -0.693147182f
#else
#define LM_SILU_SCALE 1.0f
#define LM_SILU_GATE 1.0f
#endif

/* e^-v */
static inline floatv lm_silu_power(floatv t)
{
#if (FORM & LM_CONV_HARDWARE_EXP) && TAPS > 1
    return lm_hardware_exp2(t);
#elif FORM & LM_CONV_HARDWARE_EXP
    const floatv h = t * -1.44269504f, e = lm_hardware_exp2(h);
    return fma(e, fma(h, (floatv)(-0.693147182f), -t), e);
#else
    intv k;
    const floatv p = lm_exp_parts(lm_at_most(lm_at_least(-t, -87.0f), 89.0f), &k);
    return (1.0f + p) * lm_power2(k);
#endif
}

/* sum + a/d, where d is the product of all denominators */
static inline floatv lm_silu_quotient(floatv a, floatv d, floatv sum, floatv *range)
{
    *range += d;
    return LM_MAD(a, LM_SILU_INVERSE(d), sum);
}

/* sum + gate·SiLU(v) */
static inline floatv lm_silu_one(floatv t, float gate, floatv sum, floatv *range)
{
    return lm_silu_quotient(gate * t, 1.0f + lm_silu_power(t), sum, range);
}

/* gate[0]·SiLU(v[0]) + gate[1]·SiLU(v[1]) as a fraction, a0/(1 + e0) + a1/(1 + e1) with fewer additions: returns what is above,
 * *d is what is below. */
static inline floatv lm_silu_two_parts(const floatv *t, const float *gate, floatv *d)
{
    const floatv e0 = lm_silu_power(t[0]), d1 = 1.0f + lm_silu_power(t[1]), a1 = gate[1] * t[1];
    *d = LM_MAD(e0, d1, d1);
    return LM_MAD(a1, e0, LM_MAD(gate[0] * t[0], d1, a1));
}

static inline floatv lm_silu_two(const floatv *t, const float *gate, floatv sum, floatv *range)
{
    floatv d;
    const floatv a = lm_silu_two_parts(t, gate, &d);
    return lm_silu_quotient(a, d, sum, range);
}

static inline floatv lm_silu_four(const floatv *t, const float *gate, floatv sum, floatv *range)
{
    floatv d0, d1;
    const floatv a0 = lm_silu_two_parts(t, gate, &d0), a1 = lm_silu_two_parts(t + 2, gate + 2, &d1), b1 = a1 * d0;
    return lm_silu_quotient(LM_MAD(a0, d1, b1), d0 * d1, sum, range);
}
