/* kernels/launch_scan.c: how a scan is cut into chunks, and its dispatches. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

/* States in registers of one dispatch; more take another pass over u, delta and y. */
static uint32_t scan_states(const lm_device_info *info, uint32_t d_state)
{
    if (lm_class_of(info) == CLASS_REFERENCE || lm_class_of(info) == CLASS_NATIVE) return d_state;
    return d_state <= 1 ? 1 : d_state <= 4 ? 4 : d_state <= 8 ? 8 : 16;
}

static uint32_t scan_lanes(const lm_device_info *info, uint32_t channels)
{
    return lm_class_of(info) == CLASS_GPU ? lm_fit_lanes(info, channels <= 32 ? 32 : 64, 1) : lm_column_lanes(info, channels);
}

/* ---- tiles (kernels/opencl/scan_tile.h) -------------------------------------------------------------------------- */

/* A tile of one segment; chunks are whole tiles, at least SHORTEST_CUT tokens of them. */
enum { TILE_TOKENS = 16, TILE_CHANNELS = 32, SHORTEST_CUT = 64 };

/* Tokens of a chunk from which on scan_ends_long, a kernel of Vulkan's, is faster than scan_ends. On an H200 whole scans take with it
 * 50.7 µs instead of 48.5 with chunks of 192 tokens (B1 L2048 Di1536), and 416 instead of 440 with chunks of 2,736 (B1 L8192 Di5120);
 * the same through OpenCL would take 481 instead of 484. */
enum { LONG_CHUNK = 512 };

/* The form of scan_tiled that suits a scan; segments 0: none does. Measured on an H200: one segment where there are channels for
 * all units, with two channels a lane through OpenCL if there are enough for that (2,200 to 2,300 G state/s, one: 2,050 to 2,150)
 * and one through Vulkan, whose compiler takes more registers (2,300; two: 2,100); one segment, one channel a lane where time is
 * cut; and segments for few channels and tokens. */
static lm_scan_form scan_form(const lm_device_info *info, const lm_scan_params *params)
{
    const uint64_t across = (uint64_t)params->batch * (uint64_t)params->channels, units = lm_units_of(info);
    if (lm_class_of(info) != CLASS_GPU || params->length < 16) return (lm_scan_form){0, 0};
    if (params->chunks > 1) return (lm_scan_form){params->chunk_length >= SHORTEST_CUT ? 1 : 0, 1};
    if (across < 8 * units) return (lm_scan_form){0, 0};
    if (across >= 48 * units) return (lm_scan_form){1, info->backend == LM_BACKEND_OPENCL && across >= 96 * units ? 2 : 1};
    return (lm_scan_form){across >= 20 * units ? 4 : 8, 2};
}

/* Whether this device can run it. Its kernels take exactly one group a tile. */
static bool fits_tiled(const lm_device_info *info, const lm_scan_params *params, lm_scan_form form)
{
    if (lm_class_of(info) != CLASS_GPU && lm_class_of(info) != CLASS_PROCESSOR) return false;
    if (form.segments > 1 && (info->capabilities & LM_CAP_LARGE_SHARED) == 0) return false;
    if (params->chunks > 1 && (form.segments != 1 || params->chunk_length % TILE_TOKENS != 0)) return false;
    return form.segments > 0 && info->lanes == 1 && (uint32_t)params->batch <= info->max_groups[2] &&
           (uint32_t)params->chunks <= info->max_groups[1] && (uint32_t)params->channels <= info->max_groups[0] &&
           lm_fit_lanes(info, 128, 1) == 128;
}

lm_kernel_id lm_scan_kernel(const lm_device *device, const lm_scan_params *params, lm_scan_form form)
{
    if (form.segments == 0) form = scan_form(&device->info, params);
    if (!fits_tiled(&device->info, params, form)) return LM_KERNEL_SCAN;
    return params->chunks > 1 ? LM_KERNEL_SCAN_ENDS : LM_KERNEL_SCAN_TILED;
}

