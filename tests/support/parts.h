/* tests/support/parts.h: safetensors files put together by hand. */
#ifndef LM_TEST_PARTS_H
#define LM_TEST_PARTS_H

#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

/* The fields of a tensor of four bytes, which is what most cases have. */
#define FOUR                         "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
#define TENSOR(name, shape, offsets) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* 8 bytes of `declared`, the header, and `data` bytes that count 0, 1, 2 … */
static inline void lm_test_write_parts(const char *path, uint64_t declared, const char *header, size_t header_size,
                                       size_t data)
{
    unsigned char *bytes = malloc(8 + header_size + data);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(declared >> 8 * i);
    memcpy(bytes + 8, header, header_size);
    for (size_t i = 0; i < data; i++) bytes[8 + header_size + i] = (unsigned char)i;
    lm_test_file_write(path, bytes, 8 + header_size + data);
    free(bytes);
}

#endif
