/* kernels/cases_conv.c: rows for conv and conv_state. */
#include "kernels/cases.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum conv_input {
    INPUT_UNIFORM,
    INPUT_SWEEP,      /* one tap of weight 1: SiLU over the whole range of its argument, element by element */
    INPUT_NOT_FINITE,
    INPUT_WIDE,       /* far to both sides of SiLU's bend */
} conv_input;

typedef struct conv_row {
    int batch, length, channels, taps;
    int branches;      /* dilations are `dilation`, then each `factor` times the one before plus one where that is odd */
    int dilation, factor;
    int first, used;   /* branches of this dispatch; 0, 0 for all */
    int extra;         /* ring slots beyond the receptive field */
    bool ragged, strided;
    int flags;         /* LM_CONV_... */
    conv_input input;
    unsigned tags;
} conv_row;

enum { BIAS = LM_CONV_BIAS, GATES = LM_CONV_GATES, CONCAT = LM_CONV_CONCAT };
enum { QUICK = LM_CASE_QUICK, SMALL = LM_CASE_SMALL, LARGE = LM_CASE_LARGE };

/* Channels around lanes × vector width (16, 64, 256, 1024), lengths around the steps of a lane (8, 32). */
static const conv_row conv_table[] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_UNIFORM, QUICK | SMALL},
    {1, 9, 17, 4, 1, 1, 1, 0, 0, 0, false, true, BIAS, INPUT_UNIFORM, QUICK | SMALL},
    {3, 11, 5, 3, 3, 1, 2, 0, 0, 1, true, true, BIAS | GATES, INPUT_UNIFORM, QUICK | SMALL},
    {2, 7, 16, 2, 2, 3, 2, 0, 0, 0, false, false, BIAS | CONCAT, INPUT_UNIFORM, QUICK},
    {1, 1, 64, 4, 1, 1, 1, 0, 0, 0, false, false, BIAS, INPUT_UNIFORM, QUICK},
    {4, 1, 31, 3, 4, 1, 2, 0, 0, 0, true, true, BIAS | GATES, INPUT_UNIFORM, QUICK},
    {2, 8, 15, 5, 2, 2, 3, 0, 0, 2, false, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 31, 33, 6, 2, 1, 4, 0, 0, 0, false, true, GATES, INPUT_UNIFORM, 0},
    {1, 32, 63, 7, 1, 5, 1, 0, 0, 0, false, false, BIAS, INPUT_UNIFORM, 0},
    {2, 33, 65, 3, 4, 1, 2, 0, 0, 3, true, true, BIAS | GATES, INPUT_UNIFORM, QUICK},
    {5, 64, 19, 4, 3, 2, 2, 0, 0, 0, true, false, BIAS | CONCAT, INPUT_UNIFORM, QUICK},
    {1, 65, 127, 3, 4, 1, 2, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 13, 128, 3, 2, 20, 3, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, QUICK},
    {3, 5, 24, 4, 2, 1000, 2, 0, 0, 0, true, false, BIAS | CONCAT, INPUT_UNIFORM, 0},
    {1, 100, 40, 3, 5, 1, 2, 3, 1, 0, false, true, BIAS, INPUT_UNIFORM, QUICK},
    {2, 40, 23, 2, 6, 1, 2, 2, 3, 7, true, true, BIAS | CONCAT, INPUT_UNIFORM, 0},
    {2, 40, 23, 2, 6, 1, 2, 1, 4, 0, true, true, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 37, 11, 2, 32, 1, 1, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, QUICK},
    {2, 19, 13, 3, 32, 2, 1, 0, 0, 0, false, false, BIAS | CONCAT, INPUT_UNIFORM, 0},
    {1, 50, 255, 3, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_UNIFORM, 0},
    {1, 50, 256, 3, 1, 8, 1, 0, 0, 0, false, false, BIAS, INPUT_UNIFORM, 0},
    {1, 21, 1025, 3, 2, 1, 2, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 17, 47, 9, 1, 1, 1, 0, 0, 0, false, true, BIAS, INPUT_UNIFORM, 0},
    {1, 70, 3, 33, 2, 2, 3, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {16, 3, 48, 3, 4, 1, 2, 0, 0, 0, true, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 4099, 7, 4, 4, 1, 5, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {2, 1023, 96, 3, 4, 1, 2, 0, 0, 0, true, true, BIAS | GATES, INPUT_UNIFORM, LARGE},
    {1, 512, 1024, 3, 4, 1, 2, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, LARGE},
    {1, 512, 1, 1, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_SWEEP, 0},
    {1, 64, 16, 1, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_SWEEP, QUICK},
    {2, 45, 21, 3, 2, 2, 2, 0, 0, 0, true, false, BIAS | GATES, INPUT_NOT_FINITE, QUICK},
    {2, 45, 21, 3, 2, 2, 2, 0, 0, 0, true, false, BIAS | CONCAT, INPUT_NOT_FINITE, 0},
};

/* What changes the constants is dear to build on processors: few rows with many edges. Lengths around chunks (64), around the
 * inputs that a lane holds (32) and steps (16, 4). */
static const conv_row window_table[] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_UNIFORM, QUICK | SMALL},
    {1, 9, 17, 4, 1, 1, 1, 0, 0, 0, false, true, BIAS, INPUT_UNIFORM, QUICK | SMALL},
    {3, 11, 5, 3, 3, 1, 2, 0, 0, 1, true, true, BIAS | GATES, INPUT_UNIFORM, QUICK | SMALL},
    {4, 1, 40, 3, 4, 1, 2, 0, 0, 0, true, true, BIAS | GATES, INPUT_UNIFORM, 0},
    {3, 7, 70, 3, 4, 1, 2, 0, 0, 0, true, true, BIAS | GATES, INPUT_UNIFORM, 0}, /* fewer tokens than the ring */
    {2, 33, 65, 3, 4, 1, 2, 0, 0, 3, true, true, BIAS | GATES, INPUT_UNIFORM, QUICK},
    {5, 129, 65, 3, 4, 1, 2, 0, 0, 0, true, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {2, 64, 80, 3, 4, 1, 2, 0, 0, 0, false, false, BIAS | GATES, INPUT_WIDE, 0},
    {2, 1023, 96, 3, 4, 1, 2, 0, 0, 0, true, true, BIAS | GATES, INPUT_UNIFORM, LARGE},
    {1, 47, 33, 6, 2, 1, 4, 0, 0, 0, false, true, GATES, INPUT_UNIFORM, 0},
    {2, 40, 43, 2, 6, 1, 2, 1, 4, 0, true, true, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 128, 66, 3, 5, 1, 2, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, 0},
    {1, 65, 34, 2, 6, 3, 1, 0, 0, 0, false, false, BIAS, INPUT_WIDE, 0},
    {5, 64, 19, 4, 3, 2, 2, 0, 0, 0, true, false, BIAS | CONCAT, INPUT_UNIFORM, 0},
    {2, 45, 21, 4, 3, 2, 2, 0, 0, 0, true, false, BIAS | CONCAT, INPUT_NOT_FINITE, 0},
    {2, 45, 41, 3, 4, 1, 2, 0, 0, 0, true, false, BIAS | GATES, INPUT_NOT_FINITE, 0},
    {1, 512, 8, 1, 2, 1, 1, 0, 0, 0, false, false, 0, INPUT_SWEEP, 0},
    {1, 512, 8, 1, 3, 1, 1, 0, 0, 0, false, false, CONCAT, INPUT_SWEEP, 0},
    {9, 128, 130, 3, 4, 1, 2, 0, 0, 0, true, true, BIAS | GATES, INPUT_UNIFORM, 0}, /* on two cores the last ones are cut */
};

