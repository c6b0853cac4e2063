#include "text/template_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked.h"

/* ---- Arena ---- */

enum { ALIGNMENT = 16, FIRST_CHUNK = 8 << 10, LARGEST_SHARED = 256 << 10, OWN_CHUNK = 32 << 10 };

/* Allocations from OWN_CHUNK on have a chunk to themselves, so that they can be resized by the allocator. */
typedef struct tmpl_chunk {
    struct tmpl_chunk *previous, *next;
    size_t size;
    size_t unused; /* keeps what follows aligned */
} tmpl_chunk;

void tmpl_arena_init(tmpl_arena *arena, const pv_allocator *allocator, size_t limit)
{
    *arena = (tmpl_arena){.allocator = allocator, .limit = limit};
}

void tmpl_arena_free(tmpl_arena *arena)
{
    for (tmpl_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        pv_free(arena->allocator, chunk);
    }
    arena->chunks = NULL;
}

static tmpl_chunk *new_chunk(tmpl_arena *arena, size_t size)
{
    arena->over_limit = size > arena->limit - arena->total;
    if (arena->over_limit) return NULL;
    tmpl_chunk *chunk = pv_alloc(arena->allocator, 1, size);
    if (!chunk) return NULL;
    if (arena->steps) *arena->steps += size / TMPL_MEMORY_PER_STEP;
    *chunk = (tmpl_chunk){.next = arena->chunks, .size = size};
    if (arena->chunks) arena->chunks->previous = chunk;
    arena->chunks = chunk;
    arena->total += size;
    return chunk;
}

void *tmpl_arena_alloc(tmpl_arena *arena, size_t size)
{
    arena->over_limit = size > arena->limit;
    if (arena->over_limit) return NULL;
    size = (size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1);
    if (size >= OWN_CHUNK) {
        tmpl_chunk *own = new_chunk(arena, size + sizeof(tmpl_chunk));
        return own ? own + 1 : NULL;
    }
    if (size > (size_t)(arena->end - arena->at)) {
        /* Chunks grow with what is used, so that a small template costs little. */
        size_t wanted = pv_max_size(FIRST_CHUNK, pv_min_size(arena->total / 2, LARGEST_SHARED));
        wanted = pv_max_size((wanted + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1), size + sizeof(tmpl_chunk));
        tmpl_chunk *chunk = new_chunk(arena, wanted);
        if (!chunk) return NULL;
        arena->at = (char *)(chunk + 1);
        arena->end = (char *)chunk + wanted;
    }
    void *memory = arena->at;
    arena->at += size;
    return memory;
}

static void *grow_own_chunk(tmpl_arena *arena, void *pointer, size_t new_size)
{
    tmpl_chunk *chunk = (tmpl_chunk *)pointer - 1;
    size_t size = ((new_size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1)) + sizeof(tmpl_chunk);
    arena->over_limit = size > arena->limit - arena->total; /* old and new may exist at once */
    if (arena->over_limit) return NULL;
    size_t old_size = chunk->size;
    tmpl_chunk *moved = pv_resize(arena->allocator, chunk, 1, size);
    if (!moved) return NULL;
    if (arena->steps) *arena->steps += (size - old_size) / TMPL_MEMORY_PER_STEP;
    moved->size = size;
    if (moved->previous)
        moved->previous->next = moved;
    else
        arena->chunks = moved;
    if (moved->next) moved->next->previous = moved;
    arena->total += size - old_size;
    return moved + 1;
}

void *tmpl_arena_grow(tmpl_arena *arena, void *pointer, size_t old_size, size_t new_size)
{
    arena->over_limit = new_size > arena->limit;
    if (arena->over_limit) return NULL;
    size_t held = (old_size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1);
    if (pointer && new_size <= held) return pointer;
    if (pointer && held >= OWN_CHUNK) return grow_own_chunk(arena, pointer, new_size);
    if (pointer && (char *)pointer + held == arena->at && new_size < OWN_CHUNK) {
        size_t more = ((new_size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1)) - held;
        if (more <= (size_t)(arena->end - arena->at)) {
            arena->at += more;
            return pointer;
        }
    }
    void *memory = tmpl_arena_alloc(arena, new_size);
    if (memory && old_size) memcpy(memory, pointer, old_size);
    return memory;
}

