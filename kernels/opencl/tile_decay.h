/* kernels/opencl/tile_decay.h: decays of scan_tiled and scan_ends, and four of something. FLAGS are LM_TILED_... of params.h. */
#define EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)

/* The device's own where they are good. */
#if FLAGS & LM_TILED_OWN_EXP2
static inline float lm_fast_exp2(float x) { return exp2(x); }
static inline float lm_fast_recip(float x) { return 1.0f / x; }
#else
#define lm_fast_exp2 lm_hardware_exp2
#define lm_fast_recip lm_hardware_recip
#endif

/* 2^x − 1 within 1e-9 of itself, down to x = -0.18, which is what eight small steps come to; three terms do for one. */
static inline float lm_tile_expm1(float x)
{
    const float q = fma(x, fma(x, 1.54035304e-4f, 1.33335581e-3f), 9.61812911e-3f);
    return x * fma(x, fma(x, fma(x, q, 5.55041087e-2f), 0.240226507f), 0.693147181f);
}

static inline float4 lm_tile_decay(float4 x)
{
    return (float4)(lm_fast_exp2(x.x), lm_fast_exp2(x.y), lm_fast_exp2(x.z), lm_fast_exp2(x.w));
}

static inline float lm_tile_sigmoid(float x) { return lm_fast_recip(1.0f + lm_fast_exp2(x * -1.44269504f)); }

static inline float lm_dot4(float4 a, float4 b) { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, a.x * b.x))); }

#define TOKEN(v, j) ((j) == 0 ? (v).x : (j) == 1 ? (v).y : (j) == 2 ? (v).z : (v).w)
