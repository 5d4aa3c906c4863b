/* host/pass.c: records a whole model for a number of sequences and tokens once, and replays it.
 *
 * A pass is a command list over the model's shared workspace. What changes from run to run (which slots, ring heads, tokens) lies
 * in one small buffer that the host writes before each run. Passes are kept, most recently used first, so that a streaming step
 * or a benchmark's call is an upload, a submit and a download. */
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"

struct lm_pass {
    lm_pass_key key;
    lm_list *list;
    lm_buffer *input;      /* the row table, tokens, targets; small inputs */
    int32_t *shadow;       /* the host's copy of the row table, tokens and targets, laid out as in `input` */
    uint64_t shadow_bytes;
    lm_view rows, tokens, targets;
    lm_view x;             /* bare block: input (rows, d_model) */
    lm_buffer *small_output; /* where the result is small, else NULL */
    lm_view output;        /* the result, dense */
    uint64_t row_elements; /* 4-byte elements of the result: a row, or a sequence for LAST and ARGMAX */
};

enum {
    SMALL_BYTES = 256 << 10, /* inputs and outputs up to this go through host-visible memory */
    MAX_ROWS = 65535,        /* of one pass */
    ARRAYS = 16,             /* at least the parts of a workspace, each of which is aligned */
};

/* Work that one submission may hold on a GPU: drivers kill those over about 2 s, on slow devices too. */
static const double submit_flops = 2.5e11;

static bool per_row(lm_output kind) { return kind == LM_OUTPUT_ALL || kind == LM_OUTPUT_LOSS; }

/* Bytes that one row (token) takes of the workspace, logits apart. */
static uint64_t row_bytes(const lm_model *model)
{
    const lm_config *config = &model->config;
    const uint64_t di = model->d_inner, wide = config->variant == LM_VARIANT_DPWC ? di * config->branches : 0;
    /* a row's share of a chunked scan's summaries is at most d_state/32 of a row of channels, and 1/32 for their totals */
    const uint64_t summary = di * (config->d_state + 1) / 32 + 1;
    return (2 * (uint64_t)config->d_model + 7 * di + wide + config->dt_rank + 2 * config->d_state + summary) * sizeof(float);
}

/* Rows of which every array fits one binding. */
static uint64_t binding_rows(const lm_model *model, uint64_t logits)
{
    const lm_config *config = &model->config;
    const uint64_t di = model->d_inner, wide = config->variant == LM_VARIANT_DPWC ? di * config->branches : 0;
    const uint64_t widths[] = {
        2 * di, config->d_model, config->dt_rank + 2 * config->d_state, wide, di * config->d_state / 32 + 1, logits,
    };
    uint64_t widest = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) widest = widths[i] > widest ? widths[i] : widest;
    return model->device->info.max_binding_bytes / (widest * sizeof(float));
}

