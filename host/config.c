/* host/config.c: what a model's configuration may be, and config.json. */
#include "host/config.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/file.h"
#include "host/json.h"
#include "runtime/backend.h"

enum {
    MAX_FILE = 1 << 20,
    MAX_WIDTH = 65536,
    MAX_D_INNER = 1 << 20,
    MAX_REACH = 1 << 24,
    MAX_LAYERS = 4096,
    MAX_VOCAB = 1 << 24,
    ERROR_SIZE = 512,
};

static const char *const variant_names[] = {"baseline", "ptcn", "stcn", "dpwc"};

const char *lm_variant_name(lm_variant variant) { return (unsigned)variant < 4 ? variant_names[variant] : "unknown"; }

/* ---- a configuration in memory -------------------------------------------------------------------------------------- */

static bool check_range(const char *field, uint32_t value, uint32_t most, char *error)
{
    if (value >= 1 && value <= most) return true;
    snprintf(error, ERROR_SIZE, "%s is %" PRIu32 ", not 1 to %" PRIu32, field, value, most);
    return false;
}

static bool check_branches(const lm_config *config, char *error)
{
    if (!check_range("branches", config->branches, LM_MAX_BRANCHES, error)) return false;
    for (uint32_t i = 0; i < config->branches; i++) {
        char field[32];
        snprintf(field, sizeof field, "dilations[%" PRIu32 "]", i);
        if (!check_range(field, config->dilations[i], MAX_WIDTH, error)) return false;
        uint64_t reach = (uint64_t)(config->d_conv - 1) * config->dilations[i];
        if (reach > MAX_REACH) {
            snprintf(error, ERROR_SIZE, "%s reaches back %" PRIu64 " tokens, over %d", field, reach, MAX_REACH);
            return false;
        }
    }
    if (config->variant == LM_VARIANT_BASELINE && (config->branches != 1 || config->dilations[0] != 1)) {
        snprintf(error, ERROR_SIZE, "baseline has one branch of dilation 1");
        return false;
    }
    return true;
}

static bool check_model(const lm_config *config, char *error)
{
    if (config->layers == 0) return true;
    if (!check_range("layers", config->layers, MAX_LAYERS, error)) return false;
    if (!check_range("vocab_size", config->vocab_size, MAX_VOCAB, error)) return false;
    if (!(config->norm_epsilon > 0 && config->norm_epsilon <= 1)) {
        snprintf(error, ERROR_SIZE, "norm_epsilon is %g, not above 0 and up to 1", config->norm_epsilon);
        return false;
    }
    return true;
}

static bool complete(lm_config *config, char *error)
{
    if ((unsigned)config->variant > LM_VARIANT_DPWC) {
        snprintf(error, ERROR_SIZE, "variant is %d, which is none", (int)config->variant);
        return false;
    }
    if (!check_range("d_model", config->d_model, MAX_WIDTH, error)) return false;
    if (config->d_state == 0) config->d_state = 16;
    if (config->d_conv == 0) config->d_conv = 4;
    if (config->branches == 0) config->branches = 1;
    for (uint32_t i = 0; i < config->branches && i < LM_MAX_BRANCHES; i++)
        if (config->dilations[i] == 0) config->dilations[i] = 1;
    if (config->expand == 0) config->expand = 2;
    if (config->dt_rank == 0) config->dt_rank = (config->d_model + 15) / 16;
    if (config->norm_epsilon == 0) config->norm_epsilon = 1e-5;

    /* Compared as a double, before the cast: what does not fit must not be cast, and NaN fails both. */
    double d_inner = config->expand * config->d_model;
    if (!(d_inner >= 1 && d_inner < (double)MAX_D_INNER + 1)) {
        snprintf(error, ERROR_SIZE, "expand is %.10g, which makes d_inner %.10g, not 1 to %d", config->expand, d_inner,
                 MAX_D_INNER);
        return false;
    }
    return check_range("d_state", config->d_state, LM_MAX_STATE, error) &&
           check_range("d_conv", config->d_conv, MAX_WIDTH, error) &&
           check_range("dt_rank", config->dt_rank, MAX_WIDTH, error) && check_branches(config, error) &&
           check_model(config, error);
}

