/* host/state.c: the past of sequences, on the device.
 *
 * A block keeps, per slot, one ring of its last inputs a history (ptcn, dpwc and baseline share one among their branches, stcn has
 * one a branch) and the scan's state. Which entry of a ring is the oldest, and which were never written, follows from the number of
 * tokens seen, which the host keeps: nothing is ever moved or cleared, and a slot is empty as soon as that number is 0.
 *
 * A state that can be rolled back by k tokens has rings of k entries more, and a ring of the scan states after each of the last
 * k + 1 tokens: after token p the scan's state lies in entry p mod (k + 1). Passes fill it (host/block.c), and rolling back is nothing
 * but counting fewer tokens.
 *
 * What the slots of a block have lies in one binding; where a device's limits allow too few slots for that, they are divided among
 * banks, and a call runs bank by bank (host/model.c). */
#include <stdlib.h>
#include <string.h>

#include "host/model.h"
#include "runtime/backend.h"

/* ---- sizes ---------------------------------------------------------------------------------------------------------------- */

static uint64_t row_bytes(const lm_model *model) { return (uint64_t)model->d_inner * sizeof(float); }

/* Bytes of one slot of ring r. */
static uint64_t ring_bytes(const lm_model *model, uint32_t rollback, uint32_t r)
{
    return ((uint64_t)model->ring_length[r] + rollback) * row_bytes(model);
}

/* Bytes of one scan state of a block. */
static uint64_t scan_bytes(const lm_model *model) { return model->config.d_state * row_bytes(model); }

static uint64_t block_bytes(const lm_model *model, uint32_t rollback)
{
    uint64_t bytes = (rollback + UINT64_C(1)) * scan_bytes(model);
    for (uint32_t r = 0; r < model->rings; r++) bytes += ring_bytes(model, rollback, r);
    return bytes;
}

uint64_t lm_state_model_bytes(const lm_model *model, uint32_t rollback) { return block_bytes(model, rollback) * model->block_count; }

uint32_t lm_state_bank_slots(const lm_model *model, uint32_t rollback)
{
    const lm_device_info *info = &model->device->info;
    uint64_t widest = (rollback + UINT64_C(1)) * scan_bytes(model);
    for (uint32_t r = 0; r < model->rings; r++) {
        const uint64_t bytes = ring_bytes(model, rollback, r);
        widest = bytes > widest ? bytes : widest;
    }
    const uint64_t padding = (uint64_t)model->rings * info->binding_alignment;
    const uint64_t room = info->max_allocation_bytes > padding ? info->max_allocation_bytes - padding : 0;
    const uint64_t bound = info->max_binding_bytes / widest, allocated = room / block_bytes(model, rollback);
    return (uint32_t)(bound < allocated ? bound : allocated); /* a binding has less than 2^30 elements */
}

static lm_status check_size(const lm_model *model, const lm_state_params *params)
{
    const lm_device_info *info = &model->device->info;
    const uint64_t bytes = lm_state_model_bytes(model, params->rollback);
    if (params->rollback > LM_MAX_ROLLBACK)
        return lm_fail(model->device->context, LM_ERROR_INVALID_ARGUMENT, "lm_state_create: a rollback of %u tokens is over %d",
                       params->rollback, LM_MAX_ROLLBACK);
    if (lm_state_bank_slots(model, params->rollback) == 0)
        return lm_fail(model->device->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "lm_state_create: one slot of %llu bytes a block is over the limits of %s",
                       (unsigned long long)block_bytes(model, params->rollback), info->id);
    if (info->memory_bytes > 0 && params->slots > info->memory_bytes / bytes)
        return lm_fail(model->device->context, LM_ERROR_OUT_OF_DEVICE_MEMORY,
                       "lm_state_create: %u slots of %llu bytes are over the memory of %s, which holds %llu", params->slots,
                       (unsigned long long)bytes, info->id, (unsigned long long)(info->memory_bytes / bytes));
    return LM_OK;
}

