/* kernels/timing.h: a case on a device, to be timed: what the bench and `litemamba tune` share. Internal.
 *
 * The case must outlive it. The views hold the case's content as it is uploaded; runs change what they write. */
#ifndef LM_TIMING_H
#define LM_TIMING_H

#include "kernels/check.h"

typedef struct lm_timing {
    lm_device *device;
    const lm_case *c;
    lm_buffer *buffers[LM_CASE_MAX_BUFFERS];
    lm_view views[LM_CASE_MAX_BUFFERS];
    lm_list *list;
    unsigned repetitions;
} lm_timing;

/* Uploads the case and records it once. Free it also after a failure. */
lm_status lm_timing_create(lm_device *device, const lm_case *c, lm_timing *timing);
void lm_timing_free(lm_timing *timing);

/* Compares with the reference, before the first run: all of a case of up to `most` work, parts of a larger one. *whole says which. */
lm_status lm_timing_check(const lm_timing *timing, double most, lm_check_result *result, bool *whole);

/* Records the case anew, so many times: each waits for the one before, whose output it overwrites. `timed`: with timestamps. */
lm_status lm_timing_repeat(lm_timing *timing, unsigned repetitions, bool timed);

/* Runs the list. *host: seconds by the host's clock; *device: by the device's, 0 without timestamps; a repetition each. */
lm_status lm_timing_run(const lm_timing *timing, double *host, double *device);

#endif
