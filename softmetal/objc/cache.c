/* Method caches: what objc_msgSend looks into before it asks. A class has one for plain results and one for results through a
 * pointer.
 *
 * Readers take no lock: a table is filled only where it was empty, implementation first, and is never freed (a grown one keeps
 * its predecessor), so that a reader always walks over whole buckets. At least one bucket at the end stays empty. */
#include "objc/memory.h"
#include "objc/runtime.h"

#include <stddef.h>

#define SM_CACHE_EMPTY ((SEL)1) /* not NULL, which a mistaken host may send */
#define SM_CACHE_FIRST 16       /* buckets */
#define SM_CACHE_REACH 8        /* a selector is at most so far from where its address says */

typedef struct sm_bucket {
    _Atomic(SEL) selector;
    _Atomic(IMP) implementation;
} sm_bucket;

struct sm_cache {
    uint64_t mask;            /* of a selector's address: (buckets - 1) * sizeof(sm_bucket) */
    struct sm_cache *smaller; /* or NULL */
    sm_bucket buckets[];
};

_Static_assert(offsetof(sm_object, magic) == SM_OBJECT_MAGIC, "layout.h");
_Static_assert(offsetof(sm_class, cache) == SM_CLASS_CACHE, "layout.h");
_Static_assert(offsetof(sm_class, struct_cache) == SM_CLASS_STRUCT_CACHE, "layout.h");
_Static_assert(offsetof(struct sm_cache, mask) == SM_CACHE_MASK, "layout.h");
_Static_assert(offsetof(struct sm_cache, buckets) == SM_CACHE_BUCKETS, "layout.h");
_Static_assert(sizeof(sm_bucket) == SM_BUCKET, "layout.h");

struct sm_cache sm_empty_cache = {0, NULL, {{SM_CACHE_EMPTY, NULL}}};

static struct sm_cache *create(size_t buckets)
{
    struct sm_cache *cache = sm_allocate(sizeof *cache + (buckets + SM_CACHE_REACH + 1) * sizeof(sm_bucket));
    if (!cache) return NULL;
    cache->mask = (buckets - 1) * sizeof(sm_bucket);
    for (size_t i = 0; i < buckets + SM_CACHE_REACH + 1; i++) atomic_init(&cache->buckets[i].selector, SM_CACHE_EMPTY);
    return cache;
}

static bool insert(struct sm_cache *cache, SEL selector, IMP implementation)
{
    sm_bucket *bucket = cache->buckets + ((uintptr_t)selector & cache->mask) / sizeof(sm_bucket);
    for (size_t i = 0; i < SM_CACHE_REACH; i++, bucket++) {
        SEL there = atomic_load_explicit(&bucket->selector, memory_order_relaxed);
        if (there == selector) return true;
        if (there != SM_CACHE_EMPTY) continue;
        atomic_store_explicit(&bucket->implementation, implementation, memory_order_relaxed);
        atomic_store_explicit(&bucket->selector, selector, memory_order_release);
        return true;
    }
    return false;
}

static size_t bucket_count(const struct sm_cache *cache)
{
    return cache->mask / sizeof(sm_bucket) + 1;
}

static bool copy(struct sm_cache *to, const struct sm_cache *from)
{
    for (size_t i = 0; i < bucket_count(from) + SM_CACHE_REACH; i++) {
        SEL selector = atomic_load_explicit(&from->buckets[i].selector, memory_order_relaxed);
        IMP implementation = atomic_load_explicit(&from->buckets[i].implementation, memory_order_relaxed);
        if (selector != SM_CACHE_EMPTY && !insert(to, selector, implementation)) return false;
    }
    return true;
}

/* A table of twice the size with all that the old one has; NULL if there is no memory. */
static struct sm_cache *grow(struct sm_cache *old)
{
    size_t buckets = old == &sm_empty_cache ? SM_CACHE_FIRST : 2 * bucket_count(old);
    struct sm_cache *cache = create(buckets);
    if (!cache) return NULL;
    cache->smaller = old;
    if (old == &sm_empty_cache || copy(cache, old)) return cache;
    /* Addresses that collide in all their low bits: twice again. The half-filled table stays reachable and is never read. */
    return grow(cache);
}

void sm_cache_method(Class class, SEL selector, IMP implementation, int send)
{
    _Atomic(struct sm_cache *) *place = send == SM_SEND_STRUCT ? &class->struct_cache : &class->cache;
    struct sm_cache *cache = atomic_load_explicit(place, memory_order_relaxed);
    while (cache == &sm_empty_cache || !insert(cache, selector, implementation)) {
        cache = grow(cache);
        if (!cache) return; /* it is looked up again next time */
    }
    atomic_store_explicit(place, cache, memory_order_release);
}

void sm_forget_methods(Class class)
{
    /* The old tables may still be read; they stay behind an empty one. */
    _Atomic(struct sm_cache *) *places[] = {&class->cache, &class->struct_cache};
    for (size_t i = 0; i < 2; i++) {
        struct sm_cache *old = atomic_load_explicit(places[i], memory_order_relaxed);
        if (old == &sm_empty_cache) continue;
        struct sm_cache *cache = create(bucket_count(old));
        if (cache) cache->smaller = old;
        atomic_store_explicit(places[i], cache ? cache : &sm_empty_cache, memory_order_release);
    }
}
