/* tests/support/support.c: see support.h. */
#include "tests/support/support.h"

#include "runtime/backend.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <ftw.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const lm_test_backends[LM_TEST_BACKENDS] = {"cpu", "reference", "opencl", "vulkan"};

/* ---- devices ---------------------------------------------------------------------------------------------------- */

struct criterion_test_params lm_test_targets(void)
{
    static lm_test_target targets[] = {{"cpu", 0},
                                       {"cpu", LM_CAP_AVX512 | LM_CAP_AVX2 | LM_CAP_THREADS},
                                       {"reference", 0},
                                       {"opencl", 0},
                                       {"opencl", LM_CAP_WIDE_LANES},
                                       {"vulkan", 0}};
    return cr_make_param_array(lm_test_target, targets, sizeof targets / sizeof *targets);
}

static lm_context *test_context;
static atomic_uint validation_messages;

/* Driver trouble belongs in the output of a failing test; Criterion shows what tests print. */
static void print_log(void *user, lm_log_level level, const char *text)
{
    (void)user;
    if (level == LM_LOG_ERROR && strstr(text, "vulkan validation"))
        atomic_fetch_add(&validation_messages, 1);
    if (level <= LM_LOG_WARNING || getenv("LITEMAMBA_TEST_LOG"))
        fprintf(stderr, "litemamba: %s\n", text);
}

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value && strcmp(value, "0") != 0;
}

lm_context *lm_test_context(void)
{
    if (!test_context) {
        lm_context_params params = {
            .log = print_log,
            .log_level = getenv("LITEMAMBA_TEST_LOG") ? LM_LOG_DEBUG : LM_LOG_ERROR,
            .validate = is_set("LITEMAMBA_TEST_VALIDATE"),
        };
        lm_status status = lm_context_create(&params, &test_context);
        cr_assert(status == LM_OK, "lm_context_create: %s", lm_last_error());
    }
    return test_context;
}

/* The item of a list with commas that is `backend` or begins with "backend:". */
static bool find_item(const char *list, const char *backend, char *item, size_t item_size)
{
    size_t length = strlen(backend);
    while (list && *list) {
        size_t end = strcspn(list, ",");
        if (strncmp(list, backend, length) == 0 && (end == length || list[length] == ':')) {
            snprintf(item, item_size, "%.*s", (int)end, list);
            return true;
        }
        list += end + (list[end] == ',');
    }
    return false;
}

lm_device *lm_test_open(const char *backend, uint32_t disable)
{
    char name[300], item[300];
    const char *list = getenv("LITEMAMBA_TEST_DEVICE");
    bool required = find_item(getenv("LITEMAMBA_REQUIRE"), backend, item, sizeof item);
    bool listed = list && *list && find_item(list, backend, name, sizeof name);

    if (list && *list && !listed)
        cr_skip("%s is not in LITEMAMBA_TEST_DEVICE", backend);
    if (!listed)
        snprintf(name, sizeof name, "%s", backend);

    lm_device *device = NULL;
    const char *as_gpu = getenv("LITEMAMBA_TEST_AS_GPU");
    const bool act = as_gpu && *as_gpu;
    lm_device_params params = {.disable = disable | (act ? LM_CAP_WIDE_LANES | LM_CAP_TEXELS : 0)};
    lm_status status = lm_device_open(lm_test_context(), name, &params, &device);
    if (status == LM_ERROR_NO_DEVICE && !listed && !required)
        cr_skip("no %s device: %s", backend, lm_last_error());
    cr_assert(status == LM_OK, "opening %s: %s: %s", name, lm_status_string(status), lm_last_error());

    if (disable) {
        uint32_t had = 0;
        for (size_t i = 0; i < lm_context_device_count(test_context); i++) {
            const lm_device_info *info = lm_context_device_info(test_context, i);
            if (strcmp(info->id, lm_device_get_info(device)->id) == 0)
                had = info->capabilities;
        }
        if (!(had & disable)) {
            lm_device_destroy(&device);
            cr_skip("%s has nothing to turn off", name);
        }
    }
    if (act && (device->info.backend == LM_BACKEND_OPENCL || device->info.backend == LM_BACKEND_VULKAN))
        device->info.type = LM_DEVICE_DISCRETE;
    return device;
}

