/* Measured tests and how they are printed. */
#ifndef PENSIEVE_CLI_BENCH_H
#define PENSIEVE_CLI_BENCH_H

#include "cli.h"

typedef struct bench_test {
    uint32_t prompt, generated, depth, threads;
} bench_test;

typedef struct bench_row {
    bench_test test;
    double seconds[1000], rates[1000]; /* of each repetition; rates in tokens/s */
    uint32_t count;
} bench_row;

/* What all rows of a run share. */
typedef struct bench_model {
    const char *path, *architecture, *device, *kernels, *kv;
    char layout[32]; /* that most of its bytes are in */
    uint64_t bytes, parameters;
} bench_model;

/* "pp512", "tg128", "pp512+tg128", each with " @ d4096" behind it if the context is not empty. */
void bench_name(const bench_test *test, char name[64]);

typedef struct bench_format {
    const char *name;
    void (*begin)(const bench_model *model);
    void (*row)(const bench_model *model, const bench_row *row, bool first);
    void (*end)(void);
} bench_format;

/* md, json, jsonl, csv; NULL takes md. */
const bench_format *bench_find_format(const char *name);

#endif
