/* Encodes documents, and decodes them again: how long that takes, and what comes out, for bench/tokenize.py to compare.
 *
 *   bench_tokenize MODEL DOCUMENTS OUT [PLAIN]
 *
 * DOCUMENTS: for each a u32 length and its bytes. OUT gets for each a u32 number of ids, the ids, a u32 length and the decoded bytes.
 * Control tokens spelled in the text become tokens, unless PLAIN is given. Prints the processor time of encoding alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "text/tokenizer.h"

typedef struct totals {
    uint64_t documents, bytes, tokens;
    double seconds, decode_seconds;
} totals;

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void decode(const pv_tokenizer *tokenizer, const pv_tokens *tokens, pv_bytes *text)
{
    bool starts = true;
    text->length = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        const char *bytes;
        size_t length;
        bool control;
        if (!pv_tokenizer_bytes(tokenizer, tokens->ids[i], &bytes, &length, &control)) abort();
        if (length == 0) continue;
        size_t leading = starts ? pv_tokenizer_leading(tokenizer, bytes, length) : 0;
        starts = false;
        pv_bytes_add(text, bytes + leading, length - leading);
    }
}

static void put(FILE *out, const void *data, size_t size, size_t count)
{
    uint32_t number = (uint32_t)count;
    fwrite(&number, sizeof number, 1, out);
    if (count > 0) fwrite(data, size, count, out);
}

static pv_status run(const pv_tokenizer *tokenizer, const char *documents, size_t length, unsigned flags, FILE *out, totals *sum,
                     pv_error *error)
{
    pv_allocator allocator = pv_allocator_default();
    pv_tokens tokens;
    pv_bytes text;
    pv_status status = PV_OK;
    pv_tokens_init(&tokens, &allocator);
    pv_bytes_init(&text, &allocator);
    for (size_t at = 0; at + sizeof(uint32_t) <= length && status == PV_OK;) {
        uint32_t bytes;
        memcpy(&bytes, documents + at, sizeof bytes);
        at += sizeof bytes;
        tokens.count = 0;
        double start = seconds();
        status = pv_tokenizer_encode(tokenizer, documents + at, bytes, flags, &tokens, error);
        double middle = seconds();
        decode(tokenizer, &tokens, &text);
        sum->seconds += middle - start;
        sum->decode_seconds += seconds() - middle;
        sum->documents++;
        sum->bytes += bytes;
        sum->tokens += tokens.count;
        put(out, tokens.ids, sizeof *tokens.ids, tokens.count);
        put(out, text.data, 1, text.length);
        at += bytes;
    }
    pv_tokens_free(&tokens);
    pv_bytes_free(&text);
    return status;
}

int main(int argc, char **argv)
{
    pv_allocator allocator = pv_allocator_default();
    pv_error error = {0};
    pv_source *source = NULL;
    pv_tokenizer *tokenizer = NULL;
    char *documents = NULL;
    size_t length = 0;
    totals sum = {0};
    if (argc < 4) {
        fprintf(stderr, "usage: bench_tokenize MODEL DOCUMENTS OUT [PLAIN]\n");
        return 2;
    }
    double start = seconds();
    pv_status status = pv_source_open(&allocator, argv[1], PV_LOAD_MAP, &source, &error);
    if (status == PV_OK) status = pv_tokenizer_load(&allocator, source, &tokenizer, &error);
    double load = seconds() - start;
    if (status == PV_OK) status = pv_read_file(&allocator, argv[2], (size_t)1 << 32, &documents, &length, &error);
    FILE *out = status == PV_OK ? fopen(argv[3], "wb") : NULL;
    if (out) status = run(tokenizer, documents, length, argc > 4 ? 0 : PV_ENCODE_SPECIAL, out, &sum, &error);
    bool written = out && fclose(out) == 0;
    if (status != PV_OK || !written) fprintf(stderr, "bench_tokenize: %s\n", status != PV_OK ? error.message : "OUT is not written");
    printf("{\"documents\": %llu, \"bytes\": %llu, \"tokens\": %llu, \"load_s\": %.4f, \"encode_s\": %.6f, \"decode_s\": %.6f}\n",
           (unsigned long long)sum.documents, (unsigned long long)sum.bytes, (unsigned long long)sum.tokens, load, sum.seconds,
           sum.decode_seconds);
    pv_free(&allocator, documents);
    pv_tokenizer_destroy(tokenizer);
    pv_source_close(source);
    return status == PV_OK && written ? 0 : 1;
}
