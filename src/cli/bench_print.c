#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_out.h"

void bench_name(const bench_test *test, char name[64])
{
    char depth[24] = "";
    if (test->depth > 0) snprintf(depth, sizeof depth, " @ d%u", test->depth);
    if (test->prompt > 0 && test->generated > 0)
        snprintf(name, 64, "pp%u+tg%u%s", test->prompt, test->generated, depth);
    else
        snprintf(name, 64, "%s%u%s", test->prompt > 0 ? "pp" : "tg", test->prompt > 0 ? test->prompt : test->generated, depth);
}

/* ---- Figures ---- */

static double mean(const double *samples, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += samples[i];
    return count > 0 ? sum / count : 0;
}

/* Of a sample: divided by count - 1. */
static double deviation(const double *samples, uint32_t count)
{
    double centre = mean(samples, count), sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += (samples[i] - centre) * (samples[i] - centre);
    return count > 1 ? sqrt(sum / (count - 1)) : 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *samples, uint32_t count)
{
    if (count == 0) return 0;
    double *sorted = cli_alloc(count, sizeof *sorted);
    memcpy(sorted, samples, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    double middle = count % 2 != 0 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
    free(sorted);
    return middle;
}

/* ---- md: llama-bench's columns ---- */

static void model_type(const bench_model *m, char out[96])
{
    double parameters = (double)m->parameters;
    bool billions = parameters >= 1e9;
    snprintf(out, 96, "%s %.*f%s %s", m->architecture, billions ? 1 : 0, parameters / (billions ? 1e9 : 1e6),
             billions ? "B" : "M", m->layout);
}

/* A column of its own, as llama-bench has for what is not the default. */
static bool shows_kv(const bench_model *m)
{
    return strcmp(m->kv, "f16") != 0;
}

static void begin_md(const bench_model *m)
{
    cli_printf("| %-30s | %10s | %10s | %-10s | %7s |%s %15s | %20s |\n", "model", "size", "params", "backend", "threads",
               shows_kv(m) ? "   kv |" : "", "test", "t/s");
    cli_printf("| ------------------------------ | ---------: | ---------: | ---------- | ------: |%s --------------: | "
               "-------------------: |\n", shows_kv(m) ? " ---: |" : "");
}

/* Two decimals, as llama-bench has it, unless the column has no room for them: ± has two bytes and one column. */
#define RATE_BYTES 21
static void rate_text(const bench_row *row, char out[64])
{
    const double middle = mean(row->rates, row->count), around = deviation(row->rates, row->count);
    if (snprintf(out, 64, "%.2f ± %.2f", middle, around) > RATE_BYTES) snprintf(out, 64, "%.0f ± %.0f", middle, around);
}

static void row_md(const bench_model *m, const bench_row *row, bool first)
{
    char type[96], name[64], parameters[32], rate[64], kv[32] = "";
    double n = (double)m->parameters;
    (void)first;
    model_type(m, type);
    bench_name(&row->test, name);
    snprintf(parameters, sizeof parameters, n >= 1e9 ? "%.2f B" : "%.2f M", n >= 1e9 ? n / 1e9 : n / 1e6);
    rate_text(row, rate);
    if (shows_kv(m)) snprintf(kv, sizeof kv, " %4s |", m->kv);
    cli_printf("| %-30s | %10s | %10s | %-10s | %7u |%s %15s | %*s |\n", type, cli_bytes_text(m->bytes), parameters, m->device,
               row->test.threads, kv, name, RATE_BYTES, rate);
}

/* ---- json, jsonl, csv: the same fields ---- */

static void add_samples(cli_json *json, const char *name, const double *samples, uint32_t count)
{
    cli_json_name(json, name);
    cli_json_open(json, '[');
    for (uint32_t i = 0; i < count; i++) cli_json_number(json, samples[i]);
    cli_json_close(json, ']');
}

static void add_fields(cli_json *json, const bench_model *m, const bench_row *row)
{
    char type[96], name[64];
    model_type(m, type);
    bench_name(&row->test, name);
    cli_json_text_member(json, "test", name);
    cli_json_text_member(json, "model_filename", m->path);
    cli_json_text_member(json, "model_type", type);
    cli_json_uint_member(json, "model_size", m->bytes);
    cli_json_uint_member(json, "model_n_params", m->parameters);
    cli_json_text_member(json, "device", m->device);
    cli_json_text_member(json, "kernels", m->kernels);
    cli_json_text_member(json, "kv", m->kv);
    cli_json_uint_member(json, "n_threads", row->test.threads);
    cli_json_uint_member(json, "n_prompt", row->test.prompt);
    cli_json_uint_member(json, "n_gen", row->test.generated);
    cli_json_uint_member(json, "n_depth", row->test.depth);
    cli_json_number_member(json, "avg_s", mean(row->seconds, row->count));
    cli_json_number_member(json, "stddev_s", deviation(row->seconds, row->count));
    cli_json_number_member(json, "avg_ts", mean(row->rates, row->count));
    cli_json_number_member(json, "stddev_ts", deviation(row->rates, row->count));
    cli_json_number_member(json, "median_ts", median(row->rates, row->count));
    add_samples(json, "samples_s", row->seconds, row->count);
    add_samples(json, "samples_ts", row->rates, row->count);
}

static void row_jsonl(const bench_model *m, const bench_row *row, bool first)
{
    (void)first;
    cli_json json = cli_json_start("bench");
    add_fields(&json, m, row);
    cli_json_print(&json);
}

static void begin_json(const bench_model *m)
{
    (void)m;
    cli_printf("{\"schema\": \"pensieve.bench/1\", \"rows\": [");
}

static void row_json(const bench_model *m, const bench_row *row, bool first)
{
    cli_json json = {0};
    cli_json_open(&json, '{');
    add_fields(&json, m, row);
    cli_json_close(&json, '}');
    cli_printf("%s\n  %s", first ? "" : ",", json.text.data);
    free(json.text.data);
}

static void end_json(void)
{
    cli_printf("\n]}\n");
}

/* RFC 4180: quotes around a text, doubled inside it. */
static void csv_text(const char *text)
{
    cli_print("\"", 1);
    for (; *text != '\0'; text++) {
        if (*text == '"') cli_print("\"", 1);
        cli_print(text, 1);
    }
    cli_print("\",", 2);
}

static void begin_csv(const bench_model *m)
{
    (void)m;
    cli_printf("test,model_filename,model_type,model_size,model_n_params,device,kernels,kv,n_threads,n_prompt,n_gen,n_depth,avg_s,"
               "stddev_s,"
               "avg_ts,stddev_ts,median_ts\n");
}

static void row_csv(const bench_model *m, const bench_row *row, bool first)
{
    char type[96], name[64];
    (void)first;
    model_type(m, type);
    bench_name(&row->test, name);
    csv_text(name);
    csv_text(m->path);
    csv_text(type);
    cli_printf("%llu,%llu,", (unsigned long long)m->bytes, (unsigned long long)m->parameters);
    csv_text(m->device);
    csv_text(m->kernels);
    csv_text(m->kv);
    cli_printf("%u,%u,%u,%u,%.9g,%.9g,%.9g,%.9g,%.9g\n", row->test.threads, row->test.prompt, row->test.generated,
               row->test.depth, mean(row->seconds, row->count), deviation(row->seconds, row->count),
               mean(row->rates, row->count), deviation(row->rates, row->count), median(row->rates, row->count));
}

static const bench_format formats[] = {
    {"md", begin_md, row_md, NULL},
    {"json", begin_json, row_json, end_json},
    {"jsonl", NULL, row_jsonl, NULL},
    {"csv", begin_csv, row_csv, NULL},
};

const bench_format *bench_find_format(const char *name)
{
    for (size_t i = 0; name != NULL && i < CLI_COUNT(formats); i++)
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    return &formats[0];
}
