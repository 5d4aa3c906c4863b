/* examples/sessions.c: many conversations at once, each in a slot of one state: what they cost in memory, and tokens a second of
 * batches of 1, 8 and 64 of them. docs/sessions.md has figures.
 *
 *     sessions [MODEL [SLOTS [DEVICE [ROLLBACK]]]]      models/jargon, 1000, the best device, 0
 */
#define _POSIX_C_SOURCE 200809L
#include <litemamba/litemamba.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST_BATCH = 64, PROMPT = 24, ROUNDS = 20 };
static const double round_seconds = 0.1;

static const char text[] = "A hacker is a person who enjoys exploring the details of programmable systems and how to stretch them, "
                           "as opposed to most users, who prefer to learn only the minimum necessary. ";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Memory of the process that is in use, as Linux counts it; 0 elsewhere. */
static double resident_mib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static double allocated_mib(const lm_device *device) { return (double)lm_device_allocated_bytes(device) / (1 << 20); }

typedef struct pool {
    lm_model *model;
    lm_state *state;
    uint32_t slots;
    int32_t *last; /* of each slot: the token that it runs next */
} pool;

/* Runs `length` tokens in `count` slots from `first` on and keeps the likeliest next token of each. tokens NULL: each one's last. */
static lm_status run(pool *p, uint32_t first, uint32_t count, uint32_t length, const int32_t *tokens)
{
    uint32_t offsets[LARGEST_BATCH + 1] = {0}, slots[LARGEST_BATCH];
    int32_t given[LARGEST_BATCH], next[LARGEST_BATCH];
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = (first + i) % p->slots;
        given[i] = p->last[slots[i]];
        offsets[i + 1] = offsets[i] + length;
    }
    const lm_sequences sequences = {count, offsets, slots};
    const lm_run_params params = {
        .sequences = &sequences, .tokens = tokens != NULL ? tokens : given, .kind = LM_OUTPUT_ARGMAX, .output = next};
    lm_status status = lm_model_run(p->model, p->state, &params);
    for (uint32_t i = 0; status == LM_OK && i < count; i++) p->last[slots[i]] = next[i];
    return status;
}

/* Every slot begins with words of its own. */
static lm_status begin_all(pool *p)
{
    lm_status status = lm_state_reset(p->state);
    for (uint32_t first = 0; status == LM_OK && first < p->slots; first += LARGEST_BATCH) {
        const uint32_t count = p->slots - first < LARGEST_BATCH ? p->slots - first : LARGEST_BATCH;
        int32_t prompts[LARGEST_BATCH * PROMPT];
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t t = 0; t < PROMPT; t++) prompts[i * PROMPT + t] = text[(first + i + t) % (sizeof text - 1)];
        status = run(p, first, count, PROMPT, prompts);
    }
    return status;
}

/* Steps in batches that walk over all slots: the best of some rounds. */
static lm_status time_steps(pool *p, uint32_t batch, double *tokens_per_second)
{
    lm_status status = LM_OK;
    uint32_t first = 0;
    *tokens_per_second = 0;
    for (int round = 0; status == LM_OK && round < ROUNDS; round++) {
        const double start = now();
        double seconds = 0;
        uint64_t tokens = 0;
        while (status == LM_OK && (seconds = now() - start) < round_seconds) {
            status = run(p, first, batch, 1, NULL);
            first = (first + batch) % p->slots;
            tokens += batch;
        }
        if (seconds > 0 && (double)tokens / seconds > *tokens_per_second) *tokens_per_second = (double)tokens / seconds;
    }
    return status;
}

/* A guess of `rollback` tokens after the last one is run at once, and all of it taken back. */
static lm_status time_guesses(pool *p, uint32_t rollback, double *milliseconds)
{
    int32_t *guess = malloc((rollback + 1) * sizeof *guess);
    lm_status status = guess != NULL ? LM_OK : LM_ERROR_OUT_OF_MEMORY;
    const double start = now();
    uint32_t calls = 0;
    while (status == LM_OK && now() - start < round_seconds) {
        guess[0] = p->last[0];
        for (uint32_t t = 1; t <= rollback; t++) guess[t] = text[t % (sizeof text - 1)];
        status = run(p, 0, 1, rollback + 1, guess);
        if (status == LM_OK) status = lm_state_rollback(p->state, 0, rollback);
        calls++;
    }
    *milliseconds = calls > 0 ? 1e3 * (now() - start) / calls : 0;
    free(guess);
    return status;
}

