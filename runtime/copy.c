/* runtime/copy.c: see copy.h. */
#include "runtime/copy.h"

#include <string.h>

#include "runtime/cpu/team.h"

enum {
    THREADS = 4,
    PART_BYTES = 64 * 1024,   /* what a thread takes at a time, at least */
    PARTS = 16,               /* and into how many parts a large copy is cut */
    LARGE_BYTES = 1024 * 1024, /* from here on threads pay for their waking up */
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
    const uint64_t pages = (size / PARTS + 4095) / 4096, part = pages * 4096 > PART_BYTES ? pages * 4096 : PART_BYTES;
    copy_work work = {to, from, size, part};
    lm_team_run(copier->team, (uint32_t)((size + part - 1) / part), copy_part, &work);
}

void lm_copier_close(lm_copier *copier)
{
    lm_team_destroy(copier->team);
    *copier = (lm_copier){0};
}
