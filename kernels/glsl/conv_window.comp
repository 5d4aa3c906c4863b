/* kernels/glsl/conv_window.comp: conv for taps and dilations that are known when the pipeline is built, and conv_state with it.
 *
 *     c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  s_k = SiLU(c_k)
 *     out = sum_k g_k·s_k, or all s_k side by side; afterwards the ring has the last inputs
 *
 * A lane has one channel of a chunk of consecutive tokens, and walks it with the last REACH and the next AHEAD inputs in
 * registers: each input is loaded once, long before it is needed. Taps and dilations are constant and the loop is unrolled RING
 * times, so that every input is a register known by name. Neighbouring lanes read neighbouring channels. Grid: x tiles of WG_X
 * channels, z sequences; the groups of y share the tokens of each sequence evenly, and from sequence `uncut` on LM_CONV_CUTS slices of
 * z share each of these chunks. WG_Y is 1.
 *
 * Of a channel's ring only the first chunk reads, so that its lane may write there afterwards: none is shorter than REACH.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"
#include "kernels/glsl/buffers.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int STEPS = 4;     /* computed between looks at the chunk's end */
layout(constant_id = 4) const int TAPS = 3;
layout(constant_id = 5) const int DILATIONS = 0x41041; /* five bits a branch, zeros behind the last */
layout(constant_id = 6) const int FORM = 0;      /* LM_CONV_... of params.h */
layout(constant_id = 7) const int AHEAD = 4;
const int WG_X = int(gl_WorkGroupSize.x);

#define DILATION(k) ((DILATIONS >> (5 * (k))) & 31)
const int BRANCHES = DILATION(1) == 0 ? 1 : DILATION(2) == 0 ? 2 : DILATION(3) == 0 ? 3 : DILATION(4) == 0 ? 4 :
                     DILATION(5) == 0 ? 5 : 6;
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
const int MOST2 = LARGER(DILATION(0), DILATION(1));
const int MOST4 = LARGER(MOST2, LARGER(DILATION(2), DILATION(3)));
const int REACH = (TAPS - 1) * LARGER(MOST4, LARGER(DILATION(4), DILATION(5)));
const int RING = REACH + AHEAD;
const bool HARDWARE_EXP = (FORM & LM_CONV_HARDWARE_EXP) != 0, EXACT_ARGUMENT = TAPS == 1;

LM_PARAMETERS(LM_CONV_FIELDS, 8)
LM_BUFFER(0, readonly, float, x)
LM_BUFFER(1, readonly, float, weight)
LM_BUFFER(2, readonly, float, bias)
LM_BUFFER(3, readonly, float, gates)
LM_BUFFER(4, readonly, int, dilations)
LM_BUFFER(5, , float, history)
LM_BUFFER(6, readonly, int, rows)
LM_BUFFER(7, writeonly, float, result)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/silu.glsl"

struct Sequence {
    int slot;
    int start;
    int count; /* tokens */
    int head;
    int seen; /* tokens before this call */
};

/* Input of token t, which lies in the ring when it is negative; 0 outside of the sequence. */
float input_at(Sequence q, int t, int c)
{
    if (t >= q.count || t < -min(p.history, q.seen)) return 0.0;
    if (t >= 0) return LM_AT(x, p.x_offset + (q.start + t) * p.x_stride + c);
    int place = q.head + t;
    if (place < 0) place += p.history;
    return LM_AT(history, (q.slot * p.history + place) * p.channels + c);
}

float gate_of(int k) { return (FORM & LM_CONV_GATES) != 0 ? LM_AT(gates, p.branch_first + k) : 1.0; }

/* scale·c_k of one token; the order of additions is that of `convolve`. */
float convolved(Sequence q, int t, int c, int k, float scale)
{
    int branch = p.branch_first + k;
    precise float value = (FORM & LM_CONV_BIAS) != 0 ? LM_AT(bias, branch * p.channels + c) * scale : 0.0;
    for (int j = 0; j < TAPS; j++) {
        precise float w = LM_AT(weight, (branch * TAPS + j) * p.channels + c) * scale;
        value = fma(w, input_at(q, t - (TAPS - 1 - j) * DILATION(k), c), value);
    }
    return value;
}

/* sum_k gate_k·SiLU(value_k), four, two and one at a time. */
float mixed(float value[BRANCHES], float gate[BRANCHES], inout float range)
{
    const int four = BRANCHES & 4, last = BRANCHES - 1;
    float sum = 0.0;
    if (BRANCHES >= 4)
        sum = lm_silu_four(vec4(value[0], value[1 % BRANCHES], value[2 % BRANCHES], value[3 % BRANCHES]),
                           vec4(gate[0], gate[1 % BRANCHES], gate[2 % BRANCHES], gate[3 % BRANCHES]), sum, range);
    if ((BRANCHES & 2) != 0)
        sum = lm_silu_two(vec2(value[four], value[(four + 1) % BRANCHES]), vec2(gate[four], gate[(four + 1) % BRANCHES]), sum, range);
    if ((BRANCHES & 1) != 0) sum = lm_silu_one(value[last], gate[last], sum, range);
    range += abs(sum);
    return sum;
}

