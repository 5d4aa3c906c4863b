/* host/safetensors.c: opens, validates and reads safetensors files.
 *
 *     8 bytes: n, little-endian · n bytes of JSON, padded with spaces · the tensors' bytes
 *
 * The JSON maps names to {"dtype", "shape", "data_offsets": [begin, end]}, offsets from the end of the header, and
 * "__metadata__" to a map of strings. The tensors must tile the data exactly: no holes, no overlaps, nothing after them.
 */
#include "host/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/checked.h"
#include "host/file.h"
#include "host/json.h"
#include "runtime/backend.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and so must the machine be"
#endif

enum {
    MAX_HEADER = 100000000, /* the format's own limit */
    MAX_TENSORS = 100000,   /* ours; the largest models published have a few thousand */
    MAX_VALUES = 20 * MAX_TENSORS,
    MAX_NAME = 1024,
    ERROR_SIZE = 512,
};

struct lm_safetensors {
    lm_file file;
    uint64_t data; /* where the tensors' bytes start in the file */
    size_t count;
    lm_tensor *tensors;       /* in the order of their bytes */
    const lm_tensor **sorted; /* by name */
    json_t *metadata;         /* NULL where there is none */
};

/* ---- one tensor's description --------------------------------------------------------------------------------------- */

static const struct dtype {
    const char *name;
    lm_dtype dtype;
    uint32_t bytes;
} dtypes[] = {{"F32", LM_DTYPE_F32, 4}, {"F16", LM_DTYPE_F16, 2}, {"BF16", LM_DTYPE_BF16, 2}};

/* The format's others, so that a message can tell them from nonsense. */
static const char *const unsupported_dtypes[] = {
    "BOOL", "U8",  "I8", "U16",     "I16",     "U32",     "I32",     "U64",     "I64",
    "F64",  "C64", "F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0",
};

static bool read_dtype(const json_t *value, lm_tensor *tensor, uint32_t *bytes, char *error)
{
    if (!json_is_string(value)) {
        snprintf(error, ERROR_SIZE, "dtype is not a string");
        return false;
    }
    const char *name = json_string_value(value);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            tensor->dtype = dtypes[i].dtype;
            *bytes = dtypes[i].bytes;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof unsupported_dtypes / sizeof *unsupported_dtypes; i++) {
        if (strcmp(name, unsupported_dtypes[i]) == 0) {
            snprintf(error, ERROR_SIZE, "dtype %s is not supported (F32, F16 and BF16 are)", name);
            return false;
        }
    }
    char quoted[LM_JSON_QUOTED];
    snprintf(error, ERROR_SIZE, "unknown dtype %s", lm_json_quote(quoted, name, json_string_length(value)));
    return false;
}

