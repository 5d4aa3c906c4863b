/* tests/test_files_mutants.c: files changed at random are refused or read, and nothing else. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/cli/npy.h"
#include "host/config.h"
#include "host/safetensors.h"
#include "tests/support/parts.h"

static size_t mutate(lm_test_random *random, unsigned char *bytes, size_t size, size_t capacity)
{
    static const char *const pieces[] = {"{",       "}",        "[",         "]",          ",",
                                         ":",       "\"",       "\\u0000",   "\\ud800",    "-",
                                         "0",       "1e9",      "null",      "4294967296", "9223372036854775807",
                                         "\"F16\"", "\"BF16\"", "\"shape\"", " ",          "\xff",
                                         "{}",      "[]"};
    for (uint64_t edits = 1 + lm_test_next(random) % 3; edits > 0; edits--) {
        const size_t at = size > 0 ? lm_test_next(random) % size : 0;
        const char *piece = pieces[lm_test_next(random) % (sizeof pieces / sizeof *pieces)];
        const size_t length = strlen(piece);
        switch (lm_test_next(random) % 6) {
        case 0: /* a bit */
            if (size > 0) bytes[at] ^= (unsigned char)(1u << lm_test_next(random) % 8);
            break;
        case 1: /* a byte */
            if (size > 0) bytes[at] = (unsigned char)lm_test_next(random);
            break;
        case 2: /* cut short */
            if (lm_test_next(random) % 4 == 0) size = at;
            break;
        case 3: { /* a part taken out */
            const size_t gone = size > at ? lm_test_next(random) % (size - at) % 9 : 0;
            memmove(bytes + at, bytes + at + gone, size - at - gone);
            size -= gone;
            break;
        }
        case 4: /* something put in */
            if (size + length > capacity) break;
            memmove(bytes + at + length, bytes + at, size - at);
            memcpy(bytes + at, piece, length);
            size += length;
            break;
        default: /* something put over */
            if (at + length <= size) memcpy(bytes + at, piece, length);
        }
    }
    return size;
}

/* Opens the mutant at `path` (`folder`/…, `size` bytes) and checks that it is well refused, or well read: then true. */
typedef bool (*reader)(const char *folder, const char *path, size_t size);

static void check_refusal(const char *path, const char *message)
{
    cr_assert(strncmp(message, path, strlen(path)) == 0, "'%s' does not begin with the file", message);
    for (const char *c = message; *c != '\0'; c++) cr_assert(*c >= 0x20 && *c < 0x7f, "'%s' is not printable", message);
}

/* LITEMAMBA_TEST_MUTANTS, or 20,000. `data` is how many bytes at the end of a safetensors file are data, else 0. */
static void run(const char *name, const void *original, size_t size, size_t data, reader read)
{
    const char *text = getenv("LITEMAMBA_TEST_MUTANTS");
    const int count = text != NULL ? atoi(text) : 20000;
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, name);
    unsigned char bytes[1024];
    cr_assert(size <= sizeof bytes / 2);
    /* Written over and over through one descriptor: ext4 waits for the disk when a file is emptied and closed. */
    const int file = open(path, O_RDWR | O_CREAT, 0600);
    lm_test_random random = {lm_test_seed()};
    int accepted = 0;
    for (int i = 0; i < count; i++) {
        memcpy(bytes, original, size);
        size_t length = i == 0 ? size : mutate(&random, bytes, size, sizeof bytes);
        /* Every other one gets a header length that fits again, or little behind it would be reached. */
        if (data > 0 && length > 8 + data && i % 2 == 0) {
            const size_t header = length - 8 - data;
            memset(bytes, 0, 8);
            bytes[0] = (unsigned char)(header & 0xff);
            bytes[1] = (unsigned char)(header >> 8);
        }
        cr_assert(pwrite(file, bytes, length, 0) == (ssize_t)length && ftruncate(file, (off_t)length) == 0);
        if (read(folder, path, length))
            accepted++;
        else
            cr_assert(i > 0, "the original is refused");
    }
    fprintf(stderr, "%s: seed %" PRIu64 ", %d of %d mutants accepted\n", name, lm_test_seed(), accepted, count);
    close(file);
    free(path);
    lm_test_folder_remove(folder);
}

