/* runtime/cpu/team.h: threads that help one thread with the parts of its work. Internal.
 *
 * Not OpenMP: libgomp's threads spin for milliseconds where they wait for each other, so that on a busy machine a list of forty
 * short commands takes fifty times as long; they hang in a forked child, cannot be unloaded, and the thread sanitizer cannot see
 * them. */
#ifndef LM_TEAM_H
#define LM_TEAM_H

#include <stdint.h>

typedef struct lm_team lm_team;

/* Threads that a team may have in this process: OMP_NUM_THREADS where that is a number, else the processors that it may run on. */
uint32_t lm_team_threads(void);

/* A team of up to `threads` with the caller; NULL when not even one helper could be started. */
lm_team *lm_team_create(uint32_t threads);
/* Waits for the helpers to end. NULL is ignored. */
void lm_team_destroy(lm_team *team);

/* Runs part 0 … parts−1, on the calling thread (thread 0) and on what helpers (1 …) come to it, and returns when all are done. It
 * waits for a helper only where that is at work on a part: one that gets no processor is not missed. */
void lm_team_run(lm_team *team, uint32_t parts, void (*run)(void *user, uint32_t part, uint32_t thread), void *user);

#endif
