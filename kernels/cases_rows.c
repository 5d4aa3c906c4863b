/* kernels/cases_rows.c: rows for the kernels that work row by row: rmsnorm, embed, argmax, cross_entropy. */
#include "kernels/cases.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

typedef enum rows_input {
    INPUT_UNIFORM,
    INPUT_TINY,       /* 1e-4: the epsilon counts */
    INPUT_LARGE,      /* up to ±10,000: exp overflows unless the largest is taken off first */
    INPUT_TIES,       /* a handful of different values */
    INPUT_NOT_FINITE, /* NaN and infinities here and there, a row of NaN only */
    INPUT_ZERO,
} rows_input;

typedef struct rows_row {
    int rows, cols;
    int extra;        /* stride beyond the columns; embed: the piece's first token */
    rows_input input;
    unsigned tags;
} rows_row;

enum { QUICK = LM_CASE_QUICK, SMALL = LM_CASE_SMALL, LARGE = LM_CASE_LARGE };

/* Columns around the lanes of a group: 16, 32, 128, 256, and 16 to 32 times those where lanes are wide. */
static const rows_row norm_table[] = {
    {1, 1, 0, INPUT_UNIFORM, QUICK | SMALL},  {3, 17, 0, INPUT_UNIFORM, QUICK | SMALL},
    {5, 33, 0, INPUT_UNIFORM, QUICK | SMALL}, {2, 15, 0, INPUT_UNIFORM, 0},
    {2, 16, 0, INPUT_UNIFORM, 0},             {7, 31, 0, INPUT_UNIFORM, 0},
    {1, 32, 0, INPUT_UNIFORM, QUICK},         {4, 127, 0, INPUT_UNIFORM, 0},
    {4, 128, 0, INPUT_UNIFORM, QUICK},        {4, 129, 0, INPUT_UNIFORM, QUICK},
    {9, 255, 0, INPUT_UNIFORM, 0},            {9, 257, 0, INPUT_UNIFORM, QUICK},
    {3, 768, 0, INPUT_UNIFORM, QUICK},        {2, 1023, 0, INPUT_UNIFORM, 0},
    {2, 1025, 0, INPUT_UNIFORM, 0},           {1, 4099, 0, INPUT_UNIFORM, QUICK},
    {4099, 3, 0, INPUT_UNIFORM, 0},           {3, 200, 0, INPUT_TINY, QUICK},
    {3, 200, 0, INPUT_LARGE, QUICK},          {3, 200, 0, INPUT_ZERO, QUICK},
    {5, 200, 0, INPUT_NOT_FINITE, QUICK},     {4096, 768, 0, INPUT_UNIFORM, LARGE},
};

static const rows_row embed_table[] = {
    {1, 1, 0, INPUT_UNIFORM, QUICK | SMALL},  {3, 17, 0, INPUT_UNIFORM, QUICK | SMALL},
    {5, 33, 40, INPUT_UNIFORM, QUICK | SMALL}, {17, 16, 0, INPUT_UNIFORM, 0},
    {64, 15, 100, INPUT_UNIFORM, 0},          {33, 64, 50, INPUT_UNIFORM, QUICK},
    {7, 127, 0, INPUT_UNIFORM, 0},            {2, 256, 1000000, INPUT_UNIFORM, QUICK},
    {129, 257, 20, INPUT_UNIFORM, QUICK},     {1, 1025, 0, INPUT_UNIFORM, 0},
    {20, 40, 30, INPUT_NOT_FINITE, QUICK},    {4096, 512, 0, INPUT_UNIFORM, LARGE},
};

static const rows_row argmax_table[] = {
    {1, 1, 0, INPUT_UNIFORM, QUICK | SMALL},   {3, 17, 2, INPUT_TIES, QUICK | SMALL},
    {5, 33, 0, INPUT_UNIFORM, QUICK | SMALL},  {4, 15, 0, INPUT_TIES, 0},
    {4, 16, 1, INPUT_TIES, 0},                 {9, 31, 0, INPUT_UNIFORM, 0},
    {9, 32, 0, INPUT_TIES, 0},                 {2, 128, 0, INPUT_TIES, QUICK},
    {2, 129, 5, INPUT_TIES, 0},                {33, 256, 0, INPUT_TIES, QUICK},
    {33, 257, 0, INPUT_UNIFORM, QUICK},        {3, 1025, 0, INPUT_TIES, QUICK},
    {1, 50280, 0, INPUT_UNIFORM, QUICK},       {2, 50281, 7, INPUT_TIES, 0},
    {8, 300, 3, INPUT_NOT_FINITE, QUICK},      {6, 19, 0, INPUT_NOT_FINITE, 0},
    {5, 77, 0, INPUT_ZERO, QUICK},             {5, 77, 0, INPUT_LARGE, 0},
    {64, 50280, 0, INPUT_UNIFORM, LARGE},
};

