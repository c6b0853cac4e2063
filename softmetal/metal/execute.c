/* Does what a command buffer holds, on its queue's thread. */
#include "metal/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sm_execution {
    sm_command_buffer *buffer;
    sm_device *device;
    NSUInteger type; /* of the open encoder */
    sm_pass_sample samples[SM_PASS_SAMPLES];
    uint64_t dispatches_left; /* until the fault */
    uint64_t random;
} sm_execution;

/* ---- Going wrong */

static bool fail(sm_execution *run, uint32_t encoder, int64_t code, const char *text)
{
    sm_outcome *outcome = &run->buffer->outcome;
    snprintf(outcome->domain, sizeof outcome->domain, "%s", SM_COMMAND_DOMAIN);
    outcome->code = code;
    snprintf(outcome->text, sizeof outcome->text, "%s", text);
    run->buffer->faulty = encoder;
    return false;
}

static bool fail_with(sm_execution *run, uint32_t encoder, int64_t code)
{
    return fail(run, encoder, code, sm_command_error_text(code));
}

static bool fail_result(sm_execution *run, const sm_command *command, sm_result result)
{
    switch (result) {
    case SM_OK: return true;
    case SM_TRAP:
    case SM_OUT_OF_BOUNDS: return fail_with(run, command->encoder, SM_COMMAND_PAGE_FAULT);
    case SM_DEADLOCK:
        return fail(run, command->encoder, SM_COMMAND_TIMEOUT,
                    "Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)");
    case SM_NO_MEMORY: return fail_with(run, command->encoder, SM_COMMAND_OUT_OF_MEMORY);
    case SM_INVALID: return fail_with(run, command->encoder, SM_COMMAND_INTERNAL);
    case SM_CANCELLED: return fail_with(run, command->encoder, SM_COMMAND_DEVICE_REMOVED);
    }
    return fail_with(run, command->encoder, SM_COMMAND_INTERNAL);
}

static bool refused(sm_execution *run, const sm_command *command)
{
    const sm_refused_command *is = (const sm_refused_command *)command;
    char text[sizeof run->buffer->outcome.text];
    snprintf(text, sizeof text, "%s: %.300s", sm_command_error_text(is->code), is->text);
    return fail(run, command->encoder, is->code, text);
}

/* ---- Order */

static void order(sm_execution *run)
{
    pthread_mutex_lock(&run->device->executing);
    sm_executor_order(run->device->executor);
    pthread_mutex_unlock(&run->device->executing);
}

/* ---- Dispatches */

/* Three counts of threadgroups, read when the GPU comes to them. */
static bool read_indirect(sm_execution *run, sm_dispatch_command *command)
{
    const uint8_t *at = command->indirect->memory.device + command->indirect_offset;
    uint32_t groups[3];
    memcpy(groups, at, sizeof groups);
    for (int i = 0; i < 3; i++) {
        uint64_t threads = (uint64_t)groups[i] * command->dispatch.group[i];
        if (threads <= UINT32_MAX) {
            command->dispatch.grid[i] = (uint32_t)threads;
            continue;
        }
        sm_misuse("MTLComputeCommandEncoder dispatchThreadgroupsWithIndirectBuffer:indirectBufferOffset:threadsPerThreadgroup:",
                  "kernel '%s': the buffer asks for %u threadgroups of %u threads along one axis, more than 2^32 threads",
                  command->pipeline->name, groups[i], command->dispatch.group[i]);
        return fail_with(run, command->head.encoder, SM_COMMAND_PAGE_FAULT);
    }
    return true;
}

static bool dispatch(sm_execution *run, sm_dispatch_command *command)
{
    if (sm_device_is_removed(run->device)) return fail_with(run, command->head.encoder, SM_COMMAND_DEVICE_REMOVED);
    if (run->dispatches_left == 0) {
        run->buffer->faulty = command->head.encoder;
        return false; /* the fault's own outcome stands */
    }
    run->dispatches_left--;
    if (command->indirect && !read_indirect(run, command)) return false;
    const uint32_t *grid = command->dispatch.grid;
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) return true; /* an indirect one may be empty */
    pthread_mutex_lock(&run->device->executing);
    command->dispatch.alone = run->type == SM_SERIAL;
    if (run->type == SM_SERIAL) sm_executor_order(run->device->executor);
    sm_result result = sm_executor_run(run->device->executor, &command->dispatch);
    pthread_mutex_unlock(&run->device->executing);
    return fail_result(run, &command->head, result);
}

