/* kernels/glsl/step.glsl: a tile of TILE columns of the product of a few rows with a matrix, for step_in.
 *
 * Needs p with depth, channels, epsilon and flags, x, norm, weight and their fours, value[], SPLIT, ROWS, ALIGNED, WG_X.
 */
const int AHEAD = ROWS <= 4 ? 2 : 1; /* fours of rows of the matrix that are under way at once */
const int QUARTER = SPLIT >= 4 ? SPLIT / 4 : 1;

shared vec4 part[SPLIT > 1 ? SPLIT * WG_X : 1];
shared float part_squares[SPLIT];
shared float quarter[SPLIT > 1 ? QUARTER * 4 * WG_X : 1];
shared float quarter_squares[QUARTER];

/* Up to four floats from `at` on, zeros for what is not there. */
vec4 four_of_x(int at, int count)
{
    if (ALIGNED != 0) return x4[at >> 2];
    return vec4(count > 0 ? x[at] : 0.0, count > 1 ? x[at + 1] : 0.0, count > 2 ? x[at + 2] : 0.0, count > 3 ? x[at + 3] : 0.0);
}

vec4 four_of_norm(int at, int count)
{
    if (ALIGNED != 0) return norm4[at >> 2];
    return vec4(count > 0 ? norm[at] : 0.0, count > 1 ? norm[at + 1] : 0.0, count > 2 ? norm[at + 2] : 0.0,
                count > 3 ? norm[at + 3] : 0.0);
}

vec4 four_of_weight(int at, int count)
{
    if (ALIGNED != 0) return weight4[at >> 2];
    return vec4(count > 0 ? weight[at] : 0.0, count > 1 ? weight[at + 1] : 0.0, count > 2 ? weight[at + 2] : 0.0,
                count > 3 ? weight[at + 3] : 0.0);
}

float scale_of(float squares)
{
    return (p.flags & LM_STEP_NORM) != 0 ? 1.0 / sqrt(squares / float(p.depth) + p.epsilon) : 1.0;
}

/* value[r·TILE + c] = row m0 + r times column n0 + c; rows from m_end on are like the last, columns from `count` on are undefined.
 * Other lanes see it after a barrier. */
void multiply_rows(int m0, int m_end, int n0, int count, int lane)
{
    int lx = int(gl_LocalInvocationID.x), ly = int(gl_LocalInvocationID.y), ldb = 2 * p.channels;
    int c = min(4 * lx, (count - 1) & ~3), left_c = count - c;
    bool normed = (p.flags & LM_STEP_NORM) != 0;
    vec4 sum[ROWS];
    float squares[ROWS];
    int from_x[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        sum[r] = vec4(0.0);
        squares[r] = 0.0;
        from_x[r] = (m0 + min(r, m_end - 1)) * p.depth;
    }
    if (ly < SPLIT) {
        for (int k0 = 4 * ly; k0 < p.depth; k0 += AHEAD * 4 * SPLIT) {
            vec4 b[4 * AHEAD]; /* past the end, where all is aligned, the last rows again */
            [[unroll]] for (int i = 0; i < 4 * AHEAD; i++) {
                int k = k0 + i / 4 * (4 * SPLIT), left = p.depth - k;
                b[i] = four_of_weight(((ALIGNED != 0 ? min(k, p.depth - 4) : k) + i % 4) * ldb + n0 + c, left > i % 4 ? left_c : 0);
            }
            [[unroll]] for (int j = 0; j < AHEAD; j++) {
                int k = k0 + j * (4 * SPLIT), left = p.depth - k;
                if (left <= 0) break;
                vec4 by = normed ? four_of_norm(k, left) : vec4(1.0);
                [[unroll]] for (int r = 0; r < ROWS; r++) {
                    vec4 v = four_of_x(from_x[r] + k, left);
                    squares[r] += dot(v, v);
                    v *= by;
                    [[unroll]] for (int i = 0; i < 4; i++) sum[r] += v[i] * b[4 * j + i];
                }
            }
        }
    }
    if (SPLIT == 1) { /* nothing is shared */
        [[unroll]] for (int r = 0; r < ROWS; r++) {
            float scale = scale_of(squares[r]);
            [[unroll]] for (int i = 0; i < 4; i++) value[r * TILE + 4 * lx + i] = sum[r][i] * scale;
        }
        return;
    }
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        if (ly < SPLIT) {
            part[ly * WG_X + lx] = sum[r];
            if (lx == 0) part_squares[ly] = squares[r];
        }
        barrier();
        int four = lane / WG_X, i = lane % WG_X;
        if (four < QUARTER) {
            vec4 total = vec4(0.0);
            float all = 0.0;
            [[unroll]] for (int y = 0; y < 4; y++) {
                total += part[(4 * four + y) * WG_X + i];
                all += part_squares[4 * four + y];
            }
            [[unroll]] for (int j = 0; j < 4; j++) quarter[four * TILE + 4 * i + j] = total[j];
            if (i == 0) quarter_squares[four] = all;
        }
        barrier();
        if (lane < TILE) {
            float total = 0.0, all = 0.0;
            [[unroll]] for (int q = 0; q < QUARTER; q++) {
                total += quarter[q * TILE + lane];
                all += quarter_squares[q];
            }
            value[r * TILE + lane] = total * scale_of(all);
        }
    }
}
