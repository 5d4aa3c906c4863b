/* kernels/opencl/epilogue.h: what gemm and gemv do to a sum before it is stored: bias, softplus, residual. */

/* Stores columns n … n+count−1 of row m, 1 ≤ count ≤ LANES. */
static inline void lm_gemm_store(floatv v, const lm_gemm_params p, __global const float *bias,
                                 __global const float *residual, __global float *c, int m, int n, int count)
{
    const int at = p.c_offset + m * p.ldc + n;
    if (p.flags & LM_GEMM_BIAS) v += lm_load(bias + p.bias_offset + n, count);
    if (p.flags & LM_GEMM_SOFTPLUS) v = lm_softplus(v);
    if (p.flags & LM_GEMM_RESIDUAL) v += lm_load(residual + at, count);
    lm_store(v, c + at, count);
}
