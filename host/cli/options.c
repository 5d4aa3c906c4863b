/* host/cli/options.c: one parser and one --help for every command, from its table of options. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/cli/cli.h"

enum { MAX_OPTIONS = 40, FIRST_LONG = 256 };

bool cli_parse_u64(const char *text, uint64_t *value)
{
    uint64_t result = 0;
    if (*text == 0) return false;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9') return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (result > (UINT64_MAX - digit) / 10) return false;
        result = result * 10 + digit;
    }
    *value = result;
    return true;
}

bool cli_parse_real(const char *text, double *value)
{
    /* strtod takes spaces, hexadecimal, "inf" and "nan" too. */
    if (*text == 0 || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    char *end;
    double result = strtod(text, &end);
    if (*end != 0 || !isfinite(result)) return false;
    *value = result;
    return true;
}

/* ---- values --------------------------------------------------------------------------------------------------------- */

static bool is_bounded(const cli_option *option) { return option->minimum != 0 || option->maximum != 0; }

static int out_of_range(const cli_command *command, const cli_option *option, const char *text)
{
    if (option->maximum >= UINT32_MAX || isinf(option->maximum))
        return cli_usage_error(command, "--%s: '%s' is below %.9g", option->name, text, option->minimum);
    return cli_usage_error(command, "--%s: '%s' is not within %.9g and %.9g", option->name, text, option->minimum,
                           option->maximum);
}

static int set_u32(const cli_command *command, const cli_option *option, const char *text, uint32_t *out)
{
    uint64_t value;
    if (!cli_parse_u64(text, &value))
        return cli_usage_error(command, "--%s: '%s' is not a whole number", option->name, text);
    if (value > UINT32_MAX) return cli_usage_error(command, "--%s: '%s' is above %u", option->name, text, UINT32_MAX);
    if (is_bounded(option) && !((double)value >= option->minimum && (double)value <= option->maximum))
        return out_of_range(command, option, text);
    *out = (uint32_t)value;
    return CLI_OK;
}

static int set_real(const cli_command *command, const cli_option *option, const char *text)
{
    double value;
    if (!cli_parse_real(text, &value)) return cli_usage_error(command, "--%s: '%s' is not a number", option->name, text);
    if (is_bounded(option) && !(value >= option->minimum && value <= option->maximum))
        return out_of_range(command, option, text);
    *(double *)option->value = value;
    return CLI_OK;
}

static int set_list(const cli_command *command, const cli_option *option, const char *text)
{
    cli_list *list = option->value;
    list->count = 0;
    for (const char *item = text;; item++) {
        char digits[32];
        size_t length = strcspn(item, ",");
        if (list->count == CLI_COUNT(list->values))
            return cli_usage_error(command, "--%s: more than %zu values", option->name, CLI_COUNT(list->values));
        if (length >= sizeof digits) return cli_usage_error(command, "--%s: '%s' is not a whole number", option->name, item);
        memcpy(digits, item, length);
        digits[length] = 0;
        int code = set_u32(command, option, digits, &list->values[list->count]);
        if (code != CLI_OK) return code;
        list->count++;
        item += length;
        if (*item == 0) return CLI_OK;
    }
}

static int add_text(const cli_command *command, const cli_option *option, const char *text)
{
    cli_texts *texts = option->value;
    if (texts->count == CLI_COUNT(texts->values))
        return cli_usage_error(command, "--%s: more than %zu of them", option->name, CLI_COUNT(texts->values));
    texts->values[texts->count++] = text;
    return CLI_OK;
}

static int set_value(const cli_command *command, const cli_option *option, const char *text)
{
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->value = true; return CLI_OK;
    case CLI_TEXT: *(const char **)option->value = text; return CLI_OK;
    case CLI_TEXTS: return add_text(command, option, text);
    case CLI_U32: return set_u32(command, option, text, option->value);
    case CLI_U64:
        if (cli_parse_u64(text, option->value)) return CLI_OK;
        return cli_usage_error(command, "--%s: '%s' is not a whole number below 2^64", option->name, text);
    case CLI_REAL: return set_real(command, option, text);
    case CLI_LIST: return set_list(command, option, text);
    }
    return CLI_USAGE;
}

