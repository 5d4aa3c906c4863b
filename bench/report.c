/* bench/report.c: the report, a line a row as it is done; as JSON all rows of a device at its end. */
#include <stdio.h>

#include "bench/bench.h"

static const char *scaled(double seconds, char *text, size_t size)
{
    if (seconds >= 1) snprintf(text, size, "%.3f s", seconds);
    else if (seconds >= 1e-3) snprintf(text, size, "%.3f ms", 1e3 * seconds);
    else snprintf(text, size, "%.2f us", 1e6 * seconds);
    return text;
}

/* Of all that the profile has. */
static double profile_seconds(const bench_profile *profile)
{
    double seconds = 0;
    for (size_t i = 0; i < profile->count; i++) seconds += profile->lines[i].seconds + profile->lines[i].gap;
    return seconds;
}

static void print_profile(const bench_profile *profile)
{
    const double all = profile_seconds(profile);
    for (size_t i = 0; i < profile->count; i++) {
        const bench_profile_line *line = &profile->lines[i];
        const uint32_t *groups = line->command.groups;
        char size[40] = "";
        if (groups[0] > 0) snprintf(size, sizeof size, groups[2] > 1 ? "%u x %u x %u" : "%u x %u", groups[0], groups[1], groups[2]);
        printf("    %-14s %14s groups %5u times %10.2f us", line->command.name, size, line->count, 1e6 * line->seconds);
        if (line->gap > 0) printf(" + %8.2f us before", 1e6 * line->gap);
        printf(" %5.1f %%\n", 100 * (line->seconds + line->gap) / all);
    }
    printf("    %-14s %14s        %5s       %10.2f us\n", "all", "", "", 1e6 * all);
}

static json_t *profile_json(const bench_profile *profile)
{
    const double all = profile_seconds(profile);
    json_t *lines = json_array();
    for (size_t i = 0; i < profile->count; i++) {
        const bench_profile_line *line = &profile->lines[i];
        const uint32_t *groups = line->command.groups;
        json_array_append_new(lines, json_pack("{s:s,s:[I,I,I],s:I,s:f,s:f,s:f}", "kernel", line->command.name, "groups",
                                               (json_int_t)groups[0], (json_int_t)groups[1], (json_int_t)groups[2], "count",
                                               (json_int_t)line->count, "device_seconds", line->seconds, "gap_seconds", line->gap,
                                               "share", (line->seconds + line->gap) / all));
    }
    return lines;
}

static void print_row(const bench_session *session, const bench_row *row)
{
    char a[32], b[32], c[32], d[32];
    const bool has_device = row->device.median > 0;
    printf("%-9s %-14s %-30s device %11s (%s-%s) host %11s", session->device->info.id, row->name, row->shape,
           has_device ? scaled(row->device.median, a, sizeof a) : "-", has_device ? scaled(row->device.low, b, sizeof b) : "",
           has_device ? scaled(row->device.high, c, sizeof c) : "", scaled(row->host.median, d, sizeof d));
    if (row->unit != NULL) printf("  %9.4g %s", row->rate, row->unit);
    if (row->limit != NULL) printf("  %4.0f %% of %-4s", 100 * row->share, row->limit);
    if (row->check != NULL) printf("  %s%s", row->passed ? "" : "FAILED: ", row->check);
    printf("\n");
    if (row->profile != NULL) print_profile(row->profile);
    fflush(stdout);
}

static json_t *times_json(const bench_times *times)
{
    return json_pack("{s:f,s:f,s:f,s:f,s:I}", "median", times->median, "lower_quartile", times->low, "upper_quartile",
                     times->high, "best", times->best, "runs", (json_int_t)times->runs);
}

void bench_report(bench_session *session, const bench_row *row)
{
    if (!row->passed) session->failed = true;
    if (!session->options->json) {
        print_row(session, row);
        return;
    }
    json_t *j = json_pack("{s:s,s:s,s:s,s:o,s:b}", "part", row->part, "name", row->name, "shape", row->shape, "host_seconds",
                          times_json(&row->host), "passed", row->passed);
    if (row->device.median > 0) json_object_set_new(j, "device_seconds", times_json(&row->device));
    if (row->unit != NULL) {
        json_object_set_new(j, "rate", json_real(row->rate));
        json_object_set_new(j, "unit", json_string(row->unit));
    }
    if (row->bytes > 0) json_object_set_new(j, "bytes", json_real(row->bytes));
    if (row->flops > 0) json_object_set_new(j, "flops", json_real(row->flops));
    if (row->limit != NULL) {
        json_object_set_new(j, "share", json_real(row->share));
        json_object_set_new(j, "limit", json_string(row->limit));
    }
    if (row->check != NULL) json_object_set_new(j, "check", json_string(row->check));
    if (row->profile != NULL) json_object_set_new(j, "profile", profile_json(row->profile));
    json_array_append_new(session->rows, j);
}

void bench_report_limits(bench_session *session)
{
    const bench_limits *l = &session->limits;
    if (session->options->json) return; /* a member of the device's report */
    char a[32], b[32], c[32];
    printf("%-9s limits: copy %.4g GB/s, fma %.4g TFLOP/s, exp2 %.4g G/s, empty dispatch %s, dependent dispatch %s, submit to "
           "done %s\n", session->device->info.id, 1e-9 * l->copy, 1e-12 * l->fma, 1e-9 * l->exp2,
           scaled(l->dispatch, a, sizeof a), scaled(l->gap, b, sizeof b), scaled(l->submit, c, sizeof c));
    if (l->plain_scan > 0)
        printf("%-9s a scan as a plain C loop with libm, on one core: %.3g G state/s\n", session->device->info.id, 1e-9 * l->plain_scan);
    fflush(stdout);
}

void bench_report_error(bench_session *session, const char *part, const char *name, const char *shape, lm_status status)
{
    /* What a device cannot do, or has no memory for, is no failure of the bench. */
    const bool skipped = status == LM_ERROR_UNSUPPORTED || status == LM_ERROR_OUT_OF_DEVICE_MEMORY;
    if (!skipped) session->failed = true;
    if (!session->options->json) {
        printf("%-9s %-14s %-30s %s: %s\n", session->device->info.id, name, shape, skipped ? "skipped" : "FAILED",
               lm_last_error());
        fflush(stdout);
        return;
    }
    json_array_append_new(session->rows, json_pack("{s:s,s:s,s:s,s:s,s:b}", "part", part, "name", name, "shape", shape,
                                                   skipped ? "skipped" : "error", lm_last_error(), "passed", skipped));
}
