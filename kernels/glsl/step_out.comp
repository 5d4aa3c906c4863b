/* kernels/glsl/step_out.comp: out_proj of a few sequences of one token: out = y·weight (+ bias) (+ residual).
 *
 * A group has ROWS sequences and TILE columns (kernels/glsl/step.glsl). Grid: x tiles of columns, y ROWS sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int SPLIT = 16;
layout(constant_id = 4) const int ROWS = 1;
layout(constant_id = 5) const int ALIGNED = 0;
layout(constant_id = 6) const int AHEAD = 1;
const int WG_X = int(gl_WorkGroupSize.x);
const int WG_Y = int(gl_WorkGroupSize.y);
const int GROUP = WG_X * WG_Y;
const int TILE = 4 * WG_X;

layout(push_constant) uniform Params { LM_STEP_OUT_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 0, std430) readonly buffer X4 { vec4 x4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Weight { float weight[]; };
layout(set = 0, binding = 1, std430) readonly buffer Weight4 { vec4 weight4[]; };
layout(set = 0, binding = 2, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 4, std430) writeonly buffer Out { float result[]; };

#include "kernels/glsl/common.glsl"

shared float value[ROWS * TILE];

#include "kernels/glsl/step.glsl"

void step_tile(int m0, int n0, int lane)
{
    int m_end = min(p.rows - m0, ROWS), count = min(TILE, p.cols - n0);
    barrier(); /* the tile before may still be reading */
    /* What is added to the sums is on its way meanwhile. */
    int c = lane % TILE, first = m0 + lane / TILE;
    bool there = lane < m_end * TILE && c < count;
    float column_bias = there && (p.flags & LM_STEP_BIAS) != 0 ? bias[n0 + c] : 0.0;
    float before = there && (p.flags & LM_STEP_RESIDUAL) != 0 ? residual[first * p.cols + n0 + c] : 0.0;
    multiply_rows(m0, m_end, n0, count, p.cols, lane);
    barrier();
    if (there) result[first * p.cols + n0 + c] = value[lane] + column_bias + before;
    for (int i = lane + GROUP; i < m_end * TILE; i += GROUP) {
        c = i % TILE;
        if (c >= count) continue;
        int at = (m0 + i / TILE) * p.cols + n0 + c;
        float sum = value[i];
        if ((p.flags & LM_STEP_BIAS) != 0) sum += bias[n0 + c];
        if ((p.flags & LM_STEP_RESIDUAL) != 0) sum += residual[at];
        result[at] = sum;
    }
}

void main()
{
    int lane = int(gl_LocalInvocationID.y) * WG_X + int(gl_LocalInvocationID.x);
    LM_EACH_TILE(tile_m, y, lm_ceil_div(p.rows, ROWS))
        LM_EACH_TILE(tile, x, lm_ceil_div(p.cols, TILE)) step_tile(tile_m * ROWS, tile * TILE, lane);
}
