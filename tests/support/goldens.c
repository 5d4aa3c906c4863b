/* tests/support/goldens.c: see goldens.h. */
#include "tests/support/goldens.h"

#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

/* float32 rounding of every product, sum and exponential: some 16 units in the last place of the largest value. */
static const double usual_tolerance = 2e-6;

static char *goldens_path(const char *name)
{
    char *folder = lm_test_join(lm_test_data_dir(), "goldens"), *path = lm_test_join(folder, name);
    free(folder);
    return path;
}

FILE *lm_test_goldens_open(const char *name)
{
    char *path = goldens_path(name);
    FILE *index = fopen(path, "r");
    cr_assert_not_null(index, "%s", path);
    free(path);
    return index;
}

bool lm_test_golden_next(FILE *index, lm_test_golden *golden)
{
    char line[256];
    while (fgets(line, sizeof line, index) != NULL) {
        golden->tolerance = usual_tolerance;
        if (line[0] == '#' || sscanf(line, "%95s %lf", golden->name, &golden->tolerance) < 1) continue;
        if (!lm_test_wants_row(golden->name)) continue;
        golden->folder = goldens_path(golden->name);
        char *io = lm_test_join(golden->folder, "io.safetensors");
        memset(&golden->io, 0, sizeof golden->io);
        cr_assert_eq(lm_safetensors_open(io, &golden->io.file), LM_OK, "%s", lm_last_error());
        free(io);
        return true;
    }
    return false;
}

void lm_test_golden_close(lm_test_golden *golden)
{
    lm_tensor_set_free(&golden->io);
    free(golden->folder);
}

float *lm_test_golden_values(const lm_test_golden *golden, const char *name, const lm_tensor **tensor)
{
    *tensor = lm_tensor_set_find(&golden->io, name);
    if (*tensor == NULL) return NULL;
    float *values = malloc((size_t)(*tensor)->count * sizeof *values + 1);
    cr_assert_not_null(values);
    cr_assert_eq(lm_tensor_read(*tensor, values), LM_OK, "%s", lm_last_error());
    return values;
}
