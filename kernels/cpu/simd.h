/* kernels/cpu/simd.h: LANES floats side by side, in the compiler's own vectors (GCC and Clang), and the few operations that these
 * lack. Where there is no fused multiply-add, vf_fma rounds twice. */
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define SIMD_X86 1
#else
#define SIMD_X86 0
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
/* the same anywhere in memory */
typedef float vf_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vf vf_load(const float *p) { return *(const vf_unaligned *)p; }
INLINE void vf_store(float *p, vf v) { *(vf_unaligned *)p = v; }
INLINE vf vf_set(float x) { return x - (vf){0}; } /* also of −0 */

/* `count` floats from p on, 1 … LANES of them; the rest are 0, or are not stored. */
INLINE vf vf_load_part(const float *p, int count)
{
    if (count >= LANES) return vf_load(p);
    vf v = {0};
    memcpy(&v, p, (size_t)count * sizeof(float));
    return v;
}

INLINE void vf_store_part(float *p, vf v, int count)
{
    if (count >= LANES) vf_store(p, v);
    else memcpy(p, &v, (size_t)count * sizeof(float));
}

INLINE vf vf_select(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

/* a·b + c; the greater and the smaller of two, b where one is NaN. */
#if LANES == 16 && SIMD_X86
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf vf_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE bool vf_any_nan(vf v) { return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q) != 0; }
#elif LANES == 8 && SIMD_X86
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf vf_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE bool vf_any_nan(vf v) { return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, (__m256)v, _CMP_UNORD_Q)) != 0; }
#else
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf vf_max(vf a, vf b) { return vf_select(a > b, a, b); }
INLINE vf vf_min(vf a, vf b) { return vf_select(a < b, a, b); }
INLINE bool vf_any_nan(vf v)
{
    const vi unordered = v != v;
    int32_t any = 0;
    for (int i = 0; i < LANES; i++) any |= unordered[i];
    return any != 0;
}
#endif

INLINE vf vf_abs(vf v) { return (vf)((vi)v & 0x7fffffff); }
/* Bounds that let NaN through. */
INLINE vf vf_at_least(vf v, float low) { return vf_max(vf_set(low), v); }
INLINE vf vf_at_most(vf v, float high) { return vf_min(vf_set(high), v); }

/* The sum of the lanes, always in the same order. */
INLINE float vf_sum(vf v)
{
    float part[LANES];
    vf_store(part, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

INLINE uint32_t div_up(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }
INLINE uint32_t round_up(uint32_t a, uint32_t to) { return div_up(a, to) * to; }
INLINE int min_int(int a, int b) { return a < b ? a : b; }
