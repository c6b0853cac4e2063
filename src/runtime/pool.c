/* A slab is a run of blocks without holes, sorted by offset: free, live, or waiting for a fence. Neighbouring free blocks are
 * one. Everything that release and completed need is there since alloc: they cannot fail. */
#include "runtime/pool.h"

#include "base/alloc.h"
#include "base/checked.h"

#define ARENAS 4u
#define USUAL_SLAB (256ull << 20)
#define SMALLEST_SLAB (64ull << 10)
#define GRANULE 16u   /* bytes; the tiers of small ranges are its multiples */
#define STEPS_LOG2 4u /* 16 tiers in an octave */

typedef enum block_state { BLOCK_FREE, BLOCK_LIVE, BLOCK_WAITING } block_state;

typedef struct block {
    uint64_t offset, bytes;
    uint64_t asked; /* of a live block */
    pv_fence fence; /* of a waiting block */
    block_state state;
} block;

typedef struct slab {
    pv_buffer buffer;
    block *blocks;
    size_t count, capacity;
    bool apart; /* one range's own */
} slab;

typedef struct arena {
    slab **slabs; /* each stays where it is: ranges point to its buffer */
    size_t count, capacity;
    struct pv_arena_stats stats;
    size_t waiting_blocks;
} arena;

struct pv_pool {
    const pv_allocator *allocator;
    pv_backend_device *device;
    uint64_t usual_slab, max_buffer;
    uint64_t apart; /* ranges of this many bytes or more have slabs of their own; 0: none have */
    arena arenas[ARENAS];
    pv_fence completed;
    uint64_t held, peak;
};

/* ---- Tiers ----------------------------------------------------------------------------------------------------------- */

/* The tier of a size: the next multiple of a 16th of the largest power of two in it, so that less than a 16th is added;
 * below 256 bytes, the next multiple of 16. */
static bool tier_of(uint64_t bytes, uint64_t *tier)
{
    uint64_t octave = 63u - (unsigned)__builtin_clzll(bytes | 1);
    uint64_t step = octave > STEPS_LOG2 ? 1ull << (octave - STEPS_LOG2) : 1;
    return pv_align_u64(bytes, step > GRANULE ? step : GRANULE, tier);
}

/* ---- Blocks ---------------------------------------------------------------------------------------------------------- */

/* Where a block of `bytes` would begin in a free block; false if it does not fit. */
static bool fit(const block *free_block, uint64_t bytes, uint64_t alignment, uint64_t *offset)
{
    if (free_block->state != BLOCK_FREE || !pv_align_u64(free_block->offset, alignment, offset)) return false;
    uint64_t skipped = *offset - free_block->offset;
    return skipped <= free_block->bytes && bytes <= free_block->bytes - skipped;
}

/* The smallest free block that fits; ties: the first. */
static bool best_fit(const arena *a, uint64_t bytes, uint64_t alignment, slab **in, size_t *index)
{
    uint64_t best = UINT64_MAX, offset;
    bool found = false;
    for (size_t i = 0; i < a->count; i++) {
        const slab *s = a->slabs[i];
        for (size_t j = 0; j < s->count && !s->apart; j++) {
            if (s->blocks[j].bytes >= best || !fit(&s->blocks[j], bytes, alignment, &offset)) continue;
            best = s->blocks[j].bytes;
            *in = a->slabs[i];
            *index = j;
            found = true;
        }
    }
    return found;
}

/* An unused slab of a large range's that another may take without wasting more than an eighth. */
static bool best_apart(const arena *a, uint64_t tier, slab **in)
{
    uint64_t best = tier + tier / 8 + 1;
    *in = NULL;
    for (size_t i = 0; i < a->count; i++) {
        const slab *s = a->slabs[i];
        if (!s->apart || s->count != 1 || s->blocks[0].state != BLOCK_FREE || s->blocks[0].bytes < tier || s->blocks[0].bytes >= best) continue;
        best = s->blocks[0].bytes;
        *in = a->slabs[i];
    }
    return *in != NULL;
}