/* An integer of 0 or more; `what` and `index` name it in messages. */
static bool read_size(const json_t *value, const char *what, size_t index, uint64_t *size, char *error)
{
    if (!json_is_integer(value)) {
        snprintf(error, ERROR_SIZE, "%s[%zu] is not an integer", what, index);
        return false;
    }
    if (json_integer_value(value) < 0) {
        snprintf(error, ERROR_SIZE, "%s[%zu] is negative", what, index);
        return false;
    }
    *size = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_shape(const json_t *value, lm_tensor *tensor, uint32_t bytes, char *error)
{
    if (!json_is_array(value)) {
        snprintf(error, ERROR_SIZE, "shape is not an array");
        return false;
    }
    size_t rank = json_array_size(value);
    if (rank > LM_TENSOR_MAX_RANK) {
        snprintf(error, ERROR_SIZE, "rank %zu is over %d", rank, LM_TENSOR_MAX_RANK);
        return false;
    }
    tensor->rank = (uint32_t)rank;
    for (size_t i = 0; i < rank; i++) {
        if (!read_size(json_array_get(value, i), "shape", i, &tensor->shape[i], error)) return false;
    }
    if (!lm_checked_count(tensor->shape, tensor->rank, &tensor->count) ||
        !lm_checked_multiply(tensor->count, bytes, &tensor->nbytes)) {
        snprintf(error, ERROR_SIZE, "the product of its shape overflows");
        return false;
    }
    return true;
}

/* Leaves the offset from the start of the data in tensor->offset. */
static bool read_offsets(const json_t *value, uint64_t data_size, lm_tensor *tensor, char *error)
{
    if (!json_is_array(value) || json_array_size(value) != 2) {
        snprintf(error, ERROR_SIZE, "data_offsets is not an array of two");
        return false;
    }
    uint64_t begin, end;
    if (!read_size(json_array_get(value, 0), "data_offsets", 0, &begin, error) ||
        !read_size(json_array_get(value, 1), "data_offsets", 1, &end, error))
        return false;
    if (begin > end) {
        snprintf(error, ERROR_SIZE, "data_offsets begin at %" PRIu64 " and end at %" PRIu64, begin, end);
        return false;
    }
    if (end > data_size) {
        snprintf(error, ERROR_SIZE, "data_offsets end at %" PRIu64 ", beyond the %" PRIu64 " bytes of data", end, data_size);
        return false;
    }
    if (end - begin != tensor->nbytes) {
        snprintf(error, ERROR_SIZE, "data_offsets span %" PRIu64 " bytes, its shape needs %" PRIu64, end - begin,
                 tensor->nbytes);
        return false;
    }
    tensor->offset = begin;
    return true;
}

static bool read_tensor(const json_t *entry, uint64_t data_size, lm_tensor *tensor, char *error)
{
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    if (!json_is_object(entry)) {
        snprintf(error, ERROR_SIZE, "not an object");
        return false;
    }
    for (size_t i = 0; i < 3; i++) {
        if (!json_object_get(entry, fields[i])) {
            snprintf(error, ERROR_SIZE, "%s is missing", fields[i]);
            return false;
        }
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)entry, key, value)
    {
        if (strcmp(key, fields[0]) && strcmp(key, fields[1]) && strcmp(key, fields[2])) {
            char quoted[LM_JSON_QUOTED];
            snprintf(error, ERROR_SIZE, "unknown field %s", lm_json_quote(quoted, key, strlen(key)));
            return false;
        }
    }
    uint32_t bytes = 0;
    return read_dtype(json_object_get(entry, fields[0]), tensor, &bytes, error) &&
           read_shape(json_object_get(entry, fields[1]), tensor, bytes, error) &&
           read_offsets(json_object_get(entry, fields[2]), data_size, tensor, error);
}

/* ---- the header ----------------------------------------------------------------------------------------------------- */

static int compare_offsets(const void *left, const void *right)
{
    const lm_tensor *a = left, *b = right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    if (a->nbytes != b->nbytes) /* empty ones first */
        return a->nbytes < b->nbytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_names(const void *left, const void *right)
{
    const lm_tensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static lm_status fail(const lm_safetensors *file, const char *cause)
{
    return lm_fail(NULL, LM_ERROR_FORMAT, "%s: %s", file->file.path, cause);
}

static lm_status fail_tensor(const lm_safetensors *file, const char *name, const char *cause)
{
    char quoted[LM_JSON_QUOTED];
    return lm_fail(NULL, LM_ERROR_FORMAT, "%s: tensor %s: %s", file->file.path, lm_json_quote(quoted, name, strlen(name)),
                   cause);
}

static lm_status check_metadata(const lm_safetensors *file, const json_t *metadata)
{
    if (!json_is_object(metadata)) return fail(file, "__metadata__ is not an object");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value)) {
            char cause[ERROR_SIZE], quoted[LM_JSON_QUOTED];
            snprintf(cause, sizeof cause, "__metadata__: %s is not a string", lm_json_quote(quoted, key, strlen(key)));
            return fail(file, cause);
        }
    }
    return LM_OK;
}

static lm_status read_tensors(lm_safetensors *file, json_t *root, uint64_t data_size)
{
    size_t capacity = json_object_size(root);
    file->tensors = calloc(capacity + 1, sizeof *file->tensors);
    file->sorted = calloc(capacity + 1, sizeof *file->sorted);
    if (!file->tensors || !file->sorted) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", file->file.path);
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            lm_status status = check_metadata(file, entry);
            if (status != LM_OK) return status;
            file->metadata = json_incref(entry);
            continue;
        }
        char cause[ERROR_SIZE];
        if (name[0] == '\0') return fail(file, "a tensor's name is empty");
        if (strlen(name) > MAX_NAME) return fail_tensor(file, name, "its name is over 1024 bytes");
        lm_tensor *tensor = &file->tensors[file->count];
        if (!read_tensor(entry, data_size, tensor, cause)) return fail_tensor(file, name, cause);
        tensor->file = file;
        tensor->name = strdup(name);
        if (!tensor->name) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", file->file.path);
        file->count++;
    }
    return LM_OK;
}

