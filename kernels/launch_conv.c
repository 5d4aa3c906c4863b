/* kernels/launch_conv.c: tiles of the convolutions. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

/* Long pieces of rows for each group, as long as there are groups enough. */
static void plan_texel(const lm_device_info *info, const lm_conv_params *p, uint32_t steps, lm_launch *l)
{
    const uint32_t x = lm_fit_lanes(info, 8, 1), run = steps > 1 ? 128 : 1, runs = lm_ceil_div((uint32_t)p->length, run);
    const uint32_t tiles = lm_ceil_div((uint32_t)p->channels, 4 * x), groups = 4 * lm_units_of(info);
    const uint64_t each = (uint64_t)tiles * runs * (uint64_t)p->batch / groups;
    const uint32_t piece = each < 1 ? 1 : each > 8 ? 8 : (uint32_t)each;
    *l = (lm_launch){.spec = {(int32_t)x, 1, (int32_t)info->lanes, (int32_t)steps, (int32_t)run, (int32_t)piece}};
    lm_set_groups(l, info, lm_ceil_div(tiles, piece), runs, (uint32_t)p->batch);
}

lm_status lm_launch_conv(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, length = (uint32_t)params->length;
    const uint32_t lanes = info->lanes, x = lm_column_lanes(info, channels);
    uint32_t steps = 1;
    switch (lm_class_of(info)) {
    case CLASS_GPU:
    case CLASS_PROCESSOR: steps = length >= 8 ? 8 : 1; break;
    case CLASS_WIDE: steps = length >= 8 ? 32 : 1; break;
    case CLASS_NATIVE:
    case CLASS_REFERENCE: break;
    }
    lm_launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes, (int32_t)steps}};
    lm_set_groups(&l, info, lm_ceil_div(channels, x * lanes), lm_ceil_div(length, steps), (uint32_t)params->batch);
    const bool quads = lm_reads_texels(info) &&
                       (params->channels | params->x_stride | params->x_offset | params->out_stride) % 4 == 0;
    if (quads) plan_texel(info, params, steps, &l);
    lm_status status = lm_check_loops(list, "a convolution", (uint64_t)params->branches * ((uint64_t)params->taps + 1));
    if (status != LM_OK) return status;
    const lm_view bound[] = {views->x, views->weight, views->bias, views->gates, views->dilations, views->history,
                             views->rows, views->out};
    return lm_launch_dispatch(list, quads ? LM_KERNEL_CONV_TEXEL : LM_KERNEL_CONV, &l, params, sizeof *params, bound, 8);
}

lm_status lm_launch_conv_state(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, lanes = info->lanes, x = lm_column_lanes(info, channels);
    /* On a processor starting a group takes longer than what a lane moves: it goes over up to 32 channels. */
    const uint32_t each = lm_class_of(info) == CLASS_GPU ? 1 : 32;
    lm_launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
    lm_set_groups(&l, info, lm_ceil_div(channels, x * lanes * each), lm_min_u32((uint32_t)params->length, (uint32_t)params->history),
               (uint32_t)params->batch);
    const lm_view bound[] = {views->x, views->rows, views->history};
    return lm_launch_dispatch(list, LM_KERNEL_CONV_STATE, &l, params, sizeof *params, bound, 3);
}
