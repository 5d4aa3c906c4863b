/* host/file.c: regular files, read with pread and replaced with rename. */
#include "host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/backend.h"

/* Some systems refuse reads and writes of 2 GiB and more. */
enum { LARGEST_TRANSFER = 1 << 30 };

lm_status lm_file_open(const char *path, lm_file *file)
{
    *file = (lm_file){.descriptor = -1};
    /* O_NONBLOCK, or a FIFO without a writer would hang here; it means nothing to a regular file. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) return lm_fail(NULL, LM_ERROR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat now;
    if (fstat(descriptor, &now) != 0) {
        int code = errno;
        close(descriptor);
        return lm_fail(NULL, LM_ERROR_IO, "%s: cannot be examined: %s", path, strerror(code));
    }
    if (!S_ISREG(now.st_mode)) {
        close(descriptor);
        return lm_fail(NULL, LM_ERROR_IO, "%s: not a regular file", path);
    }
    char *copy = strdup(path);
    if (!copy) {
        close(descriptor);
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    *file = (lm_file){.descriptor = descriptor, .path = copy, .size = (uint64_t)now.st_size, .modified = now.st_mtim};
    return LM_OK;
}

void lm_file_close(lm_file *file)
{
    if (file->descriptor >= 0) close(file->descriptor);
    free(file->path);
    *file = (lm_file){.descriptor = -1};
}

lm_status lm_file_read(const lm_file *file, uint64_t offset, void *out, size_t size)
{
    char *to = out;
    for (size_t done = 0; done < size;) {
        size_t want = size - done < LARGEST_TRANSFER ? size - done : LARGEST_TRANSFER;
        ssize_t got = pread(file->descriptor, to + done, want, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lm_fail(NULL, LM_ERROR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
        if (got == 0)
            return lm_fail(NULL, LM_ERROR_IO, "%s: cut short while it was read (%" PRIu64 " bytes when it was opened)",
                           file->path, file->size);
        done += (size_t)got;
    }
    struct stat now;
    if (fstat(file->descriptor, &now) != 0)
        return lm_fail(NULL, LM_ERROR_IO, "%s: cannot be examined: %s", file->path, strerror(errno));
    if ((uint64_t)now.st_size != file->size)
        return lm_fail(NULL, LM_ERROR_IO,
                       "%s: changed while it was read (%" PRIu64 " bytes, %" PRIu64 " when it was opened)", file->path,
                       (uint64_t)now.st_size, file->size);
    if (now.st_mtim.tv_sec != file->modified.tv_sec || now.st_mtim.tv_nsec != file->modified.tv_nsec)
        return lm_fail(NULL, LM_ERROR_IO, "%s: changed while it was read", file->path);
    return LM_OK;
}

lm_status lm_file_create(const char *path, lm_file_writer *writer)
{
    static atomic_uint serial;
    *writer = (lm_file_writer){.descriptor = -1};
    struct stat there;
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) /* a rename would replace even /dev/null */
        return lm_fail(NULL, LM_ERROR_IO, "%s: not a regular file", path);
    size_t size = strlen(path) + 48;
    writer->path = strdup(path);
    writer->temporary = malloc(size);
    if (!writer->path || !writer->temporary) {
        free(writer->path);
        free(writer->temporary);
        *writer = (lm_file_writer){.descriptor = -1};
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    /* Not mkstemp: it makes files that only their owner can read, and finding out the umask would mean changing it. */
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(writer->temporary, size, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&serial, 1));
        writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
        if (writer->descriptor >= 0 || errno != EEXIST) break;
    }
    if (writer->descriptor >= 0) return LM_OK;
    lm_fail(NULL, LM_ERROR_IO, "%s: cannot be created: %s", writer->temporary, strerror(errno));
    free(writer->path);
    free(writer->temporary);
    *writer = (lm_file_writer){.descriptor = -1};
    return LM_ERROR_IO;
}

lm_status lm_file_append(lm_file_writer *writer, const void *data, size_t size)
{
    const char *from = data;
    while (size > 0) {
        size_t want = size < LARGEST_TRANSFER ? size : LARGEST_TRANSFER;
        ssize_t put = write(writer->descriptor, from, want);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return lm_fail(NULL, LM_ERROR_IO, "%s: cannot be written: %s", writer->temporary, strerror(errno));
        from += put;
        size -= (size_t)put;
    }
    return LM_OK;
}

/* A rename survives a power cut only once the folder is on the disk too. File systems that cannot do this say so; the file is
 * whole either way. */
static void flush_folder(const char *path)
{
    char *folder = strdup(path);
    if (!folder) return;
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    int descriptor = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        fsync(descriptor);
        close(descriptor);
    }
    free(folder);
}

lm_status lm_file_commit(lm_file_writer *writer)
{
    int code = fsync(writer->descriptor) == 0 ? 0 : errno;
    if (close(writer->descriptor) != 0 && code == 0) code = errno;
    writer->descriptor = -1;
    if (code == 0 && rename(writer->temporary, writer->path) != 0) code = errno;
    if (code != 0) {
        lm_fail(NULL, LM_ERROR_IO, "%s: cannot be written: %s", writer->path, strerror(code));
        lm_file_abandon(writer);
        return LM_ERROR_IO;
    }
    flush_folder(writer->path);
    free(writer->path);
    free(writer->temporary);
    *writer = (lm_file_writer){.descriptor = -1};
    return LM_OK;
}

void lm_file_abandon(lm_file_writer *writer)
{
    if (writer->descriptor >= 0) close(writer->descriptor);
    if (writer->temporary) unlink(writer->temporary);
    free(writer->path);
    free(writer->temporary);
    *writer = (lm_file_writer){.descriptor = -1};
}

char *lm_file_join(const char *folder, const char *name)
{
    size_t length = strlen(folder);
    bool slash = length > 0 && folder[length - 1] == '/';
    size_t size = length + strlen(name) + 2;
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s%s%s", folder, slash ? "" : "/", name);
    return path;
}