lm_status lm_config_complete(lm_config *config)
{
    char error[ERROR_SIZE];
    if (!config) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_config_complete: config is NULL");
    if (!complete(config, error)) return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s", error);
    return LM_OK;
}

uint32_t lm_config_d_inner(const lm_config *config) { return (uint32_t)(config->expand * config->d_model); }

/* ---- reading -------------------------------------------------------------------------------------------------------- */

/* An integer of 1 to `most`; a key that is not there leaves *out as it is. */
static bool read_integer(const json_t *root, const char *key, uint32_t most, uint32_t *out, char *error)
{
    const json_t *value = json_object_get(root, key);
    if (!value) return true;
    if (!json_is_integer(value)) {
        snprintf(error, ERROR_SIZE, "\"%s\" is not an integer", key);
        return false;
    }
    json_int_t integer = json_integer_value(value);
    if (integer < 1 || integer > most) {
        snprintf(error, ERROR_SIZE, "\"%s\" is %" JSON_INTEGER_FORMAT ", not 1 to %" PRIu32, key, integer, most);
        return false;
    }
    *out = (uint32_t)integer;
    return true;
}

/* A number above 0 and up to `most`. */
static bool read_number(const json_t *root, const char *key, double most, double *out, char *error)
{
    const json_t *value = json_object_get(root, key);
    if (!value) return true;
    if (!json_is_number(value)) {
        snprintf(error, ERROR_SIZE, "\"%s\" is not a number", key);
        return false;
    }
    double number = json_number_value(value);
    if (!(number > 0 && number <= most)) {
        snprintf(error, ERROR_SIZE, "\"%s\" is %.10g, not above 0 and up to %.10g", key, number, most);
        return false;
    }
    *out = number;
    return true;
}

static bool read_boolean(const json_t *root, const char *key, bool *out, char *error)
{
    const json_t *value = json_object_get(root, key);
    if (!value) return true;
    if (!json_is_boolean(value)) {
        snprintf(error, ERROR_SIZE, "\"%s\" is not true or false", key);
        return false;
    }
    *out = json_is_true(value);
    return true;
}

/* *out is NULL when the key is not there. */
static bool read_string(const json_t *root, const char *key, const char **out, char *error)
{
    const json_t *value = json_object_get(root, key);
    *out = NULL;
    if (!value) return true;
    if (!json_is_string(value)) {
        snprintf(error, ERROR_SIZE, "\"%s\" is not a string", key);
        return false;
    }
    *out = json_string_value(value);
    return true;
}

static bool read_variant(const json_t *root, lm_config *config, char *error)
{
    const char *name;
    if (!read_string(root, "variant", &name, error)) return false;
    if (!name) {
        snprintf(error, ERROR_SIZE,
                 "\"variant\" is missing and cannot be told from the tensors: add \"variant\": \"baseline\", \"ptcn\", "
                 "\"stcn\" or \"dpwc\"");
        return false;
    }
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, variant_names[i]) == 0) {
            config->variant = (lm_variant)i;
            return true;
        }
    }
    char quoted[LM_JSON_QUOTED];
    snprintf(error, ERROR_SIZE, "\"variant\" is %s, not baseline, ptcn, stcn or dpwc",
             lm_json_quote(quoted, name, strlen(name)));
    return false;
}

static bool read_dilations(const json_t *root, lm_config *config, char *error)
{
    const json_t *value = json_object_get(root, "conv_dilations");
    if (!value && config->variant == LM_VARIANT_BASELINE) return true;
    if (!value) {
        snprintf(error, ERROR_SIZE,
                 "\"conv_dilations\" is missing and cannot be told from the tensors: add the dilation of every branch, such "
                 "as \"conv_dilations\": [1, 2, 4, 8]");
        return false;
    }
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count < 1 || count > LM_MAX_BRANCHES) {
        snprintf(error, ERROR_SIZE, "\"conv_dilations\" is not an array of 1 to %d integers", LM_MAX_BRANCHES);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(value, i);
        json_int_t dilation = json_integer_value(item);
        if (!json_is_integer(item) || dilation < 1 || dilation > MAX_WIDTH) {
            snprintf(error, ERROR_SIZE, "\"conv_dilations\"[%zu] is not an integer of 1 to %d", i, MAX_WIDTH);
            return false;
        }
        config->dilations[i] = (uint32_t)dilation;
    }
    config->branches = (uint32_t)count;
    return true;
}

