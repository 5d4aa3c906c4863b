#include "tests/support/models.h"

#include <criterion/criterion.h>

lm_model *lm_test_create_model(lm_device *device, const lm_config *config, uint64_t seed, const lm_model_params *params)
{
    lm_config complete = *config;
    lm_tensor_set set = {0};
    lm_model *model = NULL;
    cr_assert_eq(lm_config_complete(&complete), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_init_tensors(&complete, &(lm_init_params){.seed = seed}, &set), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_model_create(device, &complete, &set, params, &model), LM_OK, "%s", lm_last_error());
    lm_tensor_set_free(&set);
    return model;
}