/* Everything that is recorded and built at the first call of a kind is, before memory is measured. */
static lm_status warm_up(pool *p)
{
    static const uint32_t batches[] = {1, 8, LARGEST_BATCH};
    lm_status status = lm_state_create(p->model, LARGEST_BATCH, &p->state);
    const uint32_t slots = p->slots;
    p->slots = LARGEST_BATCH;
    if (status == LM_OK) status = begin_all(p);
    for (size_t i = 0; status == LM_OK && i < sizeof batches / sizeof *batches; i++) status = run(p, 0, batches[i], 1, NULL);
    lm_state_destroy(&p->state);
    p->slots = slots;
    return status;
}

static lm_status measure(lm_device *device, const char *folder, uint32_t slots, uint32_t rollback)
{
    static const uint32_t batches[] = {1, 8, LARGEST_BATCH};
    pool p = {.slots = slots, .last = calloc(slots > LARGEST_BATCH ? slots : LARGEST_BATCH, sizeof *p.last)};
    lm_status status = p.last != NULL ? lm_model_load(device, folder, NULL, &p.model) : LM_ERROR_OUT_OF_MEMORY;
    const double weights = allocated_mib(device);
    if (status == LM_OK) status = warm_up(&p);
    const double workspace = allocated_mib(device) - weights, resident = resident_mib();
    if (status == LM_OK) status = lm_state_create_with(p.model, &(lm_state_params){slots, rollback}, &p.state);
    const double allocated = allocated_mib(device) - workspace - weights;
    if (status == LM_OK) status = begin_all(&p);
    if (status == LM_OK) {
        const double wanted = (double)lm_state_slot_bytes(p.state) * slots / (1 << 20), used = resident_mib() - resident;
        printf("weights          %8.1f MiB\nworkspace        %8.1f MiB\n", weights, workspace);
        printf("slots            %8.1f MiB: %u of %llu bytes\n", wanted, slots, (unsigned long long)lm_state_slot_bytes(p.state));
        printf("  allocated      %8.1f MiB, %+.2f %%\n", allocated, 100 * (allocated / wanted - 1));
        printf("  in the process %8.1f MiB, %+.2f %%\n", used, 100 * (used / wanted - 1));
    }
    for (size_t i = 0; status == LM_OK && i < sizeof batches / sizeof *batches; i++) {
        double speed = 0;
        if (batches[i] > slots) break;
        status = time_steps(&p, batches[i], &speed);
        if (status == LM_OK) printf("batch %-3u        %8.0f tokens/s\n", batches[i], speed);
    }
    if (status == LM_OK && rollback > 0) {
        double milliseconds = 0;
        status = time_guesses(&p, rollback, &milliseconds);
        if (status == LM_OK) printf("%u tokens at once, %u back: %.2f ms\n", rollback + 1, rollback, milliseconds);
    }
    if (status == LM_OK) printf("all in all       %8.1f MiB allocated\n", allocated_mib(device));
    lm_state_destroy(&p.state);
    lm_model_destroy(&p.model);
    free(p.last);
    return status;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "models/jargon", *name = argc > 3 && argv[3][0] != 0 ? argv[3] : NULL;
    const long slots = argc > 2 ? atol(argv[2]) : 1000, rollback = argc > 4 ? atol(argv[4]) : 0;
    if (argc > 5 || slots < 1 || slots > INT32_MAX || rollback < 0 || rollback > LM_MAX_ROLLBACK) {
        fprintf(stderr, "usage: sessions [MODEL [SLOTS [DEVICE [ROLLBACK]]]]\n");
        return 2;
    }
    lm_context *context = NULL;
    lm_device *device = NULL;
    lm_status status = lm_context_create(NULL, &context);
    if (status == LM_OK) status = lm_device_open(context, name, NULL, &device);
    if (status == LM_OK) printf("%s, %s\n", lm_device_get_info(device)->id, lm_device_get_info(device)->name);
    if (status == LM_OK) status = measure(device, folder, (uint32_t)slots, (uint32_t)rollback);
    if (status != LM_OK) fprintf(stderr, "%s: %s\n", lm_status_string(status), lm_last_error());
    lm_device_destroy(&device);
    lm_context_destroy(&context);
    return status != LM_OK;
}
