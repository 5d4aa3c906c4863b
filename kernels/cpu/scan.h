/* kernels/cpu/scan.h: the selective scan.
 *
 *   s_t = exp(Δ_t·A)·s_{t−1} + Δ_t·B_t·u_t;  y_t = (sum_n C_t[n]·s_t[n] + D·u_t)·SiLU(z_t)
 *
 * A part is a block of channels of one chunk of one sequence. Time goes in tiles of SCAN_TOKENS; within a tile a vector of channels
 * at a time, and of its states SCAN_GROUP at a time, which are registers and the nearest cache. A tile in which a state becomes
 * infinite or NaN is done again with care (decay()), as is one in which a decay might be out of range at once. B and C of a token are the same for all channels. */
enum { SCAN_TOKENS = 8, SCAN_GROUP = 16, SCAN_CHANNELS = 128, SCAN_STATES = 256 };

typedef struct scan_scratch {
    float s[SCAN_CHANNELS * SCAN_STATES], a[SCAN_CHANNELS * SCAN_STATES];
} scan_scratch;

/* Channels of a block: whole cache lines of rows, but enough blocks to go round. */
static uint32_t scan_block(const lm_cpu_call *call)
{
    const lm_scan_params *p = call->params;
    const uint64_t others = (uint64_t)p->batch * (uint64_t)p->chunks;
    uint32_t block = SCAN_CHANNELS;
    while (block > LANES && div_up((uint32_t)p->channels, block) * others < 2 * call->threads) block /= 2;
    return block;
}

static uint32_t scan_parts(const lm_cpu_call *call)
{
    const lm_scan_params *p = call->params;
    const uint32_t blocks = div_up((uint32_t)p->channels, scan_block(call));
    return blocks * (uint32_t)p->batch * (uint32_t)p->chunks;
}

/* What a tile of one vector of channels works on. */
typedef struct scan_tile {
    const float *b, *c;     /* of the first token, and of the first state of the group */
    size_t stride;          /* from token to token */
    int tokens;
    vf step[SCAN_TOKENS], scaled[SCAN_TOKENS]; /* Δ, Δ·u */
    vf sum[SCAN_TOKENS];    /* y so far */
    bool careful;
} scan_tile;

/* Moves `states` states over the tile and adds to its sums. */
INLINE bool scan_states(scan_tile *tile, vf *state, const vf *a, int states, bool careful)
{
    vf s[SCAN_GROUP], sums[SCAN_TOKENS];
    for (int n = 0; n < states; n++) s[n] = state[n];
    for (int i = 0; i < tile->tokens; i++) {
        const float *b = tile->b + (size_t)i * tile->stride, *c = tile->c + (size_t)i * tile->stride;
        const vf step = tile->step[i], scaled = tile->scaled[i];
        vf sum = tile->sum[i];
#pragma GCC unroll 16
        for (int n = 0; n < states; n++) {
            s[n] = decay(step * a[n], s[n], b[n] * scaled, careful);
            sum = vf_fma(vf_set(c[n]), s[n], sum);
        }
        sums[i] = sum;
    }
    if (!careful) {
        vf zero = {0};
        for (int n = 0; n < states; n++) zero = vf_fma(s[n], (vf){0}, zero);
        if (vf_any_nan(zero)) return false;
    }
    for (int n = 0; n < states; n++) state[n] = s[n];
    for (int i = 0; i < tile->tokens; i++) tile->sum[i] = sums[i];
    return true;
}

static __attribute__((noinline)) void scan_states_careful(scan_tile *tile, vf *state, const vf *a, int states)
{
    scan_states(tile, state, a, states, true);
}

static void scan_some_states(scan_tile *tile, vf *state, const vf *a, int states)
{
    const bool done = tile->careful           ? false
                      : states == SCAN_GROUP ? scan_states(tile, state, a, SCAN_GROUP, false)
                                             : scan_states(tile, state, a, states, false);
    if (!done) scan_states_careful(tile, state, a, states);
}

