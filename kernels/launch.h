/* kernels/launch.h: records one kernel on a list: picks the variant, its specialisation constants and the number of
 * work-groups from the device and the sizes. The only place that knows how kernels map to work-groups. Internal.
 *
 * On a list that is `deterministic` a row's result is the same, bit for bit, whatever the number of rows and its place among them:
 * products all take gemv, whose order of additions depends on the depth alone (on `cpu` gemm too, whose order is the same). Scans
 * are kept in one chunk by the caller, and take no tiles.
 *
 * Shapes and bindings: kernels/params.h. Views that a kernel does not use (no bias, no gate) have buffer NULL.
 */
#ifndef LM_LAUNCH_H
#define LM_LAUNCH_H

#include "kernels/params.h"
#include "runtime/list.h"

/* b_trans: 0 for B stored (K, N), 1 for (N, K). A few rows take gemv. */
lm_status lm_launch_gemm(lm_list *list, const lm_gemm_params *params, bool b_trans, lm_view a, lm_view b, lm_view bias,
                         lm_view residual, lm_view c);

/* One named variant, for tests and the bench: kernel LM_KERNEL_GEMM or LM_KERNEL_GEMV. */
lm_status lm_launch_gemm_with(lm_list *list, lm_kernel_id kernel, const lm_gemm_params *params, bool b_trans, lm_view a,
                              lm_view b, lm_view bias, lm_view residual, lm_view c);

typedef struct lm_conv_views {
    lm_view x, weight, bias, gates, dilations, history, rows, out;
    const uint32_t *known_dilations; /* what `dilations` holds, where the host knows it; else NULL */
} lm_conv_views;
/* The convolutions, and then the inputs into the ring (conv and conv_state of params.h). `x` is not `out`. */
lm_status lm_launch_conv(lm_list *list, const lm_conv_params *params, const lm_conv_views *views);

/* What that takes: LM_KERNEL_CONV_WINDOW, which has both in it, or LM_KERNEL_CONV, and then LM_KERNEL_CONV_STATE. */
lm_kernel_id lm_conv_kernel(const lm_device *device, const lm_conv_params *params, const uint32_t *known_dilations);

/* One named kernel, for tests and the bench: LM_KERNEL_CONV; LM_KERNEL_CONV_STATE, of `views` x, rows and history;
 * LM_KERNEL_CONV_WINDOW, which is both, and LM_ERROR_UNSUPPORTED where taps and dilations are too many. */
lm_status lm_launch_conv_with(lm_list *list, lm_kernel_id kernel, const lm_conv_params *params, const lm_conv_views *views);

typedef struct lm_scan_views {
    lm_view u, delta, a, bc, d, z, rows, state, y;
    lm_view summary, total; /* workspace of lm_scan_workspace bytes each; absent when those are 0 */
} lm_scan_views;

/* How a scan will be cut on this device: fills params->chunks and chunk_length from batch, length, channels, d_state. */
void lm_scan_plan(const lm_device *device, lm_scan_params *params);
/* Bytes of summary and total for a planned scan; 0 for what is not needed. */
void lm_scan_workspace(const lm_device *device, const lm_scan_params *params, uint64_t *summary_bytes, uint64_t *total_bytes);
/* Records the whole scan as planned: all groups of states, and summary, carry, apply, or ends and apply, where there are chunks.
 * params->state_first is ignored. */
lm_status lm_launch_scan(lm_list *list, const lm_scan_params *params, const lm_scan_views *views);

/* Named variants, for tests: without scan_tiled, and with a form of it where the device can run it. */
typedef struct lm_scan_form {
    uint32_t segments, width; /* kernels/opencl/scan_tile.h; 1 and 1 or 2, or 4 or 8 and 2 */
} lm_scan_form;
lm_status lm_launch_scan_untiled(lm_list *list, const lm_scan_params *params, const lm_scan_views *views);
lm_status lm_launch_scan_tiled(lm_list *list, const lm_scan_params *params, const lm_scan_views *views, lm_scan_form form);
/* What that form takes on this device (segments 0: the one that lm_launch_scan chooses): LM_KERNEL_SCAN, after summary and carry
 * where there are chunks; LM_KERNEL_SCAN_TILED for one chunk; LM_KERNEL_SCAN_ENDS, which leaves its records in `summary`, and
 * then scan_tiled. */
lm_kernel_id lm_scan_kernel(const lm_device *device, const lm_scan_params *params, lm_scan_form form);

lm_status lm_launch_state_copy(lm_list *list, const lm_state_copy_params *params, lm_view rows, lm_view state);

typedef struct lm_step_in_views {
    lm_view x, norm, weight, bias, conv, rows, history, x_proj, out;
} lm_step_in_views;
/* Fills params->tile from channels. */
void lm_step_plan(const lm_device *device, lm_step_in_params *params);
lm_status lm_launch_step_in(lm_list *list, const lm_step_in_params *params, const lm_step_in_views *views);

typedef struct lm_step_scan_views {
    lm_view in, dt_weight, dt_bias, a, d, rows, state, y;
    lm_view soon[2]; /* what the steps after it read, or absent */
} lm_step_scan_views;
/* Fills soon_size_0 and soon_size_1 of the parameters by itself. */
lm_status lm_launch_step_scan(lm_list *list, const lm_step_scan_params *params, const lm_step_scan_views *views);

typedef struct lm_step_out_views {
    lm_view x, weight, bias, residual, out;
} lm_step_out_views;
lm_status lm_launch_step_out(lm_list *list, const lm_step_out_params *params, const lm_step_out_views *views);

/* Are these kernels for sizes like these, and better than the general ones? */
bool lm_step_fits(const lm_device *device, const lm_step_in_params *in, const lm_step_scan_params *scan);

lm_status lm_launch_rmsnorm(lm_list *list, const lm_rmsnorm_params *params, lm_view x, lm_view weight, lm_view y);
lm_status lm_launch_embed(lm_list *list, const lm_embed_params *params, lm_view tokens, lm_view table, lm_view y);
lm_status lm_launch_argmax(lm_list *list, const lm_argmax_params *params, lm_view x, lm_view index);
lm_status lm_launch_cross_entropy(lm_list *list, const lm_cross_entropy_params *params, lm_view x, lm_view target,
                                  lm_view loss);

#endif
