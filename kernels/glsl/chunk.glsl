/* kernels/glsl/chunk.glsl: the piece of a sequence that a group scans, shared by scan and scan_summary.
 *
 * Needs p (LM_SCAN_FIELDS), rows[], a[], bc[], WG_X, STATES, common.glsl and MATRICES: how many of B, C go to shared memory.
 * Groups of more than 16 channels (STAGED) stage B (and C) of a tile of TOKENS tokens there, zeros for what is not there, and
 * have the next tile on its way, in registers, while they work on one; smaller groups read them where they are. A lane's
 * states are p.state_first … p.state_first + STATES − 1.
 */
const bool STAGED = WG_X > 16;
const int TOKENS = 4;
const int VECTORS = (STATES + 3) / 4; /* of a row of B or C in shared memory */
const int TILE = TOKENS * MATRICES * VECTORS;
const int FETCHED = (TILE + WG_X - 1) / WG_X; /* what a lane brings of a tile */

shared vec4 staged[STAGED ? 2 * TILE : 1]; /* two tiles */

struct Chunk {
    int slot;
    int start; /* first row of the sequence */
    int first; /* tokens first … last−1 of it */
    int last;
    bool resumes; /* there were tokens before this call */
};

Chunk chunk_of(int sequence, int chunk)
{
    int row = sequence * p.rows_stride;
    int count = rows[row + LM_ROW_LENGTH];
    int first = min(chunk * p.chunk_length, count);
    return Chunk(rows[row + LM_ROW_SLOT], rows[row + LM_ROW_START], first, min(first + p.chunk_length, count),
                 rows[row + LM_ROW_SEEN] > 0);
}

/* Element of B (matrix 0) or C (matrix 1) of state k of this lane, straight from memory. */
float matrix_at(int row, int matrix, int k)
{
    int n = p.state_first + k;
    float value = bc[row * p.bc_stride + (matrix == 0 ? p.b_offset : p.c_offset) + min(n, p.d_state - 1)];
    return n < p.d_state ? value : 0.0;
}

/* This lane's part of the tile of tokens t …; those past the chunk are like its last. */
void fetch_tile(inout vec4 to[FETCHED], Chunk chunk, int t)
{
    [[unroll]] for (int k = 0; k < FETCHED; k++) {
        int i = int(gl_LocalInvocationID.x) + k * WG_X;
        int n = p.state_first + i % VECTORS * 4, row = chunk.start + min(t + i / (MATRICES * VECTORS), chunk.last - 1);
        int from = row * p.bc_stride + (i / VECTORS % MATRICES == 0 ? p.b_offset : p.c_offset), most = p.d_state - 1;
        vec4 v = vec4(bc[from + min(n, most)], bc[from + min(n + 1, most)], bc[from + min(n + 2, most)], bc[from + min(n + 3, most)]);
        to[k] = vec4(n <= most ? v.x : 0.0, n + 1 <= most ? v.y : 0.0, n + 2 <= most ? v.z : 0.0, n + 3 <= most ? v.w : 0.0);
    }
}

/* Into the first (0) or second half of shared memory. */
void put_tile(vec4 from[FETCHED], int half_at)
{
    [[unroll]] for (int k = 0; k < FETCHED; k++) {
        int i = int(gl_LocalInvocationID.x) + k * WG_X;
        if (TILE % WG_X == 0 || i < TILE) staged[half_at * TILE + i] = from[k];
    }
}

/* Row of B (matrix 0) or C (matrix 1) of the token-th of the tile in a half. */
void take_row(out float to[STATES], int half_at, int token, int matrix)
{
    int row = half_at * TILE + (token * MATRICES + matrix) * VECTORS;
    [[unroll]] for (int k = 0; k < STATES; k += 4) {
        vec4 v = staged[row + k / 4];
        to[k] = v.x;
        if (k + 1 < STATES) to[k + 1] = v.y;
        if (k + 2 < STATES) to[k + 2] = v.z;
        if (k + 3 < STATES) to[k + 3] = v.w;
    }
}

/* A of state k, 0 for states that there are not. */
float rate_of(int k, int c)
{
    int n = p.state_first + k;
    float value = a[min(n, p.d_state - 1) * p.channels + c];
    return n < p.d_state ? value : 0.0;
}

bool is_finite(float s[STATES])
{
    uint most = 0u; /* by their bits: a driver may think that nothing is ever not finite */
    [[unroll]] for (int k = 0; k < STATES; k++) most = max(most, floatBitsToUint(s[k]) & 0x7fffffffu);
    return most < 0x7f800000u;
}

/* One step of all states, whatever is in them. */
void decay_states(inout float s[STATES], float rate[STATES], float rate_low[STATES], int c, float by, float added,
                  float bs[STATES])
{
    float next[STATES];
    [[unroll]] for (int k = 0; k < STATES; k++) next[k] = lm_decay_finite(s[k], by, rate[k], rate_low[k], added * bs[k]);
    if (!is_finite(next)) {
        [[unroll]] for (int k = 0; k < STATES; k++) next[k] = lm_decay_step(s[k], by * rate_of(k, c), added * bs[k]);
    }
    [[unroll]] for (int k = 0; k < STATES; k++) s[k] = next[k];
}
