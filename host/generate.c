/* host/generate.c: prompts in, texts out. */
#include "host/generate.h"

#include <string.h>
#include <time.h>

#include "runtime/backend.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_greedy(const lm_generate_params *params) { return !(params->temperature > 0.0f); }

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Gives idle slots to the next texts, as far as their prompts have room in a step beside a token of every other text, which would
 * wait for several long ones. The first is always taken. */
static void take_up(lm_generator *self)
{
    uint64_t rows = self->active;
    for (bool first = true; self->active < self->slots && self->next_text < self->params->count; first = false) {
        const lm_generate_params *params = &self->params->texts[self->next_text];
        if (!first && rows + params->prompt_length > self->room) return;
        rows += params->prompt_length;
        lm_writer *writer = self->order[self->active++];
        writer->text = self->next_text++;
        writer->params = params;
        writer->new_tokens = 0;
        writer->start = now();
        writer->random = lm_random_stream(params->seed, "sample");
        lm_stops_start(&writer->stops, params->stops, params->stop_count);
        if (!self->goes_on) lm_state_reset_slot(self->state, writer->slot);
    }
}

/* Runs the prompts of texts without a token and the last token of all others, in one call. */
static lm_status run_step(lm_generator *self, bool greedy)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < self->active; i++) {
        const lm_writer *writer = self->order[i];
        const bool fresh = writer->new_tokens == 0;
        const uint32_t count = fresh ? writer->params->prompt_length : 1;
        memcpy(self->tokens + rows, fresh ? writer->params->prompt : &writer->last, count * sizeof *self->tokens);
        self->slot_of[i] = writer->slot;
        rows += count;
        self->offsets[i + 1] = rows;
    }
    const lm_sequences sequences = {.count = self->active, .offsets = self->offsets, .slots = self->slot_of};
    const lm_run_params run = {
        .sequences = &sequences,
        .tokens = self->tokens,
        .kind = greedy ? LM_OUTPUT_ARGMAX : LM_OUTPUT_LAST,
        .output = greedy ? (void *)self->chosen : (void *)self->logits,
    };
    return lm_model_run(self->model, self->state, &run);
}

static int32_t choose(const lm_generator *self, lm_writer *writer, const float *logits)
{
    const lm_generate_params *p = writer->params;
    const lm_sampling sampling = {.temperature = p->temperature, .top_p = p->top_p, .top_k = p->top_k};
    return lm_sample(&sampling, logits, self->model->config.vocab_size, self->scratch, &writer->random);
}

/* ---- a text ------------------------------------------------------------------------------------------------------ */

static bool deliver(const lm_generate_params *params, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (params->on_token != NULL && !params->on_token(params->user, tokens[i])) return false;
    return true;
}

/* Moves a text on by a token and delivers what can be. LM_FINISH_NONE: it is not at its end. */
static lm_finish move_on(lm_writer *writer, int32_t token)
{
    const lm_generate_params *params = writer->params;
    const uint32_t max_tokens = params->max_tokens > 0 ? params->max_tokens : 200, held = writer->stops.held;
    const lm_stops_verdict verdict = lm_stops_next(&writer->stops, token);
    writer->last = token;
    writer->new_tokens++;
    if (!deliver(params, verdict.held, verdict.count < held ? verdict.count : held)) return LM_FINISH_CALLBACK;
    if (verdict.count > held && !deliver(params, &token, 1)) return LM_FINISH_CALLBACK;
    if (verdict.stop) return LM_FINISH_STOP;
    if (writer->new_tokens < max_tokens) return LM_FINISH_NONE;
    const lm_stops *stops = &writer->stops; /* what it began with will not become a stop any more */
    return stops->held == 0 || deliver(params, stops->stops[stops->holder].tokens, stops->held) ? LM_FINISH_LENGTH
                                                                                                : LM_FINISH_CALLBACK;
}

static void note(const lm_generator *self, const lm_writer *writer, lm_finish finish, double time)
{
    const lm_generate_stats stats = {
        .prompt_tokens = writer->params->prompt_length,
        .new_tokens = writer->new_tokens,
        .prompt_seconds = writer->new_tokens > 0 ? writer->first - writer->start : 0.0,
        .new_seconds = writer->new_tokens > 0 ? time - writer->first : 0.0,
        .finish = finish,
    };
    if (self->stats != NULL) self->stats[writer->text] = stats;
    if (finish != LM_FINISH_NONE && self->params->on_finish != NULL)
        self->params->on_finish(self->params->user, writer->text, &stats);
}

/* Hands the new tokens out. The writers that go on stay in their order, before those that are idle now. */
static void hand_out(lm_generator *self, bool greedy)
{
    const double time = now();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->active; i++) {
        lm_writer *writer = self->order[i];
        const float *logits = greedy ? NULL : self->logits + (size_t)i * self->model->config.vocab_size;
        if (writer->new_tokens == 0) writer->first = time;
        const lm_finish finish = move_on(writer, greedy ? self->chosen[i] : choose(self, writer, logits));
        if (finish != LM_FINISH_NONE) {
            note(self, writer, finish, time);
            continue;
        }
        self->order[i] = self->order[kept]; /* an ended one, or itself */
        self->order[kept++] = writer;
    }
    self->active = kept;
}

lm_status lm_generator_run(lm_generator *self)
{
    lm_status status = LM_OK;
    while (status == LM_OK) {
        take_up(self);
        if (self->active == 0) return LM_OK;
        if (self->params->on_step != NULL && !self->params->on_step(self->params->user)) {
            status = lm_fail(NULL, LM_ERROR_CANCELLED, "lm_generate_batch: cancelled with %u of %u texts ended",
                             self->next_text - self->active, self->params->count);
            break;
        }
        bool greedy = true;
        for (uint32_t i = 0; i < self->active && greedy; i++) greedy = is_greedy(self->order[i]->params);
        status = run_step(self, greedy);
        if (status == LM_OK) hand_out(self, greedy);
    }
    for (uint32_t i = 0; i < self->active; i++) note(self, self->order[i], LM_FINISH_NONE, now());
    return status;
}
