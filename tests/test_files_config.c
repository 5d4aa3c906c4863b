/* tests/test_files_config.c: config.json, good and bad; folders whose tensors do not make the model; inspection. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "host/config.h"
#include "host/safetensors.h"
#include "tests/support/support.h"

/* ---- config.json that is refused -------------------------------------------------------------------------------------- */

/* A whole block, and something more. */
#define BLOCK(more) "{\"variant\":\"ptcn\",\"hidden_size\":8,\"conv_dilations\":[1,2]" more "}"
#define MODEL(more) BLOCK(",\"num_hidden_layers\":2,\"vocab_size\":256" more)
#define TEXT(text)  text, sizeof(text) - 1

static void expect_refused(const char *name, const char *folder, lm_status expected, const char *message)
{
    char whole[1024];
    lm_config config;
    const lm_status status = lm_config_read(folder, &config);
    snprintf(whole, sizeof whole, "%s/config.json: %s", folder, message);
    cr_expect(status == expected, "%s: status %d, not %d", name, status, expected);
    if (status != LM_OK)
        cr_expect(strcmp(lm_last_error(), whole) == 0, "%s\n  is  %s\n  not %s", name, lm_last_error(), whole);
}

Test(files, config_refused, .timeout = 60)
{
    static const struct {
        const char *name, *text;
        size_t size;
        const char *message;
    } cases[] = {
        {"empty", TEXT(""), "not JSON at byte 0: '[' or '{' expected near end of file"},
        {"white space", TEXT(" \n"), "not JSON at byte 2: '[' or '{' expected near end of file"},
        {"array", TEXT("[]"), "not a JSON object"},
        {"BOM", TEXT("\xef\xbb\xbf" BLOCK("")), "not JSON at byte 3: '[' or '{' expected near '\\xef\\xbb\\xbf'"},
        {"not UTF-8", TEXT(BLOCK(",\"\xff\":1")), "not JSON at byte 58: unable to decode byte 0xff near '\"'"},
        {"NUL at the end", TEXT(BLOCK("") "\0"), "not JSON at byte 58: end of file expected near end of file"},
        {"something at the end", TEXT(BLOCK("") "{}"), "not JSON at byte 58: end of file expected near '{'"},
        {"unterminated", TEXT("{\"variant\":\"ptcn\""), "'variant': not JSON at byte 17: '}' expected near end of file"},
        {"duplicate key", TEXT(BLOCK(",\"variant\":\"stcn\"")), "duplicate key 'variant'"},
        {"duplicate in an unknown key", TEXT(BLOCK(",\"x\":{\"y\":1,\"y\":2}")), "'x': duplicate key 'y'"},
        {"too deep", TEXT(BLOCK(",\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]")),
         "'x': nested over 32 levels at byte 92"},
        {"no variant", TEXT("{\"hidden_size\":8,\"conv_dilations\":[1,2]}"),
         "\"variant\" is missing and cannot be told from the tensors: add \"variant\": \"baseline\", \"ptcn\", \"stcn\" or \"dpwc\""},
        {"unknown variant", TEXT("{\"variant\":\"PTCN\",\"hidden_size\":8,\"conv_dilations\":[1]}"),
         "\"variant\" is 'PTCN', not baseline, ptcn, stcn or dpwc"},
        {"variant a number", TEXT("{\"variant\":1,\"hidden_size\":8,\"conv_dilations\":[1]}"),
         "\"variant\" is not a string"},
        {"no dilations", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8}"),
         "\"conv_dilations\" is missing and cannot be told from the tensors: add the dilation of every branch, such as \"conv_dilations\": [1, 2, 4, 8]"},
        {"dilations empty", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[]}"),
         "\"conv_dilations\" is not an array of 1 to 32 integers"},
        {"dilations a number", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":1}"),
         "\"conv_dilations\" is not an array of 1 to 32 integers"},
        {"33 dilations",
         TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
              "1,1,1,1,1,1,1,1,1]}"),
         "\"conv_dilations\" is not an array of 1 to 32 integers"},
        {"dilation 0", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[1,0]}"),
         "\"conv_dilations\"[1] is not an integer of 1 to 65536"},
        {"dilation 65537", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[65537]}"),
         "\"conv_dilations\"[0] is not an integer of 1 to 65536"},
        {"dilation 2^32 + 1", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[4294967297]}"),
         "\"conv_dilations\"[0] is not an integer of 1 to 65536"},
        {"dilation 1.0", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[1.0]}"),
         "\"conv_dilations\"[0] is not an integer of 1 to 65536"},
        {"reach", TEXT("{\"variant\":\"stcn\",\"hidden_size\":8,\"conv_dilations\":[1,65536],\"conv_kernel\":258}"),
         "dilations[1] reaches back 16842752 tokens, over 16777216"},
        {"baseline dilated", TEXT("{\"variant\":\"baseline\",\"hidden_size\":8,\"conv_dilations\":[2]}"),
         "baseline has one branch of dilation 1"},
        {"baseline of two", TEXT("{\"variant\":\"baseline\",\"hidden_size\":8,\"conv_dilations\":[1,1]}"),
         "baseline has one branch of dilation 1"},
        {"no hidden_size", TEXT("{\"variant\":\"ptcn\",\"conv_dilations\":[1]}"),
         "\"hidden_size\" is missing: add the model's width, such as \"hidden_size\": 512"},
        {"hidden_size 0", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":0,\"conv_dilations\":[1]}"),
         "\"hidden_size\" is 0, not 1 to 65536"},
        {"hidden_size 65537", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":65537,\"conv_dilations\":[1]}"),
         "\"hidden_size\" is 65537, not 1 to 65536"},
        {"hidden_size 2^32 + 8", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":4294967304,\"conv_dilations\":[1]}"),
         "\"hidden_size\" is 4294967304, not 1 to 65536"},
        {"hidden_size 2^64", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":18446744073709551616,\"conv_dilations\":[1]}"),
         "'hidden_size': not JSON at byte 52: too big integer near '18446744073709551616'"},
        {"hidden_size real", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":8.0,\"conv_dilations\":[1]}"),
         "\"hidden_size\" is not an integer"},
        {"hidden_size a string", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":\"8\",\"conv_dilations\":[1]}"),
         "\"hidden_size\" is not an integer"},
        {"hidden_size null", TEXT("{\"variant\":\"ptcn\",\"hidden_size\":null,\"conv_dilations\":[1]}"),
         "\"hidden_size\" is not an integer"},
        {"state_size 0", TEXT(BLOCK(",\"state_size\":0")), "\"state_size\" is 0, not 1 to 256"},
        {"state_size -0", TEXT(BLOCK(",\"state_size\":-0")), "\"state_size\" is 0, not 1 to 256"},
        {"state_size 257", TEXT(BLOCK(",\"state_size\":257")), "\"state_size\" is 257, not 1 to 256"},
        {"state_size -16", TEXT(BLOCK(",\"state_size\":-16")), "\"state_size\" is -16, not 1 to 256"},
        {"conv_kernel 0", TEXT(BLOCK(",\"conv_kernel\":0")), "\"conv_kernel\" is 0, not 1 to 65536"},
        {"conv_kernel 65537", TEXT(BLOCK(",\"conv_kernel\":65537")), "\"conv_kernel\" is 65537, not 1 to 65536"},
        {"time_step_rank 0", TEXT(BLOCK(",\"time_step_rank\":0")), "\"time_step_rank\" is 0, not 1 to 65536"},
        {"time_step_rank 65537", TEXT(BLOCK(",\"time_step_rank\":65537")), "\"time_step_rank\" is 65537, not 1 to 65536"},
        {"time_step_rank \"Auto\"", TEXT(BLOCK(",\"time_step_rank\":\"Auto\"")),
         "\"time_step_rank\" is not an integer or \"auto\""},
        {"expand 0", TEXT(BLOCK(",\"expand\":0")), "\"expand\" is 0, not above 0 and up to 1048576"},
        {"expand -2", TEXT(BLOCK(",\"expand\":-2")), "\"expand\" is -2, not above 0 and up to 1048576"},
        {"expand 1e300", TEXT(BLOCK(",\"expand\":1e300")), "\"expand\" is 1e+300, not above 0 and up to 1048576"},
        {"expand a string", TEXT(BLOCK(",\"expand\":\"2\"")), "\"expand\" is not a number"},
        {"expand too small", TEXT(BLOCK(",\"expand\":0.1")), "expand is 0.1, which makes d_inner 0.8, not 1 to 1048576"},
        {"d_inner too large", TEXT("{\"variant\":\"baseline\",\"hidden_size\":65536,\"expand\":17}"),
         "expand is 17, which makes d_inner 1114112, not 1 to 1048576"},
        {"use_bias 1", TEXT(BLOCK(",\"use_bias\":1")), "\"use_bias\" is not true or false"},
        {"use_conv_bias a string", TEXT(BLOCK(",\"use_conv_bias\":\"true\"")), "\"use_conv_bias\" is not true or false"},
        {"architectures a string", TEXT(BLOCK(",\"architectures\":\"LiteMambaBlock\"")),
         "\"architectures\" is not an array of strings"},
        {"architectures of numbers", TEXT(BLOCK(",\"architectures\":[1]")), "\"architectures\" is not an array of strings"},
        {"both architectures", TEXT(BLOCK(",\"architectures\":[\"LiteMambaBlock\",\"LiteMambaForCausalLM\"]")),
         "\"architectures\" names both LiteMambaBlock and LiteMambaForCausalLM"},
        {"model_type a number", TEXT(BLOCK(",\"model_type\":1")), "\"model_type\" is not a string"},
        {"no layers", TEXT(BLOCK(",\"architectures\":[\"LiteMambaForCausalLM\"],\"vocab_size\":256")),
         "\"num_hidden_layers\" is missing: a language model needs it"},
        {"no vocab_size", TEXT(BLOCK(",\"num_hidden_layers\":2")), "\"vocab_size\" is missing: a language model needs it"},
        {"0 layers", TEXT(BLOCK(",\"num_hidden_layers\":0,\"vocab_size\":256")),
         "\"num_hidden_layers\" is 0, not 1 to 4096"},
        {"4097 layers", TEXT(BLOCK(",\"num_hidden_layers\":4097,\"vocab_size\":256")),
         "\"num_hidden_layers\" is 4097, not 1 to 4096"},
        {"vocab_size 0", TEXT(BLOCK(",\"num_hidden_layers\":2,\"vocab_size\":0")), "\"vocab_size\" is 0, not 1 to 16777216"},
        {"vocab_size 2^31", TEXT(BLOCK(",\"num_hidden_layers\":2,\"vocab_size\":2147483648")),
         "\"vocab_size\" is 2147483648, not 1 to 16777216"},
        {"epsilon 0", TEXT(MODEL(",\"layer_norm_epsilon\":0")), "\"layer_norm_epsilon\" is 0, not above 0 and up to 1"},
        {"epsilon 2", TEXT(MODEL(",\"layer_norm_epsilon\":2")), "\"layer_norm_epsilon\" is 2, not above 0 and up to 1"},
        {"epsilon true", TEXT(MODEL(",\"layer_norm_epsilon\":true")), "\"layer_norm_epsilon\" is not a number"},
        {"tie_word_embeddings null", TEXT(MODEL(",\"tie_word_embeddings\":null")),
         "\"tie_word_embeddings\" is not true or false"},
        {"tokenizer_class a list", TEXT(MODEL(",\"tokenizer_class\":[\"bytes\"]")), "\"tokenizer_class\" is not a string"},
    };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "config.json");
    expect_refused("nothing there", folder, LM_ERROR_IO, "cannot be opened: No such file or directory");
    cr_assert(mkfifo(path, 0600) == 0);
    expect_refused("FIFO", folder, LM_ERROR_IO, "not a regular file");
    remove(path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_test_file_write(path, cases[i].text, cases[i].size);
        expect_refused(cases[i].name, folder, LM_ERROR_FORMAT, cases[i].message);
    }
    char *large = calloc(1, (1 << 20) + 1);
    memset(large, ' ', (1 << 20) + 1);
    lm_test_file_write(path, large, (1 << 20) + 1);
    expect_refused("over 1 MiB", folder, LM_ERROR_FORMAT, "1048577 bytes, over 1048576");
    free(large);
    free(path);
    lm_test_folder_remove(folder);
}

