/* Pages of one cache group: handed out, shared by prefix, and taken back.
 *
 * A full page may be published under its key, {the page before it, its 32 tokens}; whoever starts with the same tokens takes it instead
 * of computing it. Pages are counted; a published page that nobody uses stays as a cached prefix until its room is needed, least
 * recently used first. Pages are released last first, so that a prefix loses its end before its beginning. */
#ifndef PV_ENGINE_PAGES_H
#define PV_ENGINE_PAGES_H

#include "backend/kernel_args.h"
#include "base/error.h"

typedef struct pv_pages pv_pages;

#define PV_NO_PAGE (-1)

/* `count` pages, the null page included, which is never handed out. Errors: PV_OUT_OF_MEMORY. */
pv_status pv_pages_create(const pv_allocator *allocator, uint32_t count, pv_pages **pages, pv_error *error);
void pv_pages_destroy(pv_pages *pages);

/* A page for its first user, dropping cached prefixes if need be; PV_NO_PAGE if all are in use. */
int32_t pv_pages_take(pv_pages *pages);
/* One user more. */
void pv_pages_share(pv_pages *pages, int32_t page);
/* One user less. */
void pv_pages_release(pv_pages *pages, int32_t page);

/* Serial of what precedes a first page. Serials are never reused, so a key names its whole prefix exactly. */
#define PV_ROOT_SERIAL 0

/* Finds the page with this key; returns PV_NO_PAGE, or the page and its serial. Does not share it. */
int32_t pv_pages_find(const pv_pages *pages, uint64_t parent, const int32_t tokens[PV_PAGE_TOKENS], uint64_t *serial);
/* Publishes a full page; returns its serial, or that of the page that already has the key (which then stays the published one).
 * A page has one key: publishing it again changes nothing. */
uint64_t pv_pages_publish(pv_pages *pages, int32_t page, uint64_t parent, const int32_t tokens[PV_PAGE_TOKENS]);
/* Forgets every cached prefix; pages in use stay, but are not found any more. */
void pv_pages_forget(pv_pages *pages);

uint32_t pv_pages_free(const pv_pages *pages);   /* that hold nothing */
uint32_t pv_pages_cached(const pv_pages *pages); /* that hold prefixes that nobody uses */
uint32_t pv_pages_total(const pv_pages *pages);  /* without the null page */

#endif
