/* kernels/check.c: see check.h. */
#include "kernels/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Another NaN than the poison, so that reading a guard spoils results too. */
enum { GUARD = 0x7fc0babe, GUARD_WORDS = 64 };

/* One view of a case with the memory around it, in words: `front` guards, `count` words of content, GUARD_WORDS guards. */
typedef struct slab {
    lm_buffer *buffer;
    size_t front, total;
    uint32_t *before;     /* as uploaded */
    uint32_t *after[2];   /* as the first and the second run left it */
    uint32_t *expected;   /* as the reference left the content */
} slab;

typedef struct check {
    const lm_case *c;
    lm_check_result *result;
    slab slabs[LM_CASE_MAX_BUFFERS];
    lm_view views[LM_CASE_MAX_BUFFERS];
    lm_list *list;
} check;

/* Only the first thing that is wrong is told. */
static void fault(lm_check_result *result, const char *format, ...)
{
    if (!result->passed)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->text, sizeof result->text, format, arguments);
    va_end(arguments);
    result->passed = false;
}

static float float_of(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* ---- comparison ------------------------------------------------------------------------------------------------- */

/* What a result may be off by without any error: drivers flush numbers below 2^-126 to zero, and x / (1 + exp(-x)) reaches 0
 * where exp overflows, at -88.7, though SiLU is still -2.6e-37 there. */
static const double NEGLIGIBLE = 0x1p-121;

static bool same_special(double got, double expected)
{
    return (isnan(got) && isnan(expected)) || (isinf(expected) && got == expected);
}

void lm_check_compare(const lm_case_buffer *buffer, const uint32_t *expected, const uint32_t *got, lm_check_result *result)
{
    double largest = buffer->scale;
    for (size_t i = 0; i < buffer->count && !buffer->integer; i++) {
        const double value = float_of(expected[i]);
        if (isfinite(value))
            largest = fmax(largest, fabs(value));
    }
    double worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < buffer->count; i++) {
        if (expected[i] == LM_CASE_POISON) {
            if (got[i] != LM_CASE_POISON)
                fault(result, "%s[%zu] was written (0x%08x) but is out of range", buffer->name, i, (unsigned)got[i]);
            continue;
        }
        if (got[i] == LM_CASE_POISON) {
            fault(result, "%s[%zu] was not written", buffer->name, i);
            continue;
        }
        if (buffer->integer) {
            if (got[i] != expected[i])
                fault(result, "%s[%zu] is %d instead of %d", buffer->name, i, (int)got[i], (int)expected[i]);
            continue;
        }
        const double value = float_of(got[i]), reference = float_of(expected[i]);
        double error;
        if (!isfinite(value) || !isfinite(reference))
            error = same_special(value, reference) ? 0 : NAN;
        else if (fabs(value - reference) <= NEGLIGIBLE)
            error = 0;
        else
            error = fabs(value - reference) / (buffer->elementwise ? fabs(reference) : largest);
        if (!(error <= worst)) { /* a NaN stays */
            worst = error;
            where = i;
            if (isnan(error))
                break;
        }
    }
    if (!(worst <= buffer->tolerance))
        fault(result, "%s[%zu] is %.9g instead of %.9g", buffer->name, where, (double)float_of(got[where]),
              (double)float_of(expected[where]));
    /* Shown: the output nearest to its tolerance. */
    const double ratio = buffer->tolerance > 0 ? worst / buffer->tolerance : worst;
    const double shown = result->tolerance > 0 ? result->error / result->tolerance : -1;
    if (!isnan(result->error) && !(ratio <= shown)) {
        result->error = worst;
        result->tolerance = buffer->tolerance;
    }
}

/* ---- a run ------------------------------------------------------------------------------------------------------ */

static lm_status no_memory(void)
{
    return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "kernel check: out of memory");
}