static bool read_safetensors(const char *folder, const char *path, size_t size)
{
    (void)folder;
    lm_safetensors *file = NULL;
    const lm_status status = lm_safetensors_open(path, &file);
    if (status != LM_OK) {
        cr_assert(status == LM_ERROR_FORMAT && file == NULL, "status %d: %s", status, lm_last_error());
        check_refusal(path, lm_last_error());
        return false;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < lm_safetensors_count(file); i++) {
        const lm_tensor *tensor = lm_safetensors_at(file, i);
        float out[64];
        cr_assert(tensor->count <= 64 && tensor->offset + tensor->nbytes <= size);
        cr_assert(lm_tensor_to_float(tensor, 0, tensor->count, out) == LM_OK, "%s", lm_last_error());
        cr_assert(lm_safetensors_find(file, tensor->name) == tensor);
        bytes += tensor->nbytes;
    }
    cr_assert(bytes <= size - 8);
    lm_safetensors_close(&file);
    return true;
}

static bool read_config(const char *folder, const char *path, size_t size)
{
    (void)size;
    lm_config config, again;
    const lm_status status = lm_config_read(folder, &config);
    if (status != LM_OK) {
        cr_assert(status == LM_ERROR_FORMAT, "status %d: %s", status, lm_last_error());
        check_refusal(path, lm_last_error());
        return false;
    }
    /* What is accepted is complete. */
    again = config;
    cr_assert(lm_config_complete(&again) == LM_OK && memcmp(&again, &config, sizeof config) == 0, "%s", lm_last_error());
    const uint32_t d_inner = lm_config_d_inner(&config);
    cr_assert(d_inner >= 1 && d_inner <= 1u << 20);
    return true;
}

static bool read_npy(const char *folder, const char *path, size_t size)
{
    (void)folder;
    char error[512];
    lm_npy array;
    if (!lm_npy_read(path, &array, error, sizeof error)) {
        cr_assert(array.data == NULL);
        check_refusal(path, error);
        return false;
    }
    cr_assert(array.rank <= LM_NPY_MAX_RANK && array.count * 4 <= size);
    uint32_t sum = 0; /* a sanitizer sees it when the data are not all there */
    for (uint64_t i = 0; i < array.count; i++) {
        uint32_t bits;
        memcpy(&bits, &array.data[i], sizeof bits);
        sum += bits;
    }
    volatile uint32_t used = sum;
    (void)used;
    lm_npy_free(&array);
    return true;
}

Test(files, safetensors_mutants, .timeout = 300)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},\"c\":{\"dtype\":\"BF16\",\"shape\":[1,1],"
        "\"data_offsets\":[32,34]},\"d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[34,34]}} ";
    unsigned char bytes[512] = {(sizeof header - 1) & 0xff, (sizeof header - 1) >> 8};
    memcpy(bytes + 8, header, sizeof header - 1);
    run("mutant.safetensors", bytes, 8 + sizeof header - 1 + 34, 34, read_safetensors);
}

Test(files, config_mutants, .timeout = 300)
{
    static const char text[] =
        "{\"architectures\": [\"LiteMambaForCausalLM\"], \"variant\": \"ptcn\", \"hidden_size\": 256,\n"
        "\"num_hidden_layers\": 6, \"state_size\": 16, \"conv_kernel\": 3, \"conv_dilations\": [1, 2, 8],\n"
        "\"expand\": 1.5, \"time_step_rank\": 16, \"vocab_size\": 256, \"layer_norm_epsilon\": 1e-05,\n"
        "\"use_bias\": false, \"tie_word_embeddings\": true, \"tokenizer_class\": \"bytes\"}\n";
    run("config.json", text, sizeof text - 1, 0, read_config);
}

Test(files, npy_mutants, .timeout = 300)
{
    static const char header[] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    unsigned char bytes[128 + 24];
    memset(bytes, ' ', sizeof bytes);
    memcpy(bytes, header, sizeof header - 1);
    bytes[127] = '\n';
    run("mutant.npy", bytes, sizeof bytes, 0, read_npy);
}
