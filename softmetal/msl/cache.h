/* What was made before, on disk: $SOFTMETAL_CACHE, else $XDG_CACHE_HOME/softmetal, else ~/.cache/softmetal. Entries are written
 * under a temporary name and renamed; each ends with its length and hash, so that what is broken or foreign is noticed and made
 * anew. */
#ifndef SOFTMETAL_MSL_CACHE_H
#define SOFTMETAL_MSL_CACHE_H

#include "msl/text.h"

#include <limits.h>

/* A name in hexadecimal: the hash of all that an entry depends on. */
typedef struct sm_cache_key {
    char text[33];
} sm_cache_key;

typedef struct sm_cache {
    char directory[PATH_MAX - 128];
    char shim[PATH_MAX - 64]; /* the embedded headers, and metal/ with the empty ones */
} sm_cache;

/* A folder of one's own inside the cache. */
typedef struct sm_workspace {
    char path[PATH_MAX];
} sm_workspace;

/* Makes the folders and writes the headers. False: *error says what is wrong (in `arena`). */
bool sm_cache_open(sm_cache *cache, sm_arena *arena, const char **error);
bool sm_workspace_create(const sm_cache *cache, sm_workspace *workspace, sm_arena *arena, const char **error);
void sm_workspace_destroy(const sm_workspace *workspace);

/* Key of `count` strings of any bytes. */
typedef struct sm_bytes {
    const void *bytes;
    size_t length;
} sm_bytes;
sm_cache_key sm_cache_key_of(const sm_bytes *list, size_t count);
/* Changes with the headers. */
sm_cache_key sm_shim_key(void);

/* The path of an entry; true if it is there and whole (its time of use is renewed). A broken one is removed. */
bool sm_cache_find(const sm_cache *cache, const sm_cache_key *key, const char *suffix, char path[PATH_MAX]);
/* The bytes of an entry. */
bool sm_cache_read(const sm_cache *cache, const sm_cache_key *key, const char *suffix, sm_text *bytes);
/* Moves `file` (in a workspace) into the cache, with its end appended. False: errno. */
bool sm_cache_store(const sm_cache *cache, const sm_cache_key *key, const char *suffix, const char *file);
bool sm_cache_write(const sm_cache *cache, const sm_workspace *workspace, const sm_cache_key *key, const char *suffix,
                    const char *bytes, size_t length);

/* Removes what was not used for longest, down to the limit. Called now and then by what stores. */
void sm_cache_trim(const sm_cache *cache);

/* Whole files, for all of msl. */
bool sm_file_write(const char *path, const char *bytes, size_t length);
bool sm_file_read(const char *path, sm_text *bytes);

#endif
