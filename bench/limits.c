/* bench/limits.c: what a device can do at most: copy, multiply-add, exp2, and how long it takes to do nothing.
 *
 * Measured with kernels of the bench's own (bench/probes), in the run that the other figures come from, so that they are
 * relative to the same clocks and the same neighbours. */
#include <stdio.h>

#include "bench/bench.h"
#include "bench/probes.h"
#include "kernels/launch_internal.h"
#include "runtime/clock.h"

enum { EMPTY = 64 /* dispatches */, EMPTY_BYTES = 1024 /* each one's own */ };

typedef struct probe {
    bench_session *session;
    lm_list *list;
} probe;

static bool is_native(const bench_session *session) { return lm_class_of(&session->device->info) == CLASS_NATIVE; }

/* Lanes of a work-group, and groups that fill the device a few times over. */
static void shape_of(const lm_device *device, uint32_t *lanes, uint32_t *groups)
{
    const uint32_t units = lm_units_of(&device->info);
    switch (lm_class_of(&device->info)) {
    case CLASS_GPU: *lanes = lm_fit_lanes(&device->info, 256, 1), *groups = 32 * units; break;
    case CLASS_PROCESSOR: *lanes = lm_fit_lanes(&device->info, 16, 1), *groups = 8 * units; break;
    default: *lanes = 1, *groups = 256 * units; break; /* PoCL gives groups to threads by the dozen */
    }
}

static lm_status run(void *user, double *device)
{
    const probe *p = user;
    const lm_status status = lm_list_run(p->list);
    *device = 1e-9 * lm_list_time_ns(p->list);
    return status;
}

/* A limit is what the device reaches at its best. */
static double seconds_of(const bench_times *host, const bench_times *device)
{
    return device->best > 0 ? device->best : host->best;
}

static lm_status measure(probe *p, bench_times *host, bench_times *device)
{
    lm_status status = lm_list_end(p->list);
    if (status == LM_OK) status = bench_measure(p->session, run, p, 0.5 * p->session->options->seconds, host, device);
    lm_list_destroy(&p->list);
    return status;
}

/* ---- copy ------------------------------------------------------------------------------------------------------- */

static lm_status measure_copy(bench_session *session)
{
    lm_device *device = session->device;
    uint32_t lanes, groups;
    shape_of(device, &lanes, &groups);
    const uint32_t share = lanes * LM_PROBE_VECTORS * (device->info.lanes > 1 ? 16 : 4);
    /* Larger than any cache. */
    const lm_device_info *info = &device->info;
    uint64_t bytes = lm_class_of(info) == CLASS_GPU ? UINT64_C(1) << 30 : UINT64_C(64) << 20;
    while (bytes > info->max_binding_bytes || bytes > info->max_allocation_bytes || bytes > info->memory_bytes / 4) bytes /= 2;
    const uint32_t tiles = (uint32_t)(bytes / 4 / share);
    const lm_probe_params params = {.count = (int)(tiles * share)};
    const int32_t spec[LM_MAX_SPEC] = {(int32_t)lanes, 1, (int32_t)device->info.lanes};
    const uint32_t grid[3] = {lm_min_u32(tiles, device->info.max_groups[0]), 1, 1};
    probe p = {.session = session};
    lm_buffer *from = NULL, *to = NULL;
    bench_times host, times;
    lm_status status = lm_buffer_create(device, &(lm_buffer_params){.size = bytes}, &from);
    if (status == LM_OK) status = lm_buffer_create(device, &(lm_buffer_params){.size = bytes}, &to);
    if (status == LM_OK) status = lm_list_create(device, LM_TIMES_WHOLE, &p.list);
    if (status == LM_OK) status = lm_list_fill(p.list, lm_view_whole(from), 0);
    if (status == LM_OK) status = lm_list_end(p.list);
    if (status == LM_OK) status = lm_list_run(p.list);
    lm_list_destroy(&p.list);
    if (status == LM_OK) status = lm_list_create(device, LM_TIMES_WHOLE, &p.list);
    const lm_view views[] = {lm_view_whole(from), lm_view_whole(to)};
    if (status == LM_OK) status = lm_list_dispatch(p.list, (lm_kernel_id)PROBE_COPY, spec, &params, sizeof params, views, 2, grid);
    if (status == LM_OK) status = measure(&p, &host, &times);
    if (status == LM_OK) session->limits.copy = 8.0 * params.count / seconds_of(&host, &times);
    lm_list_destroy(&p.list);
    lm_buffer_destroy(&from);
    lm_buffer_destroy(&to);
    return status;
}

