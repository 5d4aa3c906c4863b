/* kernels/glsl/gemm.comp: C = epilogue(A·B), tiled in shared memory.
 *
 *     C[m,n] = softplus(sum_k A[m,k]·B(k,n) + bias[n]) + residual[m,n], each part where its flag is set
 *
 * A work-group has TILE_M×TILE_N outputs; a lane has TILE_M/WG_Y rows and TILE_N/WG_X columns of them in registers, in
 * runs of up to 4 neighbours, so that shared memory is read four floats at a time. DEPTH steps of A and B are staged at
 * once, both with depth as the slow index, and the next ones are on their way in registers meanwhile. What lies outside
 * is staged as zero. TILE_M·DEPTH and TILE_N·DEPTH are multiples of the group's lanes. Grid: x tiles of columns, y tiles
 * of rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int B_TRANS = 0;
layout(constant_id = 4) const int TILE_M = 64;
layout(constant_id = 5) const int TILE_N = 64;
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

const int WG = WG_X * WG_Y;
const int DEPTH = TILE_M * TILE_N > 4096 ? 8 : 16; /* both tiles stay below 16 KiB */
const int PITCH_M = TILE_M + 4;                    /* spreads the transposed stores over the banks */
const int PITCH_N = TILE_N + 4;
const int LOADS_A = TILE_M * DEPTH / WG;
const int LOADS_B = TILE_N * DEPTH / WG;
const int LANE_M = TILE_M / WG_Y;
const int LANE_N = TILE_N / WG_X;
const int RUN_M = LANE_M < 4 ? LANE_M : 4;
const int RUN_N = LANE_N < 4 ? LANE_N : 4;

shared float tile_a[DEPTH * PITCH_M];
shared float tile_b[DEPTH * PITCH_N];

float next_a[LOADS_A];
float next_b[LOADS_B];

/* Depth and row (column) of element i of a tile: neighbouring lanes read neighbouring addresses. */
ivec2 place_a(int i) { return ivec2(i % DEPTH, i / DEPTH); }
ivec2 place_b(int i) { return B_TRANS != 0 ? ivec2(i % DEPTH, i / DEPTH) : ivec2(i / TILE_N, i % TILE_N); }

void fetch(int lane, int row0, int col0, int k0)
{
    [[unroll]] for (int l = 0; l < LOADS_A; l++) {
        ivec2 at = place_a(lane + l * WG);
        int k = k0 + at.x, m = row0 + at.y;
        bool inside = k < p.depth && m < p.rows;
        float value = a[p.a_offset + (inside ? m * p.lda + k : 0)];
        next_a[l] = inside ? value : 0.0;
    }
    [[unroll]] for (int l = 0; l < LOADS_B; l++) {
        ivec2 at = place_b(lane + l * WG);
        int k = k0 + at.x, n = col0 + at.y;
        bool inside = k < p.depth && n < p.cols;
        float value = b[inside ? (B_TRANS != 0 ? n * p.ldb + k : k * p.ldb + n) : 0];
        next_b[l] = inside ? value : 0.0;
    }
}

void stage(int lane)
{
    [[unroll]] for (int l = 0; l < LOADS_A; l++) {
        ivec2 at = place_a(lane + l * WG);
        tile_a[at.x * PITCH_M + at.y] = next_a[l];
    }
    [[unroll]] for (int l = 0; l < LOADS_B; l++) {
        ivec2 at = place_b(lane + l * WG);
        tile_b[at.x * PITCH_N + at.y] = next_b[l];
    }
}

void multiply_tile(int row0, int col0)
{
    int x = int(gl_LocalInvocationID.x), y = int(gl_LocalInvocationID.y), lane = y * WG_X + x;
    float sum[LANE_M * LANE_N];
    [[unroll]] for (int i = 0; i < LANE_M * LANE_N; i++) sum[i] = 0.0;
    fetch(lane, row0, col0, 0);
    for (int k0 = 0; k0 < p.depth; k0 += DEPTH) {
        barrier(); /* the steps before are no longer read */
        stage(lane);
        barrier();
        if (k0 + DEPTH < p.depth) fetch(lane, row0, col0, k0 + DEPTH);
        [[unroll]] for (int k = 0; k < DEPTH; k++) {
            float in_a[LANE_M], in_b[LANE_N];
            [[unroll]] for (int i = 0; i < LANE_M; i++)
                in_a[i] = tile_a[k * PITCH_M + (i / RUN_M * WG_Y + y) * RUN_M + i % RUN_M];
            [[unroll]] for (int j = 0; j < LANE_N; j++)
                in_b[j] = tile_b[k * PITCH_N + (j / RUN_N * WG_X + x) * RUN_N + j % RUN_N];
            [[unroll]] for (int i = 0; i < LANE_M; i++)
                [[unroll]] for (int j = 0; j < LANE_N; j++) sum[i * LANE_N + j] += in_a[i] * in_b[j];
        }
    }
    [[unroll]] for (int j = 0; j < LANE_N; j++) {
        int n = col0 + (j / RUN_N * WG_X + x) * RUN_N + j % RUN_N;
        float column_bias = bias_of(n);
        [[unroll]] for (int i = 0; i < LANE_M; i++)
            store_result(row0 + (i / RUN_M * WG_Y + y) * RUN_M + i % RUN_M, n, sum[i * LANE_N + j], column_bias);
    }
}

void main()
{
    LM_EACH_TILE(tile_y, y, lm_ceil_div(p.rows, TILE_M))
        LM_EACH_TILE(tile_x, x, lm_ceil_div(p.cols, TILE_N)) multiply_tile(tile_y * TILE_M, tile_x * TILE_N);
}
