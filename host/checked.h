/* host/checked.h: the one place where sizes from untrusted files are added and multiplied. Internal.
 *
 * Every function answers false, and leaves *result alone, when the exact result does not fit.
 */
#ifndef LM_CHECKED_H
#define LM_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool lm_checked_add(uint64_t a, uint64_t b, uint64_t *result)
{
    if (a > UINT64_MAX - b) return false;
    *result = a + b;
    return true;
}

static inline bool lm_checked_multiply(uint64_t a, uint64_t b, uint64_t *result)
{
    if (b != 0 && a > UINT64_MAX / b) return false;
    *result = a * b;
    return true;
}

/* The number of elements of a shape; 1 for rank 0. A shape whose other dimensions overflow is refused even when one is 0: it
 * would hide a product that nothing else checks. */
static inline bool lm_checked_count(const uint64_t *shape, uint32_t rank, uint64_t *result)
{
    uint64_t count = 1;
    bool empty = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0)
            empty = true;
        else if (!lm_checked_multiply(count, shape[i], &count))
            return false;
    }
    *result = empty ? 0 : count;
    return true;
}

/* count · size as a size_t, for malloc. */
static inline bool lm_checked_bytes(uint64_t count, size_t size, size_t *result)
{
    uint64_t bytes;
    if (!lm_checked_multiply(count, size, &bytes) || bytes > SIZE_MAX) return false;
    *result = (size_t)bytes;
    return true;
}

#endif
