/* kernels/cases_step.c: rows for step_in, step_scan and step_out. */
#include "kernels/cases.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

typedef enum step_input {
    INPUT_USUAL,
    INPUT_NOT_FINITE, /* a NaN and infinities in one sequence each */
} step_input;

typedef struct in_row {
    int rows, depth, channels, taps;
    int branches; /* dilations 1, 2, 4 … up to 64 */
    int width;
    int extra;    /* ring entries beyond what is needed; of stacked rings, elements that they are aligned to */
    int pad;      /* between the parts of the output */
    int flags;    /* LM_STEP_... */
    step_input input;
    unsigned tags;
} in_row;

typedef struct scan_row {
    int rows, channels, d_state, rank, parts;
    int pad;
    int soon; /* floats of each array that is read soon, or 0 */
    step_input input;
    unsigned tags;
} scan_row;

typedef struct out_row {
    int rows, depth, cols;
    int flags;    /* LM_STEP_... */
    int in_place; /* the residual is where the result goes */
    step_input input;
    unsigned tags;
} out_row;

enum { RESIDUAL = LM_STEP_RESIDUAL, NORM = LM_STEP_NORM, BIAS = LM_STEP_BIAS, CONCAT = LM_STEP_CONCAT, STACKED = LM_STEP_STACKED };
enum { QUICK = LM_CASE_QUICK, SMALL = LM_CASE_SMALL, LARGE = LM_CASE_LARGE };

/* Channels around tiles (16, 32), depths around what the lanes of a group take at once (4 times 4 to 64), rows around 1, 2, 4, 8. */
static const in_row in_table[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0, INPUT_USUAL, QUICK | SMALL},
    {1, 8, 16, 4, 1, 5, 0, 0, 0, INPUT_USUAL, QUICK | SMALL},
    {3, 7, 17, 3, 3, 9, 1, 5, NORM | BIAS, INPUT_USUAL, QUICK | SMALL},
    {2, 5, 9, 2, 2, 0, 0, 3, CONCAT, INPUT_USUAL, QUICK | SMALL},
    {2, 4, 8, 3, 2, 6, 64, 0, STACKED, INPUT_USUAL, QUICK | SMALL},
    {1, 15, 31, 3, 4, 34, 0, 1, NORM, INPUT_USUAL, 0},
    {1, 16, 32, 3, 4, 36, 0, 0, NORM, INPUT_USUAL, QUICK},
    {4, 17, 33, 4, 1, 35, 3, 0, NORM | BIAS, INPUT_USUAL, QUICK},
    {5, 64, 60, 2, 5, 40, 0, 0, 0, INPUT_USUAL, QUICK},
    {7, 63, 15, 5, 2, 33, 0, 2, BIAS, INPUT_USUAL, 0},
    {8, 65, 64, 3, 4, 48, 0, 0, NORM, INPUT_USUAL, QUICK},
    {9, 100, 68, 3, 3, 44, 16, 7, NORM | STACKED, INPUT_USUAL, QUICK},
    {3, 61, 47, 4, 4, 0, 0, 0, NORM | CONCAT, INPUT_USUAL, QUICK},
    {17, 24, 48, 3, 4, 35, 1, 0, NORM, INPUT_USUAL, 0},
    {1, 256, 512, 3, 4, 48, 0, 0, NORM, INPUT_USUAL, QUICK},
    {1, 257, 513, 3, 4, 48, 0, 0, NORM, INPUT_USUAL, 0},
    {1, 513, 131, 4, 1, 48, 0, 0, 0, INPUT_USUAL, 0},
    {1, 2052, 40, 3, 4, 36, 0, 0, NORM, INPUT_USUAL, QUICK},
    {2, 2049, 33, 3, 2, 35, 0, 0, NORM | BIAS, INPUT_USUAL, 0},
    {2, 40, 20, 3, 32, 40, 0, 0, 0, INPUT_USUAL, 0},
    {2, 20, 40, 2, 16, 40, 4, 0, STACKED, INPUT_USUAL, 0},
    {2, 12, 36, 16, 2, 300, 0, 0, 0, INPUT_USUAL, QUICK},
    {2, 30, 50, 3, 2, 700, 0, 0, NORM, INPUT_USUAL, 0},
    {4, 33, 34, 3, 4, 36, 0, 0, NORM, INPUT_NOT_FINITE, QUICK},
    {4, 32, 36, 3, 2, 36, 8, 0, STACKED, INPUT_NOT_FINITE, 0},
    {8, 256, 512, 3, 4, 48, 0, 0, NORM, INPUT_USUAL, LARGE},
};

