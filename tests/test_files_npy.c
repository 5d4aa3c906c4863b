/* tests/test_files_npy.c: .npy files, good and bad. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "host/cli/npy.h"
#include "tests/support/support.h"

/* Magic, version, header length, header, and `data` bytes that count 0, 1, 2 … Returns the size. */
static size_t write_npy(const char *path, int version, const char *header, size_t data)
{
    unsigned char bytes[4096] = "\x93NUMPY";
    const size_t length = strlen(header), start = version == 1 ? 10 : 12;
    cr_assert(start + length + data <= sizeof bytes);
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)(length & 0xff);
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + start, header, length);
    for (size_t i = 0; i < data; i++) bytes[start + length + i] = (unsigned char)i;
    lm_test_file_write(path, bytes, start + length + data);
    return start + length + data;
}

static void expect_refused(const char *name, const char *path, const char *message)
{
    char error[512] = "", whole[1024];
    lm_npy array;
    snprintf(whole, sizeof whole, "%s: %s", path, message);
    cr_expect(!lm_npy_read(path, &array, error, sizeof error) && array.data == NULL, "%s is not refused", name);
    cr_expect(strcmp(error, whole) == 0, "%s\n  is  %s\n  not %s", name, error, whole);
}

#define HEAD(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
#define SHAPE(shape)              HEAD("'<f4'", "False", shape)

Test(files, npy_refused, .timeout = 60)
{
    static const struct {
        const char *name, *header;
        size_t data;
        const char *message;
    } cases[] = {
        {"big-endian", HEAD("'>f4'", "False", "(1,)"), 4, "type '>f4' is big-endian; '<f4' and '<f8' are read"},
        {"native order", HEAD("'=f4'", "False", "(1,)"), 4, "type '=f4', not '<f4' or '<f8'"},
        {"halves", HEAD("'<f2'", "False", "(2,)"), 4, "type '<f2', not '<f4' or '<f8'"},
        {"integers", HEAD("'<i4'", "False", "(1,)"), 4, "type '<i4', not '<f4' or '<f8'"},
        {"objects", HEAD("'|O'", "False", "(1,)"), 4, "type '|O', not '<f4' or '<f8'"},
        {"a structure", HEAD("[('a', '<f4')]", "False", "(1,)"), 4, "its type is not a plain one"},
        {"Fortran order", HEAD("'<f4'", "True", "(1,)"), 4, "in Fortran order; save numpy.ascontiguousarray() of it"},
        {"order a number", HEAD("'<f4'", "0", "(1,)"), 4, "'fortran_order' is not True or False"},
        {"too few bytes", SHAPE("(2, 3)"), 23, "23 bytes of data, its shape needs 24"},
        {"too many bytes", SHAPE("(2, 3)"), 25, "25 bytes of data, its shape needs 24"},
        {"product overflows", SHAPE("(4294967296, 4294967296)"), 0, "the product of its shape overflows"},
        {"product wraps to 0 bytes", SHAPE("(4611686018427387904,)"), 0, "the product of its shape overflows"},
        {"0 hides an overflow", SHAPE("(0, 4294967296, 4294967296)"), 0, "the product of its shape overflows"},
        {"size over 2^64", SHAPE("(18446744073709551616,)"), 0, "its shape is not of sizes"},
        {"negative size", SHAPE("(-1,)"), 0, "its shape is not of sizes"},
        {"real size", SHAPE("(1.0,)"), 4, "its shape is not a tuple"},
        {"not a tuple", SHAPE("(1)"), 4, "its shape is not a tuple"},
        {"a list", SHAPE("[1]"), 4, "its shape is not a tuple"},
        {"only a comma", SHAPE("(,)"), 4, "its shape is not of sizes"},
        {"two commas", SHAPE("(1,,)"), 4, "its shape is not of sizes"},
        {"no comma", SHAPE("(1 2)"), 8, "its shape is not a tuple"},
        {"rank 9", SHAPE("(1, 1, 1, 1, 1, 1, 1, 1, 1)"), 4, "rank over 8"},
        {"an expression", SHAPE("(1+1,)"), 8, "its shape is not a tuple"},
        {"unterminated", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,", 4, "its shape is not of sizes"},
        {"unterminated string", "{'descr", 4, "the header is not a dictionary"},
        {"empty", "", 4, "the header is not a dictionary"},
        {"a missing key", "{'descr': '<f4', 'shape': (1,), }\n", 4, "'fortran_order' is not in the header"},
        {"a second key", "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", 4,
         "'descr' twice in the header"},
        {"an unknown key", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}\n", 4,
         "unknown key 'x' in the header"},
        {"something after it", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x\n", 4,
         "the header goes on after its dictionary"},
        {"a call", "dict(descr='<f4', fortran_order=False, shape=(1,))\n", 4, "the header is not a dictionary"},
    };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "bad.npy");
    expect_refused("nothing there", path, "cannot be opened: No such file or directory");
    cr_assert(mkfifo(path, 0600) == 0);
    expect_refused("FIFO", path, "not a regular file");
    remove(path);
    expect_refused("directory", folder, "not a regular file");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_npy(path, 1, cases[i].header, cases[i].data);
        expect_refused(cases[i].name, path, cases[i].message);
    }
    lm_test_file_write(path, "\x93NUMPY\x01", 7);
    expect_refused("7 bytes", path, "7 bytes are too few for a .npy file");
    lm_test_file_write(path, "\x93NUMPZ\x01\0\0\0", 10);
    expect_refused("another magic", path, "not a .npy file");
    lm_test_file_write(path, "\x93NUMPY\x04\0\0\0", 10);
    expect_refused("version 4", path, "version 4.0 of the format, not 1.0 to 3.0");
    lm_test_file_write(path, "\x93NUMPY\x01\0\xff\xff", 10);
    expect_refused("header beyond the file", path, "header of 65535 bytes goes beyond the file");
    lm_test_file_write(path, "\x93NUMPY\x02\0\xff\xff\xff\xff", 12);
    expect_refused("header of 4 GiB", path, "header of 4294967295 bytes, over 1048576");
    lm_test_file_write(path, "\x93NUMPY\x02\0\0\0", 10);
    expect_refused("version 2 of 10 bytes", path, "header of 0 bytes goes beyond the file");
    free(path);
    lm_test_folder_remove(folder);
}

