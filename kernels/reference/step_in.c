/* kernels/reference/step_in.c: norm, in_proj and convolutions of one token of each of a few sequences. */
#include <math.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

static double silu(double x) { return x / (1 + exp(-x)); }

/* Column n of [v | z] of row b. */
static double project(const lm_step_in_params *p, void *const *buffers, int b, int n)
{
    const float *x = (const float *)buffers[0] + (size_t)b * (size_t)p->depth, *norm = buffers[1], *weight = buffers[2];
    const float *bias = buffers[3];
    double squares = 0, sum = 0;
    for (int k = 0; k < p->depth; k++) squares += (double)x[k] * (double)x[k];
    const double scale = 1 / sqrt(squares / p->depth + (double)p->epsilon);
    for (int k = 0; k < p->depth; k++) {
        const double h = p->flags & LM_STEP_NORM ? (double)x[k] * (double)norm[k] * scale : (double)x[k];
        sum += h * (double)weight[(size_t)k * 2 * (size_t)p->channels + (size_t)n];
    }
    return p->flags & LM_STEP_BIAS ? sum + (double)bias[n] : sum;
}

/* One token through one branch of one channel; `ring` is the slot's, of `length` entries. */
static double branch(const lm_step_in_params *p, void *const *buffers, int k, int c, const int32_t *row, float *ring, int length,
                     int head, double v)
{
    const float *weight = (const float *)buffers[4] + p->weight_offset, *bias = (const float *)buffers[4] + p->bias_offset;
    const int32_t *dilations = buffers[4];
    const size_t channels = (size_t)p->channels;
    double value = bias[(size_t)k * channels + (size_t)c];
    for (int j = 0; j < p->taps; j++) {
        const double w = weight[((size_t)k * (size_t)p->taps + (size_t)j) * channels + (size_t)c];
        const int back = (p->taps - 1 - j) * dilations[k];
        if (back == 0) value += w * v;
        else if (back <= row[LM_ROW_SEEN]) value += w * (double)ring[(size_t)((head + length - back) % length) * channels + (size_t)c];
    }
    return silu(value);
}

/* Channel c of row b through all branches: u, and what goes into the rings. */
static double convolve(const lm_step_in_params *p, void *const *buffers, int b, int c)
{
    const float *gates = (const float *)buffers[4] + p->gate_offset;
    const int32_t *dilations = buffers[4], *row = (const int32_t *)buffers[5] + (size_t)b * (size_t)p->rows_stride;
    float *history = buffers[6], *out = (float *)buffers[8] + p->u_offset;
    const size_t channels = (size_t)p->channels, slot = (size_t)row[LM_ROW_SLOT];
    const double v = (double)(float)project(p, buffers, b, c); /* as it will lie in the ring */
    const int stacked = p->flags & LM_STEP_STACKED;
    double input = v, sum = 0;
    for (int k = 0; k < p->branches; k++) {
        const int length = stacked ? (p->taps - 1) * dilations[k] + 1 : p->history;
        const int head = row[LM_ROW_HEADS + (stacked ? k : 0)];
        float *ring = history + slot * (size_t)length * channels;
        const double s = branch(p, buffers, k, c, row, ring, length, head, input);
        if (stacked || k == p->branches - 1) ring[(size_t)head * channels + (size_t)c] = (float)input;
        if (p->flags & LM_STEP_CONCAT) out[((size_t)b * (size_t)p->branches + (size_t)k) * channels + (size_t)c] = (float)s;
        if (stacked) {
            const size_t size = (size_t)p->slots * (size_t)length * channels, align = (size_t)p->ring_align;
            history += (size + align - 1) / align * align;
            input = sum = s;
        } else {
            sum += (double)gates[k] * s;
        }
    }
    return sum;
}

void lm_reference_step_in(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_step_in_params *p = params;
    const float *x_proj = buffers[7];
    float *out = buffers[8];
    const size_t channels = (size_t)p->channels, width = (size_t)p->width;
    const int parts = (p->channels + p->tile - 1) / p->tile;

    for (int b = 0; b < p->rows; b++) {
        for (int c = 0; c < p->channels; c++)
            out[(size_t)p->z_offset + (size_t)b * channels + (size_t)c] = (float)project(p, buffers, b, p->channels + c);
        for (int c = 0; c < p->channels; c++) {
            const double u = convolve(p, buffers, b, c);
            if (!(p->flags & LM_STEP_CONCAT)) out[(size_t)p->u_offset + (size_t)b * channels + (size_t)c] = (float)u;
        }
        const float *u = out + p->u_offset + (size_t)b * channels;
        for (int i = 0; i < parts; i++) {
            for (size_t j = 0; j < width; j++) {
                double sum = 0;
                for (int c = i * p->tile; c < (i + 1) * p->tile && c < p->channels; c++)
                    sum += (double)u[c] * (double)x_proj[(size_t)c * width + j];
                out[(size_t)p->part_offset + ((size_t)b * (size_t)parts + (size_t)i) * width + j] = (float)sum;
            }
        }
    }
}
