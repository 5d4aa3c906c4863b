/* kernels/cases_gemm.c: rows for gemm and gemv, which compute the same. */
#include "kernels/cases.h"

#include <math.h>
#include <stdio.h>

typedef enum gemm_input {
    INPUT_UNIFORM,    /* −1 … 1 */
    INPUT_SWEEP,      /* depth 1: the epilogue over the whole range of its argument, element by element */
    INPUT_NOT_FINITE, /* here and there a NaN or an infinity */
    INPUT_ZERO,
} gemm_input;

typedef struct gemm_row {
    int rows, cols, depth;
    bool b_trans;
    int flags;         /* LM_GEMM_... */
    int pad;           /* strides are this, twice and three times this above the width; offsets likewise */
    bool in_place;     /* the residual is the output's own buffer */
    gemm_input input;
    unsigned tags;     /* LM_CASE_... */
} gemm_row;

enum { BIAS = LM_GEMM_BIAS, SOFTPLUS = LM_GEMM_SOFTPLUS, RESIDUAL = LM_GEMM_RESIDUAL, ALL = BIAS | SOFTPLUS | RESIDUAL };
enum { QUICK = LM_CASE_QUICK, SMALL = LM_CASE_SMALL, LARGE = LM_CASE_LARGE };

/* Sizes around the tiles (8, 16, 24, 32, 64, 96, 128) and the depth that is staged at once (16), and primes. */
static const gemm_row table[] = {
    {1, 1, 1, false, 0, 0, false, INPUT_UNIFORM, QUICK | SMALL},
    {1, 1, 1, true, ALL, 0, false, INPUT_UNIFORM, QUICK},
    {3, 5, 7, false, ALL, 3, false, INPUT_UNIFORM, QUICK | SMALL},
    {9, 17, 33, true, BIAS | RESIDUAL, 1, true, INPUT_UNIFORM, QUICK | SMALL},
    {2, 16, 16, false, 0, 0, false, INPUT_UNIFORM, 0},
    {4, 16, 15, true, BIAS, 0, false, INPUT_UNIFORM, 0},
    {8, 15, 17, false, SOFTPLUS, 0, false, INPUT_UNIFORM, 0},
    {7, 31, 16, true, RESIDUAL, 2, false, INPUT_UNIFORM, 0},
    {8, 32, 64, false, BIAS, 4, false, INPUT_UNIFORM, 0},
    {1, 33, 129, false, RESIDUAL, 0, true, INPUT_UNIFORM, 0},
    {1, 257, 127, true, BIAS, 0, false, INPUT_UNIFORM, QUICK},
    {1, 1, 4096, true, 0, 0, false, INPUT_UNIFORM, 0},
    {1, 3, 4099, false, BIAS, 5, false, INPUT_UNIFORM, QUICK},
    {1, 1024, 256, false, 0, 0, false, INPUT_UNIFORM, 0},
    {1, 1024, 256, true, 0, 0, false, INPUT_UNIFORM, 0},
    {5, 1, 31, true, BIAS, 0, false, INPUT_UNIFORM, 0},
    {6, 100, 100, true, ALL, 7, true, INPUT_UNIFORM, 0},
    {16, 48, 32, false, BIAS | SOFTPLUS, 0, false, INPUT_UNIFORM, QUICK},
    {23, 31, 47, false, RESIDUAL, 1, true, INPUT_UNIFORM, 0},
    {24, 32, 48, true, 0, 0, false, INPUT_UNIFORM, 0},
    {25, 33, 49, false, ALL, 0, true, INPUT_UNIFORM, QUICK},
    {31, 63, 15, true, BIAS, 0, false, INPUT_UNIFORM, 0},
    {32, 64, 16, false, SOFTPLUS, 8, false, INPUT_UNIFORM, 0},
    {33, 65, 17, true, ALL, 2, false, INPUT_UNIFORM, 0},
    {63, 95, 1, false, BIAS, 0, false, INPUT_UNIFORM, 0},
    {64, 96, 2, true, 0, 0, false, INPUT_UNIFORM, 0},
    {65, 97, 3, false, RESIDUAL, 0, false, INPUT_UNIFORM, 0},
    {95, 127, 31, true, BIAS, 0, false, INPUT_UNIFORM, 0},
    {96, 128, 32, false, 0, 0, false, INPUT_UNIFORM, 0},
    {97, 129, 33, true, ALL, 1, true, INPUT_UNIFORM, QUICK},
    {128, 1, 64, false, BIAS, 0, false, INPUT_UNIFORM, 0},
    {129, 2, 65, true, SOFTPLUS, 0, false, INPUT_UNIFORM, 0},
    {101, 103, 107, false, BIAS, 0, false, INPUT_UNIFORM, 0},
    {257, 131, 61, true, RESIDUAL, 9, false, INPUT_UNIFORM, 0},
    {256, 256, 40, false, BIAS, 0, false, INPUT_UNIFORM, QUICK},
    {255, 385, 17, false, ALL, 1, true, INPUT_UNIFORM, 0},
    {300, 300, 19, true, BIAS, 0, false, INPUT_UNIFORM, 0},
    {17, 19, 2053, false, BIAS, 0, false, INPUT_UNIFORM, 0},
    {40, 70, 1024, true, 0, 0, false, INPUT_UNIFORM, 0},
    {512, 3, 1, true, SOFTPLUS, 0, false, INPUT_SWEEP, QUICK},
    {512, 3, 1, false, SOFTPLUS, 0, false, INPUT_SWEEP, QUICK},
    {512, 4, 1, false, SOFTPLUS, 0, false, INPUT_SWEEP, QUICK},
    {35, 37, 39, false, BIAS, 1, false, INPUT_NOT_FINITE, QUICK},
    {35, 37, 39, true, BIAS | SOFTPLUS, 1, false, INPUT_NOT_FINITE, 0},
    {36, 40, 32, false, BIAS | SOFTPLUS, 0, false, INPUT_NOT_FINITE, 0},
    {35, 37, 39, false, 0, 0, false, INPUT_ZERO, 0},
    /* These are what it takes for a large GPU to choose its larger tiles. */
    {1027, 1091, 35, false, BIAS, 0, false, INPUT_UNIFORM, LARGE},
    {1091, 1027, 35, true, RESIDUAL, 0, true, INPUT_UNIFORM, LARGE},
    {2049, 2177, 18, false, 0, 0, false, INPUT_UNIFORM, LARGE},
    {2049, 2177, 18, true, BIAS, 0, false, INPUT_UNIFORM, LARGE},
    {259, 264, 1036, false, BIAS, 0, false, INPUT_UNIFORM, LARGE}, /* and the one with most slices of those */
};

