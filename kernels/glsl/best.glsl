/* kernels/glsl/best.glsl: the largest value of a row and its first column, for argmax and cross_entropy.
 *
 * Needs the buffer x (buffers.glsl), WG_X (a power of two) and common.glsl. A column of -1 says that every value was NaN.
 */
struct Best {
    float value;
    int column;
};

shared float best_value[WG_X];
shared int best_column[WG_X];

Best better_of(Best a, Best b)
{
    if (a.column < 0) return b;
    if (b.column < 0 || a.value > b.value) return a;
    return b.value > a.value || b.column < a.column ? b : a;
}

/* All lanes get the answer. */
Best best_of_row(int row, int cols, int lane)
{
    Best best = Best(0.0, -1);
    for (int c = lane; c < cols; c += WG_X) {
        float value = LM_AT(x, row + c);
        if (!lm_is_nan(value) && (best.column < 0 || value > best.value)) best = Best(value, c);
    }
    if (WG_X == 1) return best;
    barrier(); /* the row before may still be reading */
    best_value[lane] = best.value;
    best_column[lane] = best.column;
    barrier();
    for (int width = WG_X / 2; width > 0; width /= 2) {
        if (lane < width) {
            best = better_of(best, Best(best_value[lane + width], best_column[lane + width]));
            best_value[lane] = best.value;
            best_column[lane] = best.column;
        }
        barrier();
    }
    return Best(best_value[0], best_column[0]);
}
