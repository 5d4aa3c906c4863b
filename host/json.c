/* host/json.c: strict JSON over jansson. */
#include "host/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* One pass over JSON text that knows strings from structure. It accepts everything that is JSON, and more. */
typedef struct scanner {
    const char *text;
    size_t size, at;
    size_t depth;
    size_t values, keys;
    /* The last string, without its quotes, and the last outermost key. */
    size_t string, string_length;
    size_t key, key_length;
    bool has_key;
} scanner;

/* Escapes what could spoil a terminal or a log: bytes outside printable ASCII. */
static size_t print_escaped(char *out, size_t size, const char *text, size_t length)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char piece[5];
        int n = c >= 0x20 && c < 0x7f ? snprintf(piece, sizeof piece, "%c", c) : snprintf(piece, sizeof piece, "\\x%02x", c);
        if (used + (size_t)n + 4 > size) {
            used += (size_t)snprintf(out + used, size - used, "...");
            break;
        }
        memcpy(out + used, piece, (size_t)n);
        used += (size_t)n;
    }
    out[used] = '\0';
    return used;
}

const char *lm_json_quote(char out[LM_JSON_QUOTED], const char *text, size_t length)
{
    out[0] = '\'';
    size_t used = print_escaped(out + 1, LM_JSON_QUOTED - 2, text, length);
    out[used + 1] = '\'';
    out[used + 2] = '\0';
    return out;
}

/* Moves over one structural character, string or anything else. */
static void scanner_step(scanner *s)
{
    char c = s->text[s->at++];
    switch (c) {
    case '"':
        s->string = s->at;
        while (s->at < s->size && s->text[s->at] != '"') s->at += s->text[s->at] == '\\' && s->at + 1 < s->size ? 2 : 1;
        s->string_length = (s->at < s->size ? s->at : s->size) - s->string;
        s->at += s->at < s->size;
        break;
    case ':':
        if (s->depth == 1) {
            s->key = s->string;
            s->key_length = s->string_length;
            s->has_key = true;
            s->keys++;
        }
        break;
    case '{':
    case '[':
        s->depth++;
        s->values++;
        break;
    case '}':
    case ']':
        s->depth -= s->depth > 0;
        if (s->depth <= 1) s->has_key = false;
        break;
    case ',':
        s->values++;
        if (s->depth == 1) s->has_key = false;
        break;
    }
}

static bool is_minus_zero(const char *text, size_t size, size_t at)
{
    if (text[at] != '-' || at + 1 >= size || text[at + 1] != '0') return false;
    return at + 2 >= size || !strchr(".eE0123456789", text[at + 2]) || text[at + 2] == '\0';
}

/* 'key': for what is under an outermost key, else nothing. */
static int print_place(const scanner *s, char *error, size_t error_size)
{
    char name[LM_JSON_QUOTED];
    if (!s->has_key) return snprintf(error, error_size, "%s", "");
    return snprintf(error, error_size, "%s: ", lm_json_quote(name, s->text + s->key, s->key_length));
}

static bool check_structure(const char *text, size_t size, const lm_json_limits *limits, char *error, size_t error_size)
{
    scanner s = {.text = text, .size = size};
    while (s.at < size) {
        if (limits->no_minus_zero && is_minus_zero(text, size, s.at)) {
            int n = print_place(&s, error, error_size);
            snprintf(error + n, error_size - (size_t)n, "negative zero at byte %zu", s.at);
            return false;
        }
        scanner_step(&s);
        if (s.depth > limits->depth) {
            int n = print_place(&s, error, error_size);
            snprintf(error + n, error_size - (size_t)n, "nested over %zu levels at byte %zu", limits->depth, s.at - 1);
            return false;
        }
        if (s.keys > limits->keys) {
            snprintf(error, error_size, "over %zu %s", limits->keys, limits->noun);
            return false;
        }
        if (s.values > limits->values) {
            snprintf(error, error_size, "over %zu values", limits->values);
            return false;
        }
    }
    return true;
}

/* Where jansson stopped, in our words: the key that it is under, and for a key that is there twice, that key. */
static void describe(const char *text, size_t size, const json_error_t *cause, char *error, size_t error_size)
{
    size_t stop = cause->position > 0 && (size_t)cause->position < size ? (size_t)cause->position : size;
    bool duplicate = json_error_code(cause) == json_error_duplicate_key;
    scanner s = {.text = text, .size = stop};
    while (s.at < stop) scanner_step(&s);
    int n = print_place(&s, error, error_size);
    if (duplicate) {
        char name[LM_JSON_QUOTED];
        snprintf(error + n, error_size - (size_t)n, "duplicate key %s",
                 lm_json_quote(name, text + s.string, s.string_length));
        return;
    }
    n += snprintf(error + n, error_size - (size_t)n, "not JSON at byte %d: ", cause->position);
    print_escaped(error + n, error_size - (size_t)n, cause->text, strlen(cause->text));
}

json_t *lm_json_parse(const char *text, size_t size, const lm_json_limits *limits, char *error, size_t error_size)
{
    if (!check_structure(text, size, limits, error, error_size)) return NULL;
    json_error_t cause;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &cause);
    if (!root) {
        describe(text, size, &cause, error, error_size);
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        snprintf(error, error_size, "not a JSON object");
        return NULL;
    }
    return root;
}
