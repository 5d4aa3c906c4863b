/* kernels/glsl/step.glsl: a tile of TILE columns of the product of a few rows with a matrix (depth, columns), for steps, where
 * reading the matrix is the work and the time that it takes to begin is half of the rest.
 *
 * A lane has four columns and takes four rows of the matrix at a time, k = 4·ly and on by 4·SPLIT, AHEAD of them at once: all of
 * them are on their way, and what they are multiplied with too, before the first is used. The sums of SPLIT lanes meet in shared
 * memory, in an order that depends on the constants alone; with SPLIT 1 there are none.
 *
 * Needs p.depth, the buffers x, weight and their fours (buffers.glsl), value[], SPLIT, ROWS, ALIGNED, AHEAD, WG_X, and
 * load_meanwhile(); with LM_TILE_NORMS p.epsilon, p.flags, norm and its fours: rows are normed by scaling their results.
 */
const int FAN = SPLIT >= 128 ? 16 : SPLIT >= 32 ? 8 : 4; /* sums that a lane adds up first, */
const int SUMS = (SPLIT + FAN - 1) / FAN;                /* and how many that leaves */

shared vec4 part[SPLIT > 1 ? SPLIT * WG_X : 1];
shared float part_squares[SPLIT];
shared float fewer[SPLIT > 1 ? SUMS * 4 * WG_X : 1];
shared float fewer_squares[SUMS];

/* Up to four floats from `at` on, zeros for what is not there. */
vec4 four_of_x(int at, int count)
{
    if (ALIGNED != 0) return LM_AT(x4, at >> 2);
    return vec4(count > 0 ? LM_AT(x, at) : 0.0, count > 1 ? LM_AT(x, at + 1) : 0.0, count > 2 ? LM_AT(x, at + 2) : 0.0,
                count > 3 ? LM_AT(x, at + 3) : 0.0);
}

vec4 four_of_weight(int at, int count)
{
    if (ALIGNED != 0) return LM_AT(weight4, at >> 2);
    return vec4(count > 0 ? LM_AT(weight, at) : 0.0, count > 1 ? LM_AT(weight, at + 1) : 0.0, count > 2 ? LM_AT(weight, at + 2) : 0.0,
                count > 3 ? LM_AT(weight, at + 3) : 0.0);
}

#ifdef LM_TILE_NORMS
vec4 four_of_norm(int at, int count)
{
    if ((p.flags & LM_STEP_NORM) == 0) return vec4(1.0);
    if (ALIGNED != 0) return LM_AT(norm4, at >> 2);
    return vec4(count > 0 ? LM_AT(norm, at) : 0.0, count > 1 ? LM_AT(norm, at + 1) : 0.0, count > 2 ? LM_AT(norm, at + 2) : 0.0,
                count > 3 ? LM_AT(norm, at + 3) : 0.0);
}

float scale_of(float squares)
{
    return (p.flags & LM_STEP_NORM) != 0 ? 1.0 / sqrt(squares / float(p.depth) + p.epsilon) : 1.0;
}
#else
vec4 four_of_norm(int at, int count) { return vec4(1.0); }
float scale_of(float squares) { return 1.0; }
#endif

/* Begins to load what is needed next: the kernel's own. */
void load_meanwhile(int lane);

/* value[r·TILE + c] = row m0 + r times column n0 + c; rows from m_end on are like the last, columns from `count` on are undefined.
 * Other lanes see it after a barrier. */
void multiply_rows(int m0, int m_end, int n0, int count, int ldb, int lane)
{
    int lx = int(gl_LocalInvocationID.x), ly = int(gl_LocalInvocationID.y);
    int c = min(4 * lx, (count - 1) & ~3), left_c = count - c;
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
            vec4 b[4 * AHEAD], by[AHEAD], v[AHEAD * ROWS]; /* past the end, where all is aligned, the last rows again */
            [[unroll]] for (int j = 0; j < AHEAD; j++) {
                int k = k0 + j * (4 * SPLIT), at = ALIGNED != 0 ? min(k, p.depth - 4) : k, left = p.depth - k;
                [[unroll]] for (int i = 0; i < 4; i++) b[4 * j + i] = four_of_weight((at + i) * ldb + n0 + c, left > i ? left_c : 0);
            }
            [[unroll]] for (int j = 0; j < AHEAD; j++) {
                int k = k0 + j * (4 * SPLIT), at = ALIGNED != 0 ? min(k, p.depth - 4) : k, left = p.depth - k;
                by[j] = four_of_norm(at, left);
                [[unroll]] for (int r = 0; r < ROWS; r++) v[j * ROWS + r] = four_of_x(from_x[r] + at, left);
            }
            [[unroll]] for (int j = 0; j < AHEAD; j++) {
                if (k0 + j * (4 * SPLIT) < p.depth) {
                    [[unroll]] for (int r = 0; r < ROWS; r++) {
                        vec4 w = v[j * ROWS + r];
                        squares[r] += dot(w, w);
                        w *= by[j];
                        [[unroll]] for (int i = 0; i < 4; i++) sum[r] += w[i] * b[4 * j + i];
                    }
                }
            }
        }
    }
    load_meanwhile(lane);
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
        if (four < SUMS) {
            vec4 total = vec4(0.0);
            float all = 0.0;
            [[unroll]] for (int y = 0; y < FAN; y++) {
                if (SPLIT % FAN != 0 && FAN * four + y >= SPLIT) break;
                total += part[(FAN * four + y) * WG_X + i];
                all += part_squares[FAN * four + y];
            }
            [[unroll]] for (int j = 0; j < 4; j++) fewer[four * TILE + 4 * i + j] = total[j];
            if (i == 0) fewer_squares[four] = all;
        }
        barrier();
        if (lane < TILE) {
            float total = 0.0, all = 0.0;
            [[unroll]] for (int q = 0; q < SUMS; q++) {
                total += fewer[q * TILE + lane];
                all += fewer_squares[q];
            }
            value[r * TILE + lane] = total * scale_of(all);
        }
    }
}
