/* host/cli/cmd_generate.c: litemamba generate. */
#include <stdlib.h>

#include "host/cli/generate.h"

typedef struct printer {
    bool bytes;
    int32_t bad_token; /* one that is no byte though tokens are bytes, else −1 */
    int32_t last;      /* the latest token, −1 before the first */
} printer;

bool cli_print_token(bool bytes, int32_t token)
{
    if (!bytes)
        printf(" %d", (int)token);
    else if (token >= 0 && token < 256)
        putchar(token);
    else
        return false;
    return true;
}

void cli_print_prompt(bool bytes, const int32_t *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes)
            putchar(tokens[i]);
        else
            printf("%s%d", i == 0 ? "" : " ", (int)tokens[i]);
    }
}

/* Prints one token; false stops the generation. */
static bool print_token(void *user, int32_t token)
{
    printer *p = user;
    p->last = token;
    if (cli_print_token(p->bytes, token)) return cli_flush();
    p->bad_token = token;
    return false;
}

static void print_stats(const cli_session *session, const lm_generate_stats *stats)
{
    /* The first new token comes with the prompt's pass; the rest took new_seconds. */
    uint32_t steps = stats->new_tokens > 1 ? stats->new_tokens - 1 : 0;
    const lm_device_info *info = lm_device_get_info(session->device);
    fprintf(stderr, "device    %s, %s\n", info->id, info->name);
    fprintf(stderr, "prompt    %u tokens in %.3f s, %.1f tokens/s\n", stats->prompt_tokens, stats->prompt_seconds,
            stats->prompt_seconds > 0 ? stats->prompt_tokens / stats->prompt_seconds : 0);
    fprintf(stderr, "new       %u tokens, after the first %.3f s, %.1f tokens/s\n", stats->new_tokens, stats->new_seconds,
            steps > 0 && stats->new_seconds > 0 ? steps / stats->new_seconds : 0);
}

int cli_read_prompt(const cli_session *session, const char *text, int32_t **prompt, size_t *count)
{
    const lm_config *config = lm_model_get_config(session->model);
    cli_tokens tokens;
    int code = CLI_OK;
    *prompt = NULL;
    if (text[0] == '-' && text[1] == 0)
        code = cli_tokens_open(&tokens, text, config);
    else
        cli_tokens_open_text(&tokens, "--prompt", text, config);
    if (code != CLI_OK) return code;
    code = cli_tokens_read_all(&tokens, prompt, count);
    cli_tokens_close(&tokens);
    if (code == CLI_OK && *count == 0) code = cli_error("%s: empty: a prompt has at least one token", tokens.name);
    if (code == CLI_OK && *count > UINT32_MAX) code = cli_error("%s: %zu tokens are too many", tokens.name, *count);
    return code;
}

static lm_status feed(const cli_session *session, const int32_t *tokens, uint32_t count)
{
    const lm_run_params run = {.batch = 1, .length = count, .tokens = tokens, .kind = LM_OUTPUT_NONE};
    return lm_model_run(session->model, session->state, &run);
}

/* Makes the state that a run with --chunk, --load-state or --save-state needs, and gives it all of the prompt but the last piece,
 * which generating begins with: *params then has that. */
static lm_status prepare_state(cli_session *session, const char *load, uint32_t chunk, lm_generate_params *params)
{
    lm_status status = lm_state_create(session->model, 1, &session->state);
    if (status == LM_OK && load != NULL) status = lm_state_load(session->state, 0, load);
    while (status == LM_OK && chunk > 0 && params->prompt_length > chunk) {
        status = feed(session, params->prompt, chunk);
        params->prompt += chunk;
        params->prompt_length -= chunk;
    }
    return status;
}

/* Saves the state after all that was printed: the last token is not in it yet. */
static lm_status save_state(const cli_session *session, const printer *p, const char *path)
{
    lm_status status = p->last >= 0 ? feed(session, &p->last, 1) : LM_OK;
    return status == LM_OK ? lm_state_save(session->state, 0, path) : status;
}

/* What only one prompt can have. */
typedef struct single {
    const char *text, *load, *save;
    uint32_t chunk;
    bool stats;
} single;

static int generate_one(cli_session *session, const char *folder, const single *one, const lm_generate_params *like)
{
    int32_t *prompt = NULL;
    size_t prompt_length = 0;
    int code = cli_read_prompt(session, one->text, &prompt, &prompt_length);
    if (code == CLI_OK) {
        printer p = {lm_model_get_config(session->model)->byte_tokens, -1, -1};
        lm_generate_stats result = {0};
        lm_generate_params params = *like;
        params.prompt = prompt;
        params.prompt_length = (uint32_t)prompt_length;
        params.on_token = print_token;
        params.user = &p;
        cli_print_prompt(p.bytes, prompt, prompt_length);
        cli_flush();
        lm_status status = LM_OK;
        if (one->load != NULL || one->save != NULL || one->chunk > 0)
            status = prepare_state(session, one->load, one->chunk, &params);
        if (status == LM_OK) status = lm_generate(session->model, session->state, &params, &result);
        putchar('\n');
        cli_flush();
        if (status == LM_OK && one->save != NULL) status = save_state(session, &p, one->save);
        if (status != LM_OK)
            code = cli_library_error(status);
        else if (p.bad_token >= 0)
            code = cli_error("%s: the model's token %d is not a byte", folder, (int)p.bad_token);
        else if (one->stats)
            print_stats(session, &result);
    }
    free(prompt);
    return code;
}

