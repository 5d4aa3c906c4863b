/* kernels/glsl/cross_entropy.comp: loss[r] = ln(sum_c exp(x[r][c])) − x[r][target[r]].
 *
 * With m the largest value of the row, at column c*, it is ln(1 + sum_{c ≠ c*} exp(x_c − m)) + (m − x_target): nothing
 * overflows, and a loss near 0 keeps its digits. NaN goes through the sum.
 *
 * One work-group a row: a lane takes columns lane, lane + WG_X, …, then trees in shared memory. WG_X is a power of two;
 * with 1 nothing is shared. Grid: x rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

LM_PARAMETERS(LM_CROSS_ENTROPY_FIELDS, 3)
LM_BUFFER(0, readonly, float, x)
LM_BUFFER(1, readonly, int, target)
LM_BUFFER(2, writeonly, float, loss)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/best.glsl"
#include "kernels/glsl/sum.glsl"

void main()
{
    int lane = int(gl_LocalInvocationID.x);
    LM_EACH_TILE(r, x, p.rows) {
        int row = r * p.x_stride;
        Best best = best_of_row(row, p.cols, lane);
        float sum = 0.0;
        for (int c = lane; c < p.cols; c += WG_X)
            if (c != best.column) sum += lm_exp(LM_AT(x, row + c) - best.value);
        sum = sum_over_lanes(sum, lane);
        if (lane == 0) LM_AT(loss, r) = lm_log1p(sum) + (best.value - LM_AT(x, row + LM_AT(target, r)));
    }
}
