/* tests/test_files_good.c: safetensors files that are accepted, their values, files that change, and writing. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/safetensors.h"
#include "tests/support/parts.h"

/* ---- what is accepted ------------------------------------------------------------------------------------------------- */

Test(files, accepted, .timeout = 60)
{
    static const struct {
        const char *name, *header;
        size_t data, tensors;
    } cases[] = {
        {"nothing", "{}", 0, 0},
        {"only metadata", "{\"__metadata__\":{\"format\":\"pt\",\"\":\"\"}}", 0, 0},
        {"padding", "{\"a\":" FOUR "}       ", 4, 1},
        {"white space inside", "{ \"a\" :\t{\"shape\":\n[ 1 ], \"data_offsets\" : [0 ,4], \"dtype\":\"F32\" } }", 4, 1},
        {"scalar", "{" TENSOR("a", "[]", "[0,4]") "}", 4, 1},
        {"rank 8", "{" TENSOR("a", "[1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, 1},
        {"empty tensors",
         "{" TENSOR("a", "[0]", "[0,0]") "," TENSOR("b", "[3,0]", "[4,4]") "," TENSOR("c", "[1]", "[0,4]") "}", 4, 3},
        {"not in order of bytes", "{" TENSOR("a", "[1]", "[8,12]") "," TENSOR("b", "[2]", "[0,8]") "}", 12, 2},
        {"not aligned", "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}," TENSOR("b", "[1]", "[2,6]") "}",
         6, 2},
        {"names of any kind", "{\"\\u0061\\ud83d\\ude00\":" FOUR "}", 4, 1},
    };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "good.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_safetensors *file = NULL;
        lm_test_write_parts(path, strlen(cases[i].header), cases[i].header, strlen(cases[i].header), cases[i].data);
        cr_assert(lm_safetensors_open(path, &file) == LM_OK, "%s: %s", cases[i].name, lm_last_error());
        cr_expect(lm_safetensors_count(file) == cases[i].tensors, "%s: %zu tensors", cases[i].name,
                  lm_safetensors_count(file));
        cr_expect(lm_safetensors_at(file, cases[i].tensors) == NULL);
        for (size_t j = 0; j < cases[i].tensors; j++) {
            const lm_tensor *tensor = lm_safetensors_at(file, j);
            cr_expect(lm_safetensors_find(file, tensor->name) == tensor, "%s: %s is not found", cases[i].name, tensor->name);
        }
        cr_expect(lm_safetensors_find(file, "") == NULL);
        lm_safetensors_close(&file);
        cr_expect(file == NULL);
    }
    free(path);
    lm_test_folder_remove(folder);
}

Test(files, values)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"b\":{\"dtype\":\"BF16\",\"shape\":[256,256],\"data_offsets\":[131080,262152]},"
                                 "\"h\":{\"dtype\":\"F16\",\"shape\":[65536],\"data_offsets\":[8,131080]},"
                                 "\"f\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}";
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "values.safetensors");
    const size_t size = 8 + sizeof header - 1 + 262152;
    lm_test_write_parts(path, sizeof header - 1, header, sizeof header - 1, 262152);
    unsigned char *bytes = (unsigned char *)lm_test_file_read(path, NULL), *data = bytes + 8 + sizeof header - 1;
    const uint32_t signalling = 0x7fa00001;
    const float one = 1.5f;
    memcpy(data, &one, 4);
    memcpy(data + 4, &signalling, 4);
    for (int half = 0; half < 2; half++)
        for (uint32_t i = 0; i < 65536; i++) {
            const uint16_t word = (uint16_t)i;
            memcpy(data + 8 + (size_t)half * 131072 + i * 2, &word, 2);
        }
    lm_test_file_write(path, bytes, size);
    free(bytes);

    lm_safetensors *file;
    cr_assert(lm_safetensors_open(path, &file) == LM_OK, "%s", lm_last_error());
    cr_expect(strcmp(lm_safetensors_at(file, 0)->name, "f") == 0 && strcmp(lm_safetensors_at(file, 2)->name, "b") == 0);
    float *out = malloc(65536 * sizeof *out);
    uint32_t bits;

    const lm_tensor *f = lm_safetensors_find(file, "f"), *h = lm_safetensors_find(file, "h"),
                    *b = lm_safetensors_find(file, "b");
    cr_assert(f && h && b);
    cr_expect(f->dtype == LM_DTYPE_F32 && f->rank == 2 && f->shape[0] == 2 && f->shape[1] == 1 && f->count == 2 &&
              f->nbytes == 8);
    cr_assert(lm_tensor_to_float(f, 0, 2, out) == LM_OK);
    memcpy(&bits, &out[1], 4);
    cr_expect(out[0] == 1.5f && bits == signalling);

    /* Every half, against its definition. */
    cr_assert(lm_tensor_to_float(h, 0, 65536, out) == LM_OK);
    for (uint32_t i = 0; i < 65536; i++) {
        const int exponent = i >> 10 & 31, mantissa = i & 1023;
        memcpy(&bits, &out[i], 4);
        cr_assert(bits >> 31 == i >> 15, "half %04x has another sign", i);
        if (exponent == 31) {
            cr_assert((bits & 0x7fffffffu) == (0x7f800000u | (uint32_t)mantissa << 13), "half %04x is %08x", i, bits);
            continue;
        }
        const double expected = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
        cr_assert(fabs((double)out[i]) == expected, "half %04x is %g, not %g", i, fabs((double)out[i]), expected);
    }
    cr_assert(lm_tensor_to_float(b, 0, 65536, out) == LM_OK);
    for (uint32_t i = 0; i < 65536; i++) {
        memcpy(&bits, &out[i], 4);
        cr_assert(bits == i << 16, "bfloat %04x is %08x", i, bits);
    }
    /* Parts, and what is outside. */
    cr_assert(lm_tensor_to_float(h, 0x3c00, 3, out) == LM_OK);
    cr_expect(out[0] == 1.0f && out[1] == 1.0009765625f && out[2] == 1.001953125f);
    cr_expect(lm_tensor_to_float(h, 65536, 0, NULL) == LM_OK);
    cr_expect(lm_tensor_to_float(h, 65535, 2, out) == LM_ERROR_INVALID_ARGUMENT);
    cr_expect(strcmp(lm_last_error(), "tensor 'h': elements 65535 and 2 on of 65536") == 0, "%s", lm_last_error());
    cr_expect(lm_tensor_to_float(h, 1, UINT64_MAX, out) == LM_ERROR_INVALID_ARGUMENT);

    bool equal = true;
    cr_expect(lm_tensor_equal(h, h, &equal) == LM_OK && equal);
    cr_expect(lm_tensor_equal(h, b, &equal) == LM_OK && !equal);
    lm_safetensors_close(&file);
    free(out);
    free(path);
    lm_test_folder_remove(folder);
}