/* Quarters of 16 states that a dispatch takes of the `left` ones there are. */
static uint32_t quarters(uint32_t left) { return left > 8 ? 4 : left > 4 ? 2 : 1; }

/* FLAGS of a dispatch for 4·group states from `first` on; `bc` is their B and C. */
static int32_t tiled_flags(const lm_device_info *info, const lm_scan_params *params, lm_view bc, uint32_t first, uint32_t group)
{
    const uint32_t strides = (uint32_t)(params->bc_stride | params->b_offset | params->c_offset);
    const bool aligned = (strides | first | (uint32_t)(bc.offset / sizeof(float))) % 4 == 0;
    const bool vectors = aligned && (uint32_t)params->d_state - first >= 4 * group;
    return (lm_has_good_exp2(info) ? 0 : LM_TILED_OWN_EXP2) | (vectors ? LM_TILED_VECTORS : 0);
}

/* One dispatch for each of the groups of 16, 8 or 4 states. */
static lm_status launch_tiled(lm_list *list, const lm_scan_params *params, const lm_scan_views *v, lm_scan_form form)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t d_state = (uint32_t)params->d_state;
    const bool is_long = info->backend == LM_BACKEND_VULKAN && params->chunk_length >= LONG_CHUNK;
    const lm_view ends[] = {v->u, v->delta, v->a, v->bc, v->rows, v->state, v->summary};
    const lm_view views[] = {v->u, v->delta, v->a, v->bc, v->d, v->z, v->rows, v->state, v->y, v->summary};
    lm_scan_params p = *params;
    lm_status status = LM_OK;
    for (uint32_t first = 0, group; params->chunks > 1 && first < d_state && status == LM_OK; first += 4 * group) {
        group = quarters(d_state - first);
        const int32_t flags = tiled_flags(info, &p, v->bc, first, group);
        lm_launch l = {.spec = {(int32_t)(TILE_CHANNELS * (is_long ? 4 : group)), 1, 1, (int32_t)group, flags}};
        lm_set_groups(&l, info, lm_ceil_div((uint32_t)p.channels, TILE_CHANNELS), (uint32_t)p.chunks, (uint32_t)p.batch);
        p.state_first = (int)first;
        status = lm_launch_dispatch(list, is_long ? LM_KERNEL_SCAN_ENDS_LONG : LM_KERNEL_SCAN_ENDS, &l, &p, sizeof p, ends, 7);
    }
    for (uint32_t first = 0, group; first < d_state && status == LM_OK; first += 4 * group) {
        group = quarters(d_state - first);
        /* 32 channels a group, which a row of memory and 16 KiB for a tile ask for, or what 128 lanes have of segments */
        const uint32_t width = group == 1 && form.segments == 1 ? 1 : form.width;
        const uint32_t lanes = form.segments > 1 ? 128 : TILE_CHANNELS * group / width;
        const uint32_t channels = width * lanes / (group * form.segments);
        lm_launch l = {.spec = {(int32_t)lanes, 1, 1, (int32_t)group, (int32_t)form.segments, form.segments > 1 ? 8 : TILE_TOKENS,
                                (int32_t)width, tiled_flags(info, &p, v->bc, first, group)}};
        lm_set_groups(&l, info, lm_ceil_div((uint32_t)p.channels, channels), (uint32_t)p.chunks, (uint32_t)p.batch);
        p.state_first = (int)first;
        status = lm_launch_dispatch(list, LM_KERNEL_SCAN_TILED, &l, &p, sizeof p, views, 10);
    }
    return status;
}

lm_status lm_launch_scan_tiled(lm_list *list, const lm_scan_params *params, const lm_scan_views *views, lm_scan_form form)
{
    if (!fits_tiled(&list->device->info, params, form)) return lm_launch_scan_untiled(list, params, views);
    return launch_tiled(list, params, views, form);
}