/* ---- Failing ---- */

pv_status(tmpl_fail)(tmpl_run *run, const char *format, ...)
{
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t kept = pv_min_size(length < 0 ? 0 : (size_t)length, sizeof message - 1);
    message[pv_utf8_complete(message, kept)] = 0;
    return pv_fail_at(run->error, PV_BAD_TEMPLATE, "chat template", PV_NO_OFFSET, "line %u: %s", run->line, message);
}

pv_status tmpl_no_memory(tmpl_run *run)
{
    if (run->arena.over_limit)
        return tmpl_fail(run, "the template needs more than %u MiB of memory", PV_TEMPLATE_MAX_MEMORY >> 20);
    return pv_fail_memory(run->error, 0, "a chat template's values");
}

pv_status tmpl_too_long(tmpl_run *run)
{
    return tmpl_fail(run, "the template runs for more than %u steps", PV_TEMPLATE_MAX_STEPS);
}

pv_status tmpl_too_deep(tmpl_run *run)
{
    return tmpl_fail(run, "statements, expressions and filters nested deeper than %d", TMPL_MAX_DEPTH);
}

pv_status tmpl_use_undefined(tmpl_run *run, tmpl_value undefined)
{
    if (undefined.detail == TMPL_UNDEFINED_HINT) return tmpl_fail(run, "%s", undefined.hint);
    const char *object = tmpl_type_name(undefined.object), *name = undefined.string->data;
    int shown = tmpl_shown(undefined.string);
    switch (undefined.detail) {
    case TMPL_UNDEFINED_NAME: return tmpl_fail(run, "'%.*s' is undefined", shown, name);
    case TMPL_UNDEFINED_ATTRIBUTE: return tmpl_fail(run, "'%s object' has no attribute '%.*s'", object, shown, name);
    default: return tmpl_fail(run, "access to attribute '%.*s' of '%s' object is unsafe", shown, name, object);
    }
}

const char *tmpl_type_name(uint8_t type)
{
    static const char *const names[TMPL_TYPE_COUNT] = {
        [TMPL_MISSING] = "undefined",
        [TMPL_UNDEFINED] = "undefined",
        [TMPL_NONE] = "None",
        [TMPL_BOOL] = "bool",
        [TMPL_INT] = "int",
        [TMPL_BIGINT] = "int",
        [TMPL_FLOAT] = "float",
        [TMPL_STRING] = "str",
        [TMPL_LIST] = "list",
        [TMPL_TUPLE] = "tuple",
        [TMPL_DICT] = "dict",
        [TMPL_NAMESPACE] = "namespace",
        [TMPL_RANGE] = "range",
        [TMPL_VIEW] = "dict view",
        [TMPL_ITERATOR] = "generator",
        [TMPL_MACRO] = "macro",
        [TMPL_FUNCTION] = "function",
        [TMPL_METHOD] = "method",
        [TMPL_LOOP] = "loop",
    };
    return names[type];
}

/* ---- Lists ---- */

static pv_status reserve_list(tmpl_run *run, tmpl_list *list, size_t capacity)
{
    size_t bytes;
    run->arena.over_limit = true;
    if (!pv_mul_size(capacity, sizeof *list->items, &bytes)) return tmpl_no_memory(run);
    tmpl_value *items = tmpl_arena_grow(&run->arena, list->items, list->capacity * sizeof *items, bytes);
    if (!items) return tmpl_no_memory(run);
    list->items = items;
    list->capacity = capacity;
    return PV_OK;
}

pv_status tmpl_new_list(tmpl_run *run, uint8_t type, size_t capacity, tmpl_value *out)
{
    tmpl_list *list = tmpl_arena_alloc(&run->arena, sizeof *list);
    if (!list) return tmpl_no_memory(run);
    *list = (tmpl_list){0};
    *out = (tmpl_value){.type = type, .list = list};
    return capacity ? reserve_list(run, list, capacity) : PV_OK;
}

