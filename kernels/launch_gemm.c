/* kernels/launch_gemm.c: which product kernel, and its tiles. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

#include <math.h>
#include <string.h>

/* Up to this many rows gemv reads B once for all of them; more rows take gemm. */
enum { GEMV_ROWS = 8 };

static void plan_gemv(const lm_device_info *info, const lm_gemm_params *p, bool b_trans, bool narrow, lm_launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols, depth = (uint32_t)p->depth;
    const uint32_t row_tile = lm_power_of_2(rows, GEMV_ROWS);
    uint32_t x = 1, y = 1;
    switch (lm_class_of(info)) {
    case CLASS_GPU:
        if (b_trans) {
            /* A warp's worth of lanes along k reads whole cache lines; several columns make a group. */
            x = lm_fit_lanes(info, depth <= 16 ? 8 : 32, 1);
            y = lm_min_u32(8, lm_min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]));
        } else {
            /* Depth is split so that a narrow product still fills the device, each lane keeping some 64 steps. Shorter
             * sums are left whole: they are then in gemm's order, and a step gives the very bits of a forward. */
            x = lm_fit_lanes(info, narrow && lm_ceil_div(cols, 32) < lm_units_of(info) ? 8 : 32, 1);
            const uint32_t limit = lm_min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]);
            const uint32_t most = lm_min_u32(narrow ? 512 / x : 16, limit);
            while (y * 2 <= most && depth / (y * 2) >= 64 && depth > LM_SHORT_DEPTH) y *= 2;
            /* Long ones in shorter pieces, as there are lanes for them. */
            while (narrow && y > 1 && y * 2 <= most && depth / (y * 2) >= 16) y *= 2;
            /* Partial sums lie in shared memory. The split must not depend on the number of rows. */
            while (y > 1 && x * y * GEMV_ROWS * sizeof(float) > info->shared_bytes) y /= 2;
        }
        break;
    case CLASS_PROCESSOR:
        x = b_trans ? lm_fit_lanes(info, 8, 1) : lm_fit_lanes(info, 16, 1);
        break;
    default: break;
    }
    const uint32_t lanes = lm_class_of(info) == CLASS_REFERENCE ? 1 : info->lanes;
    const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)lanes, b_trans, (int32_t)row_tile};
    memcpy(l->spec, spec, sizeof spec);
    lm_set_groups(l, info, lm_ceil_div(cols, b_trans ? y : x * lanes), lm_ceil_div(rows, row_tile), 1);
}

/* Rows and runs of four columns of a lane: more of them do more with each texel, but there are only so many registers. */
static void plan_gemm_texel(const lm_device_info *info, const lm_gemm_params *p, bool b_trans, lm_launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols, x = lm_fit_lanes(info, 8, 1);
    const uint32_t row_tile = lm_power_of_2(rows, 16), pad_2 = lm_ceil_div(cols, 8 * x) * 8 * x;
    const uint32_t quads = cols <= 4 * x ? 1 : lm_ceil_div(cols, 12 * x) * 12 * x < pad_2 ? 3 : 2;
    const bool reads = (p->lda | p->ldb | p->a_offset | p->depth) % 4 == 0;
    const bool writes = (p->ldc | p->c_offset | p->cols) % 4 == 0;
    const int32_t spec[] = {(int32_t)x, 1, (int32_t)info->lanes, b_trans, (int32_t)row_tile, (int32_t)quads,
                            (reads ? 1 : 0) | (writes ? 2 : 0), p->flags};
    memcpy(l->spec, spec, sizeof spec);
    lm_set_groups(l, info, lm_ceil_div(rows, row_tile), lm_ceil_div(cols, 4 * x * quads), 1);
}

/* How fast a tile multiplies and adds, relative to the fastest: with many groups on a compute unit, and with one. */
typedef struct tile_speed {
    float best, alone;
} tile_speed;

/* Tiles of gemm for GPUs, LM_KNOB_GEMM_TILE: what a lane has of one, into how many slices a group cuts k at most, and the depth of
 * a slice's part. Then, of an H200: how many groups a compute unit has at a time, and the tile's speed by OpenCL's compiler and by
 * Vulkan's. These, and the constants of tile_cost(), are fitted to products of 128 to 16,384 rows with in_proj, x_proj, dt_proj and
 * out_proj of a few widths. Smaller tiles load more for each element, but more of them fill the device. A tile has an even number of
 * lanes down (m / lane_m), as neighbours share columns in pairs. */
typedef struct gemm_tile {
    uint8_t m, n, lane_m, lane_n, slices, depth, resident;
    tile_speed opencl, vulkan;
} gemm_tile;

