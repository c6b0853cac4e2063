/* What was found out while a dispatch ran, in words. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "executor/group.h"
#include "executor/image.h"

sm_finding sm_finding_new(const sm_worker *worker, softmetal_report_kind kind)
{
    return (sm_finding){
        .kind = kind,
        .thread = worker->lane,
        .other_thread = SM_NO_LANE,
        .group = worker->group_index,
        .other_group = UINT64_MAX,
        .buffer = -1,
        .slot = -1,
        .count = 1,
    };
}

static bool equal(const sm_finding *a, const sm_finding *b)
{
    return a->kind == b->kind && a->what == b->what && a->line == b->line && a->other_line == b->other_line && a->pc == b->pc &&
           a->other_pc == b->other_pc && a->buffer == b->buffer && a->slot == b->slot && a->other_kernel == b->other_kernel;
}

void sm_finding_add(sm_worker *worker, const sm_finding *finding)
{
    for (uint32_t i = 0; i < worker->finding_count; i++) {
        if (!equal(&worker->findings[i], finding)) continue;
        worker->findings[i].count++;
        return;
    }
    if (worker->finding_count < SM_FINDINGS) worker->findings[worker->finding_count++] = *finding;
}

/* ---- Words --------------------------------------------------------------------------------------------------------- */

typedef struct text {
    char bytes[768];
    size_t length;
} text;

__attribute__((format(printf, 2, 3))) static void say(text *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(t->bytes + t->length, sizeof t->bytes - t->length, format, arguments);
    va_end(arguments);
    if (length > 0) t->length += (size_t)length;
    if (t->length > sizeof t->bytes - 1) t->length = sizeof t->bytes - 1;
}

static const sm_argument *argument_of(const sm_kernel *kernel, uint32_t kind, uint32_t index)
{
    for (uint32_t i = 0; i < kernel->argument_count; i++)
        if (kernel->arguments[i].kind == kind && kernel->arguments[i].index == index) return &kernel->arguments[i];
    return NULL;
}

static void say_buffer(text *t, const sm_launch *job, int32_t index)
{
    const sm_argument *argument = argument_of(job->dispatch->kernel, SM_ARGUMENT_BUFFER, (uint32_t)index);
    const sm_memory *memory = job->dispatch->buffers[index].memory;
    say(t, "buffer %d", index);
    if (argument != NULL && argument->name != NULL) say(t, " ('%s')", argument->name);
    if (memory != NULL && memory->label != NULL) say(t, ", labelled '%s',", memory->label);
}

static void say_slot(text *t, const sm_worker *worker, int32_t slot)
{
    if (slot >= SM_BUFFERS) {
        say(t, "the threadgroup variable of line %u", worker->slots[slot].line);
        return;
    }
    const sm_argument *argument = argument_of(worker->job->dispatch->kernel, SM_ARGUMENT_THREADGROUP, (uint32_t)slot);
    say(t, "threadgroup argument %d", slot);
    if (argument != NULL && argument->name != NULL) say(t, " ('%s')", argument->name);
}

static void say_thread(text *t, uint32_t thread, uint64_t group)
{
    if (thread != SM_NO_LANE) say(t, " by thread %u", thread);
    if (group != UINT64_MAX) say(t, "%s threadgroup %llu", thread != SM_NO_LANE ? " of" : " in", (unsigned long long)group);
}

static void say_line(text *t, uint32_t line)
{
    if (line != 0) say(t, " in line %u", line);
}

static const char *access_name(uint32_t kind)
{
    static const char *const names[] = {"load", "store", "atomic operation", "atomic load", "atomic store"};
    return kind < sizeof names / sizeof *names ? names[kind] : "access";
}

static void say_place(text *t, const sm_worker *worker, const sm_finding *f)
{
    if (f->slot >= 0) {
        say_slot(t, worker, f->slot);
    } else if (f->buffer >= 0) {
        say_buffer(t, worker->job, f->buffer);
    } else {
        say(t, "memory that is not the kernel's");
        return;
    }
    say(t, " at byte %lld", (long long)f->offset);
}

static void say_access(text *t, const sm_worker *worker, const sm_finding *f)
{
    say(t, "%s of %llu bytes, ", access_name(f->access), (unsigned long long)f->size);
    say_place(t, worker, f);
    say_line(t, f->line);
    say_thread(t, f->thread, f->group);
}

static void say_collision(text *t, const sm_worker *worker, const sm_finding *f)
{
    say_access(t, worker, f);
    say(t, "; %s", access_name(f->other_access));
    if (f->other_kernel != NULL) say(t, " of kernel '%s', dispatched before without a barrier between,", f->other_kernel);
    say_line(t, f->other_line);
    say_thread(t, f->other_thread, f->other_group);
}

