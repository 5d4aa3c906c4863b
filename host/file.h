/* host/file.h: reads regular files without trusting them, and replaces files atomically. Internal.
 *
 * Failures are LM_ERROR_IO (LM_ERROR_OUT_OF_MEMORY) with a line that names the file and the cause.
 */
#ifndef LM_FILE_H
#define LM_FILE_H

#include <time.h>

#include "litemamba/runtime.h"

/* A regular file open for reading. */
typedef struct lm_file {
    int descriptor;           /* -1: closed */
    char *path;               /* owned */
    uint64_t size;            /* bytes when it was opened */
    struct timespec modified; /* when it was opened */
} lm_file;

/* Never blocks, on a FIFO either. */
lm_status lm_file_open(const char *path, lm_file *file);
void lm_file_close(lm_file *file);

/* Reads exactly `size` bytes from `offset`. Fails when the file's size or modification time is not what it was at open, which
 * is found out after the bytes were read, so that LM_OK means that they are of the file that was opened. */
lm_status lm_file_read(const lm_file *file, uint64_t offset, void *out, size_t size);

/* A file being written under a temporary name beside its own. */
typedef struct lm_file_writer {
    int descriptor;
    char *path;      /* owned */
    char *temporary; /* owned */
} lm_file_writer;

lm_status lm_file_create(const char *path, lm_file_writer *writer);
lm_status lm_file_append(lm_file_writer *writer, const void *data, size_t size);
/* Flushes it to the disk and gives it its name, in place of what had that name. Ends the writer, whatever it returns. */
lm_status lm_file_commit(lm_file_writer *writer);
/* Removes the temporary file and ends the writer. */
void lm_file_abandon(lm_file_writer *writer);

/* `folder` and `name` with one slash between; free() it. NULL when there is no memory. */
char *lm_file_join(const char *folder, const char *name);

#endif
