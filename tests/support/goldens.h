/* tests/support/goldens.h: what lite-mamba computed, kept in tests/goldens: a model folder each, with io.safetensors in it.
 * tools/goldens.py and tools/goldens_tf.py make them and say what is in them.
 */
#ifndef LM_TEST_GOLDENS_H
#define LM_TEST_GOLDENS_H

#include "host/model.h"

typedef struct lm_test_golden {
    char name[96];
    double tolerance; /* against the values in float64, relative to the largest of them */
    char *folder;
    lm_tensor_set io;
} lm_test_golden;

/* Calls `check` for every golden of tests/goldens/`index` whose row is wanted (LITEMAMBA_TEST_ROW), and fails the test when there
 * is none. A line of the index is a golden's name and, where 2e-6 is not enough, its tolerance. */
typedef void (*lm_test_golden_check)(lm_device *device, const lm_test_golden *golden);
void lm_test_each_golden(const char *index, lm_device *device, lm_test_golden_check check);

/* A tensor's values as float32, malloc'd; NULL when the golden has none of that name. */
float *lm_test_golden_values(const lm_test_golden *golden, const char *name, const lm_tensor **tensor);

#endif
