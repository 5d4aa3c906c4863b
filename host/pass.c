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
    lm_view scans;         /* the tables of lm_pass_scan_rows, where the state can be rolled back */
    lm_view last;          /* the last row of each piece, where those are gathered */
    lm_view x;             /* bare block: input (rows, d_model) */
    lm_buffer *small_output; /* where the result is small, else NULL */
    lm_view output;        /* the result, dense */
    uint64_t row_elements; /* 4-byte elements of the result: a row, or a sequence for LAST and ARGMAX */
};

enum {
    SMALL_BYTES = 1 << 20, /* inputs and outputs up to this go through host-visible memory */
    TOGETHER_BYTES = 64 << 10, /* inputs up to this are uploaded with the row table */
    MAX_ROWS = 32768,        /* of one pass; llvmpipe ends a lane after 65535 iterations, and a scan takes over one a token */
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

void lm_pass_limits(const lm_model *model, lm_output kind, bool fresh, uint32_t sequences, uint32_t *pieces, uint32_t *rows)
{
    const lm_device_info *info = &model->device->info;
    const uint64_t vocab = model->config.layers > 0 && kind != LM_OUTPUT_NONE ? model->config.vocab_size : 0;
    /* LAST and ARGMAX have logits a piece, and the row that these are made of */
    const uint64_t a_row = per_row(kind) ? vocab : 0;
    const uint64_t a_piece = vocab > a_row ? (vocab + model->config.d_model) * sizeof(float) : 0;
    uint64_t room = least(model->workspace_limit, info->max_allocation_bytes), most = sequences;
    const uint64_t padding = ARRAYS * (uint64_t)(info->binding_alignment + 64);
    room = room > padding ? room - padding : 1;
    if (fresh) { /* the scratch state may take as much again */
        most = least(most, lm_state_bank_slots(model, 0));
        most = least(most, room / lm_state_model_bytes(model, 0));
    }
    if (a_piece > 0) most = least(most, least(room / 2, info->max_binding_bytes) / a_piece);
    if (most == 0) most = 1;
    const uint64_t logits = least(most * a_piece, room);
    uint64_t fit = (room - logits) / (row_bytes(model) + a_row * sizeof(float));
    fit = least(least(fit, binding_rows(model, a_row)), least(submission_rows(model, a_row), MAX_ROWS));
    *rows = fit > 0 ? (uint32_t)fit : 1;
    *pieces = (uint32_t)least(most, *rows);
}

/* ---- recording ---------------------------------------------------------------------------------------------------------- */

/* Only some rows' logits are wanted: each piece's last one. Of a single piece, or of pieces of one token, they lie as needed. */
static bool gathers(const lm_pass_key *key)
{
    return (key->kind == LM_OUTPUT_LAST || key->kind == LM_OUTPUT_ARGMAX) && key->pieces > 1 && key->rows > key->pieces;
}

typedef struct pass_layout {
    lm_view hidden, normed, gathered, logits, y;
    lm_block_workspace block;
} pass_layout;

/* Lays the workspace out; with buffer NULL it only counts. Returns the bytes. */
static uint64_t lay_out(const lm_model *model, const lm_pass_key *key, lm_buffer *buffer, pass_layout *layout)
{
    const lm_config *config = &model->config;
    const uint64_t rows = key->rows, dense = rows * config->d_model * sizeof(float);
    const bool language = config->layers > 0;
    uint64_t offset = 0, logits = 0;
    if (language && per_row(key->kind)) logits = rows * config->vocab_size;
    if (language && (key->kind == LM_OUTPUT_LAST || key->kind == LM_OUTPUT_ARGMAX))
        logits = (uint64_t)key->pieces * config->vocab_size;
    memset(layout, 0, sizeof *layout);
    layout->hidden = lm_arena_take(model, buffer, &offset, dense);
    layout->normed = lm_arena_take(model, buffer, &offset, language ? dense : 0);
    const uint64_t gathered = gathers(key) ? (uint64_t)key->pieces * config->d_model : 0;
    layout->gathered = lm_arena_take(model, buffer, &offset, gathered * sizeof(float));
    layout->y = lm_arena_take(model, buffer, &offset, language ? 0 : dense);
    layout->logits = lm_arena_take(model, buffer, &offset, logits * sizeof(float));
    lm_block_plan(model, key, buffer, &offset, &layout->block);
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
    const uint64_t rows = key->rows, word = sizeof(int32_t);
    const bool language = model->config.layers > 0;
    uint64_t offset = 0;
    pass->rows = lm_arena_take(model, NULL, &offset, (uint64_t)key->pieces * (LM_ROW_HEADS + model->rings) * word);
    const uint64_t scan_table = lm_pass_scan_rows(model, key, (lm_view){0}, 1).offset; /* with what aligns the next one */
    pass->scans = lm_arena_take(model, NULL, &offset, lm_pass_scan_count(key) * scan_table);
    pass->tokens = lm_arena_take(model, NULL, &offset, language ? rows * word : 0);
    pass->targets = lm_arena_take(model, NULL, &offset, language && key->kind == LM_OUTPUT_LOSS ? rows * word : 0);
    pass->last = lm_arena_take(model, NULL, &offset, gathers(key) ? key->pieces * word : 0);
    pass->shadow_bytes = offset;
    const uint64_t x_bytes = rows * model->config.d_model * sizeof(float);
    const bool small_x = !language && x_bytes <= SMALL_BYTES;
    if (small_x) pass->x = lm_arena_take(model, NULL, &offset, x_bytes);
    if (small_x && x_bytes <= TOGETHER_BYTES) pass->shadow_bytes = offset;
    pass->shadow = calloc(1, (size_t)pass->shadow_bytes);
    if (pass->shadow == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "recording a pass: out of memory");
    lm_status status = lm_buffer_create(
        model->device, &(lm_buffer_params){.size = offset, .host_visible = offset <= 2 * SMALL_BYTES}, &pass->input);
    lm_view *views[] = {&pass->rows, &pass->scans, &pass->tokens, &pass->targets, &pass->last, &pass->x};
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
        lm_buffer_create(model->device, &(lm_buffer_params){.size = bytes, .host_visible = true, .host_reads = true}, &pass->small_output);
    pass->output = (lm_view){pass->small_output, 0, bytes};
    return status;
}

static lm_status record_bare_block(lm_model *model, lm_pass *pass, const pass_layout *layout)
{
    const lm_pass_key *key = &pass->key;
    if (pass->x.buffer == NULL) pass->x = layout->hidden;
    pass->row_elements = model->config.d_model;
    lm_status status = place_output(model, pass, layout->y.size, layout->y);
    if (status != LM_OK) return status;
    const lm_view none = {0};
    return lm_block_record(model, 0, pass->list, &layout->block, key, pass->rows, pass->scans, pass->x, none, none, pass->output);
}

/* Final norm, head, and what the caller wants of the logits. */
static lm_status record_head(lm_model *model, lm_pass *pass, const pass_layout *layout)
{
    const lm_pass_key *key = &pass->key;
    const lm_config *config = &model->config;
    const int dm = (int)config->d_model, vocab = (int)config->vocab_size;
    const int rows = (int)(per_row(key->kind) ? key->rows : key->pieces); /* of logits */
    const lm_view none = {0};
    if (key->kind == LM_OUTPUT_NONE) return LM_OK;

    lm_status status = LM_OK;
    lm_view hidden = layout->hidden;
    if (gathers(key)) { /* as rows of a table */
        const lm_embed_params gather = {.rows = rows, .cols = dm, .first = 0, .count = (int)key->rows};
        status = lm_launch_embed(pass->list, &gather, pass->last, layout->hidden, layout->gathered);
        hidden = layout->gathered;
    }
    lm_gemm_params head = {.rows = rows, .lda = dm, .ldc = vocab};
    lm_rmsnorm_params norm = {.rows = rows, .cols = dm, .epsilon = (float)config->norm_epsilon};
    if (!per_row(key->kind) && key->pieces == 1) { /* rows are dense: all are normed, the last one is used */
        norm.rows = (int)key->rows;
        head.a_offset = dm * ((int)key->rows - 1);
    }
    if (status == LM_OK) status = lm_launch_rmsnorm(pass->list, &norm, hidden, model->norm_f, layout->normed);
    const uint64_t word = sizeof(float);
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
            status = place_output(model, pass, (uint64_t)rows * word, layout->block.bcdt);
            break;
        case LM_OUTPUT_LOSS:
            pass->row_elements = 1;
            status = place_output(model, pass, (uint64_t)rows * word, layout->block.bcdt); /* wide enough, and free by now */
            break;
        case LM_OUTPUT_NONE: break;
    }
    if (status == LM_OK) status = lm_matrix_record(pass->list, &model->head, &head, layout->normed, none, none, logits);
    if (status == LM_OK && key->kind == LM_OUTPUT_ARGMAX) {
        const lm_argmax_params params = {.rows = rows, .cols = vocab, .x_stride = vocab};
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
    const int rows = (int)key->rows, dm = (int)config->d_model;
    lm_status status = LM_OK;
    for (size_t i = 0; i < model->embeddings.piece_count && status == LM_OK; i++) {
        const lm_matrix_piece *piece = &model->embeddings.pieces[i];
        const lm_embed_params params = {.rows = rows, .cols = dm, .first = (int)piece->first, .count = (int)piece->count};
        status = lm_launch_embed(pass->list, &params, pass->tokens, piece->view, layout->hidden);
    }
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++)
        status = lm_block_record(model, i, pass->list, &layout->block, key, pass->rows, pass->scans, layout->hidden,
                                 layout->normed, layout->hidden, layout->hidden);
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
    const lm_list_times times = model->profile != NULL ? LM_TIMES_EACH : model->timed ? LM_TIMES_WHOLE : LM_TIMES_NONE;
    if (status == LM_OK) status = lm_list_create(model->device, times, &pass->list);
    if (status == LM_OK) pass->list->deterministic = model->deterministic;
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
    return a->state == b->state && a->bank == b->bank && a->pieces == b->pieces && a->rows == b->rows && a->longest == b->longest && a->kind == b->kind;
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

/* What a count of tokens is to the kernels: those that no ring reaches back to make no difference. */
static int32_t seen(uint64_t position) { return position < INT32_MAX ? (int32_t)position : INT32_MAX; }

/* The tables of a pass over a state that can be rolled back: of piece i, whose first token is row `start`. */
static void write_scans(const lm_model *model, lm_pass *pass, const lm_piece *piece, uint32_t i, uint32_t start)
{
    const lm_pass_key *key = &pass->key;
    const lm_state *state = key->state;
    const uint32_t entries = state->rollback + 1, count = lm_pass_scan_count(key), heads = key->longest > state->rollback ? 1 : 0;
    const uint32_t ones = piece->length < state->rollback ? piece->length : state->rollback; /* each in a scan of its own */
    const uint32_t slot = piece->slot % state->bank_slots * entries;
    uint64_t position = state->positions[piece->slot];
    for (uint32_t s = 0; s < count; s++) {
        const lm_view table = lm_pass_scan_rows(model, key, pass->scans, s);
        int32_t *row = shadow_at(pass, &table) + (size_t)i * LM_SCAN_ROW;
        const uint32_t length = s < heads ? piece->length - ones : s - heads < ones ? 1 : 0;
        row[LM_ROW_FROM] = (int32_t)(slot + position % entries);
        row[LM_ROW_START] = (int32_t)start;
        row[LM_ROW_LENGTH] = (int32_t)length;
        row[LM_ROW_SEEN] = seen(position);
        start += length;
        position += length;
        row[LM_ROW_SLOT] = (int32_t)(slot + position % entries);
    }
}

static void write_input(const lm_model *model, lm_pass *pass, const lm_piece *pieces, const lm_pass_io *io)
{
    const lm_pass_key *key = &pass->key;
    uint32_t start = 0;
    for (uint32_t i = 0; i < key->pieces; i++) {
        const lm_piece *piece = &pieces[i];
        int32_t *row = shadow_at(pass, &pass->rows) + (size_t)i * (LM_ROW_HEADS + model->rings);
        const uint64_t position = key->state->positions[piece->slot];
        row[LM_ROW_SLOT] = (int32_t)(piece->slot % key->state->bank_slots);
        row[LM_ROW_START] = (int32_t)start;
        row[LM_ROW_LENGTH] = (int32_t)piece->length;
        row[LM_ROW_SEEN] = seen(position);
        for (uint32_t r = 0; r < model->rings; r++) row[LM_ROW_HEADS + r] = (int32_t)(position % key->state->ring_length[r]);
        if (pass->scans.size > 0) write_scans(model, pass, piece, i, start);
        const size_t bytes = piece->length * sizeof(int32_t);
        if (pass->tokens.size > 0) memcpy(shadow_at(pass, &pass->tokens) + start, io->tokens + piece->row, bytes);
        if (pass->targets.size > 0) memcpy(shadow_at(pass, &pass->targets) + start, io->targets + piece->row, bytes);
        start += piece->length;
        if (pass->last.size > 0) shadow_at(pass, &pass->last)[i] = (int32_t)(start - 1);
    }
}

/* The pieces from *from on that lie end to end in the caller's arrays too, as one: their rows; *from moves past them. */
static uint64_t adjacent_rows(const lm_pass_key *key, const lm_piece *pieces, uint32_t *from)
{
    uint64_t rows = pieces[*from].length;
    const uint64_t first = pieces[*from].row;
    while (++*from < key->pieces && pieces[*from].row == first + rows) rows += pieces[*from].length;
    return rows;
}

/* Into the shadow where that has room for it, else to the device. */
static lm_status upload_x(const lm_model *model, const lm_pass *pass, const lm_piece *pieces, const lm_pass_io *io)
{
    const uint64_t width = model->config.d_model, row_size = width * sizeof(float);
    const bool together = pass->x.buffer == pass->input && pass->x.offset < pass->shadow_bytes;
    uint64_t offset = pass->x.offset;
    lm_status status = LM_OK;
    for (uint32_t i = 0; i < pass->key.pieces && status == LM_OK;) {
        const float *from = io->x + pieces[i].row * width;
        const uint64_t bytes = adjacent_rows(&pass->key, pieces, &i) * row_size;
        if (together) memcpy((unsigned char *)pass->shadow + offset, from, bytes);
        else status = lm_buffer_upload(pass->x.buffer, offset, from, bytes);
        offset += bytes;
    }
    return status;
}

/* Rows to where they lie in the caller's arrays. */
static lm_status download_rows(const lm_pass *pass, const lm_piece *pieces, unsigned char *to)
{
    const uint64_t row_size = pass->row_elements * sizeof(float);
    uint64_t offset = pass->output.offset;
    lm_status status = LM_OK;
    for (uint32_t i = 0; i < pass->key.pieces && status == LM_OK;) {
        unsigned char *at = to + pieces[i].row * row_size;
        const uint64_t bytes = adjacent_rows(&pass->key, pieces, &i) * row_size;
        status = lm_buffer_download(pass->output.buffer, offset, at, bytes);
        offset += bytes;
    }
    return status;
}

/* What sequences have one of; those that go on in a later pass have none yet. */
static lm_status download_sequences(const lm_pass *pass, const lm_piece *pieces, unsigned char *to)
{
    const uint64_t size = pass->row_elements * sizeof(float);
    lm_status status = LM_OK;
    for (uint32_t i = 0; i < pass->key.pieces && status == LM_OK;) {
        uint32_t count = 0;
        while (i + count < pass->key.pieces && pieces[i + count].ends && pieces[i + count].sequence == pieces[i].sequence + count)
            count++;
        if (count > 0)
            status = lm_buffer_download(pass->output.buffer, pass->output.offset + i * size, to + pieces[i].sequence * size,
                                        count * size);
        i += count > 0 ? count : 1;
    }
    return status;
}

lm_status lm_pass_run(lm_model *model, lm_pass *pass, const lm_piece *pieces, const lm_pass_io *io, bool *started)
{
    const lm_pass_key *key = &pass->key;
    const bool language = model->config.layers > 0;
    write_input(model, pass, pieces, io);
    lm_status status = language ? LM_OK : upload_x(model, pass, pieces, io);
    if (status == LM_OK) status = lm_buffer_upload(pass->input, 0, pass->shadow, pass->shadow_bytes);
    if (status != LM_OK) return status;
    *started = true;
    status = lm_list_run(pass->list);
    if (status != LM_OK) return status;
    for (uint32_t i = 0; i < key->pieces; i++) lm_state_advance(key->state, pieces[i].slot, pieces[i].length);
    model->device_seconds += 1e-9 * lm_list_time_ns(pass->list);
    if (model->profile != NULL) model->profile(model->profile_user, pass->list);
    if (!language) return download_rows(pass, pieces, (unsigned char *)io->y);
    if (key->kind == LM_OUTPUT_NONE) return LM_OK;
    return per_row(key->kind) ? download_rows(pass, pieces, io->output) : download_sequences(pass, pieces, io->output);
}
