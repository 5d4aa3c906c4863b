/* tests/support/goldens.c: see goldens.h. */
#include "tests/support/goldens.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/support.h"

/* float32 rounding of every product, sum and exponential: some 16 units in the last place of the largest value. */
static const double usual_tolerance = 2e-6;

static char *goldens_path(const char *name)
{
    char *folder = lm_test_join(lm_test_data_dir(), "goldens"), *path = lm_test_join(folder, name);
    free(folder);
    return path;
}

static void open_golden(lm_test_golden *golden)
{
    golden->folder = goldens_path(golden->name);
    char *io = lm_test_join(golden->folder, "io.safetensors");
    cr_assert_eq(lm_safetensors_open(io, &golden->io.file), LM_OK, "%s", lm_last_error());
    free(io);
}

void lm_test_each_golden(const char *name, lm_device *device, lm_test_golden_check check)
{
    char *path = goldens_path(name), line[256];
    FILE *index = fopen(path, "r");
    cr_assert_not_null(index, "%s", path);
    size_t checked = 0;
    while (fgets(line, sizeof line, index) != NULL) {
        lm_test_golden golden = {.tolerance = usual_tolerance};
        if (line[0] == '#' || sscanf(line, "%95s %lf", golden.name, &golden.tolerance) < 1) continue;
        if (!lm_test_wants_row(golden.name)) continue;
        open_golden(&golden);
        check(device, &golden);
        lm_tensor_set_free(&golden.io);
        free(golden.folder);
        checked++;
    }
    cr_assert(checked > 0, "no golden was checked");
    fclose(index);
    free(path);
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
