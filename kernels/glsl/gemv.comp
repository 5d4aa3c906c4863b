/* kernels/glsl/gemv.comp: C = epilogue(A·B) for few rows, or where shared memory is slow; parameters as gemm's.
 *
 * B_TRANS 0: a lane has one column and ROWS rows: an element of B, which neighbouring lanes read side by side, serves all rows.
 *   Lane y takes k = y, y + WG_Y, …; the lanes of one x are summed in order of y.
 * B_TRANS 1: the lanes of one y have one column and ROWS rows; lane x takes k = x, x + WG_X, … (again side by side in B). They
 *   are summed by a tree; WG_X is a power of two.
 * A single lane along k shares nothing and meets no barrier. Grid: x tiles of WG_X (B_TRANS 1: WG_Y) columns, y tiles of rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int B_TRANS = 0;
layout(constant_id = 4) const int ROWS = 8;
const int WG_X = int(gl_WorkGroupSize.x);
const int WG_Y = int(gl_WorkGroupSize.y);

layout(push_constant) uniform Params { LM_GEMM_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer A { float a[]; };
layout(set = 0, binding = 1, std430) readonly buffer B { float b[]; };
layout(set = 0, binding = 2, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 4, std430) writeonly buffer C { float c[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/epilogue.glsl"

const int SPLIT = B_TRANS != 0 ? WG_X : WG_Y;   /* lanes along k */
const int COLUMNS = B_TRANS != 0 ? WG_Y : WG_X; /* of a group */
const int SHARED_PARTS = B_TRANS != 0 ? WG_X : WG_Y - 1;
const int AHEAD = 4;                            /* loads of B under way at once */

/* [part][row][column]; one float where nothing is shared */
shared float parts[SPLIT > 1 ? SHARED_PARTS * ROWS * COLUMNS : 1];

float sum[ROWS];

/* Sums over the lanes along k: the result is in part 0. */
void reduce_lanes(int part, int column)
{
    if (SPLIT == 1) return;
    int stride = ROWS * COLUMNS;
    barrier(); /* the tile before may still be reading */
    if (B_TRANS != 0) {
        int mine = part * stride + column;
        [[unroll]] for (int r = 0; r < ROWS; r++) parts[mine + r * COLUMNS] = sum[r];
        barrier();
        for (int width = WG_X / 2; width > 0; width /= 2) {
            if (part < width) {
                [[unroll]] for (int r = 0; r < ROWS; r++) {
                    sum[r] += parts[mine + width * stride + r * COLUMNS];
                    parts[mine + r * COLUMNS] = sum[r];
                }
            }
            barrier();
        }
    } else {
        if (part > 0) {
            [[unroll]] for (int r = 0; r < ROWS; r++) parts[(part - 1) * stride + r * COLUMNS + column] = sum[r];
        }
        barrier();
        if (part == 0) {
            for (int other = 0; other < WG_Y - 1; other++) {
                [[unroll]] for (int r = 0; r < ROWS; r++) sum[r] += parts[other * stride + r * COLUMNS + column];
            }
        }
    }
}

void multiply_tile(int row0, int col0)
{
    int x = int(gl_LocalInvocationID.x), y = int(gl_LocalInvocationID.y);
    int part = B_TRANS != 0 ? x : y, column = B_TRANS != 0 ? y : x;
    int n = min(col0 + column, p.cols - 1); /* a lane beyond the edge works on the last column and keeps quiet */
    int from_a[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        from_a[r] = p.a_offset + min(row0 + r, p.rows - 1) * p.lda;
        sum[r] = 0.0;
    }
    int from_b = B_TRANS != 0 ? n * p.ldb : n;
    int step_b = B_TRANS != 0 ? 1 : p.ldb;
    int k = part;
    for (; k + (AHEAD - 1) * SPLIT < p.depth; k += AHEAD * SPLIT) {
        float in_b[AHEAD];
        [[unroll]] for (int i = 0; i < AHEAD; i++) in_b[i] = b[from_b + (k + i * SPLIT) * step_b];
        [[unroll]] for (int r = 0; r < ROWS; r++)
            [[unroll]] for (int i = 0; i < AHEAD; i++) sum[r] += a[from_a[r] + k + i * SPLIT] * in_b[i];
    }
    for (; k < p.depth; k += SPLIT) {
        float in_b = b[from_b + k * step_b];
        [[unroll]] for (int r = 0; r < ROWS; r++) sum[r] += a[from_a[r] + k] * in_b;
    }
    reduce_lanes(part, column);
    if (part > 0 || col0 + column >= p.cols) return;
    [[unroll]] for (int r = 0; r < ROWS; r++)
        if (row0 + r < p.rows) store_result(row0 + r, n, sum[r]);
}

void main()
{
    LM_EACH_TILE(tile_y, y, lm_ceil_div(p.rows, ROWS))
        LM_EACH_TILE(tile_x, x, lm_ceil_div(p.cols, COLUMNS)) multiply_tile(tile_y * ROWS, tile_x * COLUMNS);
}
