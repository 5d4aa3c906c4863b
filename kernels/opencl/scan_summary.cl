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
    __local float4 staged[2][TILE(1)];
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
#if STAGED
        __global const float *rates = a + p.state_first * p.channels + c;
        float s[STATES], rate[STATES], rate_low[STATES], steps = 0.0f;
        EACH_STATE(n) {
            const float exact = n < states ? rates[n * p.channels] : 0.0f;
            s[n] = 0.0f;
            rate[n] = exact * 1.44269504f;
            rate_low[n] = lm_rate_low(exact, rate[n]);
        }
        float4 fetched[FETCHED(1)];
        float next_input[TOKENS], next_step[TOKENS];
        if (t_first < t_end) {
            lm_fetch(fetched, 1, bc, &p, start + t_first, min(TOKENS, t_end - t_first), states);
            lm_put(staged[0], 1, fetched);
            EACH_TOKEN(i) {
                const int r = start + min(t_first + i, t_end - 1);
                next_input[i] = u[r * p.u_stride + c];
                next_step[i] = delta[r * p.delta_stride + c];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        int half_at = 0;
        for (int t0 = t_first; t0 < t_end; t0 += TOKENS, half_at ^= 1) {
            __local const float4 *tile_b = staged[half_at];
            const int tokens = min(TOKENS, t_end - t0);
            float input[TOKENS], step[TOKENS], bs[STATES];
            EACH_TOKEN(i) input[i] = next_input[i], step[i] = next_step[i];
            if (t0 + TOKENS < t_end) {
                lm_fetch(fetched, 1, bc, &p, start + t0 + TOKENS, min(TOKENS, t_end - t0 - TOKENS), states);
                EACH_TOKEN(i) {
                    const int r = start + min(t0 + TOKENS + i, t_end - 1);
                    next_input[i] = u[r * p.u_stride + c];
                    next_step[i] = delta[r * p.delta_stride + c];
                }
            }
            bool done = false;
            if (tokens == TOKENS) {
                float before[STATES];
                EACH_STATE(n) before[n] = s[n];
                EACH_TOKEN(i) {
                    const float scaled = step[i] * input[i];
                    lm_take(bs, tile_b + i * VECTORS);
                    EACH_STATE(n) s[n] = lm_decay_finite(step[i], rate[n], rate_low[n], s[n], bs[n] * scaled);
                }
                done = !isnan(lm_finite(s));
                EACH_STATE(n) s[n] = done ? s[n] : before[n];
                if (done) {
                    EACH_TOKEN(i) steps += step[i];
                }
            }
            /* What is left of a chunk, and the tile again where something is not finite. */
            for (int i = 0; i < tokens && !done; i++) {
                const int r = start + t0 + i;
                const float by = delta[r * p.delta_stride + c];
                lm_take(bs, tile_b + i * VECTORS);
                lm_decay_states(s, rate, rate_low, rates, p.channels, states, by, by * u[r * p.u_stride + c], bs);
                steps += by;
            }
            lm_put(staged[half_at ^ 1], 1, fetched);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#else
        floatv s[STATES], rate[STATES], steps = (floatv)(0.0f);
        EACH_STATE(n) {
            s[n] = (floatv)(0.0f);
            rate[n] = n < states ? lm_load(a + (p.state_first + n) * p.channels + c, count) : (floatv)(0.0f);
        }
        for (int t = t_first; t < t_end; t++) {
            const int r = start + t;
            __global const float *bs = bc + r * p.bc_stride + p.b_offset + p.state_first;
            const floatv step = lm_load(delta + r * p.delta_stride + c, count);
            const floatv scaled = step * lm_load(u + r * p.u_stride + c, count);
            steps += step;
            EACH_STATE(n) s[n] = lm_decay(step * rate[n], s[n], SHARED(bs, n) * scaled);
        }
#endif
        if (own < p.channels) {
            if (p.state_first == 0) lm_store(steps, total + record * p.channels + c, count);
            EACH_STATE(n)
                if (n < states) lm_store(s[n], summary + (record * p.d_state + p.state_first + n) * p.channels + c, count);
        }
    }
}
