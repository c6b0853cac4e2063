/* Reports, counts, and their reset: the public functions that hand them out. */
#include "executor/report.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "executor/executor.h"
#include "executor/trap.h"
#include "metal/metal.h"
#include "msl/msl.h"
#include "objc/object.h"

static const char *const names[SOFTMETAL_REPORT_KINDS] = {
#define NAME(name, text) #name,
    SOFTMETAL_REPORT_LIST(NAME)
#undef NAME
};

sm_counters sm_counts;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static softmetal_report *reports;
static size_t report_count, report_capacity;
static softmetal_kernel_counts *kernels;
static size_t kernel_count, kernel_capacity;
static uint32_t *kernel_table; /* by hash of the name: index + 1 */
static size_t kernel_slots;

const char *softmetal_report_name(softmetal_report_kind kind)
{
    return (unsigned)kind < SOFTMETAL_REPORT_KINDS ? names[kind] : "UNKNOWN";
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Equal in kind, kernel and lines; where there is no kernel, in the message. */
static bool equal(const softmetal_report *a, const softmetal_report *b)
{
    if (a->kind != b->kind || a->line != b->line || a->other_line != b->other_line || !same_text(a->kernel, b->kernel))
        return false;
    return (a->kernel != NULL && a->line != 0) || same_text(a->message, b->message);
}

static bool make_room(void **array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity) return true;
    const size_t more = *capacity == 0 ? 16 : 2 * *capacity;
    void *grown = realloc(*array, more * size);
    if (grown == NULL) return false;
    *array = grown;
    *capacity = more;
    return true;
}

static void add(const softmetal_report *report)
{
    const uint64_t count = report->count > 0 ? report->count : 1;
    for (size_t i = 0; i < report_count; i++) {
        if (!equal(&reports[i], report)) continue;
        reports[i].count += count;
        return;
    }
    if (!make_room((void **)&reports, &report_capacity, report_count, sizeof *reports)) return;
    softmetal_report copy = *report;
    copy.message = strdup(report->message != NULL ? report->message : "");
    copy.kernel = report->kernel != NULL ? strdup(report->kernel) : NULL;
    copy.count = count;
    if (copy.message == NULL || (report->kernel != NULL && copy.kernel == NULL)) {
        free((char *)copy.message);
        free((char *)copy.kernel);
        return;
    }
    reports[report_count++] = copy;
}

void sm_report(const softmetal_report *report)
{
    pthread_mutex_lock(&lock);
    add(report);
    pthread_mutex_unlock(&lock);
}

void sm_reportf(softmetal_report_kind kind, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *message = NULL;
    if (vasprintf(&message, format, arguments) < 0) message = NULL;
    va_end(arguments);
    const softmetal_report report = {.kind = kind,
                                     .message = message != NULL ? message : format,
                                     .thread = -1,
                                     .other_thread = -1,
                                     .threadgroup = -1,
                                     .other_threadgroup = -1};
    sm_report(&report);
    free(message);
}

size_t softmetal_report_count(void)
{
    sm_memory_report_touches();
    pthread_mutex_lock(&lock);
    const size_t count = report_count;
    pthread_mutex_unlock(&lock);
    return count;
}

bool softmetal_get_report(size_t index, softmetal_report *report)
{
    sm_memory_report_touches();
    pthread_mutex_lock(&lock);
    const bool there = index < report_count;
    if (there) *report = reports[index];
    pthread_mutex_unlock(&lock);
    return there;
}

/* ---- Counts -------------------------------------------------------------------------------------------------------- */

static bool grow_table(void)
{
    const size_t slots = kernel_slots == 0 ? 64 : 2 * kernel_slots;
    uint32_t *table = calloc(slots, sizeof *table);
    if (table == NULL) return false;
    for (size_t i = 0; i < kernel_count; i++) {
        size_t at = XXH3_64bits(kernels[i].kernel, strlen(kernels[i].kernel)) & (slots - 1);
        while (table[at] != 0) at = (at + 1) & (slots - 1);
        table[at] = (uint32_t)i + 1;
    }
    free(kernel_table);
    kernel_table = table;
    kernel_slots = slots;
    return true;
}

