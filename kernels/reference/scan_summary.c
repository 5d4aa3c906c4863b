/* kernels/reference/scan_summary.c: what each chunk of a scan does to the state it starts from: its own last state from a
 * zero start, and the sum of its steps. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_scan_summary(const void *params, const int32_t *spec, void *const *buffers)
{
    const lm_scan_params *p = params;
    const float *u = buffers[0], *delta = buffers[1], *a = buffers[2], *bc = buffers[3];
    const int32_t *rows = buffers[4];
    float *summary = buffers[5], *total = buffers[6];
    const int end = p->state_first + spec[3] < p->d_state ? p->state_first + spec[3] : p->d_state;

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        for (int chunk = 0; chunk < p->chunks; chunk++) {
            const size_t record = (size_t)b * (size_t)p->chunks + (size_t)chunk;
            const int t_first = chunk * p->chunk_length;
            const int t_chunk = t_first + p->chunk_length;
            const int t_end = t_chunk < row[LM_ROW_LENGTH] ? t_chunk : row[LM_ROW_LENGTH];
            for (int c = 0; c < p->channels; c++) {
                double steps = 0;
                for (int t = t_first; t < t_end; t++)
                    steps += delta[(size_t)(row[LM_ROW_START] + t) * (size_t)p->delta_stride + (size_t)c];
                total[record * (size_t)p->channels + (size_t)c] = (float)steps;
                for (int n = p->state_first; n < end; n++) {
                    const double rate = a[(size_t)n * (size_t)p->channels + (size_t)c];
                    double s = 0;
                    for (int t = t_first; t < t_end; t++) {
                        const size_t r = (size_t)(row[LM_ROW_START] + t);
                        const double step = delta[r * (size_t)p->delta_stride + (size_t)c];
                        const double input = u[r * (size_t)p->u_stride + (size_t)c];
                        const double weight = bc[r * (size_t)p->bc_stride + (size_t)p->b_offset + (size_t)n];
                        s = exp(step * rate) * s + step * weight * input;
                    }
                    summary[(record * (size_t)p->d_state + (size_t)n) * (size_t)p->channels + (size_t)c] = (float)s;
                }
            }
        }
    }
}
