/* host/generate.h: one loop for one text and for many. Internal.
 *
 * generate.c        the loop: take texts up, run a step, choose, deliver, let ended ones go
 * generate_batch.c  the calls: checks, memory
 */
#ifndef LM_GENERATE_H
#define LM_GENERATE_H

#include "host/model.h"
#include "host/sample.h"
#include "host/stops.h"

/* A text under way. */
typedef struct lm_writer {
    uint32_t text; /* its index, and what it is */
    const lm_generate_params *params;
    uint32_t slot; /* of the state */
    uint32_t read; /* tokens of the prompt that were run */
    uint32_t new_tokens;
    bool due;     /* the step runs the last of what it has: a new token comes */
    uint32_t row; /* of the step's results, where one is due */
    int32_t last;        /* the latest new token, which the next step runs */
    double start, first; /* when it was taken up, when it had its first token */
    lm_random random;
    lm_stops stops;
} lm_writer;

typedef struct lm_generator {
    lm_model *model;
    lm_state *state;
    bool goes_on; /* from what the state has, instead of from nothing */
    const lm_generate_batch_params *params;
    lm_generate_stats *stats; /* one a text, or NULL */
    uint32_t next_text;       /* the first that was not taken up yet */

    lm_writer *writers; /* one a slot */
    lm_writer **order;  /* all of them, the `active` ones that write first, in the order in which they were taken up */
    uint32_t slots, active;

    uint32_t chunk; /* tokens of prompts that a step may have */
    int32_t *tokens;
    uint32_t *offsets, *slot_of;
    int32_t *chosen; /* where the device finds the likeliest tokens */
    float *logits;   /* (slots, vocab), where some text is not greedy */
    lm_candidate *scratch;
} lm_generator;

/* Everything is checked and allocated. */
lm_status lm_generator_run(lm_generator *self);

#endif
