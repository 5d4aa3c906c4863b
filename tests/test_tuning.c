/* tests/test_tuning.c: knobs: every candidate is right on every device, and a file in the cache folder can only choose among
 * them. */
#include "host/model.h"
#include "host/tune.h"
#include "kernels/check.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(tuning, .timeout = 1200);

/* ---- knobs ------------------------------------------------------------------------------------------------------ */

Test(tuning, table)
{
    for (int i = 0; i < LM_KNOB_COUNT; i++) {
        const lm_knob_info *info = lm_knob_get((lm_knob)i);
        lm_knob found;
        cr_expect(lm_knob_find(info->name, &found) && found == (lm_knob)i, "%s: a name twice", info->name);
        cr_expect(info->count > 0 && info->what[0] != '\0');
        for (size_t c = 0; c < info->count; c++) {
            cr_expect(info->candidates[c] > 0, "%s: 0 is by rule", info->name);
            for (size_t d = 0; d < c; d++) cr_expect(info->candidates[d] != info->candidates[c], "%s: twice", info->name);
        }
        size_t cases = 0;
        for (size_t r = 0; lm_tune_row_at(r) != NULL; r++) cases += lm_tune_row_at(r)->knob == (lm_knob)i;
        cr_expect(cases > 0, "%s: nothing to measure it on", info->name);
    }
}

Test(tuning, refuses_what_is_no_candidate)
{
    lm_device *device = lm_test_open("cpu", 0);
    const lm_knob_info *info = lm_knob_get((lm_knob)0);
    cr_expect(lm_knob_set(device, (lm_knob)0, info->candidates[0]) && device->tuning[0] == info->candidates[0]);
    cr_expect(!lm_knob_set(device, (lm_knob)0, -1) && !lm_knob_set(device, (lm_knob)0, 12345));
    cr_expect_eq(device->tuning[0], info->candidates[0]);
    cr_expect(lm_knob_set(device, (lm_knob)0, 0) && device->tuning[0] == 0);
    lm_test_close(&device);
}

/* Is the kernel of a family that the knob is measured on? */
static bool concerns(lm_knob knob, lm_kernel_id kernel)
{
    for (size_t r = 0; lm_tune_row_at(r) != NULL; r++) {
        const lm_tune_row *row = lm_tune_row_at(r);
        const char *family = strcmp(row->kernel, "product") == 0 ? "gem" : row->kernel;
        if (row->knob == knob && strncmp(lm_kernel_get(kernel)->stem, family, strlen(family)) == 0) return true;
    }
    return false;
}

static void check_row(lm_device *device, lm_knob knob, lm_kernel_id kernel, size_t index, bool product)
{
    lm_case *c = NULL;
    lm_check_result result;
    cr_assert_eq(lm_case_create(device, kernel, index, lm_test_seed(), &c), LM_OK, "%s", lm_last_error());
    if (product) c->record = lm_case_record_product;
    const lm_status status = lm_check_case(device, c, &result);
    cr_expect(status == LM_OK && result.passed, "%s, %s %d: %s: %s", device->info.id, lm_knob_get(knob)->name,
              (int)device->tuning[knob], c->name, status == LM_OK ? result.text : lm_last_error());
    lm_case_destroy(&c);
}

static void check_candidate(lm_device *device, lm_knob knob)
{
    for (int k = 0; k < LM_KERNEL_COUNT; k++) {
        const lm_kernel_id kernel = (lm_kernel_id)k;
        if (!concerns(knob, kernel)) continue;
        for (size_t i = 0; i < lm_case_count(kernel); i++) {
            const unsigned flags = lm_case_flags(kernel, i);
            if (!(flags & (lm_test_only_small() ? LM_CASE_SMALL : LM_CASE_QUICK))) continue;
            check_row(device, knob, kernel, i, false);
            if (kernel == LM_KERNEL_GEMM) check_row(device, knob, kernel, i, true);
        }
    }
}

static struct criterion_test_params all_targets(void)
{
    static lm_test_target targets[] = {
        {"cpu", 0}, {"opencl", 0}, {"opencl", LM_CAP_WIDE_LANES}, {"vulkan", 0}, {"vulkan", LM_CAP_LARGE_SHARED | LM_CAP_SUBGROUP},
    };
    return cr_make_param_array(lm_test_target, targets, sizeof targets / sizeof *targets);
}

ParameterizedTestParameters(tuning, every_candidate_is_right) { return all_targets(); }
ParameterizedTest(lm_test_target *target, tuning, every_candidate_is_right)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (int i = 0; i < LM_KNOB_COUNT; i++) {
        const lm_knob_info *info = lm_knob_get((lm_knob)i);
        const int32_t kept = device->tuning[i];
        for (size_t c = 0; c < info->count; c++) {
            lm_knob_set(device, (lm_knob)i, info->candidates[c]);
            check_candidate(device, (lm_knob)i);
        }
        lm_knob_set(device, (lm_knob)i, kept);
    }
    lm_test_close(&device);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* What the log said. */
