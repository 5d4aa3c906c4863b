/* kernels/reference/gemm.c: C = epilogue(A·B), for gemm and gemv alike. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

enum { STRIP = 64 };

/* As PyTorch has it: ln(1 + e^x), and x itself above 20, where the two agree to float32's last bit. */
static double softplus(double x) { return x > 20 ? x : log1p(exp(x)); }

void lm_reference_gemm(const void *params, const int32_t *spec, void *const *buffers)
{
    const lm_gemm_params *p = params;
    const bool b_trans = spec[3] != 0;
    const float *a = buffers[0], *b = buffers[1], *bias = buffers[2], *residual = buffers[3];
    float *c = buffers[4];
    const size_t ldb = (size_t)p->ldb, step = b_trans ? ldb : 1;

    for (int m = 0; m < p->rows; m++) {
        const float *row = a + p->a_offset + (size_t)m * (size_t)p->lda;
        /* A strip of columns at a time, so that rows of B are read along their lines. */
        for (int first = 0; first < p->cols; first += STRIP) {
            const int count = p->cols - first < STRIP ? p->cols - first : STRIP;
            double sums[STRIP] = {0};
            for (int k = 0; k < p->depth; k++) {
                const double scale = row[k];
                const float *from = b_trans ? b + (size_t)first * ldb + (size_t)k : b + (size_t)k * ldb + (size_t)first;
                for (int n = 0; n < count; n++) sums[n] += scale * from[(size_t)n * step];
            }
            for (int n = 0; n < count; n++) {
                const size_t at = (size_t)p->c_offset + (size_t)m * (size_t)p->ldc + (size_t)(first + n);
                double sum = sums[n];
                if (p->flags & LM_GEMM_BIAS) sum += bias[p->bias_offset + first + n];
                if (p->flags & LM_GEMM_SOFTPLUS) sum = softplus(sum);
                if (p->flags & LM_GEMM_RESIDUAL) sum += residual[at];
                c[at] = (float)sum;
            }
        }
    }
}
