/* kernels/glsl/scan_tiled.comp: the selective scan of a GPU that has many tokens to work on.
 *
 *     s_t[n] = exp(Δ_t·A[n])·s_{t−1}[n] + Δ_t·B_t[n]·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A group walks a sequence tile by tile (kernels/glsl/tile.glsl); what the next tile needs is on its way, in registers, while
 * it works on one. With one segment each lane carries its states from tile to tile. With more, for few channels, all segments
 * of a tile are walked at once from zero; lane i < CHANNELS·STATES then takes state i of the group through the segments,
 * s ← exp(A·ΣΔ)·s + what the segment added, and all are walked again from the starts so found. Where time is cut, a group
 * walks one chunk from what scan_ends says of those before it.
 *
 * Decays are the hardware's exp2, except in a tile in which a channel's Δ·|A| are all small: there its states take
 * s += (exp(Δ·A) − 1)·s + …, or a million roundings of a decay near 1 would add up. So results depend on where tiles begin:
 * deterministic lists take scan.
 * Grid: exactly one group for each x tile of CHANNELS channels, y chunk and z sequence.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int GROUP = 4;
layout(constant_id = 4) const int SEGMENTS = 1;
layout(constant_id = 5) const int STEPS = 16;
layout(constant_id = 6) const int WIDTH = 1;
layout(constant_id = 7) const int FLAGS = 0;

layout(push_constant) uniform Params { LM_SCAN_FIELDS } p;
layout(set = 0, binding = 0, std430) restrict readonly buffer U { float u[]; };
layout(set = 0, binding = 1, std430) restrict readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 2, std430) restrict readonly buffer A { float a[]; };
layout(set = 0, binding = 3, std430) readonly buffer BC { float bc[]; };
layout(set = 0, binding = 3, std430) readonly buffer BC4 { vec4 bc4[]; };
layout(set = 0, binding = 4, std430) restrict readonly buffer D { float d[]; };
layout(set = 0, binding = 5, std430) restrict readonly buffer Z { float z[]; };
layout(set = 0, binding = 6, std430) restrict readonly buffer Rows { int rows[]; };
layout(set = 0, binding = 7, std430) restrict buffer State { float state[]; };
layout(set = 0, binding = 8, std430) restrict buffer Y { float y[]; };
layout(set = 0, binding = 9, std430) restrict readonly buffer Before { float before[]; };

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/tile.glsl"
#include "kernels/glsl/tile_start.glsl"

int lane = int(gl_LocalInvocationID.x);

/* What this lane brings of the tile from token t0 on; `whole`: all of it is there. */
#define FETCH(t0, whole) \
    tile_fetch(fetched, start + (t0), length - (t0), whole); \
    [[unroll]] for (int i = 0; i < OWN; i++) { \
        bool there = whole || (t0) + own_t + i < length; \
        next_u[i] = there ? u[at_u + i * p.u_stride] : 0.0; \
        next_step[i] = there ? delta[at_delta + i * p.delta_stride] : 0.0; \
        if (gate) next_z[i] = there ? z[at_z + i * p.z_stride] : 0.0; \
    }

/* y of this lane's tokens, all of them in step: one after the other they would wait for each other's exp2. */
#define FINISH(whole) \
    if (first) { \
        [[unroll]] for (int i = 0; i < OWN; i++) out_y[i] = fma(skip, own_u[i], out_y[i]); \
    } else { \
        [[unroll]] for (int i = 0; i < OWN; i++) \
            if (writes && (whole || t0 + own_t + i < length)) out_y[i] += y[at_y + i * p.y_stride]; \
    } \
    if (gate) \
        [[unroll]] for (int i = 0; i < OWN; i++) out_y[i] *= own_gate[i]; \
    if (writes) \
        [[unroll]] for (int i = 0; i < OWN; i++) \
            if (whole || t0 + own_t + i < length) y[at_y + i * p.y_stride] = out_y[i];

