/* host/tune_file.c: what was measured on a device, in the user's cache folder: a small JSON file a device, driver and version. */
#include "host/tune.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/file.h"
#include "host/json.h"

enum { LARGEST_FILE = 1 << 16 };

/* ---- where ------------------------------------------------------------------------------------------------------ */

/* What a file is for. Kernels may change with every version, and drivers compile them differently. */
typedef struct tune_key {
    char library[32], device[256], driver[256], backend[16], capabilities[16];
} tune_key;

static tune_key key_of(const lm_device *device)
{
    tune_key key;
    snprintf(key.library, sizeof key.library, "%d.%d.%d", LM_VERSION_MAJOR, LM_VERSION_MINOR, LM_VERSION_PATCH);
    snprintf(key.device, sizeof key.device, "%s", device->info.name);
    snprintf(key.driver, sizeof key.driver, "%s", device->info.driver);
    snprintf(key.backend, sizeof key.backend, "%s", device->ops->name);
    snprintf(key.capabilities, sizeof key.capabilities, "0x%x", (unsigned)device->info.capabilities);
    return key;
}

/* FNV-1a over the texts, each with its zero. */
static uint64_t hash(const tune_key *key)
{
    const char *const texts[] = {key->library, key->device, key->driver, key->backend, key->capabilities};
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *at = texts[i];
        do h = (h ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
        while (*at++ != '\0');
    }
    return h;
}

/* $XDG_CACHE_HOME, or ~/.cache, or NULL; malloc'd. */
static char *cache_folder(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] == '/') return strdup(cache);
    return home != NULL && home[0] == '/' ? lm_file_join(home, ".cache") : NULL;
}

/* The device's file, malloc'd; its folder too where `folder` is not NULL. NULL: there is no such place. */
static char *path_of(const lm_device *device, char **folder)
{
    char name[40];
    const tune_key key = key_of(device);
    snprintf(name, sizeof name, "tuning-%016llx.json", (unsigned long long)hash(&key));
    char *cache = cache_folder(), *own = cache != NULL ? lm_file_join(cache, "litemamba") : NULL;
    char *path = own != NULL ? lm_file_join(own, name) : NULL;
    free(cache);
    if (folder != NULL) *folder = own;
    else free(own);
    return path;
}

lm_status lm_tune_path(const lm_device *device, char *out, size_t size)
{
    if (device == NULL || out == NULL || size == 0)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_tune_path: requires a device and a place for the path");
    char *path = path_of(device, NULL);
    const bool fits = path != NULL && strlen(path) < size;
    snprintf(out, size, "%s", fits ? path : "");
    free(path);
    return fits ? LM_OK : lm_fail(NULL, LM_ERROR_IO, "lm_tune_path: there is no cache folder: neither XDG_CACHE_HOME nor HOME is a path");
}

/* ---- keeping ---------------------------------------------------------------------------------------------------- */

/* Makes the folder, and the cache folder that it is in, for their owner alone. */
static lm_status make_folder(const char *folder)
{
    char *cache = cache_folder();
    const bool made = cache != NULL && (mkdir(cache, 0700) == 0 || errno == EEXIST) && (mkdir(folder, 0700) == 0 || errno == EEXIST);
    const int code = errno;
    free(cache);
    return made ? LM_OK : lm_fail(NULL, LM_ERROR_IO, "%s: cannot be made: %s", folder, strerror(code));
}

static char *describe(const lm_device *device)
{
    const tune_key key = key_of(device);
    json_t *values = json_object();
    for (int i = 0; i < LM_KNOB_COUNT; i++)
        json_object_set_new(values, lm_knob_get((lm_knob)i)->name, json_integer(device->tuning[i]));
    json_t *root = json_pack("{s:s,s:s,s:s,s:s,s:s,s:o}", "library", key.library, "device", key.device, "driver", key.driver,
                             "backend", key.backend, "capabilities", key.capabilities, "knobs", values);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return text;
}

