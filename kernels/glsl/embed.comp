/* kernels/glsl/embed.comp: y[r] = table[tokens[r] − first], for the tokens that this piece of the table holds.
 *
 * A lane has one column; grid: x tiles of WG_X columns, y rows.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

LM_PARAMETERS(LM_EMBED_FIELDS, 3)
LM_BUFFER(0, readonly, int, tokens)
LM_BUFFER(1, readonly, float, table)
LM_BUFFER(2, writeonly, float, y)

#include "kernels/glsl/common.glsl"

void main()
{
    LM_EACH_TILE(r, y, p.rows) {
        int entry = LM_AT(tokens, r) - p.first;
        LM_EACH_TILE(tile, x, lm_ceil_div(p.cols, WG_X)) {
            int c = tile * WG_X + int(gl_LocalInvocationID.x);
            if (entry >= 0 && entry < p.count && c < p.cols) LM_AT(y, r * p.cols + c) = LM_AT(table, entry * p.cols + c);
        }
    }
}
