/* kernels/cpu/rows.h: kernels that work on a row at a time: rmsnorm, embed, argmax, cross_entropy. A part is some rows, of some
 * ROWS_WORK elements in all. */
#include <math.h>

enum { ROWS_WORK = 16384 };

INLINE int rows_of_part(int cols) { return cols < ROWS_WORK ? ROWS_WORK / cols : 1; }
INLINE uint32_t rows_parts(int rows, int cols) { return div_up((uint32_t)rows, (uint32_t)rows_of_part(cols)); }

/* `rows` rows from `first` on: the rows of a part. */
#define EACH_ROW(r, p, part) \
    for (int r = (int)(part) * rows_of_part((p)->cols), r##_end = min_int(r + rows_of_part((p)->cols), (p)->rows); r < r##_end; r++)

/* y = x·weight / sqrt(mean x² + epsilon) */
static uint32_t rmsnorm_parts(const lm_cpu_call *call)
{
    const lm_rmsnorm_params *p = call->params;
    return rows_parts(p->rows, p->cols);
}

static void rmsnorm_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_rmsnorm_params *p = call->params;
    const float *weight = call->buffers[1];
    EACH_ROW(r, p, part) {
        const float *x = (const float *)call->buffers[0] + (size_t)r * (size_t)p->cols;
        float *y = (float *)call->buffers[2] + (size_t)r * (size_t)p->cols;
        vf squares[2] = {{0}};
        for (int c = 0, half = 0; c < p->cols; c += LANES, half ^= 1) {
            const vf v = vf_load_part(x + c, p->cols - c);
            squares[half] = vf_fma(v, v, squares[half]);
        }
        const float scale = 1.0f / sqrtf(vf_sum(squares[0] + squares[1]) / (float)p->cols + p->epsilon);
        for (int c = 0; c < p->cols; c += LANES) {
            const int count = p->cols - c;
            vf_store_part(y + c, vf_load_part(x + c, count) * scale * vf_load_part(weight + c, count), count);
        }
    }
}

static uint32_t embed_parts(const lm_cpu_call *call)
{
    const lm_embed_params *p = call->params;
    return rows_parts(p->rows, p->cols);
}

static void embed_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_embed_params *p = call->params;
    const int32_t *tokens = call->buffers[0];
    const size_t cols = (size_t)p->cols;
    EACH_ROW(r, p, part) {
        const int64_t at = (int64_t)tokens[r] - p->first;
        if (at >= 0 && at < p->count)
            memcpy((float *)call->buffers[2] + (size_t)r * cols, (const float *)call->buffers[1] + (size_t)at * cols,
                   cols * sizeof(float));
    }
}

/* The largest element that is not NaN; −infinity where there is none. */
INLINE float row_max(const float *x, int cols)
{
    vf most = vf_set(-INFINITY);
    int c = 0;
    for (; c + LANES <= cols; c += LANES) most = vf_max(vf_load(x + c), most);
    float largest = -INFINITY;
    for (int i = 0; i < LANES; i++) largest = most[i] > largest ? most[i] : largest;
    for (; c < cols; c++) largest = x[c] > largest ? x[c] : largest;
    return largest;
}

static uint32_t argmax_parts(const lm_cpu_call *call)
{
    const lm_argmax_params *p = call->params;
    return rows_parts(p->rows, p->cols);
}

/* The first of the largest; a row of only NaN has none, and gives 0. */
static void argmax_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_argmax_params *p = call->params;
    EACH_ROW(r, p, part) {
        const float *x = (const float *)call->buffers[0] + (size_t)r * (size_t)p->x_stride;
        const float largest = row_max(x, p->cols);
        int at = 0;
        while (at < p->cols && !(x[at] == largest)) at++;
        ((int32_t *)call->buffers[1])[r] = at < p->cols ? at : 0;
    }
}

static uint32_t cross_entropy_parts(const lm_cpu_call *call)
{
    const lm_cross_entropy_params *p = call->params;
    return rows_parts(p->rows, p->cols);
}

/* −ln softmax(x)[target], shifted by the largest value so that no exponential overflows; NaN reaches the sum. */
static void cross_entropy_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_cross_entropy_params *p = call->params;
    const int32_t *target = call->buffers[1];
    EACH_ROW(r, p, part) {
        const float *x = (const float *)call->buffers[0] + (size_t)r * (size_t)p->x_stride;
        const float largest = row_max(x, p->cols);
        vf sums[2] = {{0}};
        int c = 0;
        for (int half = 0; c + LANES <= p->cols; c += LANES, half ^= 1) sums[half] += vf_exp(vf_load(x + c) - largest);
        double sum = (double)vf_sum(sums[0] + sums[1]);
        for (; c < p->cols; c++) sum += exp((double)x[c] - (double)largest);
        ((float *)call->buffers[2])[r] = (float)(log(sum) + ((double)largest - (double)x[target[r]]));
    }
}
