/* host/block.c: records one block (spec: in_proj, convolution front-end, x_proj, dt_proj, selective scan, out_proj) on a list. */
#include "host/model.h"

lm_view lm_arena_take(const lm_model *model, lm_buffer *buffer, uint64_t *offset, uint64_t bytes)
{
    const uint64_t alignment = model->device->info.binding_alignment > 64 ? model->device->info.binding_alignment : 64;
    *offset = (*offset + alignment - 1) / alignment * alignment;
    const lm_view view = {bytes > 0 ? buffer : NULL, *offset, bytes};
    *offset += bytes;
    return view;
}

/* ---- scans of states that can be rolled back --------------------------------------------------------------------------- */

uint32_t lm_pass_scan_count(const lm_pass_key *key)
{
    const uint32_t rollback = key->state != NULL ? key->state->rollback : 0;
    return rollback == 0 ? 0 : key->longest > rollback ? rollback + 1 : key->longest;
}

/* Tokens of the first scan of a pass, which has the most of them. */
static uint32_t first_scan(const lm_pass_key *key)
{
    const uint32_t count = lm_pass_scan_count(key);
    return count > 0 ? key->longest - (count - 1) : key->longest;
}

lm_view lm_pass_scan_rows(const lm_model *model, const lm_pass_key *key, lm_view all, uint32_t scan)
{
    uint64_t offset = 0;
    const uint64_t bytes = (uint64_t)key->pieces * LM_SCAN_ROW * sizeof(int32_t);
    lm_arena_take(model, NULL, &offset, bytes);
    const uint64_t stride = lm_arena_take(model, NULL, &offset, bytes).offset;
    return (lm_view){all.buffer, all.offset + scan * stride, bytes};
}

/* ---- blocks ---------------------------------------------------------------------------------------------------------------- */

static lm_scan_params scan_params(const lm_model *model, const lm_pass_key *key, uint32_t length, uint32_t rows_stride)
{
    const lm_config *config = &model->config;
    const int di = (int)model->d_inner, n = (int)config->d_state, r = (int)config->dt_rank;
    lm_scan_params params = {
        .batch = (int)key->pieces,
        .length = (int)length,
        .channels = di,
        .d_state = n,
        .u_stride = di,
        .delta_stride = di,
        .bc_stride = r + 2 * n,
        .b_offset = r,
        .c_offset = r + n,
        .z_stride = 2 * di,
        .z_offset = di,
        .y_stride = di,
        .rows_stride = (int)rows_stride,
        .flags = LM_SCAN_GATE,
    };
    lm_scan_plan(model->device, &params);
    if (model->deterministic) { /* how time is cut would change the rounding */
        params.chunks = 1;
        params.chunk_length = params.length;
    }
    return params;
}

void lm_block_plan(const lm_model *model, const lm_pass_key *key, lm_buffer *buffer, uint64_t *offset, lm_block_workspace *w)
{
    const lm_config *config = &model->config;
    const uint64_t row = key->rows * sizeof(float), di = model->d_inner;
    const lm_scan_params scan = scan_params(model, key, first_scan(key), 0);
    uint64_t summary = 0, total = 0;
    lm_scan_workspace(model->device, &scan, &summary, &total);
    const bool stacked = config->variant == LM_VARIANT_STCN && config->branches > 1;
    w->xz = lm_arena_take(model, buffer, offset, row * 2 * di);
    w->conv[0] = lm_arena_take(model, buffer, offset, row * di);
    w->conv[1] = lm_arena_take(model, buffer, offset, stacked ? row * di : 0);
    w->wide = lm_arena_take(model, buffer, offset, config->variant == LM_VARIANT_DPWC ? row * di * config->branches : 0);
    w->bcdt = lm_arena_take(model, buffer, offset, row * (config->dt_rank + 2 * config->d_state));
    w->delta = lm_arena_take(model, buffer, offset, row * di);
    w->y = lm_arena_take(model, buffer, offset, row * di);
    w->summary = lm_arena_take(model, buffer, offset, summary);
    w->total = lm_arena_take(model, buffer, offset, total);
    lm_step step;
    w->step = lm_arena_take(model, buffer, offset, lm_step_plan_block(model, key, &step) ? step.bytes : 0);
}

lm_status lm_matrix_record(lm_list *list, const lm_matrix *matrix, const lm_gemm_params *params, lm_view x, lm_view bias,
                           lm_view residual, lm_view y)
{
    lm_status status = LM_OK;
    for (size_t i = 0; i < matrix->piece_count && status == LM_OK; i++) {
        const lm_matrix_piece *piece = &matrix->pieces[i];
        lm_gemm_params p = *params;
        p.depth = (int)matrix->in;
        p.cols = (int)piece->count;
        p.ldb = matrix->trans ? (int)matrix->in : (int)piece->count;
        p.c_offset += (int)piece->first;
        p.bias_offset += (int)piece->first;
        p.flags |= (bias.buffer != NULL ? LM_GEMM_BIAS : 0) | (residual.buffer != NULL ? LM_GEMM_RESIDUAL : 0);
        status = lm_launch_gemm(list, &p, matrix->trans, x, piece->view, bias, residual, y);
    }
    return status;
}

/* A linear layer over dense rows: y (rows, out) = x[:, x_offset …] · Wᵀ. */
static lm_status linear(lm_list *list, const lm_matrix *matrix, int rows, int lda, int flags, lm_view x, lm_view bias,
                        lm_view residual, lm_view y)
{
    const lm_gemm_params params = {.rows = rows, .lda = lda, .ldc = (int)matrix->out, .flags = flags};
    return lm_matrix_record(list, matrix, &params, x, bias, residual, y);
}