static const gemm_tile gemm_tiles[] = {
    {128, 64, 8, 8, 1, 16, 3, {0.91f, 0.67f}, {1.00f, 0.87f}},
    {64, 64, 8, 8, 2, 8, 3, {1.00f, 0.80f}, {0.93f, 0.78f}},
    {64, 32, 8, 8, 4, 8, 3, {0.78f, 0.65f}, {0.90f, 0.74f}},
    {32, 32, 8, 4, 16, 4, 3, {0.70f, 0.70f}, {0.64f, 0.64f}},
    {16, 16, 4, 4, 16, 8, 2, {0.30f, 0.30f}, {0.29f, 0.29f}},
    {64, 96, 8, 8, 2, 8, 2, {0.94f, 0.77f}, {0.84f, 0.62f}},
};
enum { GEMM_TILES = sizeof gemm_tiles / sizeof *gemm_tiles };

static uint32_t lanes_of(const gemm_tile *tile) { return (uint32_t)(tile->m / tile->lane_m) * (uint32_t)(tile->n / tile->lane_n); }

/* With what a driver puts beside it: NVIDIA's 16 bytes, through OpenCL. */
static uint32_t shared_bytes_of(const lm_device_info *info, const gemm_tile *tile)
{
    const uint32_t driver = info->backend == LM_BACKEND_OPENCL ? 64 : 0;
    const uint32_t staged = 2u * tile->depth * tile->slices * (uint32_t)(tile->m + tile->n);
    const uint32_t exchanged = tile->slices / 2u * tile->m * tile->n;
    return 4 * (staged > exchanged ? staged : exchanged) + driver;
}

/* The tile with as many slices and as deep as the device's limits and the depth let it be; false: it does not fit at all. */
static bool fit_tile(const lm_device_info *info, uint32_t depth, gemm_tile *tile)
{
    const uint32_t lanes = lanes_of(tile);
    while (tile->slices > 1) {
        const uint32_t staged = (uint32_t)tile->slices * tile->depth;
        const bool fits = lanes * tile->slices <= info->max_workgroup_size && tile->slices <= info->max_workgroup_dim[1] &&
                          shared_bytes_of(info, tile) <= info->shared_bytes;
        /* A part that is mostly past the end is work for nothing. */
        if (fits && depth > LM_SHORT_DEPTH && depth >= 64u * tile->slices && (depth % staged == 0 || depth >= 4 * staged)) break;
        tile->slices /= 2;
        if (tile->depth < 8) tile->depth *= 2;
    }
    if (shared_bytes_of(info, tile) > info->shared_bytes || (tile->slices == 1 && tile->depth > 8 && depth % 16 != 0))
        tile->depth = 8;
    return shared_bytes_of(info, tile) <= info->shared_bytes && lanes <= info->max_workgroup_size && lanes <= info->max_workgroup_dim[0];
}

/* How long a product takes with a tile, in multiply-adds of a compute unit at its best. */
static double tile_cost(const lm_device_info *info, const lm_gemm_params *p, const gemm_tile *tile)
{
    const double groups = (double)lm_ceil_div((uint32_t)p->cols, tile->n) * lm_ceil_div((uint32_t)p->rows, tile->m);
    const double each = groups / lm_units_of(info), resident = tile->resident;
    /* On the unit that has most. Groups that do not fit at once come as others end, those of one unit mostly together. */
    const double in_turn = each <= resident ? ceil(each) : 0.5 * (each + ceil(each / resident) * resident);
    const tile_speed *of = info->backend == LM_BACKEND_OPENCL ? &tile->opencl : &tile->vulkan;
    const double speed = fmin(of->best, in_turn * (double)of->alone);
    const uint32_t part = (uint32_t)tile->slices * tile->depth;
    const uint32_t steps = lm_ceil_div((uint32_t)p->depth, part) * part + 8; /* a tile's beginning and end are worth as much */
    /* What no other group hides, by elements of a lane: its code on the way, and its end, a row after the other. */
    const double last = 10000.0 * tile->lane_m * tile->lane_n;
    return in_turn * tile->m * tile->n * steps / speed + last;
}

