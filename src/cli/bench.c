/* Tokens per second. A test is one request: a prompt is timed from submission to the first token, an answer from its first
 * token to its last, so that each of its tokens is one decode step. Tokens are random ids, no text is involved. A depth is
 * filled beforehand and found in the prefix cache; what is not found of it (less than a page) is counted among the tokens that
 * ran. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TESTS 512
#define DEFAULT_PROMPT 512
#define DEFAULT_GENERATED 128
#define DEFAULT_REPETITIONS 5

typedef struct bench {
    const cli_settings *settings;
    const bench_format *format;
    bench_test tests[MAX_TESTS];
    size_t test_count;
    bool printed;
    uint64_t random;
    pv_engine *engine;
    uint32_t vocabulary;
    int32_t *tokens;
    bench_model model;
} bench;

/* ---- Which tests ---- */

static void add_test(bench *b, bench_test test)
{
    if (test.prompt + test.generated > 0 && b->test_count < MAX_TESTS) b->tests[b->test_count++] = test;
}

static cli_list or_one(const cli_list *list, uint32_t value)
{
    return list->count > 0 ? *list : (cli_list){.value = {value}, .count = 1};
}

static void choose_tests(bench *b)
{
    const cli_settings *s = b->settings;
    bool only_pairs = s->pairs.count > 0 && s->prompts.count == 0 && s->generations.count == 0;
    const cli_list prompts = or_one(&s->prompts, only_pairs ? 0 : DEFAULT_PROMPT);
    const cli_list generations = or_one(&s->generations, only_pairs ? 0 : DEFAULT_GENERATED);
    const cli_list depths = or_one(&s->depths, 0);
    for (size_t d = 0; d < depths.count; d++) {
        for (size_t i = 0; i < prompts.count; i++)
            add_test(b, (bench_test){.prompt = prompts.value[i], .depth = depths.value[d]});
        for (size_t i = 0; i < generations.count; i++)
            add_test(b, (bench_test){.generated = generations.value[i], .depth = depths.value[d]});
        for (size_t i = 0; i < s->pairs.count; i++)
            add_test(b, (bench_test){.prompt = s->pairs.value[i], .generated = s->pairs.second[i], .depth = depths.value[d]});
    }
}

/* Tokens that the largest test holds: one is made by the prompt itself, and one is the least that a prompt has. */
static uint32_t context_of(const bench *b)
{
    uint32_t most = 0;
    for (size_t i = 0; i < b->test_count; i++) {
        const bench_test *t = &b->tests[i];
        uint32_t given = t->depth + t->prompt > 0 ? t->depth + t->prompt : 1, tokens = given + t->generated + 1;
        if (tokens > most) most = tokens;
    }
    return most;
}

/* ---- One request ---- */

typedef struct timing {
    double first, last; /* seconds since the start */
    uint32_t tokens, reused;
} timing;

static int32_t random_token(bench *b)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((b->random >> 33) % b->vocabulary);
}

static void hear(const pv_event *event, double start, timing *t)
{
    if (event->kind == PV_EVENT_FAULT) cli_say("fault: %s", event->error.message);
    if (event->kind == PV_EVENT_TOKEN) {
        t->last = cli_seconds() - start;
        if (t->tokens++ == 0) t->first = t->last;
    }
    if (event->kind == PV_EVENT_FINISHED) t->reused = event->reused_tokens;
}

static pv_status time_request(bench *b, uint32_t prompt, uint32_t generated, timing *t, pv_error *error)
{
    pv_request_id id;
    const pv_request request = {.prompt = b->tokens, .prompt_length = prompt, .max_tokens = generated, .ignore_end = true};
    *t = (timing){0};
    double start = cli_seconds();
    pv_status status = pv_engine_submit(b->engine, &request, &id, error);
    for (bool ended = false; status == PV_OK && !ended;) {
        pv_event event;
        status = pv_engine_step(b->engine, 1000, NULL, error);
        while (pv_engine_next_event(b->engine, &event)) {
            hear(&event, start, t);
            if (event.kind != PV_EVENT_FINISHED) continue;
            ended = true;
            if (event.finish == PV_FINISH_ERROR && status == PV_OK) {
                *error = event.error;
                status = event.error.status;
            }
        }
    }
    return status;
}

/* ---- One test ---- */

/* Sets seconds, and the tokens that ran in them. */
static pv_status time_test(bench *b, const bench_test *test, double *seconds, double *tokens, pv_error *error)
{
    timing t;
    uint32_t prompt = test->depth + test->prompt, fresh = test->prompt;
    if (prompt == 0) prompt = fresh = 1; /* an answer needs something to follow */
    for (uint32_t i = prompt - fresh; i < prompt; i++) b->tokens[i] = random_token(b);
    pv_status status = time_request(b, prompt, test->generated + 1, &t, error);
    if (status != PV_OK) return status;
    double ran = prompt - t.reused, made = test->generated;
    *seconds = test->generated == 0 ? t.first : test->prompt == 0 ? t.last - t.first : t.last;
    *tokens = test->generated == 0 ? ran : test->prompt == 0 ? made : ran + made;
    return PV_OK;
}

