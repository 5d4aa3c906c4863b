/* kernels/cpu/gemv.h: C = epilogue(A·B) for a few rows, which is reading B once.
 *
 * A part is a strip of columns of up to GEMV_ROWS rows. B stored (K, N): GEMV_STEP rows of B at a time are added to the strip's
 * sums, which lie in the nearest cache; each sum adds in order of k, as gemm's do. B stored (N, K): a column is a dot product, of
 * which lane l adds what k ≡ l modulo 2·LANES gives, in order, and the lanes are added at the end. */
enum { GEMV_ROWS = 8, GEMV_STEP = 4, GEMV_COLS = 512, GEMV_WORK = 32768 };

typedef struct gemv_strips {
    uint32_t cols;           /* of a strip */
    uint32_t across, down;
} gemv_strips;

/* Wide strips, as rows of B are then read along their pages, but two for each thread; one where there is little to do. */
static gemv_strips gemv_strips_of(const lm_cpu_call *call)
{
    const lm_gemm_params *p = call->params;
    const bool little = (uint64_t)p->rows * (uint64_t)p->cols * (uint64_t)p->depth < GEMV_WORK;
    const uint32_t down = div_up((uint32_t)p->rows, GEMV_ROWS);
    uint32_t cols = GEMV_COLS;
    while (!little && cols > 64 && (uint64_t)div_up((uint32_t)p->cols, cols) * down < 2 * call->threads) cols /= 2;
    return (gemv_strips){cols, div_up((uint32_t)p->cols, cols), down};
}

static uint32_t gemv_parts(const lm_cpu_call *call)
{
    const gemv_strips strips = gemv_strips_of(call);
    return strips.across * strips.down;
}

/* sums[n] += sum of a[0 … STEP−1]·B rows, for each of the rows. */
INLINE void gemv_step(const float *const *a, int k, const float *b, size_t ldb, int rows, int steps, int cols,
                      float (*sums)[GEMV_COLS])
{
    for (int n = 0; n < cols; n += LANES) {
        vf from[GEMV_STEP];
#pragma GCC unroll 4
        for (int i = 0; i < steps; i++) from[i] = vf_load_part(b + (size_t)i * ldb + n, cols - n);
        for (int r = 0; r < rows; r++) {
            vf sum = vf_load(sums[r] + n);
#pragma GCC unroll 4
            for (int i = 0; i < steps; i++) sum = vf_fma(vf_set(a[r][k + i]), from[i], sum);
            vf_store(sums[r] + n, sum);
        }
    }
}

static void gemv_rows_of_b(const float *const *a, const float *b, size_t ldb, int rows, int depth, int cols,
                           float (*sums)[GEMV_COLS])
{
    for (int r = 0; r < rows; r++) memset(sums[r], 0, sizeof sums[r]);
    int k = 0;
    for (; k + GEMV_STEP <= depth; k += GEMV_STEP) {
        if (rows == 1) gemv_step(a, k, b + (size_t)k * ldb, ldb, 1, GEMV_STEP, cols, sums);
        else gemv_step(a, k, b + (size_t)k * ldb, ldb, rows, GEMV_STEP, cols, sums);
    }
    for (; k < depth; k++) gemv_step(a, k, b + (size_t)k * ldb, ldb, rows, 1, cols, sums);
}

/* Dot products of `rows` rows of A with one row of B. */
INLINE void gemv_dots(const float *const *a, const float *b, int rows, int depth, float *dots)
{
    vf s[4][2] = {{{0}}};
    int k = 0;
    for (; k + 2 * LANES <= depth; k += 2 * LANES) {
        const vf b0 = vf_load(b + k), b1 = vf_load(b + k + LANES);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            s[r][0] = vf_fma(vf_load(a[r] + k), b0, s[r][0]);
            s[r][1] = vf_fma(vf_load(a[r] + k + LANES), b1, s[r][1]);
        }
    }
    for (int half = 0; k < depth; k += LANES, half++) {
        const vf part = vf_load_part(b + k, depth - k);
        for (int r = 0; r < rows; r++) s[r][half] = vf_fma(vf_load_part(a[r] + k, depth - k), part, s[r][half]);
    }
    for (int r = 0; r < rows; r++) dots[r] = vf_sum(s[r][0] + s[r][1]);
}

static void gemv_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_gemm_params *p = call->params;
    const gemv_strips strips = gemv_strips_of(call);
    const int first = (int)(part % strips.across * strips.cols), cols = min_int((int)strips.cols, p->cols - first);
    const int m = (int)(part / strips.across) * GEMV_ROWS, rows = min_int(GEMV_ROWS, p->rows - m);
    const size_t ldb = (size_t)p->ldb;
    const float *a[GEMV_ROWS], *b = call->buffers[1];
    float sums[GEMV_ROWS][GEMV_COLS];
    for (int r = 0; r < rows; r++) a[r] = (const float *)call->buffers[0] + (size_t)p->a_offset + (size_t)(m + r) * (size_t)p->lda;
    if (call->spec[3] == 0) {
        gemv_rows_of_b(a, b + first, ldb, rows, p->depth, cols, sums);
    } else {
        for (int n = 0; n < cols; n++)
            for (int r = 0; r < rows; r += 4) {
                const float *from = b + (size_t)(first + n) * ldb;
                float dots[4];
                const int count = min_int(4, rows - r);
                if (count == 4) gemv_dots(a + r, from, 4, p->depth, dots);
                else if (count == 1) gemv_dots(a + r, from, 1, p->depth, dots);
                else gemv_dots(a + r, from, count, p->depth, dots);
                for (int i = 0; i < count; i++) sums[r + i][n] = dots[i];
            }
    }
    for (int r = 0; r < rows; r++) gemm_finish(call, p->flags, m + r, first, cols, sums[r]);
}
