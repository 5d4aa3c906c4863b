/* bench/kernels.c: times single kernels, on the tests' rows (kernels/cases.h) or on shapes of any size.
 *
 * A row is checked against the reference first. The device's time is that of a list with as many runs of the kernel as take
 * some milliseconds, divided by their number; each run waits for the one before, whose output it overwrites. Host time is of a
 * list with one run, from submitting it to knowing that it is done. */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "kernels/timing.h"

enum { SEED = 20261, MOST_RUNS = 512 };

/* Of larger cases only parts are checked: the reference takes seconds a billion multiply-adds. */
static const double CHECKED_WORK = 5e7;

typedef struct kernel_row {
    const char *set, *kernel, *shape;
} kernel_row;

static const kernel_row kernel_rows[] = {
    {"targets", "scan", "B=8 L=2048 Di=2048 N=16"},
    {"targets", "scan", "B=8 L=4096 Di=5120 N=16"},
    {"targets", "scan", "B=1 L=2048 Di=1536 N=16"},
    {"targets", "scan", "B=1 L=65536 Di=1536 N=16"},
    {"targets", "scan", "B=1 L=8192 Di=5120 N=16"},
    {"targets", "scan", "B=1 L=512 Di=1536 N=16"},
    {"targets", "conv", "B=8 L=2048 Di=2048 K=3 m=4"},
    {"targets", "product", "M=8192 N=8192 K=8192"},
    {"targets", "product", "M=16384 N=4096 K=1024"},
    {"targets", "product", "M=2048 N=3072 K=768"},
    {"targets", "product", "M=2048 N=768 K=1536"},
    {"targets", "product", "M=2048 N=80 K=1536"},
    {"quick", "scan", "B=1 L=1024 Di=1536 N=16"},
    {"quick", "scan", "B=2 L=128 Di=1024 N=16"},
    {"quick", "conv", "B=1 L=1024 Di=1536 K=3 m=4"},
    {"quick", "product", "M=1024 N=3072 K=768"},
    {"quick", "product", "M=256 N=1024 K=512"},
    {"quick", "product", "M=256 N=64 K=1024"},
    {"quick", "product", "M=1 N=2048 K=1024"},
    {"quick", "rmsnorm", "R=1024 C=768"},
    {"tiny", "scan", "B=1 L=64 Di=48 N=16"},
    {"tiny", "conv", "B=1 L=64 Di=48 K=3 m=4"},
    {"tiny", "product", "M=32 N=48 K=64"},
    {"tiny", "product", "M=1 N=48 K=64"},
    {"tiny", "rmsnorm", "R=8 C=64"},
    {"tiny", "embed", "R=8 C=64"},
    {"tiny", "argmax", "R=8 C=64"},
    {"tiny", "cross_entropy", "R=8 C=64"},
};

typedef struct kernel_bench {
    bench_session *session;
    lm_timing timing;
} kernel_bench;

/* ---- a row ------------------------------------------------------------------------------------------------------ */

static lm_status run(void *user, double *device)
{
    const kernel_bench *k = user;
    double host;
    return lm_timing_run(&k->timing, &host, device);
}

static lm_status measure(kernel_bench *k, bench_row *row)
{
    const double seconds = k->session->options->seconds;
    double ignored;
    lm_status status = run(k, &ignored); /* builds what is built at the first use */
    if (status == LM_OK) status = bench_measure(k->session, run, k, 0.3 * seconds, &row->host, &row->device);
    if (status != LM_OK) return status;
    /* Ten milliseconds, so that what a submission costs is lost in it; no more, so that no watchdog minds. */
    const double runs = 10e-3 / row->host.median;
    status = lm_timing_repeat(&k->timing, runs > MOST_RUNS ? MOST_RUNS : runs < 1 ? 1 : (unsigned)runs, true);
    bench_times host;
    if (status == LM_OK) status = bench_measure(k->session, run, k, seconds, &host, &row->device);
    return status;
}

