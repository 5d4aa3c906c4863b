/* kernels/glsl/sum.glsl: the sum of a value over a work-group's WG_X lanes (a power of two), by a tree of fixed order.
 */
shared float partial[WG_X];

/* The sum over all lanes, in all lanes. */
float sum_over_lanes(float value, int lane)
{
    if (WG_X == 1) return value;
    barrier(); /* the row before may still be reading */
    partial[lane] = value;
    barrier();
    for (int width = WG_X / 2; width > 0; width /= 2) {
        if (lane < width) partial[lane] += partial[lane + width];
        barrier();
    }
    return partial[0];
}
