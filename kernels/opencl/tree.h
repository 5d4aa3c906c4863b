/* kernels/opencl/tree.h: reductions over the WG_X lanes of a group, a power of two, in an order that depends on WG_X
 * alone. Every lane calls and every lane gets the result; `part` has WG_X elements and may be used again at once. */
static inline float lm_tree_add(float v, __local float *part)
{
#if WG_X > 1
    const int lane = (int)get_local_id(0);
    part[lane] = v;
    for (int half_x = WG_X / 2; half_x > 0; half_x /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_x) part[lane] += part[lane + half_x];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    v = part[0];
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    return v;
}

static inline float lm_tree_max(float v, __local float *part)
{
#if WG_X > 1
    const int lane = (int)get_local_id(0);
    part[lane] = v;
    for (int half_x = WG_X / 2; half_x > 0; half_x /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_x) part[lane] = fmax(part[lane], part[lane + half_x]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    v = part[0];
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    return v;
}
