/* kernels/opencl/scan.cl: the selective scan.
 *
 *   s_t = exp(Δ_t·A)·s_{t−1} + Δ_t·B_t·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A lane has LANES channels and walks a chunk of time (dimension y) of a sequence (z) with STATES states in registers. B
 * and C of TOKENS tokens are the same for all channels: large groups stage them in local memory, others read them directly.
 * Where d_state is no multiple of STATES, the states in excess have A = B = C = 0.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/scan_tokens.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_scan(const lm_scan_params p, const lm_offsets at, __global const float *u, __global const float *delta,
                      __global const float *a, __global const float *bc, __global const float *d, __global const float *z,
                      __global const int *rows, __global float *state, __global float *y)
{
    u += at.first[0], delta += at.first[1], a += at.first[2], bc += at.first[3], d += at.first[4], z += at.first[5],
    rows += at.first[6], state += at.first[7], y += at.first[8];
#if STAGED
    __local float staged_b[TOKENS * STATES], staged_c[TOKENS * STATES];
#endif
    const int states = min(STATES, p.d_state - p.state_first);
    const bool first = p.state_first == 0, gate = (p.flags & LM_SCAN_GATE) && p.state_first + states == p.d_state;
    for (int b = (int)get_group_id(2); b < p.batch; b += (int)get_num_groups(2))
    for (int chunk = (int)get_group_id(1); chunk < p.chunks; chunk += (int)get_num_groups(1))
    for (int tile = (int)get_group_id(0) * WG_X * LANES; tile < p.channels; tile += (int)get_num_groups(0) * WG_X * LANES) {
        __global const int *row = rows + b * p.rows_stride;
        const int t_first = chunk * p.chunk_length, t_end = min(t_first + p.chunk_length, row[LM_ROW_LENGTH]);
        const int start = row[LM_ROW_START], record = p.chunks == 1 ? row[LM_ROW_SLOT] : b * p.chunks + chunk;
        /* Lanes past the last channel repeat it, so that they reach every barrier, but leave alone what its own lane
         * writes. */
        const int own = tile + (int)get_local_id(0) * LANES, c = min(own, p.channels - 1);
        const int count = min(LANES, p.channels - c), s_at = (record * p.d_state + p.state_first) * p.channels + c;
        const bool owner = own < p.channels, resumes = owner && (p.chunks > 1 || row[LM_ROW_SEEN] > 0);
        const floatv skip = lm_load(d + c, count);
        floatv s[STATES], rate[STATES];
        EACH_STATE(n) {
            s[n] = resumes && n < states ? lm_load(state + s_at + n * p.channels, count) : (floatv)(0.0f);
            rate[n] = n < states ? lm_load(a + (p.state_first + n) * p.channels + c, count) : (floatv)(0.0f);
        }
        for (int t0 = t_first; t0 < t_end; t0 += TOKENS) {
            const int tokens = min(TOKENS, t_end - t0);
#if STAGED
            barrier(CLK_LOCAL_MEM_FENCE);
            lm_stage(staged_b, bc + p.b_offset + p.state_first, p.bc_stride, start + t0, tokens, states);
            lm_stage(staged_c, bc + p.c_offset + p.state_first, p.bc_stride, start + t0, tokens, states);
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
                const int r = start + t0 + i;
#if STAGED
                __local const float *bs = staged_b + i * STATES, *cs = staged_c + i * STATES;
#else
                __global const float *bs = bc + r * p.bc_stride + p.b_offset + p.state_first;
                __global const float *cs = bc + r * p.bc_stride + p.c_offset + p.state_first;
#endif
                const floatv scaled = step[i] * input[i];
                floatv sum = skip * input[i];
                if (!first && owner) sum = lm_load(y + r * p.y_stride + c, count);
                EACH_STATE(n) {
                    s[n] = lm_decay(step[i] * rate[n], s[n], SHARED(bs, n) * scaled);
                    sum = LM_MAD((floatv)(SHARED(cs, n)), s[n], sum);
                }
                if (gate) sum *= lm_silu(lm_load(z + r * p.z_stride + p.z_offset + c, count));
                if (owner) lm_store(sum, y + r * p.y_stride + c, count);
            }
        }
        if (p.chunks == 1 && owner && t_first < t_end) {
            EACH_STATE(n)
                if (n < states) lm_store(s[n], state + s_at + n * p.channels, count);
        }
    }
}
