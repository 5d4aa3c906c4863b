/* kernels/opencl/scan_summary.cl: what each chunk of a scan does to the state it starts from: its last state from a zero
 * start, and the sum of its Δ. Mapping as in kernels/opencl/scan.cl.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/scan_tokens.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_scan_summary(const lm_scan_params p, const lm_offsets at, __global const float *u,
                              __global const float *delta, __global const float *a, __global const float *bc,
                              __global const int *rows, __global float *summary, __global float *total)
{
    u += at.first[0], delta += at.first[1], a += at.first[2], bc += at.first[3], rows += at.first[4],
    summary += at.first[5], total += at.first[6];
#if STAGED
    __local float staged_b[TOKENS * STATES];
#endif
    const int states = min(STATES, p.d_state - p.state_first);
    for (int b = (int)get_group_id(2); b < p.batch; b += (int)get_num_groups(2))
    for (int chunk = (int)get_group_id(1); chunk < p.chunks; chunk += (int)get_num_groups(1))
    for (int tile = (int)get_group_id(0) * WG_X * LANES; tile < p.channels; tile += (int)get_num_groups(0) * WG_X * LANES) {
        __global const int *row = rows + b * p.rows_stride;
        const int t_first = chunk * p.chunk_length, t_end = min(t_first + p.chunk_length, row[LM_ROW_LENGTH]);
        const int start = row[LM_ROW_START], record = b * p.chunks + chunk;
        /* Lanes past the last channel repeat it, so that they reach every barrier; they store nothing. */
        const int own = tile + (int)get_local_id(0) * LANES, c = min(own, p.channels - 1);
        const int count = min(LANES, p.channels - c);
        floatv s[STATES], rate[STATES], steps = (floatv)(0.0f);
        EACH_STATE(n) {
            s[n] = (floatv)(0.0f);
            rate[n] = n < states ? lm_load(a + (p.state_first + n) * p.channels + c, count) : (floatv)(0.0f);
        }
        for (int t0 = t_first; t0 < t_end; t0 += TOKENS) {
            const int tokens = min(TOKENS, t_end - t0);
#if STAGED
            barrier(CLK_LOCAL_MEM_FENCE);
            lm_stage(staged_b, bc + p.b_offset + p.state_first, p.bc_stride, start + t0, tokens, states);
            barrier(CLK_LOCAL_MEM_FENCE);
#endif
            floatv input[TOKENS], step[TOKENS];
#pragma unroll
            for (int i = 0; i < TOKENS; i++) {
                const int r = start + min(t0 + i, t_end - 1);
                input[i] = lm_load(u + r * p.u_stride + c, count);
                step[i] = lm_load(delta + r * p.delta_stride + c, count);
            }
#pragma unroll
            for (int i = 0; i < TOKENS; i++) {
                if (i >= tokens) break;
#if STAGED
                __local const float *bs = staged_b + i * STATES;
#else
                __global const float *bs = bc + (start + t0 + i) * p.bc_stride + p.b_offset + p.state_first;
#endif
                const floatv scaled = step[i] * input[i];
                steps += step[i];
                EACH_STATE(n) s[n] = lm_decay(step[i] * rate[n], s[n], SHARED(bs, n) * scaled);
            }
        }
        if (own < p.channels) {
            if (p.state_first == 0) lm_store(steps, total + record * p.channels + c, count);
            EACH_STATE(n)
                if (n < states) lm_store(s[n], summary + (record * p.d_state + p.state_first + n) * p.channels + c, count);
        }
    }
}