static size_t count(lm_kernel_id kernel)
{
    (void)kernel;
    return sizeof table / sizeof *table;
}

static unsigned tags_of(lm_kernel_id kernel, size_t index)
{
    (void)kernel;
    return table[index].tags;
}

static lm_status record(const lm_case *c, lm_list *list, const lm_view *views)
{
    return lm_launch_gemm_with(list, c->kernel, &c->params.gemm, c->spec[3] != 0, views[0], views[1], views[2], views[3],
                               views[4]);
}

lm_status lm_case_record_product(const lm_case *c, lm_list *list, const lm_view *views)
{
    return lm_launch_gemm(list, &c->params.gemm, c->spec[3] != 0, views[0], views[1], views[2], views[3], views[4]);
}

/* The argument of the epilogue from −120 to 120, with the values where formulas change. */
static void fill_sweep(float *a, int rows)
{
    static const float special[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-7f, -1e-7f, 20.0f, 20.5f, -16.5f, -17.0f, 88.0f, 89.0f,
                                    -87.0f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN};
    const int specials = (int)(sizeof special / sizeof *special);
    for (int i = 0; i < rows; i++)
        a[i] = i < specials ? special[i] : -120.0f + 240.0f * (float)(i - specials) / (float)(rows - specials);
}

/* A few rows by a few columns. */
static void cut(const lm_case *c, unsigned index, lm_case *part, lm_case_cut *cuts)
{
    enum { PART_ROWS = 16, PART_COLS = 64 };
    const lm_gemm_params *p = &c->params.gemm;
    lm_gemm_params *q = &part->params.gemm;
    const size_t rows = p->rows < PART_ROWS ? (size_t)p->rows : PART_ROWS, cols = p->cols < PART_COLS ? (size_t)p->cols : PART_COLS;
    const size_t m = lm_case_part_first(index, (size_t)p->rows, rows), n = lm_case_part_first(index, (size_t)p->cols, cols);
    const size_t depth = (size_t)p->depth, ldb = (size_t)p->ldb;
    cuts[0] = (lm_case_cut){(size_t)p->a_offset + m * (size_t)p->lda, (size_t)p->lda, rows, depth};
    cuts[1] = c->spec[3] ? (lm_case_cut){n * ldb, ldb, cols, depth} : (lm_case_cut){n, ldb, depth, cols};
    cuts[2] = (lm_case_cut){(size_t)p->bias_offset + n, 0, 1, cols};
    cuts[3] = cuts[4] = (lm_case_cut){(size_t)p->c_offset + m * (size_t)p->ldc + n, (size_t)p->ldc, rows, cols};
    *q = (lm_gemm_params){.rows = (int)rows, .cols = (int)cols, .depth = p->depth, .lda = p->depth,
                          .ldb = c->spec[3] ? p->depth : (int)cols, .ldc = (int)cols, .flags = p->flags};
}

