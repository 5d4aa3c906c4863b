/* kernels/reference/argmax.c: the first column with the largest value of each row. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_argmax(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_argmax_params *p = params;
    int32_t *index = buffers[1];

    for (int r = 0; r < p->rows; r++) {
        const float *x = (const float *)buffers[0] + (size_t)r * (size_t)p->x_stride;
        int best = -1;
        for (int c = 0; c < p->cols; c++)
            if (!isnan(x[c]) && (best < 0 || x[c] > x[best])) best = c;
        index[r] = best < 0 ? 0 : best;
    }
}
