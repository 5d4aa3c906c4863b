/* host/cli/tokens.c: tokens from a file or an argument. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "host/cli/cli.h"

int cli_tokens_open(cli_tokens *tokens, const char *path, const lm_config *config)
{
    struct stat status;
    *tokens = (cli_tokens){.name = path, .bytes = config->byte_tokens, .vocab_size = config->vocab_size};
    if (strcmp(path, "-") == 0) {
        tokens->file = stdin;
        tokens->name = "standard input";
    } else {
        tokens->file = fopen(path, "rb");
    }
    if (tokens->file == NULL) return cli_error("%s: %s", path, strerror(errno));
    if (fstat(fileno(tokens->file), &status) == 0 && S_ISREG(status.st_mode)) tokens->size = (uint64_t)status.st_size;
    return CLI_OK;
}

void cli_tokens_open_text(cli_tokens *tokens, const char *name, const char *text, const lm_config *config)
{
    *tokens = (cli_tokens){.name = name,
                           .text = text,
                           .text_size = strlen(text),
                           .bytes = config->byte_tokens,
                           .vocab_size = config->vocab_size,
                           .size = strlen(text)};
}

void cli_tokens_close(cli_tokens *tokens)
{
    if (tokens->file != NULL && tokens->file != stdin) fclose(tokens->file);
    tokens->file = NULL;
}

/* EOF at the end and after an error. */
static int next_byte(cli_tokens *tokens)
{
    int byte;
    if (tokens->file != NULL)
        byte = getc(tokens->file);
    else
        byte = tokens->position < tokens->text_size ? (unsigned char)tokens->text[tokens->position] : EOF;
    if (byte != EOF) tokens->position++;
    return byte;
}

/* The next decimal number: 1, 0 at the end, −1 after a message. */
static int next_number(cli_tokens *tokens, uint64_t *value)
{
    int byte = next_byte(tokens);
    while (byte == ',' || (byte != EOF && isspace(byte))) byte = next_byte(tokens);
    if (byte == EOF) return 0;
    *value = 0;
    for (; byte != EOF && byte != ',' && !isspace(byte); byte = next_byte(tokens)) {
        if (byte < '0' || byte > '9') {
            cli_error("%s: byte %llu: not a token number (this model's tokens are not bytes)", tokens->name,
                      (unsigned long long)tokens->position);
            return -1;
        }
        if (*value <= UINT32_MAX) *value = *value * 10 + (uint64_t)(byte - '0');
    }
    return 1;
}

int cli_tokens_read(cli_tokens *tokens, int32_t *out, size_t capacity, size_t *count)
{
    for (*count = 0; *count < capacity; ++*count) {
        uint64_t value;
        if (tokens->bytes) {
            int byte = next_byte(tokens);
            if (byte == EOF) break;
            value = (uint64_t)byte;
        } else {
            int found = next_number(tokens, &value);
            if (found < 0) return CLI_FAILED;
            if (found == 0) break;
        }
        if (value >= tokens->vocab_size)
            return cli_error("%s: byte %llu: token %llu is not below the vocabulary's %u", tokens->name,
                             (unsigned long long)tokens->position, (unsigned long long)value, tokens->vocab_size);
        out[*count] = (int32_t)value;
    }
    if (tokens->file != NULL && ferror(tokens->file)) return cli_error("%s: %s", tokens->name, strerror(errno));
    return CLI_OK;
}

int cli_tokens_read_all(cli_tokens *tokens, int32_t **out, size_t *count)
{
    size_t capacity = 0;
    *out = NULL;
    *count = 0;
    for (;;) {
        size_t more, larger = capacity == 0 ? 1024 : 2 * capacity;
        int32_t *grown = larger <= SIZE_MAX / sizeof **out ? realloc(*out, larger * sizeof **out) : NULL;
        if (grown == NULL) return cli_error("%s: out of memory", tokens->name);
        *out = grown;
        capacity = larger;
        int code = cli_tokens_read(tokens, *out + *count, capacity - *count, &more);
        if (code != CLI_OK) return code;
        *count += more;
        if (*count < capacity) return CLI_OK;
    }
}
