/* kernels/glsl/step_out.comp: out_proj of a few sequences of one token: out = y·weight (+ bias) (+ residual).
 *
 * A group has ROWS sequences and TILE columns (kernels/glsl/step.glsl). Grid: x tiles of columns, y ROWS sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

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

LM_PARAMETERS(LM_STEP_OUT_FIELDS, 5)
LM_BUFFER(0, readonly, float, x)
LM_BUFFER(0, readonly, vec4, x4)
LM_BUFFER(1, readonly, float, weight)
LM_BUFFER(1, readonly, vec4, weight4)
LM_BUFFER(2, readonly, float, bias)
LM_BUFFER(3, readonly, float, residual)
LM_BUFFER(4, writeonly, float, result)

#include "kernels/glsl/common.glsl"

shared float value[ROWS * TILE];

#include "kernels/glsl/step.glsl"

/* What is added to a lane's first result, the one at `to`, −1 where it has none. */
int to, column;
float column_bias, before;

void load_meanwhile(int lane)
{
    column_bias = to >= 0 && (p.flags & LM_STEP_BIAS) != 0 ? LM_AT(bias, column) : 0.0;
    before = to >= 0 && (p.flags & LM_STEP_RESIDUAL) != 0 ? LM_AT(residual, to) : 0.0;
}

void step_tile(int m0, int n0, int lane)
{
    int m_end = min(p.rows - m0, ROWS), count = min(TILE, p.cols - n0), c = lane % TILE;
    barrier(); /* the tile before may still be reading */
    column = n0 + c;
    to = lane < m_end * TILE && c < count ? (m0 + lane / TILE) * p.cols + column : -1;
    multiply_rows(m0, m_end, n0, count, p.cols, lane);
    barrier();
    if (to >= 0) LM_AT(result, to) = value[lane] + column_bias + before;
    for (int i = lane + GROUP; i < m_end * TILE; i += GROUP) {
        c = i % TILE;
        if (c >= count) continue;
        int at = (m0 + i / TILE) * p.cols + n0 + c;
        float sum = value[i];
        if ((p.flags & LM_STEP_BIAS) != 0) sum += LM_AT(bias, n0 + c);
        if ((p.flags & LM_STEP_RESIDUAL) != 0) sum += LM_AT(residual, at);
        LM_AT(result, at) = sum;
    }
}

void main()
{
    int lane = int(gl_LocalInvocationID.y) * WG_X + int(gl_LocalInvocationID.x);
    LM_EACH_TILE(tile_m, y, lm_ceil_div(p.rows, ROWS))
        LM_EACH_TILE(tile, x, lm_ceil_div(p.cols, TILE)) step_tile(tile_m * ROWS, tile * TILE, lane);
}
