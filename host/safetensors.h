/* host/safetensors.h: reads and writes safetensors files. Input is not trusted. Internal.
 *
 * Everything is validated before anything is allocated for tensors: the envelope, strict JSON, keys, offsets, sizes.
 * Every refusal is LM_ERROR_FORMAT (LM_ERROR_IO when the file cannot be read) with one line that names the file, the tensor
 * where there is one, and the cause.
 *
 * Tensor data is read on demand, piece by piece, straight from the page cache, and not through a mapping: a mapped file that
 * somebody cuts short kills the process with SIGBUS, and a library can neither rule that out nor install a handler for it.
 * Reading costs the same copy that the conversion to float32 makes anyway, and no more memory than one piece.
 */
#ifndef LM_SAFETENSORS_H
#define LM_SAFETENSORS_H

#include "litemamba/runtime.h"

typedef enum lm_dtype { LM_DTYPE_F32, LM_DTYPE_F16, LM_DTYPE_BF16 } lm_dtype;

enum { LM_TENSOR_MAX_RANK = 8 };

typedef struct lm_safetensors lm_safetensors;

typedef struct lm_tensor {
    const char *name; /* owned by the file */
    lm_dtype dtype;
    uint32_t rank;
    uint64_t shape[LM_TENSOR_MAX_RANK];
    uint64_t count;             /* elements; the product of shape, checked */
    uint64_t nbytes;            /* count · size of dtype, checked */
    const lm_safetensors *file; /* where it is read from; NULL for a tensor in memory */
    uint64_t offset;            /* of its first byte in the file */
    const void *data;           /* a tensor in memory (to be written); NULL for one of a file */
} lm_tensor;

/* Opens the file and reads its header. Only regular files, found out without blocking on a FIFO. The file stays open, for
 * reading only, until it is closed; it may be read from several threads. */
lm_status lm_safetensors_open(const char *path, lm_safetensors **file);
void lm_safetensors_close(lm_safetensors **file);
size_t lm_safetensors_count(const lm_safetensors *file);
const lm_tensor *lm_safetensors_at(const lm_safetensors *file, size_t index);
/* NULL when there is none of that name. Faster than linear. */
const lm_tensor *lm_safetensors_find(const lm_safetensors *file, const char *name);
const char *lm_safetensors_path(const lm_safetensors *file);
/* An entry of "__metadata__", or NULL. Owned by the file. */
const char *lm_safetensors_metadata(const lm_safetensors *file, const char *key);

/* Converts count elements from element `first` on to float32, exactly. LM_ERROR_INVALID_ARGUMENT when `first + count` is not
 * within the tensor; LM_ERROR_IO when the file cannot be read or was changed since it was opened (its size or modification
 * time differs); `out` is then undefined. */
lm_status lm_tensor_to_float(const lm_tensor *tensor, uint64_t first, uint64_t count, float *out);

/* Whether two tensors have the same shape and, as float32, the same bits. Fails as lm_tensor_to_float does. */
lm_status lm_tensor_equal(const lm_tensor *a, const lm_tensor *b, bool *equal);

/* An entry to write into "__metadata__", where "format": "pt" always is. */
typedef struct lm_metadata {
    const char *key, *value;
} lm_metadata;

/* Writes float32 tensors (data aligned float, dtype F32) and metadata (NULL for none), atomically (a temporary file beside
 * it, flushed to the disk, then renamed). Tensors are laid out in the order given. */
lm_status lm_safetensors_write(const char *path, const lm_tensor *tensors, size_t count, const lm_metadata *metadata,
                               size_t metadata_count);

#endif
