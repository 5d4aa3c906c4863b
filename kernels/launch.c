/* kernels/launch.c: how kernels map to work-groups.
 *
 * Every kernel, in every language, walks its tiles with a stride: the tile of dimension d starts at the group's index and
 * goes on by the number of groups while it is below the number of tiles,
 *     for (tile = group_id(d); tile < tiles_d; tile += num_groups(d))
 * so that any grid is right and a device's limit on groups is no limit on sizes. This file asks for one group a tile and
 * clamps to info.max_groups. The last tile of each dimension is ragged.
 *
 * WG_X, WG_Y: lanes of a work-group; WG_Z is 1. LANES: floats that one lane works on side by side (16 for OpenCL on a
 * processor, else 1). "columns" below are channels for conv and scan. Dimensions x, y, z of the grid count tiles of:
 *
 * kernel         constants                            x tiles of                y tiles of           z
 * gemm  LANES 1  TILE_M×TILE_N outputs a group; a     TILE_N columns            TILE_M rows          1
 *                lane has TILE_M/WG_Y rows and
 *                TILE_N/WG_X columns; depth is staged
 *                by 16 in shared memory
 *       LANES 16 one lane a group                     TILE_N columns            TILE_M rows          1
 * gemv  B_TRANS 0: ROWS rows and LANES columns a      WG_X·LANES columns        ROWS rows            1
 *                lane; lane y takes k = y, y + WG_Y,
 *                … and lanes of one x are summed in
 *                order of y through shared memory;
 *                none is used with WG_Y 1
 *       B_TRANS 1: ROWS rows and one column a lane;   WG_Y columns              ROWS rows            1
 *                lane x takes k = x·LANES …
 *                x·LANES+LANES−1 and on by
 *                WG_X·LANES; lanes of one y are
 *                summed by a tree; WG_X is a power
 *                of two, shared memory unused with
 *                WG_X 1
 * conv           a lane: LANES channels, STEPS        WG_X·LANES channels       STEPS tokens         batch
 *                consecutive tokens; WG_Y is 1
 * conv_state     WG_Y is 1                            WG_X·LANES channels       1 token of the last  batch
 *                                                                               min(length, history)
 * scan,          a lane: LANES channels, STATES       WG_X·LANES channels       1 chunk              batch
 * scan_summary   states in registers; WG_Y is 1.
 *                B and C of a few tokens are staged
 *                in shared memory where WG_X > 16,
 *                else read directly
 * scan_carry     WG_Y is 1                            WG_X·LANES channels       1 state of d_state   batch
 * rmsnorm,       one group a row: WG_X lanes stride   1 row                     1                    1
 * argmax,        over its columns, then a tree in
 * cross_entropy  shared memory (WG_X is a power of
 *                two; none with WG_X 1); WG_Y is 1
 * embed          WG_Y is 1                            WG_X·LANES columns        1 row                1
 *
 * The `cpu` device takes every constant as 1, except B_TRANS, and STATES, which is d_state.
 */
#include "kernels/launch.h"

#include <string.h>

/* What decides the mapping. */
typedef enum launch_class {
    CLASS_GPU,       /* many lanes, shared memory is fast */
    CLASS_WIDE,      /* OpenCL on a processor: one lane a group, LANES floats side by side */
    CLASS_PROCESSOR, /* lanes vectorised by the driver (lavapipe): barriers are slow, small groups */
    CLASS_REFERENCE, /* the cpu device */
} launch_class;

typedef struct launch {
    int32_t spec[LM_MAX_SPEC];
    uint32_t groups[3];
} launch;

static launch_class class_of(const lm_device_info *info)
{
    if (info->type == LM_DEVICE_REFERENCE) return CLASS_REFERENCE;
    if (info->lanes > 1) return CLASS_WIDE;
    /* OpenCL on a processor without wide lanes runs the mapping of GPUs: a way to test it without one. */
    return info->type == LM_DEVICE_CPU && info->backend == LM_BACKEND_VULKAN ? CLASS_PROCESSOR : CLASS_GPU;
}

