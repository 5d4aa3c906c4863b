/* host/verify.c: lm_verify: the quick rows of every kernel, then every block variant, against float64. */
#include "host/reference_model.h"
#include "host/tune.h"
#include "kernels/check.h"
#include "runtime/context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The same inputs on every machine. */
enum { SEED = 20260 };

typedef struct block_row {
    lm_config config;
    uint32_t batch, length;
} block_row;

/* Small, and odd wherever a block may be: sizes that no tile divides, a receptive field longer than the input, one branch,
 * one tap, one state, many states, a rank of one, an expansion that is not whole. */
static const block_row block_rows[] = {
    {{.variant = LM_VARIANT_BASELINE, .d_model = 32}, 2, 33},
    {{.variant = LM_VARIANT_BASELINE, .d_model = 19, .d_state = 1, .d_conv = 1, .expand = 1.5, .dt_rank = 1, .bias = true},
     1, 7},
    {{.variant = LM_VARIANT_PTCN, .d_model = 64, .d_conv = 3, .branches = 4, .dilations = {1, 2, 4, 8}}, 2, 100},
    {{.variant = LM_VARIANT_PTCN, .d_model = 21, .d_state = 64, .d_conv = 2, .branches = 3, .dilations = {1, 5, 40},
      .bias = true},
     3, 17},
    {{.variant = LM_VARIANT_STCN, .d_model = 48, .d_conv = 3, .branches = 3, .dilations = {1, 2, 4}}, 2, 65},
    {{.variant = LM_VARIANT_STCN, .d_model = 17, .d_state = 5, .d_conv = 4, .branches = 2, .dilations = {3, 1},
      .no_conv_bias = true},
     1, 200},
    {{.variant = LM_VARIANT_DPWC, .d_model = 40, .d_conv = 3, .branches = 4, .dilations = {1, 2, 4, 8}}, 2, 50},
    {{.variant = LM_VARIANT_DPWC, .d_model = 23, .d_state = 17, .d_conv = 2, .branches = 1, .dilations = {7},
      .expand = 1.3},
     1, 31},
};
enum { BLOCK_ROWS = sizeof block_rows / sizeof *block_rows };

/* A block is four products, a convolution and a scan, each within about 1e-6 of its largest result. */
static const double BLOCK_TOLERANCE = 2e-6;

typedef struct verification {
    lm_device *device;
    lm_verify_callback callback;
    void *user;
    uint32_t done, total, failures;
} verification;

static void report(verification *v, const char *name, bool passed, double error, double tolerance)
{
    v->done++;
    v->failures += !passed;
    const lm_verify_result result = {name, passed, error, tolerance, v->done, v->total};
    if (v->callback)
        v->callback(v->user, &result);
}

/* ---- kernels ---------------------------------------------------------------------------------------------------- */

static lm_status verify_kernel(verification *v, lm_kernel_id kernel, size_t index)
{
    lm_case *c = NULL;
    lm_status status = lm_case_create(v->device, kernel, index, SEED, &c);
    if (status != LM_OK)
        return status;
    lm_check_result result;
    status = lm_check_case(v->device, c, &result);
    if (status == LM_OK) {
        report(v, c->name, result.passed, result.error, result.tolerance);
        if (!result.passed)
            lm_log(v->device->context, LM_LOG_WARNING, "%s: %s: %s", v->device->info.id, c->name, result.text);
    }
    lm_case_destroy(&c);
    return status;
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

typedef struct block_run {
    uint32_t batch, length, d_model;
    float *x, *y;          /* (batch, length, d_model) */
    double *wide_x, *expected;
} block_run;

static double random_unit(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) * 0x1p-52 - 1;
}

static bool make_run(const block_row *row, block_run *run)
{
    const size_t count = (size_t)row->batch * row->length * row->config.d_model;
    *run = (block_run){
        .batch = row->batch,
        .length = row->length,
        .d_model = row->config.d_model,
        .x = malloc(count * sizeof(float)),
        .y = malloc(count * sizeof(float)),
        .wide_x = malloc(count * sizeof(double)),
        .expected = malloc(count * sizeof(double)),
    };
    if (!run->x || !run->y || !run->wide_x || !run->expected)
        return false;
    uint64_t state = SEED;
    for (size_t i = 0; i < count; i++) {
        run->x[i] = (float)random_unit(&state);
        run->wide_x[i] = run->x[i];
    }
    return true;
}

static void free_run(block_run *run)
{
    free(run->x);
    free(run->y);
    free(run->wide_x);
    free(run->expected);
}