static softmetal_kernel_counts *find_kernel(const char *name)
{
    if (2 * kernel_count >= kernel_slots && !grow_table()) return NULL;
    size_t at = XXH3_64bits(name, strlen(name)) & (kernel_slots - 1);
    for (; kernel_table[at] != 0; at = (at + 1) & (kernel_slots - 1))
        if (strcmp(kernels[kernel_table[at] - 1].kernel, name) == 0) return &kernels[kernel_table[at] - 1];
    if (!make_room((void **)&kernels, &kernel_capacity, kernel_count, sizeof *kernels)) return NULL;
    char *copy = strdup(name);
    if (copy == NULL) return NULL;
    kernels[kernel_count] = (softmetal_kernel_counts){.kernel = copy};
    kernel_table[at] = (uint32_t)++kernel_count;
    return &kernels[kernel_count - 1];
}

void sm_counts_add(const softmetal_kernel_counts *run)
{
    atomic_fetch_add(&sm_counts.dispatches, run->dispatches);
    atomic_fetch_add(&sm_counts.threadgroups, run->threadgroups);
    atomic_fetch_add(&sm_counts.threads, run->threads);
    pthread_mutex_lock(&lock);
    softmetal_kernel_counts *sum = find_kernel(run->kernel);
    if (sum != NULL) {
        sum->dispatches += run->dispatches;
        sum->threadgroups += run->threadgroups;
        sum->threads += run->threads;
        sum->barriers += run->barriers;
        sum->simd_operations += run->simd_operations;
        for (int i = 0; i < SOFTMETAL_BUFFERS; i++) sum->loaded[i] += run->loaded[i], sum->stored[i] += run->stored[i];
        sum->threadgroup_loaded += run->threadgroup_loaded;
        sum->threadgroup_stored += run->threadgroup_stored;
    }
    pthread_mutex_unlock(&lock);
}

size_t softmetal_get_kernel_counts(softmetal_kernel_counts *counts, size_t capacity)
{
    pthread_mutex_lock(&lock);
    const size_t there = kernel_count;
    for (size_t i = 0; i < there && i < capacity; i++) counts[i] = kernels[i];
    pthread_mutex_unlock(&lock);
    return there;
}

static uint64_t messages_before, compiles_before, hits_before; /* the last reset */

static void all_counts(softmetal_counts *counts)
{
    *counts = (softmetal_counts){
        .messages = atomic_load(&sm_messages),
        .command_buffers = atomic_load(&sm_counts.command_buffers),
        .encoders = atomic_load(&sm_counts.encoders),
        .dispatches = atomic_load(&sm_counts.dispatches),
        .barriers = atomic_load(&sm_counts.barriers),
        .threadgroups = atomic_load(&sm_counts.threadgroups),
        .threads = atomic_load(&sm_counts.threads),
        .live_objects = sm_live_objects(),
        .live_buffer_bytes = atomic_load(&sm_counts.live_buffer_bytes),
        .buffers = atomic_load(&sm_counts.buffers),
    };
    sm_msl_counts(&counts->compiles, &counts->cache_hits);
}

void softmetal_get_counts(softmetal_counts *counts)
{
    all_counts(counts);
    pthread_mutex_lock(&lock);
    counts->messages -= messages_before;
    counts->compiles -= compiles_before;
    counts->cache_hits -= hits_before;
    pthread_mutex_unlock(&lock);
}

static void forget_counts(void)
{
    softmetal_counts now;
    all_counts(&now);
    messages_before = now.messages, compiles_before = now.compiles, hits_before = now.cache_hits;
    atomic_store(&sm_counts.command_buffers, 0);
    atomic_store(&sm_counts.encoders, 0);
    atomic_store(&sm_counts.barriers, 0);
    atomic_store(&sm_counts.dispatches, 0);
    atomic_store(&sm_counts.threadgroups, 0);
    atomic_store(&sm_counts.threads, 0);
}

void softmetal_reset(void)
{
    sm_memory_report_touches();
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < report_count; i++) free((char *)reports[i].message), free((char *)reports[i].kernel);
    for (size_t i = 0; i < kernel_count; i++) free((char *)kernels[i].kernel);
    free(reports), free(kernels), free(kernel_table);
    reports = NULL, kernels = NULL, kernel_table = NULL;
    report_count = report_capacity = kernel_count = kernel_capacity = kernel_slots = 0;
    forget_counts();
    pthread_mutex_unlock(&lock);
    sm_faults_reset();
}
