/* kernels/glsl/argmax.comp: index[r] = the first column with the largest value.
 *
 * One work-group a row: a lane takes columns lane, lane + WG_X, …, then a tree in shared memory. WG_X is a power of two;
 * with 1 nothing is shared. NaN is smaller than all; a row of nothing else gives 0. Grid: x rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

LM_PARAMETERS(LM_ARGMAX_FIELDS, 2)
LM_BUFFER(0, readonly, float, x)
LM_BUFFER(1, writeonly, int, index)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/best.glsl"

void main()
{
    int lane = int(gl_LocalInvocationID.x);
    LM_EACH_TILE(r, x, p.rows) {
        Best best = best_of_row(r * p.x_stride, p.cols, lane);
        if (lane == 0) LM_AT(index, r) = max(best.column, 0);
    }
}