/* Channels around 8, 16, 32; states and ranks around the lanes that share them (4, 8, 16). */
static const scan_row scan_table[] = {
    {1, 1, 1, 1, 1, 0, 0, INPUT_USUAL, QUICK | SMALL},
    {3, 17, 3, 2, 4, 1, 0, INPUT_USUAL, QUICK | SMALL},
    {2, 16, 16, 4, 3, 0, 0, INPUT_USUAL, QUICK | SMALL},
    {1, 7, 5, 6, 5, 4, 0, INPUT_USUAL, QUICK | SMALL},
    {1, 31, 16, 16, 16, 0, 0, INPUT_USUAL, QUICK},
    {1, 33, 15, 17, 1, 0, 0, INPUT_USUAL, QUICK},
    {4, 64, 17, 15, 13, 3, 0, INPUT_USUAL, 0},
    {8, 65, 16, 32, 64, 0, 0, INPUT_USUAL, QUICK},
    {5, 63, 1, 33, 2, 0, 0, INPUT_USUAL, 0},
    {1, 512, 16, 16, 32, 0, 0, INPUT_USUAL, QUICK},
    {1, 130, 64, 96, 7, 0, 0, INPUT_USUAL, 0},
    {2, 20, 100, 1, 9, 0, 0, INPUT_USUAL, QUICK},
    {2, 40, 30, 101, 10, 2, 0, INPUT_USUAL, 0},
    {1, 1536, 16, 48, 96, 0, 0, INPUT_USUAL, 0},
    {17, 48, 16, 16, 16, 0, 0, INPUT_USUAL, 0},
    {3, 50, 16, 8, 3, 0, 0, INPUT_NOT_FINITE, QUICK},
    {2, 70, 16, 8, 3, 0, (4 << 19) + 5, INPUT_USUAL, 0},
    {8, 5120, 16, 160, 160, 0, 0, INPUT_USUAL, LARGE},
};

/* Columns around tiles (8, 16), depths as above. */
static const out_row out_table[] = {
    {1, 1, 1, 0, 0, INPUT_USUAL, QUICK | SMALL},
    {2, 7, 9, BIAS, 0, INPUT_USUAL, QUICK | SMALL},
    {1, 16, 8, BIAS | RESIDUAL, 0, INPUT_USUAL, QUICK | SMALL},
    {3, 20, 12, RESIDUAL, 1, INPUT_USUAL, QUICK | SMALL},
    {1, 127, 17, RESIDUAL, 1, INPUT_USUAL, 0},
    {1, 128, 16, 0, 0, INPUT_USUAL, QUICK},
    {1, 129, 33, BIAS | RESIDUAL, 1, INPUT_USUAL, QUICK},
    {5, 512, 24, RESIDUAL, 1, INPUT_USUAL, QUICK},
    {7, 515, 31, BIAS, 0, INPUT_USUAL, 0},
    {1, 4100, 24, BIAS | RESIDUAL, 1, INPUT_USUAL, QUICK},
    {2, 4099, 23, RESIDUAL, 0, INPUT_USUAL, 0},
    {8, 640, 40, RESIDUAL, 0, INPUT_USUAL, 0},
    {17, 256, 20, RESIDUAL, 1, INPUT_USUAL, 0},
    {1, 1536, 768, RESIDUAL, 1, INPUT_USUAL, LARGE},
    {4, 200, 36, BIAS | RESIDUAL, 0, INPUT_NOT_FINITE, QUICK},
    {3, 96, 16, RESIDUAL, 1, INPUT_NOT_FINITE, 0},
};

static size_t count(lm_kernel_id kernel)
{
    switch (kernel) {
    case LM_KERNEL_STEP_IN: return sizeof in_table / sizeof *in_table;
    case LM_KERNEL_STEP_OUT: return sizeof out_table / sizeof *out_table;
    default: return sizeof scan_table / sizeof *scan_table;
    }
}

static unsigned tags_of(lm_kernel_id kernel, size_t index)
{
    switch (kernel) {
    case LM_KERNEL_STEP_IN: return in_table[index].tags;
    case LM_KERNEL_STEP_OUT: return out_table[index].tags;
    default: return scan_table[index].tags;
    }
}

