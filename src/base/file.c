#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

/* One system call moves at most this much: some systems refuse 2 GiB and more. */
#define MAX_TRANSFER ((size_t)1 << 30)
#define WRITER_BUFFER ((size_t)256 << 10)
#define TEMPORARY_NAMES 1000

/* The system's words for an errno, in "no space left on device"'s style. */
static const char *reason(int code, char *buffer, size_t size)
{
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    const char *text = strerror_r(code, buffer, size);
    if (text != buffer) snprintf(buffer, size, "%s", text);
#else
    if (strerror_r(code, buffer, size) != 0) snprintf(buffer, size, "error %d", code);
#endif
    if (buffer[0] >= 'A' && buffer[0] <= 'Z' && buffer[1] >= 'a' && buffer[1] <= 'z') buffer[0] = (char)(buffer[0] - 'A' + 'a');
    return buffer;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* PV_NOT_FOUND or PV_IO, from errno at the failed call. */
static pv_status fail_system(pv_error *error, int code, const char *path, const char *what)
{
    char text[128];
    pv_status status = code == ENOENT || code == ENOTDIR ? PV_NOT_FOUND : PV_IO;
    pv_fail_at(error, status, base_name(path), PV_NO_OFFSET, "cannot %s %s: %s", what, path, reason(code, text, sizeof text));
    if (error) error->backend_code = code;
    return status;
}

pv_status pv_make_folder(const char *path, bool *there, pv_error *error)
{
    *there = false;
    if (mkdir(path, 0777) == 0) return PV_OK;
    *there = errno == EEXIST;
    return *there ? PV_OK : fail_system(error, errno, path, "make the folder");
}

/* Wraps in the year 2554: it is only compared. */
static uint64_t time_changed(const struct stat *info)
{
#ifdef __APPLE__
    const struct timespec *at = &info->st_mtimespec;
#else
    const struct timespec *at = &info->st_mtim;
#endif
    return (uint64_t)at->tv_sec * 1000000000u + (uint64_t)at->tv_nsec;
}

pv_status pv_mapping_open(const char *path, bool map, pv_mapping *mapping, pv_error *error)
{
    pv_status status = PV_OK;
    struct stat info;
    int descriptor;
    /* O_NONBLOCK: a pipe is refused below instead of waited for; it means nothing to a regular file. */
    do {
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) return fail_system(error, errno, path, "open");
    if (fstat(descriptor, &info) != 0) {
        status = fail_system(error, errno, path, "look at");
    } else if (!S_ISREG(info.st_mode)) {
        status = pv_fail_at(error, PV_IO, base_name(path), PV_NO_OFFSET, "cannot read %s: it is %s, wanted a regular file",
                            path, S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket");
    } else if ((uint64_t)info.st_size > PTRDIFF_MAX) {
        status = pv_fail_at(error, PV_IO, base_name(path), PV_NO_OFFSET,
                            "cannot map %s: %llu bytes are too many for this machine", path, (unsigned long long)info.st_size);
    }
    void *bytes = NULL;
    if (status == PV_OK && map && info.st_size > 0) {
        bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
        if (bytes == MAP_FAILED) status = fail_system(error, errno, path, "map");
    }
    if (status != PV_OK) {
        close(descriptor);
        return status;
    }
    *mapping = (pv_mapping){.descriptor = descriptor, .size = (uint64_t)info.st_size, .changed = time_changed(&info), .bytes = bytes};
    return PV_OK;
}

pv_status pv_mapping_check(const pv_mapping *mapping, const char *name, pv_error *error)
{
    struct stat info;
    if (fstat(mapping->descriptor, &info) != 0) return fail_system(error, errno, name, "look at");
    if ((uint64_t)info.st_size == mapping->size && time_changed(&info) == mapping->changed) return PV_OK;
    return pv_fail_at(error, PV_IO, name, PV_NO_OFFSET, "%s was changed after it was opened: it had %llu bytes and has %llu", name,
                      (unsigned long long)mapping->size, (unsigned long long)info.st_size);
}

void pv_mapping_close(pv_mapping *mapping)
{
    if (mapping->bytes) munmap((void *)mapping->bytes, (size_t)mapping->size);
    if (mapping->descriptor >= 0) close(mapping->descriptor);
    *mapping = (pv_mapping){.descriptor = -1};
}

pv_status pv_mapping_read(const pv_mapping *mapping, uint64_t offset, void *out, size_t length, pv_error *error)
{
    if (!pv_inside(offset, length, mapping->size))
        return pv_fail_at(error, PV_IO, "read", offset, "cannot read %zu bytes at offset %llu: the file has %llu bytes", length,
                          (unsigned long long)offset, (unsigned long long)mapping->size);
    for (size_t done = 0; done < length;) {
        ssize_t got =
            pread(mapping->descriptor, (uint8_t *)out + done, pv_min_size(length - done, MAX_TRANSFER), (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            char text[128];
            int code = errno;
            pv_fail_at(error, PV_IO, "read", offset + done, "cannot read %zu bytes at offset %llu: %s", length - done,
                       (unsigned long long)(offset + done), reason(code, text, sizeof text));
            if (error) error->backend_code = code;
            return PV_IO;
        }
        if (got == 0)
            return pv_fail_at(error, PV_IO, "read", offset + done,
                              "file ends at offset %llu, wanted %zu more bytes: it was %llu bytes when opened and has been cut",
                              (unsigned long long)(offset + done), length - done, (unsigned long long)mapping->size);
        done += (size_t)got;
    }
    return PV_OK;
}

void pv_mapping_drop(const pv_mapping *mapping, uint64_t offset, uint64_t length)
{
    long page = sysconf(_SC_PAGESIZE);
    uint64_t start;
    if (!mapping->bytes || page <= 0 || !pv_inside(offset, length, mapping->size)) return;
    if (!pv_align_u64(offset, (uint64_t)page, &start)) return;
    /* Inward, so that neighbours keep their pages; the file's last page has no neighbour behind it. */
    uint64_t end = offset + length;
    if (end < mapping->size) end &= ~((uint64_t)page - 1);
    if (end > start) madvise((void *)(mapping->bytes + start), (size_t)(end - start), MADV_DONTNEED);
}

pv_status pv_read_file(const pv_allocator *allocator, const char *path, size_t limit, char **text, size_t *length,
                       pv_error *error)
{
    pv_mapping file;
    pv_status status = pv_mapping_open(path, false, &file, error);
    if (status != PV_OK) return status;
    char *bytes = NULL;
    if (file.size > limit) {
        status = pv_fail_at(error, PV_BAD_FILE, base_name(path), PV_NO_OFFSET, "%s has %llu bytes, the limit is %zu", path,
                            (unsigned long long)file.size, limit);
        goto done;
    }
    bytes = pv_alloc(allocator, (size_t)file.size + 1, 1);
    if (!bytes) {
        status = pv_fail_memory(error, (size_t)file.size + 1, base_name(path));
        goto done;
    }
    status = pv_mapping_read(&file, 0, bytes, (size_t)file.size, error);
    if (status != PV_OK) goto done;
    bytes[file.size] = '\0';
    *text = bytes;
    *length = (size_t)file.size;
    bytes = NULL;
done:
    pv_free(allocator, bytes);
    pv_mapping_close(&file);
    return status;
}

int pv_path_kind(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return 0;
    return S_ISREG(info.st_mode) ? 1 : S_ISDIR(info.st_mode) ? 2 : 0;
}

/* PATH.<process>-<n>.tmp */
static void name_temporary(const char *path, unsigned n, char *temporary, size_t size)
{
    snprintf(temporary, size, "%s.%ld-%u.tmp", path, (long)getpid(), n);
}

/* A file without a name in the folder of `path`: whatever ends the process, nothing is left of it. −1 where the system has no such
 * thing. Uses `temporary` for the folder's name. */
static int open_nameless(const char *path, char *temporary, size_t size)
{
#ifdef O_TMPFILE
    struct stat info;
    if (stat("/proc/self/fd", &info) != 0) return -1; /* it gets its name through there */
    snprintf(temporary, size, "%s", path);
    char *slash = strrchr(temporary, '/');
    if (slash) slash[slash == temporary] = '\0';
    return open(slash ? temporary : ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
#else
    (void)path, (void)temporary, (void)size;
    return -1;
#endif
}

/* Gives a nameless file a temporary name. Errors: errno. */
static bool link_temporary(int descriptor, const char *path, char *temporary, size_t size)
{
    char source[32];
    snprintf(source, sizeof source, "/proc/self/fd/%d", descriptor);
    for (unsigned n = 0; n < TEMPORARY_NAMES; n++) {
        name_temporary(path, n, temporary, size);
        if (linkat(AT_FDCWD, source, AT_FDCWD, temporary, AT_SYMLINK_FOLLOW) == 0) return true;
        if (errno != EEXIST && errno != EINTR) break;
    }
    temporary[0] = '\0';
    return false;
}

/* Opens a file beside PATH and leaves its name in `temporary`, empty if that failed. */
static int open_temporary(const char *path, char *temporary, size_t size)
{
    for (unsigned n = 0; n < TEMPORARY_NAMES; n++) {
        name_temporary(path, n, temporary, size);
        int descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0) return descriptor;
        if (errno != EEXIST && errno != EINTR) break;
    }
    temporary[0] = '\0'; /* nothing to remove */
    return -1;
}

static size_t temporary_room(const char *path)
{
    return strlen(path) + 48;
}

static pv_status open_writer(const pv_allocator *allocator, const char *path, bool named, pv_writer *writer, pv_error *error)
{
    pv_status status = PV_OK;
    pv_writer made = {.allocator = allocator, .descriptor = -1};
    size_t length = strlen(path), room = temporary_room(path);
    made.path = pv_copy_string(allocator, path, length);
    made.temporary = pv_calloc(allocator, room, 1);
    made.buffer = pv_alloc(allocator, WRITER_BUFFER, 1);
    if (!made.path || !made.temporary || !made.buffer) {
        status = pv_fail_memory(error, WRITER_BUFFER + 2 * room, "a file writer");
    } else {
        if (!named) made.descriptor = open_nameless(path, made.temporary, room);
        made.temporary[0] = '\0';
        if (made.descriptor < 0) made.descriptor = open_temporary(path, made.temporary, room);
        if (made.descriptor < 0) status = fail_system(error, errno, path, "write");
    }
    if (status != PV_OK)
        pv_writer_discard(&made);
    else
        *writer = made;
    return status;
}

pv_status pv_writer_open(const pv_allocator *allocator, const char *path, pv_writer *writer, pv_error *error)
{
    return open_writer(allocator, path, false, writer, error);
}

pv_status pv_writer_open_named(const pv_allocator *allocator, const char *path, pv_writer *writer, pv_error *error)
{
    return open_writer(allocator, path, true, writer, error);
}

static pv_status write_out(pv_writer *writer, const void *bytes, size_t length, uint64_t offset, pv_error *error)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = pwrite(writer->descriptor, (const uint8_t *)bytes + done, pv_min_size(length - done, MAX_TRANSFER), (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            char text[128];
            int code = put < 0 ? errno : ENOSPC;
            pv_fail_at(error, PV_IO, base_name(writer->path), offset + done, "cannot write %zu bytes to %s at offset %llu: %s",
                       length - done, writer->path, (unsigned long long)(offset + done), reason(code, text, sizeof text));
            if (error) error->backend_code = code;
            return PV_IO;
        }
        done += (size_t)put;
    }
    return PV_OK;
}

static pv_status flush(pv_writer *writer, pv_error *error)
{
    size_t used = writer->used;
    writer->used = 0;
    return write_out(writer, writer->buffer, used, writer->written - used, error);
}

pv_status pv_writer_write(pv_writer *writer, const void *bytes, size_t length, pv_error *error)
{
    pv_status status;
    if (length > WRITER_BUFFER - writer->used && (status = flush(writer, error)) != PV_OK) return status;
    if (length >= WRITER_BUFFER) {
        if ((status = write_out(writer, bytes, length, writer->written, error)) != PV_OK) return status;
    } else if (length > 0) {
        memcpy(writer->buffer + writer->used, bytes, length);
        writer->used += length;
    }
    writer->written += length;
    return PV_OK;
}

pv_status pv_writer_write_at(pv_writer *writer, uint64_t offset, const void *bytes, size_t length, pv_error *error)
{
    return write_out(writer, bytes, length, offset, error);
}

/* The rename lasts only when the folder is on disk too. Systems that refuse this for folders are left alone. */
static void sync_folder(pv_writer *writer)
{
    char *slash = strrchr(writer->temporary, '/');
    if (slash) slash[slash == writer->temporary] = '\0';
    int descriptor = open(slash ? writer->temporary : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    fsync(descriptor);
    close(descriptor);
}

pv_status pv_writer_commit(pv_writer *writer, pv_error *error)
{
    pv_status status = flush(writer, error);
    if (status == PV_OK && fsync(writer->descriptor) != 0 && errno != EINVAL && errno != EROFS)
        status = fail_system(error, errno, writer->path, "finish writing");
    if (status == PV_OK && writer->temporary[0] == '\0' &&
        !link_temporary(writer->descriptor, writer->path, writer->temporary, temporary_room(writer->path)))
        status = fail_system(error, errno, writer->path, "finish writing");
    if (status == PV_OK) {
        int descriptor = writer->descriptor;
        writer->descriptor = -1;
        if (close(descriptor) != 0 && errno != EINTR) status = fail_system(error, errno, writer->path, "finish writing");
    }
    if (status == PV_OK && rename(writer->temporary, writer->path) != 0)
        status = fail_system(error, errno, writer->path, "put the finished file at");
    if (status == PV_OK) {
        sync_folder(writer);
        writer->temporary[0] = '\0'; /* nothing left to remove */
    }
    pv_writer_discard(writer);
    return status;
}

void pv_writer_discard(pv_writer *writer)
{
    if (writer->descriptor >= 0) close(writer->descriptor);
    if (writer->temporary && writer->temporary[0]) unlink(writer->temporary);
    pv_free(writer->allocator, writer->buffer);
    pv_free(writer->allocator, writer->temporary);
    pv_free(writer->allocator, writer->path);
    *writer = (pv_writer){.allocator = writer->allocator, .descriptor = -1};
}
