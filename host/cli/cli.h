/* host/cli/cli.h: what the commands share.
 *
 * The command is a client of the public headers alone. Exit codes: CLI_OK, CLI_FAILED (a line on stderr says what and
 * where), CLI_USAGE (the command line is wrong). Standard output that nobody reads any more (EPIPE) ends a command
 * quietly with CLI_OK.
 */
#ifndef LM_CLI_H
#define LM_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "litemamba/litemamba.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* ---- commands ----------------------------------------------------------------------------------------------------- */

typedef struct cli_command cli_command;

struct cli_command {
    const char *name;
    const char *synopsis; /* what follows the name, e.g. "[DIR] --prompt TEXT [OPTION]..." */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs for --help, or NULL */
    int (*run)(const cli_command *command, int argc, char **argv);
};

int cli_devices(const cli_command *command, int argc, char **argv);
int cli_info(const cli_command *command, int argc, char **argv);
int cli_generate(const cli_command *command, int argc, char **argv);
int cli_score(const cli_command *command, int argc, char **argv);
int cli_run(const cli_command *command, int argc, char **argv);
int cli_init(const cli_command *command, int argc, char **argv);
int cli_verify(const cli_command *command, int argc, char **argv);
int cli_compare(const cli_command *command, int argc, char **argv);
int cli_tune(const cli_command *command, int argc, char **argv);

/* ---- options (options.c) -------------------------------------------------------------------------------------------- */

typedef enum cli_kind {
    CLI_FLAG,  /* bool */
    CLI_TEXT,  /* const char * */
    CLI_TEXTS, /* cli_texts: one each time the option is given */
    CLI_U32,   /* uint32_t, within minimum … maximum */
    CLI_U64,   /* uint64_t */
    CLI_REAL,  /* double, finite, within minimum … maximum */
    CLI_LIST,  /* cli_list of uint32_t, with commas, each within minimum … maximum */
} cli_kind;

typedef struct cli_list {
    uint32_t count;
    uint32_t values[LM_MAX_BRANCHES];
} cli_list;

typedef struct cli_texts {
    uint32_t count;
    const char *values[32];
} cli_texts;

typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* short form, or 0 */
    cli_kind kind;
    void *value;             /* changed where the option is given */
    const char *argument;    /* what --help calls the value; NULL for a flag */
    const char *help;        /* one line, or several with line ends */
    double minimum, maximum; /* both 0: no bounds but the type's */
} cli_option;

/* Parses argv after the command's name; operands go to operands[0 … most − 1], NULL where absent. Options --help and
 * --verbose are added. False when the command is over: *code is then its exit code, and what there was to say is said. */
bool cli_parse(const cli_command *command, const cli_option *options, size_t option_count, int argc, char **argv,
               const char **operands, int least, int most, int *code);

/* Decimal digits only, no sign, no space, nothing after; false when out of range too. */
bool cli_parse_u64(const char *text, uint64_t *value);
/* A finite decimal number, nothing before or after. */
bool cli_parse_real(const char *text, double *value);

#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CLI_DEVICE_OPTION(variable)                                                                                       \
    {                                                                                                                     \
        "device", 'd', CLI_TEXT, &(variable), "DEVICE", "cpu, opencl, opencl:1, vulkan:NAME; default: the best there is", \
            0, 0                                                                                                          \
    }

/* ---- messages and output (output.c) --------------------------------------------------------------------------------- */

/* "litemamba: …" on stderr, one line: control characters in names from files are replaced. Returns CLI_FAILED. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for a wrong command line, with a pointer to --help. Returns CLI_USAGE. */
int cli_usage_error(const cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a failed call of the library. Returns CLI_FAILED. */
int cli_library_error(lm_status status);

/* Flushes stdout. False once a write failed: stop then, main() says why unless it was a closed pipe. */
bool cli_flush(void);
/* Flushes stdout for the last time and turns a failed write into the exit code. */
int cli_finish(int code);

/* A line on stderr that overwrites the one before, only where stderr is a terminal. Done with before any other output. */
void cli_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_progress_clear(void);

/* Seconds of a clock that only moves forward. */
double cli_seconds(void);

/* ---- sessions (session.c) --------------------------------------------------------------------------------------------- */

/* How much of the library's log goes to stderr: −1 nothing, else an lm_log_level. Set by --verbose. */
extern int cli_log_level;

typedef enum cli_model_kind { CLI_ANY_MODEL, CLI_LANGUAGE_MODEL, CLI_BARE_BLOCK } cli_model_kind;

/* What a command has open; zeroed before use. */
typedef struct cli_session {
    lm_context *context;
    lm_device *device;
    lm_model *model;
    lm_state *state;
} cli_session;

/* Each says on stderr what went wrong and returns CLI_FAILED, or CLI_OK. What is open already is kept. */
int cli_open_context(cli_session *session);
int cli_open_device(cli_session *session, const char *name);
int cli_open_model(cli_session *session, const char *device, const char *folder, cli_model_kind kind);
/* Destroys in order what is open. */
void cli_close_model(cli_session *session);
void cli_close(cli_session *session);

/* The folder given, or the model that comes with litemamba. NULL, after a message, when that is not installed. */
const char *cli_model_folder(const char *given);

/* ---- tokens (tokens.c) -------------------------------------------------------------------------------------------------- */

/* Reads tokens: bytes where the model's tokens are bytes, else decimal numbers between white space or commas. */
typedef struct cli_tokens {
    FILE *file;
    const char *name; /* for messages */
    const char *text; /* instead of a file */
    size_t text_size;
    bool bytes;
    uint32_t vocab_size;
    uint64_t position; /* bytes read */
    uint64_t size;     /* bytes in all, 0 when unknown */
} cli_tokens;

/* "-" is standard input. */
int cli_tokens_open(cli_tokens *tokens, const char *path, const lm_config *config);
void cli_tokens_open_text(cli_tokens *tokens, const char *name, const char *text, const lm_config *config);
/* Up to `capacity` tokens, fewer only at the end, each below the vocabulary's size. */
int cli_tokens_read(cli_tokens *tokens, int32_t *out, size_t capacity, size_t *count);
void cli_tokens_close(cli_tokens *tokens);

/* All of them, malloc'd. */
int cli_tokens_read_all(cli_tokens *tokens, int32_t **out, size_t *count);

#endif
