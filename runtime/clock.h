/* runtime/clock.h: the clock that everything is timed by. Internal. */
#ifndef LM_CLOCK_H
#define LM_CLOCK_H

#include <time.h>

/* Seconds from some moment on, at one pace. */
static inline double lm_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
