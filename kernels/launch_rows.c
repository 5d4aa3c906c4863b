/* kernels/launch_rows.c: kernels that work on a row at a time, and those that copy. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

/* Lanes of a group that reduces one row. */
static uint32_t row_lanes(const lm_device *device, uint32_t columns)
{
    const lm_device_info *info = &device->info;
    const uint32_t tuned = (uint32_t)lm_knob_of(device, LM_KNOB_ROW_LANES);
    switch (lm_class_of(info)) {
    case CLASS_GPU: return lm_fit_lanes(info, tuned != 0 ? tuned : columns <= 128 ? 32 : columns <= 1024 ? 128 : 256, 1);
    case CLASS_PROCESSOR: return lm_fit_lanes(info, tuned != 0 ? tuned : 16, 1);
    default: return 1;
    }
}

/* One group a row. */
static lm_status launch_rows(lm_list *list, lm_kernel_id kernel, int rows, int cols, const void *params, size_t params_size,
                             const lm_view *views, size_t view_count)
{
    const lm_device_info *info = &list->device->info;
    lm_launch l = {.spec = {(int32_t)row_lanes(list->device, (uint32_t)cols), 1, (int32_t)info->lanes}};
    lm_set_groups(&l, info, (uint32_t)rows, 1, 1);
    const uint32_t walk = lm_ceil_div((uint32_t)cols, (uint32_t)l.spec[0]); /* of which there are up to two */
    lm_status status = lm_check_loops(list, "a row's sum", 2 * (uint64_t)walk);
    return status == LM_OK ? lm_launch_dispatch(list, kernel, &l, params, params_size, views, view_count) : status;
}

lm_status lm_launch_rmsnorm(lm_list *list, const lm_rmsnorm_params *params, lm_view x, lm_view weight, lm_view y)
{
    const lm_view views[] = {x, weight, y};
    return launch_rows(list, LM_KERNEL_RMSNORM, params->rows, params->cols, params, sizeof *params, views, 3);
}

lm_status lm_launch_argmax(lm_list *list, const lm_argmax_params *params, lm_view x, lm_view index)
{
    const lm_view views[] = {x, index};
    return launch_rows(list, LM_KERNEL_ARGMAX, params->rows, params->cols, params, sizeof *params, views, 2);
}

lm_status lm_launch_cross_entropy(lm_list *list, const lm_cross_entropy_params *params, lm_view x, lm_view target,
                                  lm_view loss)
{
    const lm_view views[] = {x, target, loss};
    return launch_rows(list, LM_KERNEL_CROSS_ENTROPY, params->rows, params->cols, params, sizeof *params, views, 3);
}

/* Groups of x lanes along the columns, one a row; on a processor, where starting a group takes longer than what a lane moves, a lane
 * goes over up to 32 columns. */
static lm_status launch_copy(lm_list *list, lm_kernel_id kernel, int rows, int cols, const void *params, size_t params_size,
                             const lm_view *views, size_t view_count)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t lanes = info->lanes, x = lm_column_lanes(info, (uint32_t)cols);
    const uint32_t each = lm_class_of(info) == CLASS_GPU ? 1 : 32;
    lm_launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
    lm_set_groups(&l, info, lm_ceil_div((uint32_t)cols, x * lanes * each), (uint32_t)rows, 1);
    return lm_launch_dispatch(list, kernel, &l, params, params_size, views, view_count);
}

lm_status lm_launch_embed(lm_list *list, const lm_embed_params *params, lm_view tokens, lm_view table, lm_view y)
{
    const lm_view views[] = {tokens, table, y};
    return launch_copy(list, LM_KERNEL_EMBED, params->rows, params->cols, params, sizeof *params, views, 3);
}

lm_status lm_launch_state_copy(lm_list *list, const lm_state_copy_params *params, lm_view rows, lm_view state)
{
    const lm_view views[] = {rows, state};
    return launch_copy(list, LM_KERNEL_STATE_COPY, params->batch, params->words, params, sizeof *params, views, 2);
}
