/* kernels/glsl/epilogue.glsl: what gemm and gemv do with a finished sum. Needs p (LM_GEMM_FIELDS), bias[], residual[],
 * c[].
 */
void store_result(int m, int n, float value)
{
    int to = p.c_offset + m * p.ldc + n;
    if ((p.flags & LM_GEMM_BIAS) != 0) value += bias[p.bias_offset + n];
    if ((p.flags & LM_GEMM_SOFTPLUS) != 0) value = lm_softplus(value);
    if ((p.flags & LM_GEMM_RESIDUAL) != 0) value += residual[to];
    c[to] = value;
}
