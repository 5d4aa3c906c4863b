/* kernels/opencl/step_scan.cl: adds the parts of x_proj up, and takes one token of each of a few sequences through dt_proj and
 * the selective scan.
 *
 *   Δ = softplus(low·dt_weight + dt_bias);  s = exp(Δ·A)·s + Δ·B·u;  y = (sum_n C·s + D·u)·SiLU(z)
 *
 * A group has WG_X·LANES channels of a sequence (y), and its own copy of low, B and C. With LANES 1 the lanes along y share a
 * channel's ranks and states: lane y has those from y on by WG_Y, RANKS and STATES of them, which are on their way while the parts
 * are added up. With LANES 16 a group is one lane and walks them. ALIGNED: rows of parts are whole fours of floats. What is read soon
 * (bindings 8 and 9) is left alone here.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"

#define GROUP (WG_X * WG_Y)

#if ALIGNED
typedef float4 unit;
#define UNIT 4
#else
typedef float unit;
#define UNIT 1
#endif
#define UNITS (WIDTH / UNIT)
#define SHARES (GROUP > UNITS ? GROUP / UNITS : 1) /* lanes that add up the same columns */

/* shares = each one's sum of some of the `count` parts; barriers before and after are part of it. */
static inline void lm_add_parts(__global const float *parts, int count, __local unit *shares)
{
    const int lane = (int)get_local_id(1) * WG_X + (int)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = lane, column = lane, share = 0; i < UNITS * SHARES; i += GROUP, column += GROUP) {
        for (; column >= UNITS; column -= UNITS) share++;
        unit sum = (unit)(0.0f);
#pragma unroll AT_ONCE
        for (int part = share; part < count; part += SHARES) sum += ((__global const unit *)(parts + part * WIDTH))[column];
        shares[share * UNITS + column] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* projected[0 … WIDTH−1] = the sum of the shares; a barrier after is part of it. */
static inline void lm_add_shares(__local const unit *shares, __local float *projected)
{
    const int lane = (int)get_local_id(1) * WG_X + (int)get_local_id(0);
    for (int j = lane; j < WIDTH; j += GROUP) {
        float sum = 0.0f;
#pragma unroll
        for (int share = 0; share < SHARES; share++) sum += ((__local const float *)shares)[share * WIDTH + j];
        projected[j] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_step_scan(const lm_step_scan_params p, const lm_places at, LM_BUFFER_ARGS)
{
    __global const float *in = LM_BINDING(0);
    __global const float *dt_weight = LM_BINDING(1);
    __global const float *dt_bias = LM_BINDING(2);
    __global const float *a = LM_BINDING(3);
    __global const float *d = LM_BINDING(4);
    __global const int *rows = (__global const int *)LM_BINDING(5);
    __global float *state = LM_BINDING(6);
    __global float *y = LM_BINDING(7);
    __local unit shares[UNITS * SHARES];
    __local float projected[WIDTH];
#if LANES == 1
    __local float low[WG_Y][WG_X], sums[WG_Y][WG_X];
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1);
#endif
    __local const float *bs = projected + p.rank, *cs = bs + p.d_state;
    for (int b = (int)get_group_id(1); b < p.rows; b += (int)get_num_groups(1)) {
        __global const int *row = rows + b * p.rows_stride;
        __global const float *parts = in + p.part_offset + b * p.parts * WIDTH, *us = in + p.u_offset + b * p.channels;
        __global const float *zs = in + p.z_offset + b * p.channels;
        const bool resumes = row[LM_ROW_SEEN] > 0;
#if LANES == 1
        for (int tile = (int)get_group_id(0) * WG_X; tile < p.channels; tile += (int)get_num_groups(0) * WG_X) {
            /* Lanes past the last channel repeat it, so that they reach every barrier, and store nothing. */
            const int own = tile + lx, c = min(own, p.channels - 1);
            const float u = us[c], z = zs[c], skip = d[c], from = dt_bias[c];
            __global float *states = state + row[LM_ROW_SLOT] * p.d_state * p.channels + c;
            float weights[RANKS], s[STATES], rate[STATES];
#pragma unroll
            for (int i = 0; i < RANKS; i++) {
                const int r = ly + i * WG_Y;
                weights[i] = r < p.rank ? dt_weight[r * p.channels + c] : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < STATES; i++) {
                const int n = ly + i * WG_Y;
                s[i] = resumes && own < p.channels && n < p.d_state ? states[n * p.channels] : 0.0f;
                rate[i] = n < p.d_state ? a[n * p.channels + c] : 0.0f;
            }
            const bool first = tile == (int)get_group_id(0) * WG_X, last = ly == WG_Y - 1;
            if (first) lm_add_parts(parts, p.parts, shares);
            const float gate = last ? lm_silu(z) : 0.0f; /* while the lanes at the other end add */
            if (first) lm_add_shares(shares, projected);
            float sum = 0.0f;
#pragma unroll
            for (int i = 0; i < RANKS; i++)
                if (ly + i * WG_Y < p.rank) sum = fma(projected[ly + i * WG_Y], weights[i], sum);
            low[ly][lx] = sum;
            barrier(CLK_LOCAL_MEM_FENCE);
            float step = 0.0f;
#pragma unroll
            for (int i = 0; i < WG_Y; i++) step += low[i][lx];
            step = lm_softplus(step + from);
            sum = last ? skip * u : 0.0f;
#pragma unroll
            for (int i = 0; i < STATES; i++) {
                const int n = ly + i * WG_Y;
                if (n >= p.d_state) continue;
                s[i] = lm_decay(step * rate[i], s[i], bs[n] * (step * u));
                sum = fma(cs[n], s[i], sum);
                if (own < p.channels) states[n * p.channels] = s[i];
            }
            sums[ly][lx] = sum;
            barrier(CLK_LOCAL_MEM_FENCE);
            if (!last || own >= p.channels) continue;
#pragma unroll
            for (int i = 0; i < WG_Y - 1; i++) sum += sums[i][lx];
            y[b * p.channels + c] = sum * gate;
        }
#else
        lm_add_parts(parts, p.parts, shares);
        lm_add_shares(shares, projected);
        for (int c = (int)get_group_id(0) * LANES; c < p.channels; c += (int)get_num_groups(0) * LANES) {
            const int count = min(LANES, p.channels - c);
            __global float *states = state + row[LM_ROW_SLOT] * p.d_state * p.channels + c;
            floatv step = (floatv)(0.0f);
            for (int r = 0; r < p.rank; r++)
                step = LM_MAD((floatv)(projected[r]), lm_load(dt_weight + r * p.channels + c, count), step);
            step = lm_softplus(step + lm_load(dt_bias + c, count));
            const floatv u = lm_load(us + c, count), input = step * u;
            floatv sum = lm_load(d + c, count) * u;
            for (int n = 0; n < p.d_state; n++) {
                const floatv s = resumes ? lm_load(states + n * p.channels, count) : (floatv)(0.0f);
                const floatv next = lm_decay(step * lm_load(a + n * p.channels + c, count), s, bs[n] * input);
                sum = LM_MAD((floatv)(cs[n]), next, sum);
                lm_store(next, states + n * p.channels, count);
            }
            lm_store(sum * lm_silu(lm_load(zs + c, count)), y + b * p.channels + c, count);
        }
#endif
    }
}
