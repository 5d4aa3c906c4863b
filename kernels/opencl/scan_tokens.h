/* kernels/opencl/scan_tokens.h: how scan and scan_summary reach B and C of the next tokens. */
#define STAGED (LANES == 1 && WG_X > 16)
#if STAGED
#define TOKENS 16
#else
#define TOKENS 1
#endif

/* On a GPU the states live in registers, so every loop over them has constant bounds; on a processor they live in the first
 * cache and only those that exist are walked. */
#if LANES == 1
#define EACH_STATE(n) _Pragma("unroll") for (int n = 0; n < STATES; n++)
#else
#define EACH_STATE(n) for (int n = 0; n < states; n++)
#endif

/* Element n of B or C, 0 past the last state. */
#if STAGED || LANES > 1
#define SHARED(from, n) (from)[n]
#else
#define SHARED(from, n) ((n) < states ? (from)[n] : 0.0f)
#endif

#if STAGED
/* to[i·STATES + n] = element n of row first + i, for TOKENS rows; 0 past the last token or state. */
static inline void lm_stage(__local float *to, __global const float *from, int stride, int first, int tokens, int states)
{
    for (uint i = get_local_id(0); i < TOKENS * STATES; i += WG_X) {
        const int token = (int)(i / STATES), n = (int)(i % STATES);
        to[i] = token < tokens && n < states ? from[(first + token) * stride + n] : 0.0f;
    }
}
#endif