static lm_status record_in(const lm_case *c, lm_list *list, const lm_view *v)
{
    const lm_step_in_views views = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]};
    return lm_launch_step_in(list, &c->params.step_in, &views);
}

static lm_status record_scan(const lm_case *c, lm_list *list, const lm_view *v)
{
    const lm_step_scan_views views = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], {v[8], v[9]}};
    return lm_launch_step_scan(list, &c->params.step_scan, &views);
}

static lm_status record_out(const lm_case *c, lm_list *list, const lm_view *v)
{
    const lm_step_out_views views = {v[0], v[1], v[2], v[3], v[4]};
    return lm_launch_step_out(list, &c->params.step_out, &views);
}

/* A row table of sequences of one token, taken off the case again, to be put where it is bound. */
static lm_case_buffer row_table(lm_case *c, lm_case_random *random, int rows, int stride, int ring)
{
    lm_case_row_table(c, random, rows, 1, false, stride, stride - LM_ROW_HEADS, ring);
    return c->buffers[--c->buffer_count];
}

static void input(lm_case *c, lm_case_random *random, const char *name, bool there, size_t size, double low, double high)
{
    if (there)
        lm_case_fill(lm_case_input(c, name, size), random, 1, 0, 0, size, low, high);
    else
        lm_case_absent(c, name);
}

/* ---- step_in ----------------------------------------------------------------------------------------------------- */

static int dilation_of(int branch) { return 1 << (branch % 7); }

static int rings_of(const lm_step_in_params *p) { return p->flags & STACKED ? p->branches : 1; }

static int length_of(const lm_step_in_params *p, int ring)
{
    return p->flags & STACKED ? (p->taps - 1) * dilation_of(ring) + 1 : p->history;
}

static size_t ring_size(const lm_step_in_params *p, int ring)
{
    const size_t size = (size_t)p->slots * (size_t)length_of(p, ring) * (size_t)p->channels, align = (size_t)p->ring_align;
    return (size + align - 1) / align * align;
}

/* Slot 0 belongs to no sequence and stays poisoned, as does what is older than a sequence's past. */
static void fill_rings(lm_case_buffer *history, lm_case_random *random, const lm_step_in_params *p, int32_t *rows)
{
    const size_t channels = (size_t)p->channels;
    size_t base = 0;
    for (int r = 0; r < rings_of(p); base += ring_size(p, r++)) {
        const int length = length_of(p, r);
        for (int b = 0; b < p->rows; b++) {
            int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
            row[LM_ROW_HEADS + r] = (int32_t)lm_case_below(random, (uint32_t)length);
            for (int i = 1; i <= length && i <= row[LM_ROW_SEEN]; i++) {
                const size_t at = (size_t)row[LM_ROW_SLOT] * (size_t)length + (size_t)((row[LM_ROW_HEADS + r] + length - i) % length);
                lm_case_fill(history, random, 1, 0, base + at * channels, channels, -1, 1);
            }
        }
    }
}

static void set_in(lm_step_in_params *p, const in_row *row, const lm_device *device)
{
    int longest = 1;
    for (int k = 0; k < row->branches; k++)
        longest = dilation_of(k) > longest ? dilation_of(k) : longest;
    const bool stacked = (row->flags & STACKED) != 0;
    *p = (lm_step_in_params){
        .rows = row->rows,
        .depth = row->depth,
        .channels = row->channels,
        .taps = row->taps,
        .branches = row->branches,
        .width = row->width,
        .history = (row->taps - 1) * longest + 1 + (stacked ? 0 : row->extra),
        .slots = lm_case_slots(row->rows),
        .ring_align = stacked && row->extra > 0 ? row->extra : 1,
        .epsilon = 1e-5f,
        .flags = row->flags,
    };
    p->rows_stride = LM_ROW_HEADS + rings_of(p);
    p->gate_offset = p->branches + row->pad;
    p->bias_offset = p->gate_offset + p->branches + 2 * row->pad;
    p->weight_offset = p->bias_offset + p->branches * p->channels + row->pad;
    lm_step_plan(device, p);
    p->z_offset = row->pad;
    p->u_offset = p->z_offset + p->rows * p->channels + row->pad;
    p->part_offset = p->u_offset + p->rows * p->channels * (row->flags & CONCAT ? p->branches : 1) + row->pad;
}

