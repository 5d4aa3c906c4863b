/* kernels/reference/scan.c: the selective scan, token by token. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

static double silu(double x) { return x / (1 + exp(-x)); }

/* Where state n of channel c of state record `index` lies. */
static size_t state_at(const lm_scan_params *p, int index, int n, int c)
{
    return ((size_t)index * (size_t)p->d_state + (size_t)n) * (size_t)p->channels + (size_t)c;
}

void lm_reference_scan(const void *params, const int32_t *spec, void *const *buffers)
{
    const lm_scan_params *p = params;
    const float *u = buffers[0], *delta = buffers[1], *a = buffers[2], *bc = buffers[3], *d = buffers[4], *z = buffers[5];
    const int32_t *rows = buffers[6];
    float *state = buffers[7], *y = buffers[8];
    const int first = p->state_first;
    const int end = first + spec[3] < p->d_state ? first + spec[3] : p->d_state;

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        for (int chunk = 0; chunk < p->chunks; chunk++) {
            const int record = p->chunks == 1 ? row[LM_ROW_SLOT] : b * p->chunks + chunk;
            const int t_first = chunk * p->chunk_length;
            const int t_chunk = t_first + p->chunk_length;
            const int t_end = t_chunk < row[LM_ROW_LENGTH] ? t_chunk : row[LM_ROW_LENGTH];
            for (int c = 0; c < p->channels; c++) {
                double s[256];
                const bool resumes = p->chunks > 1 || row[LM_ROW_SEEN] > 0;
                for (int n = first; n < end; n++) s[n - first] = resumes ? state[state_at(p, record, n, c)] : 0;
                for (int t = t_first; t < t_end; t++) {
                    const size_t r = (size_t)(row[LM_ROW_START] + t);
                    const double input = u[r * (size_t)p->u_stride + (size_t)c];
                    const double step = delta[r * (size_t)p->delta_stride + (size_t)c];
                    const float *bs = bc + r * (size_t)p->bc_stride + (size_t)p->b_offset;
                    const float *cs = bc + r * (size_t)p->bc_stride + (size_t)p->c_offset;
                    float *out = y + r * (size_t)p->y_stride + (size_t)c;
                    double sum = first == 0 ? d[c] * input : *out;
                    for (int n = first; n < end; n++) {
                        const double decay = exp(step * a[(size_t)n * (size_t)p->channels + (size_t)c]);
                        s[n - first] = decay * s[n - first] + step * bs[n] * input;
                        sum += cs[n] * s[n - first];
                    }
                    if (end == p->d_state && (p->flags & LM_SCAN_GATE))
                        sum *= silu(z[r * (size_t)p->z_stride + (size_t)p->z_offset + (size_t)c]);
                    *out = (float)sum;
                }
                if (p->chunks > 1 || t_first >= t_end) continue;
                for (int n = first; n < end; n++) state[state_at(p, record, n, c)] = (float)s[n - first];
            }
        }
    }
}
