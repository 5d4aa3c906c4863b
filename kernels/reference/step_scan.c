/* kernels/reference/step_scan.c: dt_proj and the selective scan of one token of each of a few sequences. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_step_scan(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_step_scan_params *p = params;
    const float *in = buffers[0], *dt_weight = buffers[1], *dt_bias = buffers[2], *a = buffers[3], *d = buffers[4];
    const int32_t *rows = buffers[5];
    float *state = buffers[6], *y = buffers[7];
    const size_t channels = (size_t)p->channels, d_state = (size_t)p->d_state, rank = (size_t)p->rank, width = rank + 2 * d_state;

    for (int b = 0; b < p->rows; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        const float *parts = in + p->part_offset + (size_t)b * (size_t)p->parts * width;
        for (size_t c = 0; c < channels; c++) {
            const double u = in[(size_t)p->u_offset + (size_t)b * channels + c], z = in[(size_t)p->z_offset + (size_t)b * channels + c];
            double low = dt_bias[c], sum = (double)d[c] * u;
            for (size_t r = 0; r < rank; r++)
                for (size_t i = 0; i < (size_t)p->parts; i++) low += (double)parts[i * width + r] * (double)dt_weight[r * channels + c];
            const double step = low > 20 ? low : log1p(exp(low));
            for (size_t n = 0; n < d_state; n++) {
                float *s = state + ((size_t)row[LM_ROW_SLOT] * d_state + n) * channels + c;
                double in_b = 0, out_c = 0;
                for (size_t i = 0; i < (size_t)p->parts; i++) {
                    in_b += (double)parts[i * width + rank + n];
                    out_c += (double)parts[i * width + rank + d_state + n];
                }
                const double before = row[LM_ROW_SEEN] > 0 ? (double)*s : 0;
                const double after = exp(step * (double)a[n * channels + c]) * before + step * in_b * u;
                *s = (float)after;
                sum += out_c * after;
            }
            y[(size_t)b * channels + c] = (float)(sum * z / (1 + exp(-z)));
        }
    }
}