/* Rows that one submission may have. */
static uint64_t submission_rows(const lm_model *model, uint64_t logits)
{
    const lm_config *config = &model->config;
    const lm_device_info *info = &model->device->info;
    if (info->type == LM_DEVICE_CPU || info->type == LM_DEVICE_REFERENCE) return MAX_ROWS;
    const double di = model->d_inner, dm = config->d_model, branches = config->branches;
    const double wide = config->variant == LM_VARIANT_DPWC ? di * branches : 0.0;
    const double products = 3.0 * di * dm + 2.0 * di * (config->dt_rank + config->d_state) + wide * di;
    const double others = di * (branches * config->d_conv + 4.0 * config->d_state);
    const double rows = submit_flops / (2.0 * ((products + others) * model->block_count + (double)logits * dm));
    return rows < 64.0 ? 64 : rows < MAX_ROWS ? (uint64_t)rows : MAX_ROWS;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

void lm_pass_fit(const lm_model *model, lm_output kind, bool fresh, uint32_t *batch, uint32_t *length)
{
    const lm_device_info *info = &model->device->info;
    const uint64_t vocab = model->config.layers > 0 && kind != LM_OUTPUT_NONE ? model->config.vocab_size : 0;
    const uint64_t a_row = per_row(kind) ? vocab : 0, a_sequence = (vocab - a_row) * sizeof(float);
    uint64_t room = least(model->workspace_limit, info->max_allocation_bytes), sequences = *batch;
    const uint64_t padding = ARRAYS * (uint64_t)(info->binding_alignment + 64);
    room = room > padding ? room - padding : 1;
    if (fresh) { /* the scratch state may take as much again */
        sequences = least(sequences, lm_state_max_slots(model));
        sequences = least(sequences, room / lm_state_model_bytes(model));
    }
    if (a_sequence > 0) sequences = least(sequences, least(room / 2, info->max_binding_bytes) / a_sequence);
    if (sequences == 0) sequences = 1;
    const uint64_t logits = least(sequences * a_sequence, room);
    uint64_t rows = (room - logits) / (row_bytes(model) + a_row * sizeof(float));
    rows = least(least(rows, binding_rows(model, a_row)), least(submission_rows(model, a_row), MAX_ROWS));
    if (rows == 0) rows = 1;
    *length = (uint32_t)least(*length, rows);
    *batch = (uint32_t)least(sequences, rows / *length);
}

/* ---- recording ---------------------------------------------------------------------------------------------------------- */

typedef struct pass_layout {
    lm_view hidden, normed, logits, y;
    lm_block_workspace block;
} pass_layout;

/* Lays the workspace out; with buffer NULL it only counts. Returns the bytes. */
static uint64_t lay_out(const lm_model *model, const lm_pass_key *key, lm_buffer *buffer, pass_layout *layout)
{
    const lm_config *config = &model->config;
    const uint64_t rows = (uint64_t)key->batch * key->length, dense = rows * config->d_model * sizeof(float);
    const bool language = config->layers > 0;
    uint64_t offset = 0, logits = 0;
    if (language && per_row(key->kind)) logits = rows * config->vocab_size;
    if (language && (key->kind == LM_OUTPUT_LAST || key->kind == LM_OUTPUT_ARGMAX))
        logits = (uint64_t)key->batch * config->vocab_size;
    memset(layout, 0, sizeof *layout);
    layout->hidden = lm_arena_take(model, buffer, &offset, dense);
    layout->normed = lm_arena_take(model, buffer, &offset, language ? dense : 0);
    layout->y = lm_arena_take(model, buffer, &offset, language ? 0 : dense);
    layout->logits = lm_arena_take(model, buffer, &offset, logits * sizeof(float));
    lm_block_plan(model, key->batch, key->length, buffer, &offset, &layout->block);
    return offset;
}

static lm_status reserve_workspace(lm_model *model, uint64_t bytes)
{
    if (model->workspace != NULL && lm_buffer_size(model->workspace) >= bytes) return LM_OK;
    lm_pass_forget(model, NULL); /* they point into the old one */
    lm_buffer_destroy(&model->workspace);
    return lm_buffer_create(model->device, &(lm_buffer_params){.size = bytes}, &model->workspace);
}

/* The row table, tokens and targets, and small float inputs, in one buffer that the host writes. */
static lm_status create_input(lm_model *model, lm_pass *pass)
{
    const lm_pass_key *key = &pass->key;
    const uint64_t rows = (uint64_t)key->batch * key->length, word = sizeof(int32_t);
    const bool language = model->config.layers > 0;
    uint64_t offset = 0;
    pass->rows = lm_arena_take(model, NULL, &offset, (uint64_t)key->batch * (LM_ROW_HEADS + model->rings) * word);
    pass->tokens = lm_arena_take(model, NULL, &offset, language ? rows * word : 0);
    pass->targets = lm_arena_take(model, NULL, &offset, language && key->kind == LM_OUTPUT_LOSS ? rows * word : 0);
    pass->shadow_bytes = offset;
    const uint64_t x_bytes = rows * model->config.d_model * sizeof(float);
    const bool small_x = !language && x_bytes <= SMALL_BYTES;
    if (small_x) pass->x = lm_arena_take(model, NULL, &offset, x_bytes);
    pass->shadow = calloc(1, (size_t)pass->shadow_bytes);
    if (pass->shadow == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "recording a pass: out of memory");
    lm_status status = lm_buffer_create(
        model->device, &(lm_buffer_params){.size = offset, .host_visible = offset <= 2 * SMALL_BYTES}, &pass->input);
    lm_view *views[] = {&pass->rows, &pass->tokens, &pass->targets, &pass->x};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i]->size > 0) views[i]->buffer = pass->input;
    return status;
}