/* ---- arithmetic ------------------------------------------------------------------------------------------------- */

/* Operations a second of a probe whose lanes each do `chains` of them a round. */
static lm_status measure_chains(bench_session *session, int kernel, double *rate)
{
    lm_device *device = session->device;
    uint32_t lanes, groups;
    shape_of(device, &lanes, &groups);
    const double chains = device->info.lanes > 1 ? LM_PROBE_CHAINS_WIDE : LM_PROBE_CHAINS;
    const int32_t spec[LM_MAX_SPEC] = {(int32_t)lanes, 1, (int32_t)device->info.lanes};
    const uint32_t grid[3] = {lm_min_u32(groups, device->info.max_groups[0]), 1, 1};
    const uint64_t floats = (uint64_t)lanes * grid[0];
    lm_probe_params params = {.rounds = 256, .m = 0.5f, .n = 0.25f};
    probe p = {.session = session};
    lm_buffer *out = NULL;
    lm_status status = lm_buffer_create(device, &(lm_buffer_params){.size = 4 * floats}, &out);
    /* Longer until a run takes 4 ms; drivers end loops after 65,535 rounds. */
    for (bool enough = false; !enough && status == LM_OK; params.rounds *= 4) {
        bench_times host, times;
        const lm_view view = lm_view_whole(out);
        status = lm_list_create(device, LM_TIMES_WHOLE, &p.list);
        if (status == LM_OK) status = lm_list_dispatch(p.list, (lm_kernel_id)kernel, spec, &params, sizeof params, &view, 1, grid);
        if (status == LM_OK) status = lm_list_end(p.list);
        if (status == LM_OK) status = lm_list_run(p.list);
        const double begin = lm_clock();
        if (status == LM_OK) status = lm_list_run(p.list);
        enough = lm_clock() - begin > 4e-3 || params.rounds > 10000;
        if (status == LM_OK && enough) {
            status = bench_measure(session, run, &p, 0.5 * session->options->seconds, &host, &times);
            *rate = chains * params.rounds * (double)floats * device->info.lanes / seconds_of(&host, &times);
        }
        lm_list_destroy(&p.list);
    }
    lm_buffer_destroy(&out);
    return status;
}

/* ---- load ------------------------------------------------------------------------------------------------------- */

void bench_load_create(bench_session *session)
{
    enum { ROUNDS = 16384 }; /* 5 ms on an H200 */
    lm_device *device = session->device;
    if (lm_class_of(&device->info) != CLASS_GPU || device->info.type == LM_DEVICE_CPU) return;
    uint32_t lanes, groups;
    shape_of(device, &lanes, &groups);
    const int32_t spec[LM_MAX_SPEC] = {(int32_t)lanes, 1, (int32_t)device->info.lanes};
    const uint32_t grid[3] = {lm_min_u32(groups, device->info.max_groups[0]), 1, 1};
    const lm_probe_params params = {.rounds = ROUNDS, .m = 0.5f, .n = 0.25f};
    const lm_buffer_params bytes = {.size = 4 * (uint64_t)lanes * grid[0] * device->info.lanes};
    lm_status status = lm_buffer_create(device, &bytes, &session->load_out);
    const lm_view out = lm_view_whole(session->load_out);
    if (status == LM_OK) status = lm_list_create(device, LM_TIMES_NONE, &session->load);
    if (status == LM_OK)
        status = lm_list_dispatch(session->load, (lm_kernel_id)PROBE_FMA, spec, &params, sizeof params, &out, 1, grid);
    if (status == LM_OK) status = lm_list_end(session->load);
    if (status != LM_OK) bench_load_free(session);
}

