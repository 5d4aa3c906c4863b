/* kernels/cpu/gemm.h: C = epilogue(A·B) for many rows.
 *
 * A part is a tile of C. Its sums lie in scratch memory; depth goes in steps of GEMM_DEPTH, for each of which the tile's parts of A
 * and B are packed into panels, GEMM_ROWS rows and GEMM_COLS columns wide, that a kernel of GEMM_ROWS × GEMM_COLS registers reads
 * from end to end. Each sum adds its products in order of k, from 0 on, as gemv's do: results are the same to the bit whatever the
 * tiles, the number of rows, and which of the two computes them. */
enum {
    GEMM_ROWS = LANES == 16 ? 14 : 6,
    GEMM_COLS = 2 * LANES,
    GEMM_DEPTH = 256,
    GEMM_BLOCK = (72 / GEMM_ROWS) * GEMM_ROWS,         /* rows of A that are packed at a time */
    GEMM_TILE_ROWS = (512 / GEMM_ROWS) * GEMM_ROWS,
    GEMM_TILE_COLS = 256,
    GEMM_PANEL = GEMM_COLS * GEMM_DEPTH + 16,          /* floats from panel to panel of B: not a power of two, for the caches */
};

typedef struct gemm_scratch {
    float a[GEMM_BLOCK * GEMM_DEPTH], b[GEMM_TILE_COLS / GEMM_COLS * GEMM_PANEL], sums[GEMM_TILE_ROWS * GEMM_TILE_COLS];
} gemm_scratch;

typedef struct gemm_tiles {
    uint32_t rows, cols;     /* of a tile */
    uint32_t down, across;   /* tiles */
} gemm_tiles;

/* Whole panels, of equal size, and a few tiles for each thread. */
static gemm_tiles gemm_tiles_of(const lm_cpu_call *call)
{
    const lm_gemm_params *p = call->params;
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols;
    gemm_tiles t = {GEMM_TILE_ROWS, GEMM_TILE_COLS, 0, 0};
    while (t.rows > GEMM_BLOCK / 2 && (uint64_t)div_up(rows, t.rows) * div_up(cols, t.cols) < 4 * call->threads) t.rows /= 2;
    while (t.cols > 2 * GEMM_COLS && (uint64_t)div_up(rows, t.rows) * div_up(cols, t.cols) < 2 * call->threads) t.cols /= 2;
    t.rows = round_up(div_up(rows, div_up(rows, t.rows)), GEMM_ROWS);
    t.cols = round_up(div_up(cols, div_up(cols, t.cols)), GEMM_COLS);
    t.down = div_up(rows, t.rows);
    t.across = div_up(cols, t.cols);
    return t;
}

/* What a product does with its finished sums: `count` of row m from column n on. */
INLINE void gemm_finish(const lm_cpu_call *call, int flags, int m, int n, int count, const float *sums)
{
    const lm_gemm_params *p = call->params;
    const float *bias = (const float *)call->buffers[2] + (size_t)p->bias_offset + n;
    const size_t at = (size_t)p->c_offset + (size_t)m * (size_t)p->ldc + (size_t)n;
    const float *residual = (const float *)call->buffers[3] + at;
    float *c = (float *)call->buffers[4] + at;
    for (int i = 0; i < count; i += LANES) {
        const int left = count - i;
        vf v = vf_load_part(sums + i, left);
        if (flags & LM_GEMM_BIAS) v += vf_load_part(bias + i, left);
        if (flags & LM_GEMM_SOFTPLUS) v = softplus(v);
        if (flags & LM_GEMM_RESIDUAL) v += vf_load_part(residual + i, left);
        vf_store_part(c + i, v, left);
    }
}

/* Panels of GEMM_ROWS rows: panel[k][row]; rows past the last are zeros. */
static void gemm_pack_a(const float *a, size_t lda, int rows, int depth, float *to)
{
    for (int m = 0; m < rows; m += GEMM_ROWS, to += (size_t)GEMM_ROWS * (size_t)depth) {
        const int count = min_int(GEMM_ROWS, rows - m);
        for (int r = 0; r < GEMM_ROWS; r++) {
            const float *from = a + (size_t)(m + r) * lda;
            for (int k = 0; k < depth && m + r + GEMM_ROWS < rows; k += 16) __builtin_prefetch(from + GEMM_ROWS * lda + k);
            for (int k = 0; k < depth; k++) to[k * GEMM_ROWS + r] = r < count ? from[k] : 0.0f;
        }
    }
}

