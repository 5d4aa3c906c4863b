/* kernels/glsl/common.glsl: the walk over tiles, and functions that are accurate on every driver.
 *
 * A driver's own exp and log may be wrong by thousands of ULP and GLSL has no log1p, so they are written out here, from
 * additions and multiplications. `precise` stands exactly where a compiler that contracts, reassociates or folds
 * constants would destroy the reduction; the polynomials are free of it, so that they become fused multiply-adds where
 * there are any. Results below 2^-126 may be flushed to zero. NaN comes out of every function that it goes into.
 */

/* The tiles of one dimension of the grid (kernels/launch.c): any number of work-groups is right. */
#define LM_EACH_TILE(tile, dimension, tiles) \
    for (int tile = int(gl_WorkGroupID.dimension); tile < (tiles); tile += int(gl_NumWorkGroups.dimension))

int lm_ceil_div(int a, int b) { return (a + b - 1) / b; }

/* Adding it rounds a float to an integer, which then is in the low bits of the sum's mantissa. */
const float LM_ROUNDER = 12582912.0;
const int LM_ROUNDER_BITS = 0x4b400000;

/* ln 2 = HI + LO; HI has 10 bits, so that n·HI is exact. */
const float LM_LN2_HI = 0.693359375;
const float LM_LN2_LO = -2.12194440e-4;

bool lm_is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

/* 2^n for n in -127 … 128, where -127 gives 0 and 128 infinity. */
float lm_power_of_2(int n) { return intBitsToFloat((n + 127) << 23); }

/* x·2^n for n in -254 … 256, in two factors that lm_power_of_2 has. */
float lm_scale(float x, int n)
{
    int first = n >> 1;
    return x * lm_power_of_2(first) * lm_power_of_2(n - first);
}

/* exp(x) = (1 + result)·2^n for |x| ≤ 176: x = n·ln 2 + r with |r| ≤ 0.3466, and a polynomial for exp(r) − 1. */
float lm_exp_parts(float x, out int n)
{
    precise float t = fma(x, 1.44269504, LM_ROUNDER);
    precise float k = t - LM_ROUNDER;
    precise float high = fma(-k, LM_LN2_HI, x);
    precise float r = fma(-k, LM_LN2_LO, high);
    n = floatBitsToInt(t) - LM_ROUNDER_BITS;
    float q = 1.381460810e-3;
    q = q * r + 8.368711919e-3;
    q = q * r + 4.166838899e-2;
    q = q * r + 1.666652113e-1;
    q = q * r + 4.999999404e-1;
    return r * r * q + r;
}

/* exp(x), 2 ULP. NaN is told by its bits: a driver may turn the bounds into minimum and maximum, which lose it. */
float lm_exp(float x)
{
    float bounded = x < -176.0 ? -176.0 : x;
    bounded = bounded > 176.0 ? 176.0 : bounded;
    int n;
    float less_one = lm_exp_parts(bounded, n);
    return lm_is_nan(x) ? x : lm_scale(1.0 + less_one, n);
}

/* exp(x)·s + added for x ≤ 0, a step of the recurrence: with exp(x) = 2^n·(1 + p) it is 2^n·s + (p·2^n·s + added). Where the
 * decay is near 1, that multiplies only its distance from 1, so that a million small steps do not drift. An infinite s stays
 * what it is: the clamp keeps its opposite out of the sum. */
float lm_decay_step(float s, float x, float added)
{
    /* -88 gives 2^-127, which is 0 here. Compared by the bits: a driver could make a maximum of it, which loses NaN. */
    x = floatBitsToUint(x) - 0xc2b00001u <= 0x3ccfffffu ? -88.0 : x;
    int n;
    float less_one = lm_exp_parts(x, n);
    float kept = lm_power_of_2(n) * s;
    return kept + (less_one * clamp(kept, -3.4028235e38, 3.4028235e38) + added);
}

/* The same for x given as step·(rate + rate_low), A / ln 2 in two parts: products are exact where fma is fused, so that the
 * exponent is better than a rounded x has it. Here an infinite s gives NaN, and so do steps of 10^6 and more: callers look
 * for what is not finite. */
float lm_decay_finite(float s, float step, float rate, float rate_low, float added)
{
    precise float t = fma(step, rate, LM_ROUNDER);
    precise float k = t - LM_ROUNDER;
    precise float high = fma(step, rate, -k);
    float f = fma(step, rate_low, high);
    /* (2^f − 1) / f within 1.9e-8 for |f| ≤ 0.5. */
    float q = 1.53239656e-4;
    q = fma(q, f, 1.33911788e-3);
    q = fma(q, f, 9.61852074e-3);
    q = fma(q, f, 5.55035919e-2);
    q = fma(q, f, 0.240226477);
    q = fma(q, f, 0.693147182);
    float power = intBitsToFloat((floatBitsToInt(max(t, LM_ROUNDER - 127.0)) << 23) + 0x3f800000);
    precise float kept = power * s;
    precise float result = kept + fma(q * f, kept, added);
    return result;
}

