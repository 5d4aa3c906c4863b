/* bench/measure.c: clocks, warming, quartiles. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "bench/bench.h"

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

/* A GPU's clocks idle at a fifth and take half a second of load to rise, and fall as slowly; a processor only wants its caches
 * filled. */
static double warm_seconds(const lm_device *device)
{
    return device->info.type == LM_DEVICE_CPU || device->info.type == LM_DEVICE_REFERENCE ? 0.05 : 0.6;
}

lm_status bench_measure(const bench_session *session, bench_call call, void *user, double seconds, bench_times *host,
                        bench_times *device)
{
    enum { MOST = 4096, LEAST = 5, LEAST_OF_SLOW = 2 };
    static double host_samples[MOST], device_samples[MOST];
    static double loaded; /* until when the device was under load */
    const double warm = bench_now() - loaded < 0.02 ? 0 : warm_seconds(session->device);
    double once = 0, time = 0;
    for (double start = bench_now(), begin = start; begin - start <= warm;) {
        const lm_status status = call(user, &time);
        if (status != LM_OK) return status;
        once = bench_now() - begin;
        begin += once;
    }
    const size_t least = once > seconds ? LEAST_OF_SLOW : LEAST;
    size_t runs = 0;
    for (double start = bench_now(); runs < MOST && (runs < least || bench_now() - start < seconds); runs++) {
        device_samples[runs] = 0;
        const double begin = bench_now();
        const lm_status status = call(user, &device_samples[runs]);
        if (status != LM_OK) return status;
        host_samples[runs] = bench_now() - begin;
    }
    loaded = bench_now();
    *host = bench_summary(host_samples, runs);
    *device = bench_summary(device_samples, runs);
    return LM_OK;
}