/* ---- configurations that are accepted --------------------------------------------------------------------------------- */

static lm_config read_text(const char *folder, const char *text)
{
    lm_config config;
    char *path = lm_test_join(folder, "config.json");
    lm_test_file_write(path, text, strlen(text));
    cr_assert(lm_config_read(folder, &config) == LM_OK, "%s", lm_last_error());
    free(path);
    return config;
}

Test(files, config_accepted, .timeout = 60)
{
    char *folder = lm_test_folder_create();
    lm_config c = read_text(folder, "\n" BLOCK("") "\n");
    cr_expect(c.variant == LM_VARIANT_PTCN && c.d_model == 8 && c.d_state == 16 && c.d_conv == 4 && c.branches == 2);
    cr_expect(c.dilations[0] == 1 && c.dilations[1] == 2 && c.expand == 2 && c.dt_rank == 1 && !c.no_conv_bias && !c.bias);
    cr_expect(c.layers == 0 && lm_config_d_inner(&c) == 16);

    c = read_text(
        folder,
        "{\"variant\":\"baseline\",\"hidden_size\":100,\"expand\":1.555,\"time_step_rank\":\"auto\",\"use_bias\":true,"
        "\"use_conv_bias\":false,\"unknown\":[{\"x\":-0}]}");
    cr_expect(c.variant == LM_VARIANT_BASELINE && c.branches == 1 && c.dilations[0] == 1 && c.dt_rank == 7);
    cr_expect(c.bias && c.no_conv_bias && lm_config_d_inner(&c) == 155);

    c = read_text(folder, MODEL(",\"tokenizer_class\":\"bytes\",\"tie_word_embeddings\":false,\"layer_norm_epsilon\":1"));
    cr_expect(c.layers == 2 && c.vocab_size == 256 && c.byte_tokens && c.untied && c.norm_epsilon == 1);
    c = read_text(folder, MODEL(",\"tokenizer_class\":\"GPTNeoXTokenizer\",\"architectures\":[\"MambaForCausalLM\"]"));
    cr_expect(c.layers == 2 && !c.byte_tokens && !c.untied && c.norm_epsilon == 1e-5);
    c = read_text(folder, MODEL(",\"architectures\":[\"LiteMambaBlock\"]"));
    cr_expect(c.layers == 0);
    c = read_text(folder, BLOCK(",\"conv_kernel\":65536"));
    cr_expect(c.d_conv == 65536);
    lm_test_folder_remove(folder);
}