static void say_finding(text *t, const sm_worker *worker, const sm_finding *f)
{
    const sm_kernel *kernel = worker->job->dispatch->kernel;
    say(t, "%s: ", kernel->name);
    switch (f->what) {
    case SM_DIVERGENT_LANES:
        say(t, "%llu lanes of simdgroup %u reach the function of line %u", (unsigned long long)f->size, f->thread / SM_LANES,
            f->line);
        if (f->other_thread != SM_NO_LANE) say(t, " while thread %u waits in line %u", f->other_thread, f->other_line);
        say_thread(t, SM_NO_LANE, f->group);
        break;
    case SM_DIFFERENT_BARRIERS:
        say(t, "thread %u waits at the barrier of line %u and thread %u at that of line %u", f->thread, f->line,
            f->other_thread, f->other_line);
        say_thread(t, SM_NO_LANE, f->group);
        break;
    case SM_LEFT_BEFORE_BARRIER:
        say(t, "thread %u left the kernel without reaching the barrier of line %u, where %llu threads wait", f->other_thread,
            f->line, (unsigned long long)f->size);
        say_thread(t, SM_NO_LANE, f->group);
        break;
    case SM_BEHIND_THE_END:
        say(t, "something was stored behind the end of ");
        say_place(t, worker, f);
        say_thread(t, SM_NO_LANE, f->group);
        break;
    case SM_OUTSIDE:
        say(t, "out of bounds: ");
        say_access(t, worker, f);
        break;
    case SM_COLLISION: say_collision(t, worker, f); break;
    case SM_NOT_WRITTEN:
        say_access(t, worker, f);
        say(t, ", which nothing has written");
        break;
    case SM_TOO_MANY_BYTES:
        say(t, "%llu bytes of threadgroup memory are wanted by line %u; the device has %llu", (unsigned long long)f->size,
            f->line, (unsigned long long)worker->memory_limit);
        break;
    case SM_TOO_MANY_VARIABLES: say(t, "more than %u threadgroup variables in one kernel", SM_VARIABLES); break;
    }
}

static int64_t number_or_none(uint64_t number, uint64_t none)
{
    return number == none ? -1 : (int64_t)number;
}

static void report_finding(const sm_worker *worker, const sm_finding *f)
{
    text t = {.length = 0};
    say_finding(&t, worker, f);
    const softmetal_report report = {
        .kind = f->kind,
        .message = t.bytes,
        .kernel = worker->job->dispatch->kernel->name,
        .line = f->line,
        .other_line = f->other_line,
        .thread = number_or_none(f->thread, SM_NO_LANE),
        .other_thread = number_or_none(f->other_thread, SM_NO_LANE),
        .threadgroup = number_or_none(f->group, UINT64_MAX),
        .other_threadgroup = number_or_none(f->other_group, UINT64_MAX),
        .count = f->count,
    };
    sm_report(&report);
}

/* What was read too early, because it races with the store, is not told twice. */
static bool is_of_race(const sm_worker *worker, const sm_finding *f)
{
    if (f->kind != SOFTMETAL_UNINITIALISED_READ) return false;
    for (uint32_t i = 0; i < worker->finding_count; i++) {
        const sm_finding *race = &worker->findings[i];
        if (race->what == SM_COLLISION && race->slot == f->slot && race->buffer == f->buffer &&
            (race->line == f->line || race->other_line == f->line))
            return true;
    }
    return false;
}

#define SWAP(type, a, b)                                                                                                       \
    do {                                                                                                                       \
        const type swapped = a;                                                                                                \
        a = b, b = swapped;                                                                                                    \
    } while (0)

/* The same two lines collide in one order and in the other: told once, the upper line first. */
static void upper_first(sm_finding *f)
{
    if (f->what != SM_COLLISION || f->other_kernel != NULL || f->line <= f->other_line || f->other_line == 0) return;
    SWAP(uint32_t, f->line, f->other_line);
    SWAP(uint32_t, f->thread, f->other_thread);
    SWAP(uint64_t, f->group, f->other_group);
    SWAP(uint32_t, f->access, f->other_access);
}

void sm_findings_report(sm_worker *worker)
{
    uintptr_t pcs[2 * SM_FINDINGS];
    uint32_t lines[2 * SM_FINDINGS];
    const uint32_t count = worker->finding_count;
    for (uint32_t i = 0; i < count; i++) {
        const sm_finding *f = &worker->findings[i];
        pcs[2 * i] = f->pc;
        pcs[2 * i + 1] = f->other_image == worker->job->image ? f->other_pc : 0;
    }
    if (count > 0) sm_image_lines(worker->job->image, pcs, lines, 2 * (size_t)count);
    for (uint32_t i = 0; i < count; i++) {
        sm_finding *f = &worker->findings[i];
        if (f->pc != 0) f->line = lines[2 * i];
        if (f->other_pc != 0 && f->other_image == worker->job->image)
            f->other_line = lines[2 * i + 1];
        else if (f->other_pc != 0)
            sm_image_lines(f->other_image, &f->other_pc, &f->other_line, 1);
        upper_first(f);
    }
    for (uint32_t i = 0; i < count; i++)
        if (!is_of_race(worker, &worker->findings[i])) report_finding(worker, &worker->findings[i]);
    worker->finding_count = 0;
}

