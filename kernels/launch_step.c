/* kernels/launch_step.c: a step, where every sequence has one token. The mappings: kernels/launch.c. */
#include "kernels/launch_internal.h"

enum { MOST_ROWS = 8 }; /* that share what is read of a matrix */

static bool whole_fours(const lm_view *view) { return view->offset % 16 == 0; }

/* A step then gives nearly the bits of a forward. */
static bool is_short(uint32_t depth) { return depth <= LM_SHORT_DEPTH; }

/* ---- the product ------------------------------------------------------------------------------------------------- */

/* Floats of shared memory that a tile's sums take. */
static uint64_t shared_sums(uint64_t tile, uint64_t split) { return (split + split / 4 + 1) * (tile + 1); }

/* Few rows leave registers for one large group on every unit, which reads memory faster than two small ones after each other. */
enum { FEW_ROWS = 2 };

/* Lanes of a group along y that sum, a multiple of four, each with as many fours of rows of the matrix; 1: they do not share. A group
 * has up to `lanes` lanes in all for a deep matrix, `limit` of them along y, and half of the shared memory for their sums. */
static uint32_t split_of(const lm_device_info *info, uint32_t x, uint32_t depth, uint32_t rows, uint32_t lanes, uint32_t limit)
{
    if (is_short(depth)) return 1;
    const uint32_t fours = lm_ceil_div(depth, 4);
    uint32_t most = 512 / x;
    if (rows > FEW_ROWS) most = x > 8 ? 32 : 256 / x;
    else if (fours > 4 * most) most = lanes / x;
    while (most > 4 && sizeof(float) * shared_sums(4 * x, most) > info->shared_bytes / 2) most -= 4;
    most = lm_min_u32(most, limit) / 4 * 4;
    if (most == 0) return 1;
    return (lm_ceil_div(fours, lm_ceil_div(fours, most)) + 3) / 4 * 4;
}

/* Fours of rows of the matrix that a lane has on their way at once: all, if they are few, or two, so that registers are left for as
 * many lanes. */
static uint32_t ahead_of(uint32_t depth, uint32_t split, uint32_t row_tile)
{
    const uint32_t fours = lm_ceil_div(depth, 4 * split);
    if (is_short(depth)) return lm_min_u32(fours, row_tile <= FEW_ROWS ? 4 : 1);
    return lm_min_u32(fours, row_tile <= FEW_ROWS && fours <= 3 ? 3 : row_tile <= 4 ? 2 : 1);
}

/* Columns of a tile, a multiple of `least`: as few as make no more than one large group a unit, or two small ones. The wider they
 * are, the better memory is read, and the fewer parts of x_proj there are. */
static uint32_t tile_of(const lm_device_info *info, uint32_t halves, uint32_t columns, uint32_t least, uint32_t rows)
{
    const bool large = rows <= FEW_ROWS && info->max_workgroup_size >= 1024;
    const uint32_t groups = large ? 1 : 2, most = large ? 128 : 64;
    uint32_t tile = least;
    while (tile < most && halves * lm_ceil_div(columns, tile) > groups * lm_units_of(info)) tile += least;
    return tile;
}

/* ---- step_in ----------------------------------------------------------------------------------------------------- */

void lm_step_plan(const lm_device *device, lm_step_in_params *p)
{
    const lm_device_info *info = &device->info;
    p->tile = 64;
    if (lm_class_of(info) == CLASS_GPU && !is_short((uint32_t)p->depth))
        p->tile = (int)tile_of(info, 2, (uint32_t)p->channels, 16, (uint32_t)p->rows);
    while (p->tile > 16 && 2 * (uint64_t)p->branches * (uint64_t)p->tile * sizeof(float) > info->shared_bytes / 2) p->tile = p->tile / 8 * 4;
}

/* Shared memory of a group, in bytes. */
static uint64_t shared_of(const lm_step_in_params *p, const int32_t *spec)
{
    const uint64_t tile = (uint64_t)p->tile, rows = (uint64_t)spec[4], branches = (uint64_t)p->branches, split = (uint64_t)spec[3];
    const uint64_t group = (uint64_t)spec[0] * (uint64_t)spec[1], columns = spec[9] > 0 ? 4 * group : group;
    return sizeof(float) * (rows * tile * (1 + branches) + branches * (tile + 1 + rows) + shared_sums(tile, split) + columns);
}

/* The columns of x_proj where lanes can have what is theirs of it on its way while sums meet, as fours; else 0. */
static uint32_t fours_ahead(const lm_device_info *info, const lm_step_in_params *p, uint32_t group)
{
    const uint32_t quads = (uint32_t)p->width / 4;
    if (lm_class_of(info) != CLASS_GPU || p->width == 0 || p->width % 4 != 0 || group < quads) return 0;
    return lm_ceil_div((uint32_t)p->tile, group / quads) <= 8 ? (uint32_t)p->width : 0;
}

