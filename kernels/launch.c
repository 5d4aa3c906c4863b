/* kernels/launch.c: how kernels map to work-groups.
 *
 * Every kernel, in every language, walks its tiles with a stride: the tile of dimension d starts at the group's index and
 * goes on by the number of groups while it is below the number of tiles,
 *     for (tile = group_id(d); tile < tiles_d; tile += num_groups(d))
 * so that any grid is right and a device's limit on groups is no limit on sizes. launch_<family>.c asks for one group a tile and
 * clamps to info.max_groups. The last tile of each dimension is ragged.
 *
 * WG_X, WG_Y: lanes of a work-group; WG_Z is 1. LANES: floats that one lane works on side by side (16 for OpenCL on a
 * processor, else 1). "columns" below are channels for conv and scan. Dimensions x, y, z of the grid count tiles of:
 *
 * kernel         constants                            x tiles of                y tiles of           z
 * gemm  LANES 1  TILE_M×TILE_N outputs a group, all    TILE_N columns            TILE_M rows          1
 *                of them by the WG_X lanes of each y,
 *                LANE_M rows a lane; DEPTH·WG_Y steps
 *                of k are staged at once, DEPTH of
 *                them for each y, whose sums are then
 *                added up through shared memory. IN4,
 *                OUT4: float4s (kernels/launch_gemm.c)
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
 * gemm_texel     a lane: ROWS rows, QUADS runs of     ROWS rows                 4·WG_X·QUADS columns 1
 *                four columns
 * conv           a lane: LANES channels, STEPS        WG_X·LANES channels       STEPS tokens         batch
 *                consecutive tokens; WG_Y is 1
 * conv_texel     a lane: TILES runs of four channels, 4·WG_X·TILES channels     RUN tokens           batch
 *                STEPS tokens at a time of RUN
 * conv_window    a lane: LANES channels, walking a    WG_X·LANES channels       none: its groups     batch
 *                chunk of tokens with REACH + AHEAD                             share the tokens of
 *                inputs in registers (REACH = (TAPS                             each sequence evenly
 *                − 1)·largest dilation); looks for
 *                the end every STEPS tokens; WG_Y
 *                is 1; DILATIONS has five bits a
 *                branch, FORM is LM_CONV_...
 * conv_state     WG_Y is 1                            WG_X·LANES channels       1 token of the last  batch
 *                                                                               min(length, history)
 * scan,          a lane: LANES channels, STATES       WG_X·LANES channels       1 chunk              batch
 * scan_summary   states in registers; WG_Y is 1.
 *                B and C of a few tokens are staged
 *                in shared memory where WG_X > 16,
 *                else read directly
 * scan_texel     a lane: four channels, STATES states 4·WG_X channels           1 chunk              batch
 * scan_tiled     GROUP lanes a channel, 4 states of   CHANNELS (opencl/         1 chunk              batch
 *                WIDTH channels a lane; exactly one   scan_tile.h) channels
 *                group a tile; LANES and WG_Y are 1
 * scan_ends      GROUP lanes a channel, 4 states a    WG_X/GROUP channels       1 chunk              batch
 *                lane; exactly one group a tile;
 *                LANES and WG_Y are 1
 * scan_ends_long 4 lanes a channel, all states a      WG_X/4 channels           1 chunk              batch
 *                lane; as scan_ends otherwise
 * scan_carry     WG_Y is 1                            WG_X·LANES channels       1 state of d_state   batch
 * state_copy     WG_Y is 1                            WG_X·LANES words          1 sequence           1
 * step_in        LANES 1: four columns of in_proj a    4·WG_X columns of one     ROWS sequences       1
 *                lane; lanes y < SPLIT take k =        half of in_proj
 *                4·y … 4·y+3 and on by 4·SPLIT, and
 *                are summed in order of y, unless
 *                SPLIT is 1; the others read rings;
 *                AHEAD fours of rows are loaded at
 *                once; WIDTH columns of x_proj, or
 *                0: they are loaded when needed
 *       LANES 16 one lane a group                     LANES·SPLIT columns       ROWS sequences       1
 * step_scan      LANES 1: a channel a lane; lanes of  WG_X channels             1 sequence           1
 *                one x share its states and ranks      through Vulkan a group
 *                                                      more looks ahead
 *       LANES 16 one lane a group; any number of      LANES channels            1 sequence           1
 *                groups divides the channels
 * step_out       as step_in, of all of out_proj       4·WG_X columns            ROWS sequences       1
 * rmsnorm,       one group a row: WG_X lanes stride   1 row                     1                    1
 * argmax,        over its columns, then a tree in
 * cross_entropy  shared memory (WG_X is a power of
 *                two; none with WG_X 1); WG_Y is 1
 * embed          WG_Y is 1                            WG_X·LANES columns        1 row                1
 *
 * The *_texel kernels stand in for gemv, conv and scan on CLASS_PROCESSOR with LM_CAP_TEXELS (kernels/glsl/texel.glsl says why);
 * conv_texel and scan_texel where channels, strides and offsets are multiples of 4.
 *
 * `cpu` and `reference` take every constant as 1, except B_TRANS, and STATES, which is d_state.
 */
