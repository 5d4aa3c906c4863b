/* bench/blocks.c: times whole blocks: forward over (batch, length, d_model) and the streaming step.
 *
 * Host time is a whole call, with input and output copied; device time is between the device's own timestamps, of another model
 * that takes them, since taking them costs a little. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "host/config.h"

typedef struct block_row {
    const char *set;
    uint32_t batch, length, d_model; /* length 0: the step */
} block_row;

static const block_row block_rows[] = {
    {"targets", 2, 128, 512}, {"targets", 1, 1024, 768}, {"targets", 8, 2048, 1024}, {"targets", 1, 0, 1024},
    {"quick", 2, 128, 512},   {"quick", 1, 0, 512},
};

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

/* length 0: steps. */
static lm_status measure(bench_session *session, const lm_config *config, const lm_tensor_set *set, bool timed, bool step,
                         block_bench *b, bench_times *host, bench_times *device)
{
    const lm_model_params params = {.deterministic = session->options->deterministic, .device_times = timed};
    lm_status status = lm_model_create(session->device, config, set, &params, &b->model);
    if (status == LM_OK && step) status = lm_state_create(b->model, b->batch, &b->state);
    if (status == LM_OK) status = bench_measure(session, run, b, session->options->seconds, host, device);
    lm_state_destroy(&b->state);
    lm_model_destroy(&b->model);
    return status;
}

static void bench_block(bench_session *session, lm_config config, uint32_t batch, uint32_t length)
{
    const bool step = length == 0;
    char name[40], shape[64];
    snprintf(name, sizeof name, "%s %s", lm_variant_name(config.variant), step ? "step" : "forward");
    snprintf(shape, sizeof shape, "(%u, %u, %u) K=%u m=%u", batch, step ? 1 : length, config.d_model, config.d_conv,
             config.branches);
    const size_t count = (size_t)batch * (step ? 1 : length) * config.d_model;
    block_bench b = {.batch = batch, .length = step ? 1 : length, .x = malloc(count * sizeof(float)),
                     .y = malloc(count * sizeof(float))};
    bench_row row = {.part = "blocks", .name = name, .shape = shape, .passed = true};
    lm_tensor_set set = {0};
    lm_status status = b.x != NULL && b.y != NULL ? lm_config_complete(&config)
                                                  : lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "bench: out of memory");
    for (size_t i = 0; status == LM_OK && i < count; i++) b.x[i] = (float)sin(0.7 * (double)i);
    bench_times ignored;
    if (status == LM_OK) status = lm_init_tensors(&config, &(lm_init_params){.seed = 1}, &set);
    if (status == LM_OK) status = measure(session, &config, &set, false, step, &b, &row.host, &ignored);
    if (status == LM_OK) status = measure(session, &config, &set, true, step, &b, &ignored, &row.device);
    if (status == LM_OK) bench_report(session, &row);
    else bench_report_error(session, "blocks", name, shape, status);
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
