/* kernels/opencl/gemm_wide.h: one TILE_M×TILE_N tile of a gemm on a processor, by one lane, without local memory.
 *
 * LANES columns of B, DEPTH of k at a time, are packed side by side ("panel": 16 KiB, it stays in the first cache)
 * whichever way B is stored. Then MICRO rows at a time stream past it, with MICRO vectors of sums in registers. Between
 * panels the sums wait in `sums`, not in C, because C may be the residual. */
#if LANES != 1
#define DEPTH 256
#define MICRO 6
#define VECTORS (TILE_N / LANES)

/* panel[k] = B(k0 + k, n … n+LANES−1), 0 past the last column. */
static inline void lm_pack(const lm_gemm_params p, __global const float *b, int k0, int depth, int n, floatv *panel)
{
    const int count = min(LANES, p.cols - n);
#if B_TRANS
    float *to = (float *)panel;
    for (int j = 0; j < LANES; j++) {
        __global const float *from = b + (n + min(j, count - 1)) * p.ldb + k0;
        for (int k = 0; k < depth; k++) to[k * LANES + j] = j < count ? from[k] : 0.0f;
    }
#else
    for (int k = 0; k < depth; k++) panel[k] = lm_load(b + (k0 + k) * p.ldb + n, count);
#endif
}

/* sums[i·VECTORS] += A[m + i, k0 … k0+depth−1]·panel for MICRO rows; rows past the last repeat it and are not stored. */
static inline void lm_micro(const lm_gemm_params p, __global const float *a, int m, int k0, int depth, const floatv *panel,
                            floatv *sums)
{
    __global const float *row[MICRO];
    floatv sum[MICRO];
#pragma unroll
    for (int i = 0; i < MICRO; i++) {
        row[i] = a + p.a_offset + min(m + i, p.rows - 1) * p.lda + k0;
        sum[i] = sums[i * VECTORS];
    }
    for (int k = 0; k < depth; k++) {
        const floatv b = panel[k];
#pragma unroll
        for (int i = 0; i < MICRO; i++) sum[i] = LM_MAD((floatv)(row[i][k]), b, sum[i]);
    }
#pragma unroll
    for (int i = 0; i < MICRO; i++) sums[i * VECTORS] = sum[i];
}

static inline void lm_gemm_wide(const lm_gemm_params p, __global const float *a, __global const float *b,
                                __global const float *bias, __global const float *residual, __global float *c, int m0,
                                int n0)
{
    floatv sums[TILE_M * VECTORS], panel[DEPTH];
    const int rows = min(TILE_M, p.rows - m0);
    for (int i = 0; i < TILE_M * VECTORS; i++) sums[i] = (floatv)(0.0f);
    for (int k0 = 0; k0 < p.depth; k0 += DEPTH) {
        const int depth = min(DEPTH, p.depth - k0);
        for (int v = 0; v < VECTORS && n0 + v * LANES < p.cols; v++) {
            lm_pack(p, b, k0, depth, n0 + v * LANES, panel);
            for (int i = 0; i < rows; i += MICRO) lm_micro(p, a, m0 + i, k0, depth, panel, sums + i * VECTORS + v);
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < VECTORS && n0 + v * LANES < p.cols; v++) {
            const int n = n0 + v * LANES;
            lm_gemm_store(sums[i * VECTORS + v], p, bias, residual, c, m0 + i, n, min(LANES, p.cols - n));
        }
    }
}
#endif
