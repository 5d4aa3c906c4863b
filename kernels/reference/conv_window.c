/* kernels/reference/conv_window.c: conv, then conv_state. */
#include "kernels/reference/reference.h"

void lm_reference_conv_window(const void *params, const int32_t *spec, void *const *buffers)
{
    void *const state_buffers[] = {buffers[0], buffers[6], buffers[5]};
    lm_reference_conv(params, spec, buffers);
    lm_reference_conv_state(params, spec, state_buffers);
}