/* ---- creation ------------------------------------------------------------------------------------------------------------- */

static uint32_t slots_of_bank(const lm_state *state, uint32_t bank)
{
    const uint32_t left = state->slots - bank * state->bank_slots;
    return left < state->bank_slots ? left : state->bank_slots;
}

/* Allocates one block's buffer of a bank and lays its rings and scan states out in it. */
static lm_status create_layer(lm_state *state, uint32_t bank, uint32_t block)
{
    lm_model *model = state->model;
    const uint64_t alignment = model->device->info.binding_alignment, slots = slots_of_bank(state, bank);
    const size_t layer = lm_state_layer(model, bank, block);
    uint64_t offset = 0;
    lm_view *history = state->history + layer * model->rings;
    for (uint32_t r = 0; r < model->rings; r++) {
        history[r] = (lm_view){NULL, offset, slots * ring_bytes(model, state->rollback, r)};
        offset = lm_align_up(offset + history[r].size, alignment);
    }
    state->scan[layer] = (lm_view){NULL, offset, slots * (state->rollback + UINT64_C(1)) * scan_bytes(model)};
    offset += state->scan[layer].size;
    lm_status status = lm_buffer_create(model->device, &(lm_buffer_params){.size = offset}, &state->layers[layer]);
    for (uint32_t r = 0; r < model->rings; r++) history[r].buffer = state->layers[layer];
    state->scan[layer].buffer = state->layers[layer];
    return status;
}

/* Everything of a state on the host; false when memory is short. */
static bool allocate(lm_state *state)
{
    const size_t slots = state->slots, layers = (size_t)state->bank_count * state->model->block_count;
    state->positions = calloc(slots, sizeof *state->positions);
    state->kept = calloc(slots, sizeof *state->kept);
    state->marks = calloc(slots, sizeof *state->marks);
    state->free_slots = calloc(slots, sizeof *state->free_slots);
    state->acquired = calloc(slots, sizeof *state->acquired);
    state->layers = calloc(layers, sizeof(lm_buffer *));
    state->history = calloc(layers * state->model->rings, sizeof *state->history);
    state->scan = calloc(layers, sizeof *state->scan);
    return state->positions != NULL && state->kept != NULL && state->marks != NULL && state->free_slots != NULL &&
           state->acquired != NULL && state->layers != NULL && state->history != NULL && state->scan != NULL;
}

