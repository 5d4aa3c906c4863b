/* tests/test_runtime.c: contexts, devices by name, drivers that are missing or broken, and what loading must not change. */
#include "runtime/context.h"
#include "runtime/copy.h"
#include "runtime/list.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <ctype.h>
#include <dlfcn.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(runtime, .timeout = 300);

extern char **environ;

static lm_context *create_context(const lm_context_params *params)
{
    lm_context *context = NULL;
    cr_assert(lm_context_create(params, &context) == LM_OK, "%s", lm_last_error());
    return context;
}

/* ---- errors and the log ----------------------------------------------------------------------------------------- */

Test(runtime, version_and_statuses)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", LM_VERSION_MAJOR, LM_VERSION_MINOR, LM_VERSION_PATCH);
    cr_expect_str_eq(lm_version(), version);
    for (int status = -1; status < 30; status++) {
        cr_expect(lm_status_string((lm_status)status) != NULL && lm_status_string((lm_status)status)[0] != '\0');
        for (int other = 0; other < status && status <= LM_ERROR_CANCELLED; other++)
            cr_expect_str_neq(lm_status_string((lm_status)status), lm_status_string((lm_status)other));
    }
}

Test(runtime, last_error_starts_empty)
{
    cr_expect_str_eq(lm_last_error(), "");
}

typedef struct log_lines {
    unsigned count;
    lm_log_level most;
    char last[512];
} log_lines;

static void keep_line(void *user, lm_log_level level, const char *text)
{
    log_lines *lines = user;
    lines->count++;
    lines->most = level > lines->most ? level : lines->most;
    snprintf(lines->last, sizeof lines->last, "%s", text);
    cr_expect(!strchr(text, '\n'), "a line end in '%s'", text);
}

Test(runtime, log_gets_errors_and_keeps_to_its_level)
{
    log_lines lines = {0};
    lm_context *context = create_context(&(lm_context_params){.log = keep_line, .log_user = &lines, .no_opencl = true});
    lines.count = 0;
    lm_device *device = NULL;
    cr_expect_eq(lm_device_open(context, "no such thing", NULL, &device), LM_ERROR_NO_DEVICE);
    cr_expect_null(device);
    cr_expect_eq(lines.count, 1);
    cr_expect_str_eq(lines.last, lm_last_error());
    cr_expect(strstr(lm_last_error(), "no such thing"));
    lm_context_destroy(&context);
    cr_expect_null(context);

    lines = (log_lines){0};
    context = create_context(&(lm_context_params){.log = keep_line, .log_user = &lines, .log_level = LM_LOG_DEBUG});

    lm_context_destroy(&context);
}

Test(runtime, refuses_null)
{
    cr_expect_eq(lm_context_create(NULL, NULL), LM_ERROR_INVALID_ARGUMENT);
    lm_device *device = (lm_device *)&device;
    cr_expect_eq(lm_device_open(NULL, "cpu", NULL, &device), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_null(device);
    lm_context *context = create_context(&(lm_context_params){.no_opencl = true, .no_vulkan = true});
    cr_expect_eq(lm_device_open(context, "cpu", NULL, NULL), LM_ERROR_INVALID_ARGUMENT);
    cr_expect(strstr(lm_last_error(), "lm_device_open"), "%s", lm_last_error());
    lm_context_destroy(&context);
    /* Destroying nothing is nothing. */
    lm_context_destroy(&context);
    lm_context_destroy(NULL);
    lm_device_destroy(NULL);
    lm_buffer_destroy(NULL);
    cr_expect_eq(lm_context_device_count(NULL), 0);
    cr_expect_null(lm_context_device_info(NULL, 0));
    cr_expect_null(lm_device_get_info(NULL));
    cr_expect_eq(lm_buffer_size(NULL), 0);
    cr_expect_null(lm_buffer_map(NULL));
}

/* ---- the list of devices ---------------------------------------------------------------------------------------- */

Test(runtime, loads_only_the_backend_that_is_named)
{
    lm_context *context = create_context(NULL);
    const size_t all = lm_context_device_count(context);
    lm_context_destroy(&context);
    /* A name without a backend may be any device's. */
    static const char *const anywhere[] = {"", "H200", "cpux", "op:0"};
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++) {
        context = create_context(&(lm_context_params){.device = anywhere[i]});
        cr_expect_eq(lm_context_device_count(context), all, "'%s'", anywhere[i]);
        lm_context_destroy(&context);
    }
    static const struct {
        const char *device, *prefix;
    } named[] = {{"cpu", "cpu"}, {"reference", "reference"}, {"vulkan", "vulkan:"}, {"OpenCL:some", "opencl:"}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        context = create_context(&(lm_context_params){.device = named[i].device});
        for (size_t d = 0; d < lm_context_device_count(context); d++) {
            const char *id = lm_context_device_info(context, d)->id;
            cr_expect(strncmp(id, named[i].prefix, strlen(named[i].prefix)) == 0, "%s for '%s'", id, named[i].device);
        }
        lm_context_destroy(&context);
    }
}

