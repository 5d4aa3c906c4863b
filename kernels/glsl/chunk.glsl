/* kernels/glsl/chunk.glsl: the piece of a sequence that a group scans, shared by scan and scan_summary.
 *
 * Needs p (LM_SCAN_FIELDS), rows[], a[], bc[], WG_X, STATES, common.glsl and SHARED_MATRICES: how many of B, C go to
 * shared memory. Groups of more than 16 channels stage B (and C) of TOKENS tokens there, zeros for states that there are
 * not; smaller groups read them where they are. A lane's states are p.state_first … p.state_first + STATES − 1.
 */
const bool STAGED = WG_X > 16;
const int TOKENS = 16;
const int MATRIX = TOKENS * STATES;

shared float staged[STAGED ? SHARED_MATRICES * MATRIX : 1];

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

/* Stages tokens t … t+TOKENS−1; all lanes of the group call it together. */
void stage_matrices(Chunk chunk, int t)
{
    barrier(); /* the tokens before are no longer read */
    for (int i = int(gl_LocalInvocationID.x); i < SHARED_MATRICES * MATRIX; i += WG_X) {
        int matrix = i / MATRIX, token = i % MATRIX / STATES;
        staged[i] = matrix_at(chunk.start + min(t + token, chunk.last - 1), matrix, i % STATES);
    }
    barrier();
}

/* Element of B or C of token `row`, the `token`-th of those staged. */
float matrix_of(int row, int token, int matrix, int k)
{
    if (STAGED) return staged[matrix * MATRIX + token * STATES + k];
    return matrix_at(row, matrix, k);
}

/* A of state k, 0 for states that there are not. */
float rate_of(int k, int c)
{
    int n = p.state_first + k;
    float value = a[min(n, p.d_state - 1) * p.channels + c];
    return n < p.d_state ? value : 0.0;
}
