/* kernels/opencl/scan.cl: the selective scan.
 *
 *   s_t = exp(Δ_t·A)·s_{t−1} + Δ_t·B_t·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A lane has LANES channels and walks a chunk of time (dimension y) of a sequence (z) with STATES states in registers. B
 * and C are the same for all channels: small groups read them where they are; large ones stage those of a tile of tokens in
 * local memory, and have the next tile on its way, in registers, while they work on one. Where d_state is no multiple of
 * STATES, the states in excess have A = B = C = 0.
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
    __local float4 staged[2][TILE(2)];
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
#if STAGED
        __global const float *rates = a + p.state_first * p.channels + c;
        float s[STATES], rate[STATES], rate_low[STATES];
        EACH_STATE(n) {
            const float exact = n < states ? rates[n * p.channels] : 0.0f;
            s[n] = resumes && n < states ? state[s_at + n * p.channels] : 0.0f;
            rate[n] = exact * 1.44269504f;
            rate_low[n] = lm_rate_low(exact, rate[n]);
        }
        float4 fetched[FETCHED(2)];
        float next_input[TOKENS], next_step[TOKENS], next_z[TOKENS];
        if (t_first < t_end) {
            lm_fetch(fetched, 2, bc, &p, start + t_first, min(TOKENS, t_end - t_first), states);
            lm_put(staged[0], 2, fetched);
            EACH_TOKEN(i) {
                const int r = start + min(t_first + i, t_end - 1);
                next_input[i] = u[r * p.u_stride + c];
                next_step[i] = delta[r * p.delta_stride + c];
                next_z[i] = gate ? z[r * p.z_stride + p.z_offset + c] : 0.0f;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        int half_at = 0;
        for (int t0 = t_first; t0 < t_end; t0 += TOKENS, half_at ^= 1) {
            __local const float4 *tile_bc = staged[half_at];
            const int tokens = min(TOKENS, t_end - t0), r0 = start + t0;
            float input[TOKENS], step[TOKENS], gates[TOKENS], sum[TOKENS], bs[STATES], cs[STATES];
            EACH_TOKEN(i) input[i] = next_input[i], step[i] = next_step[i], gates[i] = next_z[i];
            if (t0 + TOKENS < t_end) {
                lm_fetch(fetched, 2, bc, &p, r0 + TOKENS, min(TOKENS, t_end - t0 - TOKENS), states);
                EACH_TOKEN(i) {
                    const int r = start + min(t0 + TOKENS + i, t_end - 1);
                    next_input[i] = u[r * p.u_stride + c];
                    next_step[i] = delta[r * p.delta_stride + c];
                    if (gate) next_z[i] = z[r * p.z_stride + p.z_offset + c];
                }
            }
            bool done = false;
            if (tokens == TOKENS) {
                float before[STATES];
                EACH_STATE(n) before[n] = s[n];
                EACH_TOKEN(i) sum[i] = first || !owner ? skip * input[i] : y[(r0 + i) * p.y_stride + c];
                EACH_TOKEN(i) {
                    const float scaled = step[i] * input[i];
                    lm_take(bs, tile_bc + i * 2 * VECTORS);
                    lm_take(cs, tile_bc + (i * 2 + 1) * VECTORS);
                    EACH_STATE(n) {
                        s[n] = lm_decay_finite(step[i], rate[n], rate_low[n], s[n], bs[n] * scaled);
                        sum[i] = fma(cs[n], s[n], sum[i]);
                    }
                }
                done = !isnan(lm_finite(s));
                if (done && gate) {
                    EACH_TOKEN(i) sum[i] *= lm_silu(gates[i]);
                }
                if (done && owner) {
                    EACH_TOKEN(i) y[(r0 + i) * p.y_stride + c] = sum[i];
                }
                if (!done) {
                    EACH_STATE(n) s[n] = before[n];
                }
            }
            /* What is left of a chunk, and the tile again where something is not finite. */
            for (int i = 0; i < tokens && !done; i++) {
                const int r = r0 + i;
                const float in = u[r * p.u_stride + c], by = delta[r * p.delta_stride + c];
                lm_take(bs, tile_bc + i * 2 * VECTORS);
                lm_take(cs, tile_bc + (i * 2 + 1) * VECTORS);
                lm_decay_states(s, rate, rate_low, rates, p.channels, states, by, by * in, bs);
                float out = first || !owner ? skip * in : y[r * p.y_stride + c];
                EACH_STATE(n) out = fma(cs[n], s[n], out);
                if (gate) out *= lm_silu(z[r * p.z_stride + p.z_offset + c]);
                if (owner) y[r * p.y_stride + c] = out;
            }
            lm_put(staged[half_at ^ 1], 2, fetched);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#else
        floatv s[STATES], rate[STATES];
        EACH_STATE(n) {
            s[n] = resumes && n < states ? lm_load(state + s_at + n * p.channels, count) : (floatv)(0.0f);
            rate[n] = n < states ? lm_load(a + (p.state_first + n) * p.channels + c, count) : (floatv)(0.0f);
        }
        for (int t = t_first; t < t_end; t++) {
            const int r = start + t;
            __global const float *bs = bc + r * p.bc_stride + p.b_offset + p.state_first;
            __global const float *cs = bc + r * p.bc_stride + p.c_offset + p.state_first;
            const floatv input = lm_load(u + r * p.u_stride + c, count), step = lm_load(delta + r * p.delta_stride + c, count);
            const floatv scaled = step * input;
            floatv sum = skip * input;
            if (!first && owner) sum = lm_load(y + r * p.y_stride + c, count);
            EACH_STATE(n) {
                s[n] = lm_decay(step * rate[n], s[n], SHARED(bs, n) * scaled);
                sum = LM_MAD((floatv)(SHARED(cs, n)), s[n], sum);
            }
            if (gate) sum *= lm_silu(lm_load(z + r * p.z_stride + p.z_offset + c, count));
            if (owner) lm_store(sum, y + r * p.y_stride + c, count);
        }
#endif
        if (p.chunks == 1 && owner && t_first < t_end) {
            EACH_STATE(n)
                if (n < states) lm_store(s[n], state + s_at + n * p.channels, count);
        }
    }
}
