/* kernels/opencl/argmax.cl: the first column with the largest value of each row; NaN counts as smaller than all.
 *
 * A group has a row: its lanes stride over the columns, then compare in a tree. Of equal values the lower column wins,
 * which makes the order of comparisons irrelevant.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

/* No column yet: loses to every number, minus infinity too. */
#define NONE 0x7fffffff

static inline bool beats(float x, int c, float best, int index) { return x > best || (x == best && c < index); }

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_argmax(const lm_argmax_params p, const lm_offsets at, __global const float *x, __global int *index)
{
    x += at.first[0], index += at.first[1];
#if WG_X > 1
    __local float values[WG_X];
    __local int columns[WG_X];
#endif
    const int lane = (int)get_local_id(0);
    for (int r = (int)get_group_id(0); r < p.rows; r += (int)get_num_groups(0)) {
        __global const float *row = x + r * p.x_stride;
        float best = -INFINITY;
        int at = NONE, c = lane;
#if LANES > 1
        /* Each of the vector's floats keeps its own best. */
        float16 bests = (float16)(-INFINITY);
        int16 columns16 = (int16)(NONE);
        int16 now = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (c = 0; c + LANES <= p.cols; c += LANES, now += LANES) {
            const float16 v = vload16(0, row + c);
            const int16 take = (v > bests) | ((v == bests) & (now < columns16));
            bests = select(bests, v, take);
            columns16 = select(columns16, now, take);
        }
        float v16[LANES];
        int c16[LANES];
        vstore16(bests, 0, v16);
        vstore16(columns16, 0, c16);
        for (int i = 0; i < LANES; i++)
            if (beats(v16[i], c16[i], best, at)) best = v16[i], at = c16[i];
#endif
        for (; c < p.cols; c += WG_X)
            if (beats(row[c], c, best, at)) best = row[c], at = c;
#if WG_X > 1
        values[lane] = best;
        columns[lane] = at;
        for (int half_x = WG_X / 2; half_x > 0; half_x /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (lane < half_x && beats(values[lane + half_x], columns[lane + half_x], values[lane], columns[lane])) {
                values[lane] = values[lane + half_x];
                columns[lane] = columns[lane + half_x];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        at = columns[0];
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        if (lane == 0) index[r] = at == NONE ? 0 : at;
    }
}
