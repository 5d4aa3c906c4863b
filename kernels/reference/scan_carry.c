/* kernels/reference/scan_carry.c: walks the chunks of a scan and replaces each summary by the state its chunk starts
 * from. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_scan_carry(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_scan_params *p = params;
    const float *a = buffers[0], *total = buffers[1];
    const int32_t *rows = buffers[2];
    float *summary = buffers[3], *state = buffers[4];
    const size_t channels = (size_t)p->channels, d_state = (size_t)p->d_state;

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        if (row[LM_ROW_LENGTH] == 0) continue;
        const size_t slot = (size_t)row[LM_ROW_SLOT];
        for (size_t n = 0; n < d_state; n++) {
            for (size_t c = 0; c < channels; c++) {
                float *kept = state + (slot * d_state + n) * channels + c;
                double carried = row[LM_ROW_SEEN] > 0 ? *kept : 0;
                for (int i = 0; i < p->chunks; i++) {
                    const size_t record = (size_t)b * (size_t)p->chunks + (size_t)i;
                    float *entry = summary + (record * d_state + n) * channels + c;
                    const double last = *entry;
                    *entry = (float)carried;
                    carried = exp((double)a[n * channels + c] * total[record * channels + c]) * carried + last;
                }
                *kept = (float)carried;
            }
        }
    }
}