static void insert_block(slab *s, size_t index, block made)
{
    for (size_t i = s->count; i > index; i--) s->blocks[i] = s->blocks[i - 1];
    s->blocks[index] = made;
    s->count++;
}

static void remove_block(slab *s, size_t index)
{
    s->count--;
    for (size_t i = index; i < s->count; i++) s->blocks[i] = s->blocks[i + 1];
}

/* Cuts [offset, offset + bytes) out of the free block at `index`; there is room for two blocks more. */
static block *carve(slab *s, size_t index, uint64_t offset, uint64_t bytes)
{
    block whole = s->blocks[index];
    uint64_t before = offset - whole.offset, after = whole.bytes - before - bytes;
    if (before > 0) insert_block(s, index++, (block){.offset = whole.offset, .bytes = before});
    if (after > 0) insert_block(s, index + 1, (block){.offset = offset + bytes, .bytes = after});
    s->blocks[index] = (block){.offset = offset, .bytes = bytes, .state = BLOCK_LIVE};
    return &s->blocks[index];
}

static void free_block_at(slab *s, size_t index)
{
    s->blocks[index] = (block){.offset = s->blocks[index].offset, .bytes = s->blocks[index].bytes};
    if (index + 1 < s->count && s->blocks[index + 1].state == BLOCK_FREE) {
        s->blocks[index].bytes += s->blocks[index + 1].bytes;
        remove_block(s, index + 1);
    }
    if (index > 0 && s->blocks[index - 1].state == BLOCK_FREE) {
        s->blocks[index - 1].bytes += s->blocks[index].bytes;
        remove_block(s, index);
    }
}

/* The block that begins at `offset`; s->count if there is none. */
static size_t find_block(const slab *s, uint64_t offset)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->blocks[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->count && s->blocks[low].offset == offset ? low : s->count;
}

/* ---- Slabs ----------------------------------------------------------------------------------------------------------- */

static pv_status add_slab(pv_pool *pool, pv_memory kind, uint64_t bytes, pv_error *error)
{
    arena *a = &pool->arenas[kind];
    if (!pv_grow(pool->allocator, (void **)&a->slabs, &a->capacity, a->count + 1, sizeof *a->slabs))
        return pv_fail_memory(error, (a->count + 1) * sizeof *a->slabs, "the slabs of a memory pool");
    slab *made = pv_calloc(pool->allocator, 1, sizeof *made);
    if (!made || !pv_grow(pool->allocator, (void **)&made->blocks, &made->capacity, 1, sizeof *made->blocks)) {
        pv_free(pool->allocator, made);
        return pv_fail_memory(error, sizeof *made + sizeof *made->blocks, "a slab of a memory pool");
    }
    pv_status status = pool->device->backend->alloc(pool->device, kind, bytes, &made->buffer, error);
    if (status != PV_OK) {
        pv_free(pool->allocator, made->blocks);
        pv_free(pool->allocator, made);
        return status;
    }
    made->blocks[made->count++] = (block){.bytes = bytes};
    a->slabs[a->count++] = made;
    a->stats.slabs++;
    a->stats.held += bytes;
    pool->held += bytes;
    if (pool->held > pool->peak) pool->peak = pool->held;
    return PV_OK;
}

static void remove_slab(pv_pool *pool, arena *a, size_t index)
{
    slab *s = a->slabs[index];
    uint64_t bytes = s->blocks[s->count - 1].offset + s->blocks[s->count - 1].bytes;
    a->stats.slabs--;
    a->stats.held -= bytes;
    pool->held -= bytes;
    pool->device->backend->free(pool->device, &s->buffer);
    pv_free(pool->allocator, s->blocks);
    pv_free(pool->allocator, s);
    for (a->count--; index < a->count; index++) a->slabs[index] = a->slabs[index + 1];
}

