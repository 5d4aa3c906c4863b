/* kernels/reference/conv_state.c: puts a call's last inputs into the history rings. */
#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_conv_state(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_conv_params *p = params;
    const float *x = buffers[0];
    const int32_t *rows = buffers[1];
    float *history = buffers[2];

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        const int length = row[LM_ROW_LENGTH], head = row[LM_ROW_HEADS + p->ring];
        for (int t = length > p->history ? length - p->history : 0; t < length; t++) {
            const size_t at = (size_t)row[LM_ROW_SLOT] * (size_t)p->history + (size_t)((head + (int64_t)t) % p->history);
            const float *from = x + p->x_offset + (size_t)(row[LM_ROW_START] + t) * (size_t)p->x_stride;
            for (int c = 0; c < p->channels; c++) history[at * (size_t)p->channels + (size_t)c] = from[c];
        }
    }
}
