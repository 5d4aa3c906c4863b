/* kernels/params.h: the arguments of every kernel, declared once for C, OpenCL C and GLSL.
 *
 * Each kernel has a list of 4-byte fields, `int` or `float`, which mean the same in all three languages. C and OpenCL make
 * a struct of it, GLSL a push-constant block. kernels/kernels.c asserts that each struct fits 128 bytes.
 *
 * Indexes. Strides and offsets count elements, not bytes. The host proves that every index of a dispatch stays below
 * 2^30 elements (a binding holds at most 4 GiB), so 32-bit arithmetic in kernels cannot overflow.
 *
 * Activations are row-major (row, channel); a row is one token of one sequence. Sequences of one call lie end to end in
 * the rows ("packed"), and the table `rows`, an int buffer, says where:
 *     rows[b·rows_stride + LM_ROW_SLOT]      the sequence's slot in state buffers
 *     rows[b·rows_stride + LM_ROW_START]     its first row in the activations
 *     rows[b·rows_stride + LM_ROW_LENGTH]    its number of tokens in this call (may be 0, at most params.length)
 *     rows[b·rows_stride + LM_ROW_SEEN]      tokens of it that came before this call, or any number that is no less than the
 *                                            longest ring: what lies in state before the first token counts as zero
 *     rows[b·rows_stride + LM_ROW_HEADS + r] the head of its history ring r: where the oldest input lies
 */
#ifndef LM_PARAMS_H
#define LM_PARAMS_H

#define LM_ROW_SLOT 0
#define LM_ROW_START 1
#define LM_ROW_LENGTH 2
#define LM_ROW_SEEN 3
#define LM_ROW_HEADS 4
#define LM_ROW_FROM LM_ROW_HEADS /* of state_copy's table */

/* gemm, gemv: C[m,n] = epilogue(sum_k A[m,k]·B(k,n)); bindings a, b, bias, residual, c.
 *   A[m,k] = a[a_offset + m·lda + k]
 *   B(k,n) = b[k·ldb + n] with B_TRANS 0, b[n·ldb + k] with B_TRANS 1
 *   epilogue: + bias[bias_offset + n] (LM_GEMM_BIAS), then softplus (LM_GEMM_SOFTPLUS), then + residual[c_offset + m·ldc + n]
 *   (LM_GEMM_RESIDUAL; residual and c may be the same buffer)
 *   C[m,n] = c[c_offset + m·ldc + n] */
#define LM_GEMM_BIAS 1
#define LM_GEMM_SOFTPLUS 2
#define LM_GEMM_RESIDUAL 4
#define LM_GEMM_FIELDS \
    int rows;          /* M, above 0 */ \
    int cols;          /* N, above 0 */ \
    int depth;         /* K, above 0 */ \
    int lda; \
    int ldb; \
    int ldc; \
    int a_offset; \
    int c_offset; \
    int bias_offset; \
    int flags;         /* LM_GEMM_... */

/* conv: causal depthwise convolutions of m branches, SiLU, and their gated sum or concatenation; bindings x, weight, bias,
 * gates, dilations, history, rows, out.
 *   c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  s_k = SiLU(c_k), k = branch_first … branch_first+branches−1
 *   LM_CONV_CONCAT: out[row][k'·channels + c] = s_k, k' from 0; else out[row][c] = sum_k g_k·s_k with g_k = gates[k]
 *   (LM_CONV_GATES) or 1.
 *   x of token t ≥ 0 of sequence b is x[x_offset + (start+t)·x_stride + c]; of token −i (1 ≤ i ≤ history) it is
 *   history[(slot·history + (head + history − i) mod history)·channels + c] where i ≤ seen, else 0.
 *   weight is (branches of the whole block, K, channels), bias (branches, channels), dilations int (branches).
 * conv_state: afterwards puts the last min(length, history) inputs into the ring; bindings x, rows, history.
 *   For t = max(0, length−history) … length−1: history[(slot·history + (head + t) mod history)·channels + c] = x of token t.
 *   (The host then moves the head by length mod history.)
 * conv_window: both, with the bindings of conv, where x is not out. */
#define LM_CONV_BIAS 1
#define LM_CONV_GATES 2
#define LM_CONV_CONCAT 4
#define LM_CONV_HARDWARE_EXP 8 /* a kernel's constant, not in flags: the device's exp2 is good to 2 ULP */
#define LM_CONV_CUTS 4         /* into which a chunk is cut, where it is */
#define LM_CONV_FIELDS \
    int batch;         /* sequences, above 0 */ \
    int length;        /* tokens of the longest of them, above 0 */ \
    int channels; \
    int taps;          /* K, above 0 */ \
    int branch_first; \
    int branches;      /* of this dispatch, above 0 */ \
    int x_stride; \
    int x_offset; \
    int out_stride; \
    int history;       /* ring length, at least (K−1)·max δ + 1 of these branches */ \
    int ring;          /* which head of the row table */ \
    int rows_stride; \
    int flags;         /* LM_CONV_... */ \
    int uncut;         /* sequences whose chunks are not cut; conv_window's, set where it is launched */

