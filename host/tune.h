/* host/tune.h: what `litemamba tune` measures, and where what it found is kept. Internal.
 *
 * tune.c  measures      tune_file.c  keeps and loads
 */
#ifndef LM_TUNE_H
#define LM_TUNE_H

#include "kernels/tuning.h"
#include "litemamba/litemamba.h"

/* A case that a knob is measured on. */
typedef struct lm_tune_row {
    lm_knob knob;
    const char *kernel;    /* as lm_case_create_named has it */
    const char *gpu, *cpu; /* the shape on a GPU; on a processor, NULL: not there */
} lm_tune_row;

/* NULL past the end. Every knob has at least one. */
const lm_tune_row *lm_tune_row_at(size_t index);

/* Writes the device's knobs to its file. */
lm_status lm_tune_save(const lm_device *device);

/* Loads the device's file, once, unless LITEMAMBA_TUNING is "off". Nothing in it is trusted: what is not of this very device, driver
 * and version is ignored, and so is what is no knob or none of its candidates; the log says so. */
void lm_tune_load(lm_device *device);

#endif
