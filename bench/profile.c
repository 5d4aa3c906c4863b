/* bench/profile.c: device time of each dispatch within whole calls of a model.
 *
 * A call is one or more passes, each a list whose commands are timed (runtime/list.h). Commands that do the same, as those of many
 * layers, are one kind: what they take in a call is summed, and the median over the calls is reported. Where a backend tells when
 * commands began (OpenCL), what lies between the one before and them is the gap; elsewhere it is part of a command's time. */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

typedef struct profile_kind {
    lm_command command;
    uint32_t count;                /* in this call */
    double run, gap;               /* nanoseconds of this call */
    double *runs, *gaps;           /* seconds of the calls so far */
} profile_kind;

typedef struct profile_run {
    bench_call call;
    void *user;
    size_t calls, capacity;
    profile_kind *kinds;
    size_t kind_count;
    lm_command_time *times;
    size_t time_capacity;
    bool untimed, out_of_memory;
} profile_run;

static profile_kind *find_kind(profile_run *p, const lm_command *command)
{
    for (size_t i = 0; i < p->kind_count; i++) {
        const lm_command *known = &p->kinds[i].command;
        if (known->signature == command->signature && strcmp(known->name, command->name) == 0) return &p->kinds[i];
    }
    profile_kind *grown = realloc(p->kinds, (p->kind_count + 1) * sizeof *grown);
    if (grown == NULL) return NULL;
    p->kinds = grown;
    profile_kind *kind = &p->kinds[p->kind_count++];
    *kind = (profile_kind){.command = *command, .runs = calloc(p->capacity + 1, sizeof(double)),
                           .gaps = calloc(p->capacity + 1, sizeof(double))};
    return kind->runs != NULL && kind->gaps != NULL ? kind : NULL;
}

/* Adds a pass to the call. */
static void take(void *user, lm_list *list)
{
    profile_run *p = user;
    if (list->command_count > p->time_capacity) {
        lm_command_time *grown = realloc(p->times, list->command_count * sizeof *grown);
        if (grown == NULL) {
            p->out_of_memory = true;
            return;
        }
        p->times = grown;
        p->time_capacity = list->command_count;
    }
    if (!lm_list_command_times(list, p->times)) {
        p->untimed = true;
        return;
    }
    for (size_t i = 0; i < list->command_count; i++) {
        profile_kind *kind = find_kind(p, &list->commands[i]);
        if (kind == NULL) {
            p->out_of_memory = true;
            return;
        }
        kind->count++;
        kind->run += p->times[i].end - p->times[i].begin;
        kind->gap += p->times[i].begin - (i > 0 ? p->times[i - 1].end : 0);
    }
}

/* Room for one more call. */
static bool grow(profile_run *p)
{
    if (p->calls < p->capacity) return true;
    const size_t capacity = p->capacity == 0 ? 64 : 2 * p->capacity;
    for (size_t i = 0; i < p->kind_count; i++) {
        double **samples[] = {&p->kinds[i].runs, &p->kinds[i].gaps};
        for (int j = 0; j < 2; j++) {
            double *grown = realloc(*samples[j], capacity * sizeof *grown);
            if (grown == NULL) return false;
            *samples[j] = grown;
        }
    }
    p->capacity = capacity;
    return true;
}

static lm_status call_once(void *user, double *device)
{
    profile_run *p = user;
    if (!grow(p)) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    for (size_t i = 0; i < p->kind_count; i++) p->kinds[i].count = 0, p->kinds[i].run = p->kinds[i].gap = 0;
    const lm_status status = p->call(p->user, device);
    if (status != LM_OK) return status;
    if (p->out_of_memory) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    if (p->untimed) return lm_fail(NULL, LM_ERROR_UNSUPPORTED, "no times of commands");
    for (size_t i = 0; i < p->kind_count; i++) {
        p->kinds[i].runs[p->calls] = 1e-9 * p->kinds[i].run;
        p->kinds[i].gaps[p->calls] = 1e-9 * p->kinds[i].gap;
    }
    p->calls++;
    return LM_OK;
}

/* Medians of the last `count` calls; those before only warmed the device. */
static lm_status summarize(profile_run *p, size_t count, bench_profile *profile)
{
    profile->lines = calloc(p->kind_count + 1, sizeof *profile->lines);
    if (profile->lines == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    profile->count = p->kind_count;
    for (size_t i = 0; i < p->kind_count; i++) {
        profile_kind *kind = &p->kinds[i];
        profile->lines[i] = (bench_profile_line){.command = kind->command, .count = kind->count,
                                                 .seconds = bench_summary(kind->runs + p->calls - count, count).median,
                                                 .gap = bench_summary(kind->gaps + p->calls - count, count).median};
    }
    return LM_OK;
}

lm_status bench_profile_measure(const bench_session *session, lm_model *model, bench_call call, void *user, bench_profile *profile)
{
    profile_run p = {.call = call, .user = user};
    bench_times host, device;
    *profile = (bench_profile){0};
    lm_pass_forget(model, NULL); /* those without times */
    model->profile = take;
    model->profile_user = &p;
    lm_status status = bench_measure(session, call_once, &p, session->options->seconds, &host, &device);
    if (status == LM_OK) status = summarize(&p, host.runs, profile);
    model->profile = NULL;
    lm_pass_forget(model, NULL);
    for (size_t i = 0; i < p.kind_count; i++) {
        free(p.kinds[i].runs);
        free(p.kinds[i].gaps);
    }
    free(p.kinds);
    free(p.times);
    return status;
}

void bench_profile_free(bench_profile *profile)
{
    free(profile->lines);
    *profile = (bench_profile){0};
}