void lm_test_close(lm_device **device)
{
    lm_device_destroy(device);
    unsigned messages = atomic_load(&validation_messages);
    cr_expect(messages == 0, "%u validation messages, see above", messages);
}

/* ---- random numbers --------------------------------------------------------------------------------------------- */

uint64_t lm_test_seed(void)
{
    const char *value = getenv("LITEMAMBA_TEST_SEED");
    return value && *value ? strtoull(value, NULL, 0) : 1;
}

/* splitmix64 */
uint64_t lm_test_next(lm_test_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double lm_test_uniform(lm_test_random *random, double low, double high)
{
    return low + (high - low) * ((double)(lm_test_next(random) >> 11) * 0x1p-53);
}

void lm_test_fill(lm_test_random *random, float *values, size_t count, double low, double high)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (float)lm_test_uniform(random, low, high);
}

bool lm_test_wants_row(const char *name)
{
    const char *wanted = getenv("LITEMAMBA_TEST_ROW");
    return !wanted || !*wanted || strstr(name, wanted);
}

bool lm_test_only_small(void)
{
    return is_set("LITEMAMBA_TEST_SMALL");
}

/* ---- comparison ------------------------------------------------------------------------------------------------- */

double lm_test_error(const float *value, const double *reference, size_t count)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        double v = value[i], r = reference[i];
        if (!isfinite(r) || !isfinite(v)) {
            if (!(isnan(r) && isnan(v)) && !(isinf(r) && v == r))
                return NAN;
            continue;
        }
        largest = fmax(largest, fabs(r));
        worst = fmax(worst, fabs(v - r));
    }
    return largest > 0 ? worst / largest : worst;
}

double lm_test_error_f32(const float *value, const float *reference, size_t count)
{
    double *wide = malloc((count ? count : 1) * sizeof *wide);
    cr_assert(wide);
    for (size_t i = 0; i < count; i++)
        wide[i] = reference[i];
    double error = lm_test_error(value, wide, count);
    free(wide);
    return error;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static const char *folder_of(const char *variable, const char *fallback)
{
    const char *value = getenv(variable);
    return value && *value ? value : fallback;
}

const char *lm_test_data_dir(void)
{
    return folder_of("LM_TEST_DATA_DIR", LM_TEST_DATA_DIR);
}

const char *lm_test_models_dir(void)
{
    return folder_of("LM_TEST_MODELS_DIR", LM_TEST_MODELS_DIR);
}

char *lm_test_join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    cr_assert(path);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

char *lm_test_folder_create(void)
{
    const char *base = folder_of("TMPDIR", "/tmp");
    char *folder = lm_test_join(base, "litemamba-test-XXXXXX");
    cr_assert(mkdtemp(folder), "cannot make a folder in %s", base);
    return folder;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

void lm_test_folder_remove(char *folder)
{
    if (folder)
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

char *lm_test_file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *data = NULL;
    size_t used = 0, capacity = 1 << 16;
    for (;;) {
        char *larger = realloc(data, capacity + 1);
        if (!larger)
            break;
        data = larger;
        size_t got = fread(data + used, 1, capacity - used, file);
        used += got;
        if (used < capacity)
            break;
        capacity *= 2;
    }
    bool failed = !data || ferror(file);
    fclose(file);
    if (failed) {
        free(data);
        return NULL;
    }
    data[used] = 0;
    if (size)
        *size = used;
    return data;
}

void lm_test_file_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file, "cannot write %s", path);
    size_t written = fwrite(data, 1, size, file);
    cr_assert(fclose(file) == 0 && written == size, "cannot write %s", path);
}