/* Where large ranges stand apart, an arena grows by a quarter, so that small ones hold little that they do not use. */
static uint64_t slab_for(const pv_pool *pool, const arena *a, uint64_t bytes)
{
    uint64_t size = pool->usual_slab;
    if (pool->apart > 0 && bytes < pool->apart) {
        uint64_t shared = 0;
        for (size_t i = 0; i < a->count; i++) shared += a->slabs[i]->apart ? 0 : a->slabs[i]->buffer.bytes;
        const uint64_t grown = shared / 4 > SMALLEST_SLAB ? shared / 4 : SMALLEST_SLAB;
        if (grown < size) size = grown;
    } else if (pool->apart > 0) {
        size = bytes;
    }
    return bytes > size ? bytes : size;
}

/* A slab of the usual size, or of the request's own where that is larger. If the device has no room for it: unused slabs go
 * back, and the request gets what it needs and no more. */
static pv_status add_slab_for(pv_pool *pool, pv_memory kind, uint64_t bytes, pv_error *error)
{
    uint64_t usual = slab_for(pool, &pool->arenas[kind], bytes);
    pv_error first = {0};
    pv_status status = add_slab(pool, kind, usual, &first);
    if (status != PV_DEVICE_OUT_OF_MEMORY) {
        if (status != PV_OK && error) *error = first;
        return status;
    }
    uint64_t held = pool->held;
    pv_pool_trim(pool);
    if (pool->held == held && usual == bytes) {
        if (error) *error = first;
        return status;
    }
    return add_slab(pool, kind, bytes, error);
}

/* ---- The pool -------------------------------------------------------------------------------------------------------- */