static gemm_tile choose_tile(const lm_device *device, const lm_gemm_params *p)
{
    const lm_device_info *info = &device->info;
    const int32_t tuned = lm_knob_of(device, LM_KNOB_GEMM_TILE);
    gemm_tile chosen = {.m = 32, .n = 32, .lane_m = 4, .lane_n = 4, .slices = 1, .depth = 8}; /* fits every device */
    double least = INFINITY;
    for (int i = 0; i < GEMM_TILES; i++) {
        gemm_tile tile = gemm_tiles[i];
        if (!fit_tile(info, (uint32_t)p->depth, &tile)) continue;
        const double cost = tuned == i + 1 ? 0 : tile_cost(info, p, &tile);
        if (cost < least) least = cost, chosen = tile;
    }
    return chosen;
}

/* Rows and columns may move four floats at a time. Views always start at multiples of 16 bytes. */
static bool all_in_fours(int a, int b, int c, int d) { return (a | b | c | d) % 4 == 0; }

static void plan_gemm(const lm_device *device, const lm_gemm_params *p, bool b_trans, lm_launch *l)
{
    const lm_device_info *info = &device->info;
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols;
    gemm_tile tile = {1, 1, 1, 1, 1, 1, 1, {0, 0}, {0, 0}};
    uint32_t lanes = 1, group = 1;
    bool in4 = false, out4 = false;
    switch (lm_class_of(info)) {
    case CLASS_WIDE:
        /* The panel of B that a group packs is used by all its rows; fewer of them when there would be too few groups. */
        lanes = info->lanes;
        tile.n = (uint8_t)(2 * lanes);
        tile.m = lm_ceil_div(cols, tile.n) * lm_ceil_div(rows, 96) < 4 * lm_units_of(info) ? 24 : 96;
        if (lm_knob_of(device, LM_KNOB_PANEL_ROWS) != 0) tile.m = (uint8_t)lm_knob_of(device, LM_KNOB_PANEL_ROWS);
        break;
    case CLASS_GPU:
    case CLASS_PROCESSOR:
        tile = choose_tile(device, p);
        group = lanes_of(&tile);
        in4 = all_in_fours(p->lda, p->a_offset, p->ldb, b_trans ? 0 : p->cols) && p->depth >= tile.slices * tile.depth;
        out4 = all_in_fours(p->ldc, p->c_offset, p->cols, p->bias_offset);
        break;
    case CLASS_NATIVE:
    case CLASS_REFERENCE: break;
    }
    const int32_t spec[] = {(int32_t)group, tile.slices, (int32_t)lanes, b_trans, tile.m, tile.n, tile.lane_m, tile.depth, in4, out4};
    memcpy(l->spec, spec, sizeof spec);
    lm_set_groups(l, info, lm_ceil_div(cols, tile.n), lm_ceil_div(rows, tile.m), 1);
}

lm_status lm_launch_gemm_with(lm_list *list, lm_kernel_id kernel, const lm_gemm_params *params, bool b_trans, lm_view a,
                              lm_view b, lm_view bias, lm_view residual, lm_view c)
{
    const lm_device_info *info = &list->device->info;
    lm_launch l = {0};
    if (kernel == LM_KERNEL_GEMV && lm_reads_texels(info)) kernel = LM_KERNEL_GEMM_TEXEL;
    if (kernel == LM_KERNEL_GEMV) plan_gemv(info, params, b_trans, params->rows <= GEMV_ROWS || list->deterministic, &l);
    else if (kernel == LM_KERNEL_GEMM_TEXEL) plan_gemm_texel(info, params, b_trans, &l);
    else plan_gemm(list->device, params, b_trans, &l);
    lm_status status = lm_check_loops(list, "a product", (uint64_t)params->depth);
    if (status != LM_OK) return status;
    const lm_view views[] = {a, b, bias, residual, c};
    return lm_launch_dispatch(list, kernel, &l, params, sizeof *params, views, 5);
}

lm_status lm_launch_gemm(lm_list *list, const lm_gemm_params *params, bool b_trans, lm_view a, lm_view b, lm_view bias,
                         lm_view residual, lm_view c)
{
    const lm_device_info *info = &list->device->info;
    const uint32_t tuned = (uint32_t)lm_knob_of(list->device, LM_KNOB_FEW_ROWS);
    bool few = (uint32_t)params->rows <= (tuned != 0 ? tuned : GEMV_ROWS);
    switch (lm_class_of(info)) {
    /* Where barriers are slow, lanes that share nothing win at every size. */
    case CLASS_PROCESSOR: few = true; break;
    default: break;
    }
    /* `cpu` adds in the same order in both, where B is stored (K, N). */
    few = few || (list->deterministic && (lm_class_of(info) != CLASS_NATIVE || b_trans));
    return lm_launch_gemm_with(list, few ? LM_KERNEL_GEMV : LM_KERNEL_GEMM, params, b_trans, a, b, bias, residual, c);
}
