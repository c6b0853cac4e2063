/* Text encodings of NSString. */
#ifndef SOFTMETAL_FOUNDATION_ENCODING_H
#define SOFTMETAL_FOUNDATION_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { /* NSStringEncoding */
    SM_ASCII = 1,
    SM_UTF8 = 4,
    SM_LATIN1 = 5,
    SM_UTF16 = 10, /* big-endian unless a byte order mark says otherwise; written little-endian with a mark, as on a Mac */
    SM_UTF16_BIG = 0x90000100,
    SM_UTF16_LITTLE = 0x94000100,
    SM_UTF32_LITTLE = 0x9c000100,
};

/* The next character of UTF-8 at *at (not at its end), which moves on. False if it is malformed, overlong or a surrogate. */
bool sm_utf8_next(const char **at, const char *end, uint32_t *character);
size_t sm_utf8_put(char *to, uint32_t character); /* up to 4 bytes */
/* UTF-16 units; false if it is not UTF-8. */
bool sm_utf8_length(const char *text, size_t bytes, size_t *units);

/* From bytes in an encoding to UTF-8, malloc'ed and followed by a 0; NULL if they are not of it, or it is not known. */
char *sm_decode(const void *bytes, size_t length, uint64_t encoding, size_t *utf8_bytes);
/* The reverse. With `lossy`, what the encoding lacks becomes '?'. */
char *sm_encode(const char *utf8, size_t bytes, uint64_t encoding, bool lossy, size_t *length);

#endif