Test(runtime, lists_devices_in_order)
{
    static const int place[] = {[LM_BACKEND_OPENCL] = 0, [LM_BACKEND_VULKAN] = 1, [LM_BACKEND_CPU] = 2,
                                [LM_BACKEND_REFERENCE] = 3};
    lm_context *context = lm_test_context();
    const size_t count = lm_context_device_count(context);
    cr_assert_geq(count, 2);
    cr_expect_null(lm_context_device_info(context, count));
    cr_expect_null(lm_context_device_info(context, SIZE_MAX));
    uint32_t next[4] = {0};
    int last = 0;
    for (size_t i = 0; i < count; i++) {
        const lm_device_info *info = lm_context_device_info(context, i);
        static const char *const names[] = {
            [LM_BACKEND_CPU] = "cpu", [LM_BACKEND_OPENCL] = "opencl", [LM_BACKEND_VULKAN] = "vulkan",
            [LM_BACKEND_REFERENCE] = "reference"};
        cr_assert_geq(place[info->backend], last);
        last = place[info->backend];
        cr_expect_eq(info->index, next[info->backend]++);
        char id[32];
        const bool own = info->backend == LM_BACKEND_CPU || info->backend == LM_BACKEND_REFERENCE; /* of which there is one */
        snprintf(id, sizeof id, own ? "%s" : "%s:%u", names[info->backend], info->index);
        cr_expect_str_eq(info->id, id);
        cr_expect(info->name[0] && info->driver[0] && info->api[0], "%s has no name, driver or API", id);
        cr_expect(info->memory_bytes > 0 && info->max_allocation_bytes > 0 && info->max_binding_bytes > 0, "%s", id);
        cr_expect_leq(info->max_binding_bytes, UINT32_MAX - 3u);
        cr_expect(info->binding_alignment >= 4 && info->binding_alignment % 4 == 0, "%s", id);
        cr_expect(info->max_workgroup_size >= 1 && info->max_groups[0] >= 65535 && info->max_groups[1] >= 65535, "%s", id);
        cr_expect(info->shared_bytes >= 16384, "%s", id);
        cr_expect(info->lanes == 1 || info->lanes == 16, "%s", id);
        cr_expect_eq(info->lanes == 16, (info->capabilities & LM_CAP_WIDE_LANES) != 0);
        cr_expect_eq(info->timestamp_ns > 0, (info->capabilities & LM_CAP_TIMESTAMPS) != 0);
    }
    cr_expect_eq(last, 3, "`reference` is always there, and last");
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* Opens and says which device it was; "" with the status expected where it cannot. */
static void expect_open(const char *name, const char *id, lm_status expected)
{
    lm_device *device = NULL;
    const lm_status status = lm_device_open(lm_test_context(), name, NULL, &device);
    cr_expect_eq(status, expected, "'%s': %s, %s", name ? name : "NULL", lm_status_string(status), lm_last_error());
    if (device)
        cr_expect_str_eq(lm_device_get_info(device)->id, id, "'%s' opens %s instead of %s", name ? name : "NULL",
                         lm_device_get_info(device)->id, id);
    lm_device_destroy(&device);
}

Test(runtime, opens_by_name)
{
    unsetenv("LITEMAMBA_DEVICE");
    expect_open("cpu", "cpu", LM_OK);
    expect_open("CPU", "cpu", LM_OK);
    expect_open("cpu:0", "cpu", LM_OK);
    expect_open("cpu:LITEMAMBA", "cpu", LM_OK);
    expect_open("reference", "reference", LM_OK);
    expect_open("Reference:0", "reference", LM_OK);
    static const char *const wrong[] = {
        "cp", "cpux", "cpu:", "cpu:1", "cpu:-1", "cpu:00000000000000000000", "opencl:99", "vulkan:99", "opencl:4294967296",
        "references", "gpu", " cpu", "cpu ", ":", "vulkan:no such name"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_open(wrong[i], "", LM_ERROR_NO_DEVICE);
        cr_expect(strstr(lm_last_error(), wrong[i]), "the message does not name '%s': %s", wrong[i], lm_last_error());
    }
    for (size_t i = 0; i < lm_context_device_count(lm_test_context()); i++) {
        const lm_device_info *info = lm_context_device_info(lm_test_context(), i);
        expect_open(info->id, info->id, LM_OK);
        /* Part of the name, in capitals, finds a device of that backend. */
        char name[400];
        int length = snprintf(name, sizeof name, "%.*s:%.12s", (int)strcspn(info->id, ":"), info->id, info->name);
        for (int j = 0; j < length; j++)
            name[j] = (char)toupper((unsigned char)name[j]);
        lm_device *device = NULL;
        cr_expect_eq(lm_device_open(lm_test_context(), name, NULL, &device), LM_OK, "'%s': %s", name, lm_last_error());
        if (device)
            cr_expect_eq(lm_device_get_info(device)->backend, info->backend);
        lm_device_destroy(&device);
    }
}

Test(runtime, environment_counts_only_without_a_name)
{
    setenv("LITEMAMBA_DEVICE", "cpu", 1);
    expect_open(NULL, "cpu", LM_OK);
    expect_open("", "cpu", LM_OK);
    setenv("LITEMAMBA_DEVICE", "nonsense", 1);
    expect_open("cpu", "cpu", LM_OK);
    expect_open(NULL, "", LM_ERROR_NO_DEVICE);
    cr_expect(strstr(lm_last_error(), "nonsense") && strstr(lm_last_error(), "LITEMAMBA_DEVICE"), "%s", lm_last_error());
    setenv("LITEMAMBA_DEVICE", "", 1);
    lm_device *device = NULL;
    cr_expect_eq(lm_device_open(lm_test_context(), NULL, NULL, &device), LM_OK);
    lm_device_destroy(&device);
}

/* The processor never comes before a GPU, a driver on it never before `cpu`, and the reference is last. */
Test(runtime, without_a_name_the_best)
{
    unsetenv("LITEMAMBA_DEVICE");
    lm_context *context = lm_test_context();
    lm_device_type best = LM_DEVICE_REFERENCE;
    for (size_t i = 0; i < lm_context_device_count(context); i++) {
        const lm_device_type type = lm_context_device_info(context, i)->type;
        best = type < best ? type : best;
    }
    lm_device *device = NULL;
    cr_assert_eq(lm_device_open(context, NULL, NULL, &device), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_device_get_info(device)->type, best);
    if (best == LM_DEVICE_CPU) cr_expect_str_eq(lm_device_get_info(device)->id, "cpu");
    lm_device_destroy(&device);

    context = create_context(&(lm_context_params){.no_opencl = true, .no_vulkan = true});
    cr_expect_eq(lm_context_device_count(context), 2);
    cr_assert_eq(lm_device_open(context, NULL, NULL, &device), LM_OK, "%s", lm_last_error());
    cr_expect_str_eq(lm_device_get_info(device)->id, "cpu");
    lm_device_destroy(&device);
    cr_expect_eq(lm_device_open(context, "opencl", NULL, &device), LM_ERROR_NO_DEVICE);
    cr_expect_eq(lm_device_open(context, "vulkan", NULL, &device), LM_ERROR_NO_DEVICE);
    lm_context_destroy(&context);
}

/* ---- capabilities ----------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(runtime, masked_capabilities_are_gone) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, runtime, masked_capabilities_are_gone)
{
    lm_device *device = lm_test_open(target->backend, 0);
    const lm_device_info whole = *lm_device_get_info(device);
    char id[32];
    snprintf(id, sizeof id, "%s", whole.id);
    lm_test_close(&device);
    const lm_device_params params = {.disable = UINT32_MAX};
    cr_assert_eq(lm_device_open(lm_test_context(), id, &params, &device), LM_OK, "%s", lm_last_error());
    const lm_device_info *info = lm_device_get_info(device);
    cr_expect_eq(info->capabilities, 0);
    cr_expect_eq(info->lanes, 1);
    cr_expect_eq(info->subgroup_size, 0);
    cr_expect_eq(info->timestamp_ns, 0);
    cr_expect_leq(info->shared_bytes, 16384);
    cr_expect_eq(info->binding_alignment, whole.binding_alignment);
    lm_device_destroy(&device);
    /* The context's own description stays as it was. */
    cr_assert_eq(lm_device_open(lm_test_context(), id, NULL, &device), LM_OK);
    cr_expect_eq(lm_device_get_info(device)->capabilities, whole.capabilities);
    cr_expect_eq(lm_device_get_info(device)->lanes, whole.lanes);
    lm_device_destroy(&device);
}

