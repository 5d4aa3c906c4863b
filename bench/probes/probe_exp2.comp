/* bench/probes/probe_exp2.comp: chains of exponentials that do not depend on each other, by the driver's own exp2. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "bench/probes/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
const int WG_X = int(gl_WorkGroupSize.x);

layout(push_constant) uniform Params { LM_PROBE_FIELDS } p;
layout(set = 0, binding = 0, std430) writeonly buffer Out { float sums[]; };

void main()
{
    const int lane = int(gl_GlobalInvocationID.x);
    float x[LM_PROBE_CHAINS];
    for (int i = 0; i < LM_PROBE_CHAINS; i++) x[i] = p.m + float(i) * p.n;
    for (int round = 0; round < p.rounds; round += LM_PROBE_UNROLL) {
        [[unroll]] for (int j = 0; j < LM_PROBE_UNROLL; j++) {
            [[unroll]] for (int i = 0; i < LM_PROBE_CHAINS; i++) x[i] = exp2(-x[i]);
        }
    }
    float sum = 0.0;
    for (int i = 0; i < LM_PROBE_CHAINS; i++) sum += x[i];
    sums[lane] = sum;
}
