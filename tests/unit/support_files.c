#include "support_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[256];

int tf_make_folder(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%.200s/pensieve-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static size_t each_file(void (*act)(const char *path))
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        count++;
        if (act) act(tf_path(entry->d_name));
    }
    closedir(directory);
    return count;
}

static void remove_one(const char *path)
{
    if (unlink(path) != 0) rmdir(path);
}

int tf_remove_folder(void **state)
{
    (void)state;
    each_file(remove_one);
    return rmdir(folder);
}

size_t tf_count(void)
{
    return each_file(NULL);
}

const char *tf_path(const char *name)
{
    static char paths[8][640];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* What was there is removed, not cut: of a file that is cut and written again some systems wait for the disk. */
void tf_write(const char *name, const void *bytes, size_t length)
{
    unlink(tf_path(name));
    FILE *file = fopen(tf_path(name), "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) {
        perror(name);
        abort();
    }
}

uint8_t *tf_read(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    size_t capacity = 1 << 16;
    uint8_t *bytes = malloc(capacity);
    *length = 0;
    for (size_t got; bytes && (got = fread(bytes + *length, 1, capacity - *length - 1, file)) > 0;) {
        *length += got;
        if (*length + 1 == capacity) bytes = realloc(bytes, capacity *= 2);
    }
    fclose(file);
    if (bytes) bytes[*length] = 0;
    return bytes;
}

void tf_free(tf_bytes *bytes)
{
    free(bytes->data);
    *bytes = (tf_bytes){0};
}

void tf_add(tf_bytes *bytes, const void *data, size_t length)
{
    uint8_t *grown = realloc(bytes->data, bytes->length + length + 1);
    if (!grown) abort();
    if (length) memcpy(grown + bytes->length, data, length);
    bytes->data = grown;
    bytes->length += length;
}

void tf_number(tf_bytes *bytes, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) tf_add(bytes, &(uint8_t){i < 8 ? (uint8_t)(value >> 8 * i) : 0}, 1);
}

void tf_pad(tf_bytes *bytes, size_t alignment)
{
    while (bytes->length % alignment) tf_add(bytes, "", 1);
}
