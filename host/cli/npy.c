/* host/cli/npy.c: NumPy's .npy files.
 *
 *     "\x93NUMPY" · major · minor · header length, 2 bytes in version 1, else 4 · header · data
 *
 * The header is a Python dictionary of exactly 'descr', 'fortran_order' and 'shape', padded with spaces, ending with a line
 * feed. Only literals of that form are understood; nothing is evaluated.
 */
#include "host/cli/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/checked.h"

enum { MAX_HEADER = 1 << 20 };

/* Where messages go. */
typedef struct report {
    const char *path;
    char *text;
    size_t size;
} report;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static bool
fail(const report *to, const char *format, ...)
{
    va_list arguments;
    int used = snprintf(to->text, to->size, "%s: ", to->path);
    if (used < 0 || (size_t)used >= to->size) return false;
    va_start(arguments, format);
    vsnprintf(to->text + used, to->size - (size_t)used, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- the header ----------------------------------------------------------------------------------------------------- */

typedef struct header {
    char descr[16];
    bool fortran_order;
    uint32_t rank;
    uint64_t shape[LM_NPY_MAX_RANK];
} header;

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_spaces(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t')) c->at++;
}

/* Takes the character if it is next. */
static bool take(cursor *c, char wanted)
{
    skip_spaces(c);
    if (c->at == c->end || *c->at != wanted) return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    const size_t length = strlen(word);
    skip_spaces(c);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

/* A string of printable characters in either kind of quotes, without escapes. */
static bool take_string(cursor *c, char *out, size_t size)
{
    const char quote = take(c, '\'') ? '\'' : take(c, '"') ? '"' : '\0';
    size_t used = 0;
    if (quote == '\0') return false;
    while (c->at < c->end && *c->at != quote) {
        if (*c->at < 0x20 || *c->at > 0x7e || *c->at == '\\' || used + 1 == size) return false;
        out[used++] = *c->at++;
    }
    out[used] = '\0';
    return take(c, quote);
}

static bool take_size(cursor *c, uint64_t *size)
{
    skip_spaces(c);
    if (c->at == c->end || *c->at < '0' || *c->at > '9') return false;
    for (*size = 0; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (!lm_checked_multiply(*size, 10, size) || !lm_checked_add(*size, (uint64_t)(*c->at - '0'), size)) return false;
    }
    return true;
}

/* () (3,) (3, 4) (3, 4,) */
static bool take_shape(cursor *c, header *h, const report *to)
{
    if (!take(c, '(')) return fail(to, "its shape is not a tuple");
    for (h->rank = 0; !take(c, ')'); h->rank++) {
        if (h->rank == LM_NPY_MAX_RANK) return fail(to, "rank over %d", LM_NPY_MAX_RANK);
        if (!take_size(c, &h->shape[h->rank])) return fail(to, "its shape is not of sizes");
        const bool more = take(c, ',');
        if (!more && (h->rank == 0 || c->at == c->end || *c->at != ')')) return fail(to, "its shape is not a tuple");
    }
    return true;
}

static bool parse_header(const char *text, size_t size, header *h, const report *to)
{
    cursor c = {text, text + size};
    bool descr = false, order = false, shape = false;
    if (!take(&c, '{')) return fail(to, "the header is not a dictionary");
    while (!take(&c, '}')) {
        char key[32];
        if (!take_string(&c, key, sizeof key) || !take(&c, ':')) return fail(to, "the header is not a dictionary");
        bool *seen = strcmp(key, "descr") == 0           ? &descr
                     : strcmp(key, "fortran_order") == 0 ? &order
                     : strcmp(key, "shape") == 0         ? &shape
                                                         : NULL;
        if (seen == NULL) return fail(to, "unknown key '%s' in the header", key);
        if (*seen) return fail(to, "'%s' twice in the header", key);
        *seen = true;
        if (seen == &descr && !take_string(&c, h->descr, sizeof h->descr)) return fail(to, "its type is not a plain one");
        if (seen == &order) {
            h->fortran_order = take_word(&c, "True");
            if (!h->fortran_order && !take_word(&c, "False")) return fail(to, "'fortran_order' is not True or False");
        }
        if (seen == &shape && !take_shape(&c, h, to)) return false;
        if (!take(&c, ',')) {
            if (take(&c, '}')) break;
            return fail(to, "the header is not a dictionary");
        }
    }
    skip_spaces(&c);
    if (c.at != c.end) return fail(to, "the header goes on after its dictionary");
    if (!descr || !order || !shape)
        return fail(to, "'%s' is not in the header", !descr ? "descr" : !order ? "fortran_order" : "shape");
    return true;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static bool read_at(int file, uint64_t offset, void *out, size_t size, const report *to)
{
    char *at = out;
    for (size_t done = 0; done < size;) {
        const size_t want = size - done < 1u << 30 ? size - done : 1u << 30;
        const ssize_t got = pread(file, at + done, want, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(to, "cannot be read: %s", strerror(errno));
        if (got == 0) return fail(to, "cut short while it was read");
        done += (size_t)got;
    }
    return true;
}

/* Leaves in *data where the data start. */
static bool read_header(int file, uint64_t size, header *h, uint64_t *data, const report *to)
{
    unsigned char head[12] = {0};
    if (size < 10) return fail(to, "%" PRIu64 " bytes are too few for a .npy file", size);
    if (!read_at(file, 0, head, size < sizeof head ? (size_t)size : sizeof head, to)) return false;
    if (memcmp(head, "\x93NUMPY", 6) != 0) return fail(to, "not a .npy file");
    if (head[6] < 1 || head[6] > 3 || head[7] != 0)
        return fail(to, "version %d.%d of the format, not 1.0 to 3.0", head[6], head[7]);
    uint64_t length = (uint64_t)head[8] | (uint64_t)head[9] << 8;
    if (head[6] >= 2) length |= (uint64_t)head[10] << 16 | (uint64_t)head[11] << 24;
    *data = (head[6] >= 2 ? 12 : 10) + length;
    if (length > MAX_HEADER) return fail(to, "header of %" PRIu64 " bytes, over %d", length, MAX_HEADER);
    if (*data > size) return fail(to, "header of %" PRIu64 " bytes goes beyond the file", length);
    char *text = malloc((size_t)length + 1);
    if (text == NULL) return fail(to, "out of memory");
    bool ok = read_at(file, *data - length, text, (size_t)length, to) && parse_header(text, (size_t)length, h, to);
    free(text);
    return ok;
}

static bool read_data(int file, uint64_t offset, uint64_t size, const header *h, lm_npy *array, const report *to)
{
    const bool is_double = strcmp(h->descr, "<f8") == 0;
    if (h->descr[0] == '>') return fail(to, "type '%s' is big-endian; '<f4' and '<f8' are read", h->descr);
    if (!is_double && strcmp(h->descr, "<f4") != 0) return fail(to, "type '%s', not '<f4' or '<f8'", h->descr);
    if (h->fortran_order) return fail(to, "in Fortran order; save numpy.ascontiguousarray() of it");
    uint64_t bytes;
    if (!lm_checked_count(h->shape, h->rank, &array->count) || !lm_checked_multiply(array->count, is_double ? 8 : 4, &bytes))
        return fail(to, "the product of its shape overflows");
    if (bytes != size - offset) return fail(to, "%" PRIu64 " bytes of data, its shape needs %" PRIu64, size - offset, bytes);
    array->rank = h->rank;
    memcpy(array->shape, h->shape, sizeof array->shape);
    /* A read of doubles rounds them in place. */
    void *data = bytes <= SIZE_MAX ? malloc(bytes > 0 ? (size_t)bytes : 1) : NULL;
    if (data == NULL) return fail(to, "out of memory");
    array->data = data;
    if (!read_at(file, offset, data, (size_t)bytes, to)) return false;
    for (uint64_t i = 0; is_double && i < array->count; i++) {
        double wide;
        memcpy(&wide, (char *)data + i * 8, sizeof wide);
        const float narrow = (float)wide;
        memcpy((char *)data + i * 4, &narrow, sizeof narrow);
    }
    return true;
}

bool lm_npy_read(const char *path, lm_npy *array, char *error, size_t error_size)
{
    const report to = {path, error, error_size};
    *array = (lm_npy){0};
    /* O_NONBLOCK, or a FIFO without a writer would hang here. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) return fail(&to, "cannot be opened: %s", strerror(errno));
    struct stat now;
    header h = {0};
    uint64_t data = 0;
    bool ok = fstat(file, &now) == 0 && S_ISREG(now.st_mode);
    if (!ok) fail(&to, "not a regular file");
    ok = ok && read_header(file, (uint64_t)now.st_size, &h, &data, &to) &&
         read_data(file, data, (uint64_t)now.st_size, &h, array, &to);
    close(file);
    if (!ok) lm_npy_free(array);
    return ok;
}

void lm_npy_free(lm_npy *array)
{
    free(array->data);
    *array = (lm_npy){0};
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static bool write_all(int file, const void *data, size_t size, const report *to)
{
    const char *at = data;
    while (size > 0) {
        const ssize_t put = write(file, at, size < 1u << 30 ? size : 1u << 30);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail(to, "cannot be written: %s", strerror(errno));
        at += put;
        size -= (size_t)put;
    }
    return true;
}

/* Version 1.0, padded so that the data begin at a multiple of 64, as NumPy does it. */
static size_t print_header(char *out, size_t size, uint32_t rank, const uint64_t *shape)
{
    size_t used = 10;
    used += (size_t)snprintf(out + used, size - used, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (uint32_t i = 0; i < rank; i++)
        used += (size_t)snprintf(out + used, size - used, "%" PRIu64 "%s", shape[i],
                                 rank == 1      ? ","
                                 : i + 1 < rank ? ", "
                                                : "");
    used += (size_t)snprintf(out + used, size - used, "), }");
    while ((used + 1) % 64 != 0) out[used++] = ' ';
    out[used++] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((used - 10) & 0xff);
    out[9] = (char)((used - 10) >> 8);
    return used;
}

bool lm_npy_write(const char *path, const float *data, uint32_t rank, const uint64_t *shape, char *error, size_t error_size)
{
    const report to = {path, error, error_size};
    char head[512];
    uint64_t count;
    size_t bytes;
    struct stat there;
    if (rank > LM_NPY_MAX_RANK) return fail(&to, "rank over %d", LM_NPY_MAX_RANK);
    if (!lm_checked_count(shape, rank, &count) || !lm_checked_bytes(count, sizeof *data, &bytes))
        return fail(&to, "the product of its shape overflows");
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) /* a rename would replace even /dev/null */
        return fail(&to, "not a regular file");

    const size_t size = strlen(path) + 32;
    char *temporary = malloc(size);
    if (temporary == NULL) return fail(&to, "out of memory");
    snprintf(temporary, size, "%s.%ld.tmp", path, (long)getpid());
    const int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
    bool ok = file >= 0;
    if (!ok) {
        fail(&to, "cannot be created: %s", strerror(errno));
    } else {
        ok = write_all(file, head, print_header(head, sizeof head, rank, shape), &to) && write_all(file, data, bytes, &to);
        if (close(file) != 0 && ok) ok = fail(&to, "cannot be written: %s", strerror(errno));
        if (ok && rename(temporary, path) != 0) ok = fail(&to, "cannot be written: %s", strerror(errno));
        if (!ok) unlink(temporary);
    }
    free(temporary);
    return ok;
}
