/* kernels/glsl/gemv.comp: C = epilogue(A·B) for few rows, or where shared memory is slow; parameters as gemm's.
 *
 * B_TRANS 0: a lane has ROWS rows of a column: an element of B, which neighbouring lanes read side by side, serves all
 * rows. Lane y takes k = y, y + WG_Y, ….
 * B_TRANS 1: the lanes of one y have ROWS rows of a column; lane x takes k = x, x + WG_X, … (again side by side in B).
 * Lanes that share k lay their sums in shared memory, and each of them adds up some of the results, in the order of
 * lanes.
 * Small groups of one row of lanes, which launch.c uses on processors, have LANE_COLUMNS columns a lane: a load there
 * costs as much as dozens of multiplications. A single lane along k shares nothing and meets no barrier.
 * Grid: x tiles of columns, y tiles of ROWS rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int B_TRANS = 0;
layout(constant_id = 4) const int ROWS = 8;
const int WG_X = int(gl_WorkGroupSize.x);
const int WG_Y = int(gl_WorkGroupSize.y);

LM_PARAMETERS(LM_GEMM_FIELDS, 5)
LM_BUFFER(0, readonly, float, a)
LM_BUFFER(1, readonly, float, b)
LM_BUFFER(2, readonly, float, bias)
LM_BUFFER(3, readonly, float, residual)
LM_BUFFER(4, writeonly, float, c)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/epilogue.glsl"

const int SPLIT = B_TRANS != 0 ? WG_X : WG_Y;       /* lanes along k */
const int LANES_ACROSS = B_TRANS != 0 ? WG_Y : WG_X; /* lanes along columns */
const int LANE_COLUMNS = WG_Y == 1 && WG_X <= 16 ? 8 : 1;
const int AHEAD = LANE_COLUMNS == 1 ? 8 : 1;         /* steps of k whose loads are under way at once */
const int SUMS = ROWS * LANE_COLUMNS;

/* [part][sum][lane across]; one float where nothing is shared */
shared float parts[SPLIT > 1 ? SPLIT * SUMS * LANES_ACROSS : 1];

void multiply_tile(int row0, int col0)
{
    int x = int(gl_LocalInvocationID.x), y = int(gl_LocalInvocationID.y);
    int part = B_TRANS != 0 ? x : y, across = B_TRANS != 0 ? y : x;
    /* Beyond the edge a lane works on the last row or column and keeps quiet about it. */
    int from_a[ROWS], from_b[LANE_COLUMNS];
    float sum[SUMS];
    [[unroll]] for (int r = 0; r < ROWS; r++) from_a[r] = p.a_offset + min(row0 + r, p.rows - 1) * p.lda;
    [[unroll]] for (int j = 0; j < LANE_COLUMNS; j++)
        from_b[j] = min(col0 + j * LANES_ACROSS + across, p.cols - 1) * (B_TRANS != 0 ? p.ldb : 1);
    [[unroll]] for (int i = 0; i < SUMS; i++) sum[i] = 0.0;
    int step_b = B_TRANS != 0 ? 1 : p.ldb;
    int k = part;
    for (; k + (AHEAD - 1) * SPLIT < p.depth; k += AHEAD * SPLIT) {
        float in_b[AHEAD * LANE_COLUMNS];
        [[unroll]] for (int i = 0; i < AHEAD * LANE_COLUMNS; i++)
            in_b[i] = LM_AT(b, from_b[i % LANE_COLUMNS] + (k + i / LANE_COLUMNS * SPLIT) * step_b);
        [[unroll]] for (int r = 0; r < ROWS; r++) {
            [[unroll]] for (int i = 0; i < AHEAD; i++) {
                float in_a = LM_AT(a, from_a[r] + k + i * SPLIT);
                [[unroll]] for (int j = 0; j < LANE_COLUMNS; j++)
                    sum[r * LANE_COLUMNS + j] += in_a * in_b[i * LANE_COLUMNS + j];
            }
        }
    }
    if (AHEAD > 1) {
        for (; k < p.depth; k += SPLIT) {
            float in_b = LM_AT(b, from_b[0] + k * step_b);
            [[unroll]] for (int r = 0; r < ROWS; r++) sum[r] += LM_AT(a, from_a[r] + k) * in_b;
        }
    }
    int n0 = col0 + across;
    if (SPLIT == 1) {
        [[unroll]] for (int j = 0; j < LANE_COLUMNS; j++) {
            int n = n0 + j * LANES_ACROSS;
            float column_bias = bias_of(n);
            [[unroll]] for (int r = 0; r < ROWS; r++) store_result(row0 + r, n, sum[r * LANE_COLUMNS + j], column_bias);
        }
        return;
    }
    int stride = SUMS * LANES_ACROSS;
    barrier(); /* the tile before may still be reading */
    [[unroll]] for (int i = 0; i < SUMS; i++) parts[part * stride + i * LANES_ACROSS + across] = sum[i];
    barrier();
    for (int i = part; i < SUMS; i += SPLIT) {
        int n = n0 + i % LANE_COLUMNS * LANES_ACROSS;
        float total = 0.0;
        [[unroll]] for (int other = 0; other < SPLIT; other++) total += parts[other * stride + i * LANES_ACROSS + across];
        store_result(row0 + i / LANE_COLUMNS, n, total, bias_of(n));
    }
}

void main()
{
    const int columns = LANES_ACROSS * LANE_COLUMNS;
    LM_EACH_TILE(tile_y, y, lm_ceil_div(p.rows, ROWS))
        LM_EACH_TILE(tile_x, x, lm_ceil_div(p.cols, columns)) multiply_tile(tile_y * ROWS, tile_x * columns);
}
