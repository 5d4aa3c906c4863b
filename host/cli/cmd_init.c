/* host/cli/cmd_init.c: litemamba init. */
#include <string.h>

#include "host/cli/cli.h"

static bool find_variant(const char *name, lm_variant *variant)
{
    for (int i = LM_VARIANT_BASELINE; i <= LM_VARIANT_DPWC; i++) {
        *variant = (lm_variant)i;
        if (strcmp(name, lm_variant_name(*variant)) == 0) return true;
    }
    return false;
}

int cli_init(const cli_command *command, int argc, char **argv)
{
    const char *folder, *variant = NULL, *dt_rank = "auto", *dt_init = "random";
    cli_list dilations = {1, {1}};
    lm_config config = {0};
    lm_init_params params = {0};
    int code;
    /* A zero that is left alone means the library's default; one that is typed is refused by the bounds here. */
    const cli_option options[] = {
        {"variant", 0, CLI_TEXT, &variant, "VARIANT", "baseline, ptcn, stcn or dpwc", 0, 0},
        {"d-model", 0, CLI_U32, &config.d_model, "N", "Width of the model", 1, 65536},
        {"d-state", 0, CLI_U32, &config.d_state, "N", "States a channel [16]", 1, LM_MAX_STATE},
        {"d-conv", 0, CLI_U32, &config.d_conv, "N", "Taps of a convolution [4]", 1, 65536},
        {"dilations", 0, CLI_LIST, &dilations, "N,N,...", "Dilation of each branch [1]", 1, 65536},
        {"expand", 0, CLI_REAL, &config.expand, "X", "d_inner is expand times d_model, rounded down [2]", 1e-6, 1e6},
        {"dt-rank", 0, CLI_TEXT, &dt_rank, "N|auto", "Rank of the time step's projection [auto: d_model / 16, rounded up]",
         0, 0},
        {"dt-min", 0, CLI_REAL, &params.dt_min, "X", "Smallest first time step [0.001]", 1e-12, 1e12},
        {"dt-max", 0, CLI_REAL, &params.dt_max, "X", "Largest first time step [0.1]", 1e-12, 1e12},
        {"dt-init", 0, CLI_TEXT, &dt_init, "HOW", "random or constant [random]", 0, 0},
        {"dt-scale", 0, CLI_REAL, &params.dt_scale, "X", "Scale of the time step's weights [1]", 1e-12, 1e12},
        {"dt-init-floor", 0, CLI_REAL, &params.dt_init_floor, "X", "No first time step is below it [0.0001]", 1e-12, 1e12},
        {"no-conv-bias", 0, CLI_FLAG, &config.no_conv_bias, NULL, "No biases in the convolutions", 0, 0},
        {"bias", 0, CLI_FLAG, &config.bias, NULL, "Biases in the input and output projections", 0, 0},
        {"layers", 0, CLI_U32, &config.layers, "N", "Make a language model of N blocks", 1, UINT32_MAX},
        {"vocab-size", 0, CLI_U32, &config.vocab_size, "N", "Of a language model [256 with --bytes]", 1, UINT32_MAX},
        {"bytes", 0, CLI_FLAG, &config.byte_tokens, NULL, "The language model's tokens are bytes", 0, 0},
        {"norm-epsilon", 0, CLI_REAL, &config.norm_epsilon, "X", "Of a language model's norms [1e-05]", 1e-30, 1},
        {"untied", 0, CLI_FLAG, &config.untied, NULL, "The head is separate from the embeddings", 0, 0},
        {"seed", 's', CLI_U64, &params.seed, "S", "Of the random numbers [0]", 0, 0},
    };
    if (!cli_parse(command, options, CLI_COUNT(options), argc, argv, &folder, 1, 1, &code)) return code;
    if (variant == NULL) return cli_usage_error(command, "--variant is missing");
    if (!find_variant(variant, &config.variant))
        return cli_usage_error(command, "--variant: '%s' is not baseline, ptcn, stcn or dpwc", variant);
    if (config.d_model == 0) return cli_usage_error(command, "--d-model is missing");
    if (strcmp(dt_rank, "auto") != 0) {
        uint64_t rank;
        if (!cli_parse_u64(dt_rank, &rank) || rank < 1 || rank > 65536)
            return cli_usage_error(command, "--dt-rank: '%s' is not auto or within 1 and 65536", dt_rank);
        config.dt_rank = (uint32_t)rank;
    }
    if (strcmp(dt_init, "random") != 0 && strcmp(dt_init, "constant") != 0)
        return cli_usage_error(command, "--dt-init: '%s' is not random or constant", dt_init);
    params.dt_constant = strcmp(dt_init, "constant") == 0;
    if (config.layers == 0 && (config.vocab_size != 0 || config.byte_tokens || config.norm_epsilon != 0 || config.untied))
        return cli_usage_error(command, "--vocab-size, --bytes, --norm-epsilon and --untied go with --layers");
    if (config.layers != 0 && config.vocab_size == 0 && !config.byte_tokens)
        return cli_usage_error(command, "--vocab-size is missing (or --bytes)");
    if (config.layers != 0 && config.vocab_size == 0) config.vocab_size = 256;
    config.branches = dilations.count;
    memcpy(config.dilations, dilations.values, sizeof config.dilations);

    lm_status status = lm_config_complete(&config);
    if (status == LM_OK) status = lm_model_init(folder, &config, &params);
    return status == LM_OK ? CLI_OK : cli_library_error(status);
}
