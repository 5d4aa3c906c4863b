/* kernels/reference/cross_entropy.c: −ln softmax(x)[target] of each row. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_cross_entropy(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_cross_entropy_params *p = params;
    const int32_t *target = buffers[1];
    float *loss = buffers[2];

    for (int r = 0; r < p->rows; r++) {
        const float *x = (const float *)buffers[0] + (size_t)r * (size_t)p->x_stride;
        /* Shifted by the largest value, so that no exponential overflows. A NaN never raises `largest`, but reaches the
         * sum. */
        double largest = -INFINITY, sum = 0;
        for (int c = 0; c < p->cols; c++)
            if (x[c] > largest) largest = x[c];
        for (int c = 0; c < p->cols; c++) sum += exp(x[c] - largest);
        loss[r] = (float)(log(sum) + largest - x[target[r]]);
    }
}
