/* bench/measure.c: clocks, warming, quartiles. */
#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "runtime/clock.h"

double bench_error(const float *got, const double *expected, size_t count)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs(got[i] - expected[i]);
        largest = fmax(largest, fabs(expected[i]));
        if (!(error <= worst)) worst = error; /* a NaN stays */
        if (isnan(error)) break;
    }
    return worst / largest;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

bench_times bench_summary(double *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, compare);
    return (bench_times){samples[count / 2], samples[count / 4], samples[count - 1 - count / 4], samples[0], count};
}

static double loaded; /* until when the device was under load */

/* A processor only wants its caches filled. A GPU's clocks idle at a fifth, take half a second of load to rise, and fall within a
 * second or two when there is little of it: calls that are mostly the host's do not keep them up. So a GPU is loaded with something
 * else before it is timed, for twice as long as it was not, at most LOAD. `once`: seconds of a call. */
static lm_status warm(const bench_session *session, bench_call call, void *user, double *once)
{
    static const double CALLS = 0.05, LOAD = 0.6;
    const double calls = session->load == NULL && lm_clock() - loaded >= 0.02 ? CALLS : 0;
    lm_status status = LM_OK;
    double time = 0;
    /* At least one, for what is built at the first. */
    for (double start = lm_clock(), begin = start; status == LM_OK && begin - start <= calls;) {
        status = call(user, &time);
        *once = lm_clock() - begin;
        begin += *once;
    }
    if (session->load != NULL) {
        const double start = lm_clock(), until = start + fmin(LOAD, 2 * (start - loaded));
        while (status == LM_OK && lm_clock() < until) status = lm_list_run(session->load);
        const double begin = lm_clock();
        if (status == LM_OK) status = call(user, &time); /* its data to where it is from call to call */
        *once = lm_clock() - begin;
    }
    loaded = lm_clock();
    return status;
}

lm_status bench_measure(const bench_session *session, bench_call call, void *user, double seconds, bench_times *host,
                        bench_times *device)
{
    enum { MOST = 4096, LEAST = 5, LEAST_OF_SLOW = 2 };
    static double host_samples[MOST], device_samples[MOST];
    double once = 0;
    const lm_status warmed = warm(session, call, user, &once);
    if (warmed != LM_OK) return warmed;
    const size_t least = once > seconds ? LEAST_OF_SLOW : LEAST;
    size_t runs = 0;
    for (double start = lm_clock(); runs < MOST && (runs < least || lm_clock() - start < seconds); runs++) {
        device_samples[runs] = 0;
        const double begin = lm_clock();
        const lm_status status = call(user, &device_samples[runs]);
        if (status != LM_OK) return status;
        host_samples[runs] = lm_clock() - begin;
    }
    if (session->load == NULL) loaded = lm_clock();
    *host = bench_summary(host_samples, runs);
    *device = bench_summary(device_samples, runs);
    return LM_OK;
}
