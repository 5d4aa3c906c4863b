/* bench/native.c: what a processor can do at most, for the `cpu` device: its kernels are compiled into the library, not built by a
 * driver, and so are these. Each is compiled for several levels of instructions, of which the processor's best runs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "runtime/clock.h"
#include "runtime/cpu/team.h"

enum { SCAN_TOKENS = 16, SCAN_CHANNELS = 1536, SCAN_STATES = 16 };
enum { PARTS = 64, CHAINS = 10, ROUNDS = 100000, COPY_FLOATS = 1 << 24 };

typedef struct native {
    const float *from;
    float *to;
    float (*multiply_add)(float m, float n);
    int lanes;
} native;

/* x = x·m + n, contracted (bench/CMakeLists.txt), in CHAINS chains that do not depend on each other. */
#define MULTIPLY_ADD(name, level, lanes) \
    level static float name(float m, float n) \
    { \
        typedef float vector __attribute__((vector_size((lanes) * sizeof(float)))); \
        vector x[CHAINS]; \
        for (int i = 0; i < CHAINS; i++) x[i] = (vector){0} + (float)i; \
        for (int round = 0; round < ROUNDS; round++) { \
            _Pragma("GCC unroll 16") \
            for (int i = 0; i < CHAINS; i++) x[i] = x[i] * m + n; \
        } \
        for (int i = 1; i < CHAINS; i++) x[0] += x[i]; \
        return x[0][0] + x[0][(lanes) - 1]; \
    }

MULTIPLY_ADD(multiply_add_generic, , 4)
#if defined(__x86_64__)
MULTIPLY_ADD(multiply_add_avx2, __attribute__((target("avx2,fma"))), 8)
MULTIPLY_ADD(multiply_add_avx512, __attribute__((target("avx512f"))), 16)
#endif

static void choose(native *n)
{
    n->multiply_add = multiply_add_generic, n->lanes = 4;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) n->multiply_add = multiply_add_avx512, n->lanes = 16;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) n->multiply_add = multiply_add_avx2, n->lanes = 8;
#endif
}

static void run_multiply_add(void *user, uint32_t part, uint32_t thread)
{
    (void)thread;
    native *n = user;
    n->to[part] = n->multiply_add(0.5f, 0.25f + (float)part);
}

static void run_copy(void *user, uint32_t part, uint32_t thread)
{
    (void)thread;
    const native *n = user;
    memcpy(n->to + (size_t)part * (COPY_FLOATS / PARTS), n->from + (size_t)part * (COPY_FLOATS / PARTS),
           COPY_FLOATS / PARTS * sizeof(float));
}

/* The selective scan as a plain C loop on one core has it: a call of libm's expf a state and token. What vectors are compared with. */
static void run_plain_scan(void *user, uint32_t part, uint32_t thread)
{
    (void)part;
    (void)thread;
    const native *n = user;
    const float *u = n->from, *b = n->from + SCAN_CHANNELS;
    float *state = n->to, *y = n->to + SCAN_CHANNELS * SCAN_STATES;
    for (int t = 0; t < SCAN_TOKENS; t++) {
        for (int c = 0; c < SCAN_CHANNELS; c++) {
            const float delta = 0.01f + u[c];
            float sum = 0;
            for (int s = 0; s < SCAN_STATES; s++) {
                float *at = &state[c * SCAN_STATES + s];
                *at = expf(-delta * (float)(s + 1)) * *at + delta * b[s] * u[c];
                sum += *at * b[s];
            }
            y[c] = sum;
        }
    }
}

static double best_of(lm_team *team, void (*run)(void *, uint32_t, uint32_t), native *n, double seconds)
{
    double best = 1e30;
    const double start = lm_clock();
    do {
        const double begin = lm_clock();
        if (team != NULL) lm_team_run(team, PARTS, run, n);
        else
            for (uint32_t part = 0; part < PARTS; part++) run(n, part, 0);
        const double time = lm_clock() - begin;
        best = time < best ? time : best;
    } while (lm_clock() - start < seconds);
    return best;
}

lm_status bench_native_limits(bench_session *session)
{
    float *memory = calloc(2 * (size_t)COPY_FLOATS, sizeof *memory);
    if (memory == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    for (size_t i = 0; i < 2 * (size_t)COPY_FLOATS; i++) memory[i] = 0.5f;
    native n = {.from = memory, .to = memory + COPY_FLOATS};
    choose(&n);
    lm_team *team = lm_team_threads() > 1 ? lm_team_create(lm_team_threads()) : NULL;
    const double seconds = session->options->seconds;
    session->limits.copy = 2.0 * COPY_FLOATS * sizeof(float) / best_of(team, run_copy, &n, seconds);
    session->limits.fma = 2.0 * PARTS * CHAINS * n.lanes * (double)ROUNDS / best_of(team, run_multiply_add, &n, seconds);
    lm_team_destroy(team);
    session->limits.plain_scan = (double)SCAN_TOKENS * SCAN_CHANNELS * SCAN_STATES / (best_of(NULL, run_plain_scan, &n, seconds) / PARTS);
    free(memory);
    return LM_OK;
}
