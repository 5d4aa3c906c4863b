/* host/tune.c: lm_tune: measures each knob's candidates on a few cases and keeps what wins.
 *
 * Candidates are timed in turn, round after round, so that what else the device or the machine does meets all alike; of each the
 * best round counts. One that computes something wrong is out. A knob keeps its value unless another is clearly faster over all its
 * cases; the next knob is measured with what was chosen before. */
#include "host/tune.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/timing.h"
#include "runtime/clock.h"

/* Sizes of small and middling models. On a processor a row takes some milliseconds. */
static const lm_tune_row rows[] = {
    {LM_KNOB_SCAN_CUT, "scan", "B=1 L=512 Di=1536 N=16", "B=1 L=512 Di=32 N=16"},
    {LM_KNOB_SCAN_CUT, "scan", "B=1 L=4096 Di=1536 N=16", "B=1 L=1024 Di=128 N=16"},
    {LM_KNOB_SCAN_CUT, "scan", "B=4 L=1024 Di=2048 N=16", "B=2 L=512 Di=48 N=16"},
    {LM_KNOB_FEW_ROWS, "product", "M=2 N=3072 K=768", "M=2 N=512 K=256"},
    {LM_KNOB_FEW_ROWS, "product", "M=4 N=1536 K=1536", "M=4 N=256 K=512"},
    {LM_KNOB_FEW_ROWS, "product", "M=8 N=3072 K=768", "M=8 N=512 K=256"},
    {LM_KNOB_FEW_ROWS, "product", "M=16 N=3072 K=768", "M=16 N=512 K=256"},
    {LM_KNOB_FEW_ROWS, "product", "M=32 N=768 K=1536", "M=32 N=256 K=512"},
    {LM_KNOB_PANEL_ROWS, "product", NULL, "M=128 N=512 K=256"},
    {LM_KNOB_PANEL_ROWS, "product", NULL, "M=256 N=256 K=512"},
    {LM_KNOB_GEMM_TILE, "product", "M=2048 N=3072 K=768", NULL},
    {LM_KNOB_GEMM_TILE, "product", "M=1024 N=80 K=1536", NULL},
    {LM_KNOB_GEMM_TILE, "product", "M=256 N=64 K=1024", NULL},
    {LM_KNOB_ROW_LANES, "rmsnorm", "R=1 C=1024", "R=1 C=1024"},
    {LM_KNOB_ROW_LANES, "rmsnorm", "R=2048 C=768", "R=128 C=768"},
    {LM_KNOB_ROW_LANES, "argmax", "R=1 C=50280", "R=1 C=8192"},
};

const lm_tune_row *lm_tune_row_at(size_t index) { return index < sizeof rows / sizeof *rows ? &rows[index] : NULL; }

enum { SEED = 20262, LEAST_ROUNDS = 7, MOST_ROUNDS = 200, MOST_REPETITIONS = 256, MOST_VALUES = LM_KNOB_CANDIDATES + 2 };

/* Work that is checked in full; of more, parts. */
static const double CHECKED_WORK = 1e7;
/* Seconds of one run of a list, and of all rounds; and what a candidate has to win so that it is not noise. */
static const double RUN_SECONDS = 4e-3, ROUNDS_SECONDS = 0.2, LEAST_GAIN = 0.03;

/* One candidate on one case. */
typedef struct trial {
    lm_case *c;
    lm_timing timing;
    uint64_t signature; /* of what it launches */
    size_t twin;        /* the first trial that launches the same, and is timed for both; itself where there is none */
    double best;        /* seconds a repetition; SLOWEST: not timed yet; INFINITY: not usable */
} trial;

static const double SLOWEST = 1e30;

typedef struct tune_run {
    lm_device *device;
    double end;         /* when to stop */
    bool gpu;
} tune_run;

static void free_trial(trial *t)
{
    lm_timing_free(&t->timing);
    lm_case_destroy(&t->c);
}