static uint32_t ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Compute units, with a guess where the driver does not say. */
static uint32_t units_of(const lm_device_info *info) { return info->compute_units > 0 ? info->compute_units : 16; }

/* The largest power of two up to `wanted` lanes along x, with `other` lanes along y, that the device allows. */
static uint32_t fit_lanes(const lm_device_info *info, uint32_t wanted, uint32_t other)
{
    while (wanted > 1 && (wanted * other > info->max_workgroup_size || wanted > info->max_workgroup_dim[0])) wanted /= 2;
    return wanted;
}

static void set_groups(launch *l, const lm_device_info *info, uint32_t x, uint32_t y, uint32_t z)
{
    const uint32_t tiles[3] = {x, y, z};
    for (int d = 0; d < 3; d++) l->groups[d] = tiles[d] < info->max_groups[d] ? tiles[d] : info->max_groups[d];
}

/* Lanes of a group for kernels without shared memory whose x tiles are columns. */
static uint32_t column_lanes(const lm_device_info *info, uint32_t columns)
{
    switch (class_of(info)) {
    case CLASS_GPU: return fit_lanes(info, columns <= 32 ? 32 : 64, 1);
    case CLASS_PROCESSOR: return fit_lanes(info, 16, 1);
    default: return 1;
    }
}

/* Lanes of a group that reduces one row. */
static uint32_t row_lanes(const lm_device_info *info, uint32_t columns)
{
    switch (class_of(info)) {
    case CLASS_GPU: return fit_lanes(info, columns <= 128 ? 32 : columns <= 1024 ? 128 : 256, 1);
    case CLASS_PROCESSOR: return fit_lanes(info, 16, 1);
    default: return 1;
    }
}

/* llvmpipe (under lavapipe and rusticl) ends the loops of a lane after 65535 iterations in all, without a word. */
static lm_status check_loops(lm_list *list, const char *what, uint64_t iterations)
{
    const lm_device_info *info = &list->device->info;
    if (class_of(info) != CLASS_PROCESSOR || iterations <= 60000) return LM_OK;
    return lm_fail(list->device->context, LM_ERROR_UNSUPPORTED, "%s: %s would loop %llu times, over this driver's limit", info->id,
                   what, (unsigned long long)iterations);
}

static lm_status dispatch(lm_list *list, lm_kernel_id kernel, const launch *l, const void *params, size_t params_size,
                          const lm_view *views, size_t view_count)
{
    return lm_list_dispatch(list, kernel, l->spec, params, params_size, views, view_count, l->groups);
}

/* ---- gemm ------------------------------------------------------------------------------------------------------------ */

/* Up to this many rows gemv reads B once for all of them; more rows take gemm. */
enum { GEMV_ROWS = 8 };

/* Positions in spec after WG_X, WG_Y, LANES. */
enum { SPEC_B_TRANS = 3, SPEC_TILE_M = 4, SPEC_TILE_N = 5, SPEC_ROWS = 4, SPEC_STEPS = 3, SPEC_STATES = 3 };

/* The smallest power of two that holds n, at most `limit`. */
static uint32_t round_up(uint32_t n, uint32_t limit)
{
    uint32_t p = 1;
    while (p < n && p < limit) p *= 2;
    return p;
}

