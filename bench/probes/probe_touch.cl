/* bench/probes/probe_touch.cl: next to nothing, in one work-group. */
#include "bench/probes/params.h"
#include "kernels/opencl/common.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_probe_touch(const lm_probe_params p, const lm_offsets at, __global float *value)
{
    if (get_global_id(0) == 0) value[at.first[0]] += p.m;
}