/* trials[index]. What a device cannot do, and what is wrong, is out of the race; other errors end the tuning. */
static lm_status prepare(const tune_run *run, const lm_tune_row *row, trial *trials, size_t index)
{
    trial *t = &trials[index];
    lm_check_result result = {0};
    bool whole;
    double host = 0, seconds = 0;
    t->best = INFINITY;
    t->twin = index;
    lm_status status = lm_case_create_named(run->device, row->kernel, run->gpu ? row->gpu : row->cpu, SEED, &t->c);
    if (status == LM_OK) status = lm_timing_create(run->device, t->c, &t->timing);
    if (status == LM_OK) {
        t->signature = t->timing.list->signature;
        for (t->twin = 0; trials[t->twin].signature != t->signature;) t->twin++;
        if (t->twin != index) {
            free_trial(t);
            return LM_OK;
        }
        status = lm_timing_check(&t->timing, CHECKED_WORK, &result, &whole);
    }
    if (status == LM_OK && !result.passed) {
        lm_log(run->device->context, LM_LOG_ERROR, "%s: %s: %s", run->device->info.id, t->c->name, result.text);
        free_trial(t);
        return LM_OK;
    }
    for (int i = 0; i < 2 && status == LM_OK; i++) status = lm_timing_run(&t->timing, &host, &seconds);
    const double repetitions = RUN_SECONDS / (seconds > 0 ? seconds : host);
    if (status == LM_OK) status = lm_timing_repeat(&t->timing, (unsigned)fmax(1, fmin(repetitions, MOST_REPETITIONS)), true);
    if (status == LM_OK) t->best = SLOWEST;
    if (status != LM_ERROR_UNSUPPORTED && status != LM_ERROR_OUT_OF_DEVICE_MEMORY) return status;
    free_trial(t);
    return LM_OK;
}

static lm_status time_once(trial *t)
{
    double host, device;
    if (isinf(t->best)) return LM_OK;
    const lm_status status = lm_timing_run(&t->timing, &host, &device);
    const double seconds = device > 0 ? device : host;
    if (status == LM_OK && seconds < t->best) t->best = seconds;
    return status;
}

/* Rounds until the time is over; of each value the best one counts. */
static lm_status time_rounds(const tune_run *run, trial *trials, size_t count)
{
    lm_status status = LM_OK;
    /* A GPU's clocks need half a second of load to rise. */
    for (double start = lm_clock(); run->gpu && status == LM_OK && lm_clock() - start < 0.6;)
        for (size_t i = 0; i < count && status == LM_OK; i++) status = time_once(&trials[i]);
    for (size_t i = 0; i < count; i++)
        if (!isinf(trials[i].best)) trials[i].best = SLOWEST;
    const double start = lm_clock();
    for (int round = 0; round < MOST_ROUNDS && status == LM_OK; round++) {
        if (round >= LEAST_ROUNDS && lm_clock() - start > ROUNDS_SECONDS * (double)count) break;
        if (round >= 2 && lm_clock() > run->end) break;
        for (size_t i = 0; i < count && status == LM_OK; i++)
            status = time_once(&trials[i]);
    }
    return status;
}

/* All values on one case: seconds[i] of values[i], INFINITY where the device cannot do it. *tells: they do not all launch the
 * same. */
static lm_status time_case(const tune_run *run, const lm_tune_row *row, const int32_t *values, size_t count, double *seconds,
                           bool *tells)
{
    trial trials[MOST_VALUES] = {{.c = NULL}};
    const int32_t kept = lm_knob_of(run->device, row->knob);
    lm_status status = LM_OK;
    *tells = false;
    for (size_t i = 0; i < count && status == LM_OK; i++) {
        lm_knob_set(run->device, row->knob, values[i]);
        status = prepare(run, row, trials, i);
        *tells = *tells || trials[i].twin != 0;
    }
    lm_knob_set(run->device, row->knob, kept);
    if (status == LM_OK && *tells) status = time_rounds(run, trials, count);
    for (size_t i = 0; i < count; i++) seconds[i] = trials[trials[i].twin].best;
    for (size_t i = 0; i < count; i++) {
        if (status == LM_OK && *tells)
            lm_log(run->device->context, LM_LOG_INFO, "%s %d: %s %s: %.2f us", lm_knob_get(row->knob)->name, (int)values[i],
                   row->kernel, run->gpu ? row->gpu : row->cpu, 1e6 * seconds[i]);
        free_trial(&trials[i]);
    }
    return status;
}

