/* kernels/opencl/rmsnorm.cl: y = x·weight / sqrt(mean x² + epsilon) of each row.
 *
 * A group has a row: its lanes stride over the columns, then add their sums in a tree.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/tree.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_rmsnorm(const lm_rmsnorm_params p, const lm_offsets at, __global const float *x,
                         __global const float *weight, __global float *y)
{
    x += at.first[0], weight += at.first[1], y += at.first[2];
    __local float part[WG_X];
    const int lane = (int)get_local_id(0);
    for (int r = (int)get_group_id(0); r < p.rows; r += (int)get_num_groups(0)) {
        const int from = r * p.cols;
        floatv squares = (floatv)(0.0f);
        for (int c = lane * LANES; c < p.cols; c += WG_X * LANES) {
            const floatv v = lm_load(x + from + c, min(LANES, p.cols - c));
            squares = LM_MAD(v, v, squares);
        }
        const float sum = lm_tree_add(lm_sum_lanes(squares), part);
        const float scale = 1.0f / sqrt(sum / (float)p.cols + p.epsilon);
        for (int c = lane * LANES; c < p.cols; c += WG_X * LANES) {
            const int count = min(LANES, p.cols - c);
            lm_store(lm_load(x + from + c, count) * scale * lm_load(weight + c, count), y + from + c, count);
        }
    }
}
