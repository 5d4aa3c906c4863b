/* kernels/glsl/tile_start.glsl: the state in which scan_tiled starts a chunk.
 * Needs p (LM_SCAN_FIELDS), a[], before[] as scan_ends leaves it, and tile.glsl. */

/* The 4 states n … of channel c at the start of chunk `chunk`: sum over j ≤ chunk of exp(A·ΣΔ)·record j, ΣΔ of the chunks
 * j … chunk−1. What is not finite stays what it is. `first` is the sequence's first record; BATCH are on their way. */
const int BATCH = 4;

vec4 tile_start(int first, int chunk, int n, int c)
{
    vec4 rate = vec4(0.0);
    [[unroll]] for (int k = 0; k < 4; k++)
        if (n + k < p.d_state) rate[k] = a[(n + k) * p.channels + c] * 1.44269504;
    vec4 s = vec4(0.0);
    float since = 0.0;
    for (int last = chunk; last >= 0; last -= BATCH) {
        vec4 end[BATCH];
        float by[BATCH];
        [[unroll]] for (int i = 0; i < BATCH; i++) {
            int record = (first + max(last - i, 0)) * (p.d_state + 1) * p.channels + c;
            [[unroll]] for (int k = 0; k < 4; k++)
                end[i][k] = i <= last && n + k < p.d_state ? before[record + (n + k) * p.channels] : 0.0;
            by[i] = i <= last ? before[record + p.d_state * p.channels] : 0.0; /* else it is loaded where it is used, and waited for */
        }
        [[unroll]] for (int i = 0; i < BATCH; i++) {
            [[unroll]] for (int k = 0; k < 4; k++) {
                float x = since * rate[k], less_one = tile_expm1(x);
                float kept = x > -0.17 ? fma(less_one, end[i][k], end[i][k]) : tile_exp2(x) * end[i][k];
                s[k] += is_finite_bits(end[i][k]) ? kept : end[i][k];
            }
            since += by[i];
        }
    }
    return s;
}