/* The selective scan, per channel c and state n, A negative:
 *   s_t = exp(Δ_t·A[n,c])·s_{t−1} + Δ_t·B_t[n]·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D[c]·u_t) · SiLU(z_t)
 *   Δ already went through softplus. Layouts: u, delta, y (row, channels) with strides; a (d_state, channels);
 *   B_t[n] = bc[row·bc_stride + b_offset + n], C_t[n] = bc[row·bc_stride + c_offset + n];
 *   z = z[row·z_stride + z_offset + c]; state (slot, d_state, channels).
 * A dispatch handles states state_first … state_first+STATES−1 (those below d_state): y starts with D·u when state_first is 0,
 * else it adds to y; the gate is applied when the last state is in the group.
 * Time is cut into `chunks` chunks of chunk_length tokens (the last ones of a short sequence may be short or empty).
 *   scan          bindings u, delta, a, bc, d, z, rows, state, y. chunks 1: starts from and leaves state[slot], which counts as
 *                 zero where nothing was seen; a sequence without tokens leaves it alone. Else chunk i of
 *                 sequence b starts from state[b·chunks + i] (state is then the carried summary) and state is left alone.
 *   scan_tiled    the same a tile of tokens at a time; state_first … state_first+4·GROUP−1. One more binding, ends: with several
 *                 chunks (of whole tiles of 16 tokens), chunk i of a sequence starts from what scan_ends left there, which is the
 *                 sum over j ≤ i of exp(A·(total of records j+1 … i))·record j, and the last one leaves state[slot].
 *   scan_ends     bindings u, delta, a, bc, rows, state, ends. Record b·chunks + i has d_state + 1 rows of channels: for i = 0
 *                 state[slot] (or zero, likewise) and 0, for other chunks that have tokens the last state of chunk i−1 from a
 *                 zero start, and the sum of its Δ; nothing for chunks without. states as in scan_tiled. scan_ends_long: the same.
 *   scan_summary  bindings u, delta, a, bc, rows, summary, total. summary[b·chunks + i][n][c]: the chunk's last state from a zero
 *                 start; total[b·chunks + i][c]: sum of the chunk's Δ. Empty chunks write zeros.
 *   scan_carry    bindings a, total, rows, summary, state. For i = 0, 1, …: s = summary[i]; summary[i] = h;
 *                 h = exp(A·total[i])·h + s, from h = state[slot] (or zero, likewise) to state[slot]; nothing of a
 *                 sequence without tokens. All d_state states in one dispatch. */
#define LM_SCAN_GATE 1
/* FLAGS of scan_tiled and scan_ends: rows of B and C are aligned groups of four floats; exp2 is written out, as the driver's is bad. */
#define LM_TILED_VECTORS 1
#define LM_TILED_OWN_EXP2 2
#define LM_SCAN_FIELDS \
    int batch;         /* sequences, above 0 */ \
    int length;        /* tokens of the longest of them, above 0 */ \
    int channels; \
    int d_state; \
    int state_first; \
    int chunks; \
    int chunk_length; \
    int u_stride; \
    int delta_stride; \
    int bc_stride; \
    int b_offset; \
    int c_offset; \
    int z_stride; \
    int z_offset; \
    int y_stride; \
    int rows_stride; \
    int flags;         /* LM_SCAN_GATE: multiply by SiLU(z) */

/* state_copy: state[slot][i] = state[from][i] for all i below `words`, for each sequence that has tokens and a past; bindings rows,
 * state. slot is the sequence's, from is rows[b·rows_stride + LM_ROW_FROM]; no entry is read by one sequence and written by another. */
#define LM_STATE_COPY_FIELDS \
    int batch;         /* sequences, above 0 */ \
    int words;         /* of an entry, above 0 */ \
    int rows_stride;
/* step_in: the first half of a block where each of `rows` sequences has one token, whose input is row b of x for sequence b: its
 * norm, in_proj, the convolutions, and the history rings moved on; bindings x, norm, weight, bias, conv, rows, history, x_proj,
 * out.
 *   h[k] = x[b·depth + k], with LM_STEP_NORM times norm[k] / sqrt(mean_k x² + epsilon)
 *   [v | z](n) = sum_k h[k]·weight[k·2·channels + n] (+ bias[n], LM_STEP_BIAS), `channels` columns each
 *   `conv` holds the dilations δ_k (int) from 0 on, gates g_k from gate_offset, biases (branches, channels) from bias_offset, and
 *   weights w (branches, K, channels) from weight_offset on.
 *   s_k = SiLU(bias_k + sum_j w[k][j]·v_k[−(K−1−j)·δ_k]), k = 0 … branches−1, where v_k[0] is v, or with LM_STEP_STACKED s_{k−1} for
 *   k > 0, and older v_k are in the ring as for conv. v_k[0] then takes the place of the oldest entry, which nobody reads any more.
 *   u = sum_k g_k·s_k; the last s_k with LM_STEP_STACKED; all s_k side by side with LM_STEP_CONCAT
 *   `out` holds z at z_offset + b·channels + c; u at u_offset + b·channels (times `branches` with LM_STEP_CONCAT) + c; and, unless
 *   width is 0, at part_offset + (b·parts + i)·width + j what channels i·tile … of u add to column j of x_proj, for i < parts =
 *   ceil(channels / tile):  sum_c u[c]·x_proj[c·width + j].
 *   There is one ring of `history` entries a slot, laid out as for conv; with LM_STEP_STACKED one a branch, of (K−1)·δ_k + 1
 *   entries, ring k + 1 from the first multiple of ring_align elements after all `slots` slots of ring k.
 * step_scan: dt_proj and a token of the selective scan; bindings in (what step_in left), dt_weight, dt_bias, a, d, rows, state, y,
 *   soon_0 and soon_1: soon_size_0 and soon_size_1 floats, or 0, that are read soon and change nothing here.
 *   [low | B | C](j) = sum_i of the parts of row b, `rank`, d_state and d_state of them
 *   Δ = softplus(dt_bias[c] + sum_r low[r]·dt_weight[r·channels + c]); the state and y[b·channels + c] as scan has them, with the
 *   gate.
 * step_out: out_proj; bindings x, weight, bias, residual, out.
 *   out[b·cols + n] = sum_k x[b·depth + k]·weight[k·cols + n] (+ bias[n], LM_STEP_BIAS) (+ residual[b·cols + n], LM_STEP_RESIDUAL;
 *   residual and out may be the same buffer) */