/* The tensors' bytes, one after the other, are the data, no more and no less. Turns offsets into places in the file. */
static lm_status check_tiling(lm_safetensors *file, uint64_t data_size)
{
    char cause[ERROR_SIZE], quoted[LM_JSON_QUOTED];
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_offsets);
    uint64_t at = 0;
    for (size_t i = 0; i < file->count; i++) {
        lm_tensor *tensor = &file->tensors[i];
        if (tensor->offset > at) {
            snprintf(cause, sizeof cause, "%" PRIu64 " bytes before its data belong to no tensor", tensor->offset - at);
            return fail_tensor(file, tensor->name, cause);
        }
        if (tensor->offset < at) {
            const char *other = file->tensors[i - 1].name;
            snprintf(cause, sizeof cause, "its data overlap those of %s", lm_json_quote(quoted, other, strlen(other)));
            return fail_tensor(file, tensor->name, cause);
        }
        at += tensor->nbytes; /* at most data_size: read_offsets has seen to it */
        tensor->offset += file->data;
    }
    if (at != data_size) {
        snprintf(cause, sizeof cause, "the last %" PRIu64 " bytes belong to no tensor", data_size - at);
        return fail(file, cause);
    }
    for (size_t i = 0; i < file->count; i++) file->sorted[i] = &file->tensors[i];
    qsort(file->sorted, file->count, sizeof *file->sorted, compare_names);
    return LM_OK;
}

static lm_status read_header(lm_safetensors *file, char *text, size_t size)
{
    static const lm_json_limits limits = {
        .depth = 3, .keys = MAX_TENSORS, .noun = "tensors", .values = MAX_VALUES, .no_minus_zero = true};
    char cause[ERROR_SIZE], message[ERROR_SIZE + 32];
    size_t end = size;
    while (end > 0 && text[end - 1] == ' ') end--;
    if (end == 0 || text[end - 1] != '}') return fail(file, "the header does not end with '}' and spaces");
    json_t *root = lm_json_parse(text, end, &limits, cause, sizeof cause);
    if (!root) {
        snprintf(message, sizeof message, "header: %s", cause);
        return fail(file, message);
    }
    uint64_t data_size = file->file.size - file->data;
    lm_status status = read_tensors(file, root, data_size);
    json_decref(root);
    return status == LM_OK ? check_tiling(file, data_size) : status;
}

static lm_status read_envelope(lm_safetensors *file)
{
    char cause[ERROR_SIZE];
    unsigned char head[9];
    if (file->file.size < sizeof head) {
        snprintf(cause, sizeof cause, "%" PRIu64 " bytes are too few for a safetensors file", file->file.size);
        return fail(file, cause);
    }
    lm_status status = lm_file_read(&file->file, 0, head, sizeof head);
    if (status != LM_OK) return status;
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--) size = size << 8 | head[i];
    if (size < 2 || size > MAX_HEADER) {
        snprintf(cause, sizeof cause, "header of %" PRIu64 " bytes, not 2 to %d", size, MAX_HEADER);
        return fail(file, cause);
    }
    if (size > file->file.size - 8) {
        snprintf(cause, sizeof cause, "header of %" PRIu64 " bytes, but only %" PRIu64 " follow", size, file->file.size - 8);
        return fail(file, cause);
    }
    if (head[8] != '{') return fail(file, "the header does not begin with '{'");
    char *text = malloc((size_t)size);
    if (!text) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", file->file.path);
    file->data = 8 + size;
    status = lm_file_read(&file->file, 8, text, (size_t)size);
    if (status == LM_OK) status = read_header(file, text, (size_t)size);
    free(text);
    return status;
}

lm_status lm_safetensors_open(const char *path, lm_safetensors **out)
{
    *out = NULL;
    lm_safetensors *file = calloc(1, sizeof *file);
    if (!file) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", path);
    lm_status status = lm_file_open(path, &file->file);
    if (status == LM_OK) status = read_envelope(file);
    if (status != LM_OK) lm_safetensors_close(&file);
    *out = file;
    return status;
}

