/* tests/threads.c: two devices in two threads, a context shared by many, and errors that belong to their thread. A plain
 * program: Criterion does not run under the thread sanitizer. */
#include "kernels/check.h"
#include "litemamba/litemamba.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 6, ROUNDS = 3 };

static lm_context *context;
static atomic_uint faults;

static void fault(const char *what, const char *detail)
{
    fprintf(stderr, "%s: %s\n", what, detail);
    atomic_fetch_add(&faults, 1);
}

/* Opens a device of its own, runs small rows of every kernel, closes it. */
static void *work(void *argument)
{
    const char *name = argument;
    for (int round = 0; round < ROUNDS; round++) {
        lm_device *device = NULL;
        if (lm_device_open(context, name, NULL, &device) != LM_OK) {
            fault(name, lm_last_error());
            return NULL;
        }
        for (int kernel = 0; kernel < LM_KERNEL_COUNT; kernel++) {
            for (size_t i = 0; i < lm_case_count((lm_kernel_id)kernel); i++) {
                if (!(lm_case_flags((lm_kernel_id)kernel, i) & LM_CASE_SMALL))
                    continue;
                lm_case *c = NULL;
                lm_check_result result;
                if (lm_case_create(device, (lm_kernel_id)kernel, i, (uint64_t)round, &c) != LM_OK
                    || lm_check_case(device, c, &result) != LM_OK)
                    fault(name, lm_last_error());
                else if (!result.passed)
                    fault(c->name, result.text);
                lm_case_destroy(&c);
            }
        }
        lm_device_destroy(&device);
    }
    return NULL;
}

/* The last error of one thread is not another's. */
static void *err(void *argument)
{
    char name[64];
    snprintf(name, sizeof name, "no-such-device-%s", (const char *)argument);
    for (int i = 0; i < 200; i++) {
        lm_device *device = NULL;
        if (lm_device_open(context, name, NULL, &device) != LM_ERROR_NO_DEVICE || !strstr(lm_last_error(), name))
            fault(name, lm_last_error());
    }
    return NULL;
}

int main(void)
{
    if (lm_context_create(NULL, &context) != LM_OK) {
        fprintf(stderr, "%s\n", lm_last_error());
        return 1;
    }
    /* Every device there is, each once; then more threads on the ones that are quick to open. */
    static char names[WORKERS][32];
    pthread_t threads[2 * WORKERS];
    const size_t count = lm_context_device_count(context);
    for (size_t i = 0; i < WORKERS; i++) {
        snprintf(names[i], sizeof names[i], "%s", lm_context_device_info(context, i % count)->id);
        if (pthread_create(&threads[i], NULL, work, names[i]) != 0
            || pthread_create(&threads[WORKERS + i], NULL, err, names[i]) != 0)
            abort();
    }
    for (size_t i = 0; i < 2 * WORKERS; i++)
        pthread_join(threads[i], NULL);
    lm_context_destroy(&context);
    printf("%d threads on %zu devices: %u faults\n", WORKERS, count, atomic_load(&faults));
    return atomic_load(&faults) != 0;
}
