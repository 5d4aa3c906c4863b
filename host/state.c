/* host/state.c: the past of sequences, on the device.
 *
 * A block keeps, per slot, one ring of its last inputs a history (ptcn, dpwc and baseline share one among their branches, stcn has
 * one a branch) and the scan's state. Which entry of a ring is the oldest, and which were never written, follows from the number of
 * tokens seen, which the host keeps: nothing is ever moved or cleared, and a slot is empty as soon as that number is 0. */
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
    state->marks = calloc(slots, sizeof *state->marks);
    state->free_slots = calloc(slots, sizeof *state->free_slots);
    state->acquired = calloc(slots, sizeof *state->acquired);
    model->state_count++;
    if (state->marks == NULL || state->free_slots == NULL || state->acquired == NULL || state->positions == NULL || state->layers == NULL || state->history == NULL || state->scan == NULL)
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_state_create: out of memory");
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = create_layer(state, i);
    if (status != LM_OK) {
        lm_state_destroy(&state);
        return status;
    }
    while (state->free_count < slots) { /* slot 0 on top */
        state->free_slots[state->free_count] = slots - 1 - state->free_count;
        state->free_count++;
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
    free(state->marks);
    free(state->free_slots);
    free(state->acquired);
    free(state->layers);
    free(state->history);
    free(state->scan);
    free(state);
    *out = NULL;
}

lm_status lm_state_reset(lm_state *state)
{
    if (state == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_reset: requires a state");
    memset(state->positions, 0, state->slots * sizeof *state->positions);
    return LM_OK;
}

static lm_status check_slot(const char *what, const lm_state *state, uint32_t slot)
{
    if (state == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: requires a state", what);
    if (slot < state->slots) return LM_OK;
    return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slot %u is outside a state of %u slots", what, slot, state->slots);
}

lm_status lm_state_reset_slot(lm_state *state, uint32_t slot)
{
    lm_status status = check_slot("lm_state_reset_slot", state, slot);
    if (status == LM_OK) state->positions[slot] = 0;
    return status;
}

/* One slot's part of a view of all slots. */
static lm_view slot_view(const lm_state *state, lm_view all, uint32_t slot)
{
    const uint64_t bytes = all.size / state->slots;
    return (lm_view){all.buffer, all.offset + slot * bytes, bytes};
}

lm_view lm_state_history(const lm_state *state, uint32_t block, uint32_t ring, uint32_t slot)
{
    return slot_view(state, state->history[(size_t)block * state->model->rings + ring], slot);
}

lm_view lm_state_scan(const lm_state *state, uint32_t block, uint32_t slot)
{
    return slot_view(state, state->scan[block], slot);
}

lm_status lm_state_copy(lm_state *to_state, uint32_t to, const lm_state *from_state, uint32_t from)
{
    static const char what[] = "lm_state_copy";
    lm_status status = check_slot(what, to_state, to);
    if (status == LM_OK) status = check_slot(what, from_state, from);
    if (status != LM_OK) return status;
    const lm_model *model = to_state->model;
    if (from_state->model != model) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: the states are of different models", what);
    if (to_state == from_state && to == from) return LM_OK;
    lm_list *list = NULL;
    status = lm_list_create(model->device, false, &list);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) {
        for (uint32_t r = 0; r < model->rings && status == LM_OK; r++)
            status = lm_list_copy(list, lm_state_history(to_state, i, r, to), lm_state_history(from_state, i, r, from));
        if (status == LM_OK) status = lm_list_copy(list, lm_state_scan(to_state, i, to), lm_state_scan(from_state, i, from));
    }
    if (status == LM_OK) status = lm_list_end(list);
    if (status == LM_OK) status = lm_list_run(list);
    lm_list_destroy(&list);
    if (status == LM_OK) to_state->positions[to] = from_state->positions[from];
    return status;
}

lm_status lm_state_acquire(lm_state *state, uint32_t *slot)
{
    if (state == NULL || slot == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_acquire: requires a state and a place for the slot");
    if (state->free_count == 0)
        return lm_fail(NULL, LM_ERROR_OUT_OF_DEVICE_MEMORY, "lm_state_acquire: all %u slots are taken", state->slots);
    *slot = state->free_slots[--state->free_count];
    state->acquired[*slot] = true;
    state->positions[*slot] = 0;
    return LM_OK;
}

lm_status lm_state_release(lm_state *state, uint32_t slot)
{
    lm_status status = check_slot("lm_state_release", state, slot);
    if (status != LM_OK) return status;
    if (!state->acquired[slot])
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_release: slot %u is not taken", slot);
    state->acquired[slot] = false;
    state->free_slots[state->free_count++] = slot;
    state->positions[slot] = 0;
    return LM_OK;
}

uint64_t lm_state_slot_bytes(const lm_state *state)
{
    return state != NULL ? lm_state_model_bytes(state->model) : 0;
}

uint64_t lm_state_position(const lm_state *state, uint32_t slot)
{
    return state != NULL && slot < state->slots ? state->positions[slot] : 0;
}
