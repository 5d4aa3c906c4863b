/* host/cli/cmd_score.c: litemamba score. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/cli/cli.h"
#include "host/cli/npy.h"

/* Tokens in one call of the library. Fixed, so that the result does not depend on how fast the device is. */
enum { PIECE = 2048 };

typedef struct score {
    uint64_t predicted; /* tokens that were */
    double nats;        /* their sum */
    double seconds;
    float *logits; /* of every token, with --logits */
    uint64_t rows, capacity;
} score;

/* −ln p(target) from a row of logits. */
static double row_loss(const float *row, uint32_t vocab_size, int32_t target)
{
    double largest = row[0], sum = 0;
    for (uint32_t i = 1; i < vocab_size; i++) largest = fmax(largest, row[i]);
    for (uint32_t i = 0; i < vocab_size; i++) sum += exp(row[i] - largest);
    return largest + log(sum) - row[target];
}

static int grow_logits(score *s, uint64_t rows, uint32_t vocab_size)
{
    if (s->rows + rows <= s->capacity) return CLI_OK;
    uint64_t capacity = s->capacity * 2 > s->rows + rows ? s->capacity * 2 : s->rows + rows;
    float *grown = NULL;
    if (capacity <= SIZE_MAX / sizeof *grown / vocab_size) grown = realloc(s->logits, capacity * vocab_size * sizeof *grown);
    if (grown == NULL) return cli_error("--logits: no memory for %" PRIu64 " by %u logits", capacity, vocab_size);
    s->logits = grown;
    s->capacity = capacity;
    return CLI_OK;
}

/* Moves the state on by `count` tokens. `targets` is NULL for the text's last token, which predicts nothing that is known. */
static int run_piece(cli_session *session, score *s, bool keep, const int32_t *tokens, const int32_t *targets,
                     uint32_t count)
{
    static float losses[PIECE];
    uint32_t vocab_size = lm_model_get_config(session->model)->vocab_size;
    float *logits = NULL;
    if (keep) {
        int code = grow_logits(s, count, vocab_size);
        if (code != CLI_OK) return code;
        logits = s->logits + s->rows * vocab_size;
    }
    lm_run_params params = {.batch = 1, .length = count, .tokens = tokens};
    params.targets = keep ? NULL : targets;
    params.kind = keep ? LM_OUTPUT_ALL : LM_OUTPUT_LOSS;
    params.output = keep ? logits : losses;
    double start = cli_seconds();
    lm_status status = lm_model_run(session->model, session->state, &params);
    s->seconds += cli_seconds() - start;
    if (status != LM_OK) return cli_library_error(status);
    for (uint32_t i = 0; targets != NULL && i < count; i++)
        s->nats += keep ? row_loss(logits + (size_t)i * vocab_size, vocab_size, targets[i]) : (double)losses[i];
    if (targets != NULL) s->predicted += count;
    s->rows += keep ? count : 0;
    return CLI_OK;
}

static void show_progress(const cli_tokens *tokens, const score *s)
{
    double nats = s->nats / (double)s->predicted;
    if (tokens->size != 0)
        cli_progress("%3.0f%%  %" PRIu64 " tokens  %.4f nats a token  %.0f tokens/s",
                     100.0 * (double)tokens->position / (double)tokens->size, s->predicted, nats,
                     (double)s->predicted / s->seconds);
    else
        cli_progress("%" PRIu64 " tokens  %.4f nats a token  %.0f tokens/s", s->predicted, nats,
                     (double)s->predicted / s->seconds);
}

static int score_text(cli_session *session, cli_tokens *tokens, score *s, bool keep)
{
    /* The last token of a piece is a target there and the first input of the next. */
    static int32_t buffer[PIECE + 1];
    size_t held = 0, count;
    for (;;) {
        int code = cli_tokens_read(tokens, buffer + held, PIECE + 1 - held, &count);
        if (code != CLI_OK) return code;
        if (count == 0) break;
        held += count;
        if (held > 1) {
            code = run_piece(session, s, keep, buffer, buffer + 1, (uint32_t)(held - 1));
            if (code != CLI_OK) return code;
            show_progress(tokens, s);
        }
        buffer[0] = buffer[held - 1];
        held = 1;
    }
    cli_progress_clear();
    if (s->predicted == 0) return cli_error("%s: a text to score has at least two tokens", tokens->name);
    return keep ? run_piece(session, s, true, buffer, NULL, 1) : CLI_OK;
}

static void print_score(const score *s, bool bytes)
{
    double nats = s->nats / (double)s->predicted;
    printf("tokens           %" PRIu64 "\n", s->predicted + 1);
    printf("nats a token     %.6f\n", nats);
    printf("%-15s  %.6f\n", bytes ? "bits a byte" : "bits a token", nats / log(2));
    printf("tokens a second  %.1f\n", (double)s->predicted / s->seconds);
}

int cli_score(const cli_command *command, int argc, char **argv)
{
    const char *folder, *path = NULL, *logits = NULL, *device = NULL;
    int code;
    const cli_option options[] = {
        {"text", 't', CLI_TEXT, &path, "FILE", "The text; \"-\" reads standard input", 0, 0},
        {"logits", 0, CLI_TEXT, &logits, "OUT.npy",
         "Write every token's logits, (tokens, vocabulary) float32;\nthey are held in memory until the end", 0, 0},
        CLI_DEVICE_OPTION(device),
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, &folder, 0, 1, &code)) return code;
    if (path == NULL) return cli_usage_error(command, "--text is missing");
    folder = cli_model_folder(folder);
    if (folder == NULL) return CLI_FAILED;

    cli_session session = {0};
    cli_tokens tokens = {0};
    score s = {0};
    code = cli_open_model(&session, device, folder, CLI_LANGUAGE_MODEL);
    if (code == CLI_OK) code = cli_tokens_open(&tokens, path, lm_model_get_config(session.model));
    if (code == CLI_OK) {
        lm_status status = lm_state_create(session.model, 1, &session.state);
        if (status != LM_OK) code = cli_library_error(status);
    }
    if (code == CLI_OK) code = score_text(&session, &tokens, &s, logits != NULL);
    if (code == CLI_OK && logits != NULL) {
        char error[512];
        uint64_t shape[2] = {s.rows, lm_model_get_config(session.model)->vocab_size};
        if (!lm_npy_write(logits, s.logits, 2, shape, error, sizeof error)) code = cli_error("%s", error);
    }
    if (code == CLI_OK) print_score(&s, lm_model_get_config(session.model)->byte_tokens);
    free(s.logits);
    cli_tokens_close(&tokens);
    cli_close(&session);
    return code;
}
