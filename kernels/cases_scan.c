/* kernels/cases_scan.c: rows for scan and scan_tiled (one chunk), and for time cut into chunks: by hand for scan_ends and
 * scan_tiled, and for scan_summary, as planned for scan_carry. All that a scan takes runs, and all its results are compared.
 *
 * The reference of a cut scan is that of the whole one for y and state: cutting must not be seen in them. What summary and
 * carry leave, the state in which each chunk starts, and the chunk's sum of Δ, is compared with their own references. */
#include "kernels/cases.h"
#include "kernels/reference/reference.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum scan_input {
    INPUT_USUAL,      /* Δ from 0.001 to 0.1, A from −1 to −d_state: a trained block */
    INPUT_SLOW,       /* Δ from 1e-6 to 1e-4: next to nothing decays */
    INPUT_FAST,       /* Δ from 0 to 8: all is forgotten at once, exp underflows */
    INPUT_SWEEP,      /* one token, no input: exp over the whole range of its argument, element by element */
    INPUT_NOT_FINITE,
} scan_input;

enum { PLANNED = 0 };

typedef struct scan_row {
    int batch, length, channels, d_state;
    int chunk_length;  /* PLANNED: as lm_scan_plan says; length or more: one chunk */
    bool ragged, strided, gate;
    scan_input input;
    unsigned tags;
    lm_scan_form form; /* of scan_tiled */
} scan_row;

enum { QUICK = LM_CASE_QUICK, SMALL = LM_CASE_SMALL, LARGE = LM_CASE_LARGE };