static void build_in(lm_case *c, const lm_device *device, const in_row *row, lm_case_random *random)
{
    lm_step_in_params *p = &c->params.step_in;
    set_in(p, row, device);
    const size_t rows = (size_t)p->rows, depth = (size_t)p->depth, channels = (size_t)p->channels, width = (size_t)p->width;
    const size_t branches = (size_t)p->branches, taps = (size_t)p->taps;
    const size_t parts = (size_t)((p->channels + p->tile - 1) / p->tile);
    snprintf(c->name, sizeof c->name, "step_in rows=%d depth=%d channels=%d taps=%d branches=%d width=%d%s%s%s%s%s%s", p->rows,
             p->depth, p->channels, p->taps, p->branches, p->width, p->flags & NORM ? " norm" : "", p->flags & BIAS ? " bias" : "",
             p->flags & CONCAT ? " concat" : "", p->flags & STACKED ? " stacked" : "", row->pad ? " strided" : "",
             row->input == INPUT_NOT_FINITE ? " not finite" : "");
    c->record = record_in;
    c->work = (double)rows * (double)channels * (2.0 * (double)depth + (double)(taps * branches) + (double)width);

    lm_case_buffer table = row_table(c, random, p->rows, p->rows_stride, p->history);
    lm_case_buffer *x = lm_case_input(c, "x", rows * depth);
    lm_case_fill(x, random, 1, 0, 0, rows * depth, -1, 1);
    input(c, random, "norm", (p->flags & NORM) != 0, depth, 0.5, 1.5);
    /* So that v is about 1. */
    const double size = sqrt((p->flags & NORM ? 3 : 9) / (double)depth);
    input(c, random, "weight", true, depth * 2 * channels, -size, size);
    input(c, random, "bias", (p->flags & BIAS) != 0, 2 * channels, -1, 1);
    lm_case_buffer *conv = lm_case_input(c, "conv", (size_t)p->weight_offset + branches * taps * channels);
    lm_case_fill(conv, random, 1, 0, (size_t)p->gate_offset, branches, 0.1, 1);
    lm_case_fill(conv, random, 1, 0, (size_t)p->bias_offset, branches * channels, -1, 1);
    lm_case_fill(conv, random, 1, 0, (size_t)p->weight_offset, branches * taps * channels, -1, 1);
    for (int k = 0; k < p->branches && !c->failed; k++)
        lm_case_ints(conv)[k] = dilation_of(k);
    c->buffers[c->buffer_count++] = table;
    /* v, as it comes from a sum of `depth` products of about 1/√depth: kernels/cases_gemm.c. */
    const double sum = 0x1p-24 * (8 + 2.5 * sqrt((double)depth));
    size_t history_size = 0;
    for (int r = 0; r < rings_of(p); r++)
        history_size += ring_size(p, r);
    lm_case_buffer *history = lm_case_output(c, "history", history_size, sum, 1);
    if (!c->failed)
        fill_rings(history, random, p, lm_case_ints(&table));
    input(c, random, "x_proj", width > 0, channels * width, -0.5, 0.5);
    /* That goes through taps, branches and channels of a tile, each of which adds its own roundings. */
    const double terms = (double)(taps * branches) + (double)(width > 0 ? p->tile : 0);
    lm_case_output(c, "out", (size_t)p->part_offset + rows * parts * width, 2 * sum + 0x1p-24 * (8 + 2.5 * sqrt(terms)), 1);
    if (c->failed || row->input != INPUT_NOT_FINITE)
        return;
    lm_case_floats(x)[depth / 2] = NAN;
    lm_case_floats(x)[depth] = INFINITY;
    int32_t *past = lm_case_ints(&c->buffers[5]) + 2 * (size_t)p->rows_stride;
    const size_t newest = (size_t)past[LM_ROW_SLOT] * (size_t)length_of(p, 0)
                          + (size_t)((past[LM_ROW_HEADS] + length_of(p, 0) - 1) % length_of(p, 0));
    lm_case_floats(history)[newest * channels + 1] = -INFINITY;
}

/* ---- step_scan --------------------------------------------------------------------------------------------------- */