void bench_load_free(bench_session *session)
{
    lm_list_destroy(&session->load);
    lm_buffer_destroy(&session->load_out);
}

/* ---- doing nothing ---------------------------------------------------------------------------------------------- */

/* Seconds a dispatch. `stride`: bytes between what one and the next touch; 0: each waits for the one before. */
static lm_status measure_touches(bench_session *session, lm_buffer *values, uint64_t stride, double *seconds)
{
    uint32_t lanes, groups;
    shape_of(session->device, &lanes, &groups);
    const int32_t spec[LM_MAX_SPEC] = {(int32_t)lanes, 1, (int32_t)session->device->info.lanes};
    const lm_probe_params params = {.m = 1.0f};
    probe p = {.session = session};
    bench_times host, times;
    lm_status status = lm_list_create(session->device, LM_TIMES_WHOLE, &p.list);
    for (uint64_t i = 0; i < EMPTY && status == LM_OK; i++) {
        const lm_view view = {values, i * stride, EMPTY_BYTES};
        if (is_native(session)) status = lm_list_fill(p.list, view, 0);
        else status = lm_list_dispatch(p.list, (lm_kernel_id)PROBE_TOUCH, spec, &params, sizeof params, &view, 1, (uint32_t[]){1, 1, 1});
    }
    if (status == LM_OK) status = measure(&p, &host, &times);
    if (status == LM_OK) *seconds = seconds_of(&host, &times) / EMPTY;
    lm_list_destroy(&p.list);
    return status;
}

static lm_status measure_submit(bench_session *session, lm_buffer *values)
{
    const lm_view view = {values, 0, EMPTY_BYTES};
    probe p = {.session = session};
    bench_times host, times;
    lm_status status = lm_list_create(session->device, LM_TIMES_NONE, &p.list);
    if (status == LM_OK) status = lm_list_fill(p.list, view, 0);
    if (status == LM_OK) status = measure(&p, &host, &times);
    if (status == LM_OK) session->limits.submit = host.median;
    lm_list_destroy(&p.list);
    return status;
}

void bench_limits_measure(bench_session *session)
{
    bench_limits *l = &session->limits;
    lm_buffer *values = NULL;
    lm_status status;
    if (is_native(session)) {
        status = bench_native_limits(session);
    } else {
        status = measure_copy(session);
        if (status == LM_OK) status = measure_chains(session, PROBE_FMA, &l->fma);
        l->fma *= 2;
        if (status == LM_OK) status = measure_chains(session, PROBE_EXP2, &l->exp2);
    }
    if (status == LM_OK) status = lm_buffer_create(session->device, &(lm_buffer_params){.size = EMPTY * EMPTY_BYTES}, &values);
    if (status == LM_OK) status = measure_touches(session, values, EMPTY_BYTES, &l->dispatch);
    if (status == LM_OK) status = measure_touches(session, values, 0, &l->gap);
    if (status == LM_OK) status = measure_submit(session, values);
    lm_buffer_destroy(&values);
    if (status == LM_OK) bench_report_limits(session);
    else bench_report_error(session, "limits", "limits", "", status);
}

double bench_limits_time(const bench_limits *limits, const bench_work *work, const char **name)
{
    /* An exponential is also eight multiply-adds (kernels/opencl/common.h), where those are faster than the device's own. */
    const double exponentials = limits->exp2 > limits->fma / 16 ? limits->exp2 : limits->fma / 16;
    const struct {
        const char *name;
        double amount, rate;
    } all[] = {{"copy", work->bytes, limits->copy}, {"fma", work->flops, limits->fma}, {"exp2", work->exponentials, exponentials}};
    double most = 0;
    *name = NULL;
    for (int i = 0; i < 3; i++) {
        if (!(all[i].rate > 0) || !(all[i].amount / all[i].rate > most)) continue;
        most = all[i].amount / all[i].rate;
        *name = all[i].name;
    }
    return most;
}
