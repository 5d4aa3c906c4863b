/* bench/main.c: litemamba_bench: its options, and a report for every device.
 *
 *     litemamba_bench [limits|kernels|blocks|models]... [OPTION]...
 *
 * Without a part, all of them. The exit status is 1 when a check failed or a row could not run, 2 for wrong options; what a
 * device cannot do is skipped. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "host/tune.h"

static const char usage[] =
    "usage: litemamba_bench [PART]... [OPTION]...\n\n"
    "Times kernels, blocks and models, each checked before, and finds a device's limits.\n"
    "PART: limits, kernels, blocks, models; without any, all.\n\n"
    "  --device NAME       as `litemamba devices` lists them; without it every device but `reference`\n"
    "  --set NAME          rows: targets (for a large GPU), quick (for two processor cores, of every kernel), tiny (only to\n"
    "                      see that it works), large (the tests' own) [quick]\n"
    "  --kernel NAME       only this kernel; product: gemm or gemv, as the library chooses\n"
    "  --shape SHAPE       this shape of the kernel instead of the set: \"B=8 L=2048 Di=2048 N=16\" for scan,\n"
    "                      \"B=8 L=2048 Di=2048 K=3 m=4\" for conv, \"M=2048 N=80 K=1536\" for products, \"R=64 C=768\"\n"
    "  --d-model N         this block or fresh model instead of the set's, with\n"
    "  --variant V --batch B --length L --branches M --d-conv K --d-state N --layers N\n"
    "  --model DIR         this language model\n"
    "  --deterministic     in deterministic mode\n"
    "  --tuned             with what `litemamba tune` found on this device\n"
    "  --seconds S         to sample each row for [0.3]\n"
    "  --no-check          do not check before timing\n"
    "  --profile           after a row of blocks or models, what each kind of dispatch takes within it: its work-groups, how\n"
    "                      many there are, microseconds in all (of OpenCL: and between the dispatch before and it), and share\n"
    "  --json              JSON instead of text\n";

enum { PART_KERNELS = 1, PART_BLOCKS = 2, PART_MODELS = 4, PART_LIMITS = 8, PART_ALL = 15 };

static unsigned part_of(const char *name)
{
    return strcmp(name, "kernels") == 0 ? PART_KERNELS : strcmp(name, "blocks") == 0 ? PART_BLOCKS
         : strcmp(name, "models") == 0 ? PART_MODELS : strcmp(name, "limits") == 0 ? PART_LIMITS : 0;
}

static bool set_variant(const char *name, lm_config *config)
{
    for (int v = LM_VARIANT_BASELINE; v <= LM_VARIANT_DPWC; v++) {
        if (strcmp(name, lm_variant_name((lm_variant)v)) != 0) continue;
        config->variant = (lm_variant)v;
        return true;
    }
    return false;
}

static uint32_t number(const char *text) { return (uint32_t)strtoul(text, NULL, 10); }

static bool parse(int argc, char **argv, bench_options *o, unsigned *parts)
{
    static const struct option longs[] = {
        {"device", required_argument, NULL, 'd'},   {"set", required_argument, NULL, 'S'},
        {"kernel", required_argument, NULL, 'k'},   {"shape", required_argument, NULL, 'p'},
        {"variant", required_argument, NULL, 'v'},  {"batch", required_argument, NULL, 'b'},
        {"length", required_argument, NULL, 'l'},   {"d-model", required_argument, NULL, 'm'},
        {"branches", required_argument, NULL, 'r'}, {"d-conv", required_argument, NULL, 'c'},
        {"d-state", required_argument, NULL, 'n'},  {"layers", required_argument, NULL, 'y'},
        {"model", required_argument, NULL, 'M'},    {"seconds", required_argument, NULL, 's'},
        {"deterministic", no_argument, NULL, 'x'},  {"no-check", no_argument, NULL, 'u'},
        {"json", no_argument, NULL, 'j'},           {"tuned", no_argument, NULL, 't'},
        {"profile", no_argument, NULL, 'o'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) switch (c) {
        case 'd': o->device = optarg; break;
        case 'S': o->set = optarg; break;
        case 'k': o->kernel = optarg; break;
        case 'p': o->shape = optarg; break;
        case 'v':
            if (!set_variant(optarg, &o->config)) return false;
            break;
        case 'b': o->batch = number(optarg); break;
        case 'l': o->length = number(optarg); break;
        case 'm': o->config.d_model = number(optarg); break;
        case 'r': o->config.branches = number(optarg); break;
        case 'c': o->config.d_conv = number(optarg); break;
        case 'n': o->config.d_state = number(optarg); break;
        case 'y': o->config.layers = number(optarg); break;
        case 'M': o->model = optarg; break;
        case 's': o->seconds = strtod(optarg, NULL); break;
        case 'x': o->deterministic = true; break;
        case 'u': o->no_check = true; break;
        case 'j': o->json = true; break;
        case 'o': o->profile = true; break;
        case 't': o->tuned = true; break;
        default: return false;
        }
    for (int i = optind; i < argc; i++) {
        const unsigned part = part_of(argv[i]);
        if (part == 0) return false;
        *parts |= part;
    }
    if (*parts == 0) *parts = PART_ALL;
    if (o->config.variant == LM_VARIANT_BASELINE) o->config.branches = 1;
    for (uint32_t i = 0; i < o->config.branches && i < LM_MAX_BRANCHES; i++) o->config.dilations[i] = 1u << i % 16;
    static const char *const sets[] = {"targets", "quick", "large", "tiny"};
    bool known = false;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) known = known || strcmp(o->set, sets[i]) == 0;
    return known && o->batch > 0 && o->length > 0 && (o->config.layers == 0 || o->config.d_model != 0);
}

/* Returns the device's report as JSON, or NULL. */
static json_t *bench_device(lm_context *context, const char *name, const bench_options *o, unsigned parts, bool *failed)
{
    bench_session session = {.options = o, .context = context, .rows = json_array()};
    json_t *report = NULL;
    if (lm_device_open(context, name, NULL, &session.device) != LM_OK) {
        fprintf(stderr, "litemamba_bench: %s\n", lm_last_error());
        session.failed = true;
    } else {
        const lm_device_info *info = &session.device->info;
        if (!o->json) printf("%s: %s, %s\n", info->id, info->name, info->driver);
        if (o->tuned) lm_tune_load(session.device);
        else session.device->tuned = true; /* no model loads it either */
        bench_load_create(&session);
        if (parts & PART_LIMITS) bench_limits_measure(&session);
        if (parts & PART_KERNELS) bench_kernels(&session);
        if (parts & PART_BLOCKS) bench_blocks(&session);
        if (parts & PART_MODELS) bench_models(&session);
        const bench_limits *l = &session.limits;
        json_t *limits = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "copy_bytes_per_second", l->copy, "flops", l->fma,
                                   "exp2_per_second", l->exp2, "empty_dispatch_seconds", l->dispatch,
                                   "dependent_dispatch_seconds", l->gap, "submit_to_done_seconds", l->submit,
                                   "plain_scan_states_per_second", l->plain_scan);
        report = json_pack("{s:s,s:s,s:s,s:o,s:O}", "id", info->id, "name", info->name, "driver", info->driver, "limits",
                           limits, "rows", session.rows);
    }
    *failed = *failed || session.failed;
    bench_load_free(&session);
    lm_device_destroy(&session.device);
    json_decref(session.rows);
    return report;
}

