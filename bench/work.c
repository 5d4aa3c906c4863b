/* bench/work.c: what a case moves and computes, counted from its shape. */
#include "bench/bench.h"

/* Everything that is read or written once: caches do not repeat it, and nothing is fused away. */
static double rows_bytes(double rows, double cols, double arrays) { return 4 * rows * cols * arrays; }

static bench_work gemm_work(const lm_gemm_params *p)
{
    const double m = p->rows, n = p->cols, k = p->depth;
    const double flops = 2 * m * n * k;
    const double ends = 1 + ((p->flags & LM_GEMM_RESIDUAL) != 0);
    return (bench_work){4 * (m * k + k * n + m * n * ends + n), flops, p->flags & LM_GEMM_SOFTPLUS ? m * n : 0, 1e-12 * flops,
                        "TFLOP/s"};
}

/* An element takes 8 bytes; history and weights are small beside it. */
static bench_work conv_work(const lm_conv_params *p)
{
    const double count = (double)p->batch * p->length * p->channels;
    const double outputs = p->flags & LM_CONV_CONCAT ? p->branches : 1;
    return (bench_work){rows_bytes(1, count, 1 + outputs), count * p->branches * (2.0 * p->taps + 4), count * p->branches,
                        1e-9 * rows_bytes(1, count, 1 + outputs), "GB/s"};
}

static bench_work conv_state_work(const lm_conv_params *p)
{
    const double count = (double)p->batch * (p->length < p->history ? p->length : p->history) * p->channels;
    return (bench_work){8 * count, 0, 0, 8e-9 * count, "GB/s"};
}

/* u, delta and z in, y out, and B and C once; a state update is Δ·A, exp, Δ·u·B, and two multiply-adds. */
static bench_work scan_work(const lm_scan_params *p)
{
    const double rows = (double)p->batch * p->length, count = rows * p->channels, states = count * p->d_state;
    const double gate = (p->flags & LM_SCAN_GATE) != 0;
    const double state_bytes = 8.0 * p->batch * p->channels * p->d_state;
    return (bench_work){4 * count * (3 + gate) + 8 * rows * p->d_state + state_bytes, 6 * states + 4 * count,
                        states + gate * count, 1e-9 * states, "G state/s"};
}

static bench_work plain_work(double rows, double cols, double arrays, double flops, double exponentials)
{
    const double bytes = rows_bytes(rows, cols, arrays);
    return (bench_work){bytes, flops * rows * cols, exponentials * rows * cols, 1e-9 * bytes, "GB/s"};
}

/* Weights, which all rows share, are most of what a step moves; then the taps of the history. */
static bench_work step_in_work(const lm_step_in_params *p)
{
    const double weights = (double)p->channels * (2.0 * p->depth + p->width), taps = (double)p->channels * p->branches * p->taps;
    const double bytes = 4 * (weights + taps * (1 + p->rows));
    return (bench_work){bytes, 2 * p->rows * (weights + taps), (double)p->rows * p->channels * p->branches, 1e-9 * bytes, "GB/s"};
}

static bench_work step_scan_work(const lm_step_scan_params *p)
{
    const double states = (double)p->rows * p->channels * p->d_state, weights = (double)p->channels * (p->rank + p->d_state);
    const double bytes = 4 * (weights + 2 * states);
    return (bench_work){bytes, 6 * states + 2.0 * p->rows * p->channels * p->rank, states, 1e-9 * bytes, "GB/s"};
}

static bench_work step_out_work(const lm_step_out_params *p)
{
    const double weights = (double)p->depth * p->cols, bytes = 4 * (weights + (double)p->rows * (p->depth + 2.0 * p->cols));
    return (bench_work){bytes, 2 * p->rows * weights, 0, 1e-9 * bytes, "GB/s"};
}

bench_work bench_work_of(const lm_case *c)
{
    switch (c->kernel) {
    case LM_KERNEL_GEMM:
    case LM_KERNEL_GEMM_TEXEL:
    case LM_KERNEL_GEMV: return gemm_work(&c->params.gemm);
    case LM_KERNEL_CONV:
    case LM_KERNEL_CONV_TEXEL:
    case LM_KERNEL_CONV_WINDOW: return conv_work(&c->params.conv);
    case LM_KERNEL_CONV_STATE: return conv_state_work(&c->params.conv);
    case LM_KERNEL_SCAN:
    case LM_KERNEL_SCAN_TEXEL:
    case LM_KERNEL_SCAN_ENDS:
    case LM_KERNEL_SCAN_ENDS_LONG:
    case LM_KERNEL_SCAN_SUMMARY:
    case LM_KERNEL_SCAN_CARRY: return scan_work(&c->params.scan);
    case LM_KERNEL_STEP_IN: return step_in_work(&c->params.step_in);
    case LM_KERNEL_STEP_SCAN: return step_scan_work(&c->params.step_scan);
    case LM_KERNEL_STEP_OUT: return step_out_work(&c->params.step_out);
    case LM_KERNEL_STATE_COPY: return plain_work(c->params.state_copy.batch, c->params.state_copy.words, 2, 0, 0);
    case LM_KERNEL_RMSNORM: return plain_work(c->params.rmsnorm.rows, c->params.rmsnorm.cols, 2, 4, 0);
    case LM_KERNEL_EMBED: return plain_work(c->params.embed.rows, c->params.embed.cols, 2, 0, 0);
    case LM_KERNEL_ARGMAX: return plain_work(c->params.argmax.rows, c->params.argmax.cols, 1, 1, 0);
    case LM_KERNEL_CROSS_ENTROPY: return plain_work(c->params.cross_entropy.rows, c->params.cross_entropy.cols, 1, 2, 1);
    default: return (bench_work){0};
    }
}
