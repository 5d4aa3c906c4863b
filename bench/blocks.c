/* bench/blocks.c: times whole blocks: forward over (batch, length, d_model) and the streaming step.
 *
 * Host time is a whole call, with input and output copied; device time is between the device's own timestamps, of another model
 * that takes them, since taking them costs a little. Before, the first tokens of the last sequence are compared with the float64
 * reference: what comes out for them does not depend on those that follow. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "host/config.h"
#include "host/reference_model.h"

typedef struct block_row {
    const char *set;
    uint32_t batch, length, d_model; /* length 0: the step */
} block_row;

static const block_row block_rows[] = {
    {"targets", 2, 128, 512}, {"targets", 1, 1024, 768}, {"targets", 8, 2048, 1024}, {"targets", 1, 0, 1024},
    {"quick", 2, 128, 512},   {"quick", 1, 1024, 768},  {"quick", 1, 0, 512},   {"tiny", 1, 16, 32},     {"tiny", 1, 0, 32},
};

enum { CHECKED_TOKENS = 64 };

/* That of the goldens and of lm_verify, whose blocks are of up to 512; roundings of larger sums grow with their number's root. */
static double tolerance_of(const lm_config *config) { return 2e-6 * sqrt(fmax(1, config->d_model / 512.0)); }

typedef struct block_bench {
    lm_model *model;
    lm_state *state;
    uint32_t batch, length;
    float *x, *y;
} block_bench;

static lm_status run(void *user, double *device)
{
    const block_bench *b = user;
    const lm_status status = lm_block_forward(b->model, b->state, b->batch, b->length, b->x, b->y);
    *device = lm_model_device_seconds(b->model);
    return status;
}

/* Tokens of one sequence that are compared: a few hundred million multiply-adds, by the reference. */
static uint32_t checked_tokens(const lm_tensor_set *set, uint32_t length)
{
    double weights = 0;
    for (size_t i = 0; i < lm_tensor_set_count(set); i++) weights += (double)lm_tensor_set_at(set, i)->count;
    const double most = fmax(4, fmin(CHECKED_TOKENS, 2e8 / weights));
    return length < most ? length : (uint32_t)most;
}

/* Leaves in b->y what the model makes of b->x. Steps: of `tokens` tokens, each of which has a row for every sequence. */
static lm_status run_checked(block_bench *b, uint32_t tokens)
{
    const size_t d_model = lm_model_get_config(b->model)->d_model;
    lm_status status = LM_OK;
    if (b->state == NULL) return lm_block_forward(b->model, NULL, b->batch, b->length, b->x, b->y);
    for (size_t row = 0; row < (size_t)tokens * b->batch && status == LM_OK; row += b->batch)
        status = lm_block_forward(b->model, b->state, b->batch, 1, b->x + row * d_model, b->y + row * d_model);
    return status == LM_OK ? lm_state_reset(b->state) : status;
}

static lm_status check(block_bench *b, const lm_config *config, const lm_tensor_set *set, bench_row *row, char *text, size_t size)
{
    const bool step = b->state != NULL;
    const uint32_t tokens = checked_tokens(set, step ? CHECKED_TOKENS : b->length);
    const size_t d_model = config->d_model, count = tokens * d_model;
    /* Where the last sequence's tokens lie. */
    const size_t first = (b->batch - 1) * (step ? 1 : b->length) * d_model, stride = (step ? b->batch : 1) * d_model;
    double *x = malloc(count * sizeof *x), *expected = malloc(count * sizeof *expected);
    float *got = malloc(count * sizeof *got);
    lm_reference_model *reference = NULL;
    lm_status status = x != NULL && expected != NULL && got != NULL
                           ? LM_OK : lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    for (size_t i = 0; status == LM_OK && i < count; i++) x[i] = b->x[first + i / d_model * stride + i % d_model];
    if (status == LM_OK) status = run_checked(b, tokens);
    if (status == LM_OK) status = lm_reference_model_create(config, set, &reference);
    if (status == LM_OK) status = lm_reference_model_forward(reference, tokens, x, expected);
    if (status == LM_OK) {
        for (size_t i = 0; i < count; i++) got[i] = b->y[first + i / d_model * stride + i % d_model];
        const double error = bench_error(got, expected, count);
        row->passed = error <= tolerance_of(config);
        snprintf(text, size, "%u tokens checked, error %.1e", tokens, error);
        row->check = text;
    }
    lm_reference_model_destroy(&reference);
    free(x);
    free(expected);
    free(got);
    return status;
}