static void barrier(sm_execution *run, const sm_command *command)
{
    const sm_barrier_command *is = (const sm_barrier_command *)command;
    pthread_mutex_lock(&run->device->executing);
    if (is->count == 0) sm_executor_order(run->device->executor);
    for (size_t i = 0; i < is->count; i++) sm_executor_order_memory(run->device->executor, &is->storages[i]->memory);
    pthread_mutex_unlock(&run->device->executing);
}

/* What barriers on resources order with a dispatch, wherever the shuffle has put it. */
static void order_for(sm_execution *run, const sm_command *first, const sm_dispatch_command *command)
{
    for (; first != &command->head; first = first->next) {
        size_t storage;
        if (first->kind != SM_BARRIER || !sm_barrier_is_for(first, command, &storage)) continue;
        pthread_mutex_lock(&run->device->executing);
        sm_executor_order_memory(run->device->executor, &((const sm_barrier_command *)first)->storages[storage]->memory);
        pthread_mutex_unlock(&run->device->executing);
    }
}

/* Dispatches with no barrier between them come in any order; a world that shuffles shows it. Leaves *at at what follows. */
static bool dispatches(sm_execution *run, sm_command **at)
{
    sm_command *first = *at, *end = NULL;
    sm_dispatch_command **list = NULL;
    bool shuffles = run->type == SM_CONCURRENT && run->device->world.shuffle;
    size_t count = shuffles ? sm_unordered(first, &end, &run->random, &list) : 0;
    *at = count ? end : first->next;
    bool worked = count || dispatch(run, (sm_dispatch_command *)first);
    for (size_t i = 0; i < count && worked; i++) {
        order_for(run, first, list[i]);
        worked = dispatch(run, list[i]);
    }
    for (; count && first != end; first = first->next) {
        if (first->kind == SM_BARRIER) barrier(run, first); /* for what comes later */
    }
    free(list);
    return worked;
}

/* ---- Copies */

static bool copy(sm_execution *run, const sm_command *command)
{
    const sm_copy_command *is = (const sm_copy_command *)command;
    if (sm_device_is_removed(run->device)) return fail_with(run, command->encoder, SM_COMMAND_DEVICE_REMOVED);
    uint8_t *to = is->to->memory.device + is->to_offset;
    pthread_mutex_lock(&run->device->executing);
    sm_executor_order(run->device->executor);
    if (command->kind == SM_FILL)
        memset(to, is->value, is->bytes);
    else if (command->kind == SM_RESOLVE)
        memcpy(to, is->samples->samples + is->from_offset * is->samples->words, is->bytes);
    else
        memmove(to, is->from->memory.device + is->from_offset, is->bytes);
    sm_memory_written(&is->to->memory, is->to_offset, is->bytes);
    sm_executor_order(run->device->executor);
    pthread_mutex_unlock(&run->device->executing);
    return true;
}

static void synchronize(const sm_copy_command *command)
{
    const sm_storage *storage = command->to;
    if (!storage->apart) return;
    memcpy(storage->memory.cpu + command->to_offset, storage->memory.device + command->to_offset, command->bytes);
}

/* ---- Encoders */

static void take_samples(const sm_execution *run, bool start)
{
    for (size_t i = 0; i < SM_PASS_SAMPLES; i++) {
        const sm_pass_sample *sample = &run->samples[i];
        NSUInteger index = start ? sample->start : sample->end;
        if (sample->buffer && index < sample->buffer->count) sm_sample_take(sample->buffer, index);
    }
}

static void begin(sm_execution *run, const sm_command *command)
{
    const sm_begin_command *is = (const sm_begin_command *)command;
    run->type = is->type;
    memcpy(run->samples, is->samples, sizeof run->samples);
    order(run); /* of the first encoder too: what runs before any order is not told from what was never run */
    take_samples(run, true);
}

static void end(sm_execution *run)
{
    take_samples(run, false);
    memset(run->samples, 0, sizeof run->samples);
    order(run);
}