static char said[4096];

static void listen(void *user, lm_log_level level, const char *text)
{
    (void)user;
    (void)level;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", text);
}

typedef struct home {
    char *folder, path[4096];
    lm_context *context;
    lm_device *device;
    const lm_knob_info *knob; /* the first one */
} home;

/* A cache folder of our own, and a device that nothing was loaded for yet. */
static home home_open(void)
{
    home h = {.folder = lm_test_folder_create(), .knob = lm_knob_get((lm_knob)0)};
    const lm_context_params params = {.log = listen, .log_level = LM_LOG_WARNING, .no_opencl = true, .no_vulkan = true};
    setenv("XDG_CACHE_HOME", h.folder, 1);
    unsetenv("LITEMAMBA_TUNING");
    cr_assert_eq(lm_context_create(&params, &h.context), LM_OK);
    cr_assert_eq(lm_device_open(h.context, "cpu", NULL, &h.device), LM_OK);
    cr_assert_eq(lm_tune_path(h.device, h.path, sizeof h.path), LM_OK);
    return h;
}

static void home_close(home *h)
{
    lm_device_destroy(&h->device);
    lm_context_destroy(&h->context);
    lm_test_folder_remove(h->folder);
}

/* Saves the first candidate of the first knob, and takes it back in the device. */
static void save(home *h)
{
    lm_knob_set(h->device, (lm_knob)0, h->knob->candidates[0]);
    cr_assert_eq(lm_tune_save(h->device), LM_OK, "%s", lm_last_error());
    lm_knob_set(h->device, (lm_knob)0, 0);
}

static void load(home *h)
{
    said[0] = '\0';
    h->device->tuned = false;
    lm_tune_load(h->device);
}

Test(tuning, file_round_trip)
{
    home h = home_open();
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && said[0] == '\0', "no file: %s", said);
    save(&h);
    struct stat folder;
    char *own = lm_test_join(h.folder, "litemamba");
    cr_expect(stat(own, &folder) == 0 && (folder.st_mode & 0777) == 0700);
    free(own);
    load(&h);
    cr_expect(h.device->tuning[0] == h.knob->candidates[0] && said[0] == '\0', "%s", said);
    /* Once for a device object. */
    lm_knob_set(h.device, (lm_knob)0, 0);
    lm_tune_load(h.device);
    cr_expect_eq(h.device->tuning[0], 0);
    setenv("LITEMAMBA_TUNING", "off", 1);
    load(&h);
    cr_expect_eq(h.device->tuning[0], 0);
    home_close(&h);
}

/* The good file with `from` replaced by `to`. */
static void spoil(const home *h, const char *from, const char *to)
{
    char *text = lm_test_file_read(h->path, NULL), *at = strstr(text, from);
    cr_assert(at != NULL, "'%s' is not in %s", from, text);
    char changed[4096];
    const int size = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    lm_test_file_write(h->path, changed, (size_t)size);
    free(text);
}