static void plan_gemv(const lm_device_info *info, const lm_gemm_params *p, bool b_trans, launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols, depth = (uint32_t)p->depth;
    const uint32_t row_tile = round_up(rows, GEMV_ROWS);
    uint32_t x = 1, y = 1;
    switch (class_of(info)) {
    case CLASS_GPU:
        if (b_trans) {
            /* A warp's worth of lanes along k reads whole cache lines; several columns make a group. */
            x = fit_lanes(info, depth <= 16 ? 8 : 32, 1);
            y = min_u32(8, min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]));
        } else {
            /* Depth is split so that a narrow product still fills the device, each lane keeping some 64 steps. Shorter
             * sums are left whole: they are then in gemm's order, and a step gives the very bits of a forward. */
            x = fit_lanes(info, 32, 1);
            const uint32_t limit = min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]);
            const uint32_t most = min_u32(16, limit);
            while (y * 2 <= most && depth / (y * 2) >= 64) y *= 2;
            /* Partial sums lie in shared memory. The split must not depend on the number of rows. */
            while (y > 1 && x * y * GEMV_ROWS * sizeof(float) > info->shared_bytes) y /= 2;
        }
        break;
    case CLASS_PROCESSOR:
        x = b_trans ? fit_lanes(info, 8, 1) : fit_lanes(info, 16, 1);
        break;
    default: break;
    }
    const uint32_t lanes = class_of(info) == CLASS_REFERENCE ? 1 : info->lanes;
    const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)lanes, b_trans, (int32_t)row_tile};
    memcpy(l->spec, spec, sizeof spec);
    set_groups(l, info, ceil_div(cols, b_trans ? y : x * lanes), ceil_div(rows, row_tile), 1);
}

static void plan_gemm(const lm_device_info *info, const lm_gemm_params *p, bool b_trans, launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols, units = units_of(info);
    uint32_t x = 1, y = 1, tile_m = 1, tile_n = 1, lanes = 1;
    switch (class_of(info)) {
    case CLASS_WIDE:
        /* The panel of B that a group packs is used by all its rows; fewer of them when there would be too few groups. */
        lanes = info->lanes;
        tile_n = 2 * lanes;
        tile_m = 96;
        if (ceil_div(cols, tile_n) * ceil_div(rows, tile_m) < 4 * units) tile_m = 24;
        break;
    case CLASS_GPU:
    case CLASS_PROCESSOR:
        x = y = tile_m = tile_n = 0;
        /* Larger tiles do more with each loaded element, but the grid has to fill the device. */
        if (info->max_workgroup_size >= 256 && info->shared_bytes >= 32768
            && (uint64_t)ceil_div(cols, 128) * ceil_div(rows, 128) >= 2 * (uint64_t)units)
            x = y = 16, tile_m = tile_n = 128;
        else if (info->max_workgroup_size >= 256 && (uint64_t)ceil_div(cols, 64) * ceil_div(rows, 64) >= 2 * (uint64_t)units)
            x = y = 16, tile_m = tile_n = 64;
        else
            x = y = 8, tile_m = tile_n = 32;
        break;
    case CLASS_REFERENCE: break;
    }
    const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)lanes, b_trans, (int32_t)tile_m, (int32_t)tile_n};
    memcpy(l->spec, spec, sizeof spec);
    set_groups(l, info, ceil_div(cols, tile_n), ceil_div(rows, tile_m), 1);
}

lm_status lm_launch_gemm_with(lm_list *list, lm_kernel_id kernel, const lm_gemm_params *params, bool b_trans, lm_view a,
                              lm_view b, lm_view bias, lm_view residual, lm_view c)
{
    const lm_device_info *info = &list->device->info;
    launch l = {0};
    if (kernel == LM_KERNEL_GEMV) plan_gemv(info, params, b_trans, &l);
    else plan_gemm(info, params, b_trans, &l);
    lm_status status = check_loops(list, "a product", (uint64_t)params->depth);
    if (status != LM_OK) return status;
    const lm_view views[] = {a, b, bias, residual, c};
    return dispatch(list, kernel, &l, params, sizeof *params, views, 5);
}

lm_status lm_launch_gemm(lm_list *list, const lm_gemm_params *params, bool b_trans, lm_view a, lm_view b, lm_view bias,
                         lm_view residual, lm_view c)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t rows = (uint32_t)params->rows, cols = (uint32_t)params->cols;
    bool few = rows <= GEMV_ROWS;
    switch (class_of(info)) {
    /* Where barriers are slow, lanes that share nothing win at every size. */
    case CLASS_PROCESSOR: few = true; break;
    /* A product whose smallest tiles do not fill the device: gemv has more groups, each of which splits depth. */
    case CLASS_GPU: few = few || 2 * (uint64_t)ceil_div(cols, 32) * ceil_div(rows, 32) < 3 * (uint64_t)units_of(info); break;
    default: break;
    }
    few = few || list->deterministic;
    return lm_launch_gemm_with(list, few ? LM_KERNEL_GEMV : LM_KERNEL_GEMM, params, b_trans, a, b, bias, residual, c);
}

