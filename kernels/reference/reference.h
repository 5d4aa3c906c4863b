/* kernels/reference/reference.h: the oracle. Plain loops, double accumulators, no arithmetic shared with the fast kernels.
 *
 * The functions named in kernels.def take a kernel's parameters, its specialisation constants (of which only B_TRANS and
 * STATES matter here) and its bindings in order (float32 and int32 arrays), and compute exactly what kernels/params.h says;
 * they are the `reference` device. lm_reference_block is the whole block in float64.
 */
#ifndef LM_REFERENCE_H
#define LM_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void lm_reference_gemm(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_conv(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_conv_state(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_conv_window(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_scan(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_scan_ends(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_scan_summary(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_scan_carry(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_state_copy(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_step_in(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_step_scan(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_step_out(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_rmsnorm(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_embed(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_argmax(const void *params, const int32_t *spec, void *const *buffers);
void lm_reference_cross_entropy(const void *params, const int32_t *spec, void *const *buffers);

typedef enum lm_reference_variant {
    LM_REFERENCE_BASELINE, LM_REFERENCE_PTCN, LM_REFERENCE_STCN, LM_REFERENCE_DPWC
} lm_reference_variant;

/* A block's weights in float64 as the file has them (shapes of the PyTorch state_dict, row-major). Absent ones are NULL. */
typedef struct lm_reference_weights {
    lm_reference_variant variant;
    size_t d_model, d_inner, d_state, dt_rank, d_conv, branches;
    const int32_t *dilations;                             /* (branches) */
    const double *in_proj_weight, *in_proj_bias;          /* (2·d_inner, d_model), (2·d_inner) or NULL */
    const double *const *conv_weight, *const *conv_bias;  /* a pointer a branch: (d_inner, 1, d_conv), (d_inner) or NULL */
    const double *conv_gates;                             /* (branches) before softmax, or NULL */
    const double *const *pw_weight, *const *pw_bias;      /* dpwc: (d_inner, d_inner), (d_inner) */
    const double *x_proj_weight;                          /* (dt_rank + 2·d_state, d_inner) */
    const double *dt_proj_weight, *dt_proj_bias;          /* (d_inner, dt_rank), (d_inner) */
    const double *a_log, *d;                              /* (d_inner, d_state), (d_inner) */
    const double *out_proj_weight, *out_proj_bias;        /* (d_model, d_inner), (d_model) or NULL */
} lm_reference_weights;

/* Doubles of state that one sequence of this block has: per branch (d_inner, S_k) oldest first, then (d_inner, d_state). */
size_t lm_reference_state_size(const lm_reference_weights *weights);

/* x and y (length, d_model). `state` is one sequence's, zeros at its start, and is moved on; NULL means zeros and is not
 * kept. Returns false when memory is short. */
bool lm_reference_block(const lm_reference_weights *weights, double *state, size_t length, const double *x, double *y);

/* y[r] = x[r]·weight / sqrt(mean x² + epsilon), in float64. */
void lm_reference_rmsnorm64(size_t rows, size_t cols, double epsilon, const double *x, const double *weight, double *y);

#endif
