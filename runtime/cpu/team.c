/* runtime/cpu/team.c: see team.h.
 *
 * `next` is all that helpers look at: how many parts nobody has taken yet, and above that a number that tells one piece of work
 * from the next. Who takes one off has a part; only then does it read what the work is, which cannot change before it is finished.
 * Helpers without work spin for a little while, as the next command is a few microseconds away, and then sleep. */
#include "runtime/cpu/team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "runtime/clock.h"

struct lm_team {
    uint32_t helpers;
    pthread_t *threads;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_uint sleepers;
    atomic_bool ends;
    atomic_uint named;         /* helpers that have taken a number */
    uint32_t sequence;
    /* the work */
    atomic_uint_fast64_t next;
    atomic_uint finished;      /* parts */
    void (*run)(void *user, uint32_t part, uint32_t thread);
    void *user;
};

uint32_t lm_team_threads(void)
{
    const char *wanted = getenv("OMP_NUM_THREADS");
    const long number = wanted != NULL ? strtol(wanted, NULL, 10) : 0;
    if (number > 0) return number < 1024 ? (uint32_t)number : 1024;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    const int count = CPU_COUNT(&set);
    return count > 0 ? (uint32_t)count : 1;
}

/* A moment. Where waiting lasts, the processor is given away: it may be what the other thread needs. */
static void pause_for(unsigned *turns)
{
#if defined(LM_CPU_X86)
    __builtin_ia32_pause();
#endif
    if (++*turns % 256 == 0) sched_yield();
}

/* Takes and runs a part, if there is one. */
static bool take_part(lm_team *team, uint32_t thread)
{
    uint_fast64_t next = atomic_load(&team->next);
    do {
        if ((uint32_t)next == 0) return false;
    } while (!atomic_compare_exchange_weak(&team->next, &next, next - 1));
    team->run(team->user, (uint32_t)next - 1, thread);
    atomic_fetch_add(&team->finished, 1);
    return true;
}

static bool is_idle(lm_team *team) { return (uint32_t)atomic_load(&team->next) == 0 && !atomic_load(&team->ends); }

static void fall_asleep(lm_team *team)
{
    pthread_mutex_lock(&team->mutex);
    atomic_fetch_add(&team->sleepers, 1); /* before the look at `next`: see wake_up() */
    while (is_idle(team)) pthread_cond_wait(&team->wake, &team->mutex);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->mutex);
}

/* After `next` was set: a helper that did not see that is counted as a sleeper already. */
static void wake_up(lm_team *team)
{
    if (atomic_load(&team->sleepers) == 0) return;
    pthread_mutex_lock(&team->mutex);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
}

static void *help(void *argument)
{
    const double patience = 200e-6;
    lm_team *team = argument;
    const uint32_t thread = 1 + atomic_fetch_add(&team->named, 1);
    double idle_since = lm_clock();
    for (unsigned turns = 0; !atomic_load(&team->ends);) {
        bool worked = false;
        while (take_part(team, thread)) worked = true;
        if (worked) idle_since = lm_clock();
        pause_for(&turns);
        if (turns % 64 == 0 && lm_clock() - idle_since > patience) {
            fall_asleep(team);
            idle_since = lm_clock();
        }
    }
    return NULL;
}

lm_team *lm_team_create(uint32_t threads)
{
    lm_team *team = calloc(1, sizeof *team);
    pthread_t *helpers = calloc(threads, sizeof *helpers);
    if (team == NULL || helpers == NULL || pthread_mutex_init(&team->mutex, NULL) != 0) {
        free(team);
        free(helpers);
        return NULL;
    }
    team->threads = helpers;
    if (pthread_cond_init(&team->wake, NULL) == 0) {
        /* Signals are for the application's threads. */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (team->helpers + 1 < threads && pthread_create(&helpers[team->helpers], NULL, help, team) == 0) team->helpers++;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (team->helpers > 0) return team;
        pthread_cond_destroy(&team->wake);
    }
    pthread_mutex_destroy(&team->mutex);
    free(helpers);
    free(team);
    return NULL;
}

void lm_team_destroy(lm_team *team)
{
    if (team == NULL) return;
    atomic_store(&team->ends, true);
    wake_up(team);
    for (uint32_t i = 0; i < team->helpers; i++) pthread_join(team->threads[i], NULL);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->mutex);
    free(team->threads);
    free(team);
}

void lm_team_run(lm_team *team, uint32_t parts, void (*run)(void *user, uint32_t part, uint32_t thread), void *user)
{
    team->run = run;
    team->user = user;
    atomic_store(&team->finished, 0);
    atomic_store(&team->next, (uint64_t)++team->sequence << 32 | parts);
    wake_up(team);
    while (take_part(team, 0)) continue;
    for (unsigned turns = 0; atomic_load(&team->finished) < parts;) pause_for(&turns);
}