static void sample(const sm_command *command)
{
    const sm_sample_command *is = (const sm_sample_command *)command;
    sm_sample_take(is->buffer, is->index);
}

static bool wait(sm_execution *run, const sm_event_command *command)
{
    switch (sm_event_wait(run->device, command->event, command->value)) {
    case SM_WAITED: break;
    case SM_WAIT_REMOVED: return fail_with(run, UINT32_MAX, SM_COMMAND_DEVICE_REMOVED);
    case SM_WAIT_TOO_LONG: return fail_with(run, UINT32_MAX, SM_COMMAND_TIMEOUT);
    }
    order(run);
    return true;
}

static bool step(sm_execution *run, sm_command **at)
{
    sm_command *command = *at;
    *at = command->next;
    switch (command->kind) {
    case SM_BEGIN: begin(run, command); return true;
    case SM_END: end(run); return true;
    case SM_DISPATCH: *at = command; return dispatches(run, at);
    case SM_BARRIER: barrier(run, command); return true;
    case SM_COPY:
    case SM_FILL:
    case SM_RESOLVE: return copy(run, command);
    case SM_SYNCHRONIZE: synchronize((const sm_copy_command *)command); return true;
    case SM_UPDATE_FENCE:
    case SM_WAIT_FENCE: order(run); return true;
    case SM_SAMPLE: sample(command); return true;
    case SM_SIGNAL:
        order(run);
        sm_event_signal(((sm_event_command *)command)->event, ((sm_event_command *)command)->value);
        return true;
    case SM_WAIT: return wait(run, (const sm_event_command *)command);
    case SM_REFUSED: return refused(run, command);
    }
    return true;
}

/* ---- The whole */

/* More memory than the device can keep resident is found out here, as on a Mac, and not when it is allocated. */
static bool fits(sm_execution *run)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->buffer->storages.count; i++)
        bytes += ((sm_storage *)run->buffer->storages.items[i])->memory.bytes;
    if (bytes <= run->device->world.working_set) return true;
    return fail_with(run, UINT32_MAX, SM_COMMAND_OUT_OF_MEMORY);
}

static bool meet_fate(sm_execution *run)
{
    sm_command_buffer *buffer = run->buffer;
    switch (buffer->fate) {
    case SM_WORKS: break;
    case SM_FAILS: return false;
    case SM_FAILS_HALFWAY: run->dispatches_left = buffer->dispatches / 2; break;
    case SM_HANGS:
        sm_events_working(-1);
        sm_hang();
        sm_events_working(1);
        return false;
    case SM_REMOVES: sm_device_remove(run->device); return false;
    }
    if (sm_device_is_removed(run->device)) return fail_with(run, UINT32_MAX, SM_COMMAND_DEVICE_REMOVED);
    if (buffer->broken) return fail_with(run, UINT32_MAX, SM_COMMAND_OUT_OF_MEMORY);
    return fits(run);
}

static void tell_encoders(sm_command_buffer *buffer, bool worked)
{
    for (size_t i = 0; i < buffer->info_count; i++) {
        sm_encoder_info *info = buffer->infos[i];
        if (worked || i < buffer->faulty)
            info->errorState = worked || buffer->faulty != UINT32_MAX ? SM_ENCODER_COMPLETED : SM_ENCODER_AFFECTED;
        else
            info->errorState = i == buffer->faulty ? SM_ENCODER_FAULTED : SM_ENCODER_PENDING;
    }
}

bool sm_execute(sm_command_buffer *buffer)
{
    sm_device *device = buffer->base.device;
    sm_execution run = {
        .buffer = buffer, .device = device, .dispatches_left = UINT64_MAX, .random = device->world.seed + buffer->dispatches};
    sm_events_working(1);
    bool worked = meet_fate(&run);
    for (sm_command *at = buffer->first; worked && at;) worked = step(&run, &at);
    if (worked && buffer->fate == SM_FAILS_HALFWAY) worked = false;
    if (worked && !sm_command_check_owners(buffer)) worked = fail_with(&run, UINT32_MAX, SM_COMMAND_INVALID_RESOURCE);
    order(&run);
    sm_events_working(-1);
    tell_encoders(buffer, worked);
    return worked;
}