/* Panels of GEMM_COLS columns: panel[k][column]; columns past the last are zeros. B is read in the order in which it lies. */
static void gemm_pack_b(const float *b, size_t ldb, bool trans, int cols, int depth, float *to)
{
    const int padded = (int)round_up((uint32_t)cols, GEMM_COLS);
    if (!trans) {
        for (int k = 0; k < depth; k++) {
            const float *from = b + (size_t)k * ldb;
            for (int n = 0; n < cols && k + 8 < depth; n += 16) __builtin_prefetch(from + 8 * ldb + n); /* pages apart */
            for (int n = 0; n < padded; n += LANES)
                vf_store(to + n / GEMM_COLS * GEMM_PANEL + k * GEMM_COLS + n % GEMM_COLS,
                         n < cols ? vf_load_part(from + n, cols - n) : (vf){0});
        }
        return;
    }
    for (int n = 0; n < padded; n++) {
        float *panel = to + n / GEMM_COLS * GEMM_PANEL + n % GEMM_COLS;
        for (int k = 0; k < depth; k++) panel[k * GEMM_COLS] = n < cols ? b[(size_t)n * ldb + (size_t)k] : 0.0f;
    }
}

/* sums += panel of A · panel of B, all of them in registers. */
static void gemm_panels(const float *restrict a, const float *restrict b, int depth, bool first, float *restrict sums,
                        size_t stride)
{
    vf s[GEMM_ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < GEMM_ROWS; r++) {
        s[r][0] = first ? (vf){0} : vf_load(sums + (size_t)r * stride);
        s[r][1] = first ? (vf){0} : vf_load(sums + (size_t)r * stride + LANES);
        __builtin_prefetch(sums + (size_t)(r + GEMM_ROWS) * stride);
    }
    for (int k = 0; k < depth; k++, a += GEMM_ROWS, b += GEMM_COLS) {
        const vf b0 = vf_load(b), b1 = vf_load(b + LANES);
#pragma GCC unroll 16
        for (int r = 0; r < GEMM_ROWS; r++) {
            const vf left = vf_set(a[r]);
            s[r][0] = vf_fma(left, b0, s[r][0]);
            s[r][1] = vf_fma(left, b1, s[r][1]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < GEMM_ROWS; r++) {
        vf_store(sums + (size_t)r * stride, s[r][0]);
        vf_store(sums + (size_t)r * stride + LANES, s[r][1]);
    }
}

static uint32_t gemm_parts(const lm_cpu_call *call)
{
    const gemm_tiles t = gemm_tiles_of(call);
    return t.down * t.across;
}

static void gemm_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_gemm_params *p = call->params;
    const gemm_tiles t = gemm_tiles_of(call);
    const bool trans = call->spec[3] != 0;
    gemm_scratch *scratch = call->scratch;
    const int m = (int)(part % t.down * t.rows), rows = min_int((int)t.rows, p->rows - m);
    const int n = (int)(part / t.down * t.cols), cols = min_int((int)t.cols, p->cols - n);
    const size_t lda = (size_t)p->lda, ldb = (size_t)p->ldb;
    const float *a = (const float *)call->buffers[0] + (size_t)p->a_offset + (size_t)m * lda;
    const float *b = (const float *)call->buffers[1] + (size_t)n * (trans ? ldb : 1);
    for (int k = 0; k < p->depth; k += GEMM_DEPTH) {
        const int depth = min_int(GEMM_DEPTH, p->depth - k);
        gemm_pack_b(b + (size_t)k * (trans ? 1 : ldb), ldb, trans, cols, depth, scratch->b);
        for (int first = 0; first < rows; first += GEMM_BLOCK) {
            const int block = min_int(GEMM_BLOCK, rows - first);
            gemm_pack_a(a + (size_t)first * lda + k, lda, block, depth, scratch->a);
            for (int j = 0; j < cols; j += GEMM_COLS)
                for (int i = 0; i < block; i += GEMM_ROWS)
                    gemm_panels(scratch->a + (size_t)i * (size_t)depth, scratch->b + (size_t)(j / GEMM_COLS) * GEMM_PANEL, depth,
                                k == 0, scratch->sums + (size_t)(first + i) * GEMM_TILE_COLS + j, GEMM_TILE_COLS);
        }
    }
    for (int i = 0; i < rows; i++) gemm_finish(call, p->flags, m + i, n, cols, scratch->sums + (size_t)i * GEMM_TILE_COLS);
}

/* The epilogue alone, of sums that lie in C: EPILOGUE_ROWS rows a part. */
enum { EPILOGUE_ROWS = 16 };

static uint32_t epilogue_parts(const lm_cpu_call *call)
{
    return div_up((uint32_t)((const lm_gemm_params *)call->params)->rows, EPILOGUE_ROWS);
}

static void epilogue_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_gemm_params *p = call->params;
    const float *c = (const float *)call->buffers[4] + p->c_offset;
    const int flags = call->buffers[3] == call->buffers[4] ? p->flags & ~LM_GEMM_RESIDUAL : p->flags;
    for (int m = (int)part * EPILOGUE_ROWS; m < min_int(((int)part + 1) * EPILOGUE_ROWS, p->rows); m++)
        gemm_finish(call, flags, m, 0, p->cols, c + (size_t)m * (size_t)p->ldc);
}
