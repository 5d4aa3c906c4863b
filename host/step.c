/* host/step.c: a block of which every sequence has one token: norm, in_proj and convolutions in one dispatch, which also sums what
 * each tile of channels adds to x_proj; dt_proj and scan in the next; then out_proj. dpwc has its pointwise product and x_proj
 * between them. */
#include "host/model.h"

static uint64_t whole_fours(uint64_t count) { return lm_align_up(count, 4); }

/* All rings of a block as one view, and whether they lie in it as step_in looks for them. */
static bool join_rings(const lm_model *model, const lm_pass_key *key, uint32_t block, lm_view *joined)
{
    const lm_view *rings = key->state->history + lm_state_layer(model, key->bank, block) * model->rings, *last = &rings[model->rings - 1];
    uint64_t offset = rings[0].offset;
    for (uint32_t r = 0; r < model->rings; r++) {
        if (rings[r].buffer != rings[0].buffer || rings[r].offset != offset) return false;
        offset += lm_align_up(rings[r].size, model->device->info.binding_alignment);
    }
    *joined = (lm_view){rings[0].buffer, rings[0].offset, last->offset + last->size - rings[0].offset};
    return joined->size <= model->device->info.max_binding_bytes;
}

bool lm_step_plan_block(const lm_model *model, const lm_pass_key *key, lm_step *step)
{
    const lm_config *config = &model->config;
    const lm_block *block = &model->blocks[0]; /* they are alike */
    const lm_conv_layout conv = lm_conv_layout_of(model);
    const uint64_t rows = key->rows, channels = model->d_inner, width = config->dt_rank + 2 * config->d_state;
    const bool wide = config->variant == LM_VARIANT_DPWC;
    const lm_view *rings = key->state->history + lm_state_layer(model, key->bank, 0) * model->rings;
    lm_view history;
    if (key->longest != 1 || key->rows != key->pieces || model->deterministic || block->in_proj.piece_count != 1
        || block->x_proj.piece_count != 1 || block->dt_proj.piece_count != 1 || block->out_proj.piece_count != 1 || key->state->rollback > 0 || !join_rings(model, key, 0, &history))
        return false;
    step->in = (lm_step_in_params){
        .rows = (int)rows,
        .depth = (int)config->d_model,
        .channels = (int)channels,
        .taps = (int)config->d_conv,
        .branches = (int)config->branches,
        .width = wide ? 0 : (int)width,
        .history = (int)model->ring_length[0],
        .slots = (int)(rings->size / ((uint64_t)model->ring_length[0] * channels * sizeof(float))),
        .ring_align = (int)(model->device->info.binding_alignment / sizeof(float)),
        .gate_offset = (int)conv.gates,
        .bias_offset = (int)conv.bias,
        .weight_offset = (int)conv.weight,
        .rows_stride = LM_ROW_HEADS + (int)model->rings,
        .epsilon = (float)config->norm_epsilon,
        .flags = (block->norm.buffer != NULL ? LM_STEP_NORM : 0) | (block->in_bias.buffer != NULL ? LM_STEP_BIAS : 0)
                 | (wide ? LM_STEP_CONCAT : 0) | (config->variant == LM_VARIANT_STCN ? LM_STEP_STACKED : 0),
    };
    lm_step_plan(model->device, &step->in);
    /* z, u, the parts of x_proj, and dpwc's branches before the pointwise product, which are what its step_in calls u. */
    const uint64_t parts = wide ? 1 : (channels + (uint64_t)step->in.tile - 1) / (uint64_t)step->in.tile;
    const uint64_t u = whole_fours(rows * channels), part = u + whole_fours(rows * channels);
    step->wide_offset = part + whole_fours(rows * parts * width);
    step->bytes = (step->wide_offset + (wide ? rows * channels * config->branches : 0)) * sizeof(float);
    step->in.u_offset = (int)(wide ? step->wide_offset : u);
    step->in.part_offset = (int)part;
    step->scan = (lm_step_scan_params){
        .rows = (int)rows,
        .channels = (int)channels,
        .d_state = (int)config->d_state,
        .rank = (int)config->dt_rank,
        .parts = (int)parts,
        .rows_stride = step->in.rows_stride,
        .u_offset = (int)u,
        .part_offset = (int)part,
    };
    return step->bytes <= model->device->info.max_binding_bytes && lm_step_fits(model->device, &step->in, &step->scan);
}

/* From the beginning of one view to the end of another behind it, or only the other where they are not in one buffer. */
static lm_view until(lm_view first, lm_view last)
{
    if (first.buffer != last.buffer || first.offset > last.offset) return last;
    return (lm_view){first.buffer, first.offset, last.offset + last.size - first.offset};
}

/* A product within the workspace. */
static lm_status multiply(lm_list *list, const lm_matrix *matrix, int rows, int from, int to, lm_view step, lm_view bias)
{
    const lm_gemm_params params = {.rows = rows, .lda = (int)matrix->in, .ldc = (int)matrix->out, .a_offset = from, .c_offset = to};
    return lm_matrix_record(list, matrix, &params, step, bias, (lm_view){0}, step);
}

lm_status lm_step_record(const lm_model *model, uint32_t index, lm_list *list, const lm_block_workspace *w, const lm_pass_key *key,
                         const lm_step *step, lm_view rows, lm_view x, lm_view residual, lm_view out)
{
    const lm_block *block = &model->blocks[index], *next = &model->blocks[(index + 1) % model->block_count];
    lm_view history;
    join_rings(model, key, index, &history);
    const lm_step_in_views in = {
        .x = x,
        .norm = block->norm,
        .weight = block->in_proj.pieces[0].view,
        .bias = block->in_bias,
        .conv = block->conv,
        .rows = rows,
        .history = history,
        .x_proj = block->x_proj.pieces[0].view,
        .out = w->step,
    };
    const lm_step_scan_views scan = {
        .in = w->step,
        .dt_weight = block->dt_proj.pieces[0].view,
        .dt_bias = block->dt_bias,
        .a = block->a,
        .d = block->d,
        .rows = rows,
        .state = key->state->scan[lm_state_layer(model, key->bank, index)],
        .y = w->y,
        .soon = {next->in_proj.pieces[0].view, until(next->conv, next->out_proj.pieces[0].view)},
    };
    lm_status status = lm_launch_step_in(list, &step->in, &in);
    if (model->config.variant == LM_VARIANT_DPWC) {
        const int u = step->scan.u_offset, n = step->in.rows;
        if (status == LM_OK)
            status = multiply(list, &block->pointwise, n, (int)step->wide_offset, u, w->step, block->pointwise_bias);
        if (status == LM_OK) status = multiply(list, &block->x_proj, n, u, step->scan.part_offset, w->step, (lm_view){0});
    }
    if (status == LM_OK) status = lm_launch_step_scan(list, &step->scan, &scan);
    const lm_step_out_views last = {
        .x = w->y,
        .weight = block->out_proj.pieces[0].view,
        .bias = block->out_bias,
        .residual = residual,
        .out = out,
    };
    const lm_step_out_params params = {
        .rows = step->in.rows,
        .depth = (int)block->out_proj.in,
        .cols = (int)block->out_proj.out,
        .flags = (last.bias.buffer != NULL ? LM_STEP_BIAS : 0) | (residual.buffer != NULL ? LM_STEP_RESIDUAL : 0),
    };
    return status == LM_OK ? lm_launch_step_out(list, &params, &last) : status;
}
