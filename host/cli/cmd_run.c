/* host/cli/cmd_run.c: litemamba run. */
#include <inttypes.h>

#include "host/cli/cli.h"
#include "host/cli/npy.h"

static int check_input(const char *path, const lm_npy *array, const lm_config *config)
{
    if (array->rank != 3) return cli_error("%s: an array of %u dimensions, not (batch, length, d_model)", path, array->rank);
    if (array->shape[2] != config->d_model)
        return cli_error("%s: the last dimension is %" PRIu64 ", the block's d_model is %u", path, array->shape[2],
                         config->d_model);
    if (array->shape[0] == 0 || array->shape[0] > UINT32_MAX || array->shape[1] > UINT32_MAX)
        return cli_error("%s: a batch of %" PRIu64 " and a length of %" PRIu64 " cannot be run", path, array->shape[0],
                         array->shape[1]);
    return CLI_OK;
}

int cli_run(const cli_command *command, int argc, char **argv)
{
    const char *folder, *input = NULL, *output = NULL, *device = NULL;
    int code;
    const cli_option options[] = {
        {"input", 'i', CLI_TEXT, &input, "X.npy", "What to run the block on", 0, 0},
        {"output", 'o', CLI_TEXT, &output, "Y.npy", "Where to write what comes out", 0, 0},
        CLI_DEVICE_OPTION(device),
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, &folder, 1, 1, &code)) return code;
    if (input == NULL) return cli_usage_error(command, "--input is missing");
    if (output == NULL) return cli_usage_error(command, "--output is missing");

    cli_session session = {0};
    lm_npy array = {0};
    char error[512];
    if (!lm_npy_read(input, &array, error, sizeof error)) return cli_error("%s", error);
    code = cli_open_model(&session, device, folder, CLI_BARE_BLOCK);
    if (code == CLI_OK) code = check_input(input, &array, lm_model_get_config(session.model));
    if (code == CLI_OK) {
        lm_status status = lm_block_forward(session.model, NULL, (uint32_t)array.shape[0], (uint32_t)array.shape[1],
                                            array.data, array.data);
        if (status != LM_OK) code = cli_library_error(status);
    }
    if (code == CLI_OK && !lm_npy_write(output, array.data, 3, array.shape, error, sizeof error))
        code = cli_error("%s", error);
    lm_npy_free(&array);
    cli_close(&session);
    return code;
}