pv_status tmpl_list_add(tmpl_run *run, tmpl_list *list, tmpl_value value)
{
    pv_status status;
    if (list->count == list->capacity) {
        if ((status = reserve_list(run, list, list->capacity ? list->capacity * 2 : 4)) != PV_OK) return status;
    }
    list->items[list->count++] = value;
    return tmpl_charge(run, 1);
}

pv_status tmpl_new_pair(tmpl_run *run, tmpl_value first, tmpl_value second, tmpl_value *out)
{
    pv_status status = tmpl_new_list(run, TMPL_TUPLE, 2, out);
    if (status != PV_OK) return status;
    out->list->items[0] = first;
    out->list->items[1] = second;
    out->list->count = 2;
    return tmpl_charge(run, 1);
}

/* ---- Dictionaries ---- */

/* Equal values have equal hashes, across int, float and bool too. */
static uint64_t hash_integer(int64_t value)
{
    return (uint64_t)value * 0x9e3779b97f4a7c15u + 7;
}

static pv_status hash_nested(tmpl_run *run, tmpl_value value, int depth, uint64_t *hash, bool *hashable)
{
    pv_status status = tmpl_charge(run, 1);
    *hash = value.type;
    switch (value.type) {
    case TMPL_STRING:
        *hash = XXH3_64bits(value.string->data, value.string->length);
        return tmpl_charge_bytes(run, value.string->length);
    case TMPL_BOOL: *hash = hash_integer(value.boolean); break;
    case TMPL_INT: *hash = hash_integer(value.integer); break;
    case TMPL_FLOAT:
        if (value.real >= -9e18 && value.real <= 9e18 && value.real == (double)(int64_t)value.real)
            *hash = hash_integer((int64_t)value.real);
        break;
    case TMPL_LIST:
    case TMPL_DICT:
    case TMPL_VIEW: *hashable = false; break;
    case TMPL_TUPLE:
        if (depth == 0) return tmpl_fail(run, "a tuple nested too deep to be a key");
        for (size_t i = 0; i < value.list->count && status == PV_OK; i++) {
            uint64_t inner;
            status = hash_nested(run, value.list->items[i], depth - 1, &inner, hashable);
            *hash = *hash * 31 + inner;
        }
        break;
    default: break;
    }
    return status;
}

pv_status tmpl_hash(tmpl_run *run, tmpl_value value, uint64_t *hash, bool *hashable)
{
    *hashable = true;
    return hash_nested(run, value, TMPL_MAX_VALUE_DEPTH, hash, hashable);
}

static bool same_key(tmpl_run *run, tmpl_value a, tmpl_value b, pv_status *status)
{
    bool equal = false;
    *status = tmpl_equal(run, a, b, &equal);
    return equal;
}

/* The entry's number, or dict->count. Each probe is charged: colliding keys cost their finder. */
static pv_status find_entry(tmpl_run *run, const tmpl_dict *dict, tmpl_value key, uint64_t hash, size_t *entry)
{
    pv_status status = PV_OK;
    *entry = dict->count;
    if (!dict->index) {
        for (size_t i = 0; i < dict->count && status == PV_OK; i++) {
            if (dict->entries[i].hash == hash && same_key(run, dict->entries[i].key, key, &status)) {
                *entry = i;
                return status;
            }
        }
        return status;
    }
    size_t mask = dict->index_size - 1;
    for (size_t at = hash & mask; dict->index[at] && status == PV_OK; at = (at + 1) & mask) {
        size_t candidate = dict->index[at] - 1;
        if (dict->entries[candidate].hash == hash && same_key(run, dict->entries[candidate].key, key, &status)) {
            *entry = candidate;
            return status;
        }
        if (status == PV_OK) status = tmpl_charge(run, 1);
    }
    return status;
}

