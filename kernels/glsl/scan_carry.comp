/* kernels/glsl/scan_carry.comp: carries the state from chunk to chunk.
 *
 *     for each chunk i: s = summary[i]; summary[i] = h; h = exp(A·total[i])·h + s, from h = state[slot] to state[slot]
 *
 * A lane has one channel and one state and walks the chunks. Grid: x tiles of WG_X channels, y states, z sequences.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_SCAN_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer A { float a[]; };
layout(set = 0, binding = 1, std430) readonly buffer Total { float total[]; };
layout(set = 0, binding = 2, std430) readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 3, std430) buffer Summary { float summary[]; };
layout(set = 0, binding = 4, std430) buffer State { float state[]; };

#include "kernels/glsl/common.glsl"

void carry(int b, int slot, bool resumes, int n, int c)
{
    float rate = a[n * p.channels + c];
    int place = (slot * p.d_state + n) * p.channels + c;
    int from = b * p.chunks * p.channels + c;
    int at = (b * p.chunks * p.d_state + n) * p.channels + c, step = p.d_state * p.channels;
    float h = resumes ? state[place] : 0.0;
    float next_s = summary[at], next_total = total[from];
    for (int i = 0; i < p.chunks; i++, at += step) {
        float s = next_s, chunk_total = next_total;
        if (i + 1 < p.chunks) { /* on their way while this chunk is worked on */
            next_s = summary[at + step];
            next_total = total[from + (i + 1) * p.channels];
        }
        summary[at] = h;
        h = lm_decay_step(h, chunk_total * rate, s);
    }
    state[place] = h;
}

void main()
{
    LM_EACH_TILE(b, z, p.batch) {
        if (rows[b * p.rows_stride + LM_ROW_LENGTH] == 0) continue;
        int slot = rows[b * p.rows_stride + LM_ROW_SLOT];
        bool resumes = rows[b * p.rows_stride + LM_ROW_SEEN] > 0;
        LM_EACH_TILE(n, y, p.d_state) {
            LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X)) {
                int c = tile * WG_X + int(gl_LocalInvocationID.x);
                if (c < p.channels) carry(b, slot, resumes, n, c);
            }
        }
    }
}