static bool read_dt_rank(const json_t *root, lm_config *config, char *error)
{
    const json_t *value = json_object_get(root, "time_step_rank");
    if (json_is_string(value) && strcmp(json_string_value(value), "auto") == 0) return true;
    if (value && !json_is_integer(value)) {
        snprintf(error, ERROR_SIZE, "\"time_step_rank\" is not an integer or \"auto\"");
        return false;
    }
    return read_integer(root, "time_step_rank", MAX_WIDTH, &config->dt_rank, error);
}

/* "architectures" says whether it is a language model; where it names neither of ours, having layers does. */
static bool read_kind(const json_t *root, bool *language, char *error)
{
    const json_t *value = json_object_get(root, "architectures"), *item;
    size_t i;
    *language = json_object_get(root, "num_hidden_layers") != NULL;
    if (!value) return true;
    if (!json_is_array(value)) {
        snprintf(error, ERROR_SIZE, "\"architectures\" is not an array of strings");
        return false;
    }
    bool block = false, model = false;
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item)) {
            snprintf(error, ERROR_SIZE, "\"architectures\" is not an array of strings");
            return false;
        }
        block |= strcmp(json_string_value(item), "LiteMambaBlock") == 0;
        model |= strcmp(json_string_value(item), "LiteMambaForCausalLM") == 0;
    }
    if (block && model) {
        snprintf(error, ERROR_SIZE, "\"architectures\" names both LiteMambaBlock and LiteMambaForCausalLM");
        return false;
    }
    if (block || model) *language = model;
    return true;
}

static bool read_language_model(const json_t *root, lm_config *config, char *error)
{
    const char *tokenizer;
    bool tied = true;
    if (!read_integer(root, "num_hidden_layers", MAX_LAYERS, &config->layers, error) ||
        !read_integer(root, "vocab_size", MAX_VOCAB, &config->vocab_size, error) ||
        !read_number(root, "layer_norm_epsilon", 1, &config->norm_epsilon, error) ||
        !read_boolean(root, "tie_word_embeddings", &tied, error) || !read_string(root, "tokenizer_class", &tokenizer, error))
        return false;
    if (config->layers == 0 || config->vocab_size == 0) {
        snprintf(error, ERROR_SIZE, "\"%s\" is missing: a language model needs it",
                 config->layers == 0 ? "num_hidden_layers" : "vocab_size");
        return false;
    }
    config->untied = !tied;
    config->byte_tokens = tokenizer && strcmp(tokenizer, "bytes") == 0;
    return true;
}

static bool read_config(const json_t *root, lm_config *config, char *error)
{
    const char *model_type; /* only its type matters: a folder of the original Mamba becomes ours by adding "variant" */
    bool language, conv_bias = true;
    if (!read_string(root, "model_type", &model_type, error) || !read_kind(root, &language, error) ||
        !read_variant(root, config, error) || !read_integer(root, "hidden_size", MAX_WIDTH, &config->d_model, error) ||
        !read_integer(root, "state_size", LM_MAX_STATE, &config->d_state, error) ||
        !read_integer(root, "conv_kernel", MAX_WIDTH, &config->d_conv, error) || !read_dilations(root, config, error) ||
        !read_number(root, "expand", MAX_D_INNER, &config->expand, error) || !read_dt_rank(root, config, error) ||
        !read_boolean(root, "use_bias", &config->bias, error) || !read_boolean(root, "use_conv_bias", &conv_bias, error) ||
        (language && !read_language_model(root, config, error)))
        return false;
    if (config->d_model == 0) {
        snprintf(error, ERROR_SIZE, "\"hidden_size\" is missing: add the model's width, such as \"hidden_size\": 512");
        return false;
    }
    config->no_conv_bias = !conv_bias;
    return complete(config, error);
}

