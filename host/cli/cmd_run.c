/* host/cli/cmd_run.c: litemamba run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

/* Runs the block over x (batch, length, d_model), in place, `chunk` tokens of each sequence at a time (0: all). */
static lm_status run_chunks(const cli_session *session, const lm_npy *x, uint32_t chunk)
{
    const uint32_t batch = (uint32_t)x->shape[0], length = (uint32_t)x->shape[1];
    const size_t width = (size_t)x->shape[2];
    if (session->state == NULL || chunk == 0 || chunk >= length)
        return lm_block_forward(session->model, session->state, batch, length, x->data, x->data);
    float *piece = malloc((size_t)batch * chunk * width * sizeof *piece);
    if (piece == NULL) return LM_ERROR_OUT_OF_MEMORY;
    lm_status status = LM_OK;
    for (uint32_t t = 0; t < length && status == LM_OK; t += chunk) {
        const uint32_t n = length - t < chunk ? length - t : chunk;
        const size_t row = (size_t)n * width;
        for (uint32_t b = 0; b < batch; b++)
            memcpy(piece + b * row, x->data + ((size_t)b * length + t) * width, row * sizeof *piece);
        status = lm_block_forward(session->model, session->state, batch, n, piece, piece);
        for (uint32_t b = 0; b < batch && status == LM_OK; b++)
            memcpy(x->data + ((size_t)b * length + t) * width, piece + b * row, row * sizeof *piece);
    }
    free(piece);
    return status;
}

/* The states of all sequences from or to a file. */
static int move_states(const cli_session *session, uint32_t batch, const char *load, const char *save)
{
    uint32_t *slots = malloc(batch * sizeof *slots), sequences = batch;
    lm_status status = slots != NULL ? LM_OK : LM_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < batch && slots != NULL; i++) slots[i] = i;
    if (status == LM_OK && load != NULL) status = lm_state_inspect(load, &sequences);
    int code = CLI_OK;
    if (status == LM_OK && sequences != batch)
        code = cli_error("%s: states of %u sequences, where the input has %u", load, sequences, batch);
    if (status == LM_OK && code == CLI_OK && load != NULL) status = lm_state_load_slots(session->state, batch, slots, 0, load);
    if (status == LM_OK && code == CLI_OK && save != NULL) status = lm_state_save_slots(session->state, batch, slots, save);
    free(slots);
    return status == LM_OK ? code : cli_library_error(status);
}

int cli_run(const cli_command *command, int argc, char **argv)
{
    const char *folder, *input = NULL, *output = NULL, *device = NULL, *load = NULL, *save = NULL;
    uint32_t chunk = 0;
    int code;
    const cli_option options[] = {
        {"input", 'i', CLI_TEXT, &input, "X.npy", "What to run the block on", 0, 0},
        {"output", 'o', CLI_TEXT, &output, "Y.npy", "Where to write what comes out", 0, 0},
        {"chunk", 0, CLI_U32, &chunk, "N", "Run N tokens at a time, from state to state [all]", 1, UINT32_MAX},
        {"load-state", 0, CLI_TEXT, &load, "FILE", "Go on from states that --save-state or lite-mamba left", 0, 0},
        {"save-state", 0, CLI_TEXT, &save, "FILE", "Write the states after the last token, of all sequences", 0, 0},
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
    const uint32_t batch = code == CLI_OK ? (uint32_t)array.shape[0] : 0;
    if (code == CLI_OK && (load != NULL || save != NULL || chunk > 0)) {
        lm_status status = lm_state_create(session.model, batch, &session.state);
        if (status != LM_OK) code = cli_library_error(status);
    }
    if (code == CLI_OK && load != NULL) code = move_states(&session, batch, load, NULL);
    if (code == CLI_OK) {
        lm_status status = run_chunks(&session, &array, chunk);
        if (status != LM_OK) code = cli_library_error(status);
    }
    if (code == CLI_OK && save != NULL) code = move_states(&session, batch, NULL, save);
    if (code == CLI_OK && !lm_npy_write(output, array.data, 3, array.shape, error, sizeof error))
        code = cli_error("%s", error);
    lm_npy_free(&array);
    cli_close(&session);
    return code;
}
