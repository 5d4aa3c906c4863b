/* host/cli/session.c: opening and closing what a command needs. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/cli/cli.h"

int cli_log_level = -1;

static void print_log(void *user, lm_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    cli_progress_clear();
    fprintf(stderr, "litemamba: %s: %s\n", names[level <= LM_LOG_DEBUG ? level : LM_LOG_DEBUG], text);
}

/* `device`: loads only what a device of this name needs; NULL: everything. */
static int open_context(cli_session *session, const char *device)
{
    const char *validate = getenv("LITEMAMBA_VALIDATE");
    lm_context_params params = {.device = device};
    params.validate = validate != NULL && strcmp(validate, "0") != 0 && validate[0] != 0;
    /* A failed call's line is printed by the command; the log would say it twice. Validation messages are only in the log. */
    if (cli_log_level >= 0 || params.validate) {
        params.log = print_log;
        params.log_level = cli_log_level >= 0 ? (lm_log_level)cli_log_level : LM_LOG_ERROR;
    }
    lm_status status = session->context == NULL ? lm_context_create(&params, &session->context) : LM_OK;
    return status == LM_OK ? CLI_OK : cli_library_error(status);
}

int cli_open_context(cli_session *session) { return open_context(session, NULL); }

int cli_open_device(cli_session *session, const char *name)
{
    const char *wanted = name != NULL && *name != '\0' ? name : getenv("LITEMAMBA_DEVICE");
    int code = open_context(session, wanted);
    if (code != CLI_OK) return code;
    lm_status status = session->device == NULL ? lm_device_open(session->context, name, NULL, &session->device) : LM_OK;
    return status == LM_OK ? CLI_OK : cli_library_error(status);
}

int cli_open_model(cli_session *session, const char *device, const char *folder, cli_model_kind kind)
{
    int code = cli_open_device(session, device);
    if (code != CLI_OK) return code;
    lm_status status = lm_model_load(session->device, folder, NULL, &session->model);
    if (status != LM_OK) return cli_library_error(status);
    const lm_config *config = lm_model_get_config(session->model);
    if (kind == CLI_LANGUAGE_MODEL && config->layers == 0)
        return cli_error("%s: a bare block, not a language model ('litemamba run' runs it)", folder);
    if (kind == CLI_BARE_BLOCK && config->layers != 0)
        return cli_error("%s: a language model, not a bare block ('litemamba generate' and 'score' run it)", folder);
    return CLI_OK;
}

void cli_close_model(cli_session *session)
{
    lm_state_destroy(&session->state);
    lm_model_destroy(&session->model);
}

void cli_close(cli_session *session)
{
    cli_close_model(session);
    lm_device_destroy(&session->device);
    lm_context_destroy(&session->context);
}

const char *cli_model_folder(const char *given)
{
    static const char source[] = LM_MODELS_SOURCE_DIR "/jargon", installed[] = LM_MODELS_INSTALL_DIR "/jargon";
    if (given != NULL) return given;
    if (access(LM_MODELS_SOURCE_DIR "/jargon/config.json", R_OK) == 0) return source;
    if (access(LM_MODELS_INSTALL_DIR "/jargon/config.json", R_OK) == 0) return installed;
    cli_error("no model in %s: give a model folder", installed);
    return NULL;
}
