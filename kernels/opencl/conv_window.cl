/* kernels/opencl/conv_window.cl: conv for taps and dilations that are known when the kernel is built, and conv_state with it.
 *
 *   c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  s_k = SiLU(c_k)
 *   out = sum_k g_k·s_k, or all s_k side by side; afterwards the ring has the last inputs
 *
 * A lane has LANES channels of a chunk of consecutive tokens, and walks it with the last REACH and the next AHEAD inputs in
 * registers: each input is loaded once, long before it is needed. Taps and dilations are constant and the loop is unrolled RING
 * times, so that every input is a register known by name. Neighbouring lanes read neighbouring channels. Grid: x tiles of
 * WG_X·LANES channels, z sequences; the groups of y share the tokens of each sequence evenly. WG_Y is 1, and STEPS tokens are
 * computed between looks at the chunk's end.
 *
 * Of a channel's ring only the first chunk reads, so that its lane may write there afterwards.
 */
#include "kernels/params.h"
#include "kernels/opencl/common.h"
#include "kernels/opencl/hardware.h"
#include "kernels/opencl/silu.h"

/* DILATIONS: five bits a branch, zeros behind the last. FORM: LM_CONV_... of params.h. */
#define DILATION(k) ((DILATIONS >> (5 * (k))) & 31)
#define BRANCHES (DILATION(1) == 0 ? 1 : DILATION(2) == 0 ? 2 : DILATION(3) == 0 ? 3 : DILATION(4) == 0 ? 4 : DILATION(5) == 0 ? 5 : 6)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define MOST LARGER(LARGER(LARGER(DILATION(0), DILATION(1)), LARGER(DILATION(2), DILATION(3))), LARGER(DILATION(4), DILATION(5)))
#define REACH ((TAPS - 1) * MOST)
#define RING (REACH + AHEAD)

typedef struct sequence {
    int slot, start, count, head, seen;
} sequence;

typedef struct arrays {
    __global const float *x, *weight, *bias, *gates;
    __global float *history, *out;
} arrays;

/* Input of token t, which lies in the ring when it is negative; 0 outside of the sequence. */
static inline floatv input_at(const lm_conv_params *p, const arrays *a, const sequence *q, int t, int c)
{
    const int lanes = min(LANES, p->channels - c);
    if (t >= q->count || t < -min(p->history, q->seen)) return (floatv)(0.0f);
    if (t >= 0) return lm_load(a->x + p->x_offset + (q->start + t) * p->x_stride + c, lanes);
    int place = q->head + t;
    if (place < 0) place += p->history;
    return lm_load(a->history + (q->slot * p->history + place) * p->channels + c, lanes);
}

static inline float gate_of(const lm_conv_params *p, const arrays *a, int k)
{
    return FORM & LM_CONV_GATES ? a->gates[p->branch_first + k] : 1.0f;
}

/* scale·c_k of one token; the order of additions is that of convolve(). */
static floatv convolved(const lm_conv_params *p, const arrays *a, const sequence *q, int t, int c, int k, float scale)
{
    const int lanes = min(LANES, p->channels - c), branch = p->branch_first + k;
    floatv value = FORM & LM_CONV_BIAS ? lm_load(a->bias + branch * p->channels + c, lanes) * scale : (floatv)(0.0f);
    for (int j = 0; j < TAPS; j++) {
        const floatv w = lm_load(a->weight + (branch * TAPS + j) * p->channels + c, lanes) * scale;
        value = LM_MAD(w, input_at(p, a, q, t - (TAPS - 1 - j) * DILATION(k), c), value);
    }
    return value;
}

/* sum_k gate_k·SiLU(value_k), four, two and one at a time. */
static inline floatv mixed(const floatv *value, const float *gate, floatv *range)
{
    floatv sum = (floatv)(0.0f);
    if (BRANCHES >= 4) sum = lm_silu_four(value, gate, sum, range);
    if (BRANCHES & 2) sum = lm_silu_two(value + (BRANCHES & 4), gate + (BRANCHES & 4), sum, range);
    if (BRANCHES & 1) sum = lm_silu_one(value[BRANCHES - 1], gate[BRANCHES - 1], sum, range);
    *range += fabs(sum);
    return sum;
}

/* Sets outputs that convolve() found out of its range anew, with SiLUs that have no such range. */
static void mend(const lm_conv_params *p, const arrays *a, const sequence *q, int t, int c)
{
    const int lanes = min(LANES, p->channels - c);
    __global float *to = a->out + (q->start + t) * p->out_stride + c;
    floatv value[BRANCHES], sum = (floatv)(0.0f), range = sum;
    float gate[BRANCHES];
    for (int k = 0; k < BRANCHES; k++) {
        value[k] = convolved(p, a, q, t, c, k, LM_SILU_SCALE);
        gate[k] = gate_of(p, a, k) * LM_SILU_GATE;
        const floatv one = lm_silu(convolved(p, a, q, t, c, k, 1.0f));
        sum = LM_MAD((floatv)(gate_of(p, a, k)), one, sum);
        if (FORM & LM_CONV_CONCAT) {
            floatv own = (floatv)(0.0f), fast = lm_silu_one(value[k], LM_SILU_GATE, own, &own);
            lm_store(own + fabs(fast) < LM_SILU_RANGE ? fast : one, to + k * p->channels, lanes);
        }
    }
    if (FORM & LM_CONV_CONCAT) return;
    const floatv fast = mixed(value, gate, &range);
    lm_store(range < LM_SILU_RANGE ? fast : sum, to, lanes);
}

