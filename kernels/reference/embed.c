/* kernels/reference/embed.c: looks token rows up in one piece of a table. */
#include <string.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_embed(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_embed_params *p = params;
    const int32_t *tokens = buffers[0];
    const float *table = buffers[1];
    float *y = buffers[2];
    const size_t cols = (size_t)p->cols;

    for (int r = 0; r < p->rows; r++) {
        const int64_t at = (int64_t)tokens[r] - p->first;
        if (at >= 0 && at < p->count) memcpy(y + (size_t)r * cols, table + (size_t)at * cols, cols * sizeof(float));
    }
}
