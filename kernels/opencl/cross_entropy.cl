/* kernels/opencl/cross_entropy.cl: −ln softmax(x)[target] of each row, shifted by the row's largest value so that no
 * exponential overflows. NaN never raises the largest, but reaches the sum.
 *
 * A group has a row: its lanes stride over the columns twice, each time followed by a tree.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/tree.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_cross_entropy(const lm_cross_entropy_params p, const lm_offsets at, __global const float *x,
                               __global const int *target, __global float *loss)
{
    x += at.first[0], target += at.first[1], loss += at.first[2];
    __local float part[WG_X];
    const int lane = (int)get_local_id(0), whole = p.cols - p.cols % LANES;
    for (int r = (int)get_group_id(0); r < p.rows; r += (int)get_num_groups(0)) {
        __global const float *row = x + r * p.x_stride;
        floatv high = (floatv)(-INFINITY), exps = (floatv)(0.0f);
        float largest = -INFINITY, rest = 0.0f;
        for (int c = lane * LANES; c < whole; c += WG_X * LANES) high = fmax(high, lm_load(row + c, LANES));
#if LANES > 1
        float highs[LANES];
        vstore16(high, 0, highs);
        for (int i = 0; i < LANES; i++) largest = fmax(largest, highs[i]);
        for (int c = whole; c < p.cols; c++) largest = fmax(largest, row[c]);
#else
        largest = high;
#endif
        largest = lm_tree_max(largest, part);
        for (int c = lane * LANES; c < whole; c += WG_X * LANES) exps += lm_exp(lm_load(row + c, LANES) - largest);
#if LANES > 1
        /* The ragged end: what a short load filled up with zeros is left out of the sum. */
        float ends[LANES];
        vstore16(lm_exp(lm_load(row + whole, p.cols - whole) - largest), 0, ends);
        for (int i = 0; i < p.cols - whole; i++) rest += ends[i];
#endif
        const float sum = lm_tree_add(lm_sum_lanes(exps) + rest, part);
        if (lane == 0) loss[r] = log(sum) + (largest - row[target[r]]);
    }
}