/* ---- convolution ----------------------------------------------------------------------------------------------------- */

lm_status lm_launch_conv(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, length = (uint32_t)params->length;
    const uint32_t lanes = info->lanes, x = column_lanes(info, channels);
    uint32_t steps = 1;
    switch (class_of(info)) {
    case CLASS_GPU:
    case CLASS_PROCESSOR: steps = length >= 8 ? 8 : 1; break;
    case CLASS_WIDE: steps = length >= 8 ? 32 : 1; break;
    case CLASS_REFERENCE: break;
    }
    launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes, (int32_t)steps}};
    set_groups(&l, info, ceil_div(channels, x * lanes), ceil_div(length, steps), (uint32_t)params->batch);
    lm_status status = check_loops(list, "a convolution", (uint64_t)params->branches * ((uint64_t)params->taps + 1));
    if (status != LM_OK) return status;
    const lm_view bound[] = {views->x, views->weight, views->bias, views->gates, views->dilations, views->history,
                             views->rows, views->out};
    return dispatch(list, LM_KERNEL_CONV, &l, params, sizeof *params, bound, 8);
}

lm_status lm_launch_conv_state(lm_list *list, const lm_conv_params *params, const lm_conv_views *views)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, lanes = info->lanes, x = column_lanes(info, channels);
    launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
    set_groups(&l, info, ceil_div(channels, x * lanes), min_u32((uint32_t)params->length, (uint32_t)params->history),
               (uint32_t)params->batch);
    const lm_view bound[] = {views->x, views->rows, views->history};
    return dispatch(list, LM_KERNEL_CONV_STATE, &l, params, sizeof *params, bound, 3);
}

/* ---- scan ------------------------------------------------------------------------------------------------------------ */

/* States in registers of one dispatch; more take another pass over u, delta and y. */
static uint32_t scan_states(const lm_device_info *info, uint32_t d_state)
{
    if (class_of(info) == CLASS_REFERENCE) return d_state;
    return d_state <= 1 ? 1 : d_state <= 4 ? 4 : d_state <= 8 ? 8 : 16;
}

static uint32_t scan_lanes(const lm_device_info *info, uint32_t channels)
{
    return class_of(info) == CLASS_GPU ? fit_lanes(info, channels <= 32 ? 32 : 64, 1) : column_lanes(info, channels);
}

void lm_scan_plan(const lm_device_info *info, lm_scan_params *params)
{
    const uint64_t across = (uint64_t)params->batch * (uint64_t)params->channels;
    const uint32_t length = (uint32_t)params->length;
    /* Floats side by side that keep the device busy, below which time is cut; and how many to cut for. */
    uint64_t enough = 0, wanted = 0;
    switch (class_of(info)) {
    case CLASS_GPU: enough = 16384, wanted = 32768; break;
    case CLASS_WIDE: enough = 2 * (uint64_t)info->lanes * units_of(info), wanted = 2 * enough; break;
    case CLASS_PROCESSOR: enough = 32 * (uint64_t)units_of(info), wanted = 2 * enough; break;
    case CLASS_REFERENCE: break;
    }
    const uint32_t shortest = 32;
    params->chunks = 1;
    params->chunk_length = params->length;
    if (across >= enough || length < 2 * shortest) return;
    /* On a GPU rather fewer: groups of a second wave would run alone. */
    uint64_t chunks = class_of(info) == CLASS_GPU ? wanted / across : (wanted + across - 1) / across;
    if (chunks > length / shortest) chunks = length / shortest;
    if (chunks > info->max_groups[1]) chunks = info->max_groups[1];
    if (chunks <= 1) return;
    params->chunk_length = (int)ceil_div(length, (uint32_t)chunks);
    /* Whole tiles of tokens, which a GPU's kernels are fast at. */
    if (class_of(info) == CLASS_GPU) params->chunk_length = (params->chunk_length + 7) / 8 * 8;
    params->chunks = (int)ceil_div(length, (uint32_t)params->chunk_length);
}