static void build_scan(lm_case *c, const scan_row *row, lm_case_random *random)
{
    const size_t rows = (size_t)row->rows, channels = (size_t)row->channels, d_state = (size_t)row->d_state;
    const size_t rank = (size_t)row->rank, parts = (size_t)row->parts, width = rank + 2 * d_state;
    const int u_offset = row->rows * row->channels + 2 * row->pad;
    const lm_step_scan_params *p = &c->params.step_scan;
    c->params.step_scan = (lm_step_scan_params){
        .rows = row->rows,
        .channels = row->channels,
        .d_state = row->d_state,
        .rank = row->rank,
        .parts = row->parts,
        .rows_stride = LM_ROW_HEADS + (row->pad > 0 ? 3 : 1),
        .z_offset = row->pad,
        .u_offset = u_offset,
        .part_offset = (u_offset + row->rows * row->channels + 3) / 4 * 4 + row->pad,
    };
    snprintf(c->name, sizeof c->name, "step_scan rows=%d channels=%d d_state=%d rank=%d parts=%d%s%s%s", row->rows, row->channels,
             row->d_state, row->rank, row->parts, row->pad ? " strided" : "", row->soon ? " soon" : "",
             row->input == INPUT_NOT_FINITE ? " not finite" : "");
    c->record = record_scan;
    c->work = (double)rows * ((double)parts * (double)width + (double)channels * (double)(rank + 3 * d_state));

    const lm_case_buffer table = row_table(c, random, p->rows, p->rows_stride, 5);
    lm_case_buffer *in = lm_case_input(c, "in", (size_t)p->part_offset + rows * parts * width);
    lm_case_fill(in, random, 1, 0, (size_t)p->z_offset, rows * channels, -3, 3);
    lm_case_fill(in, random, 1, 0, (size_t)p->u_offset, rows * channels, -1, 1);
    const double size = sqrt(3 / (double)parts); /* so that sums of parts are about 1 */
    lm_case_fill(in, random, 1, 0, (size_t)p->part_offset, rows * parts * width, -size, size);
    const double low = 1 / sqrt((double)rank);
    input(c, random, "dt_weight", true, rank * channels, -low, low);
    input(c, random, "dt_bias", true, channels, -4, -1);
    lm_case_buffer *a = lm_case_input(c, "a", d_state * channels);
    for (size_t n = 0; n < d_state; n++)
        lm_case_fill(a, random, 1, 0, n * channels, channels, -(double)(n + 1) * 1.25, -(double)(n + 1) * 0.8);
    input(c, random, "d", true, channels, 0.5, 1.5);
    c->buffers[c->buffer_count++] = table;
    /* Sums of `parts` and then `rank` products are wrong by some 2⁻²⁴·√ of their number and so is Δ; exp(Δ·A) is by that times
     * |Δ·A|, which counts as long as not all is forgotten: up to about 4. */
    const double tolerance = 0x1p-24 * (12 + 6 * sqrt((double)parts) + 6 * sqrt((double)rank));
    lm_case_buffer *state = lm_case_output(c, "state", (size_t)lm_case_slots(row->rows) * d_state * channels, tolerance, 1);
    for (int b = 0; b < row->rows && !c->failed; b++) {
        /* The state of a sequence without a past stays poisoned. */
        const int32_t *entry = lm_case_ints(&c->buffers[5]) + (size_t)b * (size_t)p->rows_stride;
        if (entry[LM_ROW_SEEN] > 0)
            lm_case_fill(state, random, 1, 0, (size_t)entry[LM_ROW_SLOT] * d_state * channels, d_state * channels, -1, 1);
    }
    lm_case_output(c, "y", rows * channels, tolerance + 0x1p-23 * sqrt((double)d_state), 1);
    input(c, random, "soon_0", row->soon > 0, (size_t)row->soon, -1, 1);
    input(c, random, "soon_1", row->soon > 0, (size_t)row->soon, -1, 1);
    if (c->failed || row->input != INPUT_NOT_FINITE)
        return;
    lm_case_floats(in)[(size_t)p->u_offset + 3] = NAN;
    lm_case_floats(in)[(size_t)p->u_offset + channels] = INFINITY;
    lm_case_floats(in)[(size_t)p->part_offset + 2 * parts * width + rank] = NAN;
}

/* ---- step_out ---------------------------------------------------------------------------------------------------- */

