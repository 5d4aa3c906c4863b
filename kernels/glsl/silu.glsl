/* kernels/glsl/silu.glsl: sums of SiLUs with few operations, for devices with fused multiply-add. After common.glsl.
 *
 * SiLU(v) = v / d with d = 1 + e^-v, and several of them share a division: v0/d0 + v1/d1 = (v0·d1 + v1·d0) / (d0·d1). Nothing
 * cancels, so every one is as good as alone, as long as the product of the denominators is below 2^125 and nothing overflows.
 * `range` tells: it becomes large, infinite or NaN where that is not so (arguments below -87 in sum, infinities, NaN), and then
 * the caller takes lm_silu. Operations stand in one order, explicitly fused, so that all kernels round alike.
 *
 * Functions take t = LM_SILU_SCALE·v and a gate that has LM_SILU_GATE in it: what exp2 wants costs nothing where v is a sum
 * whose weights can have the factor. Constants of the including file: HARDWARE_EXP: exp2 is within 2 ULP. EXACT_ARGUMENT: v
 * has no rounding of its own, so that what v·log2 e loses by rounding is worth putting back, with e^(h + r) = e^h + e^h·r. The
 * sum of a convolution has as large an error itself.
 */
const float LM_SILU_SCALE = HARDWARE_EXP && !EXACT_ARGUMENT ? -1.44269504 : 1.0;
const float LM_SILU_GATE = HARDWARE_EXP && !EXACT_ARGUMENT ? -0.693147182 : 1.0;

/* e^-v */
float lm_silu_power(float t)
{
    if (HARDWARE_EXP && !EXACT_ARGUMENT) return exp2(t);
    if (HARDWARE_EXP) {
        precise float h = t * -1.44269504, r = fma(h, -0.693147182, -t);
        float e = exp2(h);
        return fma(e, r, e);
    }
    int n;
    float less_one = lm_exp_parts(clamp(-t, -87.0, 89.0), n);
    return (1.0 + less_one) * lm_power_of_2(n);
}

/* sum + a/d, where d is the product of all denominators */
float lm_silu_quotient(float a, float d, float sum, inout float range)
{
    range += d;
    precise float inverse = 1.0 / d;
    precise float result = fma(a, inverse, sum);
    return result;
}

/* sum + gate·SiLU(v) */
float lm_silu_one(float t, float gate, float sum, inout float range)
{
    precise float a = gate * t, d = 1.0 + lm_silu_power(t);
    return lm_silu_quotient(a, d, sum, range);
}

/* gate.x·SiLU(v.x) + gate.y·SiLU(v.y) as a fraction: a0/(1 + e0) + a1/(1 + e1) with fewer additions */
void lm_silu_two_parts(vec2 t, vec2 gate, out float above, out float below)
{
    float e0 = lm_silu_power(t.x), e1 = lm_silu_power(t.y);
    precise float a0 = gate.x * t.x, a1 = gate.y * t.y, d1 = 1.0 + e1, d = fma(e0, d1, d1), a = fma(a1, e0, fma(a0, d1, a1));
    above = a;
    below = d;
}

float lm_silu_two(vec2 t, vec2 gate, float sum, inout float range)
{
    float a, d;
    lm_silu_two_parts(t, gate, a, d);
    return lm_silu_quotient(a, d, sum, range);
}

float lm_silu_four(vec4 t, vec4 gate, float sum, inout float range)
{
    float a0, d0, a1, d1;
    lm_silu_two_parts(t.xy, gate.xy, a0, d0);
    lm_silu_two_parts(t.zw, gate.zw, a1, d1);
    precise float b1 = a1 * d0, a = fma(a0, d1, b1), d = d0 * d1;
    return lm_silu_quotient(a, d, sum, range);
}

/* By its bits: drivers take liberties with comparisons of NaN. */
bool lm_silu_in_range(float range) { return (floatBitsToUint(range) & 0x7fffffffu) < 0x7e000000u; }