/* conv_state takes only sizes and the ring, which `taps`, dilations and `extra` give. */
static const conv_row state_table[] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_UNIFORM, QUICK | SMALL},
    {3, 5, 7, 3, 2, 1, 2, 0, 0, 0, true, true, 0, INPUT_UNIFORM, QUICK | SMALL},
    {2, 9, 16, 4, 1, 2, 1, 0, 0, 3, false, false, 0, INPUT_UNIFORM, QUICK | SMALL},
    {1, 7, 17, 3, 1, 3, 1, 0, 0, 0, false, true, 0, INPUT_UNIFORM, QUICK}, /* as many tokens as the ring holds */
    {1, 8, 17, 3, 1, 3, 1, 0, 0, 0, false, true, 0, INPUT_UNIFORM, QUICK},
    {1, 6, 17, 3, 1, 3, 1, 0, 0, 0, false, true, 0, INPUT_UNIFORM, QUICK},
    {1, 1, 63, 4, 4, 1, 2, 0, 0, 0, false, false, 0, INPUT_UNIFORM, QUICK},
    {8, 1, 64, 4, 4, 1, 2, 0, 0, 1, true, true, 0, INPUT_UNIFORM, 0},
    {5, 30, 65, 3, 3, 1, 4, 0, 0, 0, true, true, 0, INPUT_UNIFORM, QUICK},
    {1, 20, 255, 2, 1, 1000, 1, 0, 0, 0, false, false, 0, INPUT_UNIFORM, 0},
    {2, 3000, 19, 2, 1, 1000, 1, 0, 0, 0, true, false, 0, INPUT_UNIFORM, 0},
    {1, 100, 1025, 1, 1, 1, 1, 0, 0, 0, false, false, 0, INPUT_UNIFORM, 0},
    {1, 33, 31, 3, 2, 2, 2, 0, 0, 0, false, true, 0, INPUT_NOT_FINITE, 0},
};

