/* kernels/glsl/embed.comp: y[r] = table[tokens[r] − first], for the tokens that this piece of the table holds.
 *
 * A lane has one column; grid: x tiles of WG_X columns, y rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_EMBED_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer Tokens { int tokens[]; };
layout(set = 0, binding = 1, std430) readonly buffer Table { float table[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y { float y[]; };

#include "kernels/glsl/common.glsl"

void main()
{
    LM_EACH_TILE(r, y, p.rows) {
        int entry = tokens[r] - p.first;
        LM_EACH_TILE(tile, x, lm_ceil_div(p.cols, WG_X)) {
            int c = tile * WG_X + int(gl_LocalInvocationID.x);
            if (entry >= 0 && entry < p.count && c < p.cols) y[r * p.cols + c] = table[entry * p.cols + c];
        }
    }
}
