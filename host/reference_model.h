/* host/reference_model.h: a folder's model in float64 on the host: the oracle of whole models. Internal.
 *
 * It takes tensors as the file has them and shares only their finding with the fast path; the arithmetic is
 * kernels/reference/block.c's. */
#ifndef LM_REFERENCE_MODEL_H
#define LM_REFERENCE_MODEL_H

#include "host/model.h"
#include "kernels/reference/reference.h"

typedef struct lm_reference_model {
    lm_config config;
    lm_reference_weights *blocks;  /* one a layer; a bare block has one */
    double **norms;
    double *embeddings, *norm_f, *head; /* head is embeddings when tied */
    double **arrays;               /* everything that was allocated */
    size_t array_count, array_capacity;
} lm_reference_model;

lm_status lm_reference_model_create(const lm_config *config, const lm_tensor_set *set, lm_reference_model **model);
lm_status lm_reference_model_load(const char *folder, lm_reference_model **model);
void lm_reference_model_destroy(lm_reference_model **model);

/* One sequence from nothing. A bare block: x, y (length, d_model). A language model: logits (length, vocab). */
lm_status lm_reference_model_forward(const lm_reference_model *model, uint32_t length, const double *x, double *y);
lm_status lm_reference_model_logits(const lm_reference_model *model, uint32_t length, const int32_t *tokens, double *logits);

#endif
