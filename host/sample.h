/* host/sample.h: the next token from logits. Internal. */
#ifndef LM_SAMPLE_H
#define LM_SAMPLE_H

#include "host/random.h"
#include "litemamba/litemamba.h"

/* How to choose; as in lm_generate_params. */
typedef struct lm_sampling {
    float temperature, top_p;
    uint32_t top_k;
} lm_sampling;

/* A candidate token; `scratch` of lm_sample holds one a vocabulary entry. */
typedef struct lm_candidate {
    double weight;
    int32_t token;
} lm_candidate;

/* Draws from softmax(logits / temperature) over the top_k likeliest and, of those, the fewest whose probability reaches top_p.
 * Temperature 0 takes the likeliest; ties go to the lower token. NaN logits are never drawn; when all are, token 0 is. */
int32_t lm_sample(const lm_sampling *sampling, const float *logits, uint32_t vocab, lm_candidate *scratch, lm_random *random);

#endif
