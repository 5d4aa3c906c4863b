/* tests/test_files.c: safetensors files that are refused, each with one exact error. What stands after "not JSON" is
 * jansson's wording. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/safetensors.h"
#include "tests/support/parts.h"

/* The lowest free descriptor: the same before and after when nothing was left open. */
static int next_descriptor(void)
{
    int descriptor = open("/dev/null", O_RDONLY);
    close(descriptor);
    return descriptor;
}

/* The file is refused with exactly this status and, after its path, this text, and nothing is left open. */
static void expect_refused(const char *name, const char *path, lm_status expected, const char *message)
{
    lm_safetensors *file = NULL;
    char whole[1024];
    const int before = next_descriptor();
    const lm_status status = lm_safetensors_open(path, &file);
    snprintf(whole, sizeof whole, "%s: %s", path, message);
    cr_expect(status == expected, "%s: status %d, not %d", name, status, expected);
    cr_expect(file == NULL, "%s: there is a file", name);
    if (status != LM_OK)
        cr_expect(strcmp(lm_last_error(), whole) == 0, "%s\n  is  %s\n  not %s", name, lm_last_error(), whole);
    cr_expect(next_descriptor() == before, "%s: a descriptor is left open", name);
    lm_safetensors_close(&file);
}

/* ---- what is refused: the envelope ------------------------------------------------------------------------------------ */

Test(files, envelope, .timeout = 60)
{
    static const struct {
        const char *name;
        size_t size; /* bytes of `declared` followed by `text` that the file has */
        uint64_t declared;
        const char *text, *message;
    } cases[] = {
        {"0 bytes", 0, 0, "", "0 bytes are too few for a safetensors file"},
        {"7 bytes", 7, 2, "", "7 bytes are too few for a safetensors file"},
        {"8 bytes", 8, 0, "", "8 bytes are too few for a safetensors file"},
        {"length 0", 10, 0, "{}", "header of 0 bytes, not 2 to 100000000"},
        {"length 1", 10, 1, "{}", "header of 1 bytes, not 2 to 100000000"},
        {"length beyond the file", 10, 3, "{}", "header of 3 bytes, but only 2 follow"},
        {"length file - 7", 10, 10 - 7, "{}", "header of 3 bytes, but only 2 follow"},
        {"length 100,000,000", 10, 100000000, "{}", "header of 100000000 bytes, but only 2 follow"},
        {"length 100,000,001", 10, 100000001, "{}", "header of 100000001 bytes, not 2 to 100000000"},
        {"length 2^32 + 2", 10, (UINT64_C(1) << 32) + 2, "{}", "header of 4294967298 bytes, not 2 to 100000000"},
        {"length 2^63", 10, UINT64_C(1) << 63, "{}", "header of 9223372036854775808 bytes, not 2 to 100000000"},
        {"length 2^64 - 8", 10, UINT64_MAX - 7, "{}", "header of 18446744073709551608 bytes, not 2 to 100000000"},
        {"length 2^64 - 1", 10, UINT64_MAX, "{}", "header of 18446744073709551615 bytes, not 2 to 100000000"},
    };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "bad.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char bytes[16] = {0};
        for (int j = 0; j < 8; j++) bytes[j] = (unsigned char)(cases[i].declared >> 8 * j);
        memcpy(bytes + 8, cases[i].text, strlen(cases[i].text));
        lm_test_file_write(path, bytes, cases[i].size);
        expect_refused(cases[i].name, path, LM_ERROR_FORMAT, cases[i].message);
    }
    free(path);
    lm_test_folder_remove(folder);
}

/* None of these may block, nor be read from. */
Test(files, not_regular, .timeout = 60)
{
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "fifo");
    expect_refused("nothing there", path, LM_ERROR_IO, "cannot be opened: No such file or directory");
    cr_assert(mkfifo(path, 0600) == 0);
    expect_refused("FIFO", path, LM_ERROR_IO, "not a regular file");
    expect_refused("directory", folder, LM_ERROR_IO, "not a regular file");
    expect_refused("/dev/zero", "/dev/zero", LM_ERROR_IO, "not a regular file");
    free(path);
    lm_test_folder_remove(folder);
}

