/* kernels/glsl/rmsnorm.comp: y[r][c] = x[r][c]·weight[c] / sqrt(mean_c x[r][c]² + epsilon).
 *
 * One work-group a row: a lane sums the squares of columns lane, lane + WG_X, …, then a tree in shared memory, whose
 * order depends on WG_X alone. WG_X is a power of two; with 1 nothing is shared. Grid: x rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

LM_PARAMETERS(LM_RMSNORM_FIELDS, 3)
LM_BUFFER(0, readonly, float, x)
LM_BUFFER(1, readonly, float, weight)
LM_BUFFER(2, writeonly, float, y)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/sum.glsl"

void main()
{
    int lane = int(gl_LocalInvocationID.x);
    LM_EACH_TILE(r, x, p.rows) {
        int row = r * p.cols;
        float sum = 0.0;
        for (int c = lane; c < p.cols; c += WG_X) sum += LM_AT(x, row + c) * LM_AT(x, row + c);
        float root = sqrt(sum_over_lanes(sum, lane) / float(p.cols) + p.epsilon);
        for (int c = lane; c < p.cols; c += WG_X) LM_AT(y, row + c) = LM_AT(x, row + c) * LM_AT(weight, c) / root;
    }
}