pv_status pv_pool_create(const pv_allocator *allocator, pv_backend_device *device, uint64_t slab_bytes, pv_pool **pool,
                         pv_error *error)
{
    pv_pool *made = pv_calloc(allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a memory pool");
    uint64_t max_buffer = device->backend->describe(device)->max_buffer;
    made->allocator = allocator;
    made->device = device;
    made->max_buffer = max_buffer > 0 ? max_buffer : UINT64_MAX;
    made->usual_slab = slab_bytes > 0 ? slab_bytes : USUAL_SLAB;
    if (made->usual_slab > made->max_buffer) made->usual_slab = made->max_buffer;
    *pool = made;
    return PV_OK;
}

void pv_pool_keep_apart(pv_pool *pool, uint64_t bytes)
{
    pool->apart = bytes;
}

void pv_pool_destroy(pv_pool *pool)
{
    if (!pool) return;
    for (size_t i = 0; i < ARENAS; i++) {
        while (pool->arenas[i].count > 0) remove_slab(pool, &pool->arenas[i], pool->arenas[i].count - 1);
        pv_free(pool->allocator, pool->arenas[i].slabs);
    }
    pv_free(pool->allocator, pool);
}

static pv_status check_request(const pv_pool *pool, pv_memory kind, uint64_t bytes, uint64_t alignment, uint64_t *tier,
                               pv_error *error)
{
    if ((unsigned)kind >= ARENAS) return pv_fail(error, PV_INVALID_ARGUMENT, "memory kind %d of %u", (int)kind, ARENAS);
    if (bytes == 0) return pv_fail(error, PV_INVALID_ARGUMENT, "0 bytes of device memory asked for");
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
        return pv_fail(error, PV_INVALID_ARGUMENT, "alignment %llu is no power of two", (unsigned long long)alignment);
    if (!tier_of(bytes, tier)) *tier = UINT64_MAX;
    if (*tier > pool->max_buffer && bytes <= pool->max_buffer)
        *tier = bytes; /* what the device just takes is not refused for rounding */
    if (*tier <= pool->max_buffer) return PV_OK;
    return pv_fail(error, PV_DEVICE_OUT_OF_MEMORY, "%llu bytes asked for in one range; the device's largest buffer holds %llu",
                   (unsigned long long)bytes, (unsigned long long)pool->max_buffer);
}

pv_status pv_pool_reserve(pv_pool *pool, pv_memory kind, uint64_t bytes, pv_error *error)
{
    uint64_t tier;
    slab *in;
    size_t index;
    pv_status status = check_request(pool, kind, bytes, 1, &tier, error);
    if (status != PV_OK || best_fit(&pool->arenas[kind], tier, 1, &in, &index)) return status;
    return add_slab_for(pool, kind, tier, error);
}

pv_status pv_pool_alloc(pv_pool *pool, pv_memory kind, uint64_t bytes, uint64_t alignment, pv_range *range, pv_error *error)
{
    uint64_t tier, offset = 0;
    slab *in;
    size_t index;
    pv_status status = check_request(pool, kind, bytes, alignment, &tier, error);
    if (status != PV_OK) return status;
    arena *a = &pool->arenas[kind];
    const bool apart = pool->apart > 0 && tier >= pool->apart;
    index = 0;
    if (apart ? !best_apart(a, tier, &in) : !best_fit(a, tier, alignment, &in, &index)) {
        status = add_slab_for(pool, kind, tier, error);
        if (status != PV_OK) return status;
        in = a->slabs[a->count - 1];
        in->apart = apart;
        index = 0;
    }
    if (!pv_grow(pool->allocator, (void **)&in->blocks, &in->capacity, in->count + 2, sizeof *in->blocks))
        return pv_fail_memory(error, (in->count + 2) * sizeof *in->blocks, "the blocks of a memory pool");
    fit(&in->blocks[index], tier, alignment, &offset);
    carve(in, index, offset, tier)->asked = bytes;
    a->stats.live += bytes;
    a->stats.rounded += tier;
    *range = (pv_range){.buffer = &in->buffer, .offset = offset, .bytes = bytes, .held = tier};
    return PV_OK;
}

/* The slab whose buffer a range names. */
static slab *find_slab(pv_pool *pool, const pv_buffer *buffer, arena **of)
{
    for (size_t i = 0; i < ARENAS; i++) {
        *of = &pool->arenas[i];
        for (size_t j = 0; j < (*of)->count; j++) {
            if (&(*of)->slabs[j]->buffer == buffer) return (*of)->slabs[j];
        }
    }
    return NULL;
}

void pv_pool_release(pv_pool *pool, const pv_range *range, pv_fence fence)
{
    arena *a;
    slab *s = range->buffer != NULL ? find_slab(pool, range->buffer, &a) : NULL;
    size_t index = s != NULL ? find_block(s, range->offset) : 0;
    if (s == NULL || index == s->count || s->blocks[index].state != BLOCK_LIVE) return;
    block *b = &s->blocks[index];
    a->stats.live -= b->asked;
    a->stats.rounded -= b->bytes;
    if (fence <= pool->completed) {
        free_block_at(s, index);
        return;
    }
    b->state = BLOCK_WAITING;
    b->fence = fence;
    a->stats.waiting += b->bytes;
    a->waiting_blocks++;
}

static void complete_slab(arena *a, slab *s, pv_fence completed)
{
    for (size_t i = s->count; i-- > 0 && a->waiting_blocks > 0;) {
        if (s->blocks[i].state != BLOCK_WAITING || s->blocks[i].fence > completed) continue;
        a->stats.waiting -= s->blocks[i].bytes;
        a->waiting_blocks--;
        free_block_at(s, i);
    }
}

void pv_pool_completed(pv_pool *pool, pv_fence fence)
{
    if (fence > pool->completed) pool->completed = fence;
    for (size_t i = 0; i < ARENAS; i++) {
        arena *a = &pool->arenas[i];
        for (size_t j = 0; j < a->count && a->waiting_blocks > 0; j++) complete_slab(a, a->slabs[j], pool->completed);
    }
}

void pv_pool_trim(pv_pool *pool)
{
    for (size_t i = 0; i < ARENAS; i++) {
        arena *a = &pool->arenas[i];
        for (size_t j = a->count; j-- > 0;) {
            if (a->slabs[j]->count == 1 && a->slabs[j]->blocks[0].state == BLOCK_FREE) remove_slab(pool, a, j);
        }
    }
}

void pv_pool_get_stats(const pv_pool *pool, pv_pool_stats *stats)
{
    *stats = (pv_pool_stats){.peak = pool->peak};
    for (size_t i = 0; i < ARENAS; i++) stats->arena[i] = pool->arenas[i].stats;
}
