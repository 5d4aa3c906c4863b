/* bench/probes/probe_touch.comp: next to nothing, in one work-group. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "bench/probes/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_PROBE_FIELDS } p;
layout(set = 0, binding = 0, std430) buffer Value { float value[]; };

void main()
{
    if (gl_GlobalInvocationID.x == 0u) value[0] += p.m;
}