void main()
{
    uint id = gl_LocalInvocationID.x;
    int g = int(id / 2 % GROUP), mine = int((id % 2 + id / (2 * GROUP) * 2) % APART), segment = int(id / (GROUP * APART));
    int own = int(id % CHANNELS), own_t = int(id / CHANNELS) * OWN;
    int b = int(gl_WorkGroupID.z), tile = int(gl_WorkGroupID.x) * CHANNELS, row = b * p.rows_stride;
    bool first = p.state_first == 0, gate = (p.flags & LM_SCAN_GATE) != 0 && p.state_first + STATES >= p.d_state;
    int last = p.channels - 1, n_end = min(p.state_first + STATES, p.d_state);
    int chunk = int(gl_WorkGroupID.y), t_first = chunk * p.chunk_length, left = rows[row + LM_ROW_LENGTH] - t_first;
    int length = min(left, p.chunk_length), start = rows[row + LM_ROW_START] + t_first;
    if (length <= 0) return;
    bool resumes = p.chunks == 1 && rows[row + LM_ROW_SEEN] > 0;
    int kept = rows[row + LM_ROW_SLOT] * p.d_state * p.channels;
    /* Lanes past the last channel repeat it and write nothing. */
    int own_c = min(tile + own, last);
    bool writes = tile + own <= last;
    float skip = first ? d[own_c] : 0.0;
    if (lane < CHANNELS) longest[lane] = quickest[lane] = 0u;
    barrier();
    vec4 s[WIDTH], rate[WIDTH];
    float fastest[WIDTH];
    [[unroll]] for (int x = 0; x < WIDTH; x++) {
        int c = min(tile + mine + x * APART, last);
        float most = 0.0;
        [[unroll]] for (int k = 0; k < 4; k++) {
            int n = p.state_first + 4 * g + k;
            rate[x][k] = n < n_end ? a[n * p.channels + c] * 1.44269504 : 0.0;
            bool held_here = n < n_end && tile + mine + x * APART <= last;
            s[x][k] = SEGMENTS == 1 && resumes && held_here ? state[kept + n * p.channels + c] : 0.0;
            most = max(most, abs(rate[x][k]));
        }
        fastest[x] = most;
    }
    float held[HELD], held_rate[HELD], held_fastest[HELD];
    [[unroll]] for (int k = 0; k < HELD && SEGMENTS > 1; k++) {
        int i = lane + k * WG_X, n = p.state_first + i % STATES, c = min(tile + i / STATES, last);
        bool held_here = i < CHANNELS * STATES && n < n_end && tile + i / STATES <= last;
        held[k] = resumes && held_here ? state[kept + n * p.channels + c] : 0.0;
        held_rate[k] = n < n_end ? a[n * p.channels + c] * 1.44269504 : 0.0;
    }
    vec4 fetched[FETCHED];
    float next_u[OWN], next_step[OWN], next_z[OWN];
    [[unroll]] for (int i = 0; i < OWN; i++) next_z[i] = 0.0;
    int at_u = (start + own_t) * p.u_stride + own_c, at_delta = (start + own_t) * p.delta_stride + own_c;
    int at_z = (start + own_t) * p.z_stride + p.z_offset + own_c, at_y = (start + own_t) * p.y_stride + own_c;
    FETCH(0, false)
    [[unroll]] for (int x = 0; x < WIDTH; x++) atomicMax(quickest[mine + x * APART], floatBitsToUint(fastest[x]));
    if (p.chunks > 1) {
        [[unroll]] for (int x = 0; x < WIDTH; x++) {
            int part = lane / CHANNELS + x * (GROUP / WIDTH);
            sums[part * PITCH + own] = tile_start(b * p.chunks, chunk, p.state_first + 4 * part, own_c);
        }
    }
    barrier();
    [[unroll]] for (int x = 0; x < WIDTH; x++) {
        fastest[x] = uintBitsToFloat(quickest[mine + x * APART]);
        if (p.chunks > 1) s[x] = sums[g * PITCH + mine + x * APART];
    }
    [[unroll]] for (int k = 0; k < HELD && SEGMENTS > 1; k++)
        held_fastest[k] = uintBitsToFloat(quickest[min(CHANNELS - 1, (lane + k * WG_X) / STATES)]);
    for (int t0 = 0, odd = 0; t0 < length; t0 += TOKENS, odd ^= 1) {
        float own_u[OWN], own_gate[OWN];
        uint most = 0u; /* bits of numbers that are not negative order as they do; what is not finite is above all */
        [[unroll]] for (int i = 0; i < OWN; i++) {
            own_u[i] = next_u[i];
            own_gate[i] = next_z[i];
            most = max(most, floatBitsToUint(next_step[i]));
        }
        [[unroll]] for (int i = 0; i < OWN; i++) {
            int to = (own_t + i) / 4 * CHANNELS + own;
            if (OWN % 4 != 0) {
                steps[to][(own_t + i) % 4] = next_step[i];
                inputs[to][(own_t + i) % 4] = next_step[i] * next_u[i];
            } else if (i % 4 == 0) {
                vec4 by = vec4(next_step[i], next_step[i + 1], next_step[i + 2], next_step[i + 3]);
                steps[to] = by;
                inputs[to] = by * vec4(next_u[i], next_u[i + 1], next_u[i + 2], next_u[i + 3]);
            }
        }
        atomicMax(longest[odd * CHANNELS + own], most);
        [[unroll]] for (int k = 0; k < FETCHED; k++)
            if (BC_TILE % WG_X == 0 || lane + k * WG_X < BC_TILE) matrices[lane + k * WG_X] = fetched[k];
        barrier();
        float most_here[WIDTH];
        [[unroll]] for (int x = 0; x < WIDTH; x++) most_here[x] = uintBitsToFloat(longest[odd * CHANNELS + mine + x * APART]);
        at_u += TOKENS * p.u_stride;
        at_delta += TOKENS * p.delta_stride;
        at_z += TOKENS * p.z_stride;
        if (t0 + 2 * TOKENS <= length) {
            FETCH(t0 + TOKENS, true)
        } else if (t0 + TOKENS < length) {
            FETCH(t0 + TOKENS, false)
        }
        if (lane < CHANNELS) longest[(odd ^ 1) * CHANNELS + lane] = 0u;
        bool is_small = true;
        [[unroll]] for (int x = 0; x < WIDTH; x++) is_small = is_small && most_here[x] * fastest[x] < SMALL_STEP;
        int at_steps = segment * (STEPS / 4) * CHANNELS + mine, at_bc = segment * STEPS * 2 * GROUP + g;
        int at_sums = (segment * (STEPS / 4) * GROUP + g) * PITCH + mine;
        vec4 decay[SEGMENTS > 1 ? WIDTH * STEPS : 1];
        if (SEGMENTS > 1) {
            float total[WIDTH];
            [[unroll]] for (int x = 0; x < WIDTH; x++) {
                s[x] = vec4(0.0);
                total[x] = 0.0;
                [[unroll]] for (int q = 0; q < STEPS / 4; q++) {
                    vec4 by = steps[at_steps + q * CHANNELS + x * APART];
                    total[x] += (by.x + by.y) + (by.z + by.w);
                }
            }
            if (is_small) {
                tile_walk_small(s, rate, at_steps, at_bc, at_sums, false);
            } else {
                [[unroll]] for (int i = 0; i < STEPS; i++) {
                    vec4 matrix_b = matrices[at_bc + i * 2 * GROUP];
                    [[unroll]] for (int x = 0; x < WIDTH; x++) {
                        int at = at_steps + i / 4 * CHANNELS + x * APART;
                        vec4 by = steps[at], added = inputs[at];
                        decay[x * STEPS + i] = tile_decay(by[i % 4] * rate[x]);
                        s[x] = fma(decay[x * STEPS + i], s[x], added[i % 4] * matrix_b);
                    }
                }
            }
            [[unroll]] for (int x = 0; x < WIDTH; x++) {
                [[unroll]] for (int k = 0; k < 4; k++) ends[(segment * CHANNELS + mine + x * APART) * STATES + 4 * g + k] = s[x][k];
                if (g == 0) totals[segment * CHANNELS + mine + x * APART] = total[x];
            }
            barrier();
            [[unroll]] for (int k = 0; k < HELD; k++) {
                int i = lane + k * WG_X;
                if (i >= CHANNELS * STATES) break;
                bool held_small = uintBitsToFloat(longest[odd * CHANNELS + i / STATES]) * held_fastest[k] < SMALL_STEP;
                [[unroll]] for (int j = 0; j < SEGMENTS; j++) {
                    float x = totals[j * CHANNELS + i / STATES] * held_rate[k], added = ends[j * CHANNELS * STATES + i];
                    ends[j * CHANNELS * STATES + i] = held[k];
                    if (held_small) held[k] += fma(tile_expm1(x), clamp(held[k], -3.4028235e38, 3.4028235e38), added);
                    else held[k] = fma(tile_exp2(x), held[k], added);
                }
            }
            barrier();
            [[unroll]] for (int x = 0; x < WIDTH; x++)
                [[unroll]] for (int k = 0; k < 4; k++) s[x][k] = ends[(segment * CHANNELS + mine + x * APART) * STATES + 4 * g + k];
        }
        if (is_small) {
            [[unroll]] for (int i = 0; i < OWN; i++) own_gate[i] *= tile_sigmoid(own_gate[i]);
            tile_walk_small(s, rate, at_steps, at_bc, at_sums, true);
        } else {
            vec4 part[WIDTH];
            [[unroll]] for (int q = 0; q < STEPS / 4; q++) {
                vec4 by[WIDTH], added[WIDTH];
                [[unroll]] for (int i = 0; i < OWN; i++)
                    if (i % (STEPS / 4) == q) own_gate[i] *= tile_sigmoid(own_gate[i]); /* where its wait is filled */
                [[unroll]] for (int x = 0; x < WIDTH; x++) {
                    if (SEGMENTS == 1) by[x] = steps[at_steps + q * CHANNELS + x * APART];
                    added[x] = inputs[at_steps + q * CHANNELS + x * APART];
                }
                vec4 matrix_b = matrices[at_bc + 8 * q * GROUP], matrix_c = matrices[at_bc + (8 * q + 1) * GROUP];
                /* The sums of the four tokens before, only now: drivers move no load of shared memory before a store. */
                [[unroll]] for (int x = 0; x < WIDTH && q > 0; x++) sums[at_sums + (q - 1) * GROUP * PITCH + x * APART] = part[x];
                [[unroll]] for (int j = 0; j < 4; j++) {
                    int i = 4 * q + j;
                    if (j > 0) matrix_b = matrices[at_bc + i * 2 * GROUP], matrix_c = matrices[at_bc + (i * 2 + 1) * GROUP];
                    [[unroll]] for (int x = 0; x < WIDTH; x++) {
                        if (SEGMENTS == 1) s[x] = fma(tile_decay(by[x][j] * rate[x]), s[x], added[x][j] * matrix_b);
                        else s[x] = fma(decay[x * STEPS + i], s[x], added[x][j] * matrix_b);
                        part[x][j] = dot4(matrix_c, s[x]);
                    }
                }
            }
            [[unroll]] for (int x = 0; x < WIDTH; x++) sums[at_sums + (STEPS / 4 - 1) * GROUP * PITCH + x * APART] = part[x];
        }
        barrier();
        float out_y[OWN];
        [[unroll]] for (int q = 0; q < (OWN + 3) / 4; q++) {
            int from = (own_t / 4 + q) * GROUP * PITCH + own;
            vec4 sum = sums[from];
            [[unroll]] for (int k = 1; k < GROUP; k++) sum += sums[from + k * PITCH];
            [[unroll]] for (int i = 4 * q; i < min(4 * q + 4, OWN); i++) out_y[i] = sum[OWN % 4 == 0 ? i % 4 : (own_t + i) % 4];
        }
        if (t0 + TOKENS <= length) {
            FINISH(true)
        } else {
            FINISH(false)
        }
        at_y += TOKENS * p.y_stride;
    }
    if (left > length) return; /* the last chunk leaves the state */
    if (SEGMENTS > 1) {
        [[unroll]] for (int k = 0; k < HELD; k++) {
            int i = lane + k * WG_X, n = p.state_first + i % STATES, c = tile + i / STATES;
            if (i < CHANNELS * STATES && n < n_end && c <= last) state[kept + n * p.channels + c] = held[k];
        }
        return;
    }
    [[unroll]] for (int x = 0; x < WIDTH; x++) {
        [[unroll]] for (int k = 0; k < 4; k++) {
            int n = p.state_first + 4 * g + k, c = tile + mine + x * APART;
            if (n < n_end && c <= last) state[kept + n * p.channels + c] = s[x][k];
        }
    }
}