static void build_row(lm_case *c, const gemm_row *row, lm_case_random *random)
{
    lm_gemm_params *p = &c->params.gemm;
    *p = (lm_gemm_params){
        .rows = row->rows,
        .cols = row->cols,
        .depth = row->depth,
        .lda = row->depth + row->pad,
        .ldb = (row->b_trans ? row->depth : row->cols) + 2 * row->pad,
        .ldc = row->cols + 3 * row->pad,
        .a_offset = row->pad,
        .c_offset = 2 * row->pad,
        .bias_offset = 3 * row->pad,
        .flags = row->flags,
    };
    c->record = record;
    c->cut = cut;
    c->spec[3] = row->b_trans;
    c->work = (double)row->rows * row->cols * row->depth;
    snprintf(c->name, sizeof c->name, "%s rows=%d cols=%d depth=%d %s%s%s%s%s%s", lm_kernel_get(c->kernel)->stem, row->rows,
             row->cols, row->depth, row->b_trans ? "(cols, depth)" : "(depth, cols)", row->flags & BIAS ? " bias" : "",
             row->flags & SOFTPLUS ? " softplus" : "", row->flags & RESIDUAL ? " residual" : "",
             row->in_place ? " in place" : "",
             row->input == INPUT_SWEEP ? " sweep" : row->input == INPUT_NOT_FINITE ? " not finite"
             : row->input == INPUT_ZERO ? " zeros" : row->pad ? " strided" : "");

    const size_t m = (size_t)p->rows, n = (size_t)p->cols, k = (size_t)p->depth;
    const size_t a_offset = (size_t)p->a_offset, c_offset = (size_t)p->c_offset, bias_offset = (size_t)p->bias_offset;
    const double size = row->input == INPUT_ZERO ? 0 : 1;
    lm_case_buffer *a = lm_case_input(c, "a", a_offset + (m - 1) * (size_t)p->lda + k);
    lm_case_fill(a, random, m, (size_t)p->lda, a_offset, k, -size, size);
    const size_t b_rows = row->b_trans ? n : k, b_cols = row->b_trans ? k : n;
    lm_case_buffer *b = lm_case_input(c, "b", (b_rows - 1) * (size_t)p->ldb + b_cols);
    lm_case_fill(b, random, b_rows, (size_t)p->ldb, 0, b_cols, -size, size);
    if (row->flags & BIAS)
        lm_case_fill(lm_case_input(c, "bias", bias_offset + n), random, 1, 0, bias_offset, n, -1, 1);
    else
        lm_case_absent(c, "bias");

    const size_t c_count = c_offset + (m - 1) * (size_t)p->ldc + n;
    if (!(row->flags & RESIDUAL))
        lm_case_absent(c, "residual");
    else if (row->in_place)
        lm_case_shared(c, "residual", 4);
    else
        lm_case_fill(lm_case_input(c, "residual", c_count), random, m, (size_t)p->ldc, c_offset, n, -1, 1);

    /* Terms are uniform products of size 1/3 on the root mean square, so results are about √depth/3. Float32 rounds each of
     * the `depth` sums, at partial sums of about √j/3, to within 2⁻²⁵ on average: together 2⁻²⁵·depth/(3√2). Relative to the
     * scale that is below 2⁻²⁵·√depth; the worst of many elements is four to five times as far out. */
    const double root = sqrt((double)k);
    lm_case_buffer *out = lm_case_output(c, "c", c_count, 0x1p-24 * (6 + 2.5 * root), fmax(1, root / 3));
    if (row->in_place)
        lm_case_fill(out, random, m, (size_t)p->ldc, c_offset, n, -1, 1);
    if (c->failed)
        return;

    if (row->input == INPUT_SWEEP) {
        fill_sweep(lm_case_floats(a), p->rows);
        for (size_t i = 0; i < n; i++)
            lm_case_floats(b)[i] = i == 0 ? 1.0f : i == 1 ? 0.125f : -1.0f;
        /* The product is exact, so this is softplus alone: 4 units in the last place. */
        out->elementwise = true;
        out->tolerance = 4 * 0x1p-23;
    } else if (row->input == INPUT_NOT_FINITE) {
        /* Each spoils one row or column and nothing else. */
        lm_case_floats(a)[a_offset + 3 * (size_t)p->lda + 5] = NAN;
        lm_case_floats(a)[a_offset + 17 * (size_t)p->lda + k - 1] = INFINITY;
        lm_case_floats(b)[row->b_trans ? (n - 1) * (size_t)p->ldb : n - 1] = NAN;
    }
}

static void build(lm_case *c, const lm_device *device, size_t index, lm_case_random *random)
{
    (void)device;
    build_row(c, &table[index], random);
}

static lm_status build_shape(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random)
{
    (void)device;
    struct {
        int rows, cols, depth, b_trans, flags;
    } s = {1024, 1024, 1024, 0, 0};
    static const lm_case_key keys[] = {{"M", 0}, {"N", sizeof(int)}, {"K", 2 * sizeof(int)}, {"T", 3 * sizeof(int)},
                                       {"F", 4 * sizeof(int)}};
    lm_status status = lm_case_parse(shape, keys, sizeof keys / sizeof *keys, &s);
    if (status != LM_OK)
        return status;
    const gemm_row row = {s.rows, s.cols, s.depth, s.b_trans != 0, s.flags & ALL, 0, false, INPUT_UNIFORM, LARGE};
    build_row(c, &row, random);
    return LM_OK;
}

const lm_case_family lm_case_family_gemm = {count, tags_of, build, build_shape};
