/* host/cli/cmd_info.c: litemamba info. */
#include <inttypes.h>

#include "host/cli/cli.h"

static void print_config(const lm_config *config)
{
    printf("variant      %s\n", lm_variant_name(config->variant));
    if (config->layers != 0) {
        printf("layers       %u\n", config->layers);
        printf("vocabulary   %u%s\n", config->vocab_size, config->byte_tokens ? ", tokens are bytes" : "");
        printf("head         %s\n", config->untied ? "separate" : "tied to the embeddings");
        printf("norm epsilon %g\n", config->norm_epsilon);
    }
    printf("d_model      %u\n", config->d_model);
    printf("d_inner      %u (expand %g)\n", lm_config_d_inner(config), config->expand);
    printf("d_state      %u\n", config->d_state);
    printf("d_conv       %u\n", config->d_conv);
    printf("dilations   ");
    for (uint32_t i = 0; i < config->branches; i++) printf(" %u", config->dilations[i]);
    printf("\ndt_rank      %u\n", config->dt_rank);
    printf("biases       %s%s%s\n", config->no_conv_bias ? "" : "convolution",
           !config->no_conv_bias && config->bias ? ", " : "",
           config->bias           ? "projections"
           : config->no_conv_bias ? "none"
                                  : "");
}

int cli_info(const cli_command *command, int argc, char **argv)
{
    const char *folder;
    int code;
    lm_model_info info;
    if (!cli_parse(command, NULL, 0, argc, argv, &folder, 0, 1, &code)) return code;
    folder = cli_model_folder(folder);
    if (folder == NULL) return CLI_FAILED;

    lm_status status = lm_model_inspect(folder, &info);
    if (status != LM_OK) return cli_library_error(status);
    printf("folder       %s\n", folder);
    printf("kind         %s\n", info.config.layers != 0 ? "language model" : "bare block");
    print_config(&info.config);
    printf("parameters   %" PRIu64 "\n", info.parameters);
    printf("tensors      %" PRIu64 " (%s), %" PRIu64 " bytes in the file\n", info.tensors, info.types, info.file_bytes);
    printf("on a device  %" PRIu64 " bytes of weights, %" PRIu64 " of state a sequence\n", info.device_bytes,
           info.state_bytes);
    return CLI_OK;
}