/* Sets outputs that `convolve` found out of its range anew, with SiLUs that have no such range. */
void mend(Sequence q, int t, int c)
{
    int to = (q.start + t) * p.out_stride + c;
    float value[BRANCHES], gate[BRANCHES], sum = 0.0, range = 0.0;
    for (int k = 0; k < BRANCHES; k++) {
        value[k] = convolved(q, t, c, k, LM_SILU_SCALE);
        gate[k] = gate_of(k) * LM_SILU_GATE;
        float one = lm_silu(convolved(q, t, c, k, 1.0));
        sum = fma(gate_of(k), one, sum);
        if ((FORM & LM_CONV_CONCAT) != 0) {
            float own = 0.0, fast = lm_silu_one(value[k], LM_SILU_GATE, 0.0, own);
            LM_AT(result, to + k * p.channels) = lm_silu_in_range(own + abs(fast)) ? fast : one;
        }
    }
    if ((FORM & LM_CONV_CONCAT) != 0) return;
    float fast = mixed(value, gate, range);
    LM_AT(result, to) = lm_silu_in_range(range) ? fast : sum;
}

/* Tokens begin … end−1 of channel c. */
void convolve(Sequence q, int begin, int end, int c)
{
    float w[BRANCHES * TAPS], start[BRANCHES], gate[BRANCHES];
    [[unroll]] for (int k = 0; k < BRANCHES; k++) {
        int branch = p.branch_first + k;
        gate[k] = gate_of(k) * LM_SILU_GATE;
        start[k] = (FORM & LM_CONV_BIAS) != 0 ? LM_AT(bias, branch * p.channels + c) * LM_SILU_SCALE : 0.0;
        [[unroll]] for (int j = 0; j < TAPS; j++)
            w[k * TAPS + j] = LM_AT(weight, (branch * TAPS + j) * p.channels + c) * LM_SILU_SCALE;
    }
    /* Token first + s lies in window[(s + REACH) % RING], first being begin, begin + RING, … */
    float window[RING];
    uint from = 4u * uint(p.x_offset + (q.start + begin - REACH) * p.x_stride + c), x_step = 4u * uint(p.x_stride); /* bytes */
    uint to = 4u * uint((q.start + begin) * p.out_stride + c), out_step = 4u * uint(p.out_stride);
    if (begin >= REACH && begin + AHEAD <= q.count) {
        [[unroll]] for (int j = 0; j < RING; j++) window[j] = LM_AT_BYTE(x, from + uint(j) * x_step);
    } else {
        [[unroll]] for (int j = 0; j < RING; j++) window[j] = begin - REACH + j < end ? input_at(q, begin - REACH + j, c) : 0.0;
    }
    from += uint(RING) * x_step;
    for (int first = begin; first < end; first += RING) {
        int left = end - first;
        float range = 0.0;
        [[unroll]] for (int g = 0; g < RING; g += STEPS)
            if (g < left)
                [[unroll]] for (int s = g; s < g + STEPS && s < RING; s++) {
                    float value[BRANCHES];
                    [[unroll]] for (int k = 0; k < BRANCHES; k++) {
                        precise float v = start[k];
                        [[unroll]] for (int j = 0; j < TAPS; j++)
                            v = fma(w[k * TAPS + j], window[(s + REACH - (TAPS - 1 - j) * DILATION(k)) % RING], v);
                        value[k] = v;
                        if ((FORM & LM_CONV_CONCAT) != 0) {
                            float one = lm_silu_one(v, LM_SILU_GATE, 0.0, range);
                            range += abs(one);
                            if (s < left) LM_AT_BYTE(result, to + 4u * uint(k * p.channels)) = one;
                        }
                    }
                    if ((FORM & LM_CONV_CONCAT) == 0) {
                        float sum = mixed(value, gate, range);
                        if (s < left) LM_AT_BYTE(result, to) = sum;
                    }
                    to += out_step;
                    /* Its oldest input is done with. */
                    if (s + AHEAD < left) window[s] = LM_AT_BYTE(x, from);
                    from += x_step;
                }
        if (!lm_silu_in_range(range))
            for (int s = 0; s < min(RING, left); s++) mend(q, first + s, c);
    }
}

/* conv_state: the last inputs go into the ring. */
void keep(Sequence q, int c)
{
    for (int t = max(q.count - p.history, 0); t < q.count; t++) {
        int place = q.slot * p.history + (q.head + t) % p.history;
        LM_AT(history, place * p.channels + c) = LM_AT(x, p.x_offset + (q.start + t) * p.x_stride + c);
    }
}

void main()
{
    LM_EACH_TILE(slice, z, p.uncut + (p.batch - p.uncut) * LM_CONV_CUTS) {
        int b = slice < p.uncut ? slice : p.uncut + (slice - p.uncut) / LM_CONV_CUTS, row = b * p.rows_stride;
        Sequence q = Sequence(LM_AT(rows, row + LM_ROW_SLOT), LM_AT(rows, row + LM_ROW_START), LM_AT(rows, row + LM_ROW_LENGTH),
                              LM_AT(rows, row + LM_ROW_HEADS + p.ring), LM_AT(rows, row + LM_ROW_SEEN));
        int tokens = max(lm_ceil_div(q.count, int(gl_NumWorkGroups.y)), REACH);
        int begin = int(gl_WorkGroupID.y) * tokens, end = min(begin + tokens, q.count);
        if (slice >= p.uncut) {
            int part = max(lm_ceil_div(tokens, LM_CONV_CUTS), REACH);
            begin += (slice - p.uncut) % LM_CONV_CUTS * part;
            end = min(end, begin + part);
        }
        LM_EACH_TILE(tile, x, lm_ceil_div(p.channels, WG_X)) {
            int c = tile * WG_X + int(gl_LocalInvocationID.x);
            if (c >= p.channels || begin >= end) continue;
            convolve(q, begin, end, c);
            if (begin == 0) keep(q, c);
        }
    }
}
