/* host/state.c: the past of sequences, on the device.
 *
 * A block keeps, per slot, one ring of its last inputs a history (ptcn, dpwc and baseline share one among their branches, stcn has
 * one a branch) and the scan's state. Which entry of a ring is the oldest follows from the number of tokens seen, which the host
 * keeps; nothing is ever moved. */
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"

/* Bytes of one slot of ring r. */
static uint64_t ring_bytes(const lm_model *model, uint32_t r)
{
    return (uint64_t)model->ring_length[r] * model->d_inner * sizeof(float);
}

/* Bytes of one slot of a block's scan state. */
static uint64_t scan_bytes(const lm_model *model)
{
    return (uint64_t)model->config.d_state * model->d_inner * sizeof(float);
}

static uint64_t block_bytes(const lm_model *model)
{
    uint64_t bytes = scan_bytes(model);
    for (uint32_t r = 0; r < model->rings; r++) bytes += ring_bytes(model, r);
    return bytes;
}

uint32_t lm_state_max_slots(const lm_model *model)
{
    const lm_device_info *info = &model->device->info;
    uint64_t widest = scan_bytes(model);
    for (uint32_t r = 0; r < model->rings; r++) widest = ring_bytes(model, r) > widest ? ring_bytes(model, r) : widest;
    const uint64_t padding = (uint64_t)model->rings * info->binding_alignment;
    const uint64_t room = info->max_allocation_bytes > padding ? info->max_allocation_bytes - padding : 0;
    const uint64_t bound = info->max_binding_bytes / widest, allocated = room / block_bytes(model);
    return (uint32_t)(bound < allocated ? bound : allocated); /* a binding has less than 2^30 elements */
}

uint64_t lm_state_model_bytes(const lm_model *model) { return block_bytes(model) * model->block_count; }

static lm_status check_slots(const lm_model *model, uint32_t slots)
{
    const uint32_t most = lm_state_max_slots(model);
    if (slots <= most) return LM_OK;
    return lm_fail(model->device->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                   "lm_state_create: slots of %llu bytes a block: %u are over the limits of %s, which allow %u%s",
                   (unsigned long long)block_bytes(model), slots, model->device->info.id, most,
                   most > 0 ? "; make several states" : "");
}

/* Allocates one block's buffer and lays its rings and scan state out in it. */
static lm_status create_layer(lm_state *state, uint32_t block)
{
    lm_model *model = state->model;
    const uint64_t alignment = model->device->info.binding_alignment;
    uint64_t offset = 0;
    lm_view *history = state->history + (size_t)block * model->rings;
    for (uint32_t r = 0; r < model->rings; r++) {
        history[r] = (lm_view){NULL, offset, state->slots * ring_bytes(model, r)};
        offset = lm_align_up(offset + history[r].size, alignment);
    }
    state->scan[block] = (lm_view){NULL, offset, state->slots * scan_bytes(model)};
    offset += state->scan[block].size;
    lm_status status = lm_buffer_create(model->device, &(lm_buffer_params){.size = offset}, &state->layers[block]);
    for (uint32_t r = 0; r < model->rings; r++) history[r].buffer = state->layers[block];
    state->scan[block].buffer = state->layers[block];
    return status;
}

lm_status lm_state_create(lm_model *model, uint32_t slots, lm_state **out)
{
    if (model == NULL || out == NULL || slots == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_create: requires a model and at least 1 slot");
    *out = NULL;
    lm_status status = check_slots(model, slots);
    if (status != LM_OK) return status;
    lm_state *state = calloc(1, sizeof *state);
    if (state == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_state_create: out of memory");
    state->model = model;
    state->slots = slots;
    state->positions = calloc(slots, sizeof *state->positions);
    state->layers = calloc(model->block_count, sizeof(lm_buffer *));
    state->history = calloc((size_t)model->block_count * model->rings, sizeof *state->history);
    state->scan = calloc(model->block_count, sizeof *state->scan);
    model->state_count++;
    if (state->positions == NULL || state->layers == NULL || state->history == NULL || state->scan == NULL)
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_state_create: out of memory");
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = create_layer(state, i);
    if (status == LM_OK) status = lm_state_reset(state);
    if (status != LM_OK) {
        lm_state_destroy(&state);
        return status;
    }
    *out = state;
    return LM_OK;
}

void lm_state_destroy(lm_state **out)
{
    if (out == NULL || *out == NULL) return;
    lm_state *state = *out;
    lm_pass_forget(state->model, state);
    for (uint32_t i = 0; state->layers != NULL && i < state->model->block_count; i++) lm_buffer_destroy(&state->layers[i]);
    state->model->state_count--;
    free(state->positions);
    free(state->layers);
    free(state->history);
    free(state->scan);
    free(state);
    *out = NULL;
}

lm_status lm_state_reset(lm_state *state)
{
    if (state == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_reset: requires a state");
    lm_list *list = NULL;
    lm_status status = lm_list_create(state->model->device, false, &list);
    for (uint32_t i = 0; i < state->model->block_count && status == LM_OK; i++) {
        for (uint32_t r = 0; r < state->model->rings && status == LM_OK; r++)
            status = lm_list_fill(list, state->history[(size_t)i * state->model->rings + r], 0);
        if (status == LM_OK) status = lm_list_fill(list, state->scan[i], 0);
    }
    if (status == LM_OK) status = lm_list_end(list);
    if (status == LM_OK) status = lm_list_run(list);
    lm_list_destroy(&list);
    if (status == LM_OK) memset(state->positions, 0, state->slots * sizeof *state->positions);
    return status;
}

uint64_t lm_state_slot_bytes(const lm_state *state)
{
    return state != NULL ? lm_state_model_bytes(state->model) : 0;
}

uint64_t lm_state_position(const lm_state *state, uint32_t slot)
{
    return state != NULL && slot < state->slots ? state->positions[slot] : 0;
}