/* Puts the result into a small host-visible buffer where it fits, else leaves it at `wanted` in the workspace. */
static lm_status place_output(lm_model *model, lm_pass *pass, uint64_t bytes, lm_view wanted)
{
    pass->output = wanted;
    if (bytes > SMALL_BYTES) return LM_OK;
    lm_status status =
        lm_buffer_create(model->device, &(lm_buffer_params){.size = bytes, .host_visible = true}, &pass->small_output);
    pass->output = (lm_view){pass->small_output, 0, bytes};
    return status;
}

static lm_status record_fresh(lm_model *model, const lm_pass *pass)
{
    const lm_state *state = pass->key.state;
    lm_status status = LM_OK;
    const uint64_t entry = (uint64_t)pass->key.batch * model->d_inner * sizeof(float);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) {
        for (uint32_t r = 0; r < model->rings && status == LM_OK; r++) {
            lm_view view = state->history[(size_t)i * model->rings + r];
            view.size = entry * model->ring_length[r];
            status = lm_list_fill(pass->list, view, 0);
        }
        lm_view view = state->scan[i];
        view.size = entry * model->config.d_state;
        if (status == LM_OK) status = lm_list_fill(pass->list, view, 0);
    }
    return status;
}

static lm_status record_bare_block(lm_model *model, lm_pass *pass, const pass_layout *layout)
{
    const lm_pass_key *key = &pass->key;
    if (pass->x.buffer == NULL) pass->x = layout->hidden;
    pass->row_elements = model->config.d_model;
    lm_status status = place_output(model, pass, layout->y.size, layout->y);
    if (status != LM_OK) return status;
    return lm_block_record(model, 0, pass->list, &layout->block, key->state, pass->rows, key->batch, key->length, pass->x,
                           (lm_view){0}, pass->output);
}

/* Final norm, head, and what the caller wants of the logits. */
static lm_status record_head(lm_model *model, lm_pass *pass, const pass_layout *layout)
{
    const lm_pass_key *key = &pass->key;
    const lm_config *config = &model->config;
    const int rows = (int)(key->batch * key->length), dm = (int)config->d_model, vocab = (int)config->vocab_size;
    const lm_view none = {0};
    if (key->kind == LM_OUTPUT_NONE) return LM_OK;

    const lm_rmsnorm_params norm = {.rows = rows, .cols = dm, .epsilon = (float)config->norm_epsilon};
    lm_status status = lm_launch_rmsnorm(pass->list, &norm, layout->hidden, model->norm_f, layout->normed);
    lm_gemm_params head = {.rows = rows, .lda = dm, .ldc = vocab};
    if (!per_row(key->kind)) { /* only each sequence's last row */
        head.rows = (int)key->batch;
        head.lda = dm * (int)key->length;
        head.a_offset = dm * ((int)key->length - 1);
    }
    const uint64_t word = sizeof(float), sequences = key->batch;
    lm_view logits = layout->logits;
    if (status == LM_OK) switch (key->kind) {
        case LM_OUTPUT_ALL:
        case LM_OUTPUT_LAST:
            pass->row_elements = config->vocab_size;
            status = place_output(model, pass, layout->logits.size, layout->logits);
            logits = pass->output;
            break;
        case LM_OUTPUT_ARGMAX:
            pass->row_elements = 1;
            status = place_output(model, pass, sequences * word, layout->block.bcdt);
            break;
        case LM_OUTPUT_LOSS:
            pass->row_elements = 1;
            status = place_output(model, pass, (uint64_t)rows * word, layout->block.bcdt); /* wide enough, and free by now */
            break;
        case LM_OUTPUT_NONE: break;
    }
    if (status == LM_OK) status = lm_matrix_record(pass->list, &model->head, &head, layout->normed, none, none, logits);
    if (status == LM_OK && key->kind == LM_OUTPUT_ARGMAX) {
        const lm_argmax_params params = {.rows = head.rows, .cols = vocab, .x_stride = vocab};
        status = lm_launch_argmax(pass->list, &params, logits, pass->output);
    }
    if (status == LM_OK && key->kind == LM_OUTPUT_LOSS) {
        const lm_cross_entropy_params params = {.rows = rows, .cols = vocab, .x_stride = vocab};
        status = lm_launch_cross_entropy(pass->list, &params, logits, pass->targets, pass->output);
    }
    return status;
}