void lm_scan_workspace(const lm_scan_params *params, uint64_t *summary_bytes, uint64_t *total_bytes)
{
    *summary_bytes = *total_bytes = 0;
    if (params->chunks <= 1) return;
    *total_bytes = sizeof(float) * (uint64_t)params->batch * (uint64_t)params->chunks * (uint64_t)params->channels;
    *summary_bytes = *total_bytes * (uint64_t)params->d_state;
}

lm_status lm_launch_scan(lm_list *list, const lm_scan_params *params, const lm_scan_views *views)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t channels = (uint32_t)params->channels, batch = (uint32_t)params->batch, lanes = info->lanes;
    const uint32_t d_state = (uint32_t)params->d_state, states = scan_states(info, d_state);
    const uint32_t x = scan_lanes(info, channels), tiles = ceil_div(channels, x * lanes);
    launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes, (int32_t)states}};
    set_groups(&l, info, tiles, (uint32_t)params->chunks, batch);
    lm_scan_params p = *params;
    /* a token, a tile of tokens, or a chunk each */
    lm_status status = check_loops(list, "a scan", (uint64_t)params->chunk_length + (uint64_t)params->chunk_length / 8);
    if (status == LM_OK) status = check_loops(list, "a scan's carry", (uint64_t)params->chunks);
    if (status != LM_OK) return status;
    if (params->chunks > 1) {
        const lm_view summary[] = {views->u, views->delta, views->a, views->bc, views->rows, views->summary, views->total};
        for (uint32_t first = 0; first < d_state && status == LM_OK; first += states) {
            p.state_first = (int)first;
            status = dispatch(list, LM_KERNEL_SCAN_SUMMARY, &l, &p, sizeof p, summary, 7);
        }
        if (status != LM_OK) return status;
        p.state_first = 0;
        launch carry = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
        set_groups(&carry, info, tiles, d_state, batch);
        const lm_view carried[] = {views->a, views->total, views->rows, views->summary, views->state};
        status = dispatch(list, LM_KERNEL_SCAN_CARRY, &carry, &p, sizeof p, carried, 5);
    }
    const lm_view start = params->chunks > 1 ? views->summary : views->state;
    const lm_view scan[] = {views->u, views->delta, views->a, views->bc, views->d, views->z, views->rows, start, views->y};
    for (uint32_t first = 0; first < d_state && status == LM_OK; first += states) {
        p.state_first = (int)first;
        status = dispatch(list, LM_KERNEL_SCAN, &l, &p, sizeof p, scan, 9);
    }
    return status;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

/* One group a row. */
static lm_status launch_rows(lm_list *list, lm_kernel_id kernel, int rows, int cols, const void *params, size_t params_size,
                             const lm_view *views, size_t view_count)
{
    const lm_device_info *info = &list->device->info;
    launch l = {.spec = {(int32_t)row_lanes(info, (uint32_t)cols), 1, (int32_t)info->lanes}};
    set_groups(&l, info, (uint32_t)rows, 1, 1);
    const uint32_t walk = ceil_div((uint32_t)cols, (uint32_t)l.spec[0]); /* of which there are up to two */
    lm_status status = check_loops(list, "a row's sum", 2 * (uint64_t)walk);
    return status == LM_OK ? dispatch(list, kernel, &l, params, params_size, views, view_count) : status;
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

lm_status lm_launch_embed(lm_list *list, const lm_embed_params *params, lm_view tokens, lm_view table, lm_view y)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t cols = (uint32_t)params->cols, lanes = info->lanes, x = column_lanes(info, cols);
    launch l = {.spec = {(int32_t)x, 1, (int32_t)lanes}};
    set_groups(&l, info, ceil_div(cols, x * lanes), (uint32_t)params->rows, 1);
    const lm_view views[] = {tokens, table, y};
    return dispatch(list, LM_KERNEL_EMBED, &l, params, sizeof *params, views, 3);
}