/* ---- files that change under the reader --------------------------------------------------------------------------------- */

Test(files, changed_after_open, .timeout = 60)
{
    static const char header[] = "{" TENSOR("a", "[100000]", "[0,400000]") "}";
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "changing.safetensors"), expected[1024];
    float *out = malloc(400000);
    const size_t whole = 8 + sizeof header - 1 + 400000;
    for (int i = 0; i < 3; i++) {
        lm_safetensors *file;
        lm_test_write_parts(path, sizeof header - 1, header, sizeof header - 1, 400000);
        cr_assert(lm_safetensors_open(path, &file) == LM_OK, "%s", lm_last_error());
        const lm_tensor *a = lm_safetensors_at(file, 0);
        cr_assert(lm_tensor_to_float(a, 0, a->count, out) == LM_OK, "%s", lm_last_error());
        if (i == 0) { /* to one page: a mapping would raise SIGBUS */
            cr_assert(truncate(path, 4096) == 0);
            snprintf(expected, sizeof expected, "%s: cut short while it was read (%zu bytes when it was opened)", path,
                     whole);
        } else if (i == 1) {
            cr_assert(truncate(path, (off_t)whole + 1) == 0);
            snprintf(expected, sizeof expected, "%s: changed while it was read (%zu bytes, %zu when it was opened)", path,
                     whole + 1, whole);
        } else {
            const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
            cr_assert(utimensat(AT_FDCWD, path, times, 0) == 0);
            snprintf(expected, sizeof expected, "%s: changed while it was read", path);
        }
        cr_expect(lm_tensor_to_float(a, 0, a->count, out) == LM_ERROR_IO);
        cr_expect(strcmp(lm_last_error(), expected) == 0, "%s\n  not %s", lm_last_error(), expected);
        lm_safetensors_close(&file);
    }
    free(out);
    free(path);
    lm_test_folder_remove(folder);
}

