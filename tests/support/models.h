/* tests/support/models.h: fresh models in memory. */
#ifndef LM_TEST_MODELS_H
#define LM_TEST_MODELS_H

#include "host/model.h"

/* A model of this configuration with weights from the seed; fails the test when it cannot be made. */
lm_model *lm_test_create_model(lm_device *device, const lm_config *config, uint64_t seed, const lm_model_params *params);

#endif