/* ---- drivers that are missing or broken ------------------------------------------------------------------------- */

/* Backends of a context made now. */
static unsigned count_backend(lm_context *context, lm_backend backend)
{
    unsigned count = 0;
    for (size_t i = 0; i < lm_context_device_count(context); i++)
        count += lm_context_device_info(context, i)->backend == backend;
    return count;
}

static void expect_only_cpu_of(const char *what, lm_backend missing)
{
    lm_context *context = create_context(NULL);
    cr_expect_eq(count_backend(context, missing), 0, "%s", what);
    cr_expect_eq(count_backend(context, LM_BACKEND_CPU), 1, "%s", what);
    lm_device *device = NULL;
    const char *name = missing == LM_BACKEND_OPENCL ? "opencl" : "vulkan";
    cr_expect_eq(lm_device_open(context, name, NULL, &device), LM_ERROR_NO_DEVICE);
    cr_expect_eq(lm_device_open(context, "cpu", NULL, &device), LM_OK, "%s: %s", what, lm_last_error());
    lm_device_destroy(&device);
    lm_context_destroy(&context);
}

/* ocl-icd, Debian's and Ubuntu's OpenCL loader, reads OCL_ICD_VENDORS, when it is first called; others may not, and then list
 * what is installed. */
static bool is_ocl_icd(void)
{
    void *loader = dlopen("libOpenCL.so.1", RTLD_LAZY | RTLD_LOCAL);
    void *(*extension)(const char *) = NULL;
    if (loader != NULL) *(void **)&extension = dlsym(loader, "clGetExtensionFunctionAddress");
    const bool is = extension != NULL && extension("clGetICDLoaderInfoOCLICD") != NULL;
    if (loader != NULL) dlclose(loader);
    return is;
}

