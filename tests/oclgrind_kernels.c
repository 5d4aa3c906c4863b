/* tests/oclgrind_kernels.c: every OpenCL kernel at its small rows, as wide lanes, as an emulated device and as a GPU would
 * run it, on the first OpenCL device. Meant to run under Oclgrind (tools/check-oclgrind.sh), which interprets some million
 * multiply-adds a second and looks for out-of-bounds accesses, data races and uninitialised values; results are compared
 * too.
 *
 *     oclgrind_kernels [part of a row's name] */
#include "kernels/check.h"

#include <stdio.h>
#include <string.h>

typedef struct mode {
    const char *name;
    uint32_t lanes;
    lm_device_type type;
} mode;

/* kernels/launch.c maps by these two. */
static const mode modes[] = {
    {"16 floats a lane", 16, LM_DEVICE_CPU},
    {"emulated", 1, LM_DEVICE_CPU},
    {"GPU", 1, LM_DEVICE_DISCRETE},
};

static void print_log(void *user, lm_log_level level, const char *text)
{
    (void)user;
    (void)level;
    fprintf(stderr, "litemamba: %s\n", text);
}

/* Counts rows that ran; false when one failed. */
static bool run_mode(lm_context *context, const mode *m, const char *part, unsigned *ran)
{
    const lm_device_params params = {.disable = m->lanes == 1 ? LM_CAP_WIDE_LANES : 0};
    lm_device *device = NULL;
    if (lm_device_open(context, "opencl", &params, &device) != LM_OK) {
        fprintf(stderr, "%s\n", lm_last_error());
        return false;
    }
    device->info.lanes = m->lanes;
    device->info.type = m->type;
    printf("%s: %s, %s\n", device->info.id, device->info.name, m->name);
    bool good = true;
    for (int kernel = 0; kernel < LM_KERNEL_COUNT && good; kernel++) {
        for (size_t i = 0; i < lm_case_count((lm_kernel_id)kernel) && good; i++) {
            if (!(lm_case_flags((lm_kernel_id)kernel, i) & LM_CASE_SMALL))
                continue;
            lm_case *c = NULL;
            lm_check_result result = {0};
            lm_status status = lm_case_create(device, (lm_kernel_id)kernel, i, 1, &c);
            const bool wanted = status == LM_OK && strstr(c->name, part);
            if (wanted)
                status = lm_check_case(device, c, &result);
            good = status == LM_OK && (!wanted || result.passed);
            *ran += wanted;
            if (wanted || !good)
                printf("%-6s %s%s%s\n", good ? "ok" : "FAILED", c ? c->name : "", good ? "" : ": ",
                       good ? "" : status == LM_OK ? result.text : lm_last_error());
            fflush(stdout);
            lm_case_destroy(&c);
        }
    }
    lm_device_destroy(&device);
    return good;
}

int main(int argc, char **argv)
{
    const lm_context_params params = {.log = print_log, .no_vulkan = true};
    lm_context *context = NULL;
    if (lm_context_create(&params, &context) != LM_OK) {
        fprintf(stderr, "%s\n", lm_last_error());
        return 1;
    }
    bool good = true;
    unsigned ran = 0;
    for (size_t i = 0; i < sizeof modes / sizeof *modes && good; i++)
        good = run_mode(context, &modes[i], argc > 1 ? argv[1] : "", &ran);
    lm_context_destroy(&context);
    printf("%u rows%s\n", ran, good ? "" : ", the last one failed");
    return good && ran > 0 ? 0 : 1;
}