lm_status lm_tune_save(const lm_device *device)
{
    char *folder = NULL, *path = path_of(device, &folder), *text = describe(device);
    lm_status status = LM_OK;
    if (path == NULL)
        status = lm_fail(NULL, LM_ERROR_IO, "lm_tune: there is no cache folder: neither XDG_CACHE_HOME nor HOME is a path");
    else if (text == NULL)
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory, or the device's name is not UTF-8", path);
    if (status == LM_OK) status = make_folder(folder);
    lm_file_writer writer;
    if (status == LM_OK) status = lm_file_create(path, &writer);
    if (status == LM_OK) {
        status = lm_file_append(&writer, text, strlen(text));
        if (status == LM_OK) status = lm_file_commit(&writer);
        else lm_file_abandon(&writer);
    }
    free(folder);
    free(path);
    free(text);
    return status;
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

/* A folder or a file that others may write could hold anything, slow choices too. */
static const char *distrust(const char *path)
{
    struct stat s;
    if (stat(path, &s) != 0) return strerror(errno);
    return s.st_uid != geteuid() ? "not this user's" : (s.st_mode & (S_IWGRP | S_IWOTH)) != 0 ? "others may write it" : NULL;
}

/* NULL: `error` says why. */
static json_t *parse_file(const char *path, char *error, size_t error_size)
{
    static const lm_json_limits limits = {.depth = 3, .keys = 32, .noun = "keys", .values = 256};
    lm_file file;
    json_t *root = NULL;
    char *text = NULL;
    if (lm_file_open(path, &file) != LM_OK) {
        snprintf(error, error_size, "%s", lm_last_error());
        return NULL;
    }
    if (file.size > LARGEST_FILE) snprintf(error, error_size, "%llu bytes are too many", (unsigned long long)file.size);
    else if ((text = malloc((size_t)file.size + 1)) == NULL) snprintf(error, error_size, "out of memory");
    else if (lm_file_read(&file, 0, text, (size_t)file.size) != LM_OK) snprintf(error, error_size, "%s", lm_last_error());
    else root = lm_json_parse(text, (size_t)file.size, &limits, error, error_size);
    free(text);
    lm_file_close(&file);
    return root;
}

static bool same(const json_t *root, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(root, name));
    return value != NULL && strcmp(value, text) == 0;
}

static bool is_for(const json_t *root, const lm_device *device)
{
    const tune_key key = key_of(device);
    return same(root, "library", key.library) && same(root, "device", key.device) && same(root, "driver", key.driver) &&
           same(root, "backend", key.backend) && same(root, "capabilities", key.capabilities);
}

static void take(lm_device *device, const char *path, const json_t *values)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)values, name, value)
    {
        lm_knob knob;
        const json_int_t number = json_integer_value(value);
        char quoted[LM_JSON_QUOTED];
        if (!lm_knob_find(name, &knob))
            lm_log(device->context, LM_LOG_WARNING, "%s: there is no choice %s", path, lm_json_quote(quoted, name, strlen(name)));
        else if (!json_is_integer(value) || number < 0 || number > INT32_MAX || !lm_knob_set(device, knob, (int32_t)number))
            lm_log(device->context, LM_LOG_WARNING, "%s: not a value of %s", path, lm_knob_get(knob)->name);
    }
}

void lm_tune_load(lm_device *device)
{
    const char *wanted = getenv("LITEMAMBA_TUNING");
    if (device->tuned || (wanted != NULL && strcmp(wanted, "off") == 0)) return;
    device->tuned = true;
    char *folder = NULL, *path = path_of(device, &folder);
    if (path != NULL && access(path, F_OK) == 0) {
        char error[512];
        const char *cause = distrust(folder) != NULL ? distrust(folder) : distrust(path);
        json_t *root = cause == NULL ? parse_file(path, error, sizeof error) : NULL;
        const json_t *values = json_object_get(root, "knobs");
        if (root == NULL) lm_log(device->context, LM_LOG_WARNING, "%s: ignored: %s", path, cause != NULL ? cause : error);
        else if (!is_for(root, device) || !json_is_object(values))
            lm_log(device->context, LM_LOG_WARNING, "%s: ignored: not for this device, driver and version", path);
        else take(device, path, values);
        json_decref(root);
    }
    free(folder);
    free(path);
}