/* ---- what is refused: the header -------------------------------------------------------------------------------------- */

typedef struct header_case {
    const char *name;
    const char *header;
    size_t size; /* of the header */
    size_t data; /* bytes after it */
    const char *message;
} header_case;

#define HEADER(text)     text, sizeof(text) - 1
#define SHAPE(shape)     "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0,4]}}"
#define OFFSETS(offsets) "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" offsets "}}"
#define DTYPE(dtype)     "{\"a\":{\"dtype\":" dtype ",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void check_headers(const header_case *cases, size_t count)
{
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "bad.safetensors");
    for (size_t i = 0; i < count; i++) {
        lm_test_write_parts(path, cases[i].size, cases[i].header, cases[i].size, cases[i].data);
        expect_refused(cases[i].name, path, LM_ERROR_FORMAT, cases[i].message);
    }
    free(path);
    lm_test_folder_remove(folder);
}

#define CHECK_HEADERS(cases) check_headers(cases, sizeof(cases) / sizeof *(cases))

Test(files, json, .timeout = 60)
{
    static const header_case cases[] = {
        {"not UTF-8", HEADER("{\"a\xff\":" FOUR "}"), 4,
         "header: not JSON at byte 3: unable to decode byte 0xff near '\"a'"},
        {"overlong UTF-8", HEADER("{\"a\xc0\xaf\":" FOUR "}"), 4,
         "header: not JSON at byte 3: unable to decode byte 0xc0 near '\"a'"},
        {"surrogate in UTF-8", HEADER("{\"a\xed\xa0\x80\":" FOUR "}"), 4,
         "header: not JSON at byte 3: unable to decode byte 0xed near '\"a'"},
        {"beyond U+10FFFF", HEADER("{\"a\xf4\x90\x80\x80\":" FOUR "}"), 4,
         "header: not JSON at byte 3: unable to decode byte 0xf4 near '\"a'"},
        {"BOM", HEADER("\xef\xbb\xbf{\"a\":" FOUR "}"), 4, "the header does not begin with '{'"},
        {"leading space", HEADER(" {\"a\":" FOUR "}"), 4, "the header does not begin with '{'"},
        {"array", HEADER("[]"), 0, "the header does not begin with '{'"},
        {"only [", HEADER("[ "), 0, "the header does not begin with '{'"},
        {"only {", HEADER("{ "), 0, "the header does not end with '}' and spaces"},
        {"unterminated object", HEADER("{\"a\":" FOUR), 4, "header: not JSON at byte 53: '}' expected near end of file"},
        {"unterminated string", HEADER("{\"a}"), 4, "header: not JSON at byte 4: premature end of input near '\"a}'"},
        {"unterminated escape", HEADER("{\"a\\}"), 4, "header: not JSON at byte 5: invalid escape near '\"a\\}'"},
        {"trailing comma", HEADER("{\"a\":" FOUR ",}"), 4, "header: not JSON at byte 55: string or '}' expected near '}'"},
        {"trailing comma in an array", HEADER(SHAPE("[1,]")), 4,
         "header: 'a': not JSON at byte 32: unexpected token near ']'"},
        {"missing colon", HEADER("{\"a\"" FOUR "}"), 4, "header: not JSON at byte 5: ':' expected near '{'"},
        {"key without quotes", HEADER("{a:" FOUR "}"), 4, "header: not JSON at byte 2: string or '}' expected near 'a'"},
        {"comment", HEADER("{/**/\"a\":" FOUR "}"), 4, "header: not JSON at byte 2: string or '}' expected near '/'"},
        {"bytes after }", HEADER("{\"a\":" FOUR "}x"), 4, "the header does not end with '}' and spaces"},
        {"second object", HEADER("{\"a\":" FOUR "}{}"), 4, "header: not JSON at byte 55: end of file expected near '{'"},
        {"second }", HEADER("{\"a\":" FOUR "}}"), 4, "header: not JSON at byte 55: end of file expected near '}'"},
        {"NUL padding", HEADER("{\"a\":" FOUR "}\0\0"), 4, "the header does not end with '}' and spaces"},
        {"newline padding", HEADER("{\"a\":" FOUR "}\n"), 4, "the header does not end with '}' and spaces"},
        {"NUL inside", HEADER("{\0\"a\":" FOUR "}"), 4,
         "header: not JSON at byte 2: string or '}' expected near end of file"},
        {"NUL in a name", HEADER("{\"a\0b\":" FOUR "}"), 4, "header: not JSON at byte 3: control character 0x0 near '\"a'"},
        {"bad escape", HEADER("{\"\\q\":" FOUR "}"), 4, "header: not JSON at byte 4: invalid escape near '\"\\q'"},
        {"bad hexadecimal escape", HEADER("{\"\\u00g0\":" FOUR "}"), 4,
         "header: not JSON at byte 7: invalid escape near '\"\\u00g'"},
        {"lone high surrogate", HEADER("{\"\\ud800\":" FOUR "}"), 4,
         "header: not JSON at byte 9: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
        {"lone low surrogate", HEADER("{\"\\udc00\":" FOUR "}"), 4,
         "header: not JSON at byte 9: invalid Unicode '\\uDC00' near '\"\\udc00\"'"},
        {"high surrogate twice", HEADER("{\"\\ud800\\ud800\":" FOUR "}"), 4,
         "header: not JSON at byte 15: invalid Unicode '\\uD800\\uD800' near '\"\\ud800\\ud800\"'"},
        {"raw newline in a string", HEADER("{\"a\nb\":" FOUR "}"), 4,
         "header: not JSON at byte 3: unexpected newline near '\"a'"},
        {"raw U+001F in a string", HEADER("{\"a\x1f\":" FOUR "}"), 4,
         "header: not JSON at byte 3: control character 0x1f near '\"a'"},
        {"leading zero", HEADER(SHAPE("[01]")), 4, "header: 'a': not JSON at byte 30: invalid token near '0'"},
        {"plus sign", HEADER(SHAPE("[+1]")), 4, "header: 'a': not JSON at byte 30: invalid token near '+'"},
        {"hexadecimal", HEADER(SHAPE("[0x1]")), 4, "header: 'a': not JSON at byte 31: ']' expected near 'x'"},
        {"NaN", HEADER(SHAPE("[NaN]")), 4, "header: 'a': not JSON at byte 32: invalid token near 'NaN'"},
        {"negative", HEADER(SHAPE("[-1]")), 4, "tensor 'a': shape[0] is negative"},
        {"minus zero", HEADER(SHAPE("[-0]")), 4, "header: 'a': negative zero at byte 29"},
        {"minus 0.0", HEADER(SHAPE("[-0.0]")), 4, "tensor 'a': shape[0] is not an integer"},
        {"1.0", HEADER(SHAPE("[1.0]")), 4, "tensor 'a': shape[0] is not an integer"},
        {"1e3", HEADER(SHAPE("[1e3]")), 4, "tensor 'a': shape[0] is not an integer"},
        {"1e999", HEADER(SHAPE("[1e999]")), 4, "header: 'a': not JSON at byte 34: real number overflow near '1e999'"},
        {"2^63", HEADER(SHAPE("[9223372036854775808]")), 4,
         "header: 'a': not JSON at byte 48: too big integer near '9223372036854775808'"},
        {"2^64", HEADER(SHAPE("[18446744073709551616]")), 4,
         "header: 'a': not JSON at byte 49: too big integer near '18446744073709551616'"},
        {"2^64 + 1 as an offset", HEADER(OFFSETS("[0,18446744073709551617]")), 4,
         "header: 'a': not JSON at byte 70: too big integer near '18446744073709551617'"},
        {"2^53 + 1 is exact", HEADER(OFFSETS("[0,9007199254740993]")), 4,
         "tensor 'a': data_offsets end at 9007199254740993, beyond the 4 bytes of data"},
        {"null as a dimension", HEADER(SHAPE("[null]")), 4, "tensor 'a': shape[0] is not an integer"},
        {"bool as a dimension", HEADER(SHAPE("[true]")), 4, "tensor 'a': shape[0] is not an integer"},
        {"string as a dimension", HEADER(SHAPE("[\"1\"]")), 4, "tensor 'a': shape[0] is not an integer"},
        {"array as a dimension", HEADER(SHAPE("[[1]]")), 4, "header: 'a': nested over 3 levels at byte 29"},
        {"shape a number", HEADER(SHAPE("1")), 4, "tensor 'a': shape is not an array"},
        {"shape an object", HEADER(SHAPE("{}")), 4, "tensor 'a': shape is not an array"},
        {"shape null", HEADER(SHAPE("null")), 4, "tensor 'a': shape is not an array"},
        {"one offset", HEADER(OFFSETS("[0]")), 4, "tensor 'a': data_offsets is not an array of two"},
        {"three offsets", HEADER(OFFSETS("[0,4,4]")), 4, "tensor 'a': data_offsets is not an array of two"},
        {"offsets a number", HEADER(OFFSETS("4")), 4, "tensor 'a': data_offsets is not an array of two"},
        {"negative offset", HEADER(OFFSETS("[-4,0]")), 4, "tensor 'a': data_offsets[0] is negative"},
        {"offset not an integer", HEADER(OFFSETS("[0,4.0]")), 4, "tensor 'a': data_offsets[1] is not an integer"},
    };
    CHECK_HEADERS(cases);
}

Test(files, keys, .timeout = 60)
{
    static const header_case cases[] = {
        {"duplicate tensor", HEADER("{\"a\":" FOUR ",\"a\":" FOUR "}"), 4, "header: duplicate key 'a'"},
        {"duplicate through an escape", HEADER("{\"a\":" FOUR ",\"\\u0061\":" FOUR "}"), 4,
         "header: duplicate key '\\u0061'"},
        {"duplicate __metadata__", HEADER("{\"__metadata__\":{},\"a\":" FOUR ",\"__metadata__\":{}}"), 4,
         "header: duplicate key '__metadata__'"},
        {"duplicate key in __metadata__", HEADER("{\"__metadata__\":{\"x\":\"\",\"x\":\"\"},\"a\":" FOUR "}"), 4,
         "header: '__metadata__': duplicate key 'x'"},
        {"duplicate field", HEADER("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}"), 4,
         "header: 'a': duplicate key 'shape'"},
        {"unknown field", HEADER("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"strides\":[1]}}"), 4,
         "tensor 'a': unknown field 'strides'"},
        {"field in capitals", HEADER("{\"a\":{\"Dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4,
         "tensor 'a': dtype is missing"},
        {"dtype missing", HEADER("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}"), 4, "tensor 'a': dtype is missing"},
        {"shape missing", HEADER("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}"), 4, "tensor 'a': shape is missing"},
        {"offsets missing", HEADER("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}"), 4, "tensor 'a': data_offsets is missing"},
        {"tensor an array", HEADER("{\"a\":[]}"), 0, "tensor 'a': not an object"},
        {"tensor null", HEADER("{\"a\":null}"), 0, "tensor 'a': not an object"},
        {"metadata an array", HEADER("{\"__metadata__\":[],\"a\":" FOUR "}"), 4, "__metadata__ is not an object"},
        {"metadata null", HEADER("{\"__metadata__\":null,\"a\":" FOUR "}"), 4, "__metadata__ is not an object"},
        {"metadata a number", HEADER("{\"__metadata__\":{\"step\":1},\"a\":" FOUR "}"), 4,
         "__metadata__: 'step' is not a string"},
        {"metadata an object", HEADER("{\"__metadata__\":{\"b\":{}},\"a\":" FOUR "}"), 4,
         "__metadata__: 'b' is not a string"},
        {"empty name", HEADER("{\"\":" FOUR "}"), 4, "a tensor's name is empty"},
        {"name with \\u0000", HEADER("{\"a\\u0000b\":" FOUR "}"), 4,
         "header: not JSON at byte 11: NUL byte in object key not supported near '\"a\\u0000b\"'"},
        {"name that spoils a terminal",
         HEADER("{\"a\\n\\u001b[31m'\\u00e9\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}"), 4,
         "tensor 'a\\x0a\\x1b[31m'\\xc3\\xa9': dtype is not a string"},
    };
    CHECK_HEADERS(cases);
}

Test(files, offsets, .timeout = 60)
{
    static const header_case cases[] = {
        {"unknown dtype", HEADER(DTYPE("\"F33\"")), 4, "tensor 'a': unknown dtype 'F33'"},
        {"lower-case dtype", HEADER(DTYPE("\"f32\"")), 4, "tensor 'a': unknown dtype 'f32'"},
        {"empty dtype", HEADER(DTYPE("\"\"")), 4, "tensor 'a': unknown dtype ''"},
        {"dtype a number", HEADER(DTYPE("32")), 4, "tensor 'a': dtype is not a string"},
        {"dtype null", HEADER(DTYPE("null")), 4, "tensor 'a': dtype is not a string"},
        {"F64", HEADER(DTYPE("\"F64\"")), 4, "tensor 'a': dtype F64 is not supported (F32, F16 and BF16 are)"},
        {"I64", HEADER(DTYPE("\"I64\"")), 4, "tensor 'a': dtype I64 is not supported (F32, F16 and BF16 are)"},
        {"I32", HEADER(DTYPE("\"I32\"")), 4, "tensor 'a': dtype I32 is not supported (F32, F16 and BF16 are)"},
        {"U8", HEADER(DTYPE("\"U8\"")), 4, "tensor 'a': dtype U8 is not supported (F32, F16 and BF16 are)"},
        {"BOOL", HEADER(DTYPE("\"BOOL\"")), 4, "tensor 'a': dtype BOOL is not supported (F32, F16 and BF16 are)"},
        {"F8_E4M3", HEADER(DTYPE("\"F8_E4M3\"")), 4, "tensor 'a': dtype F8_E4M3 is not supported (F32, F16 and BF16 are)"},
        {"begin > end", HEADER(OFFSETS("[4,0]")), 4, "tensor 'a': data_offsets begin at 4 and end at 0"},
        {"end > data", HEADER(OFFSETS("[0,5]")), 4, "tensor 'a': data_offsets end at 5, beyond the 4 bytes of data"},
        {"end > data by far", HEADER(OFFSETS("[0,9223372036854775807]")), 4,
         "tensor 'a': data_offsets end at 9223372036854775807, beyond the 4 bytes of data"},
        {"both beyond the data", HEADER(OFFSETS("[8,12]")), 4,
         "tensor 'a': data_offsets end at 12, beyond the 4 bytes of data"},
        {"hole at the start", HEADER("{" TENSOR("a", "[1]", "[4,8]") "}"), 8,
         "tensor 'a': 4 bytes before its data belong to no tensor"},
        {"hole in the middle", HEADER("{" TENSOR("a", "[1]", "[0,4]") "," TENSOR("b", "[1]", "[8,12]") "}"), 12,
         "tensor 'b': 4 bytes before its data belong to no tensor"},
        {"partial overlap", HEADER("{" TENSOR("a", "[2]", "[0,8]") "," TENSOR("b", "[2]", "[4,12]") "}"), 12,
         "tensor 'b': its data overlap those of 'a'"},
        {"identical overlap", HEADER("{" TENSOR("b", "[1]", "[0,4]") "," TENSOR("a", "[1]", "[0,4]") "}"), 4,
         "tensor 'b': its data overlap those of 'a'"},
        {"inside another", HEADER("{" TENSOR("a", "[4]", "[0,16]") "," TENSOR("b", "[1]", "[4,8]") "}"), 16,
         "tensor 'b': its data overlap those of 'a'"},
        {"overlap that hides a hole", HEADER("{" TENSOR("a", "[1]", "[0,4]") "," TENSOR("b", "[1]", "[0,4]") "}"), 8,
         "tensor 'b': its data overlap those of 'a'"},
        {"empty one inside another", HEADER("{" TENSOR("a", "[2]", "[0,8]") "," TENSOR("b", "[0]", "[4,4]") "}"), 8,
         "tensor 'b': its data overlap those of 'a'"},
        {"empty one in a hole", HEADER("{" TENSOR("a", "[1]", "[0,4]") "," TENSOR("b", "[0]", "[6,6]") "}"), 8,
         "tensor 'b': 2 bytes before its data belong to no tensor"},
        {"empty one beyond the data", HEADER("{" TENSOR("a", "[1]", "[0,4]") "," TENSOR("b", "[0]", "[5,5]") "}"), 4,
         "tensor 'b': data_offsets end at 5, beyond the 4 bytes of data"},
        {"trailing bytes", HEADER("{\"a\":" FOUR "}"), 5, "the last 1 bytes belong to no tensor"},
        {"trailing bytes, no tensors", HEADER("{}"), 1, "the last 1 bytes belong to no tensor"},
        {"size too small", HEADER(SHAPE("[2]")), 4, "tensor 'a': data_offsets span 4 bytes, its shape needs 8"},
        {"size too large", HEADER(SHAPE("[0]")), 4, "tensor 'a': data_offsets span 4 bytes, its shape needs 0"},
        {"product wraps to 0", HEADER(SHAPE("[4294967296,4294967296]")), 4,
         "tensor 'a': the product of its shape overflows"},
        {"product wraps to 1", HEADER(SHAPE("[274177,67280421310721]")), 4,
         "tensor 'a': the product of its shape overflows"},
        {"bytes wrap to 0", HEADER(SHAPE("[4611686018427387904]")), 4, "tensor 'a': the product of its shape overflows"},
        {"bytes wrap to 4", HEADER(SHAPE("[4611686018427387905]")), 4, "tensor 'a': the product of its shape overflows"},
        {"0 hides an overflow", HEADER(SHAPE("[0,4294967296,4294967296]")), 4,
         "tensor 'a': the product of its shape overflows"},
        {"overflow before a 0", HEADER(SHAPE("[4294967296,4294967296,0]")), 4,
         "tensor 'a': the product of its shape overflows"},
        {"sum near 2^64",
         HEADER("{" TENSOR("a", "[1]", "[0,4]") "," TENSOR("b", "[4611686018427387903]", "[4,9223372036854775807]") "}"), 4,
         "tensor 'b': data_offsets end at 9223372036854775807, beyond the 4 bytes of data"},
        {"rank 9", HEADER(SHAPE("[1,1,1,1,1,1,1,1,1]")), 4, "tensor 'a': rank 9 is over 8"},
        {"rank 65",
         HEADER(SHAPE("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
                      "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]")),
         4, "tensor 'a': rank 65 is over 8"},
    };
    CHECK_HEADERS(cases);
}

/* Cases whose headers are too large to write down. */
Test(files, large_headers, .timeout = 120)
{
    enum { SIZE = 80000000 };
    char *folder = lm_test_folder_create(), *path = lm_test_join(folder, "bad.safetensors");
    char *text = malloc(SIZE);
    size_t n = 0;
    cr_assert(text != NULL);

    memset(text, '[', 10000);
    text[0] = '{';
    memset(text + 10000, ']', 10000);
    text[19999] = '}';
    lm_test_write_parts(path, 20000, text, 20000, 0);
    expect_refused("10,000 levels", path, LM_ERROR_FORMAT, "header: nested over 3 levels at byte 3");

    n = (size_t)sprintf(text, "{\"%01025d\":" FOUR "}", 0);
    lm_test_write_parts(path, n, text, n, 4);
    expect_refused(
        "name over 1 KiB", path, LM_ERROR_FORMAT,
        "tensor '0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000...': its name is over 1024 bytes");

    text[0] = '{';
    n = 1;
    for (int i = 0; i < 1000000; i++)
        n += (size_t)sprintf(text + n, "\"%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},", i);
    text[n - 1] = '}';
    lm_test_write_parts(path, n, text, n, 0);
    expect_refused("a million tensors", path, LM_ERROR_FORMAT, "header: over 100000 tensors");

    n = (size_t)sprintf(text, "{\"a\":{\"shape\":[0");
    for (int i = 0; i < 2000000; i++) n += (size_t)sprintf(text + n, ",0");
    n += (size_t)sprintf(text + n, "]}}");
    lm_test_write_parts(path, n, text, n, 0);
    expect_refused("two million dimensions", path, LM_ERROR_FORMAT, "header: over 2000000 values");

    free(text);
    free(path);
    lm_test_folder_remove(folder);
}
