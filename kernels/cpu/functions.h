/* kernels/cpu/functions.h: exp, SiLU, softplus, and a step of a decaying state, on vectors. */

/* 1.5·2^23 + 127: adding it rounds to an integer k, and k + 127, the exponent of 2^k, is then the sum's last bits. */
#define ROUNDER 12583039.0f

/* e^x = 2^k·(1 + p) for |x| ≤ 176: leaves k + ROUNDER in *rounded and returns p = e^r − 1 for r = x − k·ln 2, |r| ≤ ln 2 / 2 (Cody
 * and Waite's two-part ln 2; the polynomial is a minimax one of relative error 1.3e-8). */
INLINE vf exp_parts(vf x, vf *rounded)
{
    *rounded = vf_fma(x, vf_set(1.44269504f), vf_set(ROUNDER));
    const vf k = *rounded - ROUNDER;
    vf r = vf_fma(k, vf_set(-0.693359375f), x);
    r = vf_fma(k, vf_set(2.12194440e-4f), r);
    vf q = vf_set(0.00139464736f);
    q = vf_fma(q, r, vf_set(0.00836659803f));
    q = vf_fma(q, r, vf_set(0.0416662818f));
    q = vf_fma(q, r, vf_set(0.166665429f));
    q = vf_fma(q, r, vf_set(0.500000006f));
    return vf_fma(q, r * r, r);
}

/* v·2^k for −127 ≤ k ≤ 128 given as k + ROUNDER; 2^−127 counts as 0 and 2^128 as infinite. */
INLINE vf scale(vf v, vf rounded)
{
#if LANES == 16 && SIMD_X86
    return (vf)_mm512_scalef_ps((__m512)v, (__m512)(rounded - ROUNDER));
#else
    return v * (vf)((vi)rounded << 23);
#endif
}

/* e^x within 1.1 ULP from −87 to 88; 0 or next to it below, infinity above 89. */
INLINE vf vf_exp(vf x)
{
    vf rounded;
    const vf p = exp_parts(vf_at_most(vf_at_least(x, -88.0f), 89.0f), &rounded);
    return scale(1.0f + p, rounded);
}

/* One step of a decaying state, e^x·s + input for x ≤ 0: with e^x = 2^k·(1 + p) it is 2^k·s + (p·(2^k·s) + input), where
 * nothing is rounded before p. A decay near 1 then keeps what 1 + p would lose: the difference between drifting and not over
 * a million tokens. Decays below 2^-126 count as 0. Only where `careful` may x be below −87, or the state infinite: the second term
 * must not see infinity, as it may have the other sign. */
INLINE vf decay(vf x, vf s, vf input, bool careful)
{
    vf rounded;
    const vf p = exp_parts(careful ? vf_at_least(x, -88.0f) : x, &rounded);
    const vf kept = scale(s, rounded);
    const vf finite = careful ? vf_at_most(vf_at_least(kept, -3.40282347e38f), 3.40282347e38f) : kept;
    return kept + vf_fma(p, finite, input);
}

/* x / (1 + e^-x) within 4 ULP, but 0 where e^-x overflows, below −88.4. Minus infinity gives NaN, as in PyTorch. */
INLINE vf silu(vf x) { return x / (1.0f + vf_exp(-x)); }

/* ln(1 + e^x) within 4 ULP everywhere: max(x, 0) + ln(1 + e), e = e^-|x|, and ln(1 + e) = 2·atanh(e / (2 + e)). Where x > 20
 * this is x. */
INLINE vf softplus(vf x)
{
    const vf e = vf_exp(-vf_abs(x));
    const vf s = e / (2.0f + e);
    const vf t = s * s;
    vf q = vf_set(0.1401379f);
    q = vf_fma(q, t, vf_set(0.139993556f));
    q = vf_fma(q, t, vf_set(0.200108547f));
    q = vf_fma(q, t, vf_set(0.333332067f));
    const vf log1p_e = 2.0f * vf_fma(q * t, s, s);
    return vf_select(x > 0.0f, x + log1p_e, log1p_e);
}