static const scan_row whole_table[] = {
    {1, 1, 1, 1, 1, false, false, true, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {2, 7, 5, 3, 7, false, true, true, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {3, 5, 17, 17, 5, true, true, false, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {1, 1, 64, 16, 1, false, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {4, 1, 33, 16, 1, true, true, true, INPUT_USUAL, 0, {0, 0}},
    {1, 15, 16, 1, 15, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 16, 15, 2, 16, false, false, false, INPUT_USUAL, 0, {0, 0}},
    {1, 17, 31, 4, 17, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 31, 32, 5, 31, false, true, true, INPUT_USUAL, 0, {0, 0}},
    {1, 32, 33, 8, 32, false, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {2, 33, 63, 9, 33, true, false, true, INPUT_USUAL, 0, {0, 0}},
    {2, 64, 64, 15, 64, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {2, 65, 65, 16, 65, true, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 20, 127, 17, 20, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 40, 19, 32, 40, false, false, false, INPUT_USUAL, 0, {0, 0}},
    {1, 29, 37, 33, 29, false, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {2, 50, 23, 64, 50, true, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 37, 11, 255, 37, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 40, 13, 256, 40, false, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {5, 40, 257, 16, 40, true, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 30, 1025, 16, 30, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 4099, 3, 16, 4099, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 2500, 17, 4, 2500, false, true, true, INPUT_SLOW, 0, {0, 0}},
    {1, 100, 19, 16, 100, false, false, true, INPUT_FAST, QUICK, {0, 0}},
    {1, 1, 512, 2, 1, false, false, false, INPUT_SWEEP, QUICK, {0, 0}},
    {3, 30, 21, 17, 30, true, true, true, INPUT_NOT_FINITE, QUICK, {0, 0}},
    {1, 512, 512, 16, 512, false, false, true, INPUT_USUAL, LARGE, {0, 0}},
    {32, 8, 700, 16, 8, true, false, true, INPUT_USUAL, 0, {0, 0}},
};

static const scan_row cut_table[] = {
    {1, 2, 1, 1, 1, false, false, true, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {2, 9, 5, 3, 4, true, true, true, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {1, 12, 17, 17, 3, false, false, false, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {1, 17, 33, 16, 1, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 64, 31, 16, 32, false, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {3, 65, 64, 4, 32, true, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {4, 63, 65, 8, 32, true, true, true, INPUT_USUAL, 0, {0, 0}},
    {1, 101, 15, 2, 7, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {2, 100, 19, 33, 50, true, false, false, INPUT_USUAL, 0, {0, 0}},
    {2, 50, 13, 64, 49, true, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 77, 11, 256, 19, false, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 1031, 5, 16, 13, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 4099, 3, 16, 64, false, true, true, INPUT_USUAL, 0, {0, 0}},
    {1, 2500, 17, 4, 100, false, false, true, INPUT_SLOW, 0, {0, 0}},
    {1, 200, 19, 16, 25, false, false, true, INPUT_FAST, QUICK, {0, 0}},
    {2, 60, 21, 17, 16, true, true, true, INPUT_NOT_FINITE, 0, {0, 0}},
    {1, 300, 1025, 16, 75, false, false, true, INPUT_USUAL, LARGE, {0, 0}},
};

static const scan_row planned_table[] = {
    {1, 3, 2, 2, 2, false, false, true, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {1, 20, 3, 5, 2, false, true, true, INPUT_USUAL, QUICK | SMALL, {0, 0}},
    {2, 10, 9, 16, 5, true, false, false, INPUT_USUAL, SMALL, {0, 0}},
    {1, 63, 16, 16, PLANNED, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {1, 64, 16, 16, PLANNED, false, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 257, 48, 16, PLANNED, false, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {3, 200, 7, 40, PLANNED, true, true, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 1024, 1, 1, PLANNED, false, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 4099, 5, 16, PLANNED, false, false, true, INPUT_USUAL, 0, {0, 0}},
    {2, 3001, 8, 4, PLANNED, true, true, true, INPUT_SLOW, 0, {0, 0}},
    {1, 999, 9, 16, PLANNED, false, false, false, INPUT_FAST, 0, {0, 0}},
    {2, 150, 10, 20, PLANNED, true, false, true, INPUT_NOT_FINITE, 0, {0, 0}},
    {1, 40, 1300, 16, PLANNED, false, false, true, INPUT_USUAL, QUICK, {0, 0}},  /* in tiles on a large GPU */
    {1, 40, 6500, 16, PLANNED, false, false, true, INPUT_USUAL, QUICK, {0, 0}},
    {1, 1024, 512, 16, PLANNED, false, false, true, INPUT_USUAL, LARGE, {0, 0}},
};

/* Forms that a device would not choose are slow to build there: none is quick, planned_table has those.
 * All of a tile, some of it, tiles and a rest, fewer and more channels than a group has, parts of all groups of states. */
static const scan_row tiled_table[] = {
    {1, 1, 1, 1, 1, false, false, true, INPUT_USUAL, SMALL, {1, 1}},
    {2, 7, 5, 3, 7, false, true, true, INPUT_USUAL, SMALL, {1, 2}},
    {1, 5, 3, 16, 5, false, false, true, INPUT_USUAL, SMALL, {8, 2}},
    {1, 16, 32, 16, 16, false, false, true, INPUT_USUAL, 0, {1, 1}},
    {2, 33, 33, 8, 33, true, true, true, INPUT_USUAL, 0, {1, 1}},
    {3, 47, 31, 17, 47, true, false, false, INPUT_USUAL, 0, {1, 1}},
    {3, 31, 17, 4, 31, true, false, true, INPUT_USUAL, 0, {1, 2}},
    {1, 50, 129, 29, 50, false, false, true, INPUT_USUAL, 0, {1, 2}},
    {1, 32, 16, 16, 32, false, false, true, INPUT_USUAL, 0, {4, 2}},
    {2, 100, 19, 5, 100, true, true, true, INPUT_USUAL, 0, {4, 2}},
    {1, 64, 8, 16, 64, false, false, true, INPUT_USUAL, 0, {8, 2}},
    {3, 200, 21, 33, 200, true, true, true, INPUT_USUAL, 0, {8, 2}},
    {1, 1031, 3, 16, 1031, false, false, true, INPUT_USUAL, 0, {8, 2}},
    {1, 500, 17, 16, 500, false, true, true, INPUT_SLOW, 0, {1, 1}},
    {1, 500, 17, 16, 500, false, false, true, INPUT_SLOW, 0, {8, 2}},
    {1, 100, 19, 16, 100, false, false, true, INPUT_FAST, 0, {1, 1}},
    {3, 30, 21, 17, 30, true, true, true, INPUT_NOT_FINITE, 0, {1, 1}},
    {3, 90, 21, 16, 90, true, true, true, INPUT_NOT_FINITE, 0, {1, 2}},
    {3, 90, 21, 17, 90, true, true, true, INPUT_NOT_FINITE, 0, {8, 2}},
    {1, 512, 512, 16, 512, false, false, true, INPUT_USUAL, LARGE, {1, 1}},
};

/* Chunks of whole tiles: one tile, several; sequences that end in the last chunk, before it and nowhere; more chunks than are
 * added up at a time. Where what came long ago is forgotten within a chunk, and where it is not. */
static const scan_row ends_table[] = {
    {1, 33, 5, 1, 16, false, false, true, INPUT_USUAL, SMALL, {1, 1}},
    {3, 40, 9, 5, 16, true, true, true, INPUT_USUAL, SMALL, {1, 1}},
    {3, 40, 9, 5, 16, true, true, true, INPUT_USUAL, 0, {1, 2}},
    {1, 48, 33, 16, 16, false, false, false, INPUT_USUAL, 0, {1, 1}},
    {4, 100, 31, 16, 32, true, true, true, INPUT_USUAL, 0, {1, 1}},
    {2, 65, 17, 29, 64, true, false, true, INPUT_USUAL, 0, {1, 2}},
    {1, 300, 7, 8, 16, false, true, true, INPUT_USUAL, 0, {1, 1}},
    {1, 1031, 3, 16, 512, false, false, true, INPUT_USUAL, 0, {1, 1}},
    {1, 2500, 17, 4, 608, false, false, true, INPUT_SLOW, 0, {1, 1}},
    {3, 1200, 33, 29, 528, true, true, true, INPUT_USUAL, 0, {1, 1}},
    {2, 4099, 3, 16, 128, true, true, true, INPUT_SLOW, 0, {1, 2}},
    {1, 200, 19, 16, 48, false, false, true, INPUT_FAST, 0, {1, 1}},
    {3, 90, 21, 17, 32, true, true, true, INPUT_NOT_FINITE, 0, {1, 1}},
    {1, 6500, 3, 16, 3200, false, false, true, INPUT_NOT_FINITE, 0, {1, 1}},
    {1, 512, 512, 16, 64, false, false, true, INPUT_USUAL, LARGE, {1, 1}},
};

static size_t count(lm_kernel_id kernel)
{
    return kernel == LM_KERNEL_SCAN           ? sizeof whole_table / sizeof *whole_table
           : kernel == LM_KERNEL_SCAN_TILED   ? sizeof tiled_table / sizeof *tiled_table
           : kernel == LM_KERNEL_SCAN_ENDS    ? sizeof ends_table / sizeof *ends_table
           : kernel == LM_KERNEL_SCAN_SUMMARY ? sizeof cut_table / sizeof *cut_table
                                              : sizeof planned_table / sizeof *planned_table;
}

static const scan_row *row_of(lm_kernel_id kernel, size_t index)
{
    return kernel == LM_KERNEL_SCAN           ? &whole_table[index]
           : kernel == LM_KERNEL_SCAN_TILED   ? &tiled_table[index]
           : kernel == LM_KERNEL_SCAN_ENDS    ? &ends_table[index]
           : kernel == LM_KERNEL_SCAN_SUMMARY ? &cut_table[index]
                                              : &planned_table[index];
}

static unsigned tags_of(lm_kernel_id kernel, size_t index)
{
    return row_of(kernel, index)->tags;
}

static lm_scan_views bind(const lm_view *views)
{
    return (lm_scan_views){views[0], views[1], views[2], views[3], views[4], views[5],
                           views[6], views[7], views[8], views[9], views[10]};
}

/* The library's own choice. */
static lm_status record(const lm_case *c, lm_list *list, const lm_view *views)
{
    const lm_scan_views bound = bind(views);
    return lm_launch_scan(list, &c->params.scan, &bound);
}

static lm_status record_untiled(const lm_case *c, lm_list *list, const lm_view *views)
{
    const lm_scan_views bound = bind(views);
    return lm_launch_scan_untiled(list, &c->params.scan, &bound);
}

static lm_status record_tiled(const lm_case *c, lm_list *list, const lm_view *views)
{
    const lm_scan_views bound = bind(views);
    const lm_scan_form form = {(uint32_t)c->spec[1], (uint32_t)c->spec[2]};
    return lm_launch_scan_tiled(list, &c->params.scan, &bound, form);
}

static void reference(const lm_case *c, void *const *buffers)
{
    enum { U, DELTA, A, BC, D, Z, ROWS, STATE, Y, SUMMARY, TOTAL };
    const int32_t spec[LM_MAX_SPEC] = {1, 1, 1, c->params.scan.d_state};
    lm_scan_params p = c->params.scan;
    if (p.chunks > 1 && c->spec[0] == LM_KERNEL_SCAN_ENDS) {
        lm_reference_scan_ends(&p, spec, (void *[]){buffers[U], buffers[DELTA], buffers[A], buffers[BC], buffers[ROWS],
                                                    buffers[STATE], buffers[SUMMARY]});
    } else if (p.chunks > 1) {
        /* The carry moves the state on, and so does the whole scan below: the carry gets a copy. */
        const lm_case_buffer *state = &c->buffers[STATE];
        void *copy = malloc(state->count * sizeof(float));
        if (!copy)
            return; /* the outputs stay poisoned, which no device matches */
        for (size_t i = 0; i < state->count; i++)
            ((uint32_t *)copy)[i] = ((const uint32_t *)buffers[STATE])[i];
        lm_reference_scan_summary(&p, spec, (void *[]){buffers[U], buffers[DELTA], buffers[A], buffers[BC], buffers[ROWS],
                                                       buffers[SUMMARY], buffers[TOTAL]});
        lm_reference_scan_carry(&p, spec, (void *[]){buffers[A], buffers[TOTAL], buffers[ROWS], buffers[SUMMARY], copy});
        free(copy);
    }
    p.chunks = 1;
    p.chunk_length = p.length;
    lm_reference_scan(&p, spec, buffers);
}

static void set_params(lm_scan_params *p, const scan_row *row, const lm_device *device)
{
    const bool strided = row->strided;
    const int dt_rank = strided ? 3 : 0; /* B and C follow the low-rank Δ in one array, as in the block */
    *p = (lm_scan_params){
        .batch = row->batch,
        .length = row->length,
        .channels = row->channels,
        .d_state = row->d_state,
        .u_stride = row->channels + (strided ? 2 : 0),
        .delta_stride = row->channels + (strided ? 4 : 0),
        .bc_stride = dt_rank + 2 * row->d_state + (strided ? 1 : 0),
        .b_offset = dt_rank,
        .c_offset = dt_rank + row->d_state,
        .z_stride = strided ? 2 * row->channels + 1 : row->channels,
        .z_offset = strided ? row->channels : 0,
        .y_stride = row->channels + (strided ? 1 : 0),
        .rows_stride = LM_ROW_HEADS + (strided ? 2 : 0),
        .flags = row->gate ? LM_SCAN_GATE : 0,
    };
    if (row->chunk_length == PLANNED) {
        lm_scan_plan(device, p);
    } else {
        p->chunk_length = row->chunk_length;
        p->chunks = (row->length + row->chunk_length - 1) / row->chunk_length;
    }
}

/* (d_state, channels), from −1 to −d_state as at initialisation, give or take. */
static void fill_a(lm_case_buffer *a, lm_case_random *random, const scan_row *row)
{
    const size_t channels = (size_t)row->channels;
    for (int n = 0; n < row->d_state; n++)
        lm_case_fill(a, random, 1, 0, (size_t)n * channels, channels, -(n + 1) * 1.25, -(n + 1) * 0.8);
}

static void set_not_finite(lm_case *c, lm_case_buffer *u, lm_case_buffer *delta, size_t rows)
{
    const lm_scan_params *p = &c->params.scan;
    lm_case_floats(u)[(rows / 2) * (size_t)p->u_stride + 2] = NAN;
    lm_case_floats(u)[(rows / 3) * (size_t)p->u_stride + 1] = INFINITY;
    lm_case_floats(delta)[(rows / 2) * (size_t)p->delta_stride + (size_t)p->channels - 1] = NAN;
}

/* Δ 1, state 1, u 0: the new state is exp(A). */
static void set_sweep(lm_case *c, lm_case_buffer *u, lm_case_buffer *delta, lm_case_buffer *a, lm_case_buffer *state)
{
    const size_t count_a = a->count;
    for (size_t i = 0; i < u->count; i++)
        lm_case_floats(u)[i] = 0.0f;
    for (size_t i = 0; i < delta->count; i++)
        lm_case_floats(delta)[i] = 1.0f;
    for (size_t i = 0; i < count_a; i++)
        lm_case_floats(a)[i] = i == 0 ? -0.0f : i < 64 ? -ldexpf(1.0f, 6 - (int)i) : -100.0f * (float)i / (float)count_a;
    for (size_t i = count_a; i < state->count; i++)
        lm_case_floats(state)[i] = 1.0f;
    (void)c;
}

/* A few channels of every sequence. */
static void cut(const lm_case *c, unsigned index, lm_case *part, lm_case_cut *cuts)
{
    enum { U, DELTA, A, BC, D, Z, ROWS, STATE, Y, SUMMARY, TOTAL, PART_CHANNELS = 4 };
    const lm_scan_params *p = &c->params.scan;
    lm_scan_params *q = &part->params.scan;
    const size_t all = (size_t)p->channels, few = p->channels < PART_CHANNELS ? all : PART_CHANNELS;
    const size_t first = lm_case_part_first(index, all, few);
    const size_t rows = (c->buffers[U].count - all) / (size_t)p->u_stride + 1;
    cuts[U] = (lm_case_cut){first, (size_t)p->u_stride, rows, few};
    cuts[DELTA] = (lm_case_cut){first, (size_t)p->delta_stride, rows, few};
    cuts[Z] = (lm_case_cut){(size_t)p->z_offset + first, (size_t)p->z_stride, rows, few};
    cuts[Y] = (lm_case_cut){first, (size_t)p->y_stride, rows, few};
    cuts[A] = (lm_case_cut){first, all, (size_t)p->d_state, few};
    cuts[D] = (lm_case_cut){first, 0, 1, few};
    static const int dense[] = {STATE, SUMMARY, TOTAL};
    for (int i = 0; i < 3; i++)
        cuts[dense[i]] = (lm_case_cut){first, all, c->buffers[dense[i]].count / all, few};
    q->channels = q->u_stride = q->delta_stride = q->z_stride = q->y_stride = (int)few;
    q->z_offset = 0;
}

/* How a row is recorded: `record` of lm_case. */
typedef lm_status record_function(const lm_case *c, lm_list *list, const lm_view *views);

static void build_row(lm_case *c, const lm_device *device, const scan_row *row, record_function *how, lm_case_random *random)
{
    lm_scan_params *p = &c->params.scan;
    set_params(p, row, device);
    if (c->kernel == LM_KERNEL_SCAN_ENDS && lm_scan_kernel(device, p, row->form) != LM_KERNEL_SCAN_ENDS) {
        p->chunks = 1; /* scan_summary's rows have them, and infinite states do not outlast its longest chunks */
        p->chunk_length = p->length;
    }
    char form[40] = "";
    if (row->form.segments > 0) snprintf(form, sizeof form, " form=%ux%u", row->form.segments, row->form.width);
    snprintf(c->name, sizeof c->name, "%s batch=%d length=%d channels=%d d_state=%d chunks=%dx%d%s%s%s%s%s",
             lm_kernel_get(c->kernel)->stem, p->batch, p->length, p->channels, p->d_state, p->chunks, p->chunk_length, form,
             row->gate ? " gate" : "", row->ragged ? " ragged" : "", row->strided ? " strided" : "",
             row->input == INPUT_SLOW         ? " slow"
             : row->input == INPUT_FAST       ? " fast"
             : row->input == INPUT_SWEEP      ? " sweep"
             : row->input == INPUT_NOT_FINITE ? " not finite"
                                              : "");
    c->record = how;
    const bool ends = how != record_untiled && lm_scan_kernel(device, p, row->form) == LM_KERNEL_SCAN_ENDS;
    c->spec[0] = ends ? LM_KERNEL_SCAN_ENDS : LM_KERNEL_SCAN;
    c->spec[1] = (int32_t)row->form.segments;
    c->spec[2] = (int32_t)row->form.width;
    c->cut = cut;
    c->reference = reference;
    c->work = (double)p->batch * p->length * p->channels * p->d_state * (p->chunks > 1 ? 3 : 2);

    const size_t channels = (size_t)p->channels, d_state = (size_t)p->d_state, slots = (size_t)lm_case_slots(p->batch);
    const size_t rows = lm_case_row_table(c, random, p->batch, p->length, row->ragged, p->rows_stride,
                                          p->rows_stride - LM_ROW_HEADS, 1);
    const lm_case_buffer table = c->buffers[--c->buffer_count];
    lm_case_buffer *u = lm_case_input(c, "u", (rows - 1) * (size_t)p->u_stride + channels);
    lm_case_fill(u, random, rows, (size_t)p->u_stride, 0, channels, -1, 1);
    lm_case_buffer *delta = lm_case_input(c, "delta", (rows - 1) * (size_t)p->delta_stride + channels);
    const double low = row->input == INPUT_SLOW ? 1e-6 : row->input == INPUT_FAST ? 0 : 1e-3;
    const double high = row->input == INPUT_SLOW ? 1e-4 : row->input == INPUT_FAST ? 8 : 0.1;
    lm_case_fill(delta, random, rows, (size_t)p->delta_stride, 0, channels, low, high);
    lm_case_buffer *a = lm_case_input(c, "a", d_state * channels);
    fill_a(a, random, row);
    lm_case_buffer *bc = lm_case_input(c, "bc", rows * (size_t)p->bc_stride);
    lm_case_fill(bc, random, rows, (size_t)p->bc_stride, (size_t)p->b_offset, 2 * d_state, -1, 1);
    lm_case_buffer *d = lm_case_input(c, "d", channels);
    lm_case_fill(d, random, 1, 0, 0, channels, 0.5, 1.5);
    if (row->gate) {
        lm_case_buffer *z = lm_case_input(c, "z", (size_t)p->z_offset + (rows - 1) * (size_t)p->z_stride + channels);
        lm_case_fill(z, random, rows, (size_t)p->z_stride, (size_t)p->z_offset, channels, -3, 3);
    } else {
        lm_case_absent(c, "z");
    }
    c->buffers[c->buffer_count++] = table;

    /* A state forgets with 1/(Δ·|A|), so that roundings of some hundred updates are alive in it at a time, each of at most
     * 2⁻²⁴ and as often up as down: their sum is 2⁻²⁴·√hundreds. exp(Δ·A) adds 2 units in the last place. Where next to
     * nothing decays all updates are alive, and are written as s += expm1(Δ·A)·s so that the decay is not lost. */
    const double alive = row->input == INPUT_FAST ? 1 : row->input == INPUT_SLOW ? p->length : fmin(p->length, 400);
    const double tolerance = 0x1p-24 * (8 + 2 * sqrt(alive));
    lm_case_buffer *state = lm_case_output(c, "state", slots * d_state * channels, tolerance, 0);
    for (int b = 0; b < p->batch && !c->failed; b++) {
        /* The state of a sequence without a past stays poisoned. */
        int32_t *entry = lm_case_ints(&c->buffers[6]) + (size_t)b * (size_t)p->rows_stride;
        if (row->input == INPUT_SWEEP)
            entry[LM_ROW_SEEN] = 1;
        if (entry[LM_ROW_SEEN] > 0)
            lm_case_fill(state, random, 1, 0, (size_t)entry[LM_ROW_SLOT] * d_state * channels, d_state * channels, -1, 1);
    }
    /* y adds d_state products to that. */
    lm_case_buffer *y = lm_case_output(c, "y", (rows - 1) * (size_t)p->y_stride + channels,
                                       tolerance + 0x1p-24 * sqrt((double)d_state), 1);
    if (p->chunks > 1) {
        const size_t total = (size_t)p->batch * (size_t)p->chunks * channels;
        lm_case_output(c, "summary", total * (d_state + ends), tolerance, 0);
        if (ends) lm_case_absent(c, "total");
        else lm_case_output(c, "total", total, 0x1p-24 * (2 + sqrt((double)p->chunk_length)), 0);
    } else {
        lm_case_absent(c, "summary");
        lm_case_absent(c, "total");
    }
    if (c->failed)
        return;
    if (row->input == INPUT_NOT_FINITE) {
        set_not_finite(c, u, delta, rows);
    } else if (row->input == INPUT_SWEEP) {
        set_sweep(c, u, delta, a, state);
        state->elementwise = true;
        state->tolerance = 2 * 0x1p-23;
        y->tolerance = 0x1p-20;
    }
}

static void build(lm_case *c, const lm_device *device, size_t index, lm_case_random *random)
{
    const scan_row *row = row_of(c->kernel, index);
    const bool untiled = c->kernel == LM_KERNEL_SCAN || c->kernel == LM_KERNEL_SCAN_SUMMARY;
    build_row(c, device, row, row->form.segments > 0 ? record_tiled : untiled ? record_untiled : record, random);
}

static lm_status build_shape(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random)
{
    scan_row row = {1, 1024, 1024, 16, PLANNED, false, false, true, INPUT_USUAL, LARGE, {0, 0}};
    static const lm_case_key keys[] = {{"B", offsetof(scan_row, batch)}, {"L", offsetof(scan_row, length)},
                                       {"Di", offsetof(scan_row, channels)}, {"N", offsetof(scan_row, d_state)}};
    lm_status status = lm_case_parse(shape, keys, sizeof keys / sizeof *keys, &row);
    if (status != LM_OK)
        return status;
    build_row(c, device, &row, record, random);
    return LM_OK;
}

const lm_case_family lm_case_family_scan = {count, tags_of, build, build_shape};
