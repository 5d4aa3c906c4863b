/* kernels/opencl/scan_ends.cl: how the chunks of a scan end, so that scan_tiled can walk them all at once.
 *
 *   record[i+1] = sum over the tokens t of chunk i of exp(A·σ_t)·Δ_t·B_t·u_t, σ_t the sum of Δ after t; and the sum of all Δ
 *
 * which is the chunk's last state from a zero start, without a recurrence. Tokens are taken from the last to the first, a tile at a
 * time: σ grows, and where exp(A·σ) is 0 for all states of a lane it only adds up Δ. A lane has 4 states of a channel, neighbours
 * have neighbouring channels; of a tile each brings OWN tokens of its channel and two floats of B. Two tiles are in local memory
 * in turn. Chunks here are whole tiles; the last one of a sequence ends nowhere. Record 0 is the state that a sequence starts from,
 * as the walk overwrites it. Exactly one group for each x tile of CHANNELS channels, y chunk and z sequence. */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/hardware.h"
#include "kernels/opencl/tile_decay.h"

#define CHANNELS (WG_X / GROUP)
#define TOKENS 16
#define OWN (TOKENS / GROUP)

/* σ·|A| / ln 2 from which on decays count as 0. */
#define FORGOTTEN 127.0f

static inline bool lm_is_finite_bits(float x) { return (as_uint(x) & 0x7f800000u) != 0x7f800000u; }

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_scan_ends(const lm_scan_params p, const lm_offsets at, __global const float *restrict u,
                           __global const float *restrict delta, __global const float *restrict a,
                           __global const float *restrict bc, __global const int *restrict rows,
                           __global const float *restrict state, __global float *restrict ends)
{
    u += at.first[0], delta += at.first[1], a += at.first[2], bc += at.first[3], rows += at.first[4], state += at.first[5],
    ends += at.first[6];
    __local float4 steps[2][TOKENS / 4 * CHANNELS], inputs[2][TOKENS / 4 * CHANNELS]; /* Δ and Δ·u */
    __local float4 matrices[2][TOKENS * GROUP];
    __local uint odd[2]; /* is something of the tile not finite? */
    const uint lane = get_local_id(0), g = lane / CHANNELS, mine = lane % CHANNELS, own_t = g * OWN;
    const int tile = (int)get_group_id(0) * CHANNELS, chunk = (int)get_group_id(1), b = (int)get_group_id(2);
    const int n = p.state_first + 4 * (int)g, states = min(4, p.d_state - n), c = min(tile + (int)mine, p.channels - 1);
    __global const int *row = rows + b * p.rows_stride;
    const int t_end = chunk * p.chunk_length;
    if (t_end >= row[LM_ROW_LENGTH]) return;
    float4 s = (float4)(0.0f), rate;
    float total = 0.0f, slowest = FLT_MAX;
    {
        __global const float *kept = state + (row[LM_ROW_SLOT] * p.d_state + n) * p.channels + c;
        float rates[4], from[4];
        EACH(k, 4) {
            rates[k] = k < states ? a[(n + k) * p.channels + c] * 1.44269504f : 0.0f;
            from[k] = k < states && chunk == 0 && row[LM_ROW_SEEN] > 0 ? kept[k * p.channels] : 0.0f;
            if (k < states) slowest = fmin(slowest, -rates[k]);
        }
        rate = vload4(0, rates), s = vload4(0, from);
    }
    /* Where this lane's part of the last tile lies. */
    int left = chunk > 0 ? p.chunk_length : 0;
    const int r = row[LM_ROW_START] + t_end - TOKENS, n_b = p.state_first + (int)(lane % (2 * GROUP)) * 2;
    uint at_u = (uint)((r + (int)own_t) * p.u_stride + c), at_delta = (uint)((r + (int)own_t) * p.delta_stride + c);
    uint at_b = (uint)((r + (int)(lane / (2 * GROUP))) * p.bc_stride + p.b_offset + n_b);
    float next_u[OWN], next_step[OWN];
    float2 next_b = (float2)(0.0f);
#define FETCH_ENDS() \
    EACH(i, OWN) next_u[i] = u[at_u + i * p.u_stride], next_step[i] = delta[at_delta + i * p.delta_stride]; \
    if (FLAGS & LM_TILED_VECTORS) next_b = *(__global const float2 *)(bc + at_b); \
    else next_b = (float2)(n_b < p.d_state ? bc[at_b] : 0.0f, n_b + 1 < p.d_state ? bc[at_b + 1] : 0.0f); \
    at_u -= TOKENS * p.u_stride, at_delta -= TOKENS * p.delta_stride, at_b -= TOKENS * p.bc_stride;
    if (left > 0) {
        FETCH_ENDS()
    }
    if (lane < 2) odd[lane] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int now = 0; left > 0; left -= TOKENS, now ^= 1) {
        bool finite = lm_is_finite_bits(next_b.x) && lm_is_finite_bits(next_b.y);
        EACH(i, OWN) finite = finite && lm_is_finite_bits(next_step[i] * next_u[i]);
        EACH(q, OWN / 4) {
            const float4 step = vload4(q, next_step);
            steps[now][(own_t / 4 + q) * CHANNELS + mine] = step;
            inputs[now][(own_t / 4 + q) * CHANNELS + mine] = step * vload4(q, next_u);
        }
        ((__local float2 *)matrices[now])[lane] = next_b;
        if (!finite) atomic_or(&odd[now], 1u);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (left > TOKENS) {
            FETCH_ENDS()
        }
        __local const float4 *steps_at = steps[now] + mine, *inputs_at = inputs[now] + mine, *b_at = matrices[now] + g;
        float sum = 0.0f;
        if (odd[now] != 0) {
            /* An infinite input stays what it is, however long ago. */
#pragma unroll 1
            for (int i = TOKENS - 1; i >= 0; i--) {
                const float4 added = ((__local const float *)(inputs_at + i / 4 * CHANNELS))[i % 4] * b_at[i * GROUP];
                const float4 kept = added * lm_tile_decay((total + sum) * rate);
                s += select(added, kept, isfinite(added));
                sum += ((__local const float *)(steps_at + i / 4 * CHANNELS))[i % 4];
            }
        } else if (total * slowest < FORGOTTEN) {
            const float4 far = total * rate;
            EACH(k, TOKENS / 4) {
                const int q = TOKENS / 4 - 1 - k;
                const float4 step = steps_at[q * CHANNELS], input = inputs_at[q * CHANNELS];
                EACH(m, 4) {
                    const int j = 3 - m;
                    s = fma(lm_tile_decay(fma((float4)(sum), rate, far)), TOKEN(input, j) * b_at[(4 * q + j) * GROUP], s);
                    sum += TOKEN(step, j);
                }
            }
        } else {
            EACH(q, TOKENS / 4) sum += lm_dot4(steps_at[q * CHANNELS], (float4)(1.0f));
        }
        total += sum;
    }
    if (tile + (int)mine >= p.channels) return;
    __global float *record = ends + (b * p.chunks + chunk) * (p.d_state + 1) * p.channels + c;
    float to[4];
    vstore4(s, 0, to);
    EACH(k, 4) if (k < states) record[(n + k) * p.channels] = to[k];
    if (n == 0) record[p.d_state * p.channels] = total;
}
