/* kernels/tuning.h: choices that depend on what a device is good at. Internal.
 *
 * Each choice ("knob", kernels/tuning.def) has a few candidates, all of them right on every device. lm_device.tuning holds one
 * value a knob; 0 leaves it to the rules of launch_<family>.c. Rows for known families are in tuning.c. */
#ifndef LM_TUNING_H
#define LM_TUNING_H

#include <stdint.h>

#include "runtime/backend.h"

typedef enum lm_knob {
#define LM_KNOB(id, name, what, ...) id,
#include "kernels/tuning.def"
#undef LM_KNOB
    LM_KNOB_COUNT
} lm_knob;

/* The device's value of a knob; 0: by rule. */
static inline int32_t lm_knob_of(const lm_device *device, lm_knob knob) { return device->tuning[knob]; }

#endif
