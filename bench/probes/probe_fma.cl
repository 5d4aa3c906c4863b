/* bench/probes/probe_fma.cl: chains of multiply-adds that do not depend on each other. */
#include "bench/probes/params.h"
#include "kernels/opencl/common.h"

#if LANES == 16
#define CHAINS LM_PROBE_CHAINS_WIDE
#else
#define CHAINS LM_PROBE_CHAINS
#endif

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_probe_fma(const lm_probe_params p, const lm_offsets at, __global float *out)
{
    const int lane = (int)get_global_id(0);
    floatv x[CHAINS];
    for (int i = 0; i < CHAINS; i++) x[i] = (floatv)((float)(lane + i));
    const floatv m = (floatv)(p.m), n = (floatv)(p.n);
    for (int round = 0; round < p.rounds; round += LM_PROBE_UNROLL) {
#pragma unroll
        for (int j = 0; j < LM_PROBE_UNROLL; j++) {
#pragma unroll
            for (int i = 0; i < CHAINS; i++) x[i] = LM_MAD(x[i], m, n);
        }
    }
    floatv sum = x[0];
    for (int i = 1; i < CHAINS; i++) sum += x[i];
    out[at.first[0] + lane] = lm_sum_lanes(sum);
}
