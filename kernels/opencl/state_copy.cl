/* kernels/opencl/state_copy.cl: copies the scan state of each sequence to another entry of the buffer, for states that can be
 * rolled back (host/state.c).
 *
 * A lane has LANES words; dimension y walks the sequences. No entry is read by one sequence and written by another.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_state_copy(const lm_state_copy_params p, const lm_offsets at, __global const int *rows, __global float *state)
{
    rows += at.first[0], state += at.first[1];
    for (int b = (int)get_group_id(1); b < p.batch; b += (int)get_num_groups(1)) {
        __global const int *row = rows + b * p.rows_stride;
        if (row[LM_ROW_LENGTH] == 0 || row[LM_ROW_SEEN] == 0) continue;
        __global const float *from = state + row[LM_ROW_FROM] * p.words;
        __global float *to = state + row[LM_ROW_SLOT] * p.words;
        for (int i = (int)get_global_id(0) * LANES; i < p.words; i += (int)get_global_size(0) * LANES) {
            const int count = min(LANES, p.words - i);
            lm_store(lm_load(from + i, count), to + i, count);
        }
    }
}