/* A / ln 2 − rate, where rate is A / ln 2 rounded. */
float lm_rate_low(float a, float rate)
{
    precise float rest = fma(a, 1.44269504, -rate);
    return fma(a, 1.92596299e-8, rest);
}

/* ln(1 + y) for 0 ≤ y < 2^29: 1 + y = 2^k·(1 + f) with f in -0.293 … 0.415; f is y itself where k is 0. */
float lm_log1p(float y)
{
    precise float u = 1.0 + y;
    int k = (floatBitsToInt(u) - 0x3f3504f3) >> 23;
    float inverse = lm_power_of_2(-k);
    precise float f = y * inverse + (inverse - 1.0);
    float q = -7.634526491e-2;
    q = q * f + 1.276168525e-1;
    q = q * f - 1.316022277e-1;
    q = q * f + 1.420174688e-1;
    q = q * f - 1.662335247e-1;
    q = q * f + 2.000122666e-1;
    q = q * f - 2.500082254e-1;
    q = q * f + 3.333333135e-1;
    precise float tail = f * f * (f * q - 0.5) + float(k) * LM_LN2_LO;
    precise float low = f + tail;
    return float(k) * LM_LN2_HI + low;
}

/* ln(1 + exp(x)), 4 ULP; above 20 it is x, as in PyTorch. */
float lm_softplus(float x) { return x > 20.0 ? x : lm_log1p(lm_exp(x)); }

/* lm_softplus where fma is fused, without branches, so that several are worked on at once: max(x, 0) + ln(1 + e) with
 * e = exp(-|x|) and ln(1 + e) = 2·atanh(e / (2 + e)), whose quotient one step of Newton's and one of the remainder correct. */
float lm_softplus_fused(float x)
{
    float bounded = max(-abs(x), -88.0); /* whose power of 2 is 0 */
    precise float t = fma(bounded, 1.44269504, LM_ROUNDER);
    precise float k = t - LM_ROUNDER;
    precise float high = fma(-k, LM_LN2_HI, bounded);
    precise float r = fma(-k, LM_LN2_LO, high);
    float q = fma(r, 1.39464736e-3, 8.36659803e-3);
    q = fma(q, r, 4.16662818e-2);
    q = fma(q, r, 0.166665429);
    q = fma(q, r, 0.500000006);
    float power = intBitsToFloat((floatBitsToInt(t) << 23) + 0x3f800000);
    float e = fma(fma(q, r * r, r), power, power);
    precise float d = 2.0 + e;
    float guess = 1.0 / d;
    precise float inverse = fma(fma(-d, guess, 1.0), guess, guess);
    precise float near = e * inverse;
    precise float s = fma(fma(-near, d, e), inverse, near);
    precise float square = s * s;
    q = fma(square, 0.1401379, 0.139993556);
    q = fma(q, square, 0.200108547);
    q = fma(q, square, 0.333332067);
    precise float result = fma(2.0, fma(q * square, s, s), max(x, 0.0));
    return mix(result, x, lm_is_nan(x)); /* a conditional may become a branch */
}

/* a / b for 1 ≤ b ≤ 2 and |a| that is infinite or far from both ends of the range. Drivers may be off by 2.5 ULP, so the
 * quotient is corrected by its remainder, whose products are exact because the factors have 12 bits each. */
float lm_divide(float a, float b)
{
    precise float q = a / b;
    precise float q_high = intBitsToFloat(floatBitsToInt(q) & 0xfffff000), q_low = q - q_high;
    precise float b_high = intBitsToFloat(floatBitsToInt(b) & 0xfffff000), b_low = b - b_high;
    precise float rest = ((a - q_high * b_high) - q_high * b_low) - q_low * b_high - q_low * b_low;
    return isinf(q) ? q : q + rest / b;
}

/* x / (1 + exp(-x)), 4 ULP; minus infinity gives NaN, as in PyTorch. For a negative x it is x·exp(x) / (1 + exp(x)), scaled
 * last: exp(x) leaves the range of floats before x·exp(x) does. */
float lm_silu(float x)
{
    float below = -abs(x);
    below = below < -176.0 ? -176.0 : below;
    int n;
    float mantissa = 1.0 + lm_exp_parts(below, n);
    float quotient = lm_divide(x < 0.0 ? x * mantissa : x, 1.0 + lm_scale(mantissa, n));
    return x < 0.0 ? lm_scale(quotient, n) : quotient;
}

/* lm_silu where fma is fused: one step of Newton's corrects the reciprocal, and one the quotient. */
float lm_silu_fused(float x)
{
    float below = -abs(x);
    below = below < -176.0 ? -176.0 : below;
    int n;
    float mantissa = 1.0 + lm_exp_parts(below, n);
    float a = x < 0.0 ? x * mantissa : x, b = 1.0 + lm_scale(mantissa, n);
    float guess = 1.0 / b;
    precise float inverse = fma(fma(-b, guess, 1.0), guess, guess);
    precise float q = a * inverse;
    precise float better = fma(fma(-q, b, a), inverse, q);
    float quotient = isinf(q) ? q : better;
    return x < 0.0 ? lm_scale(quotient, n) : quotient;
}
