/* What tests of files stand on: a folder of their own, whole files read and written, and bytes put together. */
#ifndef TEST_SUPPORT_FILES_H
#define TEST_SUPPORT_FILES_H

#include <stddef.h>
#include <stdint.h>

/* A fresh folder; tf_remove_folder removes it with the files in it. cmocka's group set-up and tear-down. */
int tf_make_folder(void **state);
int tf_remove_folder(void **state);
/* FOLDER/name of the folder made last; good until the eighth call after it. */
const char *tf_path(const char *name);
void tf_write(const char *name, const void *bytes, size_t length);
/* NULL if there is none; ends with a NUL that is not counted. For free(). */
uint8_t *tf_read(const char *path, size_t *length);
/* Files in the folder. */
size_t tf_count(void);

typedef struct tf_bytes {
    uint8_t *data;
    size_t length;
} tf_bytes;

void tf_free(tf_bytes *bytes);
void tf_add(tf_bytes *bytes, const void *data, size_t length);
/* Little-endian; zeros beyond 8 bytes. */
void tf_number(tf_bytes *bytes, uint64_t value, size_t size);
/* Zeros up to a multiple of `alignment`. */
void tf_pad(tf_bytes *bytes, size_t alignment);

#endif