lm_status lm_state_create_with(lm_model *model, const lm_state_params *params, lm_state **out)
{
    if (model == NULL || out == NULL || params == NULL || params->slots == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_create: requires a model and at least 1 slot");
    *out = NULL;
    lm_status status = check_size(model, params);
    if (status != LM_OK) return status;
    lm_state *state = calloc(1, sizeof *state);
    if (state == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_state_create: out of memory");
    const uint32_t slots = params->slots, most = lm_state_bank_slots(model, params->rollback);
    state->model = model;
    state->slots = slots;
    state->rollback = params->rollback;
    for (uint32_t r = 0; r < model->rings; r++) state->ring_length[r] = model->ring_length[r] + params->rollback;
    state->bank_count = slots / most + (slots % most != 0);
    state->bank_slots = slots / state->bank_count + (slots % state->bank_count != 0);
    state->bank_count = slots / state->bank_slots + (slots % state->bank_slots != 0); /* none is empty */
    model->state_count++;
    if (!allocate(state)) status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_state_create: out of memory");
    for (uint32_t bank = 0; bank < state->bank_count; bank++)
        for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++) status = create_layer(state, bank, i);
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

lm_status lm_state_create(lm_model *model, uint32_t slots, lm_state **out)
{
    return lm_state_create_with(model, &(lm_state_params){.slots = slots}, out);
}

void lm_state_destroy(lm_state **out)
{
    if (out == NULL || *out == NULL) return;
    lm_state *state = *out;
    lm_pass_forget(state->model, state);
    const size_t layers = (size_t)state->bank_count * state->model->block_count;
    for (size_t i = 0; state->layers != NULL && i < layers; i++) lm_buffer_destroy(&state->layers[i]);
    state->model->state_count--;
    free(state->positions);
    free(state->kept);
    free(state->marks);
    free(state->free_slots);
    free(state->acquired);
    free(state->layers);
    free(state->history);
    free(state->scan);
    free(state);
    *out = NULL;
}

/* ---- slots ---------------------------------------------------------------------------------------------------------------- */

void lm_state_place(lm_state *state, uint32_t slot, uint64_t position, uint32_t kept)
{
    state->positions[slot] = position;
    state->kept[slot] = kept < state->rollback ? kept : state->rollback;
}

void lm_state_advance(lm_state *state, uint32_t slot, uint32_t tokens)
{
    const uint64_t kept = (uint64_t)state->kept[slot] + tokens;
    lm_state_place(state, slot, state->positions[slot] + tokens, kept < UINT32_MAX ? (uint32_t)kept : UINT32_MAX);
}

void lm_state_mark(lm_state *state)
{
    if (++state->mark != 0) return;
    memset(state->marks, 0, state->slots * sizeof *state->marks); /* after 2^32 calls */
    state->mark = 1;
}

bool lm_state_mark_slot(lm_state *state, uint32_t slot)
{
    if (state->marks[slot] == state->mark) return false;
    state->marks[slot] = state->mark;
    return true;
}

lm_status lm_state_spoilt(const lm_state *state, const char *what)
{
    lm_device *device = state->model->device;
    device->lost = true;
    return lm_fail(device->context, LM_ERROR_DEVICE_LOST, "%s: failed in the middle of %s: %s", device->info.id, what,
                   lm_last_error());
}

lm_status lm_state_reset(lm_state *state)
{
    if (state == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_reset: requires a state");
    for (uint32_t i = 0; i < state->slots; i++) lm_state_place(state, i, 0, 0);
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
    if (status == LM_OK) lm_state_place(state, slot, 0, 0);
    return status;
}

lm_status lm_state_rollback(lm_state *state, uint32_t slot, uint32_t tokens)
{
    static const char what[] = "lm_state_rollback";
    lm_status status = check_slot(what, state, slot);
    if (status != LM_OK) return status;
    const uint32_t kept = state->kept[slot];
    if (state->rollback == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: the state was made without rollback (lm_state_params)", what);
    if (tokens > kept)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: slot %u can go back %u tokens of %u, not %u", what, slot, kept,
                       state->rollback, tokens);
    lm_state_place(state, slot, state->positions[slot] - tokens, kept - tokens);
    return LM_OK;
}

/* One slot's part of a bank's view. */
static lm_view slot_view(const lm_state *state, const lm_view *views, size_t stride, size_t index, uint32_t slot)
{
    const uint32_t bank = slot / state->bank_slots;
    const lm_view all = views[bank * stride + index];
    const uint64_t bytes = all.size / slots_of_bank(state, bank);
    return (lm_view){all.buffer, all.offset + slot % state->bank_slots * bytes, bytes};
}

lm_view lm_state_history(const lm_state *state, uint32_t block, uint32_t ring, uint32_t slot)
{
    const size_t blocks = state->model->block_count, rings = state->model->rings;
    return slot_view(state, state->history, blocks * rings, block * rings + ring, slot);
}

lm_view lm_state_scans(const lm_state *state, uint32_t block, uint32_t slot)
{
    return slot_view(state, state->scan, state->model->block_count, block, slot);
}

lm_view lm_state_scan(const lm_state *state, uint32_t block, uint32_t slot, uint64_t position)
{
    const lm_view all = lm_state_scans(state, block, slot);
    const uint64_t bytes = scan_bytes(state->model);
    return (lm_view){all.buffer, all.offset + position % (state->rollback + UINT64_C(1)) * bytes, bytes};
}

/* ---- forks ---------------------------------------------------------------------------------------------------------------- */

/* Copies `count` entries of `bytes` bytes from ring to ring, those of tokens first … first+count−1; the ring's entry of a token is
 * its number modulo the ring's length. */
static lm_status copy_entries(lm_list *list, lm_view to, lm_view from, uint64_t bytes, uint64_t first, uint64_t count)
{
    const uint64_t to_length = to.size / bytes, from_length = from.size / bytes;
    lm_status status = LM_OK;
    if (count == to_length && count == from_length) return lm_list_copy(list, to, from); /* every entry to its own place */
    for (uint64_t i = 0; i < count && status == LM_OK;) {
        const uint64_t to_entry = (first + i) % to_length, from_entry = (first + i) % from_length;
        uint64_t n = count - i;
        n = to_length - to_entry < n ? to_length - to_entry : n;
        n = from_length - from_entry < n ? from_length - from_entry : n;
        status = lm_list_copy(list, (lm_view){to.buffer, to.offset + to_entry * bytes, n * bytes},
                              (lm_view){from.buffer, from.offset + from_entry * bytes, n * bytes});
        i += n;
    }
    return status;
}

/* Records the copy of one block of a slot, with what `kept` tokens less had left. */
static lm_status record_fork(lm_list *list, uint32_t block, const lm_state *to_state, uint32_t to, const lm_state *from_state,
                             uint32_t from, uint32_t kept)
{
    const lm_model *model = to_state->model;
    const uint64_t position = from_state->positions[from];
    lm_status status = LM_OK;
    for (uint32_t r = 0; r < model->rings && status == LM_OK; r++) {
        /* as far back as both reach; before the first token there is nothing */
        uint64_t count = (uint64_t)model->ring_length[r] + kept;
        if (count > position) count = position;
        status = copy_entries(list, lm_state_history(to_state, block, r, to), lm_state_history(from_state, block, r, from),
                              row_bytes(model), position - count, count);
    }
    if (status == LM_OK)
        status = copy_entries(list, lm_state_scans(to_state, block, to), lm_state_scans(from_state, block, from),
                              scan_bytes(model), position - kept, kept + UINT64_C(1));
    return status;
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
    if (from_state->positions[from] == 0) return lm_state_reset_slot(to_state, to);
    const uint32_t had = from_state->kept[from], kept = had < to_state->rollback ? had : to_state->rollback;
    lm_list *list = NULL;
    status = lm_list_create(model->device, LM_TIMES_NONE, &list);
    for (uint32_t i = 0; i < model->block_count && status == LM_OK; i++)
        status = record_fork(list, i, to_state, to, from_state, from, kept);
    if (status == LM_OK) status = lm_list_end(list);
    if (status == LM_OK && lm_list_run(list) != LM_OK) status = lm_state_spoilt(to_state, what);
    lm_list_destroy(&list);
    if (status == LM_OK) lm_state_place(to_state, to, from_state->positions[from], kept);
    return status;
}

/* ---- pools ---------------------------------------------------------------------------------------------------------------- */

lm_status lm_state_acquire(lm_state *state, uint32_t *slot)
{
    if (state == NULL || slot == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_state_acquire: requires a state and a place for the slot");
    if (state->free_count == 0)
        return lm_fail(NULL, LM_ERROR_OUT_OF_DEVICE_MEMORY, "lm_state_acquire: all %u slots are taken", state->slots);
    *slot = state->free_slots[--state->free_count];
    state->acquired[*slot] = true;
    lm_state_place(state, *slot, 0, 0);
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
    lm_state_place(state, slot, 0, 0);
    return LM_OK;
}

uint64_t lm_state_slot_bytes(const lm_state *state)
{
    return state != NULL ? lm_state_model_bytes(state->model, state->rollback) : 0;
}

uint64_t lm_state_position(const lm_state *state, uint32_t slot)
{
    return state != NULL && slot < state->slots ? state->positions[slot] : 0;
}
