/* kernels/launch_conv.c: tiles of the convolutions. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

enum {
    WINDOW_BRANCHES = 6, /* that conv_window's constants have room for, */
    WINDOW_DILATION = 31,
    WINDOW_REACH = 32,   /* and inputs before a lane's first token that it keeps in registers */
    WINDOW_TAPS = 24,    /* of all branches */
};

/* Whether conv_window can do it; *packed: its DILATIONS; *reach: how far back they look. */
static bool fits_window(const lm_conv_params *params, const uint32_t *known_dilations, int32_t *packed, uint32_t *reach)
{
    *packed = 0;
    *reach = 0;
    if (known_dilations == NULL || params->branches > WINDOW_BRANCHES) return false;
    if (params->taps > WINDOW_TAPS || params->branches * params->taps > WINDOW_TAPS) return false;
    for (int i = 0; i < params->branches; i++) {
        const uint32_t dilation = known_dilations[params->branch_first + i];
        if (dilation > WINDOW_DILATION) return false;
        *packed |= (int32_t)(dilation << 5 * i);
        const uint32_t back = ((uint32_t)params->taps - 1) * dilation;
        *reach = back > *reach ? back : *reach;
    }
    return *reach <= WINDOW_REACH;
}

/* How many of the last sequences have their chunks cut: those that a device works on when no others follow, so that few groups are
 * left for its last moments. On an H200 that is 0.7 % of four waves of groups; through OpenCL it brought nothing. A sequence has
 * `lanes` lanes. */
static uint32_t cut_sequences(const lm_device_info *info, uint64_t batch, uint64_t lanes, uint32_t chunk, uint32_t reach)
{
    const uint64_t wave = (uint64_t)lm_units_of(info) * 512;
    if (info->backend != LM_BACKEND_VULKAN || chunk < LM_CONV_CUTS * reach || lanes * batch < 2 * wave) return 0;
    return (uint32_t)(wave / lanes); /* fewer than there are */
}

static lm_status launch_window(lm_list *list, const lm_conv_params *params, const lm_conv_views *views, int32_t packed,
                               uint32_t reach, bool exact)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, length = (uint32_t)params->length, lanes = info->lanes;
    const uint32_t x = lm_column_lanes(info, channels), tiles = lm_ceil_div(channels, x * lanes);
    const int32_t form = params->flags | (lm_has_good_exp2(info) && !exact ? LM_CONV_HARDWARE_EXP : 0);
    /* Loads in flight hide the memory's latency: as many registers of inputs as leave room for 16 lanes of a unit's 32. */
    const bool gpu = lm_class_of(info) == CLASS_GPU, few = length < 8;
    const int32_t ahead = few ? 1 : !gpu ? 4 : reach < 16 ? 32 - (int32_t)reach : 16, steps = few ? 1 : gpu ? 16 : 4;
    /* A chunk loads the last inputs of the one before, too, so it has 64 tokens; fewer only where lanes would be idle. */
    const uint64_t wanted = (uint64_t)lm_units_of(info) * 1024, have = (uint64_t)tiles * x * (uint64_t)params->batch;
    uint32_t chunks = lm_ceil_div(length, 64);
    if (gpu && have * chunks < wanted) chunks = lm_min_u32((uint32_t)(wanted / have), lm_ceil_div(length, 16));
    lm_launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes, steps, params->taps, packed, form, ahead}};
    const uint64_t each = (uint64_t)tiles * x * chunks;
    const uint32_t cut = cut_sequences(info, (uint64_t)params->batch, each, lm_ceil_div(length, chunks), reach);
    lm_conv_params p = *params;
    p.uncut = params->batch - (int)cut;
    lm_set_groups(&l, info, tiles, chunks, (uint32_t)p.uncut + LM_CONV_CUTS * cut);
    const lm_view bound[] = {views->x, views->weight, views->bias, views->gates, views->dilations, views->history,
                             views->rows, views->out};
    return lm_launch_dispatch(list, LM_KERNEL_CONV_WINDOW, &l, &p, sizeof p, bound, 8);
}

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

static lm_status launch_general(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
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

static lm_status launch_state(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
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

/* `exact`: conv_window takes the better exponentials. */
static lm_status launch(lm_list *list, lm_kernel_id kernel, const lm_conv_params *params, const lm_conv_views *views, bool exact)
{
    int32_t packed;
    uint32_t reach;
    if (kernel == LM_KERNEL_CONV) return launch_general(list, params, views);
    if (kernel == LM_KERNEL_CONV_STATE) return launch_state(list, params, views);
    if (fits_window(params, views->known_dilations, &packed, &reach))
        return launch_window(list, params, views, packed, reach, exact);
    return lm_fail(list->device->context, LM_ERROR_UNSUPPORTED, "conv_window has no room for these branches");
}

lm_status lm_launch_conv_with(lm_list *list, lm_kernel_id kernel, const lm_conv_params *params, const lm_conv_views *views)
{
    return launch(list, kernel, params, views, false);
}

lm_kernel_id lm_conv_kernel(const lm_device *device, const lm_conv_params *params, const uint32_t *known_dilations)
{
    int32_t packed;
    uint32_t reach;
    /* A driver on the processor takes seconds to build it. */
    const bool gpu = lm_class_of(&device->info) == CLASS_GPU && device->info.type != LM_DEVICE_CPU;
    const bool window = gpu && fits_window(params, known_dilations, &packed, &reach);
    return window ? LM_KERNEL_CONV_WINDOW : LM_KERNEL_CONV;
}

lm_status lm_launch_conv(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
{
    const lm_kernel_id kernel = lm_conv_kernel(list->device, params, views->known_dilations);
    /* Of a few elements it is the launch that takes time, not the exponentials: those may as well be the better ones. Where the
     * cut of a sequence must not matter, neither may its length. */
    const uint64_t elements = (uint64_t)params->batch * (uint64_t)params->length * (uint64_t)params->channels;
    const bool exact = !list->deterministic && elements < 1024 * (uint64_t)lm_units_of(&list->device->info);
    lm_status status = launch(list, kernel, params, views, exact);
    return status == LM_OK && kernel == LM_KERNEL_CONV ? launch_state(list, params, views) : status;
}
