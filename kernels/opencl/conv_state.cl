/* kernels/opencl/conv_state.cl: puts a call's last min(length, history) inputs into the history rings.
 *
 * A lane has LANES channels; dimension y walks the tokens, z the sequences.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_conv_state(const lm_conv_params p, const lm_offsets at, __global const float *x, __global const int *rows,
                            __global float *history)
{
    x += at.first[0], rows += at.first[1], history += at.first[2];
    for (int b = (int)get_group_id(2); b < p.batch; b += (int)get_num_groups(2)) {
        __global const int *row = rows + b * p.rows_stride;
        const int start = row[LM_ROW_START], length = row[LM_ROW_LENGTH], head = row[LM_ROW_HEADS + p.ring];
        const int oldest = max(length - p.history, 0);
        for (int t = oldest + (int)get_group_id(1); t < length; t += (int)get_num_groups(1)) {
            const int to = row[LM_ROW_SLOT] * p.history + (int)(((uint)head + (uint)t) % (uint)p.history);
            for (int c = (int)get_global_id(0) * LANES; c < p.channels; c += (int)get_global_size(0) * LANES) {
                const int count = min(LANES, p.channels - c);
                const floatv v = lm_load(x + p.x_offset + (start + t) * p.x_stride + c, count);
                lm_store(v, history + to * p.channels + c, count);
            }
        }
    }
}