/* The tokens of --stop's texts; freed by the caller with free_stops, also after a failure. */
static int read_stops(const cli_session *session, const cli_texts *texts, lm_stop *stops)
{
    for (uint32_t i = 0; i < texts->count; i++) {
        cli_tokens tokens;
        int32_t *read;
        size_t count;
        cli_tokens_open_text(&tokens, "--stop", texts->values[i], lm_model_get_config(session->model));
        int code = cli_tokens_read_all(&tokens, &read, &count);
        stops[i] = (lm_stop){read, (uint32_t)count};
        if (code == CLI_OK && count == 0) code = cli_error("--stop: empty: it would stop before the first token");
        if (code != CLI_OK) return code;
    }
    return CLI_OK;
}

static void free_stops(lm_stop *stops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) free((int32_t *)stops[i].tokens);
}

int cli_generate(const cli_command *command, int argc, char **argv)
{
    const char *folder, *device = NULL;
    uint32_t count = 200, top_k = 0;
    double temperature = 0.7, top_p = 1;
    uint64_t seed = 0;
    single one = {0};
    cli_many many = {.slots = 8};
    cli_texts texts = {0};
    int code;
    const cli_option options[] = {
        {"prompt", 'p', CLI_TEXT, &one.text, "TEXT", "What to go on with; \"-\" reads it from standard input", 0, 0},
        {"prompts", 0, CLI_TEXT, &many.path, "FILE", "Many at once, one a line; \"-\" is standard input", 0, 0},
        {"tokens", 'n', CLI_U32, &count, "N", "New tokens [200]", 1, UINT32_MAX},
        {"stop", 0, CLI_TEXTS, &texts, "TEXT", "End before this is generated; may be given several times", 0, 0},
        {"temperature", 't', CLI_REAL, &temperature, "T", "0 always takes the likeliest token [0.7]", 0, 1e6},
        {"top-k", 0, CLI_U32, &top_k, "K", "Choose among the K likeliest; 0 among all [0]", 0, 0},
        {"top-p", 0, CLI_REAL, &top_p, "P", "Choose among the likeliest that make up probability P; 0 or 1: all [1]", 0, 1},
        {"seed", 's', CLI_U64, &seed, "S", "Of the random numbers; prompts after the first have S + 1, S + 2 … [0]", 0, 0},
        {"batch", 0, CLI_U32, &many.slots, "N", "With --prompts: so many at a time [8]", 1, UINT32_MAX},
        {"json", 0, CLI_FLAG, &many.json, NULL, "Print a line of JSON for each prompt", 0, 0},
        {"chunk", 0, CLI_U32, &one.chunk, "N", "Read prompts N tokens at a time [all; with --prompts 512 in a step]", 1, UINT32_MAX},
        {"load-state", 0, CLI_TEXT, &one.load, "FILE", "Go on from where --save-state left off", 0, 0},
        {"save-state", 0, CLI_TEXT, &one.save, "FILE", "Write the state after all that is printed", 0, 0},
        CLI_DEVICE_OPTION(device),
        {"stats", 0, CLI_FLAG, &one.stats, NULL, "Print tokens a second to standard error", 0, 0},
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, &folder, 0, 1, &code)) return code;
    const bool several = many.path != NULL || many.json;
    if (one.text == NULL && many.path == NULL) return cli_usage_error(command, "--prompt is missing");
    if (one.text != NULL && many.path != NULL) return cli_usage_error(command, "--prompt and --prompts exclude each other");
    if (several && (one.load != NULL || one.save != NULL))
        return cli_usage_error(command, "--load-state and --save-state go with --prompt alone");
    if (one.save != NULL && texts.count > 0)
        return cli_usage_error(command,
                               "--save-state and --stop exclude each other: the state would have seen what is not printed");
    folder = cli_model_folder(folder);
    if (folder == NULL) return CLI_FAILED;

    cli_session session = {0};
    lm_stop stops[CLI_COUNT(texts.values)] = {{NULL, 0}};
    code = cli_open_model(&session, device, folder, CLI_LANGUAGE_MODEL);
    if (code == CLI_OK) code = read_stops(&session, &texts, stops);
    const lm_generate_params like = {.max_tokens = count,
                                     .temperature = (float)temperature,
                                     .top_k = top_k,
                                     .top_p = (float)top_p,
                                     .seed = seed,
                                     .stops = stops,
                                     .stop_count = texts.count};
    many.text = one.text;
    many.chunk = one.chunk;
    many.stats = one.stats;
    if (code == CLI_OK)
        code = several ? cli_generate_many(&session, folder, &many, &like) : generate_one(&session, folder, &one, &like);
    free_stops(stops, texts.count);
    cli_close(&session);
    return code;
}
