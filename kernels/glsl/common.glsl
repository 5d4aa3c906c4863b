/* kernels/glsl/common.glsl: what every kernel shares: the walk over tiles, and functions that are accurate on every driver.
 *
 * A driver's own exp and log may be wrong by thousands of ULP and GLSL has no log1p, so they are written out here, from
 * additions and multiplications. `precise` stands exactly where a compiler that contracts, reassociates or folds constants
 * would destroy the reduction; the polynomials are free of it, so that they become fused multiply-adds where there are any.
 * Results below 2^-126 may be flushed to zero. NaN comes out of every function that it goes into.
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
const float LM_LOG2E = 1.44269504;

bool lm_is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

/* exp(x) = result·2^n with the result in 0.7 … 1.42, for |x| ≤ 200: x = n·ln 2 + r, then a polynomial in r. */
float lm_exp_parts(float x, out int n)
{
    precise float t = x * LM_LOG2E + LM_ROUNDER;
    precise float k = t - LM_ROUNDER;
    precise float high = x - k * LM_LN2_HI;
    precise float r = high - k * LM_LN2_LO;
    n = floatBitsToInt(t) - LM_ROUNDER_BITS;
    float q = 1.381460810e-3;
    q = q * r + 8.368711919e-3;
    q = q * r + 4.166838899e-2;
    q = q * r + 1.666652113e-1;
    q = q * r + 4.999999404e-1;
    return 1.0 + (r + r * r * q);
}

/* x·2^n for n in -252 … 254, in two factors that are both representable. */
float lm_scale(float x, int n)
{
    int half_n = n >> 1;
    return x * intBitsToFloat((half_n + 127) << 23) * intBitsToFloat((n - half_n + 127) << 23);
}

/* exp(x), 1 ULP. */
float lm_exp(float x)
{
    int n;
    float mantissa = lm_exp_parts(x, n);
    float y = lm_scale(mantissa, n);
    return x > 89.0 ? intBitsToFloat(0x7f800000) : x < -104.0 ? 0.0 : y;
}

/* ln(1 + y) for 0 ≤ y < 2^29: 1 + y = 2^k·(1 + f) with f in -0.293 … 0.415; f is y itself where k is 0. */
float lm_log1p(float y)
{
    precise float u = 1.0 + y;
    int k = (floatBitsToInt(u) - 0x3f3504f3) >> 23;
    float inverse = intBitsToFloat(0x3f800000 - (k << 23)); /* 2^-k */
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

/* x / (1 + exp(-x)), 4 ULP. For a negative x it is x·exp(x) / (1 + exp(x)), whose numerator is scaled last: exp(x) leaves the
 * range of floats before x·exp(x) does. */
float lm_silu(float x)
{
    int n;
    float mantissa = lm_exp_parts(-abs(x), n);
    bool far = abs(x) > 104.0;
    float e = far ? 0.0 : lm_scale(mantissa, n);
    float negative = far ? 0.0 : lm_scale(x * mantissa, n);
    return (x > 0.0 ? x : negative) / (1.0 + e);
}

/* 2^x·s + added, a step of the recurrence, for x ≤ 0 (Δ·A·log2 e). Where the decay is near 1 only its distance from 1 is
 * multiplied, so that a million small steps do not drift: s + (2^x − 1)·s + added. */
float lm_decay_step(float s, float x, float added)
{
    precise float t = x + LM_ROUNDER;
    precise float k = t - LM_ROUNDER;
    precise float f = x - k;
    float q = 1.540350786e-4;
    q = q * f + 1.339073642e-3;
    q = q * f + 9.618237615e-3;
    q = q * f + 5.550357327e-2;
    q = q * f + 2.402264923e-1;
    q = q * f + 6.931471825e-1;
    float less_one = q * f; /* 2^f − 1 */
    float power = intBitsToFloat((floatBitsToInt(t) << 23) + 0x3f800000); /* 2^k, k ≥ -126 */
    bool close = t == LM_ROUNDER;
    float factor = close ? less_one : less_one * power + power;
    factor = x < -126.0 ? 0.0 : factor;
    return (close ? s : 0.0) + (factor * s + added);
}
