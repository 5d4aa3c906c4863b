/* kernels/reference/rmsnorm.c: root-mean-square normalisation of rows. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_rmsnorm(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_rmsnorm_params *p = params;
    const float *weight = buffers[1];

    for (int r = 0; r < p->rows; r++) {
        const float *x = (const float *)buffers[0] + (size_t)r * (size_t)p->cols;
        float *y = (float *)buffers[2] + (size_t)r * (size_t)p->cols;
        double squares = 0;
        for (int c = 0; c < p->cols; c++) squares += (double)x[c] * x[c];
        const double scale = 1 / sqrt(squares / p->cols + (double)p->epsilon);
        for (int c = 0; c < p->cols; c++) y[c] = (float)(x[c] * scale * weight[c]);
    }
}
