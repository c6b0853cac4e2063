/* Selectors: one address for a name, for ever. */
#include "objc/memory.h"
#include "objc/runtime.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The address of `name` is the SEL. Malloc aligns it to 16, which the method caches rely on. */
typedef struct sm_selector_entry {
    struct sm_selector_entry *next;
    uint64_t hash;
    _Alignas(16) char name[];
} sm_selector_entry;

#define SM_SELECTOR_CHAINS 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sm_selector_entry *chains[SM_SELECTOR_CHAINS];

/* FNV-1a. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

static SEL find(const char *name, uint64_t hash)
{
    for (const sm_selector_entry *entry = chains[hash % SM_SELECTOR_CHAINS]; entry; entry = entry->next) {
        if (entry->hash == hash && strcmp(entry->name, name) == 0) return (SEL)(const void *)entry->name;
    }
    return NULL;
}

static SEL add(const char *name, uint64_t hash)
{
    size_t length = strlen(name) + 1;
    sm_selector_entry *entry = sm_allocate(sizeof *entry + length);
    if (!entry) return NULL;
    memcpy(entry->name, name, length);
    entry->hash = hash;
    entry->next = chains[hash % SM_SELECTOR_CHAINS];
    chains[hash % SM_SELECTOR_CHAINS] = entry;
    return (SEL)(const void *)entry->name;
}

SEL sel_registerName(const char *name)
{
    if (!name) return NULL;
    uint64_t hash = hash_name(name);
    pthread_mutex_lock(&lock);
    SEL selector = find(name, hash);
    if (!selector) selector = add(name, hash);
    pthread_mutex_unlock(&lock);
    return selector;
}

SEL sel_getUid(const char *name)
{
    return sel_registerName(name);
}

const char *sel_getName(SEL selector)
{
    return selector ? (const char *)selector : "<null selector>";
}

BOOL sel_isEqual(SEL one, SEL other)
{
    return one == other;
}

bool sm_is_selector(SEL selector)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t chain = 0; chain < SM_SELECTOR_CHAINS && !found; chain++) {
        const sm_selector_entry *entry = chains[chain];
        while (entry && (SEL)(const void *)entry->name != selector) entry = entry->next;
        found = entry != NULL;
    }
    pthread_mutex_unlock(&lock);
    return found;
}
