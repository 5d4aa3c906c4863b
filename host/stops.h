/* host/stops.h: finds stop sequences in a stream of tokens. Internal.
 *
 * Knuth, Morris and Pratt's automaton for each of them. What is held back is the longest end of the stream that begins a
 * stop sequence, and so is the beginning of that sequence: no token is stored.
 */
#ifndef LM_STOPS_H
#define LM_STOPS_H

#include "litemamba/litemamba.h"

typedef struct lm_stops {
    const lm_stop *stops;
    uint32_t count;
    uint32_t *matched; /* tokens of each that the stream ends with */
    uint32_t *borders; /* of all, end to end: of each beginning, the longest proper end that is a beginning too */
    uint32_t holder;   /* the stop with the most matched: its first `held` tokens are held back */
    uint32_t held;
} lm_stops;

/* What a token leads to: the first `count` tokens of (`held` and then the token itself) are to be delivered now. */
typedef struct lm_stops_verdict {
    const int32_t *held;
    uint32_t count;
    bool stop;
} lm_stops_verdict;

/* Starts anew. matched and borders, which the caller allocates, have room for `count` and for the tokens of all stops. */
void lm_stops_start(lm_stops *self, const lm_stop *stops, uint32_t count);

/* The next token of the stream; after one that stops there is none. */
lm_stops_verdict lm_stops_next(lm_stops *self, int32_t token);

#endif