static void plan_in(const lm_device_info *info, const lm_step_in_params *p, bool aligned, bool aligned_x_proj, lm_launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, depth = (uint32_t)p->depth, tile = (uint32_t)p->tile;
    uint32_t x = 1, y = 1, split = 1, most = 1;
    switch (lm_class_of(info)) {
    case CLASS_GPU: {
        x = tile / 4;
        /* Lanes that sum, and lanes that look back: one a branch and channel. */
        const uint32_t limit = lm_min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]);
        uint32_t back = is_short(depth) ? 0 : lm_min_u32((uint32_t)p->branches * 4, lm_ceil_div(128, x));
        if (4 * back > limit) back = limit / 4;
        split = split_of(info, x, depth, rows, 640, limit - back);
        y = split > 1 ? split + back : 1;
        most = MOST_ROWS;
        break;
    }
    case CLASS_WIDE: split = tile / info->lanes, most = 4; break;
    case CLASS_PROCESSOR: x = tile / 4, most = 4; break;
    case CLASS_NATIVE:
    case CLASS_REFERENCE: break;
    }
    const uint32_t lanes = info->lanes, width = aligned_x_proj ? fours_ahead(info, p, x * y) : 0;
    uint32_t row_tile = lm_power_of_2(rows, most);
    for (;; row_tile /= 2) {
        const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)lanes, (int32_t)split, (int32_t)row_tile, aligned,
                                p->branches, p->taps, (int32_t)ahead_of(depth, split, row_tile), (int32_t)width};
        for (int i = 0; i < 10; i++) l->spec[i] = spec[i];
        if (row_tile == 1 || shared_of(p, l->spec) <= info->shared_bytes) break;
    }
    if (shared_of(p, l->spec) > info->shared_bytes) l->spec[9] = 0;
    lm_set_groups(l, info, 2 * lm_ceil_div((uint32_t)p->channels, tile), lm_ceil_div(rows, row_tile), 1);
}

lm_status lm_launch_step_in(lm_list *list, const lm_step_in_params *params, const lm_step_in_views *v)
{
    const bool aligned = params->depth % 4 == 0 && params->channels % 4 == 0 && whole_fours(&v->x) && whole_fours(&v->norm)
                         && whole_fours(&v->weight);
    lm_launch l = {0};
    plan_in(&list->device->info, params, aligned, whole_fours(&v->x_proj), &l);
    lm_status status = lm_check_loops(list, "a step", 2 * (uint64_t)params->depth);
    if (status != LM_OK) return status;
    const lm_view views[] = {v->x, v->norm, v->weight, v->bias, v->conv, v->rows, v->history, v->x_proj, v->out};
    return lm_launch_dispatch(list, LM_KERNEL_STEP_IN, &l, params, sizeof *params, views, 9);
}

/* ---- step_out ---------------------------------------------------------------------------------------------------- */

static void plan_out(const lm_device_info *info, const lm_step_out_params *p, bool aligned, lm_launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, depth = (uint32_t)p->depth, cols = (uint32_t)p->cols;
    uint32_t x = 1, y = 1, split = 1, tile = 16, most = 1;
    switch (lm_class_of(info)) {
    case CLASS_GPU:
        tile = tile_of(info, 1, cols, 8, rows);
        x = tile / 4;
        y = split = split_of(info, x, depth, rows, 800, lm_min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]));
        most = MOST_ROWS;
        break;
    case CLASS_WIDE: tile = 2 * info->lanes, split = 2, most = 4; break;
    case CLASS_PROCESSOR: x = tile / 4, most = 4; break;
    case CLASS_NATIVE:
    case CLASS_REFERENCE: break;
    }
    uint32_t row_tile = lm_power_of_2(rows, most);
    while (row_tile > 1 && sizeof(float) * (row_tile * tile + shared_sums(tile, split)) > info->shared_bytes) row_tile /= 2;
    const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)info->lanes, (int32_t)split, (int32_t)row_tile, aligned,
                            (int32_t)ahead_of(depth, split, row_tile)};
    for (int i = 0; i < 7; i++) l->spec[i] = spec[i];
    lm_set_groups(l, info, lm_ceil_div(cols, tile), lm_ceil_div(rows, row_tile), 1);
}

lm_status lm_launch_step_out(lm_list *list, const lm_step_out_params *params, const lm_step_out_views *v)
{
    const bool aligned = params->depth % 4 == 0 && params->cols % 4 == 0 && whole_fours(&v->x) && whole_fours(&v->weight);
    lm_launch l = {0};
    plan_out(&list->device->info, params, aligned, &l);
    lm_status status = lm_check_loops(list, "a step", 2 * (uint64_t)params->depth);
    if (status != LM_OK) return status;
    const lm_view views[] = {v->x, v->weight, v->bias, v->residual, v->out};
    return lm_launch_dispatch(list, LM_KERNEL_STEP_OUT, &l, params, sizeof *params, views, 5);
}

/* ---- step_scan --------------------------------------------------------------------------------------------------- */

enum {
    LEAST_AHEAD = 16 << 20, /* bytes from which on it may pay to have their pages at hand: fewer are in few */
    MOST_AHEAD = 1 << 30,   /* of each view */
};

