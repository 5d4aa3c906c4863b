/* bench/bench.h: what the parts of litemamba_bench share. main.c tells how it is used.
 *
 * measure.c  clocks, warming, quartiles     report.c  text and JSON         kernels.c  single kernels
 * blocks.c   forwards and steps of blocks   models.c  language models       work.c     bytes and operations of a case
 * limits.c   what a device can do at most   probes.c  kernels that find it out native.c  the same for `cpu`
 * profile.c  each dispatch within a call
 */
#ifndef LM_BENCH_H
#define LM_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "host/model.h"
#include "kernels/cases.h"

typedef struct bench_options {
    const char *device;          /* NULL: every device */
    const char *set;             /* named rows: "targets", "quick", "large" */
    const char *kernel, *shape;  /* one row instead: kernel "product" is what the library itself would launch */
    const char *model;           /* a model's folder */
    lm_config config;            /* of blocks and fresh models; d_model 0: the set's rows */
    uint32_t batch, length;
    double seconds;              /* of timing a row */
    bool json, deterministic, tuned, no_check, profile;
} bench_options;

/* Seconds. */
typedef struct bench_times {
    double median, low, high, best; /* low, high: quartiles */
    size_t runs;
} bench_times;

/* What a device can do at most, measured; 0: not known. */
typedef struct bench_limits {
    double copy;                 /* bytes a second, read and written ones both counted */
    double fma;                  /* multiplies and adds a second */
    double exp2;                 /* exponentials a second by the device's own instruction */
    double dispatch;             /* seconds: an empty dispatch among independent ones; … */
    double gap;                  /* … one that waits for the one before */
    double plain_scan;           /* state updates a second of a plain C loop on one core; processors only */
    double submit;               /* … from submitting a list of one until the host knows that it is done */
} bench_limits;

typedef struct bench_session {
    const bench_options *options;
    lm_context *context;
    lm_device *device;
    bench_limits limits;
    lm_list *load;               /* keeps a GPU busy for some milliseconds; NULL: no GPU, or it could not be made */
    lm_buffer *load_out;
    json_t *rows;                /* of this device */
    bool failed;                 /* something did not pass or could not run */
} bench_session;

/* The commands of a call that do the same, summed. */
typedef struct bench_profile_line {
    lm_command command;
    uint32_t count;
    double seconds, gap;         /* medians over the calls: running, and between the command before and it where that is known */
} bench_profile_line;

typedef struct bench_profile {
    bench_profile_line *lines;   /* in the order in which they were first recorded */
    size_t count;
} bench_profile;

/* One line of the report. What is 0 or NULL is left out. */
typedef struct bench_row {
    const char *part, *name, *shape;
    bench_times host, device;
    double rate;
    const char *unit;            /* of the rate */
    double bytes, flops;         /* of one run, counted from the shape */
    double share;                /* of what the lowest of the device's limits would allow */
    const char *limit;           /* which one that is */
    const char *check;           /* how it was checked, or what was wrong */
    bool passed;
    const bench_profile *profile;
} bench_row;

/* ---- measure.c -------------------------------------------------------------------------------------------------- */

/* max|got − expected| / max|expected|; NaN where anything is not a number. */
double bench_error(const float *got, const double *expected, size_t count);

/* Sorts the samples. */
bench_times bench_summary(double *samples, size_t count);

/* One run of what is measured. *device: its device time, or left alone. */
typedef lm_status (*bench_call)(void *user, double *device);

/* Loads the device until its clocks are up, then samples for `seconds`. */
lm_status bench_measure(const bench_session *session, bench_call call, void *user, double seconds, bench_times *host,
                        bench_times *device);

/* ---- profile.c -------------------------------------------------------------------------------------------------- */

/* Times each dispatch of `call`, which runs `model`, with bench_measure(). Free the profile also after a failure. */
lm_status bench_profile_measure(const bench_session *session, lm_model *model, bench_call call, void *user, bench_profile *profile);
void bench_profile_free(bench_profile *profile);

/* ---- report.c --------------------------------------------------------------------------------------------------- */

void bench_report(bench_session *session, const bench_row *row);
void bench_report_limits(bench_session *session);
/* Says that a row could not be run, from lm_last_error(). `skip`: that is no failure. */
void bench_report_error(bench_session *session, const char *part, const char *name, const char *shape, lm_status status);

/* ---- the parts: each runs its rows and reports them -------------------------------------------------------------- */

void bench_kernels(bench_session *session);
void bench_blocks(bench_session *session);
void bench_models(bench_session *session);

/* ---- work.c ----------------------------------------------------------------------------------------------------- */

/* What a case moves and computes at least, once: bytes read and written, multiplies and adds, exponentials; and the rate that
 * is usual for it. */
typedef struct bench_work {
    double bytes, flops, exponentials;
    double amount;               /* what the rate counts, in units of `unit` · second */
    const char *unit;
} bench_work;
bench_work bench_work_of(const lm_case *c);

/* ---- limits.c --------------------------------------------------------------------------------------------------- */

/* Makes what a GPU is loaded with before it is timed, if it is one. */
void bench_load_create(bench_session *session);
void bench_load_free(bench_session *session);
/* Fills session->limits. */
void bench_limits_measure(bench_session *session);
/* Copy and fma of the processor itself, for `cpu`. */
lm_status bench_native_limits(bench_session *session);
/* The least time that the limits leave for this work, and the name of the limit; 0 and NULL where none is known. */
double bench_limits_time(const bench_limits *limits, const bench_work *work, const char **name);

#endif