void lm_safetensors_close(lm_safetensors **file)
{
    if (!file || !*file) return;
    lm_file_close(&(*file)->file);
    for (size_t i = 0; i < (*file)->count; i++) free((char *)(*file)->tensors[i].name);
    json_decref((*file)->metadata);
    free((*file)->tensors);
    free((*file)->sorted);
    free(*file);
    *file = NULL;
}

size_t lm_safetensors_count(const lm_safetensors *file) { return file->count; }

const lm_tensor *lm_safetensors_at(const lm_safetensors *file, size_t index)
{
    return index < file->count ? &file->tensors[index] : NULL;
}

const lm_tensor *lm_safetensors_find(const lm_safetensors *file, const char *name)
{
    const lm_tensor key = {.name = name}, *wanted = &key;
    const lm_tensor **found = bsearch(&wanted, file->sorted, file->count, sizeof *file->sorted, compare_names);
    return found ? *found : NULL;
}

const char *lm_safetensors_metadata(const lm_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}

const char *lm_safetensors_path(const lm_safetensors *file) { return file->file.path; }

/* ---- values --------------------------------------------------------------------------------------------------------- */

/* Exact for all 65536 values, in any rounding mode and with denormals flushed, because every result is normal. NaN keeps its
 * payload. Masks and no branches, so that compilers vectorise it. */
static void half_to_float(const uint16_t *in, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = in[i] & 0x7fffu, sign = (uint32_t)(in[i] & 0x8000u) << 16;
        float small = (float)(int32_t)magnitude * 0x1p-24f;
        uint32_t subnormal, normal = (magnitude << 13) + (112u << 23);
        memcpy(&subnormal, &small, sizeof subnormal);
        const uint32_t is_small = 0u - (magnitude < 0x0400u), is_special = 0u - (magnitude >= 0x7c00u);
        normal += is_special & 112u << 23;
        const uint32_t bits = sign | (is_small & subnormal) | (~is_small & normal);
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static void bfloat_to_float(const uint16_t *in, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)in[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

/* Bytes of a tensor, from its file or from memory. */
static lm_status read_bytes(const lm_tensor *tensor, uint64_t offset, void *out, size_t size)
{
    if (tensor->file) return lm_file_read(&tensor->file->file, tensor->offset + offset, out, size);
    memcpy(out, (const char *)tensor->data + offset, size);
    return LM_OK;
}

lm_status lm_tensor_to_float(const lm_tensor *tensor, uint64_t first, uint64_t count, float *out)
{
    if (first > tensor->count || count > tensor->count - first) {
        char quoted[LM_JSON_QUOTED];
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "tensor %s: elements %" PRIu64 " and %" PRIu64 " on of %" PRIu64,
                       lm_json_quote(quoted, tensor->name, strlen(tensor->name)), first, count, tensor->count);
    }
    if (count == 0) return LM_OK;
    if (tensor->dtype == LM_DTYPE_F32) return read_bytes(tensor, first * 4, out, (size_t)count * 4);
    uint16_t piece[8192];
    for (uint64_t done = 0; done < count;) {
        size_t n = count - done < 8192 ? (size_t)(count - done) : 8192;
        lm_status status = read_bytes(tensor, (first + done) * 2, piece, n * 2);
        if (status != LM_OK) return status;
        if (tensor->dtype == LM_DTYPE_F16)
            half_to_float(piece, n, out + done);
        else
            bfloat_to_float(piece, n, out + done);
        done += n;
    }
    return LM_OK;
}

lm_status lm_tensor_equal(const lm_tensor *a, const lm_tensor *b, bool *equal)
{
    *equal = false;
    if (a->rank != b->rank || memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) != 0) return LM_OK;
    float left[2048], right[2048];
    for (uint64_t done = 0; done < a->count;) {
        uint64_t n = a->count - done < 2048 ? a->count - done : 2048;
        lm_status status = lm_tensor_to_float(a, done, n, left);
        if (status == LM_OK) status = lm_tensor_to_float(b, done, n, right);
        if (status != LM_OK) return status;
        if (memcmp(left, right, (size_t)n * sizeof *left) != 0) return LM_OK;
        done += n;
    }
    *equal = true;
    return LM_OK;
}
