/* host/cli/output.c: messages, standard output, progress. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host/cli/cli.h"

static int write_error; /* errno of the first failed write to stdout */
static bool progress_shown;

static void print_line(const char *command, const char *format, va_list arguments)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, arguments);
    for (char *c = text; *c != 0; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    cli_progress_clear();
    if (command != NULL)
        fprintf(stderr, "litemamba: %s: %s (see 'litemamba %s --help')\n", command, text, command);
    else
        fprintf(stderr, "litemamba: %s\n", text);
}

int cli_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(NULL, format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

int cli_usage_error(const cli_command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(command->name, format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

int cli_library_error(lm_status status)
{
    const char *text = lm_last_error();
    return cli_error("%s", text[0] != 0 ? text : lm_status_string(status));
}

bool cli_flush(void)
{
    if (write_error != 0) return false;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    write_error = errno != 0 ? errno : EIO;
    return false;
}

int cli_finish(int code)
{
    if (cli_flush() || write_error == EPIPE) return code;
    cli_error("standard output: %s", strerror(write_error));
    return code != CLI_OK ? code : CLI_FAILED;
}

void cli_progress(const char *format, ...)
{
    if (!isatty(STDERR_FILENO)) return;
    va_list arguments;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fflush(stderr);
    progress_shown = true;
}

void cli_progress_clear(void)
{
    if (progress_shown) fputs("\r\033[K", stderr);
    progress_shown = false;
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
