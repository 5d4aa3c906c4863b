/* host/cli/main.c: the litemamba command: its table of commands. */
#include <signal.h>
#include <string.h>

#include "host/cli/cli.h"

static const cli_command commands[] = {
    {"devices", "[--json]", "List the devices that models can run on.",
     "The names in the first column are what --device takes.", cli_devices},
    {"info", "[DIR]", "Say what a model folder holds.",
     "DIR is a folder with config.json and model.safetensors; without it, the model that comes with litemamba.", cli_info},
    {"generate", "[DIR] --prompt TEXT|--prompts FILE [OPTION]...",
     "Let a language model go on with a text, or with many at once.",
     "Prints the prompt and, as it is generated, what the model goes on with, then a line end.\n"
     "DIR is a model folder; without it, the model that comes with litemamba. Where a model's tokens are not bytes, TEXT\n"
     "holds token numbers with spaces between, and so does the output. The same seed gives the same text on one device.\n\n"
     "--prompts generates --batch texts at a time, and a text that ends makes room for the next. Results are printed in\n"
     "the order of the file. A line's bytes are the prompt, without the line end; an empty line is an error. With --json\n"
     "each is a line {\"prompt\": TEXT, \"text\": WHAT FOLLOWS, \"tokens\": N, \"stopped\": \"length\" or \"stop\"}, where N is\n"
     "how many \"text\" has. Bytes that are not UTF-8 become U+FFFD there, and \"prompt_bytes\" or \"text_bytes\" then has the\n"
     "numbers of all bytes. What --stop names is not printed; it is not looked for in the prompt.",
     cli_generate},
    {"score", "[DIR] --text FILE [OPTION]...", "Measure how well a language model predicts a text.",
     "Prints tokens, nats a token (the mean of -ln p of every token but the first), bits a byte, and tokens a second.\n"
     "The text is read and run in pieces, so its length is not limited by memory. \"-\" reads standard input.",
     cli_score},
    {"run", "DIR --input X.npy --output Y.npy [--device DEVICE]", "Run a bare block on an array.",
     "X.npy is a NumPy array of shape (batch, length, d_model), float32 or float64. Y.npy has the same shape, float32.",
     cli_run},
    {"init", "DIR --variant VARIANT --d-model N [OPTION]...", "Write a freshly initialised model folder.",
     "Options and defaults are those of lite-mamba's constructors. With --layers the folder is a language model, without\n"
     "it a bare block. The same seed gives the same bytes on every machine. A folder with a model in it is refused.",
     cli_init},
    {"verify", "[--device DEVICE] [--quiet]", "Check every kernel and block variant against the float64 reference.",
     "Prints a line a check: the error, its tolerance, both relative to the largest value, and what was checked.\n"
     "The exit code is 1 when a check failed.",
     cli_verify},
    {"tune", "[--device DEVICE] [--seconds S] [--no-save]", "Find out which kernels' variants are fastest on a device.",
     "Measures the candidates of every choice, in under two minutes, and keeps what wins in the user's cache folder\n"
     "(litemamba/ in $XDG_CACHE_HOME or ~/.cache), for this device, driver and version. Models loaded on the device use it\n"
     "from then on; LITEMAMBA_TUNING=off in the environment says not to. Nothing else should keep the device busy.",
     cli_tune},
    {"compare", "[DIR] [--device DEVICE]", "Compare a language model's speed and error on every device.",
     "Prints, for every device: tokens a second of reading a prompt and of generating one token after another, and the\n"
     "largest absolute difference of its logits from the float64 reference. This is what 'make demo' shows.",
     cli_compare},
};

static void print_usage(FILE *stream)
{
    fprintf(stream, "usage: litemamba COMMAND [OPTION]...\n\n"
                    "Runs Mamba models with lite-mamba's blocks on GPUs, through OpenCL or Vulkan, and on processors.\n\n");
    for (size_t i = 0; i < CLI_COUNT(commands); i++) fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(stream, "\n  --version  Print the version.\n"
                    "  --help     Print this, or after a command its own help.\n\n"
                    "LITEMAMBA_DEVICE names the device where --device does not.\n");
}

static const cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static int run_command(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        printf("litemamba %s\n", lm_version());
        return CLI_OK;
    }
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc < 3)) {
        print_usage(stdout);
        return CLI_OK;
    }
    if (help) name = argv[2];
    const cli_command *command = find_command(name);
    if (command == NULL) {
        cli_error("no command '%s' (see 'litemamba --help')", name);
        return CLI_USAGE;
    }
    if (help) {
        char option[] = "--help", *arguments[] = {argv[2], option, NULL};
        return command->run(command, 2, arguments);
    }
    return command->run(command, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    /* A closed pipe is then a failed write, after which the device is closed as after any other. */
    signal(SIGPIPE, SIG_IGN);
    return cli_finish(run_command(argc, argv));
}