static lm_status make_slab(lm_device *device, const lm_case_buffer *content, slab *s, lm_view *view)
{
    const size_t alignment = device->info.binding_alignment > 4 ? device->info.binding_alignment / 4 : 1;
    s->front = (GUARD_WORDS + alignment - 1) / alignment * alignment;
    s->total = s->front + content->count + GUARD_WORDS;
    if ((uint64_t)content->count * 4 > device->info.max_binding_bytes)
        return lm_fail(NULL, LM_ERROR_UNSUPPORTED, "%s does not fit one binding", content->name);
    s->before = malloc(s->total * sizeof(uint32_t));
    s->after[0] = malloc(s->total * sizeof(uint32_t));
    s->after[1] = malloc(s->total * sizeof(uint32_t));
    s->expected = malloc(content->count * sizeof(uint32_t));
    if (!s->before || !s->after[0] || !s->after[1] || !s->expected)
        return no_memory();
    for (size_t i = 0; i < s->total; i++)
        s->before[i] = GUARD;
    memcpy(s->before + s->front, content->words, content->count * sizeof(uint32_t));
    memcpy(s->expected, content->words, content->count * sizeof(uint32_t));
    *view = (lm_view){.offset = s->front * 4, .size = content->count * 4};
    const lm_buffer_params params = {.size = s->total * 4};
    lm_status status = lm_buffer_create(device, &params, &s->buffer);
    view->buffer = s->buffer;
    return status;
}

static void run_reference(check *k)
{
    uint32_t dummy[64] = {0};
    void *buffers[LM_CASE_MAX_BUFFERS];
    for (size_t i = 0; i < LM_CASE_MAX_BUFFERS; i++) {
        const size_t source = i < k->c->buffer_count && k->c->buffers[i].shared >= 0 ? (size_t)k->c->buffers[i].shared : i;
        buffers[i] = k->slabs[source].expected ? (void *)k->slabs[source].expected : dummy;
    }
    k->c->reference(k->c, buffers);
}

static lm_status run_device(check *k, int run)
{
    lm_status status = LM_OK;
    for (size_t i = 0; i < k->c->buffer_count && status == LM_OK; i++)
        if (k->slabs[i].buffer)
            status = lm_buffer_upload(k->slabs[i].buffer, 0, k->slabs[i].before, k->slabs[i].total * 4);
    if (status == LM_OK)
        status = lm_list_run(k->list);
    for (size_t i = 0; i < k->c->buffer_count && status == LM_OK; i++)
        if (k->slabs[i].buffer)
            status = lm_buffer_download(k->slabs[i].buffer, 0, k->slabs[i].after[run], k->slabs[i].total * 4);
    return status;
}

/* Guards, inputs, run to run. */
static void compare_raw(const check *k, size_t index)
{
    const lm_case_buffer *buffer = &k->c->buffers[index];
    const slab *s = &k->slabs[index];
    for (int run = 0; run < 2; run++) {
        for (size_t i = 0; i < s->total; i++) {
            const bool inside = i >= s->front && i < s->front + buffer->count;
            if (s->after[run][i] == s->before[i] || (inside && buffer->written))
                continue;
            if (inside)
                fault(k->result, "the input %s[%zu] was changed", buffer->name, i - s->front);
            else
                fault(k->result, "%s: word %lld was written, outside its %zu", buffer->name,
                      (long long)i - (long long)s->front, buffer->count);
            break;
        }
    }
    for (size_t i = 0; i < s->total; i++) {
        if (s->after[0][i] != s->after[1][i]) {
            fault(k->result, "%s[%lld] differs from run to run: 0x%08x and 0x%08x", buffer->name,
                  (long long)i - (long long)s->front, (unsigned)s->after[0][i], (unsigned)s->after[1][i]);
            break;
        }
    }
}

