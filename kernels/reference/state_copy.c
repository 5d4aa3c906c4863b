/* kernels/reference/state_copy.c: copies scan states to other entries of their buffer. */
#include <string.h>

#include "kernels/params.h"
#include "kernels/reference/reference.h"

void lm_reference_state_copy(const void *params, const int32_t *spec, void *const *buffers)
{
    (void)spec;
    const lm_state_copy_params *p = params;
    const int32_t *rows = buffers[0];
    float *state = buffers[1];
    const size_t words = (size_t)p->words;

    for (int b = 0; b < p->batch; b++) {
        const int32_t *row = rows + (size_t)b * (size_t)p->rows_stride;
        if (row[LM_ROW_LENGTH] == 0 || row[LM_ROW_SEEN] == 0) continue;
        memcpy(state + (size_t)row[LM_ROW_SLOT] * words, state + (size_t)row[LM_ROW_FROM] * words, words * sizeof *state);
    }
}