static lm_status record_language_model(lm_model *model, lm_pass *pass, const pass_layout *layout)
{
    const lm_pass_key *key = &pass->key;
    const lm_config *config = &model->config;
    const int rows = (int)(key->batch * key->length), dm = (int)config->d_model;
    lm_status status = LM_OK;
    for (size_t i = 0; i < model->embeddings.piece_count && status == LM_OK; i++) {
        const lm_matrix_piece *piece = &model->embeddings.pieces[i];
        const lm_embed_params params = {.rows = rows, .cols = dm, .first = (int)piece->first, .count = (int)piece->count};
        status = lm_launch_embed(pass->list, &params, pass->tokens, piece->view, layout->hidden);
    }
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) {
        const lm_rmsnorm_params norm = {.rows = rows, .cols = dm, .epsilon = (float)config->norm_epsilon};
        status = lm_launch_rmsnorm(pass->list, &norm, layout->hidden, model->blocks[i].norm, layout->normed);
        if (status == LM_OK)
            status = lm_block_record(model, i, pass->list, &layout->block, key->state, pass->rows, key->batch, key->length,
                                     layout->normed, layout->hidden, layout->hidden);
    }
    return status == LM_OK ? record_head(model, pass, layout) : status;
}

static void destroy_pass(lm_pass *pass)
{
    lm_list_destroy(&pass->list);
    lm_buffer_destroy(&pass->input);
    lm_buffer_destroy(&pass->small_output);
    free(pass->shadow);
    free(pass);
}

static lm_status create_pass(lm_model *model, const lm_pass_key *key, lm_pass **out)
{
    pass_layout layout;
    lm_status status = reserve_workspace(model, lay_out(model, key, NULL, &layout));
    if (status != LM_OK) return status;
    lm_pass *pass = calloc(1, sizeof *pass);
    if (pass == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "recording a pass: out of memory");
    pass->key = *key;
    lay_out(model, key, model->workspace, &layout);
    status = create_input(model, pass);
    if (status == LM_OK) status = lm_list_create(model->device, model->timed, &pass->list);
    if (status == LM_OK && key->fresh) status = record_fresh(model, pass);
    if (status == LM_OK)
        status = model->config.layers > 0 ? record_language_model(model, pass, &layout)
                                          : record_bare_block(model, pass, &layout);
    if (status == LM_OK) status = lm_list_end(pass->list);
    if (status != LM_OK) {
        destroy_pass(pass);
        return status;
    }
    *out = pass;
    return LM_OK;
}

/* ---- the cache ---------------------------------------------------------------------------------------------------------- */

static bool same_key(const lm_pass_key *a, const lm_pass_key *b)
{
    return a->state == b->state && a->batch == b->batch && a->length == b->length && a->kind == b->kind && a->fresh == b->fresh;
}

lm_status lm_pass_get(lm_model *model, const lm_pass_key *key, lm_pass **out)
{
    size_t place = 0;
    while (place < LM_PASS_CACHE && model->passes[place] != NULL && !same_key(&model->passes[place]->key, key)) place++;
    lm_pass *pass = place < LM_PASS_CACHE ? model->passes[place] : NULL;
    if (pass == NULL) {
        lm_status status = create_pass(model, key, &pass); /* may forget all others */
        if (status != LM_OK) return status;
        place = 0;
        while (place < LM_PASS_CACHE - 1 && model->passes[place] != NULL) place++;
        if (model->passes[place] != NULL) destroy_pass(model->passes[place]);
    }
    memmove(model->passes + 1, model->passes, place * sizeof(lm_pass *));
    model->passes[0] = pass;
    *out = pass;
    return LM_OK;
}

