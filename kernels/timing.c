/* kernels/timing.c: see timing.h. */
#include "kernels/timing.h"

#include "runtime/clock.h"

lm_status lm_timing_repeat(lm_timing *t, unsigned repetitions, bool timed)
{
    lm_list_destroy(&t->list);
    t->repetitions = repetitions;
    lm_status status = lm_list_create(t->device, timed ? LM_TIMES_WHOLE : LM_TIMES_NONE, &t->list);
    for (unsigned i = 0; i < repetitions && status == LM_OK; i++) status = t->c->record(t->c, t->list, t->views);
    return status == LM_OK ? lm_list_end(t->list) : status;
}

lm_status lm_timing_create(lm_device *device, const lm_case *c, lm_timing *t)
{
    *t = (lm_timing){.device = device, .c = c};
    lm_status status = LM_OK;
    for (size_t i = 0; i < c->buffer_count && status == LM_OK; i++) {
        const lm_case_buffer *from = &c->buffers[i];
        const uint64_t bytes = 4 * (uint64_t)from->count;
        if (from->words == NULL) continue;
        status = lm_buffer_create(device, &(lm_buffer_params){.size = bytes}, &t->buffers[i]);
        if (status == LM_OK) status = lm_buffer_upload(t->buffers[i], 0, from->words, bytes);
        if (status == LM_OK) t->views[i] = lm_view_whole(t->buffers[i]);
    }
    for (size_t i = 0; i < c->buffer_count; i++)
        if (c->buffers[i].shared >= 0) t->views[i] = t->views[c->buffers[i].shared];
    return status == LM_OK ? lm_timing_repeat(t, 1, false) : status;
}

void lm_timing_free(lm_timing *t)
{
    lm_list_destroy(&t->list);
    for (size_t i = 0; i < LM_CASE_MAX_BUFFERS; i++) lm_buffer_destroy(&t->buffers[i]);
}

lm_status lm_timing_check(const lm_timing *t, double most, lm_check_result *result, bool *whole)
{
    *whole = t->c->work <= most || t->c->cut == NULL;
    return *whole ? lm_check_case(t->device, t->c, result) : lm_check_parts(t->list, t->c, t->views, result);
}

lm_status lm_timing_run(const lm_timing *t, double *host, double *device)
{
    const double begin = lm_clock();
    const lm_status status = lm_list_run(t->list);
    *host = (lm_clock() - begin) / t->repetitions;
    *device = 1e-9 * lm_list_time_ns(t->list) / t->repetitions;
    return status;
}