static const conv_row *row_of(lm_kernel_id kernel, size_t index)
{
    if (kernel == LM_KERNEL_CONV_WINDOW) return &window_table[index];
    return kernel == LM_KERNEL_CONV ? &conv_table[index] : &state_table[index];
}

static size_t count(lm_kernel_id kernel)
{
    if (kernel == LM_KERNEL_CONV_WINDOW) return sizeof window_table / sizeof *window_table;
    return kernel == LM_KERNEL_CONV ? sizeof conv_table / sizeof *conv_table : sizeof state_table / sizeof *state_table;
}

static unsigned tags_of(lm_kernel_id kernel, size_t index)
{
    return row_of(kernel, index)->tags;
}

static lm_status record_conv(const lm_case *c, lm_list *list, const lm_view *views)
{
    const lm_conv_views bound = {views[0], views[1], views[2], views[3], views[4], views[5], views[6], views[7],
                                 c->buffers[4].words};
    return lm_launch_conv_with(list, c->kernel, &c->params.conv, &bound);
}

static lm_status record_state(const lm_case *c, lm_list *list, const lm_view *views)
{
    const lm_conv_views bound = {.x = views[0], .rows = views[1], .history = views[2]};
    return lm_launch_conv_with(list, c->kernel, &c->params.conv, &bound);
}

static int dilation_of(const conv_row *row, int branch)
{
    int dilation = row->dilation;
    for (int i = 0; i < branch; i++)
        dilation = row->factor == 1 ? dilation + i % 2 : dilation * row->factor;
    return dilation;
}

/* x lies in a wider array, as in the block, where z follows it. */
static void set_params(lm_conv_params *p, const conv_row *row)
{
    const int used = row->used ? row->used : row->branches;
    int longest = 0;
    for (int i = row->first; i < row->first + used; i++)
        longest = dilation_of(row, i) > longest ? dilation_of(row, i) : longest;
    *p = (lm_conv_params){
        .batch = row->batch,
        .length = row->length,
        .channels = row->channels,
        .taps = row->taps,
        .branch_first = row->first,
        .branches = used,
        .x_stride = row->strided ? 2 * row->channels + 3 : row->channels,
        .x_offset = row->strided ? row->channels + 1 : 0,
        .out_stride = (row->flags & CONCAT ? used : 1) * row->channels + (row->strided ? 5 : 0),
        .history = (row->taps - 1) * longest + 1 + row->extra,
        .ring = row->strided ? 1 : 0,
        .rows_stride = LM_ROW_HEADS + (row->strided ? 3 : 1),
        .flags = row->flags,
    };
}

static void add_x(lm_case *c, lm_case_random *random, const conv_row *row, size_t rows)
{
    const lm_conv_params *p = &c->params.conv;
    const size_t stride = (size_t)p->x_stride, offset = (size_t)p->x_offset, channels = (size_t)p->channels;
    lm_case_buffer *x = lm_case_input(c, "x", offset + (rows - 1) * stride + channels);
    const double most = row->input == INPUT_WIDE ? 100 : 1;
    lm_case_fill(x, random, rows, stride, offset, channels, -most, most);
    if (c->failed)
        return;
    float *values = lm_case_floats(x) + offset;
    if (row->input == INPUT_NOT_FINITE) {
        values[(rows / 2) * stride + 2] = NAN;
        values[(rows / 3) * stride + channels - 1] = INFINITY;
        values[(rows / 4) * stride] = -INFINITY;
    } else if (row->input == INPUT_SWEEP) {
        static const float special[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-7f, -1e-7f, 17.0f, -17.0f, 88.0f, 89.0f, -87.0f,
                                        1e30f, INFINITY, NAN};
        const size_t specials = sizeof special / sizeof *special, total = rows * channels;
        for (size_t i = 0; i < total; i++)
            values[i] = i < specials ? special[i] : -120.0f + 240.0f * (float)(i - specials) / (float)(total - specials);
    }
}