/* Through OpenCL it changed nothing on an H200. */
static bool looks_ahead(const lm_device_info *info, const lm_step_scan_views *v)
{
    return lm_class_of(info) == CLASS_GPU && info->backend == LM_BACKEND_VULKAN && v->soon[0].size + v->soon[1].size >= LEAST_AHEAD;
}

static uint32_t width_of(const lm_step_scan_params *p) { return (uint32_t)(p->rank + 2 * p->d_state); }

static void plan_scan(const lm_device_info *info, const lm_step_scan_params *p, bool aligned, bool looks, lm_launch *l)
{
    const uint32_t rows = (uint32_t)p->rows, channels = (uint32_t)p->channels, units = lm_units_of(info);
    uint32_t x = 1, y = 1, states = 1, ranks = 1, tiles;
    switch (lm_class_of(info)) {
    case CLASS_GPU:
        /* Every group reads all parts: the fewer groups, the better. */
        x = lm_fit_lanes(info, lm_ceil_div(channels, 32) > units ? 64 : 32, 1);
        y = lm_min_u32(512 / x, lm_min_u32(info->max_workgroup_size / x, info->max_workgroup_dim[1]));
        break;
    case CLASS_PROCESSOR: x = lm_fit_lanes(info, 8, 1); break;
    default: break;
    }
    tiles = lm_ceil_div(channels, x * info->lanes);
    /* Every group adds all parts up, so there are no more than keep a processor busy. */
    if (lm_class_of(info) != CLASS_GPU) tiles = lm_min_u32(tiles, lm_ceil_div(4 * units, rows));
    if (lm_class_of(info) == CLASS_GPU || lm_class_of(info) == CLASS_PROCESSOR)
        states = lm_ceil_div((uint32_t)p->d_state, y), ranks = lm_ceil_div((uint32_t)p->rank, y);
    /* Parts that a lane has on their way: all, if they are few. A driver on the processor takes long to build more than two. */
    const uint32_t fours = lm_ceil_div(width_of(p), 4), shares = x * y > fours ? x * y / fours : 1;
    const int32_t at_once = info->type == LM_DEVICE_CPU ? 2 : (int32_t)lm_min_u32(lm_ceil_div((uint32_t)p->parts, shares), 8);
    const int32_t spec[] = {(int32_t)x, (int32_t)y, (int32_t)info->lanes, (int32_t)states, (int32_t)ranks, (int32_t)width_of(p),
                            aligned, at_once};
    for (int i = 0; i < 8; i++) l->spec[i] = spec[i];
    lm_set_groups(l, info, tiles + looks, rows, 1);
}

lm_status lm_launch_step_scan(lm_list *list, const lm_step_scan_params *params, const lm_step_scan_views *v)
{
    const bool aligned = width_of(params) % 4 == 0 && params->part_offset % 4 == 0 && whole_fours(&v->in);
    const lm_device_info *info = &list->device->info;
    const bool looks = looks_ahead(info, v);
    lm_view soon[2] = {{0}, {0}};
    for (int i = 0; i < 2 && looks; i++) {
        soon[i] = v->soon[i];
        if (soon[i].size > info->max_binding_bytes) soon[i].size = info->max_binding_bytes;
        if (soon[i].size > MOST_AHEAD) soon[i].size = MOST_AHEAD;
    }
    lm_step_scan_params p = *params;
    p.soon_size_0 = (int)(soon[0].size / sizeof(float)), p.soon_size_1 = (int)(soon[1].size / sizeof(float));
    lm_launch l = {0};
    plan_scan(info, params, aligned, looks, &l);
    const lm_view views[] = {v->in, v->dt_weight, v->dt_bias, v->a, v->d, v->rows, v->state, v->y, soon[0], soon[1]};
    return lm_launch_dispatch(list, LM_KERNEL_STEP_SCAN, &l, &p, sizeof p, views, 10);
}

/* ---- which steps ------------------------------------------------------------------------------------------------- */

bool lm_step_fits(const lm_device *device, const lm_step_in_params *in, const lm_step_scan_params *scan)
{
    const lm_device_info *info = &device->info;
    uint32_t most_rows = 0;
    switch (lm_class_of(info)) {
    case CLASS_GPU: most_rows = 16; break;
    case CLASS_WIDE: most_rows = 4; break;
    case CLASS_PROCESSOR: /* where barriers are slow, and general kernels read texels */
    case CLASS_NATIVE:
    case CLASS_REFERENCE: return false;
    }
    lm_launch l = {0}, s = {0};
    plan_in(info, in, true, true, &l);
    plan_scan(info, scan, true, false, &s);
    /* What lanes have in registers, and groups in shared memory. */
    const uint64_t group = (uint64_t)s.spec[0] * (uint64_t)s.spec[1], width = width_of(scan);
    return (uint32_t)in->rows <= most_rows && shared_of(in, l.spec) <= info->shared_bytes && in->taps <= 16
           && s.spec[3] <= 32 && s.spec[4] <= 64 && 16 * (width + group) + 4 * (width + 2 * group) <= info->shared_bytes;
}