#include "kernels/launch_internal.h"

lm_launch_class lm_class_of(const lm_device_info *info)
{
    if (info->type == LM_DEVICE_REFERENCE) return CLASS_REFERENCE;
    if (info->backend == LM_BACKEND_CPU && info->type == LM_DEVICE_CPU) return CLASS_NATIVE;
    if (info->lanes > 1) return CLASS_WIDE;
    /* OpenCL on a processor without wide lanes runs the mapping of GPUs: a way to test it without one. */
    return info->type == LM_DEVICE_CPU && info->backend == LM_BACKEND_VULKAN ? CLASS_PROCESSOR : CLASS_GPU;
}

bool lm_has_good_exp2(const lm_device_info *info)
{
    enum { AMD = 0x1002, NVIDIA = 0x10de };
    return info->type != LM_DEVICE_CPU && (info->vendor_id == NVIDIA || info->vendor_id == AMD);
}

uint32_t lm_units_of(const lm_device_info *info) { return info->compute_units > 0 ? info->compute_units : 16; }

uint32_t lm_fit_lanes(const lm_device_info *info, uint32_t wanted, uint32_t other)
{
    while (wanted > 1 && (wanted * other > info->max_workgroup_size || wanted > info->max_workgroup_dim[0])) wanted /= 2;
    return wanted;
}

void lm_set_groups(lm_launch *l, const lm_device_info *info, uint32_t x, uint32_t y, uint32_t z)
{
    const uint32_t tiles[3] = {x, y, z};
    for (int d = 0; d < 3; d++) l->groups[d] = tiles[d] < info->max_groups[d] ? tiles[d] : info->max_groups[d];
}

uint32_t lm_column_lanes(const lm_device_info *info, uint32_t columns)
{
    switch (lm_class_of(info)) {
    case CLASS_GPU: return lm_fit_lanes(info, columns <= 32 ? 32 : 64, 1);
    case CLASS_PROCESSOR: return lm_fit_lanes(info, 16, 1);
    default: return 1;
    }
}

lm_status lm_check_loops(lm_list *list, const char *what, uint64_t iterations)
{
    const lm_device_info *info = &list->device->info;
    if (lm_class_of(info) != CLASS_PROCESSOR || iterations <= 60000) return LM_OK;
    return lm_fail(list->device->context, LM_ERROR_UNSUPPORTED, "%s: %s would loop %llu times, over this driver's limit", info->id,
                   what, (unsigned long long)iterations);
}

lm_status lm_launch_dispatch(lm_list *list, lm_kernel_id kernel, const lm_launch *l, const void *params, size_t params_size,
                             const lm_view *views, size_t view_count)
{
    return lm_list_dispatch(list, kernel, l->spec, params, params_size, views, view_count, l->groups);
}