static size_t add_rows(lm_case *c, lm_case_random *random, const conv_row *row)
{
    const lm_conv_params *p = &c->params.conv;
    return lm_case_row_table(c, random, p->batch, p->length, row->ragged, p->rows_stride, p->rows_stride - LM_ROW_HEADS,
                             p->history);
}

/* Slot 0 belongs to no sequence and stays poisoned, as does what is older than a sequence's past. */
static void fill_history(lm_case_buffer *history, lm_case_random *random, const lm_conv_params *p, const int32_t *rows)
{
    const size_t channels = (size_t)p->channels;
    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        const int seen = row[LM_ROW_SEEN] < p->history ? row[LM_ROW_SEEN] : p->history;
        for (int i = 1; i <= seen; i++) {
            const int at = (row[LM_ROW_HEADS + p->ring] + p->history - i) % p->history;
            const size_t entry = (size_t)row[LM_ROW_SLOT] * (size_t)p->history + (size_t)at;
            lm_case_fill(history, random, 1, 0, entry * channels, channels, -1, 1);
        }
    }
}

static void build_state(lm_case *c, const conv_row *row, lm_case_random *random)
{
    const lm_conv_params *p = &c->params.conv;
    c->record = record_state;
    c->work = (double)p->batch * (p->length < p->history ? p->length : p->history) * p->channels;
    /* The table is made first, for it says how long x is, but bound second. */
    const size_t rows = add_rows(c, random, row);
    add_x(c, random, row, rows);
    const lm_case_buffer table = c->buffers[0];
    c->buffers[0] = c->buffers[1];
    c->buffers[1] = table;
    /* Copies are exact. */
    const size_t slots = (size_t)lm_case_slots(p->batch);
    lm_case_buffer *history = lm_case_output(c, "history", slots * (size_t)p->history * (size_t)p->channels, 0, 1);
    if (!c->failed)
        fill_history(history, random, p, lm_case_ints(&c->buffers[1]));
}

/* A few channels of every sequence. */
static void cut(const lm_case *c, unsigned index, lm_case *part, lm_case_cut *cuts)
{
    enum { X, WEIGHT, BIASES, GATE, DILATIONS, HISTORY, ROWS, OUT, PART_CHANNELS = 8 };
    const lm_conv_params *p = &c->params.conv;
    lm_conv_params *q = &part->params.conv;
    const size_t all = (size_t)p->channels, few = p->channels < PART_CHANNELS ? all : PART_CHANNELS;
    const size_t first = lm_case_part_first(index, all, few);
    const size_t rows = (c->buffers[X].count - (size_t)p->x_offset - all) / (size_t)p->x_stride + 1;
    cuts[X] = (lm_case_cut){(size_t)p->x_offset + first, (size_t)p->x_stride, rows, few};
    cuts[OUT] = (lm_case_cut){first, (size_t)p->out_stride, rows, few};
    static const int dense[] = {WEIGHT, BIASES, HISTORY};
    for (int i = 0; i < 3; i++)
        cuts[dense[i]] = (lm_case_cut){first, all, c->buffers[dense[i]].count / all, few};
    q->channels = q->x_stride = q->out_stride = (int)few;
    q->x_offset = 0;
}

