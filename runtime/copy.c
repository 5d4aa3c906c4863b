/* runtime/copy.c: see copy.h. */
#include "runtime/copy.h"

#include <string.h>

#include "runtime/cpu/team.h"

enum {
    THREADS = 6,
    PARTS = 16,                /* of a large copy, of which a thread takes one at a time */
    PAGE_BYTES = 4096,         /* parts are of whole ones */
    LARGE_BYTES = 256 * 1024,  /* from here on threads pay for their waking up */
};

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

void lm_copier_copy(lm_copier *copier, void *to, const void *from, uint64_t size)
{
    if (size >= LARGE_BYTES && copier->team == NULL && !copier->alone) {
        const uint32_t threads = lm_team_threads();
        copier->team = threads > 1 ? lm_team_create(threads < THREADS ? threads : THREADS) : NULL;
        copier->alone = copier->team == NULL;
    }
    if (size < LARGE_BYTES || copier->team == NULL) {
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
