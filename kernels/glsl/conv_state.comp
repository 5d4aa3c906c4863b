/* kernels/glsl/conv_state.comp: puts the last min(length, history) inputs of every sequence into its history ring.
 *
 * A lane has one channel; grid: x tiles of WG_X channels, y tokens of the last min(length, history), z sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_CONV_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 2, std430) writeonly buffer History { float history[]; };

#include "kernels/glsl/common.glsl"

void main()
{
    LM_EACH_TILE(b, z, p.batch) {
        int row = b * p.rows_stride;
        int slot = rows[row + LM_ROW_SLOT], start = rows[row + LM_ROW_START], length_b = rows[row + LM_ROW_LENGTH];
        int head = rows[row + LM_ROW_HEADS + p.ring];
        int kept = min(length_b, p.history);
        LM_EACH_TILE(i, y, kept) {
            int t = length_b - kept + i;
            int place = slot * p.history + (head + t) % p.history;
            int from = p.x_offset + (start + t) * p.x_stride;
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X)) {
                int c = tile * WG_X + int(gl_LocalInvocationID.x);
                if (c < p.channels) history[place * p.channels + c] = x[from + c];
            }
        }
    }
}
