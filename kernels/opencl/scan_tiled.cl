/* kernels/opencl/scan_tiled.cl: the selective scan of a GPU that has many tokens to work on.
 *
 *   s_t = exp(Δ_t·A)·s_{t−1} + Δ_t·B_t·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A group walks a sequence (z) tile by tile (kernels/opencl/scan_tile.h); what the next tile needs is on its way, in
 * registers, while it works on one. With one segment each lane carries its states from tile to tile. With more, for few
 * channels, all segments of a tile are walked at once from zero; lane i < CHANNELS·STATES then takes state i of the group
 * through the segments, s ← exp(A·ΣΔ)·s + what the segment added, and all are walked again from the starts so found.
 * Where time is cut, a group walks one chunk (y) from what scan_ends says of those before it.
 *
 * Decays are the hardware's exp2, except in a tile in which a channel's Δ·|A| are all small: there its states take
 * s += (exp(Δ·A) − 1)·s + …, or a million roundings of a decay near 1 would add up. So results depend on where tiles begin:
 * deterministic lists take lm_scan. Exactly one group for each x tile of CHANNELS channels, y chunk and z sequence. */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/hardware.h"
#include "kernels/opencl/tile_decay.h"
#include "kernels/opencl/scan_tile.h"

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_scan_tiled(const lm_scan_params p, const lm_offsets at, __global const float *restrict u,
                            __global const float *restrict delta, __global const float *restrict a,
                            __global const float *restrict bc, __global const float *restrict d,
                            __global const float *restrict z, __global const int *restrict rows,
                            __global float *restrict state, __global float *restrict y, __global const float *restrict before)
{
    u += at.first[0], delta += at.first[1], a += at.first[2], bc += at.first[3], d += at.first[4], z += at.first[5],
    rows += at.first[6], state += at.first[7], y += at.first[8], before += at.first[9];
    __local float4 steps[TOKENS / 4 * CHANNELS], inputs[TOKENS / 4 * CHANNELS]; /* Δ and Δ·u */
    __local float4 matrices[BC_TILE], sums[TOKENS / 4 * GROUP * PITCH];
    __local uint longest[2][CHANNELS], quickest[CHANNELS]; /* the largest Δ, for tiles in turn, and |A| / ln 2 */
#if SEGMENTS > 1
    __local float4 ends[SEGMENTS * CHANNELS * GROUP];
    __local float totals[SEGMENTS * CHANNELS];
#endif
    const uint lane = get_local_id(0);
    const uint g = lane / 2 % GROUP, mine = (lane % 2 + lane / (2 * GROUP) * 2) % APART, segment = lane / (GROUP * APART);
    const uint own = lane % CHANNELS, own_t = lane / CHANNELS * OWN;
    const bool first = p.state_first == 0, gate = (p.flags & LM_SCAN_GATE) && p.state_first + STATES >= p.d_state;
    const int last = p.channels - 1, n_end = min(p.state_first + STATES, p.d_state);
    const int b = (int)get_group_id(2), tile = (int)get_group_id(0) * CHANNELS;
    __global const int *row = rows + b * p.rows_stride;
    const int chunk = (int)get_group_id(1), t_first = chunk * p.chunk_length, left = row[LM_ROW_LENGTH] - t_first;
    const int length = min(left, p.chunk_length), start = row[LM_ROW_START] + t_first;
    if (length <= 0) return;
    const bool resumes = p.chunks == 1 && row[LM_ROW_SEEN] > 0;
    __global float *kept = state + row[LM_ROW_SLOT] * p.d_state * p.channels;
    /* Lanes past the last channel repeat it and write nothing. */
    const int own_c = min(tile + (int)own, last);
    const bool writes = tile + (int)own <= last;
    const float skip = first ? d[own_c] : 0.0f;
    if (lane < CHANNELS) longest[0][lane] = quickest[lane] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    float4 s[WIDTH], rate[WIDTH];
    float fastest[WIDTH];
    EACH(x, WIDTH) {
        const int c = min(tile + (int)mine + x * APART, last);
        float rates[4], from[4], most = 0.0f;
        EACH(k, 4) {
            const int n = p.state_first + 4 * (int)g + k;
            rates[k] = n < n_end ? a[n * p.channels + c] * 1.44269504f : 0.0f;
            const bool held_here = n < n_end && tile + (int)mine + x * APART <= last;
            from[k] = SEGMENTS == 1 && resumes && held_here ? kept[n * p.channels + c] : 0.0f;
            most = fmax(most, fabs(rates[k]));
        }
        rate[x] = vload4(0, rates), s[x] = vload4(0, from);
        fastest[x] = most;
    }
#if SEGMENTS > 1
    float held[HELD], held_rate[HELD], held_fastest[HELD];
    EACH(k, HELD) {
        const uint i = lane + k * WG_X;
        const int n = p.state_first + (int)(i % STATES), c = min(tile + (int)(i / STATES), last);
        const bool held_here = i < CHANNELS * STATES && n < n_end && tile + (int)(i / STATES) <= last;
        held[k] = resumes && held_here ? kept[n * p.channels + c] : 0.0f;
        held_rate[k] = n < n_end ? a[n * p.channels + c] * 1.44269504f : 0.0f;
    }
#endif
    float4 fetched[FETCHED];
    float next_u[OWN], next_step[OWN], next_z[OWN] = {0.0f};
    int next = 0;                 /* the tile that is on its way */
    uint at_u = (start + own_t) * p.u_stride + own_c, at_delta = (start + own_t) * p.delta_stride + own_c;
    uint at_z = (start + own_t) * p.z_stride + p.z_offset + own_c, at_y = (start + own_t) * p.y_stride + own_c;
#define FETCH(whole) \
    lm_tile_fetch(fetched, bc, &p, start + next, length - next, whole); \
    EACH(i, OWN) { \
        const bool there = whole || next + (int)own_t + i < length; \
        next_u[i] = there ? u[at_u + i * p.u_stride] : 0.0f; \
        next_step[i] = there ? delta[at_delta + i * p.delta_stride] : 0.0f; \
        if (gate) next_z[i] = there ? z[at_z + i * p.z_stride] : 0.0f; \
    }
/* y of this lane's tokens, all of them in step: one after the other they would wait for each other's exp2. */
#define FINISH(whole) \
    if (first) { \
        EACH(i, OWN) out[i] = fma(skip, own_u[i], out[i]); \
    } else { \
        EACH(i, OWN) if (writes && (whole || t0 + (int)own_t + i < length)) out[i] += y[at_y + i * p.y_stride]; \
    } \
    if (gate) EACH(i, OWN) out[i] *= own_gate[i]; \
    if (writes) EACH(i, OWN) if (whole || t0 + (int)own_t + i < length) y[at_y + i * p.y_stride] = out[i];
    FETCH(false)
    EACH(x, WIDTH) atomic_max(&quickest[mine + x * APART], as_uint(fastest[x]));
    if (p.chunks > 1) {
        EACH(x, WIDTH) {
            const uint part = lane / CHANNELS + x * (GROUP / WIDTH);
            sums[part * PITCH + own] = lm_tile_start(before, a, &p, b * p.chunks, chunk, p.state_first + 4 * (int)part, own_c);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    EACH(x, WIDTH) {
        fastest[x] = as_float(quickest[mine + x * APART]);
        if (p.chunks > 1) s[x] = sums[g * PITCH + mine + x * APART];
    }
#if SEGMENTS > 1
    EACH(k, HELD) held_fastest[k] = as_float(quickest[min((uint)CHANNELS - 1, (lane + k * WG_X) / STATES)]);
#endif
    for (int t0 = 0, odd = 0; t0 < length; t0 = next, odd ^= 1) {
        float own_u[OWN], own_gate[OWN];
        uint most = 0; /* bits of numbers that are not negative order as they do; what is not finite is above all */
        EACH(i, OWN) own_u[i] = next_u[i], own_gate[i] = next_z[i], most = max(most, as_uint(next_step[i]));
        EACH(q, OWN / SPAN) {
            const spanv step = SPAN_LOAD(q, next_step);
            const uint to = lm_span_at(own_t + q * SPAN, CHANNELS, own);
            ((__local spanv *)steps)[to] = step;
            ((__local spanv *)inputs)[to] = step * SPAN_LOAD(q, next_u);
        }
        atomic_max(&longest[odd][own], most);
        EACH(k, FETCHED)
            if (BC_TILE % WG_X == 0 || lane + k * WG_X < BC_TILE) matrices[lane + k * WG_X] = fetched[k];
        barrier(CLK_LOCAL_MEM_FENCE);
        float most_here[WIDTH];
        EACH(x, WIDTH) most_here[x] = as_float(longest[odd][mine + x * APART]);
        next += TOKENS, at_u += TOKENS * p.u_stride, at_delta += TOKENS * p.delta_stride, at_z += TOKENS * p.z_stride;
        if (next + TOKENS <= length) {
            FETCH(true)
        } else if (next < length) {
            FETCH(false)
        }
        if (lane < CHANNELS) longest[odd ^ 1][lane] = 0;
        bool is_small = true;
        EACH(x, WIDTH) is_small = is_small && most_here[x] * fastest[x] < SMALL_STEP;
        const uint at_channel = segment * (STEPS / 4) * CHANNELS + mine;
        __local const float4 *bc_at = matrices + segment * STEPS * 2 * GROUP + g;
        __local float4 *sums_at = sums + (segment * (STEPS / 4) * GROUP + g) * PITCH + mine;
#if SEGMENTS > 1
        float4 decay[WIDTH][STEPS];
        float total[WIDTH];
        EACH(x, WIDTH) {
            s[x] = (float4)(0.0f), total[x] = 0.0f;
            EACH(q, STEPS / 4) {
                const float4 step = steps[at_channel + q * CHANNELS + x * APART];
                total[x] += lm_dot4(step, (float4)(1.0f));
            }
        }
        if (is_small) {
            lm_tile_walk_small(s, rate, steps + at_channel, inputs + at_channel, bc_at, sums_at, false);
        } else {
            EACH(i, STEPS) {
                const float4 b = bc_at[i * 2 * GROUP];
                EACH(x, WIDTH) {
                    const uint at_token = at_channel + i / 4 * CHANNELS + x * APART;
                    const float4 step = steps[at_token], input = inputs[at_token];
                    decay[x][i] = lm_tile_decay(TOKEN(step, i % 4) * rate[x]);
                    s[x] = fma(decay[x][i], s[x], TOKEN(input, i % 4) * b);
                }
            }
        }
        EACH(x, WIDTH) {
            ends[(segment * CHANNELS + mine + x * APART) * GROUP + g] = s[x];
            if (g == 0) totals[segment * CHANNELS + mine + x * APART] = total[x];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH(k, HELD) {
            const uint i = lane + k * WG_X;
            if (i < CHANNELS * STATES) {
                __local float *end = (__local float *)ends + i;
                const bool held_small = as_float(longest[odd][i / STATES]) * held_fastest[k] < SMALL_STEP;
                EACH(j, SEGMENTS) {
                    const float x = totals[j * CHANNELS + i / STATES] * held_rate[k], added = end[j * CHANNELS * STATES];
                    end[j * CHANNELS * STATES] = held[k];
                    if (held_small) held[k] += fma(lm_tile_expm1(x), clamp(held[k], -FLT_MAX, FLT_MAX), added);
                    else held[k] = fma(lm_fast_exp2(x), held[k], added);
                }
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH(x, WIDTH) s[x] = ends[(segment * CHANNELS + mine + x * APART) * GROUP + g];
#define DECAY(x, i) decay[x][i]
#else
#define DECAY(x, i) lm_tile_decay(TOKEN(step[x], i % 4) * rate[x])
#endif
        if (is_small) {
            EACH(i, OWN) own_gate[i] *= lm_tile_sigmoid(own_gate[i]);
            lm_tile_walk_small(s, rate, steps + at_channel, inputs + at_channel, bc_at, sums_at, true);
        } else {
            float sum[WIDTH][4];
            EACH(q, STEPS / 4) {
                EACH(i, OWN) if (i % (STEPS / 4) == q) own_gate[i] *= lm_tile_sigmoid(own_gate[i]); /* where its wait is filled */
                float4 step[WIDTH], input[WIDTH];
                EACH(x, WIDTH) {
                    step[x] = steps[at_channel + q * CHANNELS + x * APART];
                    input[x] = inputs[at_channel + q * CHANNELS + x * APART];
                }
                float4 b = bc_at[8 * q * GROUP], c = bc_at[(8 * q + 1) * GROUP];
                /* The sums of the four tokens before, only now: drivers move no load of local memory before a store. */
                EACH(x, WIDTH) if (q > 0) sums_at[(q - 1) * GROUP * PITCH + x * APART] = vload4(0, sum[x]);
                EACH(j, 4) {
                    const int i = 4 * q + j;
                    if (j > 0) b = bc_at[i * 2 * GROUP], c = bc_at[(i * 2 + 1) * GROUP];
                    EACH(x, WIDTH) {
                        s[x] = fma(DECAY(x, i), s[x], TOKEN(input[x], j) * b);
                        sum[x][j] = lm_dot4(c, s[x]);
                    }
                }
            }
            EACH(x, WIDTH) sums_at[(STEPS / 4 - 1) * GROUP * PITCH + x * APART] = vload4(0, sum[x]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float out[OWN];
        EACH(q, OWN / SPAN) {
            __local const spanv *from = (__local const spanv *)sums;
            const uint t = own_t + q * SPAN;
            spanv v = from[lm_span_at(t, GROUP * PITCH, own)];
            for (int k = 1; k < GROUP; k++) v += from[lm_span_at(t, GROUP * PITCH, own + k * PITCH)];
            SPAN_STORE(v, q, out);
        }
        if (t0 + TOKENS <= length) {
            FINISH(true)
        } else {
            FINISH(false)
        }
        at_y += TOKENS * p.y_stride;
    }
    if (left > length) return; /* the last chunk leaves the state */
#if SEGMENTS > 1
    EACH(k, HELD) {
        const uint i = lane + k * WG_X;
        const int n = p.state_first + (int)(i % STATES), c = tile + (int)(i / STATES);
        if (i < CHANNELS * STATES && n < n_end && c <= last) kept[n * p.channels + c] = held[k];
    }
#else
    EACH(x, WIDTH) {
        float to[4];
        vstore4(s[x], 0, to);
        EACH(k, 4) {
            const int n = p.state_first + 4 * (int)g + k, c = tile + (int)mine + x * APART;
            if (n < n_end && c <= last) kept[n * p.channels + c] = to[k];
        }
    }
#endif
}
