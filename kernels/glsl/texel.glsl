/* kernels/glsl/texel.glsl: reading buffers as texels of four floats.
 *
 * llvmpipe (Mesa 22.3) reads storage buffers and shared memory lane by lane: a loop around a bounds check for every float, some
 * 100 instructions for eight lanes. A texel of a storage texel buffer is eight unconditional loads of 16 bytes and eight
 * shuffles that give the four floats of all lanes, some 50 instructions. So the *_texel kernels read all their inputs like
 * this, whole texels where the layout allows it, and work on as many floats for each as there is room for.
 */
float lm_component(vec4 v, int i) { return (i & 2) == 0 ? ((i & 1) == 0 ? v.x : v.y) : ((i & 1) == 0 ? v.z : v.w); }

/* Float i of a texel buffer, and four from i on, which is a multiple of 4. */
#define LM_FLOAT(buffer, i) lm_component(imageLoad(buffer, (i) >> 2), i)
#define LM_QUAD(buffer, i) imageLoad(buffer, (i) >> 2)
