/* kernels/reference/block.c: a whole block in float64, token by token, straight from the definition. It shares nothing with
 * the kernels, not even the other references: what they all get wrong together shows here.
 *
 * Notation: x (d_inner) the convolution's input, c_k[t] = bias_k + sum_j w_k[j]·x[t − (K−1−j)·δ_k] a branch, u the
 * scan's input, Δ its step, s its state. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/reference/reference.h"

/* Inputs that branch k keeps: the last (K−1)·δ_k + 1. */
static size_t kept_inputs(const lm_reference_weights *w, size_t k)
{
    return (w->d_conv - 1) * (size_t)w->dilations[k] + 1;
}

size_t lm_reference_state_size(const lm_reference_weights *w)
{
    size_t size = w->d_inner * w->d_state;
    for (size_t k = 0; k < w->branches; k++) size += w->d_inner * kept_inputs(w, k);
    return size;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* y = matrix·x (+ bias); matrix (rows, cols). */
static void multiply(size_t rows, size_t cols, const double *matrix, const double *bias, const double *x, double *y)
{
    for (size_t r = 0; r < rows; r++) y[r] = dot(cols, matrix + r * cols, x) + (bias != NULL ? bias[r] : 0);
}

/* softmax of the gates; all 1 where there are none. */
static void mixing(const lm_reference_weights *w, double *gates)
{
    for (size_t k = 0; k < w->branches; k++) gates[k] = 1;
    if (w->conv_gates == NULL) return;
    double largest = -INFINITY, sum = 0;
    for (size_t k = 0; k < w->branches; k++) largest = fmax(largest, w->conv_gates[k]);
    for (size_t k = 0; k < w->branches; k++) sum += exp(w->conv_gates[k] - largest);
    for (size_t k = 0; k < w->branches; k++) gates[k] = exp(w->conv_gates[k] - largest) / sum;
}

/* One token through branch k: remembers x in `past` ((d_inner, S_k), oldest first) and leaves SiLU(c_k) in y. */
static void branch(const lm_reference_weights *w, size_t k, double *past, const double *x, double *y)
{
    const size_t kept = kept_inputs(w, k), dilation = (size_t)w->dilations[k];
    for (size_t c = 0; c < w->d_inner; c++) {
        double *line = past + c * kept;
        memmove(line, line + 1, (kept - 1) * sizeof *line);
        line[kept - 1] = x[c];
        double sum = w->conv_bias != NULL && w->conv_bias[k] != NULL ? w->conv_bias[k][c] : 0;
        for (size_t j = 0; j < w->d_conv; j++) sum += w->conv_weight[k][c * w->d_conv + j] * line[j * dilation];
        y[c] = sum * sigmoid(sum);
    }
}

/* u of one token: the convolution front-end of each variant. `t0` and `t1` are scratch of d_inner. */
static void front_end(const lm_reference_weights *w, const double *gates, double *past, const double *x, double *u,
                      double *t0, double *t1)
{
    memset(u, 0, w->d_inner * sizeof *u);
    const double *input = x;
    for (size_t k = 0; k < w->branches; k++) {
        double *out = w->variant == LM_REFERENCE_STCN ? u : t0;
        branch(w, k, past, input, out);
        past += w->d_inner * kept_inputs(w, k);
        switch (w->variant) {
        case LM_REFERENCE_BASELINE:
        case LM_REFERENCE_PTCN:
            for (size_t c = 0; c < w->d_inner; c++) u[c] += gates[k] * out[c];
            break;
        case LM_REFERENCE_STCN:
            /* The next branch reads this one's output; branch() takes x[c] before it writes y[c]. */
            input = u;
            break;
        case LM_REFERENCE_DPWC:
            multiply(w->d_inner, w->d_inner, w->pw_weight[k], w->pw_bias != NULL ? w->pw_bias[k] : NULL, out, t1);
            for (size_t c = 0; c < w->d_inner; c++) u[c] += gates[k] * t1[c];
            break;
        }
    }
}

/* One token through the selective scan: y from u, the projections [dt_low | B | C] and the gate z. */
static void scan(const lm_reference_weights *w, double *state, const double *u, const double *projected, const double *z,
                 double *y)
{
    const double *b = projected + w->dt_rank, *c = b + w->d_state;
    for (size_t i = 0; i < w->d_inner; i++) {
        const double low = dot(w->dt_rank, w->dt_proj_weight + i * w->dt_rank, projected) + w->dt_proj_bias[i];
        const double step = low > 20 ? low : log1p(exp(low));
        double sum = w->d[i] * u[i];
        for (size_t n = 0; n < w->d_state; n++) {
            double *s = state + i * w->d_state + n;
            *s = exp(-step * exp(w->a_log[i * w->d_state + n])) * *s + step * b[n] * u[i];
            sum += c[n] * *s;
        }
        y[i] = sum * z[i] * sigmoid(z[i]);
    }
}

bool lm_reference_block(const lm_reference_weights *w, double *state, size_t length, const double *x, double *y)
{
    const size_t size = lm_reference_state_size(w), projected_size = w->dt_rank + 2 * w->d_state;
    double *own = state == NULL ? calloc(size, sizeof *own) : NULL;
    double *work = malloc((6 * w->d_inner + projected_size + w->branches) * sizeof *work);
    if (work == NULL || (state == NULL && own == NULL)) {
        free(own);
        free(work);
        return false;
    }
    double *past = state != NULL ? state : own;
    double *scan_state = past + (size - w->d_inner * w->d_state);
    double *xz = work, *u = xz + 2 * w->d_inner, *mixed = u + w->d_inner, *t0 = mixed + w->d_inner, *t1 = t0 + w->d_inner;
    double *projected = t1 + w->d_inner, *gates = projected + projected_size;

    mixing(w, gates);
    for (size_t t = 0; t < length; t++) {
        multiply(2 * w->d_inner, w->d_model, w->in_proj_weight, w->in_proj_bias, x + t * w->d_model, xz);
        front_end(w, gates, past, xz, u, t0, t1);
        multiply(projected_size, w->d_inner, w->x_proj_weight, NULL, u, projected);
        scan(w, scan_state, u, projected, xz + w->d_inner, mixed);
        multiply(w->d_model, w->d_inner, w->out_proj_weight, w->out_proj_bias, mixed, y + t * w->d_model);
    }
    free(own);
    free(work);
    return true;
}

void lm_reference_rmsnorm64(size_t rows, size_t cols, double epsilon, const double *x, const double *weight, double *y)
{
    for (size_t r = 0; r < rows; r++) {
        const double scale = 1 / sqrt(dot(cols, x + r * cols, x + r * cols) / (double)cols + epsilon);
        for (size_t c = 0; c < cols; c++) y[r * cols + c] = x[r * cols + c] * scale * weight[c];
    }
}
