/* SHA-256 (FIPS 180-4). */
#ifndef PENSIEVE_CLI_SHA256_H
#define PENSIEVE_CLI_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} sha256;

void sha256_start(sha256 *hash);
void sha256_add(sha256 *hash, const void *bytes, size_t length);
/* 64 digits and a NUL. */
void sha256_end(sha256 *hash, char hex[65]);

#endif
