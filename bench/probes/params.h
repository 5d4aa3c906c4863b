/* bench/probes/params.h: the arguments of the probes, for C, OpenCL C and GLSL, as kernels/params.h has those of kernels.
 *
 * probe_copy   to[i] = from[i], i < count; bindings from, to
 * probe_fma    each lane: chains of x = x·m + n, `rounds` times; bindings out (a float a lane, which keeps the sums alive)
 * probe_exp2   each lane: chains of x = exp2(−x), `rounds` times, by the driver's fastest exp2; bindings out
 * probe_touch  value[0] += 1; bindings value */
#ifndef LM_PROBE_PARAMS_H
#define LM_PROBE_PARAMS_H

/* Independent chains of a lane: enough to hide an operation's latency, and few enough for 16 vector registers. */
#define LM_PROBE_CHAINS 8
#define LM_PROBE_CHAINS_WIDE 7
/* Rounds of chains between two tests for the end. */
#define LM_PROBE_UNROLL 4
/* Vectors that a lane copies. */
#define LM_PROBE_VECTORS 4

#define LM_PROBE_FIELDS \
    int count;    /* copy: elements, a multiple of a work-group's share */ \
    int rounds;   /* a multiple of LM_PROBE_UNROLL */ \
    float m; \
    float n;

#ifndef LM_GLSL
typedef struct lm_probe_params { LM_PROBE_FIELDS } lm_probe_params;
#endif

#endif
