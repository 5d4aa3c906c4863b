/* host/sample.c: temperature, top-k and top-p sampling in float64 on the host. */
#include "host/sample.h"

#include <math.h>
#include <stdlib.h>

/* Likeliest first, ties by token, so that the order does not depend on the C library's sort. */
static int compare(const void *a, const void *b)
{
    const lm_candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

int32_t lm_sample(const lm_sampling *sampling, const float *logits, uint32_t vocab, lm_candidate *scratch, lm_random *random)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < vocab; i++)
        if (!isnan(logits[i]) && (best < 0 || logits[i] > logits[best])) best = (int32_t)i;
    if (best < 0) return 0;
    if (!(sampling->temperature > 0.0f) || isinf(logits[best])) return best;

    uint32_t count = 0;
    double sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (isnan(logits[i])) continue;
        const double weight = exp(((double)logits[i] - (double)logits[best]) / (double)sampling->temperature);
        scratch[count++] = (lm_candidate){weight, (int32_t)i};
        sum += weight;
    }
    const bool nucleus = sampling->top_p > 0.0f && sampling->top_p < 1.0f;
    if (nucleus || (sampling->top_k > 0 && sampling->top_k < count)) {
        qsort(scratch, count, sizeof *scratch, compare);
        if (sampling->top_k > 0 && sampling->top_k < count) {
            count = sampling->top_k;
            sum = 0.0;
            for (uint32_t i = 0; i < count; i++) sum += scratch[i].weight;
        }
        if (nucleus) {
            const double enough = (double)sampling->top_p * sum;
            uint32_t kept = 0;
            sum = 0.0;
            while (kept < count && sum < enough) sum += scratch[kept++].weight;
            count = kept;
        }
    }
    double left = lm_random_uniform(random) * sum;
    for (uint32_t i = 0; i < count; i++) {
        left -= scratch[i].weight;
        if (left < 0.0) return scratch[i].token;
    }
    return best; /* rounding left a rest: the likeliest, since the last may have weight 0 */
}
