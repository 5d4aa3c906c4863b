/* host/cli/npy.h: NumPy's .npy files, float32 in C order, for the command and the tests. */
#ifndef LM_NPY_H
#define LM_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LM_NPY_MAX_RANK = 8 };

typedef struct lm_npy {
    uint32_t rank;
    uint64_t shape[LM_NPY_MAX_RANK];
    uint64_t count; /* product of shape, checked */
    float *data;    /* malloc, freed by lm_npy_free */
} lm_npy;

/* Format versions 1 to 3; '<f4', and '<f8' rounded to float32; C order. False puts one line, with the file and the cause, into
 * error. */
bool lm_npy_read(const char *path, lm_npy *array, char *error, size_t error_size);
void lm_npy_free(lm_npy *array);
/* Written to a temporary file beside it and renamed. */
bool lm_npy_write(const char *path, const float *data, uint32_t rank, const uint64_t *shape, char *error, size_t error_size);

#endif
