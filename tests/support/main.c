/* tests/support/main.c: Criterion's main, with a count. Criterion exits 0 when every test was skipped or the filter matched
 * none, which would let a broken set-up pass unnoticed. Here these exit 77, which CTest shows as skipped, and 1. */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/options.h>

#include <stdio.h>
#include <stdlib.h>

static size_t ran, skipped;

/* Called for the tests that the filter let through, also for those that skip themselves. */
ReportHook(POST_TEST)(struct criterion_test_stats *stats)
{
    if (stats->test_status == CR_STATUS_SKIPPED)
        skipped++;
    else
        ran++;
}

int main(int argc, char **argv)
{
    setenv("LITEMAMBA_TUNING", "off", 1); /* what was tuned on this machine is none of the tests' business */
    struct criterion_test_set *tests = criterion_initialize();
    int result = 0;
    if (criterion_handle_args(argc, argv, true)) {
        result = !criterion_run_all_tests(tests);
        if (!result && !ran) {
            fprintf(stderr, skipped ? "every test was skipped\n" : "no test matches the filter\n");
            result = skipped ? 77 : 1;
        }
    }
    criterion_finalize(tests);
    return result;
}
