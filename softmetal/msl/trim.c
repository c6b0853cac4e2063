/* The cache does not grow without end: beyond $SOFTMETAL_CACHE_LIMIT (MiB, default 2048) what was not used for longest goes. */
#include "msl/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_LIMIT 2048 /* MiB */
#define YOUNG 60           /* seconds: another process may be about to open it */
#define ABANDONED 3600     /* seconds: the workspace of a process that died */

typedef struct sm_cached {
    char name[64];
    bool folder;
    uint64_t bytes;
    int64_t used; /* seconds */
} sm_cached;

typedef struct sm_listing {
    sm_cached *list;
    uint32_t count, capacity;
    uint64_t bytes;
} sm_listing;

static uint64_t limit(void)
{
    const char *own = getenv("SOFTMETAL_CACHE_LIMIT");
    uint64_t mib = own ? strtoull(own, NULL, 10) : 0;
    return (mib ? mib : DEFAULT_LIMIT) << 20;
}

static uint64_t folder_bytes(int parent, const char *name)
{
    uint64_t bytes = 0;
    int file = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = file < 0 ? NULL : fdopendir(file);
    struct dirent *entry;
    struct stat there;
    while (directory && (entry = readdir(directory))) {
        if (fstatat(dirfd(directory), entry->d_name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(there.st_mode))
            bytes += (uint64_t)there.st_size;
    }
    if (directory)
        closedir(directory);
    else if (file >= 0)
        close(file);
    return bytes;
}

/* Files, and folders of files and folders of files: shim-…/metal/simd is the deepest there is. */
static void remove_all(int parent, const char *name, int depth)
{
    int file = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = file < 0 ? NULL : fdopendir(file);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(directory), entry->d_name, 0) != 0 && depth > 0)
            remove_all(dirfd(directory), entry->d_name, depth - 1);
    }
    if (directory)
        closedir(directory);
    else if (file >= 0)
        close(file);
    unlinkat(parent, name, AT_REMOVEDIR);
}

static bool is_ours(const char *name, bool folder)
{
    size_t length = strlen(name);
    if (folder) return strncmp(name, "shim-", 5) == 0 || strncmp(name, "work-", 5) == 0;
    return length > 32 && strspn(name, "0123456789abcdef") == 32 && name[32] == '.';
}

static void list_entry(sm_listing *listing, int directory, const char *name)
{
    struct stat there;
    if (strlen(name) >= sizeof listing->list->name || fstatat(directory, name, &there, AT_SYMLINK_NOFOLLOW) != 0) return;
    bool folder = S_ISDIR(there.st_mode);
    if (!is_ours(name, folder) || !sm_grow(&listing->list, listing->count, &listing->capacity, sizeof *listing->list)) return;
    sm_cached *cached = &listing->list[listing->count++];
    *cached = (sm_cached){.folder = folder, .used = there.st_mtim.tv_sec};
    strcpy(cached->name, name);
    cached->bytes = folder ? folder_bytes(directory, name) : (uint64_t)there.st_size;
    listing->bytes += cached->bytes;
}

static int by_use(const void *left, const void *right)
{
    const sm_cached *a = left, *b = right;
    return (a->used > b->used) - (a->used < b->used);
}

void sm_cache_trim(const sm_cache *cache)
{
    sm_listing listing = {0};
    DIR *directory = opendir(cache->directory);
    const char *shim = strrchr(cache->shim, '/') + 1;
    struct dirent *entry;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    while (directory && (entry = readdir(directory))) list_entry(&listing, dirfd(directory), entry->d_name);
    qsort(listing.list, listing.count, sizeof *listing.list, by_use);
    uint64_t most = limit();
    for (uint32_t i = 0; i < listing.count; i++) {
        const sm_cached *cached = &listing.list[i];
        int64_t age = now.tv_sec - cached->used;
        bool workspace = cached->folder && strncmp(cached->name, "work-", 5) == 0;
        bool remove = workspace ? age > ABANDONED : listing.bytes > most && age > YOUNG && strcmp(cached->name, shim) != 0;
        if (!remove) continue;
        if (cached->folder)
            remove_all(dirfd(directory), cached->name, 3);
        else
            unlinkat(dirfd(directory), cached->name, 0);
        listing.bytes -= cached->bytes;
    }
    free(listing.list);
    if (directory) closedir(directory);
}
