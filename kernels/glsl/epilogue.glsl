/* kernels/glsl/epilogue.glsl: what gemm and gemv do with a finished sum.
 *
 * Needs p (LM_GEMM_FIELDS), the buffers bias, residual and c (buffers.glsl), and common.glsl.
 */

/* Of column n, which may lie beyond the edge. */
float bias_of(int n) { return (p.flags & LM_GEMM_BIAS) != 0 && n < p.cols ? LM_AT(bias, p.bias_offset + n) : 0.0; }

/* Result (m, n), if there is one. */
void store_result(int m, int n, float value, float column_bias)
{
    if (m >= p.rows || n >= p.cols) return;
    int to = p.c_offset + m * p.ldc + n;
    value += column_bias;
    if ((p.flags & LM_GEMM_SOFTPLUS) != 0) value = lm_softplus_fused(value);
    if ((p.flags & LM_GEMM_RESIDUAL) != 0) value += LM_AT(residual, to);
    LM_AT(c, to) = value;
}