static const rows_row entropy_table[] = {
    {1, 1, 0, INPUT_UNIFORM, QUICK | SMALL},  {3, 17, 2, INPUT_UNIFORM, QUICK | SMALL},
    {5, 33, 0, INPUT_UNIFORM, QUICK | SMALL}, {4, 15, 0, INPUT_UNIFORM, 0},
    {4, 16, 1, INPUT_UNIFORM, 0},             {9, 31, 0, INPUT_UNIFORM, 0},
    {9, 32, 0, INPUT_UNIFORM, 0},             {2, 128, 0, INPUT_UNIFORM, QUICK},
    {2, 129, 5, INPUT_UNIFORM, 0},            {33, 256, 0, INPUT_UNIFORM, QUICK},
    {33, 257, 0, INPUT_UNIFORM, QUICK},       {3, 1025, 0, INPUT_UNIFORM, QUICK},
    {1, 50280, 0, INPUT_UNIFORM, QUICK},      {2, 50281, 7, INPUT_UNIFORM, 0},
    {8, 300, 3, INPUT_NOT_FINITE, QUICK},     {5, 77, 0, INPUT_ZERO, QUICK},
    {7, 77, 0, INPUT_LARGE, QUICK},           {64, 50280, 0, INPUT_UNIFORM, LARGE},
};

static const rows_row *table_of(lm_kernel_id kernel, size_t *size)
{
    switch (kernel) {
    case LM_KERNEL_RMSNORM: *size = sizeof norm_table / sizeof *norm_table; return norm_table;
    case LM_KERNEL_EMBED: *size = sizeof embed_table / sizeof *embed_table; return embed_table;
    case LM_KERNEL_ARGMAX: *size = sizeof argmax_table / sizeof *argmax_table; return argmax_table;
    case LM_KERNEL_CROSS_ENTROPY: *size = sizeof entropy_table / sizeof *entropy_table; return entropy_table;
    default: *size = 0; return NULL;
    }
}

static size_t count(lm_kernel_id kernel)
{
    size_t size;
    table_of(kernel, &size);
    return size;
}

static unsigned tags_of(lm_kernel_id kernel, size_t index)
{
    size_t size;
    return table_of(kernel, &size)[index].tags;
}

static lm_status record_rmsnorm(const lm_case *c, lm_list *list, const lm_view *views)
{
    return lm_launch_rmsnorm(list, &c->params.rmsnorm, views[0], views[1], views[2]);
}

static lm_status record_embed(const lm_case *c, lm_list *list, const lm_view *views)
{
    return lm_launch_embed(list, &c->params.embed, views[0], views[1], views[2]);
}

static lm_status record_argmax(const lm_case *c, lm_list *list, const lm_view *views)
{
    return lm_launch_argmax(list, &c->params.argmax, views[0], views[1]);
}

static lm_status record_cross_entropy(const lm_case *c, lm_list *list, const lm_view *views)
{
    return lm_launch_cross_entropy(list, &c->params.cross_entropy, views[0], views[1], views[2]);
}

/* x: rows of `stride`. */
static void add_x(lm_case *c, lm_case_random *random, const rows_row *row, size_t stride)
{
    const size_t rows = (size_t)row->rows, cols = (size_t)row->cols;
    const double size = row->input == INPUT_TINY ? 1e-4 : row->input == INPUT_LARGE ? 1e4 : row->input == INPUT_ZERO ? 0 : 4;
    lm_case_buffer *x = lm_case_input(c, "x", (rows - 1) * stride + cols);
    lm_case_fill(x, random, rows, stride, 0, cols, -size, size);
    if (c->failed)
        return;
    float *values = lm_case_floats(x);
    if (row->input == INPUT_TIES)
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < cols; i++)
                values[r * stride + i] = (float)lm_case_below(random, 5) - 2.0f;
    if (row->input != INPUT_NOT_FINITE)
        return;
    values[cols / 2] = NAN;
    values[0 * stride] = NAN;
    values[1 * stride + cols - 1] = NAN;
    for (size_t i = 0; i < cols; i++)
        values[2 * stride + i] = NAN;
    values[3 * stride + cols / 3] = -INFINITY; /* a probability of zero, as masks make them */
    values[3 * stride] = -INFINITY;
    if (c->kernel == LM_KERNEL_ARGMAX) {
        values[4 * stride + cols / 2] = INFINITY;
        values[4 * stride + cols - 1] = INFINITY;
        for (size_t i = 0; i < cols; i++)
            values[5 * stride + i] = i == cols - 2 ? NAN : -INFINITY;
    }
}

static void build_rmsnorm(lm_case *c, const rows_row *row, lm_case_random *random)
{
    const size_t rows = (size_t)row->rows, cols = (size_t)row->cols;
    c->params.rmsnorm = (lm_rmsnorm_params){row->rows, row->cols, 1e-5f};
    c->record = record_rmsnorm;
    c->work = (double)row->rows * row->cols;
    add_x(c, random, row, cols);
    lm_case_buffer *weight = lm_case_input(c, "weight", cols);
    lm_case_fill(weight, random, 1, 0, 0, cols, 0.5, 1.5);
    /* The sum of squares has no cancellation: each of `cols` roundings is at most 2⁻²⁴ of it, and the root halves that. The
     * root, quotient and products add 2 to 4 units more. */
    lm_case_output(c, "y", rows * cols, 0x1p-24 * (6 + sqrt((double)cols) / 2), 0);
}

