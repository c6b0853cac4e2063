#include "engine/pages.h"

#include <string.h>

#include <xxhash.h>

#include "base/alloc.h"

#define NONE (-1)

/* A page is in one of three states: free (users 0, no serial), in use (users > 0), cached (users 0, serial). */
typedef struct page {
    int32_t users;
    uint64_t serial, parent; /* serial 0: not published */
    int32_t next_in_bucket;
    int32_t older, newer;    /* among cached pages; `older` also links free pages */
    int32_t tokens[PV_PAGE_TOKENS];
} page;

struct pv_pages {
    const pv_allocator *allocator;
    page *page;
    int32_t *bucket;
    uint32_t count, bucket_count;
    int32_t first_free, oldest, newest;
    uint32_t free, cached;
    uint64_t next_serial;
};

pv_status pv_pages_create(const pv_allocator *allocator, uint32_t count, pv_pages **out, pv_error *error)
{
    uint32_t buckets = 64;
    while (buckets < count) buckets *= 2;
    pv_pages *pages = pv_calloc(allocator, 1, sizeof *pages);
    page *page_array = pv_calloc(allocator, count, sizeof *page_array);
    int32_t *bucket = pv_alloc(allocator, buckets, sizeof *bucket);
    if (pages == NULL || page_array == NULL || bucket == NULL) {
        pv_free(allocator, pages);
        pv_free(allocator, page_array);
        pv_free(allocator, bucket);
        return pv_fail_memory(error, count * sizeof(page), "pages of the KV cache");
    }
    *pages = (pv_pages){.allocator = allocator, .page = page_array, .bucket = bucket, .count = count, .bucket_count = buckets,
                        .first_free = NONE, .oldest = NONE, .newest = NONE, .next_serial = PV_ROOT_SERIAL + 1};
    for (uint32_t i = 0; i < buckets; i++) bucket[i] = NONE;
    for (uint32_t i = count; i-- > PV_NULL_PAGE + 1;) {
        page_array[i].older = pages->first_free;
        pages->first_free = (int32_t)i;
        pages->free++;
    }
    *out = pages;
    return PV_OK;
}

void pv_pages_destroy(pv_pages *pages)
{
    if (pages == NULL) return;
    const pv_allocator *allocator = pages->allocator;
    pv_free(allocator, pages->page);
    pv_free(allocator, pages->bucket);
    pv_free(allocator, pages);
}

static uint32_t bucket_of(const pv_pages *pages, uint64_t parent, const int32_t *tokens)
{
    return (uint32_t)(XXH3_64bits_withSeed(tokens, PV_PAGE_TOKENS * sizeof *tokens, parent) & (pages->bucket_count - 1));
}

static void unpublish(pv_pages *pages, int32_t number)
{
    page *p = &pages->page[number];
    int32_t *link = &pages->bucket[bucket_of(pages, p->parent, p->tokens)];
    while (*link != number) link = &pages->page[*link].next_in_bucket;
    *link = p->next_in_bucket;
    p->serial = 0;
}

static void leave_cached(pv_pages *pages, int32_t number)
{
    page *p = &pages->page[number];
    *(p->older != NONE ? &pages->page[p->older].newer : &pages->oldest) = p->newer;
    *(p->newer != NONE ? &pages->page[p->newer].older : &pages->newest) = p->older;
    pages->cached--;
}

static void enter_cached(pv_pages *pages, int32_t number)
{
    page *p = &pages->page[number];
    p->older = pages->newest;
    p->newer = NONE;
    *(pages->newest != NONE ? &pages->page[pages->newest].newer : &pages->oldest) = number;
    pages->newest = number;
    pages->cached++;
}

static void enter_free(pv_pages *pages, int32_t number)
{
    pages->page[number].older = pages->first_free;
    pages->first_free = number;
    pages->free++;
}

static void drop_oldest(pv_pages *pages)
{
    int32_t number = pages->oldest;
    leave_cached(pages, number);
    unpublish(pages, number);
    enter_free(pages, number);
}

int32_t pv_pages_take(pv_pages *pages)
{
    if (pages->first_free == NONE && pages->oldest != NONE) drop_oldest(pages);
    int32_t number = pages->first_free;
    if (number == NONE) return PV_NO_PAGE;
    pages->first_free = pages->page[number].older;
    pages->free--;
    pages->page[number].users = 1;
    return number;
}

void pv_pages_share(pv_pages *pages, int32_t number)
{
    page *p = &pages->page[number];
    if (p->users++ == 0) leave_cached(pages, number);
}

void pv_pages_release(pv_pages *pages, int32_t number)
{
    page *p = &pages->page[number];
    if (--p->users > 0) return;
    if (p->serial != 0)
        enter_cached(pages, number);
    else
        enter_free(pages, number);
}

int32_t pv_pages_find(const pv_pages *pages, uint64_t parent, const int32_t tokens[PV_PAGE_TOKENS], uint64_t *serial)
{
    int32_t number = pages->bucket[bucket_of(pages, parent, tokens)];
    for (; number != NONE; number = pages->page[number].next_in_bucket) {
        const page *p = &pages->page[number];
        if (p->parent != parent || memcmp(p->tokens, tokens, sizeof p->tokens) != 0) continue;
        *serial = p->serial;
        return number;
    }
    return PV_NO_PAGE;
}

uint64_t pv_pages_publish(pv_pages *pages, int32_t number, uint64_t parent, const int32_t tokens[PV_PAGE_TOKENS])
{
    uint64_t serial;
    if (pv_pages_find(pages, parent, tokens, &serial) != PV_NO_PAGE) return serial;
    page *p = &pages->page[number];
    if (p->serial != 0) return p->serial;
    uint32_t bucket = bucket_of(pages, parent, tokens);
    p->serial = pages->next_serial++;
    p->parent = parent;
    memcpy(p->tokens, tokens, sizeof p->tokens);
    p->next_in_bucket = pages->bucket[bucket];
    pages->bucket[bucket] = number;
    return p->serial;
}

void pv_pages_forget(pv_pages *pages)
{
    while (pages->oldest != NONE) drop_oldest(pages);
    for (uint32_t i = 0; i < pages->count; i++)
        if (pages->page[i].serial != 0) unpublish(pages, (int32_t)i);
}

uint32_t pv_pages_free(const pv_pages *pages)
{
    return pages->free;
}

uint32_t pv_pages_cached(const pv_pages *pages)
{
    return pages->cached;
}

uint32_t pv_pages_total(const pv_pages *pages)
{
    return pages->count - 1;
}
