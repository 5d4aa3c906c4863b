/* host/safetensors_write.c: writes safetensors files. */
#include "host/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "host/checked.h"
#include "host/file.h"
#include "host/json.h"
#include "runtime/backend.h"

static json_t *describe_tensor(const lm_tensor *tensor, uint64_t begin)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < tensor->rank; i++) json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)(begin + tensor->nbytes));
}

/* What this writes, the reader accepts: it would refuse anything else. */
static const char *check_tensor(const lm_tensor *tensor, uint64_t *end)
{
    uint64_t count, nbytes;
    if (!tensor->name || tensor->name[0] == '\0') return "its name is empty";
    if (strlen(tensor->name) > 1024) return "its name is over 1024 bytes";
    if (strcmp(tensor->name, "__metadata__") == 0) return "its name is reserved";
    if (tensor->dtype != LM_DTYPE_F32) return "only F32 is written";
    if (tensor->rank > LM_TENSOR_MAX_RANK) return "its rank is over 8";
    if (!lm_checked_count(tensor->shape, tensor->rank, &count) || !lm_checked_multiply(count, 4, &nbytes) ||
        count != tensor->count || nbytes != tensor->nbytes)
        return "its shape is not of its size";
    if (nbytes > 0 && !tensor->data) return "it has no data";
    if (!lm_checked_add(*end, nbytes, end) || *end > INT64_MAX) return "the file would be too large";
    return NULL;
}

static lm_status build_header(const char *path, const lm_tensor *tensors, size_t count, const lm_metadata *metadata,
                              size_t metadata_count, char **text)
{
    uint64_t begin = 0;
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt"), *entries = json_object_get(root, "__metadata__");
    for (size_t i = 0; i < metadata_count; i++)
        json_object_set_new(entries, metadata[i].key, json_string(metadata[i].value));
    for (size_t i = 0; i < count; i++) {
        uint64_t end = begin;
        const char *cause = check_tensor(&tensors[i], &end);
        if (!cause && json_object_get(root, tensors[i].name)) cause = "there are two of its name";
        if (cause) {
            char quoted[LM_JSON_QUOTED];
            const char *name = tensors[i].name ? tensors[i].name : "";
            json_decref(root);
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "%s: tensor %s: %s", path,
                           lm_json_quote(quoted, name, strlen(name)), cause);
        }
        json_object_set_new(root, tensors[i].name, describe_tensor(&tensors[i], begin));
        begin = end;
    }
    /* Every call above copes with the NULL of one that failed for want of memory (or of a name that is not UTF-8): what is
     * missing at the end tells. */
    *text = json_object_size(root) == count + 1 && json_object_size(entries) == metadata_count + 1 ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!*text) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory, or a tensor's name is not UTF-8", path);
    return LM_OK;
}

static lm_status write_header(lm_file_writer *writer, const char *text)
{
    const size_t length = strlen(text), size = (length + 7) & ~(size_t)7; /* the data after it begin aligned */
    unsigned char head[8];
    for (int i = 0; i < 8; i++) head[i] = (unsigned char)((uint64_t)size >> 8 * i);
    lm_status status = lm_file_append(writer, head, sizeof head);
    if (status == LM_OK) status = lm_file_append(writer, text, length);
    if (status == LM_OK) status = lm_file_append(writer, "       ", size - length);
    return status;
}

lm_status lm_safetensors_write(const char *path, const lm_tensor *tensors, size_t count, const lm_metadata *metadata,
                               size_t metadata_count)
{
    char *text = NULL;
    lm_file_writer writer;
    lm_status status = build_header(path, tensors, count, metadata, metadata_count, &text);
    if (status != LM_OK) return status;
    status = lm_file_create(path, &writer);
    if (status == LM_OK) {
        status = write_header(&writer, text);
        for (size_t i = 0; i < count && status == LM_OK; i++)
            status = lm_file_append(&writer, tensors[i].data, (size_t)tensors[i].nbytes);
        if (status == LM_OK)
            status = lm_file_commit(&writer);
        else
            lm_file_abandon(&writer);
    }
    free(text);
    return status;
}
