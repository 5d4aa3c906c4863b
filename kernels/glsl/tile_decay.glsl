/* kernels/glsl/tile_decay.glsl: decays of scan_tiled, scan_ends and scan_ends_long. Needs FLAGS (LM_TILED_...) and common.glsl. */

float tile_exp2(float x) { return (FLAGS & LM_TILED_OWN_EXP2) != 0 ? lm_exp(x * 0.693147181) : exp2(x); }

float tile_sigmoid(float x) { return 1.0 / (1.0 + tile_exp2(x * -1.44269504)); }

/* 2^x − 1 within 1e-9 of itself, down to x = -0.18, which is what eight small steps come to; three terms do for one. */
float tile_expm1(float x)
{
    float q = fma(x, fma(x, 1.54035304e-4, 1.33335581e-3), 9.61812911e-3);
    return x * fma(x, fma(x, fma(x, q, 5.55041087e-2), 0.240226507), 0.693147181);
}

vec4 tile_decay(vec4 x) { return vec4(tile_exp2(x.x), tile_exp2(x.y), tile_exp2(x.z), tile_exp2(x.w)); }

bool is_finite_bits(float x) { return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u; }
