/* kernels/tuning.h: choices that depend on what a device is good at. Internal.
 *
 * Each choice ("knob", kernels/tuning.def) has a few candidates, all of them right on every device. lm_device.tuning holds one
 * value a knob; 0 leaves it to the rules of launch_<family>.c. A device opens with what tuning.c knows of its family; host/tune.c
 * measures the candidates, and loads what was measured. */
#ifndef LM_TUNING_H
#define LM_TUNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/backend.h"

typedef enum lm_knob {
#define LM_KNOB(id, name, what, ...) id,
#include "kernels/tuning.def"
#undef LM_KNOB
    LM_KNOB_COUNT
} lm_knob;

enum { LM_KNOB_CANDIDATES = 8 };

typedef struct lm_knob_info {
    const char *name, *what;
    int32_t candidates[LM_KNOB_CANDIDATES];
    size_t count;
} lm_knob_info;

const lm_knob_info *lm_knob_get(lm_knob knob);
bool lm_knob_find(const char *name, lm_knob *knob);

/* The device's value of a knob; 0: by rule. */
static inline int32_t lm_knob_of(const lm_device *device, lm_knob knob) { return device->tuning[knob]; }
/* False, and nothing is changed, where the value is neither 0 nor a candidate. Lists recorded before stay as they are. */
bool lm_knob_set(lm_device *device, lm_knob knob, int32_t value);

typedef enum lm_device_family {
    LM_FAMILY_OTHER, LM_FAMILY_NVIDIA, LM_FAMILY_AMD, LM_FAMILY_INTEL, LM_FAMILY_ARM, LM_FAMILY_QUALCOMM, LM_FAMILY_POCL,
    LM_FAMILY_LLVMPIPE
} lm_device_family;
lm_device_family lm_family_of(const lm_device_info *info);

/* Sets what is known of the device's family; the runtime calls it when it opens a device. */
void lm_tuning_defaults(lm_device *device);

#endif