/* Another process cuts and grows the file all the time. Whatever is seen, the reader answers. */
Test(files, changed_while_read, .timeout = 120)
{
    static const char header[] = "{" TENSOR("a", "[2500]", "[0,10000]") "," TENSOR("b", "[1]", "[10000,10004]") "}";
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "changing.safetensors");
    const off_t whole = 8 + (off_t)sizeof header - 1 + 10004;
    lm_test_write_parts(path, sizeof header - 1, header, sizeof header - 1, 10004);
    const pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        for (uint64_t i = 0; i < 20000; i++)
            if (truncate(path, whole - (off_t)(i * 2654435761u % (uint64_t)whole)) != 0) _exit(1);
        _exit(0);
    }
    int opened = 0, refused = 0, running;
    do {
        lm_safetensors *file = NULL;
        float out[2500];
        lm_status status = lm_safetensors_open(path, &file);
        if (status == LM_OK) {
            opened++;
            status = lm_tensor_to_float(lm_safetensors_at(file, 0), 0, 2500, out);
        }
        refused += status != LM_OK;
        cr_assert(status == LM_OK || status == LM_ERROR_IO || status == LM_ERROR_FORMAT, "status %d: %s", status,
                  lm_last_error());
        lm_safetensors_close(&file);
        running = waitpid(child, NULL, WNOHANG) == 0;
    } while (running);
    cr_log_info("%d opened, %d refused\n", opened, refused);
    cr_expect(refused > 0);
    free(path);
    lm_test_folder_remove(folder);
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static size_t count_entries(const char *folder)
{
    char command[1024], line[64] = "";
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL || fgets(line, sizeof line, pipe) == NULL) cr_assert_fail("ls");
    pclose(pipe);
    return (size_t)atoi(line);
}

Test(files, write, .timeout = 60)
{
    static const float a[6] = {0.0f, -1.5f, INFINITY, 3e-45f, 1e38f, 7.0f}, b[1] = {42.0f};
    const lm_tensor tensors[] = {
        {.name = "z \"quoted\" \xc3\xa9", .rank = 2, .shape = {2, 3}, .count = 6, .nbytes = 24, .data = a},
        {.name = "empty", .rank = 1, .shape = {0}},
        {.name = "scalar", .rank = 0, .count = 1, .nbytes = 4, .data = b},
    };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "written.safetensors");
    lm_test_file_write(path, "replaced", 8);
    cr_assert(lm_safetensors_write(path, tensors, 3, NULL, 0) == LM_OK, "%s", lm_last_error());
    cr_expect(count_entries(folder) == 1);

    size_t size;
    char *bytes = lm_test_file_read(path, &size);
    cr_assert(bytes != NULL && size > 8);
    const size_t header = (unsigned char)bytes[0] | (size_t)(unsigned char)bytes[1] << 8;
    cr_expect(header % 8 == 0 && size == 8 + header + 28);
    free(bytes);

    lm_safetensors *file;
    cr_assert(lm_safetensors_open(path, &file) == LM_OK, "%s", lm_last_error());
    cr_assert(lm_safetensors_count(file) == 3);
    for (size_t i = 0; i < 3; i++) {
        const lm_tensor *found = lm_safetensors_find(file, tensors[i].name);
        bool equal = false;
        cr_assert(found != NULL && found->count == tensors[i].count);
        cr_expect(lm_tensor_equal(found, &tensors[i], &equal) == LM_OK && equal, "%s", tensors[i].name);
    }
    lm_safetensors_close(&file);
    free(path);
    lm_test_folder_remove(folder);
}

Test(files, write_refused, .timeout = 60)
{
    static const float a[2] = {0};
    const lm_tensor good = {.name = "a", .rank = 1, .shape = {2}, .count = 2, .nbytes = 8, .data = a};
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "written.safetensors"), expected[1024];
    const struct {
        lm_tensor tensors[2];
        const char *message;
    } cases[] = {
        {{good, good}, "tensor 'a': there are two of its name"},
        {{good, {.name = ""}}, "tensor '': its name is empty"},
        {{good, {.name = "__metadata__"}}, "tensor '__metadata__': its name is reserved"},
        {{good, {.name = "b", .dtype = LM_DTYPE_F16}}, "tensor 'b': only F32 is written"},
        {{good, {.name = "b", .rank = 1, .shape = {2}, .count = 2, .nbytes = 4, .data = a}},
         "tensor 'b': its shape is not of its size"},
        {{good, {.name = "b", .rank = 1, .shape = {2}, .count = 2, .nbytes = 8}}, "tensor 'b': it has no data"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(expected, sizeof expected, "%s: %s", path, cases[i].message);
        cr_expect(lm_safetensors_write(path, cases[i].tensors, 2, NULL, 0) == LM_ERROR_INVALID_ARGUMENT);
        cr_expect(strcmp(lm_last_error(), expected) == 0, "%s\n  not %s", lm_last_error(), expected);
    }
    cr_expect(count_entries(folder) == 0);
    cr_expect(lm_safetensors_write("/dev/null", &good, 1, NULL, 0) == LM_ERROR_IO);
    cr_expect(strcmp(lm_last_error(), "/dev/null: not a regular file") == 0, "%s", lm_last_error());
    cr_expect(lm_safetensors_write("/nonexistent/x", &good, 1, NULL, 0) == LM_ERROR_IO);
    free(path);
    lm_test_folder_remove(folder);
}
