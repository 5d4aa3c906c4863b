/* host/cli/generate_many.c: litemamba generate --prompts and --json: many prompts, results in their order. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "host/cli/generate.h"

typedef struct crowd crowd;

typedef struct result {
    crowd *owner;
    int32_t *prompt, *tokens; /* malloc'd */
    size_t prompt_count, count, capacity;
    lm_finish finish;
} result;

struct crowd {
    const cli_session *session;
    const cli_many *many;
    bool bytes;
    result *results;
    size_t count, capacity;
    size_t printed; /* results that were printed, and freed */
    bool out_of_memory, closed;
    int32_t bad_token; /* one that is no byte though tokens are bytes, else −1 */
};

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

/* Keeps the prompt, malloc'd, which is freed where that fails. */
static int add_prompt(crowd *self, int32_t *prompt, size_t count)
{
    if (self->count == self->capacity) {
        const size_t capacity = self->capacity > 0 ? 2 * self->capacity : 64;
        result *grown = capacity <= UINT32_MAX ? realloc(self->results, capacity * sizeof *grown) : NULL;
        if (grown == NULL) {
            free(prompt);
            return cli_error("%zu prompts: out of memory", self->count);
        }
        self->results = grown;
        self->capacity = capacity;
    }
    int32_t *fitted = realloc(prompt, count * sizeof *prompt);
    self->results[self->count++] = (result){
        .owner = self, .prompt = fitted != NULL ? fitted : prompt, .prompt_count = count};
    return CLI_OK;
}

/* A line without its end may have any bytes, zeros too. */
static int add_line(crowd *self, const char *name, size_t number, const char *line, size_t size)
{
    char place[512];
    cli_tokens tokens;
    int32_t *prompt;
    size_t count;
    snprintf(place, sizeof place, "%s: line %zu", name, number);
    cli_tokens_open_text(&tokens, place, line, lm_model_get_config(self->session->model));
    tokens.text_size = tokens.size = size;
    int code = cli_tokens_read_all(&tokens, &prompt, &count);
    if (code == CLI_OK && count == 0) code = cli_error("%s: empty: a prompt has at least one token", place);
    if (code == CLI_OK && count > UINT32_MAX) code = cli_error("%s: %zu tokens are too many", place, count);
    if (code == CLI_OK) return add_prompt(self, prompt, count);
    free(prompt);
    return code;
}