static void build_embed(lm_case *c, const rows_row *row, lm_case_random *random)
{
    const size_t rows = (size_t)row->rows, cols = (size_t)row->cols;
    const int pieces = 29; /* rows of the table */
    c->params.embed = (lm_embed_params){row->rows, row->cols, row->extra, pieces};
    c->record = record_embed;
    c->work = (double)row->rows * row->cols;
    lm_case_buffer *tokens = lm_case_input(c, "tokens", rows);
    lm_case_buffer *table = lm_case_input(c, "table", (size_t)pieces * cols);
    lm_case_fill(table, random, 1, 0, 0, table->count, -1, 1);
    lm_case_output(c, "y", rows * cols, 0, 1); /* a copy */
    if (c->failed)
        return;
    /* Around the piece, a third of them outside; with its first and last token, and those next to them. */
    const int edge[] = {row->extra, row->extra + pieces - 1, row->extra - 1, row->extra + pieces};
    for (size_t r = 0; r < rows; r++) {
        const int token = row->extra - pieces / 4 + (int)lm_case_below(random, (uint32_t)(pieces + pieces / 2));
        const int chosen = r < 4 ? edge[r] : token;
        lm_case_ints(tokens)[r] = chosen < 0 ? INT32_MAX : chosen;
    }
    if (row->input == INPUT_NOT_FINITE) {
        lm_case_floats(table)[0] = NAN;
        lm_case_floats(table)[cols] = -INFINITY;
    }
}

static void build_argmax(lm_case *c, const rows_row *row, lm_case_random *random)
{
    const int stride = row->cols + row->extra;
    c->params.argmax = (lm_argmax_params){row->rows, row->cols, stride};
    c->record = record_argmax;
    c->work = (double)row->rows * row->cols;
    add_x(c, random, row, (size_t)stride);
    lm_case_output(c, "index", (size_t)row->rows, 0, 1)->integer = true;
    if (c->failed || row->input != INPUT_UNIFORM)
        return;
    /* Once in the last column, once in the first. */
    float *x = lm_case_floats(&c->buffers[0]);
    x[row->cols - 1] = 5.0f;
    if (row->rows > 1)
        x[stride] = 5.0f;
}

static void build_cross_entropy(lm_case *c, const rows_row *row, lm_case_random *random)
{
    const int stride = row->cols + row->extra;
    c->params.cross_entropy = (lm_cross_entropy_params){row->rows, row->cols, stride};
    c->record = record_cross_entropy;
    c->work = (double)row->rows * row->cols;
    add_x(c, random, row, (size_t)stride);
    lm_case_buffer *target = lm_case_input(c, "target", (size_t)row->rows);
    /* A sum of positive terms and a logarithm; then a difference of numbers as large as the logits, which is what the
     * result is relative to: with logits of ±4 a loss is about ln(cols) + 3. */
    const double scale = row->input == INPUT_LARGE ? 1e4 : 4;
    lm_case_output(c, "loss", (size_t)row->rows, 0x1p-24 * (8 + sqrt((double)row->cols) / 2), scale);
    if (c->failed)
        return;
    for (int r = 0; r < row->rows; r++)
        lm_case_ints(target)[r] = r == 0 ? row->cols - 1 : r == 1 ? 0 : (int32_t)lm_case_below(random, (uint32_t)row->cols);
}

static void build_row(lm_case *c, const rows_row *row, lm_case_random *random)
{
    static const char *const inputs[] = {"", " tiny", " large", " ties", " not finite", " zeros"};
    const bool embed = c->kernel == LM_KERNEL_EMBED;
    snprintf(c->name, sizeof c->name, "%s rows=%d cols=%d %s=%d%s", lm_kernel_get(c->kernel)->stem, row->rows, row->cols,
             embed ? "first" : "stride", embed ? row->extra : row->cols + row->extra, inputs[row->input]);
    switch (c->kernel) {
    case LM_KERNEL_RMSNORM: build_rmsnorm(c, row, random); break;
    case LM_KERNEL_EMBED: build_embed(c, row, random); break;
    case LM_KERNEL_ARGMAX: build_argmax(c, row, random); break;
    default: build_cross_entropy(c, row, random); break;
    }
}

static void build(lm_case *c, const lm_device *device, size_t index, lm_case_random *random)
{
    (void)device;
    size_t size;
    build_row(c, &table_of(c->kernel, &size)[index], random);
}

static lm_status build_shape(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random)
{
    (void)device;
    rows_row row = {1024, 1024, 0, INPUT_UNIFORM, LARGE};
    static const lm_case_key keys[] = {{"R", offsetof(rows_row, rows)}, {"C", offsetof(rows_row, cols)}};
    lm_status status = lm_case_parse(shape, keys, sizeof keys / sizeof *keys, &row);
    if (status == LM_OK)
        build_row(c, &row, random);
    return status;
}

const lm_case_family lm_case_family_rows = {count, tags_of, build, build_shape};
