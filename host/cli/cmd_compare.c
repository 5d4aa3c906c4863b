/* host/cli/cmd_compare.c: litemamba compare. */
#include <string.h>

#include "host/cli/cli.h"

enum {
    /* of a measurement */
    PROMPT_LENGTH = 512,
    NEW_TOKENS = 65,
    /* the same on `reference`, which is not built for speed */
    REFERENCE_PROMPT = 32,
    REFERENCE_TOKENS = 9,
    /* tokens whose logits are compared with the float64 reference */
    VERIFY_LENGTH = 64,
};

static const char sample[] =
    ":hacker: n.\n\n   [originally, someone who makes furniture with an axe] 1. A person who enjoys exploring the details of "
    "programmable systems and how to stretch their capabilities, as opposed to most users, who prefer to learn only the "
    "minimum necessary.\n\n";

/* English where tokens are bytes; else numbers that look like any. */
static void fill_tokens(const lm_config *config, int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = config->byte_tokens ? (int32_t)((unsigned char)sample[i % (sizeof sample - 1)] % config->vocab_size)
                                        : (int32_t)(i * UINT32_C(2654435761) % config->vocab_size);
}

typedef struct measurement {
    double prompt_rate, new_rate; /* tokens a second */
    double error;
} measurement;

/* The best of up to three runs, after one that builds the kernels; a slow device is not run for longer than it takes to see
 * that it is slow. */
static lm_status measure_speed(cli_session *session, const int32_t *tokens, bool reference, measurement *m)
{
    enum { RUNS = 3 };
    const double enough_seconds = 2;
    lm_generate_params params = {.prompt = tokens, .prompt_length = PROMPT_LENGTH, .max_tokens = NEW_TOKENS};
    lm_generate_stats stats;
    lm_status status = LM_OK;
    double seconds = 0;
    if (reference) {
        params.prompt_length = REFERENCE_PROMPT;
        params.max_tokens = REFERENCE_TOKENS;
    } else {
        status = lm_generate(session->model, NULL, &params, &stats);
    }
    for (int i = 0; status == LM_OK && i < RUNS && seconds < enough_seconds; i++) {
        status = lm_generate(session->model, NULL, &params, &stats);
        if (status != LM_OK) break;
        double prompt_rate = stats.prompt_tokens / stats.prompt_seconds;
        double new_rate = (stats.new_tokens - 1) / stats.new_seconds;
        if (prompt_rate > m->prompt_rate) m->prompt_rate = prompt_rate;
        if (new_rate > m->new_rate) m->new_rate = new_rate;
        seconds += stats.prompt_seconds + stats.new_seconds;
    }
    return status;
}

static int compare_device(cli_session *session, const lm_device_info *info, const char *folder, int width)
{
    int32_t tokens[PROMPT_LENGTH];
    measurement m = {0};
    cli_progress("%s ...", info->id);
    int code = cli_open_model(session, info->id, folder, CLI_LANGUAGE_MODEL);
    if (code != CLI_OK) return code;
    fill_tokens(lm_model_get_config(session->model), tokens, PROMPT_LENGTH);
    lm_status status = measure_speed(session, tokens, info->type == LM_DEVICE_REFERENCE, &m);
    if (status == LM_OK) status = lm_verify_model(session->model, folder, tokens, VERIFY_LENGTH, &m.error);
    if (status != LM_OK) return cli_library_error(status);
    cli_progress_clear();
    printf("%-9s  %-*.*s  %15.0f  %12.0f  %8.1e\n", info->id, width, width, info->name, m.prompt_rate, m.new_rate, m.error);
    cli_flush();
    return CLI_OK;
}

int cli_compare(const cli_command *command, int argc, char **argv)
{
    const char *folder, *device = NULL;
    int code;
    const cli_option options[] = {
        {"device", 'd', CLI_TEXT, &device, "DEVICE", "Only this one", 0, 0},
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, &folder, 0, 1, &code)) return code;
    folder = cli_model_folder(folder);
    if (folder == NULL) return CLI_FAILED;

    cli_session session = {0};
    code = device != NULL ? cli_open_device(&session, device) : cli_open_context(&session);
    if (code != CLI_OK) {
        cli_close(&session);
        return code;
    }
    size_t count = lm_context_device_count(session.context);
    int width = 4;
    for (size_t i = 0; i < count; i++) {
        int length = (int)strlen(lm_context_device_info(session.context, i)->name);
        width = length > width ? length : width;
    }
    width = width > 44 ? 44 : width;
    printf("%-9s  %-*s  %15s  %12s  %8s\n", "device", width, "name", "prompt tokens/s", "new tokens/s", "error");
    cli_flush();
    for (size_t i = 0; i < count && cli_flush(); i++) {
        const lm_device_info *info = lm_context_device_info(session.context, i);
        if (device != NULL && strcmp(info->id, lm_device_get_info(session.device)->id) != 0) continue;
        /* A device that fails does not keep the others from being shown. */
        int result = compare_device(&session, info, folder, width);
        if (result != CLI_OK) code = result;
        cli_close_model(&session);
        if (device == NULL) lm_device_destroy(&session.device);
    }
    cli_close(&session);
    return code;
}
