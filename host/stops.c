/* host/stops.c: stop sequences. */
#include "host/stops.h"

/* How much of a stop is matched once `token` follows after `matched` of its tokens, fewer than all. */
static uint32_t advance(const lm_stop *stop, const uint32_t *borders, uint32_t matched, int32_t token)
{
    while (matched > 0 && stop->tokens[matched] != token) matched = borders[matched - 1];
    return stop->tokens[matched] == token ? matched + 1 : 0;
}

void lm_stops_start(lm_stops *self, const lm_stop *stops, uint32_t count)
{
    uint32_t *borders = self->borders;
    self->stops = stops;
    self->count = count;
    self->holder = self->held = 0;
    for (uint32_t i = 0; i < count; i++) {
        self->matched[i] = borders[0] = 0;
        for (uint32_t k = 1; k < stops[i].length; k++)
            borders[k] = advance(&stops[i], borders, borders[k - 1], stops[i].tokens[k]);
        borders += stops[i].length;
    }
}

lm_stops_verdict lm_stops_next(lm_stops *self, int32_t token)
{
    const uint32_t before = self->held;
    lm_stops_verdict verdict = {.held = before > 0 ? self->stops[self->holder].tokens : NULL};
    const uint32_t *borders = self->borders;
    uint32_t found = 0;
    self->held = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        const uint32_t length = self->stops[i].length;
        self->matched[i] = advance(&self->stops[i], borders, self->matched[i], token);
        borders += length;
        if (self->matched[i] == length) {
            found = length > found ? length : found;
        } else if (self->matched[i] > self->held) {
            self->held = self->matched[i];
            self->holder = i;
        }
    }
    verdict.stop = found > 0;
    verdict.count = before + 1 - (found > 0 ? found : self->held);
    return verdict;
}
