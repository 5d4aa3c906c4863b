/* runtime/copy.c: see copy.h. */
#include "runtime/copy.h"

#include <string.h>

#include "runtime/cpu/team.h"

enum {
    THREADS = 4,
    PART_BYTES = 512 * 1024,     /* what a thread takes at a time */
    LARGE_BYTES = 4 * 1024 * 1024, /* from here on threads pay for their waking up */
};

typedef struct copy_work {
    unsigned char *to;
    const unsigned char *from;
    uint64_t size;
} copy_work;

static void copy_part(void *user, uint32_t part, uint32_t thread)
{
    (void)thread;
    const copy_work *work = user;
    const uint64_t begin = (uint64_t)part * PART_BYTES, left = work->size - begin;
    memcpy(work->to + begin, work->from + begin, (size_t)(left < PART_BYTES ? left : PART_BYTES));
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
    copy_work work = {to, from, size};
    lm_team_run(copier->team, (uint32_t)((size + PART_BYTES - 1) / PART_BYTES), copy_part, &work);
}

void lm_copier_close(lm_copier *copier)
{
    lm_team_destroy(copier->team);
    *copier = (lm_copier){0};
}
