/* kernels/glsl/tile.glsl: what scan_tiled keeps of a tile in shared memory, and the steps of its states.
 *
 * A tile is TOKENS tokens of CHANNELS channels. A lane has 4 states of WIDTH channels, GROUP lanes a channel, and walks the
 * STEPS tokens of one of SEGMENTS segments of the tile. Before and after that it is the owner of OWN tokens of one channel,
 * which it brings and finishes; neighbours own neighbouring channels, as memory wants it.
 *
 * NVIDIA's shared memory gives 16 bytes to each lane of a warp twice as fast where lanes i and i ^ 1, or i and i ^ 2, read the
 * same: so bit 0 of a lane is a bit of its channel, and bit 1 one of its states. A lane's channels lie APART, so that its
 * neighbours' are next to them.
 *
 * Shared memory has four tokens of a channel side by side, and tokens' rows of B and C as GROUP vec4 each.
 * Needs p (LM_SCAN_FIELDS), a[], bc[] and bc4[], GROUP, SEGMENTS, STEPS, WIDTH, FLAGS and common.glsl. */
#include "kernels/glsl/tile_decay.glsl"

const int WG_X = int(gl_WorkGroupSize.x);
const int STATES = 4 * GROUP;
const int CHANNELS = WIDTH * WG_X / (GROUP * SEGMENTS);
const int APART = CHANNELS / WIDTH; /* from one channel of a lane to the next */
const int TOKENS = SEGMENTS * STEPS;
const int OWN = STEPS * WIDTH / GROUP;
const int BC_TILE = 2 * TOKENS * GROUP;
const int FETCHED = (BC_TILE + WG_X - 1) / WG_X; /* vec4 of B and C that a lane brings */
const int PITCH = CHANNELS + 2;                  /* of sums: the lanes of a channel reach different banks */
const int HELD = (CHANNELS * STATES + WG_X - 1) / WG_X; /* states that a lane takes through the segments */
const int ENDS = SEGMENTS > 1 ? SEGMENTS * CHANNELS : 1;

shared vec4 steps[TOKENS / 4 * CHANNELS];  /* Δ */
shared vec4 inputs[TOKENS / 4 * CHANNELS]; /* Δ·u */
shared vec4 matrices[BC_TILE];
shared vec4 sums[TOKENS / 4 * GROUP * PITCH];
shared uint longest[2 * CHANNELS]; /* the largest Δ, for tiles in turn */
shared uint quickest[CHANNELS];    /* the largest |A| / ln 2 */
shared float ends[ENDS * STATES];
shared float totals[ENDS];

/* Below this, Δ·|A| / ln 2 is small: 2^x is then so near 1 that its own rounding counts. */
const float SMALL_STEP = 0.0112710550;

vec4 tile_small_expm1(vec4 x) { return x * fma(x, fma(x, vec4(5.55041087e-2), vec4(0.240226507)), vec4(0.693147181)); }

float dot4(vec4 a, vec4 b) { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, a.x * b.x))); }

/* This lane's part of B and C of the tile from row `first` on, `tokens` of it; the rest is 0. `whole`, a constant, says that
 * all are there: what is fetched is then not looked at, and nothing waits for it. */
void tile_fetch(inout vec4 to[FETCHED], int first, int tokens, bool whole)
{
    [[unroll]] for (int k = 0; k < FETCHED; k++) {
        uint i = gl_LocalInvocationID.x + uint(k * WG_X);
        int n = p.state_first + int(i % GROUP) * 4, token = int(i / (2 * GROUP));
        bool there = whole || token < tokens;
        int from = (first + min(token, (whole ? TOKENS : tokens) - 1)) * p.bc_stride + n
                   + (i / GROUP % 2u == 0u ? p.b_offset : p.c_offset);
        if ((FLAGS & LM_TILED_VECTORS) != 0) {
            vec4 v = bc4[from >> 2];
            to[k] = there ? v : vec4(0.0);
        } else {
            to[k] = vec4(there && n < p.d_state ? bc[from] : 0.0, there && n + 1 < p.d_state ? bc[from + 1] : 0.0,
                         there && n + 2 < p.d_state ? bc[from + 2] : 0.0, there && n + 3 < p.d_state ? bc[from + 3] : 0.0);
        }
    }
}

/* The tokens of this lane one by one where its steps are small: s + ((exp(Δ·A) − 1)·s + Δ·B·u). An infinite s stays what it
 * is: the clamp keeps its opposite out of the sum. */
void tile_walk_small(inout vec4 s[WIDTH], vec4 rate[WIDTH], int at_steps, int at_bc, int at_sums, bool sums_too)
{
    [[dont_unroll]] for (int i = 0; i < STEPS; i++) {
        vec4 b = matrices[at_bc + i * 2 * GROUP], c = matrices[at_bc + (i * 2 + 1) * GROUP];
        [[unroll]] for (int x = 0; x < WIDTH; x++) {
            int at = at_steps + i / 4 * CHANNELS + x * APART;
            vec4 less_one = tile_small_expm1(steps[at][i % 4] * rate[x]);
            s[x] += fma(less_one, clamp(s[x], vec4(-3.4028235e38), vec4(3.4028235e38)), inputs[at][i % 4] * b);
            if (sums_too) sums[at_sums + i / 4 * GROUP * PITCH + x * APART][i % 4] = dot4(c, s[x]);
        }
    }
}
