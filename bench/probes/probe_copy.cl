/* bench/probes/probe_copy.cl: to = from, LM_PROBE_VECTORS vectors a lane; lanes side by side take vectors side by side. */
#include "bench/probes/params.h"
#include "kernels/opencl/common.h"

#if LANES == 16
#define WIDTH 16
#define LM_VLOAD vload16
#define LM_VSTORE vstore16
#else
#define WIDTH 4
#define LM_VLOAD vload4
#define LM_VSTORE vstore4
#endif

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_probe_copy(const lm_probe_params p, const lm_offsets at, __global const float *from, __global float *to)
{
    from += at.first[0], to += at.first[1];
    const int share = LM_PROBE_VECTORS * WG_X;
    for (int tile = (int)get_group_id(0); tile < p.count / (share * WIDTH); tile += (int)get_num_groups(0)) {
        const int first = tile * share + (int)get_local_id(0);
        for (int i = 0; i < LM_PROBE_VECTORS; i++) LM_VSTORE(LM_VLOAD(first + i * WG_X, from), first + i * WG_X, to);
    }
}
