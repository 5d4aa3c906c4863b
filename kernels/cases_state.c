/* kernels/cases_state.c: rows for state_copy. */
#include "kernels/cases.h"

#include <math.h>
#include <stdio.h>

typedef struct state_row {
    int batch, words;
    bool ragged, strided;
    unsigned tags;
} state_row;

enum { QUICK = LM_CASE_QUICK, SMALL = LM_CASE_SMALL, LARGE = LM_CASE_LARGE };

/* Words around lanes × vector width. */
static const state_row table[] = {
    {1, 1, false, false, QUICK | SMALL},  {3, 17, true, true, QUICK | SMALL},
    {2, 16, false, false, QUICK | SMALL}, {1, 15, false, false, 0},
    {5, 33, true, false, QUICK},          {4, 64, true, true, 0},
    {9, 127, true, false, QUICK},         {2, 256, false, true, 0},
    {3, 1025, true, false, QUICK},        {1, 20000, false, false, QUICK},
    {70, 48, true, true, QUICK},          {64, 24576, false, false, LARGE},
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
    return lm_launch_state_copy(list, &c->params.state_copy, views[0], views[1]);
}

/* The entries that are read lie behind those that may be written; the ones in between and the first are neither. */
static void build_row(lm_case *c, const state_row *row, lm_case_random *random)
{
    const int stride = LM_ROW_HEADS + (row->strided ? 3 : 1), slots = lm_case_slots(row->batch);
    const size_t words = (size_t)row->words;
    snprintf(c->name, sizeof c->name, "state_copy batch=%d words=%d%s%s", row->batch, row->words, row->ragged ? " ragged" : "",
             row->strided ? " strided" : "");
    c->params.state_copy = (lm_state_copy_params){row->batch, row->words, stride};
    c->record = record;
    c->work = (double)row->batch * row->words;
    lm_case_row_table(c, random, row->batch, 1, row->ragged, stride, stride - LM_ROW_HEADS, 1);
    lm_case_buffer *state = lm_case_output(c, "state", (size_t)(slots + row->batch + 1) * words, 0, 1); /* a copy */
    if (c->failed)
        return;
    int32_t *rows = lm_case_ints(&c->buffers[0]);
    for (int b = 0; b < row->batch; b++, rows += stride) {
        rows[LM_ROW_FROM] = slots + 1 + (b + 1) % row->batch;
        if (b == row->batch - 1) /* the last one is copied */
            rows[LM_ROW_LENGTH] = rows[LM_ROW_SEEN] = 1;
    }
    float *values = lm_case_floats(state);
    for (size_t i = (size_t)(slots + 1) * words; i < state->count; i++)
        values[i] = lm_case_uniform(random, -1, 1);
    values[state->count - 1] = NAN;
}

static void build(lm_case *c, const lm_device *device, size_t index, lm_case_random *random)
{
    (void)device;
    build_row(c, &table[index], random);
}

static lm_status build_shape(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random)
{
    (void)device;
    state_row row = {8, 24576, false, false, LARGE};
    static const lm_case_key keys[] = {{"B", offsetof(state_row, batch)}, {"C", offsetof(state_row, words)}};
    lm_status status = lm_case_parse(shape, keys, sizeof keys / sizeof *keys, &row);
    if (status == LM_OK)
        build_row(c, &row, random);
    return status;
}

const lm_case_family lm_case_family_state = {count, tags_of, build, build_shape};
