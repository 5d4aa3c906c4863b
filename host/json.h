/* host/json.h: strict JSON from untrusted files, over jansson. Internal.
 *
 * jansson keeps integers exact and refuses duplicate keys (also through escapes), bytes that are not UTF-8, raw control
 * characters, lone surrogates, NUL, leading zeros, integers from 2^63 on and anything after the value. Added here, before
 * anything is allocated: limits on nesting and on the number of values, and, where it matters, the integer -0, which jansson
 * reads as 0.
 */
#ifndef LM_JSON_H
#define LM_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lm_json_limits {
    size_t depth;       /* most arrays and objects around a value */
    size_t keys;        /* most outermost keys */
    const char *noun;   /* what those name, for messages: "tensors" */
    size_t values;      /* most values in all */
    bool no_minus_zero; /* refuse the integer -0 */
} lm_json_limits;

/* Parses one JSON object; free it with json_decref. NULL puts the cause into error, one printable line, beginning with the
 * outermost key that it is under where there is one; error_size is at least 512. */
json_t *lm_json_parse(const char *text, size_t size, const lm_json_limits *limits, char *error, size_t error_size);

/* Text from a file for a message: in quotes, what is not printable ASCII escaped, a long one shortened. Returns out. */
enum { LM_JSON_QUOTED = 160 };
const char *lm_json_quote(char out[LM_JSON_QUOTED], const char *text, size_t length);

#endif