static int read_prompts(crowd *self, const char *path)
{
    const bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (file == NULL) return cli_error("%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0, number = 0;
    int code = CLI_OK;
    errno = 0;
    for (ssize_t size; code == CLI_OK && (size = getline(&line, &room, file)) >= 0;) {
        if (size > 0 && line[size - 1] == '\n') line[--size] = 0;
        code = add_line(self, name, ++number, line, (size_t)size);
    }
    if (code == CLI_OK && !feof(file)) code = cli_error("%s: %s", name, strerror(errno));
    if (code == CLI_OK && self->count == 0) code = cli_error("%s: no prompt", name);
    free(line);
    if (!standard) fclose(file);
    return code;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character that starts at `t`, with `left` bytes to the end; 0 when none does. */
static size_t character_length(const int32_t *t, size_t left)
{
    static const struct {
        int32_t lead_low, lead_high, second_low, second_high;
        size_t length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < CLI_COUNT(forms); i++) {
        if (t[0] < forms[i].lead_low || t[0] > forms[i].lead_high) continue;
        if (forms[i].length > left) return 0;
        if (forms[i].length > 1 && (t[1] < forms[i].second_low || t[1] > forms[i].second_high)) return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if (t[k] < 0x80 || t[k] > 0xbf) return 0;
        return forms[i].length;
    }
    return 0;
}

/* Bytes as text; each that is no part of a character becomes U+FFFD, and *exact false. */
static size_t write_bytes(char *out, const int32_t *tokens, size_t count, bool *exact)
{
    size_t size = 0;
    for (size_t i = 0; i < count;) {
        const size_t length = character_length(tokens + i, count - i);
        if (length == 0) {
            memcpy(out + size, "\xef\xbf\xbd", 3);
            size += 3;
            *exact = false;
            i++;
        }
        for (size_t k = 0; k < length; k++) out[size++] = (char)tokens[i++];
    }
    return size;
}

/* Sets `name` to the text of tokens and, where bytes are lost by that, `name`_bytes to their numbers. */
static int set_text(json_t *object, const char *name, const char *bytes_name, const int32_t *tokens, size_t count,
                    bool bytes)
{
    enum { WIDEST = 12 }; /* a number and a space, or U+FFFD */
    bool exact = true;
    size_t size = 0;
    char *text = count < SIZE_MAX / WIDEST ? malloc(count * WIDEST + 1) : NULL;
    if (text == NULL) return -1;
    text[0] = 0;
    if (bytes)
        size = write_bytes(text, tokens, count, &exact);
    else
        for (size_t i = 0; i < count; i++) size += (size_t)sprintf(text + size, "%s%d", i > 0 ? " " : "", (int)tokens[i]);
    int failed = json_object_set_new(object, name, json_stringn(text, size));
    free(text);
    if (exact) return failed;
    json_t *numbers = json_array();
    for (size_t i = 0; i < count; i++) failed |= json_array_append_new(numbers, json_integer(tokens[i]));
    return failed | json_object_set_new(object, bytes_name, numbers);
}

static bool print_json(const crowd *self, const result *r)
{
    json_t *object = json_object();
    int failed = set_text(object, "prompt", "prompt_bytes", r->prompt, r->prompt_count, self->bytes);
    failed |= set_text(object, "text", "text_bytes", r->tokens, r->count, self->bytes);
    failed |= json_object_set_new(object, "tokens", json_integer((json_int_t)r->count));
    failed |= json_object_set_new(object, "stopped", json_string(r->finish == LM_FINISH_STOP ? "stop" : "length"));
    char *line = failed == 0 ? json_dumps(object, 0) : NULL;
    if (line != NULL) puts(line);
    free(line);
    json_decref(object);
    return line != NULL;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static bool keep_token(void *user, int32_t token)
{
    result *r = user;
    crowd *self = r->owner;
    if (self->bytes && (token < 0 || token >= 256)) {
        self->bad_token = token;
        return false;
    }
    if (r->count == r->capacity) {
        const size_t capacity = r->capacity > 0 ? 2 * r->capacity : 128;
        int32_t *grown = realloc(r->tokens, capacity * sizeof *grown);
        if (grown == NULL) {
            self->out_of_memory = true;
            return false;
        }
        r->tokens = grown;
        r->capacity = capacity;
    }
    r->tokens[r->count++] = token;
    return true;
}

static void print_result(crowd *self, const result *r)
{
    if (self->many->json) {
        if (!print_json(self, r)) self->out_of_memory = true;
        return;
    }
    cli_print_prompt(self->bytes, r->prompt, r->prompt_count);
    for (size_t i = 0; i < r->count; i++) cli_print_token(self->bytes, r->tokens[i]);
    putchar('\n');
}

static void free_result(result *r)
{
    free(r->prompt);
    free(r->tokens);
    r->prompt = r->tokens = NULL;
}

static void finish_text(void *user, uint32_t text, const lm_generate_stats *stats)
{
    crowd *self = user;
    self->results[text].finish = stats->finish;
    for (; self->printed < self->count && self->results[self->printed].finish != LM_FINISH_NONE; self->printed++) {
        if (self->results[self->printed].finish == LM_FINISH_CALLBACK) return; /* keep_token refused: no more is printed */
        print_result(self, &self->results[self->printed]);
        free_result(&self->results[self->printed]);
    }
    if (!cli_flush()) self->closed = true;
}

static bool go_on(void *user)
{
    const crowd *self = user;
    return !self->closed && !self->out_of_memory && self->bad_token < 0;
}

static void print_stats(const crowd *self, const lm_generate_stats *stats, double seconds)
{
    const lm_device_info *info = lm_device_get_info(self->session->device);
    uint64_t prompt_tokens = 0, new_tokens = 0;
    for (size_t i = 0; i < self->count; i++) {
        prompt_tokens += stats[i].prompt_tokens;
        new_tokens += stats[i].new_tokens;
    }
    fprintf(stderr, "device    %s, %s\n", info->id, info->name);
    fprintf(stderr, "prompts   %zu of %llu tokens, %u at a time\n", self->count, (unsigned long long)prompt_tokens,
            self->many->slots);
    fprintf(stderr, "new       %llu tokens in %.3f s, %.1f tokens/s\n", (unsigned long long)new_tokens, seconds,
            seconds > 0 ? (double)new_tokens / seconds : 0);
}

static int generate(crowd *self, const char *folder, const lm_generate_params *like)
{
    lm_generate_params *texts = calloc(self->count, sizeof *texts);
    lm_generate_stats *stats = calloc(self->count, sizeof *stats);
    int code = texts != NULL && stats != NULL ? CLI_OK : cli_error("%zu prompts: out of memory", self->count);
    for (size_t i = 0; i < self->count && code == CLI_OK; i++) {
        texts[i] = *like;
        texts[i].prompt = self->results[i].prompt;
        texts[i].prompt_length = (uint32_t)self->results[i].prompt_count;
        texts[i].seed = like->seed + i;
        texts[i].on_token = keep_token;
        texts[i].user = &self->results[i];
    }
    if (code == CLI_OK) {
        const lm_generate_batch_params params = {.count = (uint32_t)self->count,
                                                 .texts = texts,
                                                 .slots = self->many->slots,
                                                 .chunk = self->many->chunk,
                                                 .on_step = go_on,
                                                 .on_finish = finish_text,
                                                 .user = self};
        const double start = cli_seconds();
        const lm_status status = lm_generate_batch(self->session->model, &params, stats);
        if (self->bad_token >= 0)
            code = cli_error("%s: the model's token %d is not a byte", folder, (int)self->bad_token);
        else if (self->out_of_memory)
            code = cli_error("printing %zu texts: out of memory", self->count);
        else if (status != LM_OK && !self->closed)
            code = cli_library_error(status);
        else if (status == LM_OK && self->many->stats)
            print_stats(self, stats, cli_seconds() - start);
    }
    free(texts);
    free(stats);
    return code;
}

int cli_generate_many(const cli_session *session, const char *folder, const cli_many *many, const lm_generate_params *like)
{
    crowd self = {
        .session = session, .many = many, .bytes = lm_model_get_config(session->model)->byte_tokens, .bad_token = -1};
    int32_t *prompt;
    size_t count;
    int code;
    if (many->path != NULL) {
        code = read_prompts(&self, many->path);
    } else {
        code = cli_read_prompt(session, many->text, &prompt, &count);
        if (code == CLI_OK)
            code = add_prompt(&self, prompt, count);
        else
            free(prompt);
    }
    if (code == CLI_OK) code = generate(&self, folder, like);
    for (size_t i = self.printed; i < self.count; i++) free_result(&self.results[i]);
    free(self.results);
    return code;
}