lm_status lm_check_case(lm_device *device, const lm_case *c, lm_check_result *result)
{
    check k = {.c = c, .result = result};
    *result = (lm_check_result){.passed = true};
    lm_status status = LM_OK;
    for (size_t i = 0; i < c->buffer_count && status == LM_OK; i++)
        if (c->buffers[i].words)
            status = make_slab(device, &c->buffers[i], &k.slabs[i], &k.views[i]);
    for (size_t i = 0; i < c->buffer_count; i++)
        if (c->buffers[i].shared >= 0)
            k.views[i] = k.views[c->buffers[i].shared];
    if (status == LM_OK)
        status = lm_list_create(device, LM_TIMES_NONE, &k.list);
    if (status == LM_OK)
        status = c->record(c, k.list, k.views);
    if (status == LM_OK)
        status = lm_list_end(k.list);
    for (int run = 0; run < 2 && status == LM_OK; run++)
        status = run_device(&k, run);
    if (status == LM_OK) {
        run_reference(&k);
        /* The comparison first: "wrong in one element" says more than "differs from run to run". */
        for (size_t i = 0; i < c->buffer_count; i++)
            if (k.slabs[i].buffer && c->buffers[i].written)
                lm_check_compare(&c->buffers[i], k.slabs[i].expected, k.slabs[i].after[0] + k.slabs[i].front, result);
        for (size_t i = 0; i < c->buffer_count; i++)
            if (k.slabs[i].buffer)
                compare_raw(&k, i);
    }
    lm_list_destroy(&k.list);
    for (size_t i = 0; i < c->buffer_count; i++) {
        lm_buffer_destroy(&k.slabs[i].buffer);
        free(k.slabs[i].before);
        free(k.slabs[i].after[0]);
        free(k.slabs[i].after[1]);
        free(k.slabs[i].expected);
    }
    return status;
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

/* One output, in all parts. */
static lm_status compare_parts(size_t index, lm_case *const *parts, lm_case_cut cuts[][LM_CASE_MAX_BUFFERS],
                               const lm_view *view, lm_check_result *result)
{
    uint32_t *whole = malloc((size_t)view->size);
    lm_status status = whole ? lm_buffer_download(view->buffer, view->offset, whole, view->size) : no_memory();
    for (size_t i = 0; i < LM_CASE_PARTS && status == LM_OK; i++) {
        const lm_case_buffer *expected = &parts[i]->buffers[index];
        uint32_t *got = malloc(expected->count * sizeof *got);
        if (!got) {
            status = no_memory();
            break;
        }
        lm_case_gather(&cuts[i][index], whole, got);
        lm_check_compare(expected, expected->words, got, result);
        free(got);
    }
    free(whole);
    return status;
}

lm_status lm_check_parts(lm_list *list, const lm_case *c, const lm_view *views, lm_check_result *result)
{
    lm_case *parts[LM_CASE_PARTS] = {NULL};
    lm_case_cut cuts[LM_CASE_PARTS][LM_CASE_MAX_BUFFERS];
    uint32_t dummy[64] = {0};
    *result = (lm_check_result){.passed = true};
    lm_status status = LM_OK;
    for (unsigned i = 0; i < LM_CASE_PARTS && status == LM_OK; i++) {
        status = lm_case_part(c, i, &parts[i], cuts[i]);
        void *buffers[LM_CASE_MAX_BUFFERS];
        for (size_t b = 0; status == LM_OK && b < LM_CASE_MAX_BUFFERS; b++) {
            const size_t source = b < c->buffer_count && c->buffers[b].shared >= 0 ? (size_t)c->buffers[b].shared : b;
            buffers[b] = source < c->buffer_count && parts[i]->buffers[source].words ? (void *)parts[i]->buffers[source].words
                                                                                     : dummy;
        }
        if (status == LM_OK)
            c->reference(parts[i], buffers);
    }
    if (status == LM_OK)
        status = lm_list_run(list);
    for (size_t b = 0; b < c->buffer_count && status == LM_OK; b++)
        if (c->buffers[b].written)
            status = compare_parts(b, parts, cuts, &views[b], result);
    for (unsigned i = 0; i < LM_CASE_PARTS; i++)
        lm_case_destroy(&parts[i]);
    return status;
}