/* With the .icd files of `folder`, which is removed then, alone. */
static void expect_no_opencl_of(char *folder, const char *what)
{
    char *vendors = lm_test_join(folder, "");
    setenv("OCL_ICD_VENDORS", vendors, 1);
    const bool reads = is_ocl_icd();
    if (reads) expect_only_cpu_of(what, LM_BACKEND_OPENCL);
    free(vendors);
    lm_test_folder_remove(folder);
    if (!reads) cr_skip("the OpenCL loader is not ocl-icd");
}

Test(runtime, no_opencl_driver) { expect_no_opencl_of(lm_test_folder_create(), "an empty folder of vendors"); }

Test(runtime, broken_opencl_driver)
{
    char *folder = lm_test_folder_create(), *icd = lm_test_join(folder, "broken.icd");
    char *library = lm_test_join(folder, "libbroken.so");
    lm_test_file_write(library, "no library", 10);
    lm_test_file_write(icd, library, strlen(library));
    free(library);
    free(icd);
    expect_no_opencl_of(folder, "a driver that is no library");
}

Test(runtime, no_vulkan_driver)
{
    setenv("VK_ICD_FILENAMES", "/no/such/file.json", 1);
    setenv("VK_DRIVER_FILES", "/no/such/file.json", 1);
    expect_only_cpu_of("a driver file that is not there", LM_BACKEND_VULKAN);
}