int main(int argc, char **argv)
{
    bench_options o = {.set = "quick", .seconds = 0.3, .batch = 1, .length = 128,
                       .config = {.variant = LM_VARIANT_PTCN, .d_conv = 3, .branches = 4}};
    unsigned parts = 0;
    if (!parse(argc, argv, &o, &parts)) {
        fputs(usage, stderr);
        return 2;
    }
    lm_context *context = NULL;
    if (lm_context_create(NULL, &context) != LM_OK) {
        fprintf(stderr, "litemamba_bench: %s\n", lm_last_error());
        return 1;
    }
    bool failed = false;
    json_t *devices = json_array();
    if (o.device != NULL) {
        json_array_append_new(devices, bench_device(context, o.device, &o, parts, &failed));
    } else {
        for (size_t i = 0; i < lm_context_device_count(context); i++) {
            const lm_device_info *info = lm_context_device_info(context, i);
            if (info->type != LM_DEVICE_REFERENCE)
                json_array_append_new(devices, bench_device(context, info->id, &o, parts, &failed));
        }
    }
    if (o.json) {
        json_t *report = json_pack("{s:O}", "devices", devices);
        json_dumpf(report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(report);
    }
    json_decref(devices);
    lm_context_destroy(&context);
    return failed ? 1 : 0;
}