/* The front-end: u = conv(x), and the rings moved on. *u is where the result lies. */
static lm_status record_conv(const lm_model *model, const lm_block *block, lm_list *list, const lm_block_workspace *w,
                             const lm_view *history, const lm_pass_key *key, lm_view rows, lm_view *u)
{
    const lm_config *config = &model->config;
    const int di = (int)model->d_inner, total = (int)key->rows;
    const bool stacked = config->variant == LM_VARIANT_STCN, wide = config->variant == LM_VARIANT_DPWC;
    lm_conv_params params = {
        .batch = (int)key->pieces,
        .length = (int)key->longest,
        .channels = di,
        .taps = (int)config->d_conv,
        .branches = (int)config->branches,
        .x_stride = 2 * di,
        .out_stride = wide ? di * (int)config->branches : di,
        .history = (int)key->state->ring_length[0],
        .rows_stride = LM_ROW_HEADS + (int)model->rings,
        .flags = (config->no_conv_bias ? 0 : LM_CONV_BIAS) | (block->conv_gates.buffer != NULL ? LM_CONV_GATES : 0) |
                 (wide ? LM_CONV_CONCAT : 0),
    };
    lm_conv_views views = {
        .x = w->xz,
        .weight = block->conv_weight,
        .bias = block->conv_bias,
        .gates = block->conv_gates,
        .dilations = model->dilations,
        .known_dilations = config->dilations,
        .history = history[0],
        .rows = rows,
        .out = wide ? w->wide : w->conv[0],
    };
    *u = w->conv[0];
    if (!stacked) {
        lm_status status = lm_launch_conv(list, &params, &views);
        if (status == LM_OK && wide)
            status = linear(list, &block->pointwise, total, (int)block->pointwise.in, 0, w->wide, block->pointwise_bias,
                            (lm_view){0}, w->conv[0]);
        return status;
    }
    lm_status status = LM_OK;
    params.branches = 1;
    for (uint32_t i = 0; i < config->branches && status == LM_OK; i++) {
        params.branch_first = (int)i;
        params.ring = (int)i;
        params.history = (int)key->state->ring_length[i];
        views.history = history[i];
        views.out = w->conv[i % 2];
        status = lm_launch_conv(list, &params, &views);
        *u = views.out;
        views.x = views.out; /* the next branch reads this one */
        params.x_stride = di;
    }
    return status;
}

/* The scan, or where the state can be rolled back several: each copies the state to the next entry and goes on from there. */
static lm_status record_scan(const lm_model *model, lm_list *list, const lm_pass_key *key, lm_view scans, lm_scan_views *views)
{
    const uint32_t count = lm_pass_scan_count(key), heads = LM_ROW_HEADS + model->rings;
    lm_scan_params params = scan_params(model, key, key->longest, heads);
    if (count == 0) return lm_launch_scan(list, &params, views);
    const lm_state_copy_params copy = {params.batch, params.d_state * params.channels, LM_SCAN_ROW};
    lm_status status = LM_OK;
    for (uint32_t s = 0; s < count && status == LM_OK; s++) {
        views->rows = lm_pass_scan_rows(model, key, scans, s);
        params = scan_params(model, key, s == 0 ? first_scan(key) : 1, LM_SCAN_ROW);
        status = lm_launch_state_copy(list, &copy, views->rows, views->state);
        if (status == LM_OK) status = lm_launch_scan(list, &params, views);
    }
    return status;
}

lm_status lm_block_record(const lm_model *model, uint32_t index, lm_list *list, const lm_block_workspace *w,
                          const lm_pass_key *key, lm_view rows, lm_view scans, lm_view x, lm_view normed, lm_view residual, lm_view out)
{
    const lm_block *block = &model->blocks[index];
    const size_t layer = lm_state_layer(model, key->bank, index);
    const int di = (int)model->d_inner, dm = (int)model->config.d_model, total = (int)key->rows;
    const lm_view none = {0};
    lm_view u;
    lm_step step;
    lm_status status = LM_OK;
    if (lm_step_plan_block(model, key, &step))
        return lm_step_record(model, index, list, w, key, &step, rows, x, residual, out);
    if (block->norm.buffer != NULL) {
        const lm_rmsnorm_params norm = {.rows = total, .cols = dm, .epsilon = (float)model->config.norm_epsilon};
        status = lm_launch_rmsnorm(list, &norm, x, block->norm, normed);
        x = normed;
    }
    if (status == LM_OK) status = linear(list, &block->in_proj, total, dm, 0, x, block->in_bias, none, w->xz);
    if (status == LM_OK)
        status = record_conv(model, block, list, w, key->state->history + layer * model->rings, key, rows, &u);
    if (status == LM_OK) status = linear(list, &block->x_proj, total, di, 0, u, none, none, w->bcdt);
    if (status == LM_OK)
        status = linear(list, &block->dt_proj, total, (int)block->x_proj.out, LM_GEMM_SOFTPLUS, w->bcdt, block->dt_bias, none,
                        w->delta);
    if (status == LM_OK) {
        lm_scan_views views = {
            .u = u,
            .delta = w->delta,
            .a = block->a,
            .bc = w->bcdt,
            .d = block->d,
            .z = w->xz,
            .rows = rows,
            .state = key->state->scan[layer],
            .y = w->y,
            .summary = w->summary,
            .total = w->total,
        };
        status = record_scan(model, list, key, scans, &views);
    }
    if (status == LM_OK) status = linear(list, &block->out_proj, total, di, 0, w->y, block->out_bias, residual, out);
    return status;
}
