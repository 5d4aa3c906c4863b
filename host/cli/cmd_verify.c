/* host/cli/cmd_verify.c: litemamba verify. */
#include <math.h>

#include "host/cli/cli.h"

typedef struct report {
    bool quiet;
    bool headed;
    uint32_t done;
    double worst; /* largest error as a share of its tolerance */
} report;

static void print_result(void *user, const lm_verify_result *result)
{
    report *r = user;
    r->done++;
    /* Exact checks have tolerance 0; a NaN stays. */
    double share = result->error == 0 ? 0 : result->error / result->tolerance;
    if (!(share <= r->worst) && !isnan(r->worst)) r->worst = share;
    if (!r->quiet || !result->passed) {
        cli_progress_clear();
        if (!r->headed) printf("%-6s  %9s  %9s  %s\n", "result", "error", "tolerance", "check");
        r->headed = true;
        printf("%-6s  %9.2e  %9.2e  %s\n", result->passed ? "ok" : "FAILED", result->error, result->tolerance, result->name);
        cli_flush();
    }
    cli_progress("%u of %u", result->done, result->total);
}

int cli_verify(const cli_command *command, int argc, char **argv)
{
    const char *device = NULL;
    report r = {0};
    int code;
    const cli_option options[] = {
        CLI_DEVICE_OPTION(device),
        {"quiet", 'q', CLI_FLAG, &r.quiet, NULL, "Only the checks that fail, and the last line", 0, 0},
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, NULL, 0, 0, &code)) return code;

    cli_session session = {0};
    uint32_t failures = 0;
    code = cli_open_device(&session, device);
    if (code == CLI_OK) {
        const lm_device_info *info = lm_device_get_info(session.device);
        lm_status status = lm_verify(session.device, print_result, &r, &failures);
        cli_progress_clear();
        if (status != LM_OK)
            code = cli_library_error(status);
        else
            printf("%s, %s: %u checks, %u failed, largest error %.2f of its tolerance\n", info->id, info->name, r.done,
                   failures, r.worst);
        if (failures != 0) code = CLI_FAILED;
        /* Nothing checked is not a success. */
        if (status == LM_OK && r.done == 0) code = cli_error("verify: no check was run on %s", info->id);
    }
    cli_close(&session);
    return code;
}