/* Chunks for scan_ends and scan_tiled: as many as fill a GPU with groups at a time, four a unit on an H200. There a second wave of
 * them costs more than it brings (B1 L2048 Di1536: 54 µs with 11 chunks, 62 with 13), and what scan_ends adds is worth it up to
 * some 48 channels a unit (Di 5120: 1,370 G state/s, cut in three, instead of 700; Di 8192: 1,340, in two, instead of 1,640).
 * Where chunks would be short, segments are faster. Starts take time with the square of the chunks, whence MOST. */
static uint32_t tiled_chunks(const lm_device *device, const lm_scan_params *params)
{
    enum { MOST = 128 };
    const lm_device_info *info = &device->info;
    const uint64_t across = (uint64_t)params->batch * (uint64_t)params->channels, units = lm_units_of(info);
    const uint64_t groups = (uint64_t)params->batch * lm_ceil_div((uint32_t)params->channels, TILE_CHANNELS);
    const uint64_t percent = (uint64_t)lm_knob_of(device, LM_KNOB_SCAN_CUT), longest = (uint64_t)params->length / SHORTEST_CUT;
    const lm_scan_params cut = {.batch = params->batch, .channels = params->channels, .chunks = MOST};
    if (lm_class_of(info) != CLASS_GPU || across >= 48 * units || !fits_tiled(info, &cut, (lm_scan_form){1, 1})) return 1;
    const uint64_t wanted = 4 * units * (percent != 0 ? percent : 100) / 100 / groups;
    if (across >= 8 * units && wanted > longest) return 1;
    const uint64_t chunks = wanted < longest ? wanted : longest;
    return chunks > MOST ? MOST : (uint32_t)chunks;
}

void lm_scan_plan(const lm_device *device, lm_scan_params *params)
{
    const lm_device_info *info = &device->info;
    const uint64_t across = (uint64_t)params->batch * (uint64_t)params->channels;
    const uint32_t length = (uint32_t)params->length;
    /* Floats side by side that keep the device busy, below which time is cut; and how many to cut for. */
    uint64_t enough = 0, wanted = 0;
    switch (lm_class_of(info)) {
    case CLASS_GPU: enough = 16384, wanted = 32768; break;
    /* Cut, it is three times the work, and on lavapipe takes eight times as long: that many processors have to be idle. */
    case CLASS_WIDE: enough = info->lanes * (uint64_t)(lm_units_of(info) / 4), wanted = 16 * enough; break;
    case CLASS_PROCESSOR: enough = 8 * (uint64_t)(lm_units_of(info) / 8), wanted = 64 * enough; break;
    case CLASS_NATIVE:
    case CLASS_REFERENCE: break;
    }
    const uint64_t percent = (uint64_t)lm_knob_of(device, LM_KNOB_SCAN_CUT);
    if (percent != 0) enough = enough * percent / 100, wanted = wanted * percent / 100;
    const uint32_t shortest = 32;
    params->chunks = 1;
    params->chunk_length = params->length;
    const uint32_t tiled = tiled_chunks(device, params);
    if (tiled > 1) {
        params->chunk_length = (int)(lm_ceil_div(lm_ceil_div(length, tiled), TILE_TOKENS) * TILE_TOKENS);
        params->chunks = (int)lm_ceil_div(length, (uint32_t)params->chunk_length);
        return;
    }
    if (across >= enough || length < 2 * shortest || fits_tiled(info, params, scan_form(info, params))) return;
    /* On a GPU rather fewer: groups of a second wave would run alone. */
    uint64_t chunks = lm_class_of(info) == CLASS_GPU ? wanted / across : (wanted + across - 1) / across;
    if (chunks > length / shortest) chunks = length / shortest;
    if (chunks > info->max_groups[1]) chunks = info->max_groups[1];
    if (chunks <= 1) return;
    params->chunk_length = (int)lm_ceil_div(length, (uint32_t)chunks);
    /* Whole tiles of tokens, which a GPU's kernels are fast at. */
    if (lm_class_of(info) == CLASS_GPU) params->chunk_length = (params->chunk_length + 7) / 8 * 8;
    params->chunks = (int)lm_ceil_div(length, (uint32_t)params->chunk_length);
}