Test(tuning, bad_files)
{
    char good[64], line[96];
    home h = home_open();
    snprintf(good, sizeof good, "\"%s\": %d", h.knob->name, (int)h.knob->candidates[0]);
    const struct {
        const char *from, *to, *says;
    } edits[] = {
        {"\"library\": \"", "\"library\": \"9", "not for this device"},
        {"\"device\": \"", "\"device\": \"x", "not for this device"},
        {"\"driver\": \"", "\"driver\": \"x", "not for this device"},
        {"\"backend\": \"", "\"backend\": \"x", "not for this device"},
        {"\"capabilities\": \"", "\"capabilities\": \"1", "not for this device"},
        {"\"backend\": \"cpu\",", "", "not for this device"},
        {"\"backend\": \"cpu\"", "\"backend\": 7", "not for this device"},
        {"\"knobs\"", "\"knobz\"", "not for this device"},
        {good, "\"nonsense\": 1", "there is no choice 'nonsense'"},
        {good, "\"\\u001b[31m\": 1", "there is no choice"},
        {"{", "[{", "not JSON"},
        {"}", "", "not JSON"},
        {"{", "", "not JSON"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        save(&h);
        spoil(&h, edits[i].from, edits[i].to);
        load(&h);
        cr_expect(h.device->tuning[0] == 0 && strstr(said, edits[i].says) != NULL, "%s: %s", edits[i].to, said);
        cr_expect(strchr(said, '\x1b') == NULL);
    }
    static const char *const values[] = {"-1",  "12345", "1.5", "true", "null", "\"64\"", "[]", "{}", "4294967360", "1e2",
                                         "9223372036854775807"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        save(&h);
        snprintf(line, sizeof line, "\"%s\": %s", h.knob->name, values[i]);
        spoil(&h, good, line);
        load(&h);
        cr_expect(h.device->tuning[0] == 0 && strstr(said, "not a value of") != NULL, "%s: %s", values[i], said);
    }
    /* What is good in a file is taken though something else in it is not. */
    save(&h);
    snprintf(line, sizeof line, "\"nonsense\": 1, %s", good);
    spoil(&h, good, line);
    load(&h);
    cr_expect(h.device->tuning[0] == h.knob->candidates[0] && strstr(said, "nonsense") != NULL, "%s", said);
    home_close(&h);
}

Test(tuning, bad_places)
{
    home h = home_open();
    save(&h);
    chmod(h.path, 0666);
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && strstr(said, "others may write it") != NULL, "%s", said);
    chmod(h.path, 0644);
    char *own = lm_test_join(h.folder, "litemamba");
    chmod(own, 0777);
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && strstr(said, "others may write it") != NULL, "%s", said);
    chmod(own, 0700);
    lm_test_file_write(h.path, "", 0);
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && strstr(said, "not JSON") != NULL, "%s", said);
    enum { MANY = 1 << 17 };
    char *spaces = malloc(MANY);
    memset(spaces, ' ', MANY);
    lm_test_file_write(h.path, spaces, MANY);
    free(spaces);
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && strstr(said, "too many") != NULL, "%s", said);
    remove(h.path);
    cr_assert_eq(mkfifo(h.path, 0600), 0);
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && strstr(said, "not a regular file") != NULL, "%s", said);
    remove(h.path);
    cr_assert_eq(mkdir(h.path, 0700), 0);
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && strstr(said, "not a regular file") != NULL, "%s", said);
    cr_expect_eq(lm_tune_save(h.device), LM_ERROR_IO);
    remove(h.path);
    free(own);
    /* No place at all. */
    setenv("XDG_CACHE_HOME", "relative", 1);
    unsetenv("HOME");
    load(&h);
    cr_expect(h.device->tuning[0] == 0 && said[0] == '\0', "%s", said);
    char path[16];
    cr_expect_eq(lm_tune_path(h.device, path, sizeof path), LM_ERROR_IO);
    cr_expect_eq(lm_tune_save(h.device), LM_ERROR_IO);
    setenv("XDG_CACHE_HOME", h.folder, 1);
    cr_expect_eq(lm_tune_path(h.device, path, sizeof path), LM_ERROR_IO, "too few bytes");
    home_close(&h);
}

/* ---- models and lm_tune ----------------------------------------------------------------------------------------- */

Test(tuning, models_load_it)
{
    home h = home_open();
    save(&h);
    char *folder = lm_test_join(lm_test_models_dir(), "jargon-small-stcn");
    lm_model *model = NULL;
    cr_assert_eq(lm_model_load(h.device, folder, &(lm_model_params){.untuned = true}, &model), LM_OK, "%s", lm_last_error());
    lm_model_destroy(&model);
    cr_expect_eq(h.device->tuning[0], 0);
    cr_assert_eq(lm_model_load(h.device, folder, NULL, &model), LM_OK, "%s", lm_last_error());
    lm_model_destroy(&model);
    cr_expect_eq(h.device->tuning[0], h.knob->candidates[0]);
    free(folder);
    home_close(&h);
}

typedef struct tally {
    uint32_t calls;
    bool in_order;
} tally;

static void count(void *user, const lm_tune_result *result)
{
    tally *t = user;
    t->calls++;
    t->in_order = t->in_order && result->done == t->calls && result->total == LM_KNOB_COUNT && result->gain >= 0 &&
                  (result->chosen != result->before) == (result->gain > 0);
}

ParameterizedTestParameters(tuning, tune) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, tuning, tune)
{
    char *folder = lm_test_folder_create();
    setenv("XDG_CACHE_HOME", folder, 1);
    lm_device *device = lm_test_open(target->backend, target->disable);
    tally t = {.in_order = true};
    char path[4096];
    lm_tune_params params = {.seconds = 2, .no_save = true, .callback = count, .user = &t};
    cr_assert_eq(lm_tune(device, &params), LM_OK, "%s", lm_last_error());
    cr_expect(t.calls == LM_KNOB_COUNT && t.in_order);
    cr_assert_eq(lm_tune_path(device, path, sizeof path), LM_OK);
    struct stat s;
    cr_expect(stat(path, &s) != 0);
    cr_expect_eq(lm_tune(NULL, NULL), LM_ERROR_INVALID_ARGUMENT);
    lm_test_close(&device);
    lm_test_folder_remove(folder);
}
