/* kernels/opencl/embed.cl: looks token rows up in one piece of a table; tokens of other pieces are left alone.
 *
 * A lane has LANES columns; dimension y walks the rows.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_embed(const lm_embed_params p, const lm_offsets at, __global const int *tokens, __global const float *table,
                       __global float *y)
{
    tokens += at.first[0], table += at.first[1], y += at.first[2];
    for (int r = (int)get_group_id(1); r < p.rows; r += (int)get_num_groups(1)) {
        const int token = tokens[r];
        if (token < p.first || token - p.first >= p.count) continue;
        for (int c = (int)get_global_id(0) * LANES; c < p.cols; c += (int)get_global_size(0) * LANES) {
            const int count = min(LANES, p.cols - c);
            lm_store(lm_load(table + (token - p.first) * p.cols + c, count), y + r * p.cols + c, count);
        }
    }
}
