/* kernels/launch_gemm.c: which product kernel, and its tiles. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

#include <string.h>

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

static void plan_gemv(const lm_device_info *info, const lm_gemm_params *p, bool b_trans, bool narrow, lm_launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols, depth = (uint32_t)p->depth;
    const uint32_t row_tile = round_up(rows, GEMV_ROWS);
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
            while (y * 2 <= most && depth / (y * 2) >= 64) y *= 2;
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
    const uint32_t row_tile = round_up(rows, 16), pad_2 = lm_ceil_div(cols, 8 * x) * 8 * x;
    const uint32_t quads = cols <= 4 * x ? 1 : lm_ceil_div(cols, 12 * x) * 12 * x < pad_2 ? 3 : 2;
    const bool reads = (p->lda | p->ldb | p->a_offset | p->depth) % 4 == 0;
    const bool writes = (p->ldc | p->c_offset | p->cols) % 4 == 0;
    const int32_t spec[] = {(int32_t)x, 1, (int32_t)info->lanes, b_trans, (int32_t)row_tile, (int32_t)quads,
                            (reads ? 1 : 0) | (writes ? 2 : 0), p->flags};
    memcpy(l->spec, spec, sizeof spec);
    lm_set_groups(l, info, lm_ceil_div(rows, row_tile), lm_ceil_div(cols, 4 * x * quads), 1);
}

static void plan_gemm(const lm_device *device, const lm_gemm_params *p, bool b_trans, lm_launch *l)
{
    const lm_device_info *info = &device->info;
    const uint32_t panel_rows = (uint32_t)lm_knob_of(device, LM_KNOB_PANEL_ROWS);
    const uint32_t rows = (uint32_t)p->rows, cols = (uint32_t)p->cols, units = lm_units_of(info);
    uint32_t x = 1, y = 1, tile_m = 1, tile_n = 1, lanes = 1;
    switch (lm_class_of(info)) {
    case CLASS_WIDE:
        /* The panel of B that a group packs is used by all its rows; fewer of them when there would be too few groups. */
        lanes = info->lanes;
        tile_n = 2 * lanes;
        tile_m = 96;
        if (lm_ceil_div(cols, tile_n) * lm_ceil_div(rows, tile_m) < 4 * units) tile_m = 24;
        if (panel_rows != 0) tile_m = panel_rows;
        break;
    case CLASS_GPU:
    case CLASS_PROCESSOR:
        x = y = tile_m = tile_n = 0;
        /* Larger tiles do more with each loaded element, but the grid has to fill the device. */
        if (info->max_workgroup_size >= 256 && info->shared_bytes >= 32768
            && (uint64_t)lm_ceil_div(cols, 128) * lm_ceil_div(rows, 128) >= 2 * (uint64_t)units)
            x = y = 16, tile_m = tile_n = 128;
        else if (info->max_workgroup_size >= 256 && (uint64_t)lm_ceil_div(cols, 64) * lm_ceil_div(rows, 64) >= 2 * (uint64_t)units)
            x = y = 16, tile_m = tile_n = 64;
        else
            x = y = 8, tile_m = tile_n = 32;
        break;
    case CLASS_NATIVE:
    case CLASS_REFERENCE: break;
    }
    const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)lanes, b_trans, (int32_t)tile_m, (int32_t)tile_n};
    memcpy(l->spec, spec, sizeof spec);
    lm_set_groups(l, info, lm_ceil_div(cols, tile_n), lm_ceil_div(rows, tile_m), 1);
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
    const uint32_t rows = (uint32_t)params->rows, cols = (uint32_t)params->cols;
    const uint32_t tuned = (uint32_t)lm_knob_of(list->device, LM_KNOB_FEW_ROWS);
    bool few = rows <= (tuned != 0 ? tuned : GEMV_ROWS);
    switch (lm_class_of(info)) {
    /* Where barriers are slow, lanes that share nothing win at every size. */
    case CLASS_PROCESSOR: few = true; break;
    /* A product whose smallest tiles do not fill the device: gemv has more groups, each of which splits depth. */
    case CLASS_GPU: few = few || 2 * (uint64_t)lm_ceil_div(cols, 32) * lm_ceil_div(rows, 32) < 3 * (uint64_t)lm_units_of(info); break;
    default: break;
    }
    /* `cpu` adds in the same order in both, where B is stored (K, N). */
    few = few || (list->deterministic && (lm_class_of(info) != CLASS_NATIVE || b_trans));
    return lm_launch_gemm_with(list, few ? LM_KERNEL_GEMV : LM_KERNEL_GEMM, params, b_trans, a, b, bias, residual, c);
}
