/* host/cli/cmd_tune.c: litemamba tune. */
#include "host/cli/cli.h"

typedef struct report {
    bool headed;
    uint32_t won;
} report;

static const char *value_text(int32_t value, char *text, size_t size)
{
    snprintf(text, size, value == 0 ? "by rule" : "%d", (int)value);
    return text;
}

static void print_result(void *user, const lm_tune_result *result)
{
    report *r = user;
    char before[16], chosen[16], gain[24];
    cli_progress_clear();
    if (!r->headed) printf("%-20s  %-8s  %-8s  %-12s  %s\n", "choice", "was", "best", "faster by", "what it chooses");
    r->headed = true;
    r->won += result->chosen != result->before;
    if (result->cases == 0) snprintf(gain, sizeof gain, "no effect");
    else if (result->chosen == result->before) snprintf(gain, sizeof gain, "-");
    else snprintf(gain, sizeof gain, "%.0f %%", 100 * result->gain);
    printf("%-20s  %-8s  %-8s  %-12s  %s\n", result->name, value_text(result->before, before, sizeof before),
           value_text(result->chosen, chosen, sizeof chosen), gain, result->what);
    cli_flush();
    cli_progress("%u of %u", result->done, result->total);
}

int cli_tune(const cli_command *command, int argc, char **argv)
{
    const char *device = NULL;
    report r = {0};
    lm_tune_params params = {.callback = print_result, .user = &r};
    int code;
    const cli_option options[] = {
        CLI_DEVICE_OPTION(device),
        {"seconds", 0, CLI_REAL, &params.seconds, "S", "Most seconds to take [100]", 1, 1e6},
        {"no-save", 0, CLI_FLAG, &params.no_save, NULL, "Only say what would win", 0, 0},
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, NULL, 0, 0, &code)) return code;

    cli_session session = {0};
    code = cli_open_device(&session, device);
    if (code == CLI_OK) {
        char path[4096];
        const lm_device_info *info = lm_device_get_info(session.device);
        lm_status status = lm_tune(session.device, &params);
        cli_progress_clear();
        if (status == LM_OK && !params.no_save) status = lm_tune_path(session.device, path, sizeof path);
        if (status != LM_OK) code = cli_library_error(status);
        else printf("%s, %s: %u of the choices changed%s%s\n", info->id, info->name, r.won, params.no_save ? "" : "; kept in ",
                    params.no_save ? "" : path);
    }
    cli_close(&session);
    return code;
}