Test(files, config_written, .timeout = 60)
{
    char *folder = lm_test_folder_create();
    const lm_config configs[] = {
        {.variant = LM_VARIANT_BASELINE, .d_model = 1},
        {.variant = LM_VARIANT_PTCN,
         .d_model = 512,
         .d_state = 64,
         .branches = 3,
         .dilations = {1, 7, 65536},
         .expand = 1.1,
         .bias = true},
        {.variant = LM_VARIANT_STCN, .d_model = 65536, .d_conv = 1, .expand = 16, .no_conv_bias = true, .dt_rank = 65536},
        {.variant = LM_VARIANT_DPWC,
         .d_model = 3,
         .expand = 1.0 / 3.0 + 1e-15,
         .layers = 4096,
         .vocab_size = 1 << 24,
         .untied = true,
         .norm_epsilon = 0.1 + 0.2,
         .byte_tokens = true},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        lm_config complete = configs[i], back;
        cr_assert(lm_config_complete(&complete) == LM_OK, "%s", lm_last_error());
        cr_assert(lm_config_write(folder, &configs[i]) == LM_OK, "%s", lm_last_error());
        cr_assert(lm_config_read(folder, &back) == LM_OK, "%s", lm_last_error());
        cr_expect(back.variant == complete.variant && back.d_model == complete.d_model && back.d_state == complete.d_state);
        cr_expect(back.d_conv == complete.d_conv && back.branches == complete.branches && back.expand == complete.expand);
        cr_expect(memcmp(back.dilations, complete.dilations, sizeof back.dilations) == 0 &&
                  back.dt_rank == complete.dt_rank);
        cr_expect(back.no_conv_bias == complete.no_conv_bias && back.bias == complete.bias &&
                  back.layers == complete.layers);
        cr_expect(back.vocab_size == complete.vocab_size && back.norm_epsilon == complete.norm_epsilon);
        cr_expect(back.untied == complete.untied && back.byte_tokens == complete.byte_tokens);
    }
    lm_test_folder_remove(folder);
}