void lm_pass_forget(lm_model *model, const lm_state *state)
{
    size_t kept = 0;
    for (size_t i = 0; i < LM_PASS_CACHE && model->passes[i] != NULL; i++) {
        if (state == NULL || model->passes[i]->key.state == state)
            destroy_pass(model->passes[i]);
        else
            model->passes[kept++] = model->passes[i];
    }
    for (; kept < LM_PASS_CACHE; kept++) model->passes[kept] = NULL;
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

static int32_t *shadow_at(const lm_pass *pass, const lm_view *view) { return pass->shadow + view->offset / sizeof(int32_t); }

static void write_rows(const lm_model *model, lm_pass *pass, const lm_pass_io *io)
{
    const lm_pass_key *key = &pass->key;
    for (uint32_t b = 0; b < key->batch; b++) {
        int32_t *row = shadow_at(pass, &pass->rows) + (size_t)b * (LM_ROW_HEADS + model->rings);
        const uint64_t position = key->fresh ? 0 : key->state->positions[io->first_slot + b];
        row[LM_ROW_SLOT] = (int32_t)(io->first_slot + b);
        row[LM_ROW_START] = (int32_t)(b * key->length);
        row[LM_ROW_LENGTH] = (int32_t)key->length;
        for (uint32_t r = 0; r < model->rings; r++) row[LM_ROW_HEADS + r] = (int32_t)(position % model->ring_length[r]);
        const size_t bytes = key->length * sizeof(int32_t);
        if (pass->tokens.size > 0)
            memcpy(shadow_at(pass, &pass->tokens) + (size_t)b * key->length, io->tokens + b * io->stride, bytes);
        if (pass->targets.size > 0)
            memcpy(shadow_at(pass, &pass->targets) + (size_t)b * key->length, io->targets + b * io->stride, bytes);
    }
}

/* Between the caller's strided rows and the pass's dense ones. */
static lm_status upload_x(const lm_model *model, const lm_pass *pass, const lm_pass_io *io)
{
    const lm_pass_key *key = &pass->key;
    const size_t width = model->config.d_model;
    const uint64_t bytes = (uint64_t)key->length * width * sizeof(float);
    if (io->stride == key->length || key->batch == 1)
        return lm_buffer_upload(pass->x.buffer, pass->x.offset, io->x, bytes * key->batch);
    lm_status status = LM_OK;
    for (uint32_t b = 0; b < key->batch && status == LM_OK; b++)
        status = lm_buffer_upload(pass->x.buffer, pass->x.offset + b * bytes, io->x + b * io->stride * width, bytes);
    return status;
}

static lm_status download_output(const lm_model *model, const lm_pass *pass, const lm_pass_io *io)
{
    const lm_pass_key *key = &pass->key;
    const bool language = model->config.layers > 0;
    if (language && key->kind == LM_OUTPUT_NONE) return LM_OK;
    unsigned char *to = language ? io->output : (void *)io->y;
    const bool by_row = !language || per_row(key->kind);
    const uint64_t bytes = pass->row_elements * sizeof(float) * (by_row ? key->length : 1); /* of one sequence */
    if (!by_row || io->stride == key->length || key->batch == 1)
        return lm_buffer_download(pass->output.buffer, pass->output.offset, to, bytes * key->batch);
    const size_t step = io->stride * pass->row_elements * sizeof(float);
    lm_status status = LM_OK;
    for (uint32_t b = 0; b < key->batch && status == LM_OK; b++)
        status = lm_buffer_download(pass->output.buffer, pass->output.offset + b * bytes, to + b * step, bytes);
    return status;
}

lm_status lm_pass_run(lm_model *model, lm_pass *pass, const lm_pass_io *io)
{
    write_rows(model, pass, io);
    lm_status status = lm_buffer_upload(pass->input, 0, pass->shadow, pass->shadow_bytes);
    if (status == LM_OK && pass->x.buffer != NULL) status = upload_x(model, pass, io);
    if (status == LM_OK) status = lm_list_run(pass->list);
    if (status != LM_OK) return status;
    uint64_t *positions = pass->key.state->positions + io->first_slot;
    for (uint32_t b = 0; b < pass->key.batch; b++) positions[b] = (pass->key.fresh ? 0 : positions[b]) + pass->key.length;
    model->device_seconds += 1e-9 * lm_list_time_ns(pass->list);
    return download_output(model, pass, io);
}