void lm_scan_workspace(const lm_device *device, const lm_scan_params *params, uint64_t *summary_bytes, uint64_t *total_bytes)
{
    *summary_bytes = *total_bytes = 0;
    if (params->chunks <= 1) return;
    const bool together = lm_scan_kernel(device, params, (lm_scan_form){0, 0}) == LM_KERNEL_SCAN_ENDS;
    const uint64_t total = sizeof(float) * (uint64_t)params->batch * (uint64_t)params->chunks * (uint64_t)params->channels;
    *total_bytes = together ? 0 : total;
    *summary_bytes = total * ((uint64_t)params->d_state + together);
}

lm_status lm_launch_scan(lm_list *list, const lm_scan_params *params, const lm_scan_views *views)
{
    const lm_scan_form form = scan_form(&list->device->info, params);
    if (!list->deterministic && form.segments > 0) return lm_launch_scan_tiled(list, params, views, form);
    return lm_launch_scan_untiled(list, params, views);
}

lm_status lm_launch_scan_untiled(lm_list *list, const lm_scan_params *params, const lm_scan_views *views)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, batch = (uint32_t)params->batch, lanes = info->lanes;
    const uint32_t d_state = (uint32_t)params->d_state, states = scan_states(info, d_state);
    const uint32_t x = scan_lanes(info, channels), tiles = lm_ceil_div(channels, x * lanes);
    lm_launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes, (int32_t)states}};
    lm_set_groups(&l, info, tiles, (uint32_t)params->chunks, batch);
    lm_scan_params p = *params;
    /* a token, a tile of tokens, or a chunk each */
    lm_status status = lm_check_loops(list, "a scan", (uint64_t)params->chunk_length + (uint64_t)params->chunk_length / 8);
    if (status == LM_OK) status = lm_check_loops(list, "a scan's carry", (uint64_t)params->chunks);
    if (status != LM_OK) return status;
    if (params->chunks > 1) {
        const lm_view summary[] = {views->u, views->delta, views->a, views->bc, views->rows, views->summary, views->total};
        for (uint32_t first = 0; first < d_state && status == LM_OK; first += states) {
            p.state_first = (int)first;
            status = lm_launch_dispatch(list, LM_KERNEL_SCAN_SUMMARY, &l, &p, sizeof p, summary, 7);
        }
        if (status != LM_OK) return status;
        p.state_first = 0;
        lm_launch carry = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
        lm_set_groups(&carry, info, tiles, d_state, batch);
        const lm_view carried[] = {views->a, views->total, views->rows, views->summary, views->state};
        status = lm_launch_dispatch(list, LM_KERNEL_SCAN_CARRY, &carry, &p, sizeof p, carried, 5);
    }
    const lm_view start = params->chunks > 1 ? views->summary : views->state;
    const lm_view scan[] = {views->u, views->delta, views->a, views->bc, views->d, views->z, views->rows, start, views->y};
    lm_kernel_id kernel = LM_KERNEL_SCAN;
    if (lm_reads_texels(info) &&
        (p.channels | p.u_stride | p.delta_stride | p.y_stride | p.z_stride | p.z_offset) % 4 == 0) {
        const uint32_t texel_x = lm_fit_lanes(info, 8, 1);
        const int32_t quad_matrices = (p.bc_stride | p.b_offset | p.c_offset) % 4 == 0;
        l = (lm_launch){.spec = {(int32_t)texel_x, 1, (int32_t)lanes, (int32_t)states, quad_matrices}};
        lm_set_groups(&l, info, lm_ceil_div(channels, 4 * texel_x), (uint32_t)params->chunks, batch);
        kernel = LM_KERNEL_SCAN_TEXEL;
    }
    for (uint32_t first = 0; first < d_state && status == LM_OK; first += states) {
        p.state_first = (int)first;
        status = lm_launch_dispatch(list, kernel, &l, &p, sizeof p, scan, 9);
    }
    return status;
}
