/* kernels/glsl/state_copy.comp: copies the scan state of each sequence to another entry of the buffer, for states that can be
 * rolled back (host/state.c).
 *
 * A lane has one word; grid: x tiles of WG_X words, y sequences. No entry is read by one sequence and written by another.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_STATE_COPY_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 1, std430) buffer State { float state[]; };

#include "kernels/glsl/common.glsl"

void main()
{
    LM_EACH_TILE(b, y, p.batch) {
        int row = b * p.rows_stride;
        bool wanted = rows[row + LM_ROW_LENGTH] > 0 && rows[row + LM_ROW_SEEN] > 0;
        int to = rows[row + LM_ROW_SLOT] * p.words, from = rows[row + LM_ROW_FROM] * p.words;
        LM_EACH_TILE(tile, x, lm_ceil_div(p.words, WG_X)) {
            int i = tile * WG_X + int(gl_LocalInvocationID.x);
            if (wanted && i < p.words) state[to + i] = state[from + i];
        }
    }
}
