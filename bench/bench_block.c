/* bench/bench_block.c: times whole blocks: forward over (batch, length, d_model) and the streaming step.
 *
 *     litemamba_bench [--device NAME] [--variant V] [--batch B] [--length L] [--d-model D] [--branches M] [--seconds S]
 *                     [--deterministic]
 *
 * Without --device, every device found but the slow reference. The block is ptcn with d_conv 3 and dilations 1 2 4 8 unless told
 * otherwise. Devices are loaded for 0.6 s before each timing, since clocks idle low; medians of at least 5 runs. Host time is a
 * whole call, with input and output copied; device time is between the device's own timestamps. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/config.h"
#include "host/model.h"

typedef struct options {
    const char *device;
    lm_config config;
    uint32_t batch, length, branches;
    double seconds;
    bool deterministic;
} options;

typedef struct figures {
    double host_median, host_best, device_median; /* seconds */
    size_t runs;
} figures;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool fail(const char *what)
{
    fprintf(stderr, "litemamba_bench: %s: %s\n", what, lm_last_error());
    return false;
}

/* Calls until the device has been busy for 0.6 s, then for `seconds`. */
static bool measure(lm_model *model, lm_state *state, uint32_t batch, uint32_t length, const float *x, float *y, double seconds,
                    figures *f)
{
    enum { MOST = 4096, LEAST = 5 };
    static double host[MOST], device[MOST];
    for (double start = now(); now() - start < 0.6;)
        if (lm_block_forward(model, state, batch, length, x, y) != LM_OK) return fail("forward");
    f->runs = 0;
    for (double start = now(); f->runs < MOST && (f->runs < LEAST || now() - start < seconds); f->runs++) {
        const double begin = now();
        if (lm_block_forward(model, state, batch, length, x, y) != LM_OK) return fail("forward");
        host[f->runs] = now() - begin;
        device[f->runs] = lm_model_device_seconds(model);
    }
    qsort(host, f->runs, sizeof *host, compare);
    qsort(device, f->runs, sizeof *device, compare);
    f->host_median = host[f->runs / 2];
    f->host_best = host[0];
    f->device_median = device[f->runs / 2];
    return true;
}

static void print(const char *device, const char *what, const figures *f)
{
    printf("%-12s %-9s host %10.3f ms (best %.3f)", device, what, 1e3 * f->host_median, 1e3 * f->host_best);
    if (f->device_median > 0.0) printf("  device %10.3f ms", 1e3 * f->device_median);
    printf("  %zu runs\n", f->runs);
    fflush(stdout);
}

static bool bench_device(lm_context *context, const char *name, const options *o)
{
    lm_device *device = NULL;
    lm_model *model = NULL, *untimed = NULL;
    lm_state *state = NULL;
    lm_tensor_set set = {0};
    const size_t count = (size_t)o->batch * o->length * o->config.d_model;
    float *x = malloc(count * sizeof *x), *y = malloc(count * sizeof *y);
    bool good = x != NULL && y != NULL;
    for (size_t i = 0; good && i < count; i++) x[i] = (float)sin(0.7 * (double)i);
    if (good && lm_device_open(context, name, NULL, &device) != LM_OK) good = fail(name);
    if (good && lm_init_tensors(&o->config, &(lm_init_params){.seed = 1}, &set) != LM_OK) good = fail("weights");
    if (good && lm_model_create(device, &o->config, &set, &(lm_model_params){.deterministic = o->deterministic, .device_times = true}, &model) != LM_OK) good = fail(name);
    if (good && lm_model_create(device, &o->config, &set, &(lm_model_params){.deterministic = o->deterministic}, &untimed) != LM_OK) good = fail(name);
    if (good && lm_state_create(untimed, o->batch, &state) != LM_OK) good = fail(name);
    figures forward, timed, step;
    good = good && measure(untimed, NULL, o->batch, o->length, x, y, o->seconds, &forward) &&
           measure(model, NULL, o->batch, o->length, x, y, 0.3 * o->seconds, &timed) &&
           measure(untimed, state, o->batch, 1, x, y, 0.5 * o->seconds, &step);
    if (good) {
        forward.device_median = timed.device_median;
        step.device_median = 0.0; /* not measured */
        print(name, "forward", &forward);
        print(name, "step", &step);
    }
    lm_state_destroy(&state);
    lm_model_destroy(&model);
    lm_model_destroy(&untimed);
    lm_tensor_set_free(&set);
    lm_device_destroy(&device);
    free(x);
    free(y);
    return good;
}

static bool parse(int argc, char **argv, options *o)
{
    static const struct option longs[] = {
        {"device", required_argument, NULL, 'd'}, {"variant", required_argument, NULL, 'v'},
        {"batch", required_argument, NULL, 'b'},  {"length", required_argument, NULL, 'l'},
        {"d-model", required_argument, NULL, 'm'}, {"branches", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'}, {"deterministic", no_argument, NULL, 'x'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) switch (c) {
        case 'd': o->device = optarg; break;
        case 'v':
            for (int v = LM_VARIANT_BASELINE; v <= LM_VARIANT_DPWC; v++)
                if (strcmp(optarg, lm_variant_name((lm_variant)v)) == 0) o->config.variant = (lm_variant)v;
            break;
        case 'b': o->batch = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'l': o->length = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'm': o->config.d_model = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'r': o->branches = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 's': o->seconds = strtod(optarg, NULL); break;
        case 'x': o->deterministic = true; break;
        default: return false;
        }
    o->config.branches = o->config.variant == LM_VARIANT_BASELINE ? 1 : o->branches;
    for (uint32_t i = 0; i < o->config.branches && i < LM_MAX_BRANCHES; i++) o->config.dilations[i] = 1u << i % 16;
    if (lm_config_complete(&o->config) != LM_OK) return fail("options");
    return o->batch > 0 && o->length > 0;
}

int main(int argc, char **argv)
{
    options o = {.config = {.variant = LM_VARIANT_PTCN, .d_model = 512, .d_conv = 3}, .batch = 2, .length = 128, .branches = 4,
                 .seconds = 1.0};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: litemamba_bench [--device NAME] [--variant V] [--batch B] [--length L] [--d-model D] [--branches M] "
                        "[--seconds S] [--deterministic]\n");
        return 2;
    }
    lm_context *context = NULL;
    if (lm_context_create(NULL, &context) != LM_OK) return fail("context"), 1;
    printf("%s block (%u, %u, %u), d_conv %u, %u branches\n", lm_variant_name(o.config.variant), o.batch, o.length, o.config.d_model,
           o.config.d_conv, o.config.branches);
    bool good = true;
    if (o.device != NULL) {
        good = bench_device(context, o.device, &o);
    } else {
        for (size_t i = 0; i < lm_context_device_count(context); i++) {
            const lm_device_info *info = lm_context_device_info(context, i);
            if (info->type != LM_DEVICE_REFERENCE) good = bench_device(context, info->id, &o) && good;
        }
    }
    lm_context_destroy(&context);
    return good ? 0 : 1;
}