Test(runtime, broken_vulkan_driver)
{
    char *folder = lm_test_folder_create(), *icd = lm_test_join(folder, "broken.json");
    char *library = lm_test_join(folder, "libbroken.so"), text[1024];
    lm_test_file_write(library, "no library", 10);
    snprintf(text, sizeof text,
             "{\"file_format_version\": \"1.0.0\", \"ICD\": {\"library_path\": \"%s\", \"api_version\": \"1.3.0\"}}",
             library);
    lm_test_file_write(icd, text, strlen(text));
    setenv("VK_ICD_FILENAMES", icd, 1);
    setenv("VK_DRIVER_FILES", icd, 1);
    expect_only_cpu_of("a driver that is no library", LM_BACKEND_VULKAN);
    lm_test_file_write(icd, "{", 1);
    expect_only_cpu_of("a driver file that is not JSON", LM_BACKEND_VULKAN);
    free(library);
    free(icd);
    lm_test_folder_remove(folder);
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

typedef struct process_state {
    struct sigaction actions[NSIG];
    bool has_action[NSIG];
    sigset_t mask;
    char *environment; /* all variables, one a line */
    char locale[256];
    char folder[1024];
} process_state;

static void take_state(process_state *state)
{
    memset(state, 0, sizeof *state);
    for (int i = 1; i < NSIG; i++)
        state->has_action[i] = sigaction(i, NULL, &state->actions[i]) == 0;
    sigprocmask(SIG_SETMASK, NULL, &state->mask);
    size_t size = 1;
    for (char **variable = environ; *variable; variable++)
        size += strlen(*variable) + 1;
    state->environment = calloc(1, size);
    cr_assert(state->environment);
    char *to = state->environment;
    for (char **variable = environ; *variable; variable++)
        to += sprintf(to, "%s\n", *variable);
    snprintf(state->locale, sizeof state->locale, "%s", setlocale(LC_ALL, NULL));
    cr_assert(getcwd(state->folder, sizeof state->folder));
}

static void expect_same_state(const process_state *before, const char *when)
{
    /* The C library adds one of its own to what is set. */
    const int flags = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_NODEFER | SA_ONSTACK | SA_RESETHAND | SA_RESTART | SA_SIGINFO;
    static process_state now;
    take_state(&now);
    for (int i = 1; i < NSIG; i++) {
        cr_expect_eq(now.has_action[i], before->has_action[i]);
        if (now.has_action[i])
            cr_expect(now.actions[i].sa_handler == before->actions[i].sa_handler
                          && (now.actions[i].sa_flags & flags) == (before->actions[i].sa_flags & flags),
                      "%s: signal %d has another handler", when, i);
    }
    for (int i = 1; i < NSIG; i++)
        cr_expect_eq(sigismember(&now.mask, i), sigismember(&before->mask, i), "%s: the mask of signal %d", when, i);
    cr_expect_str_eq(now.environment, before->environment, "%s: the environment changed", when);
    cr_expect_str_eq(now.locale, before->locale, "%s: the locale changed", when);
    cr_expect_str_eq(now.folder, before->folder, "%s: the working directory changed", when);
    free(now.environment);
}

static void own_handler(int signal)
{
    (void)signal;
}

Test(runtime, process_stays_as_it_was)
{
    static process_state before;
    const int signals[] = {SIGINT, SIGUSR1, SIGFPE};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &(struct sigaction){.sa_handler = own_handler, .sa_flags = SA_RESTART}, NULL);
    setlocale(LC_ALL, "C.UTF-8");
    take_state(&before);
    for (int round = 0; round < 2; round++) {
        lm_context *context = create_context(NULL);
        expect_same_state(&before, "after lm_context_create");
        for (size_t i = 0; i < lm_context_device_count(context); i++) {
            lm_device *device = NULL;
            lm_buffer *buffer = NULL;
            const char *id = lm_context_device_info(context, i)->id;
            cr_assert_eq(lm_device_open(context, id, NULL, &device), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_buffer_create(device, &(lm_buffer_params){.size = 4096}, &buffer), LM_OK, "%s", lm_last_error());
            lm_buffer_destroy(&buffer);
            lm_device_destroy(&device);
        }
        expect_same_state(&before, "after opening every device");
        lm_context_destroy(&context);
        expect_same_state(&before, "after lm_context_destroy");
    }
    free(before.environment);
}

/* ---- lost devices ----------------------------------------------------------------------------------------------- */

/* Every call of a lost device says so; what it made can still be destroyed. */
static bool all_calls_are_lost(lm_device *device, lm_buffer *buffer, lm_list *ended, lm_list *recording)
{
    uint32_t word = 0;
    lm_buffer *another = NULL;
    lm_list *list = NULL;
    const lm_view view = lm_view_whole(buffer);
    return lm_buffer_upload(buffer, 0, &word, 4) == LM_ERROR_DEVICE_LOST
           && lm_buffer_download(buffer, 0, &word, 4) == LM_ERROR_DEVICE_LOST
           && lm_buffer_create(device, &(lm_buffer_params){.size = 4}, &another) == LM_ERROR_DEVICE_LOST
           && lm_list_create(device, LM_TIMES_NONE, &list) == LM_ERROR_DEVICE_LOST
           && lm_list_fill(recording, view, 0) == LM_ERROR_DEVICE_LOST && lm_list_end(recording) == LM_ERROR_DEVICE_LOST
           && lm_list_submit(ended) == LM_ERROR_DEVICE_LOST && lm_list_run(ended) == LM_ERROR_DEVICE_LOST
           && !another && !list;
}

