/* Where recorded commands live, and what they keep alive. */
#include "metal/commands.h"

#include <stdlib.h>
#include <string.h>

#define SM_CHUNK 16384
#define SM_ALIGN 16

struct sm_chunk {
    struct sm_chunk *next;
    size_t used, size;
    _Alignas(SM_ALIGN) char bytes[];
};

void *sm_command_memory(sm_command_buffer *buffer, size_t bytes)
{
    bytes = (bytes + SM_ALIGN - 1) & ~(size_t)(SM_ALIGN - 1);
    sm_chunk *chunk = buffer->chunks;
    if (!chunk || bytes > chunk->size - chunk->used) {
        size_t size = bytes > SM_CHUNK ? bytes : SM_CHUNK;
        chunk = sm_allocate(sizeof *chunk + size);
        if (!chunk) {
            buffer->broken = true;
            return NULL;
        }
        chunk->size = size;
        chunk->next = buffer->chunks;
        buffer->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return memory;
}

void *sm_record(sm_command_buffer *buffer, sm_command_kind kind, uint32_t encoder, size_t bytes)
{
    sm_command *command = sm_command_memory(buffer, bytes);
    if (!command) return NULL;
    command->kind = kind;
    command->encoder = encoder;
    *buffer->end = command;
    buffer->end = &command->next;
    return command;
}

void sm_command_refuse(sm_command_buffer *buffer, uint32_t encoder, int64_t code, const char *text)
{
    size_t length = strlen(text);
    sm_refused_command *command = sm_record(buffer, SM_REFUSED, encoder, sizeof *command + length + 1);
    if (!command) return;
    command->code = code;
    memcpy(command->text, text, length + 1);
}

/* ---- Sets */

static size_t slot_of(const sm_set *set, const void *item)
{
    uint64_t hash = (uint64_t)(uintptr_t)item * UINT64_C(0x9E3779B97F4A7C15);
    size_t slot = (size_t)(hash >> 32) & (set->slot_count - 1);
    while (set->slots[slot] && set->items[set->slots[slot] - 1] != item) slot = (slot + 1) & (set->slot_count - 1);
    return slot;
}

static bool grow(sm_set *set)
{
    size_t capacity = set->capacity ? set->capacity * 2 : 16;
    void **items = sm_reallocate(set->items, capacity * sizeof *items);
    if (!items) return false;
    set->items = items;
    uint32_t *slots = sm_allocate((capacity * 2) * sizeof *slots);
    if (!slots) return false;
    free(set->slots);
    set->slots = slots;
    set->slot_count = capacity * 2;
    set->capacity = capacity;
    for (size_t i = 0; i < set->count; i++) set->slots[slot_of(set, set->items[i])] = (uint32_t)i + 1;
    return true;
}

int sm_set_add(sm_set *set, void *item)
{
    if (set->count == set->capacity && !grow(set)) return -1;
    size_t slot = slot_of(set, item);
    if (set->slots[slot]) return 0;
    set->items[set->count++] = item;
    set->slots[slot] = (uint32_t)set->count;
    return 1;
}

void sm_set_free(sm_set *set)
{
    free(set->items);
    free(set->slots);
    *set = (sm_set){0};
}

/* ---- What commands keep */

bool sm_command_retain(sm_command_buffer *buffer, id object)
{
    int added = object ? sm_set_add(&buffer->retained, object) : 0;
    if (added > 0) sm_retain(object);
    if (added < 0) buffer->broken = true;
    return added >= 0;
}

void sm_command_use(sm_command_buffer *buffer, sm_storage *storage)
{
    int added = sm_set_add(&buffer->storages, storage);
    if (added > 0) sm_storage_retain(storage);
    if (added < 0) buffer->broken = true;
}

bool sm_command_check_owners(const sm_command_buffer *buffer)
{
    bool held = true;
    for (size_t i = 0; i < buffer->retained.count && !buffer->retains; i++) {
        id object = buffer->retained.items[i];
        if (atomic_load(&object->references) > 1) continue;
        sm_misuse("MTLCommandBuffer commit",
                  "command buffer '%s' has unretained references, and %s '%s', which it uses, was released "
                  "before it completed",
                  sm_label_of((id)buffer, "without a label"), object->isa->protocol ? object->isa->protocol : object->isa->name,
                  sm_label_of(object, "without a label"));
        held = false;
    }
    return held;
}

void sm_command_buffer_clear(sm_command_buffer *buffer)
{
    for (size_t i = 0; i < buffer->retained.count; i++) sm_release(buffer->retained.items[i]);
    for (size_t i = 0; i < buffer->storages.count; i++) sm_storage_release(buffer->storages.items[i]);
    sm_set_free(&buffer->storages);
    sm_set_free(&buffer->retained);
    while (buffer->chunks) {
        sm_chunk *next = buffer->chunks->next;
        free(buffer->chunks);
        buffer->chunks = next;
    }
    buffer->first = NULL;
    buffer->end = &buffer->first;
}
