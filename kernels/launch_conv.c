/* kernels/launch_conv.c: tiles of the convolutions. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

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
    const bool quads = lm_reads_texels(info) &&
                       (params->channels | params->x_stride | params->x_offset | params->out_stride) % 4 == 0;
    const uint32_t width = quads ? 4 * lm_fit_lanes(info, 8, 1) : x * lanes, run = quads && length > 8 ? 128 : steps;
    lm_launch l = {.spec = {(int32_t)(quads ? width / 4 : x), 1, (int32_t)lanes, (int32_t)steps, quads ? (int32_t)run : 0}};
    lm_set_groups(&l, info, lm_ceil_div(channels, width), lm_ceil_div(length, run), (uint32_t)params->batch);
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
    lm_launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
    lm_set_groups(&l, info, lm_ceil_div(channels, x * lanes), lm_min_u32((uint32_t)params->length, (uint32_t)params->history),
               (uint32_t)params->batch);
    const lm_view bound[] = {views->x, views->rows, views->history};
    return lm_launch_dispatch(list, LM_KERNEL_CONV_STATE, &l, params, sizeof *params, bound, 3);
}
