/* kernels/reference/step_out.c: out_proj of one token of each of a few sequences. */
#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_step_out(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_step_out_params *p = params;
    const float *x = buffers[0], *weight = buffers[1], *bias = buffers[2], *residual = buffers[3];
    float *out = buffers[4];
    const size_t depth = (size_t)p->depth, cols = (size_t)p->cols;

    for (size_t b = 0; b < (size_t)p->rows; b++)
        for (size_t n = 0; n < cols; n++) {
            double sum = p->flags & LM_STEP_BIAS ? (double)bias[n] : 0;
            for (size_t k = 0; k < depth; k++) sum += (double)x[b * depth + k] * (double)weight[k * cols + n];
            out[b * cols + n] = (float)(p->flags & LM_STEP_RESIDUAL ? sum + (double)residual[b * cols + n] : sum);
        }
}
