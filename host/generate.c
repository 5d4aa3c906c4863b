/* host/generate.c: prompts in, texts out. */
#include "host/generate.h"

#include <string.h>

#include "runtime/backend.h"
#include "runtime/clock.h"

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Gives idle slots to the next texts. */
static void take_up(lm_generator *self)
{
    while (self->active < self->slots && self->next_text < self->params->count) {
        lm_writer *writer = self->order[self->active++];
        writer->text = self->next_text++;
        writer->params = &self->params->texts[writer->text];
        writer->read = writer->new_tokens = 0;
        writer->start = lm_clock();
        writer->random = lm_random_stream(writer->params->seed, "sample");
        lm_stops_start(&writer->stops, writer->params->stops, writer->params->stop_count);
        if (!self->goes_on) lm_state_reset_slot(self->state, writer->slot);
    }
}

/* What a text runs next, of which there may be `room` tokens if it is of a prompt; *tokens is where. Moves it on. */
static uint32_t next_tokens(lm_writer *writer, uint32_t room, const int32_t **tokens)
{
    const lm_generate_params *params = writer->params;
    const uint32_t left = params->prompt_length - writer->read, count = left < room ? left : room;
    writer->due = count == left;
    *tokens = left > 0 ? params->prompt + writer->read : &writer->last;
    writer->read += count;
    return left > 0 ? count : 1;
}

/* Runs the last token of all texts that have one, and of the prompts of the others as much as a step may have, the texts that were
 * taken up first before the others, in one call. */
static lm_status run_step(lm_generator *self, lm_output *kind)
{
    uint32_t rows = 0, count = 0, room = self->chunk;
    *kind = LM_OUTPUT_NONE;
    for (uint32_t i = 0; i < self->active; i++) {
        lm_writer *writer = self->order[i];
        const int32_t *tokens;
        const bool reading = writer->read < writer->params->prompt_length;
        const uint32_t n = next_tokens(writer, room, &tokens);
        if (n == 0) continue;
        if (reading) room -= n;
        memcpy(self->tokens + rows, tokens, n * sizeof *self->tokens);
        rows += n;
        writer->row = count;
        self->slot_of[count++] = writer->slot;
        self->offsets[count] = rows;
        if (!writer->due) continue;
        const bool greedy = !(writer->params->temperature > 0.0f) && *kind != LM_OUTPUT_LAST;
        *kind = greedy ? LM_OUTPUT_ARGMAX : LM_OUTPUT_LAST;
    }
    const lm_sequences sequences = {.count = count, .offsets = self->offsets, .slots = self->slot_of};
    const lm_run_params run = {
        .sequences = &sequences,
        .tokens = self->tokens,
        .kind = *kind,
        .output = *kind == LM_OUTPUT_ARGMAX ? (void *)self->chosen : (void *)self->logits,
    };
    return lm_model_run(self->model, self->state, &run);
}

static int32_t choose(const lm_generator *self, lm_writer *writer)
{
    const lm_generate_params *p = writer->params;
    const float *logits = self->logits + (size_t)writer->row * self->model->config.vocab_size;
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
static void hand_out(lm_generator *self, lm_output kind)
{
    const double time = lm_clock();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->active; i++) {
        lm_writer *writer = self->order[i];
        lm_finish finish = LM_FINISH_NONE;
        if (writer->due) {
            if (writer->new_tokens == 0) writer->first = time;
            finish = move_on(writer, kind == LM_OUTPUT_ARGMAX ? self->chosen[writer->row] : choose(self, writer));
        }
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
        lm_output kind;
        status = run_step(self, &kind);
        if (status == LM_OK) hand_out(self, kind);
    }
    for (uint32_t i = 0; i < self->active; i++) note(self, self->order[i], LM_FINISH_NONE, lm_clock());
    return status;
}
