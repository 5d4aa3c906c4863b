/* kernels/opencl/scan_carry.cl: walks the chunks of a scan and replaces each summary by the state its chunk starts from.
 *
 *   s = summary[i]; summary[i] = h; h = exp(A·total[i])·h + s, from h = state to state
 *
 * A lane has LANES channels of one state (dimension y) of one sequence (z).
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_scan_carry(const lm_scan_params p, const lm_offsets at, __global const float *a,
                            __global const float *total, __global const int *rows, __global float *summary,
                            __global float *state)
{
    a += at.first[0], total += at.first[1], rows += at.first[2], summary += at.first[3], state += at.first[4];
    for (int b = (int)get_group_id(2); b < p.batch; b += (int)get_num_groups(2))
    for (int n = (int)get_group_id(1); n < p.d_state; n += (int)get_num_groups(1))
    for (int c = (int)get_global_id(0) * LANES; c < p.channels; c += (int)get_global_size(0) * LANES) {
        const int count = min(LANES, p.channels - c);
        __global const int *row = rows + b * p.rows_stride;
        if (row[LM_ROW_LENGTH] == 0) continue;
        __global float *kept = state + (row[LM_ROW_SLOT] * p.d_state + n) * p.channels + c;
        const floatv rate = lm_load(a + n * p.channels + c, count);
        floatv carried = row[LM_ROW_SEEN] > 0 ? lm_load(kept, count) : (floatv)(0.0f);
        const int stride = p.d_state * p.channels;
        __global float *entry = summary + (b * p.chunks * p.d_state + n) * p.channels + c;
        __global const float *sums = total + b * p.chunks * p.channels + c;
        floatv next_last = lm_load(entry, count), next_sum = lm_load(sums, count);
        for (int i = 0; i < p.chunks; i++, entry += stride) {
            const floatv last = next_last, sum = next_sum;
            if (i + 1 < p.chunks) { /* on their way while this chunk is worked on */
                next_last = lm_load(entry + stride, count);
                next_sum = lm_load(sums + (i + 1) * p.channels, count);
            }
            lm_store(carried, entry, count);
            carried = lm_decay(rate * sum, carried, last);
        }
        lm_store(carried, kept, count);
    }
}
