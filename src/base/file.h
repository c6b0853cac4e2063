/* Files: opening, reading, mapping. Nothing here trusts a size that a file states of itself. */
#ifndef PV_BASE_FILE_H
#define PV_BASE_FILE_H

#include "pensieve.h"

typedef struct pv_mapping {
    int descriptor;
    uint64_t size;         /* bytes, as it was when opened */
    uint64_t changed;      /* when it was last written to, nanoseconds since 1970, as it was when opened */
    const uint8_t *bytes;  /* NULL unless mapped */
} pv_mapping;

/* Opens a regular file for reading. With `map`, maps it too (an empty file is not mapped).
 * Errors: PV_NOT_FOUND, PV_IO (not a regular file, permission; with the system's reason). */
pv_status pv_mapping_open(const char *path, bool map, pv_mapping *mapping, pv_error *error);
void pv_mapping_close(pv_mapping *mapping);
/* Copies [offset, offset + length) to `out` by reading, mapped or not. Errors: PV_IO (short read names offset and size). */
pv_status pv_mapping_read(const pv_mapping *mapping, uint64_t offset, void *out, size_t length, pv_error *error);
/* Errors: PV_IO (`name` was written to, cut or has grown since it was opened: touching the mapping may raise SIGBUS). */
pv_status pv_mapping_check(const pv_mapping *mapping, const char *name, pv_error *error);
/* Lets go of the resident pages of a mapped range; they come back from the file when touched. */
void pv_mapping_drop(const pv_mapping *mapping, uint64_t offset, uint64_t length);

/* Reads a whole file, NUL-terminated past *length. Errors: PV_NOT_FOUND, PV_IO, PV_BAD_FILE (longer than `limit`), PV_OUT_OF_MEMORY. */
pv_status pv_read_file(const pv_allocator *allocator, const char *path, size_t limit, char **text, size_t *length, pv_error *error);
/* 1 if a regular file, 2 if a folder, 0 if neither or absent. */
int pv_path_kind(const char *path);
/* Makes a folder, or finds it *there; so it is for a file of that name. Errors: PV_NOT_FOUND (where it would stand), PV_IO. */
pv_status pv_make_folder(const char *path, bool *there, pv_error *error);

/* Writes a file without a name where the system has such, else under a temporary name beside `path`; commit gives it its name,
 * discard removes it. */
typedef struct pv_writer {
    const pv_allocator *allocator;
    int descriptor;
    char *path, *temporary;
    uint8_t *buffer;
    size_t used;
    uint64_t written; /* bytes so far */
} pv_writer;
pv_status pv_writer_open(const pv_allocator *allocator, const char *path, pv_writer *writer, pv_error *error);
/* The same where there are no files without a name. */
pv_status pv_writer_open_named(const pv_allocator *allocator, const char *path, pv_writer *writer, pv_error *error);
/* Errors: PV_IO ("no space left on device", with the file and offset). */
pv_status pv_writer_write(pv_writer *writer, const void *bytes, size_t length, pv_error *error);
/* At a place of its own; what lies between places that are never written reads as zeros. pv_writer_write then goes on where it was. */
pv_status pv_writer_write_at(pv_writer *writer, uint64_t offset, const void *bytes, size_t length, pv_error *error);
pv_status pv_writer_commit(pv_writer *writer, pv_error *error);
void pv_writer_discard(pv_writer *writer);

#endif
