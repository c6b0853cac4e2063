/* What fuzz targets of model folders share: a folder, in memory where the system has such, whose few files are written anew for each input. */
#ifndef FUZZ_FOLDER_H
#define FUZZ_FOLDER_H

#include <fcntl.h>

#include "check_source.h"

enum { FUZZ_FILES = 8 };
static char fuzz_folder[64];
static const char *fuzz_names[FUZZ_FILES]; /* of all files ever written to it */

static void fuzz_path(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", fuzz_folder, name);
}

static void fuzz_remove(const char *name)
{
    char path[128];
    fuzz_path(name, path);
    unlink(path);
}

static void fuzz_remove_folder(void)
{
    for (int i = 0; i < FUZZ_FILES && fuzz_names[i] != NULL; i++) fuzz_remove(fuzz_names[i]);
    rmdir(fuzz_folder);
}

static void fuzz_make_folder(void)
{
    if (fuzz_folder[0] != 0) return;
    const char *temporary = getenv("TMPDIR");
    snprintf(fuzz_folder, sizeof fuzz_folder, "/dev/shm/pensieve-fuzz-XXXXXX");
    if (mkdtemp(fuzz_folder) == NULL) {
        snprintf(fuzz_folder, sizeof fuzz_folder, "%.40s/pensieve-fuzz-XXXXXX", temporary ? temporary : "/tmp");
        if (mkdtemp(fuzz_folder) == NULL) __builtin_trap();
    }
    atexit(fuzz_remove_folder);
}

static void fuzz_note(const char *name)
{
    int i = 0;
    while (i < FUZZ_FILES && fuzz_names[i] != NULL && strcmp(fuzz_names[i], name) != 0) i++;
    if (i == FUZZ_FILES) __builtin_trap();
    fuzz_names[i] = name;
}

/* A file of the folder, as it is. `name` must last. */
static void fuzz_write(const char *name, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
{
    char path[128];
    fuzz_make_folder();
    fuzz_note(name);
    fuzz_path(name, path);
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0 || write(descriptor, head, head_size) != (ssize_t)head_size || write(descriptor, data, size) != (ssize_t)size)
        __builtin_trap();
    close(descriptor);
}

/* A SafeTensors file whose header ends at its last brace and gets its length put before it. Returns its size. */
static size_t fuzz_write_safetensors(const char *name, const uint8_t *data, size_t size)
{
    uint8_t length[8];
    size_t header = size;
    while (header > 0 && data[header - 1] != '}') header--;
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header >> 8 * i);
    fuzz_write(name, length, sizeof length, data, size);
    return size + sizeof length;
}

#endif
