/* kernels/glsl/gemm_texel.comp: C = epilogue(A·B) on processors (texel.glsl); parameters as gemm's.
 *
 *     C[m,n] = softplus(sum_k A[m,k]·B(k,n) + bias[n]) + residual[m,n], each part where its flag is set
 *
 * A lane has ROWS rows and QUADS runs of four columns, whose sums go over k in order, four steps at a time: a texel of A serves
 * all its columns, one of B all its rows. Neighbouring lanes have neighbouring runs. QUADS_AT: rows of A and B (1), of C (2),
 * begin at texels and hold whole ones; elsewhere floats are read and written one by one. FLAGS are p.flags: there, a branch
 * that is not taken costs what it would.
 * Grid: x tiles of rows, so that a group finds its columns of B in the cache, y tiles of columns.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int B_TRANS = 0;
layout(constant_id = 4) const int ROWS = 8;
layout(constant_id = 5) const int QUADS = 2;
layout(constant_id = 6) const int QUADS_AT = 0;
layout(constant_id = 7) const int FLAGS = 0;
const int WG_X = int(gl_WorkGroupSize.x);
const bool QUAD_READS = (QUADS_AT & 1) != 0;
const bool QUAD_WRITES = (QUADS_AT & 2) != 0;
#define HAS(flag) ((FLAGS & (flag)) != 0)

layout(push_constant) uniform Params { LM_GEMM_FIELDS } p;
layout(set = 0, binding = 0, rgba32f) readonly uniform imageBuffer a;
layout(set = 0, binding = 1, rgba32f) readonly uniform imageBuffer b;
layout(set = 0, binding = 2, rgba32f) readonly uniform imageBuffer bias;
layout(set = 0, binding = 3, rgba32f) readonly uniform imageBuffer residual;
layout(set = 0, binding = 4, std430) writeonly buffer C { float c[]; };
layout(set = 0, binding = 4, std430) writeonly buffer CQuads { vec4 c_quads[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/texel.glsl"

/* Float `k` of a row that begins at `row`; zero from p.depth on. */
#define FLOAT_ALONG_K(buffer, row, k) ((k) < p.depth ? LM_FLOAT(buffer, (row) + min(k, p.depth - 1)) : 0.0)

/* Four floats of A or B, k … k+3 of such a row. */
#define QUAD_ALONG_K(buffer, row, k) (QUAD_READS ? LM_QUAD(buffer, (row) + (k)) : \
    vec4(LM_FLOAT(buffer, (row) + (k)), FLOAT_ALONG_K(buffer, row, (k) + 1), FLOAT_ALONG_K(buffer, row, (k) + 2), \
         FLOAT_ALONG_K(buffer, row, (k) + 3)))

/* Four floats of a row that begins at `row`, columns n … n+3; those beyond the last are any others of the row's. */
#define QUAD_ALONG_N(buffer, row, n) \
    vec4(LM_FLOAT(buffer, (row) + min(n, p.cols - 1)), LM_FLOAT(buffer, (row) + min((n) + 1, p.cols - 1)), \
         LM_FLOAT(buffer, (row) + min((n) + 2, p.cols - 1)), LM_FLOAT(buffer, (row) + min((n) + 3, p.cols - 1)))

/* B(k, n … n+3). */
vec4 quad_of_b(int k, int n)
{
    if (QUAD_READS) return LM_QUAD(b, k * p.ldb + min(n, (p.cols - 1) & ~3));
    return k < p.depth ? QUAD_ALONG_N(b, min(k, p.depth - 1) * p.ldb, n) : vec4(0.0);
}

/* B(k … k+3, n … n+3), a vector of columns for each k. */
void load_b(out vec4 at_k[4], int k, int n)
{
    if (B_TRANS == 0) {
        [[unroll]] for (int i = 0; i < 4; i++) at_k[i] = quad_of_b(k + i, n);
        return;
    }
    vec4 columns[4];
    [[unroll]] for (int i = 0; i < 4; i++) columns[i] = QUAD_ALONG_K(b, min(n + i, p.cols - 1) * p.ldb, k);
    [[unroll]] for (int i = 0; i < 4; i++) at_k[i] = vec4(columns[0][i], columns[1][i], columns[2][i], columns[3][i]);
}

/* Columns n … n+3 of row m, where they are; bias4 are their biases. */
void store_quad(int m, int n, vec4 sum, vec4 bias4)
{
    int row = p.c_offset + m * p.ldc, to = row + n;
    bool there = m < p.rows && n < p.cols;
    sum += bias4;
    if (HAS(LM_GEMM_SOFTPLUS)) sum = vec4(lm_softplus(sum.x), lm_softplus(sum.y), lm_softplus(sum.z), lm_softplus(sum.w));
    if (QUAD_WRITES) {
        if (HAS(LM_GEMM_RESIDUAL) && there) sum += LM_QUAD(residual, to);
        if (there) c_quads[to >> 2] = sum;
    } else {
        if (HAS(LM_GEMM_RESIDUAL) && there) sum += QUAD_ALONG_N(residual, row, n);
        [[unroll]] for (int i = 0; i < 4; i++)
            if (there && n + i < p.cols) c[to + i] = sum[i];
    }
}

void multiply_tile(int row0, int col0)
{
    vec4 sum[ROWS * QUADS];
    int from_a[ROWS], n0 = col0 + int(gl_LocalInvocationID.x) * 4;
    [[unroll]] for (int i = 0; i < ROWS * QUADS; i++) sum[i] = vec4(0.0);
    [[unroll]] for (int r = 0; r < ROWS; r++) from_a[r] = p.a_offset + min(row0 + r, p.rows - 1) * p.lda;
    for (int k = 0; k < p.depth; k += 4) {
        vec4 in_b[QUADS * 4];
        [[unroll]] for (int q = 0; q < QUADS; q++) {
            vec4 at_k[4];
            load_b(at_k, k, n0 + q * WG_X * 4);
            [[unroll]] for (int i = 0; i < 4; i++) in_b[q * 4 + i] = at_k[i];
        }
        [[unroll]] for (int r = 0; r < ROWS; r++) {
            vec4 in_a = QUAD_ALONG_K(a, from_a[r], k);
            [[unroll]] for (int q = 0; q < QUADS; q++)
                [[unroll]] for (int i = 0; i < 4; i++) sum[r * QUADS + q] += in_a[i] * in_b[q * 4 + i];
        }
    }
    [[unroll]] for (int q = 0; q < QUADS; q++) {
        int n = n0 + q * WG_X * 4;
        vec4 bias4 = HAS(LM_GEMM_BIAS) ? QUAD_ALONG_N(bias, p.bias_offset, n) : vec4(0.0);
        [[unroll]] for (int r = 0; r < ROWS; r++) store_quad(row0 + r, n, sum[r * QUADS + q], bias4);
    }
}

void main()
{
    const int columns = WG_X * QUADS * 4;
    LM_EACH_TILE(tile_y, y, lm_ceil_div(p.cols, columns))
        LM_EACH_TILE(tile_x, x, lm_ceil_div(p.rows, ROWS)) multiply_tile(tile_x * ROWS, tile_y * columns);
}
