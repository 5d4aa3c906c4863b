/* runtime/copy.c: see copy.h. */
#include "runtime/copy.h"

#include <string.h>

#include "runtime/clock.h"
#include "runtime/cpu/team.h"

enum {
    THREADS = 6,
    PARTS = 16,                /* of a large copy, of which a thread takes one at a time */
    PAGE_BYTES = 4096,         /* parts are of whole ones */
    LARGE_BYTES = 1024 * 1024, /* from here on threads pay for their waking up; */
    AWAKE_BYTES = 256 * 1024,  /* from here on, if they need not be woken up */
};

/* Threads stay awake for 200 µs after a copy (runtime/cpu/team.c). */
static const double CLOSE_SECONDS = 400e-6;

typedef struct copy_work {
    unsigned char *to;
    const unsigned char *from;
    uint64_t size, part;
} copy_work;

static void copy_part(void *user, uint32_t part, uint32_t thread)
{
    (void)thread;
    const copy_work *work = user;
    const uint64_t begin = part * work->part, left = work->size - begin;
    memcpy(work->to + begin, work->from + begin, (size_t)(left < work->part ? left : work->part));
}

/* Whether copies come one after the other: input and output of one call, and those of the next, and not of one call alone. */
static bool comes_closely(lm_copier *copier)
{
    const double now = lm_clock();
    const bool closely = now - copier->before_last < CLOSE_SECONDS;
    copier->before_last = copier->last;
    copier->last = now;
    return closely;
}

void lm_copier_copy(lm_copier *copier, void *to, const void *from, uint64_t size)
{
    const bool shared = size >= AWAKE_BYTES && !copier->alone && (comes_closely(copier) || size >= LARGE_BYTES);
    if (shared && copier->team == NULL) {
        const uint32_t threads = lm_team_threads();
        copier->team = threads > 1 ? lm_team_create(threads < THREADS ? threads : THREADS) : NULL;
        copier->alone = copier->team == NULL;
    }
    if (!shared || copier->team == NULL) {
        memcpy(to, from, (size_t)size);
        return;
    }
    const uint64_t part = (size / PARTS + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    copy_work work = {to, from, size, part};
    lm_team_run(copier->team, (uint32_t)((size + part - 1) / part), copy_part, &work);
}

void lm_copier_close(lm_copier *copier)
{
    lm_team_destroy(copier->team);
    *copier = (lm_copier){0};
}
