/* bench/probes/probe_exp2.cl: chains of exponentials that do not depend on each other, by the device's own instruction. */
#include "bench/probes/params.h"
#include "kernels/opencl/common.h"

#if LANES == 16
#define CHAINS LM_PROBE_CHAINS_WIDE
#else
#define CHAINS LM_PROBE_CHAINS
#endif

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_probe_exp2(const lm_probe_params p, const lm_offsets at, __global float *out)
{
    const int lane = (int)get_global_id(0);
    floatv x[CHAINS];
    for (int i = 0; i < CHAINS; i++) x[i] = (floatv)(p.m + (float)i * p.n);
    for (int round = 0; round < p.rounds; round += LM_PROBE_UNROLL) {
#pragma unroll
        for (int j = 0; j < LM_PROBE_UNROLL; j++) {
#pragma unroll
            for (int i = 0; i < CHAINS; i++) x[i] = native_exp2(-x[i]);
        }
    }
    floatv sum = x[0];
    for (int i = 1; i < CHAINS; i++) sum += x[i];
    out[at.first[0] + lane] = lm_sum_lanes(sum);
}