static pv_status build_index(tmpl_run *run, tmpl_dict *dict, size_t size)
{
    uint32_t *index = tmpl_arena_alloc(&run->arena, size * sizeof *index);
    if (!index) return tmpl_no_memory(run);
    memset(index, 0, size * sizeof *index);
    for (size_t i = 0; i < dict->count; i++) {
        size_t at = dict->entries[i].hash & (size - 1);
        while (index[at]) at = (at + 1) & (size - 1);
        index[at] = (uint32_t)i + 1;
    }
    dict->index = index;
    dict->index_size = size;
    return tmpl_charge(run, dict->count * 4);
}

pv_status tmpl_new_dict(tmpl_run *run, uint8_t type, tmpl_value *out)
{
    tmpl_dict *dict = tmpl_arena_alloc(&run->arena, sizeof *dict);
    if (!dict) return tmpl_no_memory(run);
    *dict = (tmpl_dict){0};
    *out = (tmpl_value){.type = type, .dict = dict};
    return PV_OK;
}

static pv_status add_entry(tmpl_run *run, tmpl_dict *dict, tmpl_entry entry)
{
    pv_status status;
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity ? dict->capacity * 2 : 4, size = sizeof *dict->entries;
        tmpl_entry *entries = tmpl_arena_grow(&run->arena, dict->entries, dict->capacity * size, capacity * size);
        if (!entries) return tmpl_no_memory(run);
        dict->entries = entries;
        dict->capacity = capacity;
        if (capacity > 8 && (status = build_index(run, dict, capacity * 2)) != PV_OK) return status;
    }
    dict->entries[dict->count++] = entry;
    if (dict->index) {
        size_t at = entry.hash & (dict->index_size - 1);
        while (dict->index[at]) at = (at + 1) & (dict->index_size - 1);
        dict->index[at] = (uint32_t)dict->count;
    }
    return tmpl_charge(run, 1);
}

pv_status tmpl_dict_set(tmpl_run *run, tmpl_dict *dict, tmpl_value key, tmpl_value value)
{
    uint64_t hash;
    bool hashable;
    size_t entry;
    pv_status status = tmpl_hash(run, key, &hash, &hashable);
    if (status != PV_OK) return status;
    if (!hashable) return tmpl_fail(run, "a %s cannot be a key", tmpl_type_name(key.type));
    if ((status = find_entry(run, dict, key, hash, &entry)) != PV_OK) return status;
    if (entry == dict->count) return add_entry(run, dict, (tmpl_entry){.key = key, .value = value, .hash = hash});
    dict->entries[entry].value = value;
    return PV_OK;
}

pv_status tmpl_dict_find(tmpl_run *run, const tmpl_dict *dict, tmpl_value key, tmpl_value **found, bool *hashable)
{
    uint64_t hash;
    size_t entry;
    *found = NULL;
    pv_status status = tmpl_hash(run, key, &hash, hashable);
    if (status != PV_OK || !*hashable) return status;
    if ((status = find_entry(run, dict, key, hash, &entry)) != PV_OK) return status;
    if (entry < dict->count) *found = &dict->entries[entry].value;
    return PV_OK;
}

static bool is_entry(const tmpl_entry *entry, uint64_t hash, const char *key, size_t length)
{
    return entry->hash == hash && entry->key.type == TMPL_STRING && entry->key.string->length == length &&
           memcmp(entry->key.string->data, key, length) == 0;
}

tmpl_value *tmpl_dict_get(tmpl_run *run, const tmpl_dict *dict, const char *key, size_t length)
{
    uint64_t hash = XXH3_64bits(key, length);
    if (!dict->index) {
        for (size_t i = 0; i < dict->count; i++) {
            if (is_entry(&dict->entries[i], hash, key, length)) return &dict->entries[i].value;
        }
        return NULL;
    }
    size_t mask = dict->index_size - 1;
    for (size_t at = hash & mask; dict->index[at]; at = (at + 1) & mask, run->steps++) {
        tmpl_entry *entry = &dict->entries[dict->index[at] - 1];
        if (is_entry(entry, hash, key, length)) return &entry->value;
    }
    return NULL;
}
