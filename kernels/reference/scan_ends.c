/* kernels/reference/scan_ends.c: how each chunk of a scan but the last one of a sequence ends. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_scan_ends(const void *params, const int32_t *spec, void *const *buffers)
{
    const lm_scan_params *p = params;
    const float *u = buffers[0], *delta = buffers[1], *a = buffers[2], *bc = buffers[3], *state = buffers[5];
    const int32_t *rows = buffers[4];
    const size_t channels = (size_t)p->channels, d_state = (size_t)p->d_state;
    const int end = p->state_first + spec[3] < p->d_state ? p->state_first + spec[3] : p->d_state;

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        for (int chunk = 0; chunk < p->chunks && chunk * p->chunk_length < row[LM_ROW_LENGTH]; chunk++) {
            float *record = (float *)buffers[6] + ((size_t)b * (size_t)p->chunks + (size_t)chunk) * (d_state + 1) * channels;
            const size_t t_end = (size_t)(row[LM_ROW_START] + chunk * p->chunk_length);
            const size_t t_first = chunk > 0 ? t_end - (size_t)p->chunk_length : t_end;
            for (size_t c = 0; c < channels; c++) {
                double total = 0;
                for (size_t t = t_first; t < t_end; t++) total += delta[t * (size_t)p->delta_stride + c];
                if (p->state_first == 0) record[d_state * channels + c] = (float)total;
                for (size_t n = (size_t)p->state_first; n < (size_t)end; n++) {
                    const bool resumes = chunk == 0 && row[LM_ROW_SEEN] > 0;
                    double s = resumes ? state[((size_t)row[LM_ROW_SLOT] * d_state + n) * channels + c] : 0;
                    for (size_t t = t_first; t < t_end; t++) {
                        const double step = delta[t * (size_t)p->delta_stride + c], input = u[t * (size_t)p->u_stride + c];
                        const double weight = bc[t * (size_t)p->bc_stride + (size_t)p->b_offset + n];
                        s = exp(step * a[n * channels + c]) * s + step * weight * input;
                    }
                    record[n * channels + c] = (float)s;
                }
            }
        }
    }
}
