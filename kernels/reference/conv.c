/* kernels/reference/conv.c: dilated causal depthwise convolutions, SiLU, and their gated sum or concatenation. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

static double silu(double x) { return x / (1 + exp(-x)); }

/* Input of token t of the sequence `row` describes, for t from −history on; history holds what came before token 0, of
 * which there were `seen`. */
static double input(const lm_conv_params *p, const float *x, const float *history, const int32_t *row, int t, int c)
{
    if (t >= 0) return x[(size_t)p->x_offset + (size_t)(row[LM_ROW_START] + t) * (size_t)p->x_stride + (size_t)c];
    if (-t > row[LM_ROW_SEEN]) return 0;
    const int at = (row[LM_ROW_HEADS + p->ring] + p->history + t) % p->history;
    return history[((size_t)row[LM_ROW_SLOT] * (size_t)p->history + (size_t)at) * (size_t)p->channels + (size_t)c];
}

void lm_reference_conv(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_conv_params *p = params;
    const float *x = buffers[0], *weight = buffers[1], *bias = buffers[2], *gates = buffers[3];
    const int32_t *dilations = buffers[4], *rows = buffers[6];
    const float *history = buffers[5];
    float *out = buffers[7];
    const size_t channels = (size_t)p->channels;

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        for (int t = 0; t < row[LM_ROW_LENGTH]; t++) {
            float *y = out + (size_t)(row[LM_ROW_START] + t) * (size_t)p->out_stride;
            for (int c = 0; c < p->channels; c++) {
                double sum = 0;
                for (int i = 0; i < p->branches; i++) {
                    const int k = p->branch_first + i;
                    double value = p->flags & LM_CONV_BIAS ? bias[(size_t)k * channels + (size_t)c] : 0;
                    for (int j = 0; j < p->taps; j++) {
                        const double w = weight[((size_t)k * (size_t)p->taps + (size_t)j) * channels + (size_t)c];
                        value += w * input(p, x, history, row, t - (p->taps - 1 - j) * dilations[k], c);
                    }
                    if (p->flags & LM_CONV_CONCAT) y[(size_t)i * channels + (size_t)c] = (float)silu(value);
                    else sum += (p->flags & LM_CONV_GATES ? (double)gates[k] : 1) * silu(value);
                }
                if (!(p->flags & LM_CONV_CONCAT)) y[c] = (float)sum;
            }
        }
    }
}
