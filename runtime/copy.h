/* runtime/copy.h: copies between memory and a bus, large ones on several threads: one alone moves a fraction of what both can.
 * Internal. */
#ifndef LM_COPY_H
#define LM_COPY_H

#include <stdbool.h>
#include <stdint.h>

/* {0} before the first copy. */
typedef struct lm_copier {
    struct lm_team *team; /* made at the first large copy */
    bool alone;           /* there is none, or none could be made */
    double last, before_last; /* when copies that threads may share began */
} lm_copier;

/* memcpy. */
void lm_copier_copy(lm_copier *copier, void *to, const void *from, uint64_t size);
/* Ends its threads. */
void lm_copier_close(lm_copier *copier);

#endif
