/* tests/support/support.h: what every test needs: devices to run on, seeds, comparison with float64, folders.
 *
 * Environment (README, "Tests"):
 *     LITEMAMBA_TEST_DEVICE=opencl:0,vulkan:H200   the devices to test, at most one a backend; the others are skipped
 *     LITEMAMBA_REQUIRE=opencl,vulkan              a missing device of these backends fails instead of being skipped
 *     LITEMAMBA_TEST_SEED=N                        where random inputs start (each failure prints its own)
 *     LITEMAMBA_TEST_ROW=TEXT                      only rows with TEXT in their name
 *     LITEMAMBA_TEST_SMALL=1                       only the rows of kernels that are small enough for emulators
 *     LITEMAMBA_TEST_AS_GPU=1                      processors behind OpenCL and Vulkan run what GPUs would, where there is none
 *                                                (kernels/scan fails so on lavapipe, whose exp2 is not what a GPU's is)
 *     LITEMAMBA_TEST_VALIDATE=1                    turn on the Vulkan validation layer; its messages fail the test
 *     LM_TEST_DATA_DIR, LM_TEST_MODELS_DIR         tests/ and models/ where the source tree is elsewhere
 */
#ifndef LM_TEST_SUPPORT_H
#define LM_TEST_SUPPORT_H

#include "litemamba/runtime.h"

/* ---- devices ---------------------------------------------------------------------------------------------------- */

/* The backends, in the order that tests take them: "cpu", "reference", "opencl", "vulkan". */
enum { LM_TEST_BACKENDS = 4 };
extern const char *const lm_test_backends[LM_TEST_BACKENDS];

/* A parameter of parameterized tests: one backend and the capabilities that the test turns off. */
typedef struct lm_test_target {
    char backend[16];
    uint32_t disable;
} lm_test_target;

/* The targets of tests of whole blocks and models: every backend, OpenCL once more with the kernels that GPUs run, and
 * `cpu` with those that every processor runs, on one thread. */
struct criterion_test_params lm_test_targets(void);

/* The process's context, made at the first call. */
lm_context *lm_test_context(void);

/* Opens the device to test for a backend. Where there is none, or LITEMAMBA_TEST_DEVICE leaves the backend out, the test
 * ends here: skipped with the reason, or failed where LITEMAMBA_REQUIRE names the backend. Also skips when none of the
 * capabilities in `disable` is there, for then the run would repeat the one with nothing disabled. */
lm_device *lm_test_open(const char *backend, uint32_t disable);
/* Fails the test where the validation layer had something to say. */
void lm_test_close(lm_device **device);

/* ---- random numbers --------------------------------------------------------------------------------------------- */

/* LITEMAMBA_TEST_SEED, or 1. */
uint64_t lm_test_seed(void);

typedef struct lm_test_random {
    uint64_t state;
} lm_test_random;
uint64_t lm_test_next(lm_test_random *random);
double lm_test_uniform(lm_test_random *random, double low, double high);
void lm_test_fill(lm_test_random *random, float *values, size_t count, double low, double high);

/* Is this row wanted (LITEMAMBA_TEST_ROW)? */
bool lm_test_wants_row(const char *name);
/* LITEMAMBA_TEST_SMALL: only rows with LM_CASE_SMALL are wanted. */
bool lm_test_only_small(void);

/* ---- comparison ------------------------------------------------------------------------------------------------- */

/* max|value − reference| / max|reference|. NaN where a value is not finite though its reference is, or the other way round:
 * test with `!(error <= tolerance)`. All references 0: the absolute error. */
double lm_test_error(const float *value, const double *reference, size_t count);
double lm_test_error_f32(const float *value, const float *reference, size_t count);

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* The source tree's tests/ and models/. */
const char *lm_test_data_dir(void);
const char *lm_test_models_dir(void);

/* malloc'd "folder/name". */
char *lm_test_join(const char *folder, const char *name);

/* A new empty folder, malloc'd; removed with everything in it, and freed, by lm_test_folder_remove. */
char *lm_test_folder_create(void);
void lm_test_folder_remove(char *folder);

/* The whole file, malloc'd, with a zero after it; NULL when it cannot be read. `size` may be NULL. */
char *lm_test_file_read(const char *path, size_t *size);
/* Fails the test when it cannot be written. */
void lm_test_file_write(const char *path, const void *data, size_t size);

#endif