/* max|y − expected| / max|expected|; NaN where a result is not a number. */
static double run_error(const block_run *run)
{
    const size_t count = (size_t)run->batch * run->length * run->d_model;
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)run->y[i] - run->expected[i]);
        largest = fmax(largest, fabs(run->expected[i]));
        if (!(error <= worst))
            worst = error;
        if (isnan(error))
            break;
    }
    return worst / largest;
}

static lm_status run_reference(const lm_config *config, const lm_tensor_set *set, const block_run *run)
{
    lm_reference_model *reference = NULL;
    lm_status status = lm_reference_model_create(config, set, &reference);
    const size_t stride = (size_t)run->length * run->d_model;
    for (uint32_t b = 0; b < run->batch && status == LM_OK; b++)
        status = lm_reference_model_forward(reference, run->length, run->wide_x + b * stride, run->expected + b * stride);
    lm_reference_model_destroy(&reference);
    return status;
}

/* Token by token, the batch's sequences side by side. */
static lm_status run_steps(lm_model *model, const block_run *run)
{
    const size_t dm = run->d_model, stride = (size_t)run->length * dm;
    float *token = malloc(run->batch * dm * sizeof *token);
    if (!token)
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_verify: out of memory");
    lm_state *state = NULL;
    lm_status status = lm_state_create(model, run->batch, &state);
    for (uint32_t t = 0; t < run->length && status == LM_OK; t++) {
        for (uint32_t b = 0; b < run->batch; b++)
            for (size_t i = 0; i < dm; i++)
                token[b * dm + i] = run->x[b * stride + t * dm + i];
        status = lm_block_forward(model, state, run->batch, 1, token, token);
        for (uint32_t b = 0; b < run->batch; b++)
            for (size_t i = 0; i < dm; i++)
                run->y[b * stride + t * dm + i] = token[b * dm + i];
    }
    lm_state_destroy(&state);
    free(token);
    return status;
}

static lm_status verify_block(verification *v, const block_row *row)
{
    lm_config config = row->config;
    lm_status status = lm_config_complete(&config);
    if (status != LM_OK)
        return status;
    const lm_init_params init = {.seed = SEED};
    lm_tensor_set set = {0};
    lm_model *model = NULL;
    block_run run = {0};
    if (!make_run(row, &run))
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "lm_verify: out of memory");
    if (status == LM_OK)
        status = lm_init_tensors(&config, &init, &set);
    if (status == LM_OK)
        status = run_reference(&config, &set, &run);
    if (status == LM_OK)
        status = lm_model_create(v->device, &config, &set, NULL, &model);
    for (int steps = 0; steps < 2 && status == LM_OK; steps++) {
        status = steps ? run_steps(model, &run) : lm_block_forward(model, NULL, run.batch, run.length, run.x, run.y);
        if (status != LM_OK)
            break;
        char name[160];
        snprintf(name, sizeof name, "block %s d_model=%u d_state=%u d_conv=%u branches=%u batch=%u length=%u %s",
                 lm_variant_name(config.variant), config.d_model, config.d_state, config.d_conv, config.branches, run.batch,
                 run.length, steps ? "step by step" : "forward");
        const double error = run_error(&run);
        report(v, name, error <= BLOCK_TOLERANCE, error, BLOCK_TOLERANCE);
    }
    lm_model_destroy(&model);
    lm_tensor_set_free(&set);
    free_run(&run);
    return status;
}

lm_status lm_verify(lm_device *device, lm_verify_callback callback, void *user, uint32_t *failures)
{
    LM_REQUIRE(NULL, device != NULL && failures != NULL);
    *failures = 0;
    lm_tune_load(device); /* as models do */
    verification v = {.device = device, .callback = callback, .user = user, .total = 2 * BLOCK_ROWS};
    for (int kernel = 0; kernel < LM_KERNEL_COUNT; kernel++)
        for (size_t i = 0; i < lm_case_count((lm_kernel_id)kernel); i++)
            v.total += (lm_case_flags((lm_kernel_id)kernel, i) & LM_CASE_QUICK) != 0;

    lm_status status = LM_OK;
    for (int kernel = 0; kernel < LM_KERNEL_COUNT && status == LM_OK; kernel++)
        for (size_t i = 0; i < lm_case_count((lm_kernel_id)kernel) && status == LM_OK; i++)
            if (lm_case_flags((lm_kernel_id)kernel, i) & LM_CASE_QUICK)
                status = verify_kernel(&v, (lm_kernel_id)kernel, i);
    for (size_t i = 0; i < BLOCK_ROWS && status == LM_OK; i++)
        status = verify_block(&v, &block_rows[i]);
    *failures = v.failures;
    return status;
}
