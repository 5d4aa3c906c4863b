/* host/cli/generate.h: what `litemamba generate` has for one prompt and for many. */
#ifndef LM_CLI_GENERATE_H
#define LM_CLI_GENERATE_H

#include "host/cli/cli.h"

/* Prints a token's part of a text: a byte, or a number after a space. False: it is not a byte though tokens are bytes. */
bool cli_print_token(bool bytes, int32_t token);
void cli_print_prompt(bool bytes, const int32_t *tokens, size_t count);

/* Many prompts at once (generate_many.c). */
typedef struct cli_many {
    const char *path; /* a prompt a line, "-" is standard input; NULL: only `text` */
    const char *text; /* as --prompt has it */
    uint32_t slots;   /* texts at a time */
    uint32_t chunk;   /* tokens of prompts in a step; 0: the library's choice */
    bool json, stats;
} cli_many;

/* Reads the prompts, generates as `like` says, with a seed that is one more from prompt to prompt, and prints the results in the
 * order of the prompts, each as soon as those before it are printed. */
int cli_generate_many(const cli_session *session, const char *folder, const cli_many *many, const lm_generate_params *like);

/* The tokens of one prompt, malloc'd: --prompt's text, or standard input for "-". */
int cli_read_prompt(const cli_session *session, const char *text, int32_t **prompt, size_t *count);

#endif