#define LM_STEP_NORM 1
#define LM_STEP_BIAS 2
#define LM_STEP_CONCAT 4
#define LM_STEP_STACKED 8
#define LM_STEP_RESIDUAL 16
#define LM_STEP_IN_FIELDS \
    int rows;          /* sequences, above 0 */ \
    int depth;         /* columns of x */ \
    int channels; \
    int taps;          /* K, above 0 */ \
    int branches;      /* above 0 */ \
    int width;         /* columns of x_proj, or 0 */ \
    int tile;          /* channels that a part sums */ \
    int history;       /* ring length, at least (K−1)·max δ + 1 */ \
    int slots; \
    int ring_align; \
    int gate_offset; \
    int bias_offset; \
    int weight_offset; \
    int rows_stride; \
    int z_offset; \
    int u_offset; \
    int part_offset; \
    float epsilon; \
    int flags;         /* LM_STEP_... */
#define LM_STEP_SCAN_FIELDS \
    int rows;          /* sequences, above 0 */ \
    int channels; \
    int d_state; \
    int rank; \
    int parts; \
    int rows_stride; \
    int z_offset; \
    int u_offset; \
    int part_offset; \
    int soon_size_0; \
    int soon_size_1;
#define LM_STEP_OUT_FIELDS \
    int rows;          /* sequences, above 0 */ \
    int depth; \
    int cols; \
    int flags;         /* LM_STEP_... */

/* rmsnorm: y[r][c] = x[r][c]·weight[c] / sqrt(mean_c x[r][c]² + epsilon); bindings x, weight, y; rows are dense. */
#define LM_RMSNORM_FIELDS \
    int rows; \
    int cols; \
    float epsilon;

/* embed: y[r] = table[tokens[r] − first] where first ≤ tokens[r] < first + count, else left alone (another piece's);
 * bindings tokens (int), table (count, cols), y (rows, cols). */
#define LM_EMBED_FIELDS \
    int rows; \
    int cols; \
    int first; \
    int count;

/* argmax: index[r] = the first column with the largest x[r·x_stride + c]; NaN counts as smaller than all, a row of only NaN
 * gives 0; bindings x, index (int). */
#define LM_ARGMAX_FIELDS \
    int rows; \
    int cols; \
    int x_stride;

/* cross_entropy: loss[r] = ln(sum_c exp(x[r][c])) − x[r][target[r]], in a numerically stable way; NaN in gives NaN out;
 * bindings x, target (int), loss (float). */
#define LM_CROSS_ENTROPY_FIELDS \
    int rows; \
    int cols; \
    int x_stride;

#ifndef LM_GLSL
typedef struct lm_gemm_params { LM_GEMM_FIELDS } lm_gemm_params;
typedef struct lm_conv_params { LM_CONV_FIELDS } lm_conv_params;
typedef struct lm_scan_params { LM_SCAN_FIELDS } lm_scan_params;
typedef struct lm_state_copy_params { LM_STATE_COPY_FIELDS } lm_state_copy_params;
typedef struct lm_step_in_params { LM_STEP_IN_FIELDS } lm_step_in_params;
typedef struct lm_step_scan_params { LM_STEP_SCAN_FIELDS } lm_step_scan_params;
typedef struct lm_step_out_params { LM_STEP_OUT_FIELDS } lm_step_out_params;
typedef struct lm_rmsnorm_params { LM_RMSNORM_FIELDS } lm_rmsnorm_params;
typedef struct lm_embed_params { LM_EMBED_FIELDS } lm_embed_params;
typedef struct lm_argmax_params { LM_ARGMAX_FIELDS } lm_argmax_params;
typedef struct lm_cross_entropy_params { LM_CROSS_ENTROPY_FIELDS } lm_cross_entropy_params;
#endif

#endif