typedef struct live_objects {
    lm_device *device;
    lm_buffer *buffer;
    lm_list *ended, *recording;
} live_objects;

static live_objects make_objects(const lm_test_target *target)
{
    live_objects o = {.device = lm_test_open(target->backend, target->disable)};
    cr_assert_eq(lm_buffer_create(o.device, &(lm_buffer_params){.size = 256}, &o.buffer), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_list_create(o.device, LM_TIMES_NONE, &o.ended), LM_OK);
    cr_assert_eq(lm_list_fill(o.ended, lm_view_whole(o.buffer), 7), LM_OK);
    cr_assert_eq(lm_list_end(o.ended), LM_OK);
    cr_assert_eq(lm_list_create(o.device, LM_TIMES_NONE, &o.recording), LM_OK);
    cr_assert_eq(lm_list_fill(o.recording, lm_view_whole(o.buffer), 8), LM_OK);
    return o;
}

static void destroy_objects(live_objects *o)
{
    lm_list_destroy(&o->ended);
    lm_list_destroy(&o->recording);
    lm_buffer_destroy(&o->buffer);
    lm_device_destroy(&o->device);
}

ParameterizedTestParameters(runtime, lost_stays_lost) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, runtime, lost_stays_lost)
{
    live_objects o = make_objects(target);
    cr_expect_eq(lm_list_run(o.ended), LM_OK, "%s", lm_last_error());
    o.device->lost = true;
    cr_expect(all_calls_are_lost(o.device, o.buffer, o.ended, o.recording), "%s", lm_last_error());
    cr_expect(strstr(lm_last_error(), o.device->info.id) && strstr(lm_last_error(), "lost"), "%s", lm_last_error());
    destroy_objects(&o);
    /* Another device of the same context is none the worse. */
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_test_close(&device);
}

ParameterizedTestParameters(runtime, forked_child_is_refused) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, runtime, forked_child_is_refused)
{
    live_objects o = make_objects(target);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        alarm(60);
        const bool lost = all_calls_are_lost(o.device, o.buffer, o.ended, o.recording) && strstr(lm_last_error(), "fork");
        destroy_objects(&o);
        _exit(lost ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", (unsigned)status);
    cr_expect_eq(lm_list_run(o.ended), LM_OK, "%s", lm_last_error());
    destroy_objects(&o);
}

/* ---- contexts --------------------------------------------------------------------------------------------------- */

Test(runtime, many_contexts)
{
    lm_context *contexts[4] = {NULL};
    lm_device *devices[4] = {NULL};
    for (int i = 0; i < 4; i++) {
        contexts[i] = create_context(NULL);
        cr_expect_eq(lm_context_device_count(contexts[i]), lm_context_device_count(contexts[0]));
        cr_assert_eq(lm_device_open(contexts[i], NULL, NULL, &devices[i]), LM_OK, "%s", lm_last_error());
    }
    for (int i = 0; i < 4; i++) {
        lm_device_destroy(&devices[i]);
        cr_expect_null(devices[i]);
        lm_context_destroy(&contexts[i]);
    }
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

Test(runtime, copies_are_whole)
{
    enum { MOST = 3 * 1024 * 1024 + 12345, ROOM = 64 };
    static const uint64_t sizes[] = {0, 1, 4095, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1024 * 1024, 1024 * 1024 + 4097, MOST};
    unsigned char *from = malloc(MOST), *to = malloc(MOST + ROOM);
    cr_assert(from != NULL && to != NULL);
    for (size_t i = 0; i < MOST; i++) from[i] = (unsigned char)(i * 2654435761u >> 24);
    lm_copier shared = {0}, alone = {.alone = true};
    /* Often enough for copies that follow each other closely. */
    for (int round = 0; round < 8; round++)
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
            for (int one = 0; one < 2; one++) {
                memset(to, 0xa5, MOST + ROOM);
                for (int again = 0; again < 4; again++) lm_copier_copy(one ? &alone : &shared, to, from, sizes[n]);
                cr_assert(memcmp(to, from, (size_t)sizes[n]) == 0, "%llu bytes", (unsigned long long)sizes[n]);
                for (int i = 0; i < ROOM; i++) cr_assert_eq(to[sizes[n] + (size_t)i], 0xa5, "%llu bytes", (unsigned long long)sizes[n]);
            }
    cr_expect_null(alone.team);
    lm_copier_close(&shared);
    lm_copier_close(&alone);
    free(from);
    free(to);
}