/* The value it has, by rule, and every candidate, each once. */
static size_t values_of(const lm_device *device, lm_knob knob, int32_t values[MOST_VALUES])
{
    const lm_knob_info *info = lm_knob_get(knob);
    size_t count = 0;
    values[count++] = lm_knob_of(device, knob);
    if (values[0] != 0) values[count++] = 0;
    for (size_t i = 0; i < info->count; i++)
        if (info->candidates[i] != values[0]) values[count++] = info->candidates[i];
    return count;
}

/* gains[i]: how much more values[i] does in the time of values[0], in the geometric mean over the knob's cases. *cases counts those
 * that tell the values apart. */
static lm_status gains_of(const tune_run *run, lm_knob knob, const int32_t *values, size_t count, double *gains, uint32_t *cases)
{
    double all = 0;
    *cases = 0;
    for (size_t i = 0; i < count; i++) gains[i] = 0;
    for (const lm_tune_row *row = rows; row < rows + sizeof rows / sizeof *rows && lm_clock() < run->end; row++) {
        double seconds[MOST_VALUES];
        bool tells;
        if (row->knob != knob || (run->gpu ? row->gpu : row->cpu) == NULL) continue;
        const lm_status status = time_case(run, row, values, count, seconds, &tells);
        if (status != LM_OK) return status;
        if (!isfinite(seconds[0])) continue;
        for (size_t i = 0; i < count; i++) gains[i] += log(seconds[0] / seconds[i]);
        *cases += tells;
        all++;
    }
    for (size_t i = 0; i < count && all > 0; i++) gains[i] = exp(gains[i] / all) - 1;
    return LM_OK;
}

/* The best value has to win a second time, alone against the one that the device has. */
static lm_status tune_knob(const tune_run *run, lm_knob knob, lm_tune_result *result)
{
    int32_t values[MOST_VALUES];
    double gains[MOST_VALUES];
    const size_t count = values_of(run->device, knob, values);
    result->before = result->chosen = values[0];
    lm_status status = gains_of(run, knob, values, count, gains, &result->cases);
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (gains[i] > gains[best]) best = i;
    if (status != LM_OK || !(gains[best] >= LEAST_GAIN)) return status;
    const int32_t pair[] = {values[0], values[best]};
    double again[2];
    uint32_t cases;
    status = gains_of(run, knob, pair, 2, again, &cases);
    if (status != LM_OK || !(again[1] >= LEAST_GAIN)) return status;
    result->gain = fmin(gains[best], again[1]);
    result->chosen = values[best];
    lm_knob_set(run->device, knob, result->chosen);
    return LM_OK;
}

lm_status lm_tune(lm_device *device, const lm_tune_params *params)
{
    if (device == NULL) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_tune: requires a device");
    const lm_tune_params p = params != NULL ? *params : (lm_tune_params){0};
    const double seconds = p.seconds > 0 ? p.seconds : 100, begin = lm_clock();
    const lm_device_type type = device->info.type;
    tune_run run = {.device = device, .gpu = type != LM_DEVICE_CPU && type != LM_DEVICE_REFERENCE};
    int32_t before[LM_MAX_KNOBS];
    for (int i = 0; i < LM_MAX_KNOBS; i++) before[i] = device->tuning[i];
    device->tuned = true; /* what was found earlier is not loaded over this */
    lm_status status = LM_OK;
    for (int i = 0; i < LM_KNOB_COUNT && status == LM_OK; i++) {
        const lm_knob_info *info = lm_knob_get((lm_knob)i);
        lm_tune_result result = {.name = info->name, .what = info->what, .done = (uint32_t)i + 1, .total = LM_KNOB_COUNT};
        /* A share of the time each; what one leaves over is the others'. */
        run.end = lm_clock() + (begin + seconds - lm_clock()) / (LM_KNOB_COUNT - i);
        status = tune_knob(&run, (lm_knob)i, &result);
        if (status == LM_OK && p.callback != NULL) p.callback(p.user, &result);
    }
    if (status != LM_OK)
        for (int i = 0; i < LM_MAX_KNOBS; i++) device->tuning[i] = before[i];
    return status == LM_OK && !p.no_save ? lm_tune_save(device) : status;
}