Test(files, config_complete)
{
    static const struct {
        lm_config config;
        const char *message;
    } cases[] = {
        {{.variant = LM_VARIANT_PTCN}, "d_model is 0, not 1 to 65536"},
        {{.variant = (lm_variant)4, .d_model = 8}, "variant is 4, which is none"},
        {{.d_model = 8, .d_state = 257}, "d_state is 257, not 1 to 256"},
        {{.d_model = 8, .d_conv = 65537}, "d_conv is 65537, not 1 to 65536"},
        {{.d_model = 8, .dt_rank = 65537}, "dt_rank is 65537, not 1 to 65536"},
        {{.d_model = 8, .branches = 33, .variant = LM_VARIANT_STCN}, "branches is 33, not 1 to 32"},
        {{.d_model = 8, .branches = 2}, "baseline has one branch of dilation 1"},
        {{.d_model = 8, .expand = -1}, "expand is -1, which makes d_inner -8, not 1 to 1048576"},
        {{.d_model = 8, .expand = NAN}, "expand is nan, which makes d_inner nan, not 1 to 1048576"},
        {{.d_model = 8, .expand = INFINITY}, "expand is inf, which makes d_inner inf, not 1 to 1048576"},
        {{.d_model = 8, .layers = 4097, .vocab_size = 1}, "layers is 4097, not 1 to 4096"},
        {{.d_model = 8, .layers = 1}, "vocab_size is 0, not 1 to 16777216"},
        {{.d_model = 8, .layers = 1, .vocab_size = 1, .norm_epsilon = NAN}, "norm_epsilon is nan, not above 0 and up to 1"},
        {{.d_model = 8, .variant = LM_VARIANT_PTCN, .d_conv = 258, .dilations = {65536}},
         "dilations[0] reaches back 16842752 tokens, over 16777216"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_config config = cases[i].config;
        cr_expect(lm_config_complete(&config) == LM_ERROR_INVALID_ARGUMENT, "%s", cases[i].message);
        cr_expect(strcmp(lm_last_error(), cases[i].message) == 0, "'%s'\n  not '%s'", lm_last_error(), cases[i].message);
    }
    cr_expect(strcmp(lm_variant_name(LM_VARIANT_STCN), "stcn") == 0 &&
              strcmp(lm_variant_name((lm_variant)9), "unknown") == 0);
}

/* ---- tensors that do not make the model --------------------------------------------------------------------------------- */

enum { MAX_TENSORS = 24, MAX_ELEMENTS = 256 };

/* A ptcn block: d_model 4, d_inner 8, d_state 2, dt_rank 1, d_conv 3, two branches. */
static const lm_tensor block[] = {
    {.name = "A_log", .rank = 2, .shape = {8, 2}},
    {.name = "D", .rank = 1, .shape = {8}},
    {.name = "conv_gates", .rank = 1, .shape = {2}},
    {.name = "conv1d_layers.0.weight", .rank = 3, .shape = {8, 1, 3}},
    {.name = "conv1d_layers.0.bias", .rank = 1, .shape = {8}},
    {.name = "conv1d_layers.1.weight", .rank = 3, .shape = {8, 1, 3}},
    {.name = "conv1d_layers.1.bias", .rank = 1, .shape = {8}},
    {.name = "in_proj.weight", .rank = 2, .shape = {16, 4}},
    {.name = "x_proj.weight", .rank = 2, .shape = {5, 8}},
    {.name = "dt_proj.weight", .rank = 2, .shape = {8, 1}},
    {.name = "dt_proj.bias", .rank = 1, .shape = {8}},
    {.name = "out_proj.weight", .rank = 2, .shape = {4, 8}},
};
enum { BLOCK_TENSORS = sizeof block / sizeof *block };

static const float ones[MAX_ELEMENTS] = {1, 1, 1, 1}, others[MAX_ELEMENTS] = {2, 2, 2, 2},
                   nans[MAX_ELEMENTS] = {NAN, INFINITY};

/* Writes the block without the tensor named `without`, and with `more`. */
static void write_block(const char *folder, const char *without, const lm_tensor *more, size_t count)
{
    lm_tensor tensors[MAX_TENSORS];
    size_t used = 0;
    for (size_t i = 0; i < BLOCK_TENSORS + count; i++) {
        const lm_tensor *tensor = i < BLOCK_TENSORS ? &block[i] : &more[i - BLOCK_TENSORS];
        if (i < BLOCK_TENSORS && without != NULL && strcmp(tensor->name, without) == 0) continue;
        tensors[used] = *tensor;
        tensors[used].count = 1;
        for (uint32_t j = 0; j < tensor->rank; j++) tensors[used].count *= tensor->shape[j];
        tensors[used].nbytes = 4 * tensors[used].count;
        if (tensors[used].data == NULL) tensors[used].data = ones;
        cr_assert(tensors[used].count <= MAX_ELEMENTS);
        used++;
    }
    char *path = lm_test_join(folder, "model.safetensors");
    cr_assert(lm_safetensors_write(path, tensors, used, NULL, 0) == LM_OK, "%s", lm_last_error());
    free(path);
}

Test(files, model_refused, .timeout = 60)
{
    static const struct {
        const char *name, *without;
        lm_tensor more[2];
        size_t count;
        const char *message;
    } cases[] = {
        {"missing", "A_log", {{0}}, 0, "tensor 'A_log': is missing"},
        {"missing branch", "conv1d_layers.1.bias", {{0}}, 0, "tensor 'conv1d_layers.1.bias': is missing"},
        {"missing branch 0", "conv1d_layers.0.weight", {{0}}, 0, "tensor 'conv1d.weight': is missing"},
        {"missing gates", "conv_gates", {{0}}, 0, "tensor 'conv_gates': is missing"},
        {"extra",
         NULL,
         {{.name = "E", .rank = 1, .shape = {1}}},
         1,
         "tensor 'E': does not belong to the model that config.json describes"},
        {"extra bias",
         NULL,
         {{.name = "in_proj.bias", .rank = 1, .shape = {16}}},
         1,
         "tensor 'in_proj.bias': does not belong to the model that config.json describes"},
        {"extra branch",
         NULL,
         {{.name = "conv1d_layers.2.bias", .rank = 1, .shape = {8}}},
         1,
         "tensor 'conv1d_layers.2.bias': does not belong to the model that config.json describes"},
        {"wrong shape",
         "D",
         {{.name = "D", .rank = 1, .shape = {7}}},
         1,
         "tensor 'D': has shape (7) where config.json asks for (8)"},
        {"wrong rank",
         "D",
         {{.name = "D", .rank = 2, .shape = {8, 1}}},
         1,
         "tensor 'D': has shape (8, 1) where config.json asks for (8)"},
        {"transposed",
         "x_proj.weight",
         {{.name = "x_proj.weight", .rank = 2, .shape = {8, 5}}},
         1,
         "tensor 'x_proj.weight': has shape (8, 5) where config.json asks for (5, 8)"},
        {"empty tensor",
         "D",
         {{.name = "D", .rank = 1, .shape = {0}}},
         1,
         "tensor 'D': has shape (0) where config.json asks for (8)"},
        {"alias of another value",
         NULL,
         {{.name = "conv1d.weight", .rank = 3, .shape = {8, 1, 3}, .data = others}},
         1,
         "tensor 'conv1d.weight': differs from 'conv1d_layers.0.weight', of which it is a second name"},
        {"alias of another shape",
         NULL,
         {{.name = "conv1d.bias", .rank = 1, .shape = {4}}},
         1,
         "tensor 'conv1d.bias': has shape (4) where config.json asks for (8)"},
        {"alias that is NaN",
         NULL,
         {{.name = "conv1d.bias", .rank = 1, .shape = {8}, .data = nans}},
         1,
         "tensor 'conv1d.bias': differs from 'conv1d_layers.0.bias', of which it is a second name"},
    };
    char *folder = lm_test_folder_create(), whole[1024];
    const lm_config config = {
        .variant = LM_VARIANT_PTCN, .d_model = 4, .d_state = 2, .d_conv = 3, .branches = 2, .dilations = {1, 2}};
    cr_assert(lm_config_write(folder, &config) == LM_OK);
    cr_expect(lm_model_inspect(folder, NULL) == LM_ERROR_IO, "no model.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_block(folder, cases[i].without, cases[i].more, cases[i].count);
        const lm_status status = lm_model_inspect(folder, NULL);
        snprintf(whole, sizeof whole, "%s/model.safetensors: %s", folder, cases[i].message);
        cr_expect(status == LM_ERROR_FORMAT, "%s: status %d", cases[i].name, status);
        if (status != LM_OK)
            cr_expect(strcmp(lm_last_error(), whole) == 0, "%s\n  is  %s\n  not %s", cases[i].name, lm_last_error(), whole);
    }
    cr_expect(lm_model_inspect(NULL, NULL) == LM_ERROR_INVALID_ARGUMENT);
    lm_test_folder_remove(folder);
}

Test(files, inspect, .timeout = 60)
{
    static const lm_tensor conv1d[] = {{.name = "conv1d.weight", .rank = 3, .shape = {8, 1, 3}},
                                       {.name = "conv1d.bias", .rank = 1, .shape = {8}}},
                           nan_d[] = {{.name = "D", .rank = 1, .shape = {8}, .data = nans}};
    char *folder = lm_test_folder_create();
    const lm_config config = {
        .variant = LM_VARIANT_PTCN, .d_model = 4, .d_state = 2, .d_conv = 3, .branches = 2, .dilations = {1, 2}};
    const uint64_t parameters = 16 + 8 + 2 + 2 * (24 + 8) + 64 + 40 + 8 + 8 + 32;
    cr_assert(lm_config_write(folder, &config) == LM_OK);
    lm_model_info info;
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            write_block(folder, "D", nan_d, 1); /* legal */
        else
            write_block(folder, NULL, conv1d, i == 1 ? 2 : 0); /* both names of branch 0 count once */
        memset(&info, 0xff, sizeof info);
        cr_assert(lm_model_inspect(folder, &info) == LM_OK, "%s", lm_last_error());
        cr_expect(info.parameters == parameters && info.tensors == BLOCK_TENSORS + (i == 1 ? 2 : 0));
        cr_expect(info.file_bytes == 4 * (parameters + (i == 1 ? 32 : 0)) && info.device_bytes == 4 * (parameters + 2));
        cr_expect(info.state_bytes == 4 * (5 + 2) * 8); /* the longer branch reaches 2 · 2 back */
        cr_expect(strcmp(info.types, "F32") == 0);
    }
    lm_test_folder_remove(folder);
}