/* One of two models: with timestamps, or without and checked. */
static lm_status measure(bench_session *session, const lm_config *config, const lm_tensor_set *set, bool timed, bool step,
                         block_bench *b, bench_row *row, bench_profile *profile, char *text, size_t size)
{
    const bench_options *o = session->options;
    const lm_model_params params = {.deterministic = o->deterministic, .device_times = timed};
    bench_times ignored;
    lm_status status = lm_model_create(session->device, config, set, &params, &b->model);
    if (status == LM_OK && step) status = lm_state_create(b->model, b->batch, &b->state);
    if (status == LM_OK && !timed && !o->no_check) status = check(b, config, set, row, text, size);
    if (status == LM_OK)
        status = bench_measure(session, run, b, o->seconds, timed ? &ignored : &row->host, timed ? &row->device : &ignored);
    if (status == LM_OK && timed && o->profile) {
        status = bench_profile_measure(session, b->model, run, b, profile);
        row->profile = profile;
    }
    lm_state_destroy(&b->state);
    lm_model_destroy(&b->model);
    return status;
}

/* length 0: steps. */
static void bench_block(bench_session *session, lm_config config, uint32_t batch, uint32_t length)
{
    const bool step = length == 0;
    char name[40], shape[64], checked[80];
    snprintf(name, sizeof name, "%s %s", lm_variant_name(config.variant), step ? "step" : "forward");
    snprintf(shape, sizeof shape, "(%u, %u, %u) K=%u m=%u", batch, step ? 1 : length, config.d_model, config.d_conv,
             config.branches);
    const size_t count = (size_t)batch * (step ? CHECKED_TOKENS : length) * config.d_model;
    block_bench b = {.batch = batch, .length = step ? 1 : length, .x = malloc(count * sizeof(float)),
                     .y = malloc(count * sizeof(float))};
    bench_row row = {.part = "blocks", .name = name, .shape = shape, .passed = true};
    lm_tensor_set set = {0};
    bench_profile profile = {0};
    lm_status status = b.x != NULL && b.y != NULL ? lm_config_complete(&config)
                                                  : lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    lm_case_random random = {1};
    for (size_t i = 0; status == LM_OK && i < count; i++) b.x[i] = lm_case_uniform(&random, -1, 1);
    if (status == LM_OK) status = lm_init_tensors(&config, &(lm_init_params){.seed = 1}, &set);
    if (status == LM_OK) status = measure(session, &config, &set, false, step, &b, &row, &profile, checked, sizeof checked);
    if (status == LM_OK && row.passed)
        status = measure(session, &config, &set, true, step, &b, &row, &profile, checked, sizeof checked);
    if (status == LM_OK) bench_report(session, &row);
    else bench_report_error(session, "blocks", name, shape, status);
    bench_profile_free(&profile);
    lm_tensor_set_free(&set);
    free(b.x);
    free(b.y);
}

void bench_blocks(bench_session *session)
{
    const bench_options *o = session->options;
    if (o->config.d_model != 0) {
        bench_block(session, o->config, o->batch, o->length);
        bench_block(session, o->config, o->batch, 0);
        return;
    }
    for (size_t i = 0; i < sizeof block_rows / sizeof *block_rows; i++) {
        if (strcmp(block_rows[i].set, o->set) != 0) continue;
        lm_config config = o->config;
        config.d_model = block_rows[i].d_model;
        bench_block(session, config, block_rows[i].batch, block_rows[i].length);
    }
}
