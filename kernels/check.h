/* kernels/check.h: runs a case on a device and compares it with the reference. Internal.
 *
 * Every view lies between guards in a larger buffer; outputs start poisoned. The list runs twice from the same content. A
 * case passes when nothing outside the views and no input has changed, what the reference leaves alone is left alone, what
 * it writes is written, both runs agree bit for bit, and no element is further off than the tolerance.
 */
#ifndef LM_CHECK_H
#define LM_CHECK_H

#include "kernels/cases.h"

typedef struct lm_check_result {
    bool passed;
    double error, tolerance; /* of the output that is nearest to its tolerance, or over it; NaN: not comparable */
    char text[240];          /* what is wrong and where, "" when passed */
} lm_check_result;

/* LM_OK when it ran, passed or not. LM_ERROR_UNSUPPORTED when the device cannot run the kernel or hold the buffers. */
lm_status lm_check_case(lm_device *device, const lm_case *c, lm_check_result *result);

/* For cases too large for that: runs `list`, on which the case is recorded once, and compares a few parts of what it leaves in
 * `views` (lm_case_part). The views hold the case's content before. Without guards, and once. */
lm_status lm_check_parts(lm_list *list, const lm_case *c, const lm_view *views, lm_check_result *result);

/* One output: what the reference left in it and what the device did. A step of lm_check_case. */
void lm_check_compare(const lm_case_buffer *buffer, const uint32_t *expected, const uint32_t *got, lm_check_result *result);

#endif
