/* tests/test_kernels.c: every row of every kernel on every device, with and without the capabilities that choose other
 * paths. What is compared is said in kernels/check.h. */
#include "kernels/check.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* `cpu` has a level of instructions less with each of AVX-512 and AVX2 turned off. Turning wide lanes off runs the code of GPUs,
 * with one float a lane, on an OpenCL processor; without large shared memory the smaller tiles are chosen, and without texels
 * lavapipe runs the kernels that read storage buffers, with and without their addresses. */
static lm_test_target targets[] = {
    {"cpu", 0},
    {"cpu", LM_CAP_AVX512},
    {"cpu", LM_CAP_AVX512 | LM_CAP_AVX2},
    {"cpu", LM_CAP_THREADS},
    {"cpu", LM_CAP_OPENBLAS},
    {"reference", 0},
    {"opencl", 0},
    {"opencl", LM_CAP_WIDE_LANES},
    {"opencl", LM_CAP_LARGE_SHARED | LM_CAP_SUBGROUP | LM_CAP_FLOAT16_STORAGE | LM_CAP_UNIFIED_MEMORY},
    {"vulkan", 0},
    {"vulkan", LM_CAP_LARGE_SHARED | LM_CAP_SUBGROUP | LM_CAP_FLOAT16_STORAGE | LM_CAP_UNIFIED_MEMORY | LM_CAP_TEXELS},
    {"vulkan", LM_CAP_LARGE_SHARED | LM_CAP_SUBGROUP | LM_CAP_FLOAT16_STORAGE | LM_CAP_UNIFIED_MEMORY | LM_CAP_TEXELS | LM_CAP_ADDRESSES},
};

static struct criterion_test_params all_targets(void)
{
    return cr_make_param_array(lm_test_target, targets, sizeof targets / sizeof *targets);
}

static void run_kernel(const lm_test_target *target, lm_kernel_id kernel)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const lm_device_info *info = lm_device_get_info(device);
    const char *stem = lm_kernel_get(kernel)->stem;
    const uint64_t seed = lm_test_seed();
    const char *timing = getenv("LITEMAMBA_TEST_LOG");
    size_t ran = 0;
    double nearest = 0;
    for (size_t i = 0; i < lm_case_count(kernel); i++) {
        if (lm_test_only_small() && !(lm_case_flags(kernel, i) & LM_CASE_SMALL))
            continue;
        lm_case *c = NULL;
        cr_assert(lm_case_create(device, kernel, i, seed, &c) == LM_OK, "%s", lm_last_error());
        if (!lm_test_wants_row(c->name)) {
            lm_case_destroy(&c);
            continue;
        }
        const clock_t start = clock();
        lm_check_result result;
        lm_status status = lm_check_case(device, c, &result);
        ran++;
        cr_expect(status == LM_OK && result.passed,
                  "%s\n  %s, capabilities off 0x%x: %s\n  error %.3g, tolerance %.3g\n"
                  "  LITEMAMBA_TEST_SEED=%llu LITEMAMBA_TEST_DEVICE=%s LITEMAMBA_TEST_ROW='%s' litemamba_tests --filter "
                  "'kernels/%s'",
                  c->name, info->id, (unsigned)target->disable, status == LM_OK ? result.text : lm_last_error(), result.error,
                  result.tolerance, (unsigned long long)seed, info->id, c->name, stem);
        if (status == LM_OK && result.tolerance > 0)
            nearest = fmax(nearest, result.error / result.tolerance);
        if (timing)
            fprintf(stderr, "%s: error %.2g of %.2g, %.0f ms\n", c->name, result.error, result.tolerance,
                    1e3 * (double)(clock() - start) / CLOCKS_PER_SEC);
        lm_case_destroy(&c);
    }
    cr_assert(ran > 0 || getenv("LITEMAMBA_TEST_ROW"), "no rows");
    if (timing)
        fprintf(stderr, "%s on %s: %zu rows, at most %.0f %% of the tolerance\n", stem, info->id, ran, 100 * nearest);
    lm_test_close(&device);
}

ParameterizedTestParameters(kernels, gemm) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, gemm) { run_kernel(target, LM_KERNEL_GEMM); }

ParameterizedTestParameters(kernels, gemv) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, gemv) { run_kernel(target, LM_KERNEL_GEMV); }

ParameterizedTestParameters(kernels, conv) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, conv) { run_kernel(target, LM_KERNEL_CONV); }

ParameterizedTestParameters(kernels, conv_window) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, conv_window) { run_kernel(target, LM_KERNEL_CONV_WINDOW); }

ParameterizedTestParameters(kernels, conv_state) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, conv_state) { run_kernel(target, LM_KERNEL_CONV_STATE); }

ParameterizedTestParameters(kernels, scan) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, scan) { run_kernel(target, LM_KERNEL_SCAN); }

ParameterizedTestParameters(kernels, scan_tiled) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, scan_tiled) { run_kernel(target, LM_KERNEL_SCAN_TILED); }

ParameterizedTestParameters(kernels, scan_ends) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, scan_ends) { run_kernel(target, LM_KERNEL_SCAN_ENDS); }

ParameterizedTestParameters(kernels, scan_summary) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, scan_summary) { run_kernel(target, LM_KERNEL_SCAN_SUMMARY); }

ParameterizedTestParameters(kernels, scan_carry) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, scan_carry) { run_kernel(target, LM_KERNEL_SCAN_CARRY); }

ParameterizedTestParameters(kernels, state_copy) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, state_copy) { run_kernel(target, LM_KERNEL_STATE_COPY); }
ParameterizedTestParameters(kernels, step_in) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, step_in) { run_kernel(target, LM_KERNEL_STEP_IN); }

ParameterizedTestParameters(kernels, step_scan) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, step_scan) { run_kernel(target, LM_KERNEL_STEP_SCAN); }

ParameterizedTestParameters(kernels, step_out) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, step_out) { run_kernel(target, LM_KERNEL_STEP_OUT); }

ParameterizedTestParameters(kernels, rmsnorm) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, rmsnorm) { run_kernel(target, LM_KERNEL_RMSNORM); }

ParameterizedTestParameters(kernels, embed) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, embed) { run_kernel(target, LM_KERNEL_EMBED); }

ParameterizedTestParameters(kernels, argmax) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, argmax) { run_kernel(target, LM_KERNEL_ARGMAX); }

ParameterizedTestParameters(kernels, cross_entropy) { return all_targets(); }
ParameterizedTest(lm_test_target *target, kernels, cross_entropy) { run_kernel(target, LM_KERNEL_CROSS_ENTROPY); }