static void build_conv(lm_case *c, const conv_row *row, lm_case_random *random)
{
    const lm_conv_params *p = &c->params.conv;
    const size_t channels = (size_t)p->channels, taps = (size_t)p->taps, branches = (size_t)row->branches;
    c->record = record_conv;
    c->cut = row->flags & CONCAT ? NULL : cut;
    c->work = (double)p->batch * p->length * p->channels * p->taps * p->branches;

    const size_t rows = add_rows(c, random, row);
    lm_case_buffer table = c->buffers[--c->buffer_count];
    add_x(c, random, row, rows);
    lm_case_buffer *weight = lm_case_input(c, "weight", branches * taps * channels);
    lm_case_fill(weight, random, 1, 0, 0, weight->count, -1, 1);
    if (row->flags & BIAS)
        lm_case_fill(lm_case_input(c, "bias", branches * channels), random, 1, 0, 0, branches * channels, -1, 1);
    else
        lm_case_absent(c, "bias");
    if (row->flags & GATES)
        lm_case_fill(lm_case_input(c, "gates", branches), random, 1, 0, 0, branches, 0.1, 1);
    else
        lm_case_absent(c, "gates");
    lm_case_buffer *dilations = lm_case_input(c, "dilations", branches);
    const size_t slots = (size_t)lm_case_slots(p->batch);
    const size_t past = slots * (size_t)p->history * channels;
    lm_case_buffer *history = c->kernel == LM_KERNEL_CONV_WINDOW ? lm_case_output(c, "history", past, 0, 1)
                                                                 : lm_case_input(c, "history", past);
    c->buffers[c->buffer_count++] = table;
    if (!c->failed)
        fill_history(history, random, p, lm_case_ints(&table));
    /* A sum of taps, a SiLU of 4 units in the last place, a sum of branches: rounding grows with the root of their number.
     * Results of many branches without gates are larger, which max|reference| sees to. */
    const double terms = (double)p->taps * (row->flags & CONCAT ? 1 : p->branches);
    lm_case_buffer *out = lm_case_output(c, "out", (rows - 1) * (size_t)p->out_stride
                                             + (row->flags & CONCAT ? (size_t)p->branches : 1) * channels,
                                         0x1p-24 * (8 + 2 * sqrt(terms)), 0.5);
    if (c->failed)
        return;
    for (int i = 0; i < row->branches; i++)
        lm_case_ints(dilations)[i] = dilation_of(row, i);
    if (row->input == INPUT_SWEEP) {
        for (size_t i = 0; i < weight->count; i++)
            lm_case_floats(weight)[i] = 1.0f;
        out->elementwise = true;
        out->tolerance = 4 * 0x1p-23;
    }
}

static void build_row(lm_case *c, const conv_row *row, lm_case_random *random)
{
    static const char *const inputs[] = {
        [INPUT_UNIFORM] = "", [INPUT_SWEEP] = " sweep", [INPUT_NOT_FINITE] = " not finite", [INPUT_WIDE] = " wide"};
    lm_conv_params *p = &c->params.conv;
    set_params(p, row);
    snprintf(c->name, sizeof c->name,
             "%s batch=%d length=%d channels=%d taps=%d branches=%d+%d dilation=%d history=%d%s%s%s%s%s%s",
             lm_kernel_get(c->kernel)->stem, p->batch, p->length, p->channels, p->taps, p->branch_first, p->branches,
             row->dilation, p->history, row->flags & BIAS ? " bias" : "", row->flags & GATES ? " gates" : "",
             row->flags & CONCAT ? " concat" : "", row->ragged ? " ragged" : "", row->strided ? " strided" : "",
             inputs[row->input]);
    if (c->kernel != LM_KERNEL_CONV_STATE)
        build_conv(c, row, random);
    else
        build_state(c, row, random);
}

static void build(lm_case *c, const lm_device *device, size_t index, lm_case_random *random)
{
    (void)device;
    build_row(c, row_of(c->kernel, index), random);
}

/* The kernel that a block takes. */
static lm_status build_shape(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random)
{
    conv_row row = {1, 1024, 1024, 3, 4, 1, 2, 0, 0, 0, false, false, BIAS | GATES, INPUT_UNIFORM, LARGE};
    static const lm_case_key keys[] = {{"B", offsetof(conv_row, batch)}, {"L", offsetof(conv_row, length)},
                                       {"Di", offsetof(conv_row, channels)}, {"K", offsetof(conv_row, taps)},
                                       {"m", offsetof(conv_row, branches)}};
    lm_status status = lm_case_parse(shape, keys, sizeof keys / sizeof *keys, &row);
    if (status != LM_OK)
        return status;
    if (row.branches > 16)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "shape '%s': dilations double, so m is at most 16", shape);
    uint32_t dilations[16];
    for (int i = 0; i < row.branches; i++)
        dilations[i] = (uint32_t)dilation_of(&row, i);
    set_params(&c->params.conv, &row);
    if (c->kernel == LM_KERNEL_CONV)
        c->kernel = lm_conv_kernel(device, &c->params.conv, dilations);
    build_row(c, &row, random);
    return LM_OK;
}

const lm_case_family lm_case_family_conv = {count, tags_of, build, build_shape};