Test(files, npy_accepted, .timeout = 60)
{
    static const struct {
        const char *header;
        size_t data;
        uint32_t rank;
        uint64_t count;
    } cases[] = {
        {SHAPE("()"), 4, 0, 1},
        {SHAPE("(0,)"), 0, 1, 0},
        {SHAPE("(3, 0, 2)"), 0, 3, 0},
        {SHAPE("(2, 3)"), 24, 2, 6},
        {SHAPE("(2, 3,)"), 24, 2, 6},
        {SHAPE("(1,1,1,1,1,1,1,2)"), 8, 8, 2},
        {HEAD("'<f8'", "False", "(2,)"), 16, 1, 2},
        {"{\"shape\":(1,),\"descr\":\"<f4\",\"fortran_order\":False}", 4, 1, 1},
    };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "good.npy"), error[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int version = 1; version <= 3; version++) {
            lm_npy array;
            write_npy(path, version, cases[i].header, cases[i].data);
            cr_assert(lm_npy_read(path, &array, error, sizeof error), "%s", error);
            cr_expect(array.rank == cases[i].rank && array.count == cases[i].count && array.data != NULL, "%s",
                      cases[i].header);
            lm_npy_free(&array);
            cr_expect(array.data == NULL);
        }
    free(path);
    lm_test_folder_remove(folder);
}

Test(files, npy_values, .timeout = 60)
{
    static const float values[6] = {0.0f, -1.5f, INFINITY, 3e-45f, NAN, 7.0f};
    static const double doubles[4] = {0.1, -1e300, 1e-46, 16777217.0};
    static const float rounded[4] = {0.1f, -INFINITY, 0.0f, 16777216.0f};
    const uint64_t shape[LM_NPY_MAX_RANK] = {1, 2, 3, 1, 1, 1, 1, 1};
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "values.npy"), error[512];
    lm_npy array;
    for (uint32_t rank = 3; rank <= LM_NPY_MAX_RANK; rank++) {
        cr_assert(lm_npy_write(path, values, rank, shape, error, sizeof error), "%s", error);
        cr_assert(lm_npy_read(path, &array, error, sizeof error), "%s", error);
        cr_expect(array.rank == rank && memcmp(array.shape, shape, rank * sizeof *shape) == 0 && array.count == 6);
        cr_expect(memcmp(array.data, values, sizeof values) == 0);
        lm_npy_free(&array);
    }
    size_t size;
    char *bytes = lm_test_file_read(path, &size);
    cr_expect(bytes != NULL && (size - sizeof values) % 64 == 0 && bytes[size - sizeof values - 1] == '\n');
    free(bytes);

    size = write_npy(path, 1, HEAD("'<f8'", "False", "(4,)"), sizeof doubles);
    bytes = lm_test_file_read(path, NULL);
    memcpy(bytes + size - sizeof doubles, doubles, sizeof doubles);
    lm_test_file_write(path, bytes, size);
    free(bytes);
    cr_assert(lm_npy_read(path, &array, error, sizeof error), "%s", error);
    cr_expect(memcmp(array.data, rounded, sizeof rounded) == 0);
    lm_npy_free(&array);

    cr_expect(!lm_npy_write("/dev/null", values, 1, shape, error, sizeof error));
    cr_expect(strcmp(error, "/dev/null: not a regular file") == 0, "%s", error);
    cr_expect(!lm_npy_write(path, values, 9, shape, error, sizeof error));
    free(path);
    lm_test_folder_remove(folder);
}

/* Written by NumPy and lite-mamba, and shipped. */
Test(files, npy_of_numpy)
{
    char *folder = lm_test_join(lm_test_models_dir(), "jargon"), *path = lm_test_join(folder, "reference_logits.npy"),
         error[512];
    lm_npy array;
    cr_assert(lm_npy_read(path, &array, error, sizeof error), "%s", error);
    cr_expect(array.count > 0 && array.shape[array.rank - 1] == 256);
    for (uint64_t i = 0; i < array.count; i++)
        if (!isfinite(array.data[i])) cr_assert_fail("element %llu is not finite", (unsigned long long)i);
    lm_npy_free(&array);
    free(path);
    free(folder);
}