static void build_out(lm_case *c, const out_row *row, lm_case_random *random)
{
    const size_t rows = (size_t)row->rows, depth = (size_t)row->depth, cols = (size_t)row->cols;
    c->params.step_out = (lm_step_out_params){
        .rows = row->rows, .depth = row->depth, .cols = row->cols, .flags = row->flags,
    };
    snprintf(c->name, sizeof c->name, "step_out rows=%d depth=%d cols=%d%s%s%s%s", row->rows, row->depth, row->cols,
             row->flags & BIAS ? " bias" : "", row->flags & RESIDUAL ? " residual" : "", row->in_place ? " in place" : "",
             row->input == INPUT_NOT_FINITE ? " not finite" : "");
    c->record = record_out;
    c->work = (double)rows * (double)depth * (double)cols;
    lm_case_buffer *x = lm_case_input(c, "x", rows * depth);
    lm_case_fill(x, random, 1, 0, 0, rows * depth, -1, 1);
    lm_case_buffer *weight = lm_case_input(c, "weight", depth * cols);
    lm_case_fill(weight, random, 1, 0, 0, depth * cols, -1, 1);
    input(c, random, "bias", (row->flags & BIAS) != 0, cols, -1, 1);
    if (row->in_place) lm_case_shared(c, "residual", 4);
    else input(c, random, "residual", (row->flags & RESIDUAL) != 0, rows * cols, -1, 1);
    const double root = sqrt((double)depth); /* kernels/cases_gemm.c */
    lm_case_buffer *out = lm_case_output(c, "out", rows * cols, 0x1p-24 * (6 + 2.5 * root), fmax(1, root / 3));
    if (row->in_place) lm_case_fill(out, random, 1, 0, 0, rows * cols, -1, 1);
    if (c->failed || row->input != INPUT_NOT_FINITE) return;
    lm_case_floats(x)[5] = NAN;
    lm_case_floats(x)[2 * depth - 1] = INFINITY;
    lm_case_floats(weight)[cols - 1] = NAN;
}

static void build(lm_case *c, const lm_device *device, size_t index, lm_case_random *random)
{
    if (c->kernel == LM_KERNEL_STEP_IN)
        build_in(c, device, &in_table[index], random);
    else if (c->kernel == LM_KERNEL_STEP_OUT)
        build_out(c, &out_table[index], random);
    else
        build_scan(c, &scan_table[index], random);
}

static lm_status build_shape(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random)
{
    in_row in = {1, 768, 1536, 3, 4, 80, 0, 0, NORM, INPUT_USUAL, LARGE};
    scan_row scan = {1, 1536, 16, 48, 96, 0, 0, INPUT_USUAL, LARGE};
    static const lm_case_key in_keys[] = {{"B", offsetof(in_row, rows)}, {"D", offsetof(in_row, depth)},
                                          {"Di", offsetof(in_row, channels)}, {"K", offsetof(in_row, taps)},
                                          {"m", offsetof(in_row, branches)}, {"W", offsetof(in_row, width)}};
    static const lm_case_key scan_keys[] = {{"B", offsetof(scan_row, rows)}, {"Di", offsetof(scan_row, channels)},
                                            {"N", offsetof(scan_row, d_state)}, {"R", offsetof(scan_row, rank)},
                                            {"P", offsetof(scan_row, parts)}};
    if (c->kernel == LM_KERNEL_STEP_IN) {
        lm_status status = lm_case_parse(shape, in_keys, sizeof in_keys / sizeof *in_keys, &in);
        if (status == LM_OK)
            build_in(c, device, &in, random);
        return status;
    }
    if (c->kernel == LM_KERNEL_STEP_OUT) {
        out_row out = {1, 1536, 768, RESIDUAL, 1, INPUT_USUAL, LARGE};
        static const lm_case_key out_keys[] = {{"B", offsetof(out_row, rows)}, {"K", offsetof(out_row, depth)},
                                               {"N", offsetof(out_row, cols)}};
        lm_status status = lm_case_parse(shape, out_keys, sizeof out_keys / sizeof *out_keys, &out);
        if (status == LM_OK)
            build_out(c, &out, random);
        return status;
    }
    lm_status status = lm_case_parse(shape, scan_keys, sizeof scan_keys / sizeof *scan_keys, &scan);
    if (status == LM_OK)
        build_scan(c, &scan, random);
    return status;
}

const lm_case_family lm_case_family_step = {count, tags_of, build, build_shape};