static pv_status run_test(bench *b, const bench_test *test, bench_row *row, pv_error *error)
{
    timing unused;
    pv_status status = PV_OK;
    uint32_t repetitions = b->settings->repetitions != 0 ? b->settings->repetitions : DEFAULT_REPETITIONS;
    row->test = *test;
    row->count = 0;
    for (uint32_t i = 0; i < test->depth; i++) b->tokens[i] = random_token(b);
    if (test->depth > 0) status = time_request(b, test->depth, 1, &unused, error);
    if (status == PV_OK && !b->settings->no_warmup) {
        /* as much as makes plans, pages and caches warm; an answer's first tokens do */
        bench_test warm = *test;
        if (warm.generated > 4) warm.generated = 4;
        double seconds, tokens;
        status = time_test(b, &warm, &seconds, &tokens, error);
    }
    for (uint32_t i = 0; i < repetitions && status == PV_OK; i++) {
        double seconds, tokens;
        status = time_test(b, test, &seconds, &tokens, error);
        if (status != PV_OK) break;
        row->seconds[row->count] = seconds;
        row->rates[row->count++] = seconds > 0 ? tokens / seconds : 0;
    }
    return status;
}

/* ---- All tests with one number of threads ---- */

static void describe_layouts(bench *b, const cli_model *model)
{
    struct {
        char name[32];
        uint64_t bytes;
    } sums[32] = {0};
    pv_file *file;
    size_t count = 0, most = 0;
    if (pv_file_open(model->runtime, model->path, &file, NULL) != PV_OK) return;
    b->model.bytes = b->model.parameters = 0;
    for (size_t i = 0; i < pv_file_tensor_count(file); i++) {
        pv_tensor_info tensor;
        uint64_t elements = 1;
        size_t k = 0;
        if (pv_file_tensor(file, i, &tensor, NULL) != PV_OK) continue;
        for (uint32_t d = 0; d < tensor.dims; d++) elements *= tensor.dim[d];
        b->model.bytes += tensor.bytes;
        b->model.parameters += elements;
        while (k < count && strcmp(sums[k].name, tensor.layout) != 0) k++;
        if (k == CLI_COUNT(sums)) continue;
        if (k == count) strncpy(sums[count++].name, tensor.layout, sizeof sums[0].name - 1);
        sums[k].bytes += tensor.bytes;
        if (sums[k].bytes > sums[most].bytes) most = k;
    }
    memcpy(b->model.layout, sums[most].name, sizeof b->model.layout);
    pv_file_close(file);
}

static void describe_device(bench *b, const cli_model *model, uint32_t *threads)
{
    b->model.device = model->info.device;
    b->model.kernels = "";
    b->model.kv = b->settings->kv != NULL ? b->settings->kv : "f16";
    for (size_t i = 0; i < pv_device_count(model->runtime); i++) {
        pv_device_info info;
        if (pv_device_get_info(model->runtime, i, &info, NULL) != PV_OK || strcmp(info.id, model->info.device) != 0) continue;
        b->model.kernels = info.kernels;
        *threads = info.threads;
    }
}

/* What another device did is no figure of this one. */
static pv_status check_device(const cli_model *model, pv_error *error)
{
    pv_model_info info;
    const pv_status status = pv_model_get_info(model->model, &info, error);
    if (status != PV_OK || strcmp(info.device, model->info.device) == 0) return status;
    return cli_error(error, PV_DEVICE_LOST, "%s failed while it was measured, and %s took over", model->info.device, info.device);
}

static pv_status run_tests(bench *b, cli_model *model, bench_row *row, pv_error *error)
{
    uint32_t threads = 0;
    pv_status status = pv_engine_create(model->model, NULL, &b->engine, error);
    if (status != PV_OK) return status;
    b->model.path = b->settings->model;
    b->model.architecture = model->info.architecture;
    b->vocabulary = model->info.vocabulary;
    describe_layouts(b, model);
    describe_device(b, model, &threads);
    for (size_t i = 0; i < b->test_count && status == PV_OK; i++) {
        bench_test test = b->tests[i];
        test.threads = threads;
        status = run_test(b, &test, row, error);
        if (status == PV_OK) status = check_device(model, error);
        if (status != PV_OK) break;
        if (!b->printed && b->format->begin != NULL) b->format->begin(&b->model);
        b->format->row(&b->model, row, !b->printed);
        b->printed = true;
        if (!cli_flush()) status = cli_error(error, PV_IO, "the table cannot be written");
    }
    pv_engine_destroy(b->engine);
    b->engine = NULL;
    return status;
}

static pv_status load_and_run(bench *b, uint32_t threads, bench_row *row, pv_error *error)
{
    cli_model model;
    pv_model_options options;
    pv_status status = cli_model_options(b->settings, &options, error);
    options.context = context_of(b);
    if (status == PV_OK) status = cli_load(b->settings, &options, threads, &model, error);
    if (status != PV_OK) return status;
    status = run_tests(b, &model, row, error);
    cli_unload(&model);
    return status;
}

int cli_bench(const cli_settings *settings)
{
    pv_error error;
    pv_status status = PV_OK;
    cli_settings own = *settings;
    if (own.format == NULL && own.json) own.format = "json";
    bench *b = cli_alloc(1, sizeof *b);
    bench_row *row = cli_alloc(1, sizeof *row);
    b->settings = &own;
    b->format = bench_find_format(own.format);
    b->random = 1;
    choose_tests(b);
    b->tokens = cli_alloc(context_of(b), sizeof *b->tokens);
    const cli_list threads = or_one(&settings->thread_list, 0);
    if (b->test_count == 0) status = cli_error(&error, PV_INVALID_ARGUMENT, "bench: -p 0 and -n 0 leave nothing to measure");
    for (size_t i = 0; i < threads.count && status == PV_OK; i++) status = load_and_run(b, threads.value[i], row, &error);
    if (b->printed && b->format->end != NULL) b->format->end();
    /* An error is an object of its own where that leaves the output well-formed. */
    own.json = own.format != NULL && (strcmp(own.format, "jsonl") == 0 || (strcmp(own.format, "json") == 0 && !b->printed));
    int code = status == PV_OK ? CLI_DONE : cli_fail(&own, "bench", &error);
    free(b->tokens);
    free(row);
    free(b);
    return code;
}
