/* bench/probes/probe_copy.comp: to = from, LM_PROBE_VECTORS vectors a lane; lanes side by side take vectors side by side. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "bench/probes/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_PROBE_FIELDS } p;
layout(set = 0, binding = 0, std430) readonly buffer From { vec4 from[]; };
layout(set = 0, binding = 1, std430) writeonly buffer To { vec4 to[]; };

void main()
{
    const int share = LM_PROBE_VECTORS * WG_X;
    for (int tile = int(gl_WorkGroupID.x); tile < p.count / (share * 4); tile += int(gl_NumWorkGroups.x)) {
        const int first = tile * share + int(gl_LocalInvocationID.x);
        for (int i = 0; i < LM_PROBE_VECTORS; i++) to[first + i * WG_X] = from[first + i * WG_X];
    }
}