static void scan_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_scan_params *p = call->params;
    void *const *buffers = call->buffers;
    const float *u = buffers[0], *delta = buffers[1], *rates = buffers[2], *bc = buffers[3], *d = buffers[4], *z = buffers[5];
    const size_t u_stride = (size_t)p->u_stride, delta_stride = (size_t)p->delta_stride, z_stride = (size_t)p->z_stride;
    const size_t channels = (size_t)p->channels, y_stride = (size_t)p->y_stride;
    const uint32_t block = scan_block(call), blocks = div_up((uint32_t)p->channels, block), rest = part / blocks;
    const int chunk = (int)(rest % (uint32_t)p->chunks), b = (int)(rest / (uint32_t)p->chunks);
    const int c_first = (int)(part % blocks * block), c_end = min_int(c_first + (int)block, p->channels);
    const int32_t *row = (const int32_t *)buffers[6] + (size_t)b * (size_t)p->rows_stride;
    const int t_first = chunk * p->chunk_length, t_end = min_int(t_first + p->chunk_length, row[LM_ROW_LENGTH]);
    if (t_first >= t_end) return;

    const int first = p->state_first, states = min_int(call->spec[3], p->d_state - first);
    const bool resumes = p->chunks > 1 || row[LM_ROW_SEEN] > 0;
    const bool gate = first + states == p->d_state && (p->flags & LM_SCAN_GATE) != 0;
    const size_t record = p->chunks == 1 ? (size_t)row[LM_ROW_SLOT] : (size_t)b * (size_t)p->chunks + (size_t)chunk;
    float *state = (float *)buffers[7] + (record * (size_t)p->d_state + (size_t)first) * channels;
    float *y = buffers[8];
    rates += (size_t)first * channels;
    /* (vector of channels, state), without gaps, which would fall on the same sets of the cache */
    vf *s = (vf *)((scan_scratch *)call->scratch)->s, *a = (vf *)((scan_scratch *)call->scratch)->a;
    const int vectors = (c_end - c_first + LANES - 1) / LANES;
    vf fastest[SCAN_CHANNELS / LANES];  /* of all states */
    for (int c = c_first, v = 0; c < c_end; c += LANES, v++) {
        fastest[v] = (vf){0};
        for (int n = 0; n < states; n++) {
            const size_t at = (size_t)n * channels + (size_t)c;
            s[v * states + n] = resumes ? vf_load_part(state + at, c_end - c) : (vf){0};
            a[v * states + n] = vf_load_part(rates + at, c_end - c);
            fastest[v] = vf_min(a[v * states + n], fastest[v]);
        }
    }
    scan_tile tile = {.stride = (size_t)p->bc_stride};
    for (int t = t_first; t < t_end; t += SCAN_TOKENS) {
        tile.tokens = min_int(SCAN_TOKENS, t_end - t);
        const size_t r0 = (size_t)(row[LM_ROW_START] + t);
        for (int c = c_first, v = 0; c < c_end; c += LANES, v++) {
            const int count = c_end - c;
            const vf skip = vf_load_part(d + c, count);
            /* The next tile's rows lie pages apart, so that nothing but this fetches them; a share of them with each vector. */
            const int from = t + SCAN_TOKENS + v * SCAN_TOKENS / vectors, to = t + SCAN_TOKENS + (v + 1) * SCAN_TOKENS / vectors;
            for (int next = from; next < min_int(to, t_end); next++) {
                const size_t r = (size_t)(row[LM_ROW_START] + next);
                for (int at = c_first; at < c_end; at += 16) {
                    __builtin_prefetch(u + r * u_stride + at);
                    __builtin_prefetch(delta + r * delta_stride + at);
                    __builtin_prefetch(y + r * y_stride + at, 1);
                    if (gate) __builtin_prefetch(z + r * z_stride + (size_t)p->z_offset + at);
                }
            }
            vf longest = {0};
            for (int i = 0; i < tile.tokens; i++) {
                const size_t r = r0 + (size_t)i;
                const vf input = vf_load_part(u + r * u_stride + c, count);
                tile.step[i] = vf_load_part(delta + r * delta_stride + c, count);
                tile.scaled[i] = tile.step[i] * input;
                longest = vf_max(tile.step[i], longest);
                tile.sum[i] = first == 0 ? skip * input : vf_load_part(y + r * y_stride + c, count);
            }
            tile.careful = vf_any_nan((vf) ~(longest * fastest[v] >= -87.0f)); /* a mask of all ones is a NaN */
            for (int n = 0; n < states; n += SCAN_GROUP) {
                tile.b = bc + r0 * tile.stride + (size_t)(p->b_offset + first + n);
                tile.c = bc + r0 * tile.stride + (size_t)(p->c_offset + first + n);
                scan_some_states(&tile, s + v * states + n, a + v * states + n, min_int(SCAN_GROUP, states - n));
            }
            for (int i = 0; i < tile.tokens; i++) {
                const size_t r = r0 + (size_t)i;
                vf out = tile.sum[i];
                if (gate) out *= silu(vf_load_part(z + r * z_stride + (size_t)p->z_offset + c, count));
                vf_store_part(y + r * y_stride + c, out, count);
            }
        }
    }
    if (p->chunks > 1) return;
    for (int c = c_first, v = 0; c < c_end; c += LANES, v++)
        for (int n = 0; n < states; n++) vf_store_part(state + (size_t)n * channels + (size_t)c, s[v * states + n], c_end - c);
}