/* Tokens begin … end−1 of the channels from c on. */
static inline void convolve(const lm_conv_params *p, const arrays *a, const sequence *q, int begin, int end, int c)
{
    const int lanes = min(LANES, p->channels - c);
    floatv w[BRANCHES][TAPS], start[BRANCHES];
    float gate[BRANCHES];
#pragma unroll
    for (int k = 0; k < BRANCHES; k++) {
        const int branch = p->branch_first + k;
        gate[k] = gate_of(p, a, k) * LM_SILU_GATE;
        start[k] = FORM & LM_CONV_BIAS ? lm_load(a->bias + branch * p->channels + c, lanes) * LM_SILU_SCALE : (floatv)(0.0f);
#pragma unroll
        for (int j = 0; j < TAPS; j++)
            w[k][j] = lm_load(a->weight + (branch * TAPS + j) * p->channels + c, lanes) * LM_SILU_SCALE;
    }
    /* Token first + s lies in window[(s + REACH) % RING], first being begin, begin + RING, … */
    floatv window[RING];
    __global const float *from = a->x + p->x_offset + (q->start + begin - REACH) * p->x_stride + c;
    __global float *to = a->out + (q->start + begin) * p->out_stride + c;
    if (begin >= REACH && end - begin >= AHEAD) {
#pragma unroll
        for (int j = 0; j < RING; j++, from += p->x_stride) window[j] = lm_load(from, lanes);
    } else {
#pragma unroll
        for (int j = 0; j < RING; j++, from += p->x_stride)
            window[j] = begin - REACH + j < end ? input_at(p, a, q, begin - REACH + j, c) : (floatv)(0.0f);
    }
    for (int first = begin; first < end; first += RING) {
        const int left = end - first;
        floatv range = (floatv)(0.0f);
#pragma unroll
        for (int g = 0; g < RING; g += STEPS) {
            if (g >= left) continue;
#pragma unroll
            for (int s = g; s < (g + STEPS < RING ? g + STEPS : RING); s++) {
                floatv value[BRANCHES];
#pragma unroll
                for (int k = 0; k < BRANCHES; k++) {
                    value[k] = start[k];
#pragma unroll
                    for (int j = 0; j < TAPS; j++)
                        value[k] = LM_MAD(w[k][j], window[(s + REACH - (TAPS - 1 - j) * DILATION(k)) % RING], value[k]);
                    if (FORM & LM_CONV_CONCAT) {
                        const floatv one = lm_silu_one(value[k], LM_SILU_GATE, (floatv)(0.0f), &range);
                        range += fabs(one);
                        if (s < left) lm_store(one, to + k * p->channels, lanes);
                    }
                }
                if (!(FORM & LM_CONV_CONCAT)) {
                    const floatv sum = mixed(value, gate, &range);
                    if (s < left) lm_store(sum, to, lanes);
                }
                to += p->out_stride;
                /* Its oldest input is done with. */
                if (s + AHEAD < left) window[s] = lm_load(from, lanes);
                from += p->x_stride;
            }
        }
        if (!(lm_sum_lanes(range) < LM_SILU_RANGE))
            for (int s = 0; s < min(RING, left); s++) mend(p, a, q, first + s, c);
    }
}

/* conv_state: the last inputs go into the ring. */
static inline void keep(const lm_conv_params *p, const arrays *a, const sequence *q, int c)
{
    const int lanes = min(LANES, p->channels - c);
    for (int t = max(q->count - p->history, 0); t < q->count; t++) {
        const int place = q->slot * p->history + (int)(((uint)q->head + (uint)t) % (uint)p->history);
        lm_store(lm_load(a->x + p->x_offset + (q->start + t) * p->x_stride + c, lanes), a->history + place * p->channels + c,
                 lanes);
    }
}

__attribute__((reqd_work_group_size(WG_X, WG_Y, 1)))
__kernel void lm_conv_window(const lm_conv_params p, const lm_offsets at, __global const float *x, __global const float *weight,
                             __global const float *bias, __global const float *gates, __global const int *dilations,
                             __global float *history, __global const int *rows, __global float *out)
{
    const arrays a = {x + at.first[0], weight + at.first[1], bias + at.first[2], gates + at.first[3],
                      history + at.first[5], out + at.first[7]};
    rows += at.first[6];
    for (int b = (int)get_group_id(2); b < p.batch; b += (int)get_num_groups(2)) {
        __global const int *row = rows + b * p.rows_stride;
        const sequence q = {row[LM_ROW_SLOT], row[LM_ROW_START], row[LM_ROW_LENGTH], row[LM_ROW_HEADS + p.ring],
                            row[LM_ROW_SEEN]};
        const int groups = (int)get_num_groups(1), tokens = max((int)((uint)(q.count + groups - 1) / (uint)groups), REACH);
        const int begin = (int)get_group_id(1) * tokens, end = min(begin + tokens, q.count);
        for (int c = (int)get_global_id(0) * LANES; c < p.channels; c += (int)get_global_size(0) * LANES) {
            if (begin >= end) continue;
            convolve(&p, &a, &q, begin, end, c);
            if (begin == 0) keep(&p, &a, &q, c);
        }
    }
}