/* ---- Crashes ------------------------------------------------------------------------------------------------------- */

/* The buffer whose memory, or one of whose guards, the address lies in: the one that begins last, if several are of that
 * memory. */
static int32_t guarded_buffer(const sm_launch *job, uintptr_t address)
{
    int32_t found = -1;
    for (int32_t i = 0; i < SM_BUFFERS; i++) {
        const sm_binding *binding = &job->dispatch->buffers[i];
        const sm_memory *memory = binding->memory;
        if (memory == NULL || !sm_memory_guards(memory, address)) continue;
        if (found >= 0 && job->dispatch->buffers[found].offset > binding->offset) continue;
        found = i;
    }
    return found;
}

static void say_null(text *t, const sm_launch *job)
{
    const sm_kernel *kernel = job->dispatch->kernel;
    say(t, "a null pointer was used");
    for (uint32_t i = 0; i < kernel->argument_count; i++) {
        const sm_argument *argument = &kernel->arguments[i];
        if (argument->kind == SM_ARGUMENT_BUFFER && job->buffers[argument->index] == NULL)
            say(t, "; buffer %u ('%s') is not bound", argument->index, argument->name != NULL ? argument->name : "");
        if (argument->kind == SM_ARGUMENT_THREADGROUP && job->dispatch->threadgroup_bytes[argument->index] == 0)
            say(t, "; threadgroup argument %u ('%s') has no memory", argument->index,
                argument->name != NULL ? argument->name : "");
    }
}

/* Says what a signal was about. True if it was an access out of bounds. */
static bool say_signal(text *t, sm_worker *worker, sm_finding *f)
{
    const sm_crash *crash = &worker->crash;
    if (crash->signal == SIGFPE) {
        say(t, "an integer was divided by zero");
        return false;
    }
    if (crash->signal == SIGILL || crash->signal == SIGTRAP) {
        say(t, "it came to a place that the compiler holds for unreachable");
        return false;
    }
    if (crash->signal == SIGABRT) {
        say(t, "it called abort");
        return false;
    }
    f->buffer = guarded_buffer(worker->job, crash->address);
    const sm_slot *slot = sm_threadgroup_slot(worker, crash->address);
    if (f->buffer >= 0) {
        const sm_binding *binding = &worker->job->dispatch->buffers[f->buffer];
        f->offset = (int64_t)(crash->address - (uintptr_t)binding->memory->device - binding->offset);
        say(t, "out of bounds: ");
        say_buffer(t, worker->job, f->buffer);
        say(t, " has %llu bytes, and byte %lld was accessed", (unsigned long long)binding->length, (long long)f->offset);
        return true;
    }
    if (slot != NULL) {
        f->slot = (int32_t)(slot - worker->slots);
        f->offset = (int64_t)(crash->address - (uintptr_t)slot->base);
        say(t, "out of bounds: ");
        say_slot(t, worker, f->slot);
        say(t, " has %u bytes, and byte %lld was accessed", slot->size, (long long)f->offset);
        return true;
    }
    if (sm_worker_overflowed(worker, crash->address)) {
        say(t, "the thread's stack overflowed");
    } else if (crash->address < 1u << 16) {
        say_null(t, worker->job);
    } else {
        say(t, "it accessed memory that is not there");
    }
    return false;
}

void sm_crash_report(sm_worker *worker)
{
    const sm_crash *crash = &worker->crash;
    if (crash->end != SM_END_SIGNAL && crash->end != SM_END_TIME && crash->end != SM_END_DEADLOCK) return;
    sm_finding f = sm_finding_new(worker, SOFTMETAL_TRAP);
    f.thread = crash->lane;
    if (crash->pc != 0) sm_image_lines(worker->job->image, &crash->pc, &f.line, 1);
    text t = {.length = 0};
    say(&t, "%s: ", worker->job->dispatch->kernel->name);
    bool outside = false;
    if (crash->end == SM_END_SIGNAL) {
        outside = say_signal(&t, worker, &f);
    } else if (crash->end == SM_END_TIME) {
        say(&t, "it did not end in time");
    } else {
        say(&t, "no thread of the threadgroup can go on");
    }
    say_line(&t, f.line);
    say_thread(&t, f.thread, f.group);
    if (outside) worker->crash.end = SM_END_BOUNDS;
    const softmetal_report report = {
        .kind = outside ? SOFTMETAL_OUT_OF_BOUNDS : SOFTMETAL_TRAP,
        .message = t.bytes,
        .kernel = worker->job->dispatch->kernel->name,
        .line = f.line,
        .thread = f.thread,
        .other_thread = -1,
        .threadgroup = (int64_t)f.group,
        .other_threadgroup = -1,
    };
    sm_report(&report);
}