static lm_status parse_file(const lm_file *file, lm_config *config)
{
    static const lm_json_limits limits = {.depth = 32, .keys = 10000, .noun = "keys", .values = 100000};
    char error[ERROR_SIZE];
    if (file->size > MAX_FILE)
        return lm_fail(NULL, LM_ERROR_FORMAT, "%s: %" PRIu64 " bytes, over %d", file->path, file->size, MAX_FILE);
    char *text = malloc((size_t)file->size + 1);
    if (!text) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", file->path);
    lm_status status = lm_file_read(file, 0, text, (size_t)file->size);
    if (status == LM_OK) {
        json_t *root = lm_json_parse(text, (size_t)file->size, &limits, error, sizeof error);
        if (!root || !read_config(root, config, error)) status = lm_fail(NULL, LM_ERROR_FORMAT, "%s: %s", file->path, error);
        json_decref(root);
    }
    free(text);
    return status;
}

lm_status lm_config_read(const char *folder, lm_config *config)
{
    lm_file file;
    *config = (lm_config){0};
    char *path = lm_file_join(folder, "config.json");
    if (!path) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", folder);
    lm_status status = lm_file_open(path, &file);
    if (status == LM_OK) {
        status = parse_file(&file, config);
        lm_file_close(&file);
    }
    free(path);
    return status;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static json_t *number(double value)
{
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

/* The fewest digits that bring both numbers back exactly. */
static int digits_needed(double a, double b)
{
    int digits = 1;
    for (; digits < 17; digits++) {
        char text[2][40];
        snprintf(text[0], sizeof text[0], "%.*g", digits, a);
        snprintf(text[1], sizeof text[1], "%.*g", digits, b);
        if (strtod(text[0], NULL) == a && strtod(text[1], NULL) == b) break;
    }
    return digits;
}

static json_t *describe_config(const lm_config *config)
{
    const bool language = config->layers != 0;
    json_t *root = json_pack("{s:[s], s:s, s:s, s:i}", "architectures", language ? "LiteMambaForCausalLM" : "LiteMambaBlock",
                             "model_type", "lite_mamba", "variant", lm_variant_name(config->variant), "hidden_size",
                             (int)config->d_model);
    json_t *dilations = json_array();
    for (uint32_t i = 0; i < config->branches; i++) json_array_append_new(dilations, json_integer(config->dilations[i]));
    if (language) json_object_set_new(root, "num_hidden_layers", json_integer(config->layers));
    json_object_set_new(root, "state_size", json_integer(config->d_state));
    json_object_set_new(root, "conv_kernel", json_integer(config->d_conv));
    json_object_set_new(root, "conv_dilations", dilations);
    json_object_set_new(root, "expand", number(config->expand));
    json_object_set_new(root, "time_step_rank", json_integer(config->dt_rank));
    json_object_set_new(root, "use_bias", json_boolean(config->bias));
    json_object_set_new(root, "use_conv_bias", json_boolean(!config->no_conv_bias));
    if (language) {
        json_object_set_new(root, "vocab_size", json_integer(config->vocab_size));
        json_object_set_new(root, "layer_norm_epsilon", number(config->norm_epsilon));
        json_object_set_new(root, "tie_word_embeddings", json_boolean(!config->untied));
        if (config->byte_tokens) json_object_set_new(root, "tokenizer_class", json_string("bytes"));
    }
    return root;
}

static lm_status write_text(const char *path, const char *text)
{
    lm_file_writer writer;
    lm_status status = lm_file_create(path, &writer);
    if (status != LM_OK) return status;
    status = lm_file_append(&writer, text, strlen(text));
    if (status == LM_OK) status = lm_file_append(&writer, "\n", 1);
    if (status == LM_OK) return lm_file_commit(&writer);
    lm_file_abandon(&writer);
    return status;
}

lm_status lm_config_write(const char *folder, const lm_config *config)
{
    lm_config checked = *config;
    lm_status status = lm_config_complete(&checked);
    if (status != LM_OK) return status;
    char *path = lm_file_join(folder, "config.json");
    json_t *root = describe_config(&checked);
    const int digits = digits_needed(checked.expand, checked.norm_epsilon);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
    const size_t keys = 11 + (checked.layers != 0 ? 4u + checked.byte_tokens : 0);
    if (!path || !text || json_object_size(root) != keys)
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", folder);
    else
        status = write_text(path, text);
    json_decref(root);
    free(text);
    free(path);
    return status;
}