/* Before the first run. */
static lm_status check(const kernel_bench *k, bench_row *row, char *text, size_t size)
{
    lm_check_result result;
    bool whole;
    snprintf(text, size, "unchecked");
    row->check = text;
    row->passed = true;
    if (k->session->options->no_check) return LM_OK;
    const lm_status status = lm_timing_check(&k->timing, CHECKED_WORK, &result, &whole);
    if (status != LM_OK) return status;
    row->passed = result.passed;
    const char *how = whole ? "checked" : "checked in parts";
    if (!result.passed) snprintf(text, size, "%s", result.text);
    else if (result.tolerance > 0) snprintf(text, size, "%s, error %.2f of its tolerance", how, result.error / result.tolerance);
    else snprintf(text, size, "%s, exact", how);
    return LM_OK;
}

/* Takes the case over. */
static void bench_case(bench_session *session, const char *kernel, const char *shape, lm_case *c)
{
    kernel_bench k = {.session = session};
    char checked[300];
    bench_row row = {.part = "kernels", .name = kernel, .shape = shape};
    lm_status status = lm_timing_create(session->device, c, &k.timing);
    if (status == LM_OK) status = check(&k, &row, checked, sizeof checked);
    if (status == LM_OK && row.passed) status = measure(&k, &row);
    const bench_work work = bench_work_of(c);
    const double time = row.device.median > 0 ? row.device.median : row.host.median;
    row.bytes = work.bytes;
    row.flops = work.flops;
    row.unit = work.unit;
    row.rate = time > 0 ? work.amount / time : 0;
    row.share = time > 0 ? bench_limits_time(&session->limits, &work, &row.limit) / time : 0;
    if (status == LM_OK) bench_report(session, &row);
    else bench_report_error(session, "kernels", kernel, shape, status);
    lm_timing_free(&k.timing);
    lm_case_destroy(&c);
}

static void bench_shape(bench_session *session, const char *kernel, const char *shape)
{
    lm_case *c = NULL;
    const lm_status status = lm_case_create_named(session->device, kernel, shape, SEED, &c);
    if (status == LM_OK) bench_case(session, kernel, shape, c);
    else bench_report_error(session, "kernels", kernel, shape, status);
}

/* Has the set a row of its own for the kernel? */
static bool in_set(const char *set, const char *stem)
{
    const bool product = strcmp(stem, "gemm") == 0 || strcmp(stem, "gemv") == 0;
    for (size_t i = 0; i < sizeof kernel_rows / sizeof *kernel_rows; i++) {
        const kernel_row *row = &kernel_rows[i];
        if (strcmp(row->set, set) != 0) continue;
        if (strcmp(row->kernel, stem) == 0 || (product && strcmp(row->kernel, "product") == 0)) return true;
    }
    return false;
}

/* The tests' rows that are worth timing, of kernels that the set has no row for. */
static void bench_large(bench_session *session, const char *set, const char *only)
{
    for (int id = 0; id < LM_KERNEL_COUNT; id++) {
        const char *stem = lm_kernel_get((lm_kernel_id)id)->stem;
        if ((only != NULL && strcmp(only, stem) != 0) || in_set(set, stem)) continue;
        for (size_t i = 0; i < lm_case_count((lm_kernel_id)id); i++) {
            if (!(lm_case_flags((lm_kernel_id)id, i) & LM_CASE_LARGE)) continue;
            lm_case *c = NULL;
            const lm_status status = lm_case_create(session->device, (lm_kernel_id)id, i, SEED, &c);
            if (status != LM_OK) {
                bench_report_error(session, "kernels", stem, "", status);
                continue;
            }
            char shape[sizeof c->name];
            snprintf(shape, sizeof shape, "%s", c->name + strlen(stem) + 1);
            bench_case(session, stem, shape, c);
        }
    }
}

void bench_kernels(bench_session *session)
{
    const bench_options *o = session->options;
    if (o->shape != NULL) {
        bench_shape(session, o->kernel != NULL ? o->kernel : "scan", o->shape);
        return;
    }
    for (size_t i = 0; i < sizeof kernel_rows / sizeof *kernel_rows; i++) {
        const kernel_row *row = &kernel_rows[i];
        if (strcmp(row->set, o->set) == 0 && (o->kernel == NULL || strcmp(o->kernel, row->kernel) == 0))
            bench_shape(session, row->kernel, row->shape);
    }
    if (strcmp(o->set, "large") == 0 || strcmp(o->set, "quick") == 0) bench_large(session, o->set, o->kernel);
}