/* ---- help ------------------------------------------------------------------------------------------------------------- */

static void print_option(const cli_option *option)
{
    enum { HELP_COLUMN = 28 };
    char head[80];
    snprintf(head, sizeof head, "  %c%c%s --%s%s%s", option->letter != 0 ? '-' : ' ',
             option->letter != 0 ? option->letter : ' ', option->letter != 0 ? "," : " ", option->name,
             option->argument != NULL ? " " : "", option->argument != NULL ? option->argument : "");
    printf("%-*s", HELP_COLUMN, head);
    if (strlen(head) >= HELP_COLUMN) printf("\n%*s", HELP_COLUMN, "");
    for (const char *line = option->help;;) {
        size_t length = strcspn(line, "\n");
        printf("%.*s\n", (int)length, line);
        if (line[length] == 0) return;
        line += length + 1;
        printf("%*s", HELP_COLUMN, "");
    }
}

static void print_help(const cli_command *command, const cli_option *options, size_t count)
{
    printf("usage: litemamba %s %s\n\n%s\n", command->name, command->synopsis, command->summary);
    if (command->details != NULL) printf("\n%s\n", command->details);
    printf("\n");
    for (size_t i = 0; i < count; i++) print_option(&options[i]);
}

/* ---- parsing ------------------------------------------------------------------------------------------------------------ */

bool cli_parse(const cli_command *command, const cli_option *options, size_t option_count, int argc, char **argv,
               const char **operands, int least, int most, int *code)
{
    bool help = false, verbose = false;
    cli_option all[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS + 1] = {{0}};
    char shorts[2 * MAX_OPTIONS + 2] = ":";
    size_t count = 0, letters = 1;

    for (; count < option_count; count++) all[count] = options[count];
    all[count++] = (cli_option){"verbose", 'v', CLI_FLAG, &verbose, NULL, "Log what the library and the drivers do", 0, 0};
    all[count++] = (cli_option){"help", 'h', CLI_FLAG, &help, NULL, "Print this", 0, 0};
    for (size_t i = 0; i < count; i++) {
        bool takes = all[i].kind != CLI_FLAG;
        longs[i] = (struct option){all[i].name, takes ? required_argument : no_argument, NULL, FIRST_LONG + (int)i};
        if (all[i].letter == 0) continue;
        shorts[letters++] = all[i].letter;
        if (takes) shorts[letters++] = ':';
    }

    opterr = 0;
    optind = 1;
    int found;
    while ((found = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const cli_option *option = NULL;
        /* After an error optopt is the letter, the long option's number, or 0 for a long one that does not exist. */
        int wanted = found == '?' || found == ':' ? optopt : found;
        for (size_t i = 0; i < count; i++)
            if (wanted == FIRST_LONG + (int)i || (all[i].letter != 0 && wanted == all[i].letter)) option = &all[i];
        if (found == ':' && option != NULL)
            *code = cli_usage_error(command, "--%s: the value is missing", option->name);
        else if (found == '?' && option != NULL)
            *code = cli_usage_error(command, "--%s takes no value", option->name);
        else if (option == NULL && optopt != 0)
            *code = cli_usage_error(command, "no option '-%c'", optopt);
        else if (option == NULL)
            *code = cli_usage_error(command, "no option '%s'", argv[optind - 1]);
        else
            *code = set_value(command, option, optarg);
        if (*code != CLI_OK) return false;
    }
    if (help) {
        print_help(command, all, count);
        *code = CLI_OK;
        return false;
    }
    if (verbose) cli_log_level = LM_LOG_DEBUG;
    for (int i = 0; i < most; i++) operands[i] = optind + i < argc ? argv[optind + i] : NULL;
    if (argc - optind > most) {
        *code = cli_usage_error(command, "'%s' is one argument too many", argv[optind + most]);
        return false;
    }
    if (argc - optind < least) {
        *code = cli_usage_error(command, "DIR is missing");
        return false;
    }
    return true;
}