/* The models that come with the source, counted by hand from their shapes. */
Test(files, shipped_models, .timeout = 60)
{
    static const struct {
        const char *name;
        lm_variant variant;
        uint64_t parameters, file_bytes, state_bytes, tensors;
        const char *types;
    } cases[] = {
        {"jargon", LM_VARIANT_PTCN, 2727704, 5569632, 6 * 4 * (17 + 16) * 512, 104, "F16 F32"},
        {"jargon-small-baseline", LM_VARIANT_BASELINE, 81856, 327424, 2 * 4 * (4 + 16) * 128, 22, "F32"},
        {"jargon-small-stcn", LM_VARIANT_STCN, 83648, 334592, 2 * 4 * (3 + 5 + 9 + 16) * 128, 30, "F32"},
        {"jargon-small-dpwc", LM_VARIANT_DPWC, 182726, 730904, 2 * 4 * (9 + 16) * 128, 44, "F32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = lm_test_join(lm_test_models_dir(), cases[i].name);
        lm_model_info info;
        cr_assert(lm_model_inspect(folder, &info) == LM_OK, "%s", lm_last_error());
        cr_expect(info.config.variant == cases[i].variant && info.config.byte_tokens && info.config.vocab_size == 256);
        cr_expect(info.parameters == cases[i].parameters, "%s: %llu parameters", cases[i].name,
                  (unsigned long long)info.parameters);
        cr_expect(info.file_bytes == cases[i].file_bytes, "%s: %llu bytes", cases[i].name,
                  (unsigned long long)info.file_bytes);
        cr_expect(info.state_bytes == cases[i].state_bytes, "%s: %llu of state", cases[i].name,
                  (unsigned long long)info.state_bytes);
        cr_expect(info.tensors == cases[i].tensors, "%s: %llu tensors", cases[i].name, (unsigned long long)info.tensors);
        cr_expect(strcmp(info.types, cases[i].types) == 0, "%s: %s", cases[i].name, info.types);
        free(folder);
    }
}
