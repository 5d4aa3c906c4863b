/* kernels/cpu/conv.h: dilated causal depthwise convolutions, SiLU, and their gated sum or concatenation; and the history rings.
 *
 *   c_k[t] = bias_k + sum_j weight[k][j]·x[t − (K−1−j)·δ_k];  out[t] = sum_k g_k·SiLU(c_k[t]), or all of them side by side
 *
 * A part is CONV_TOKENS tokens of CONV_CHANNELS channels of a sequence: the weights of that many channels stay in the first cache.
 * What a tap reads is a row of x, of the history ring, or zeros: pointers say which, CONV_TAPS taps at a time. */
enum { CONV_TOKENS = 32, CONV_CHANNELS = 256, CONV_TAPS = 8 };

typedef struct conv_grid {
    uint32_t blocks, tiles;
} conv_grid;

static conv_grid conv_grid_of(const lm_conv_params *p)
{
    return (conv_grid){div_up((uint32_t)p->channels, CONV_CHANNELS), div_up((uint32_t)p->length, CONV_TOKENS)};
}

static uint32_t conv_parts(const lm_cpu_call *call)
{
    const lm_conv_params *p = call->params;
    const conv_grid grid = conv_grid_of(p);
    return grid.blocks * grid.tiles * (uint32_t)p->batch;
}

/* The row of inputs that token t of a sequence reads, t from −history on, from channel `first` on; NULL: zeros. */
INLINE const float *conv_input(const lm_conv_params *p, void *const *buffers, const int32_t *row, int t, int first)
{
    if (t >= 0)
        return (const float *)buffers[0] + (size_t)p->x_offset + (size_t)(row[LM_ROW_START] + t) * (size_t)p->x_stride + first;
    if (-t > row[LM_ROW_SEEN]) return NULL;
    const int at = (row[LM_ROW_HEADS + p->ring] + p->history + t) % p->history;
    return (const float *)buffers[5] + ((size_t)row[LM_ROW_SLOT] * (size_t)p->history + (size_t)at) * (size_t)p->channels + first;
}

/* Some taps of one branch over `count` channels: from `from` (NULL: zeros) to `sums`, or through SiLU to `out` where they are the
 * last. */
INLINE void conv_taps(const float *const *inputs, const float *weight, size_t weight_stride, int taps, const float *from,
                      float *sums, int count, bool last, float gate, bool adds, float *out)
{
    for (int c = 0; c < count; c += LANES) {
        const int n = count - c;
        vf sum = from != NULL ? vf_load_part(from + c, n) : (vf){0};
        for (int j = 0; j < taps; j++)
            sum = vf_fma(vf_load_part(weight + (size_t)j * weight_stride + c, n), vf_load_part(inputs[j] + c, n), sum);
        if (!last) {
            vf_store_part(sums + c, sum, n);
            continue;
        }
        sum = gate * silu(sum);
        vf_store_part(out + c, adds ? vf_load_part(out + c, n) + sum : sum, n);
    }
}

static void conv_run(const lm_cpu_call *call, uint32_t part)
{
    static const float zeros[CONV_CHANNELS];
    const lm_conv_params *p = call->params;
    void *const *buffers = call->buffers;
    const float *weight = buffers[1], *bias = buffers[2], *gates = buffers[3];
    const int32_t *dilations = buffers[4];
    const conv_grid grid = conv_grid_of(p);
    const uint32_t rest = part / grid.blocks;
    const int first = (int)(part % grid.blocks) * CONV_CHANNELS, count = min_int(CONV_CHANNELS, p->channels - first);
    const int32_t *row = (const int32_t *)buffers[6] + (size_t)(rest / grid.tiles) * (size_t)p->rows_stride;
    const int t_first = (int)(rest % grid.tiles) * CONV_TOKENS, t_end = min_int(t_first + CONV_TOKENS, row[LM_ROW_LENGTH]);
    const size_t channels = (size_t)p->channels;
    const bool concat = (p->flags & LM_CONV_CONCAT) != 0;
    float sums[CONV_CHANNELS];

    for (int t = t_first; t < t_end; t++) {
        float *out = (float *)buffers[7] + (size_t)(row[LM_ROW_START] + t) * (size_t)p->out_stride + first;
        for (int i = 0; i < p->branches; i++) {
            const int k = p->branch_first + i;
            const float gate = !concat && (p->flags & LM_CONV_GATES) ? gates[k] : 1.0f;
            const float *from = p->flags & LM_CONV_BIAS ? bias + (size_t)k * channels + first : NULL;
            for (int j = 0; j < p->taps; j += CONV_TAPS) {
                const float *inputs[CONV_TAPS];
                const int taps = min_int(CONV_TAPS, p->taps - j);
                for (int m = 0; m < taps; m++) {
                    inputs[m] = conv_input(p, buffers, row, t - (p->taps - 1 - j - m) * dilations[k], first);
                    if (inputs[m] == NULL) inputs[m] = zeros;
                }
                const float *w = weight + ((size_t)k * (size_t)p->taps + (size_t)j) * channels + first;
                float *to = concat ? out + (size_t)i * channels : out;
                const bool last = j + taps == p->taps, adds = !concat && i > 0;
                if (p->taps == 3) conv_taps(inputs, w, channels, 3, from, sums, count, true, gate, adds, to);
                else if (p->taps == 4) conv_taps(inputs, w, channels, 4, from, sums, count, true, gate, adds, to);
                else conv_taps(inputs, w, channels, taps, from, sums, count, last, gate, adds, to);
                from = sums;
            }
        }
    }
}

/* A part is a sequence. */
static uint32_t conv_state_parts(const lm_cpu_call *call)
{
    const lm_conv_params *p = call->params;
    const uint64_t moved = (uint64_t)min_int(p->length, p->history) * (uint64_t)p->channels * (uint64_t)p->batch;
    return moved < 32768 ? 1 : (uint32_t)p->batch;
}

static void conv_state_run(const lm_cpu_call *call, uint32_t part)
{
    const lm_conv_params *p = call->params;
    const bool all = conv_state_parts(call) == 1;
    const float *x = call->buffers[0];
    float *history = call->buffers[2];
    for (uint32_t b = all ? 0 : part; b < (all ? (uint32_t)p->batch : part + 1); b++) {
        const int32_t *row = (const int32_t *)call->buffers[1] + (size_t)b * (size_t)p->rows_stride;
        const int length = row[LM_ROW_LENGTH], head = row[LM_ROW_HEADS + p->ring];
        for (int t = length > p->history ? length - p->history : 0; t < length; t++) {
            const size_t at = (size_t)row[LM_ROW_SLOT] * (size_t)p->history + (size_t)((head + (int64_t)t) % p->history);
            memcpy(history + at * (size_t)p->channels,
                   x + p->x_offset + (size_t)(row[LM_ROW_START] + t) * (size_t)p->x_stride, (size_t)p->channels * sizeof(float));
        }
    }
}
