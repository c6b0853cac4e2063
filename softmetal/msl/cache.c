#include "msl/cache.h"

#include "msl/embedded.h"
#include "msl/headers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define TRIM_EVERY 64 /* stores of a process, from the first one on */

/* At the end of each entry. */
typedef struct sm_trailer {
    char magic[16];
    char key[32];
    uint64_t length; /* of what comes before */
    XXH128_hash_t hash;
} sm_trailer;

static const char magic[17] = "softmetal cache1";

static sm_cache_key key_of(XXH128_hash_t hash)
{
    sm_cache_key key;
    snprintf(key.text, sizeof key.text, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    return key;
}

sm_cache_key sm_cache_key_of(const sm_bytes *list, size_t count)
{
    /* Lengths are hashed too: "ab", "c" is not "a", "bc". */
    XXH128_hash_t hash = {0, 0};
    for (size_t i = 0; i < count; i++) {
        XXH128_hash_t parts[2] = {hash, XXH3_128bits(list[i].bytes, list[i].length)};
        hash = XXH3_128bits_withSeed(parts, sizeof parts, list[i].length);
    }
    return key_of(hash);
}

sm_cache_key sm_shim_key(void)
{
    XXH128_hash_t hash = {0, 0};
    for (const sm_embedded_file *file = sm_embedded; file->name; file++) {
        XXH128_hash_t parts[3] = {hash, XXH3_128bits(file->name, strlen(file->name)), XXH3_128bits(file->bytes, file->length)};
        hash = XXH3_128bits(parts, sizeof parts);
    }
    for (const char *const *name = sm_metal_headers; *name; name++)
        hash = XXH3_128bits_withSeed(*name, strlen(*name), hash.low64);
    return key_of(hash);
}

bool sm_file_write(const char *path, const char *bytes, size_t length)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return false;
    while (length) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            int error = errno;
            close(file);
            errno = error;
            return false;
        }
        bytes += written;
        length -= (size_t)written;
    }
    return close(file) == 0;
}

bool sm_file_read(const char *path, sm_text *bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    char block[65536];
    ssize_t got;
    while ((got = read(file, block, sizeof block)) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0) sm_text_add(bytes, block, (size_t)got);
    }
    close(file);
    sm_text_add(bytes, "", 0);
    return got == 0 && !bytes->failed;
}

static bool make_folders(char *path)
{
    for (char *slash = path + 1; *slash; slash++) {
        if (*slash != '/') continue;
        *slash = 0;
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made) return false;
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST;
}

static bool choose_directory(sm_cache *cache)
{
    const char *own = getenv("SOFTMETAL_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;
    if (own && own[0])
        length = snprintf(cache->directory, sizeof cache->directory, "%s", own);
    else if (xdg && xdg[0] == '/')
        length = snprintf(cache->directory, sizeof cache->directory, "%s/softmetal", xdg);
    else if (home && home[0] == '/')
        length = snprintf(cache->directory, sizeof cache->directory, "%s/.cache/softmetal", home);
    else
        length = snprintf(cache->directory, sizeof cache->directory, "/tmp/softmetal-%u", (unsigned)getuid());
    return length > 0 && (size_t)length < sizeof cache->directory - 256;
}

/* Written beside and renamed, so that another process never reads half of it. */
static bool put_header(const char *folder, const char *name, const void *bytes, size_t length)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    struct stat there;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
    if (stat(path, &there) == 0 && S_ISREG(there.st_mode) && (uint64_t)there.st_size == length) return true;
    static unsigned serial;
    unsigned number = __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED);
    if (snprintf(temporary, sizeof temporary, "%s.%ld.%u", path, (long)getpid(), number) >= (int)sizeof temporary) return false;
    for (char *slash = temporary + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(temporary, 0777);
        *slash = '/';
    }
    return sm_file_write(temporary, bytes, length) && rename(temporary, path) == 0;
}

static bool put_headers(sm_cache *cache)
{
    char folder[PATH_MAX];
    if (mkdir(cache->shim, 0777) != 0 && errno != EEXIST) return false;
    for (const sm_embedded_file *file = sm_embedded; file->name; file++) {
        if (!put_header(cache->shim, file->name, file->bytes, file->length)) return false;
    }
    snprintf(folder, sizeof folder, "%s/metal", cache->shim);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) return false;
    for (const char *const *name = sm_metal_headers; *name; name++) {
        if (!put_header(folder, *name, "", 0)) return false;
    }
    return true;
}

bool sm_cache_open(sm_cache *cache, sm_arena *arena, const char **error)
{
    sm_cache_key key = sm_shim_key();
    if (!choose_directory(cache)) {
        *error = "the path of the cache of compiled kernels is too long: set SOFTMETAL_CACHE to a shorter one";
        return false;
    }
    bool made = make_folders(cache->directory);
    /* The compilers run elsewhere: a relative path would lose its meaning. */
    char *absolute = made ? realpath(cache->directory, NULL) : NULL;
    if (absolute && strlen(absolute) < sizeof cache->directory)
        strcpy(cache->directory, absolute);
    else
        made = false;
    free(absolute);
    snprintf(cache->shim, sizeof cache->shim, "%s/shim-%.16s", cache->directory, key.text);
    if (made && put_headers(cache)) {
        utimensat(AT_FDCWD, cache->shim, NULL, 0);
        return true;
    }
    *error = sm_arena_printf(
        arena, "the cache of compiled kernels, %s, cannot be written: %s; set SOFTMETAL_CACHE to a folder that can be",
        cache->directory, strerror(errno));
    return false;
}

bool sm_workspace_create(const sm_cache *cache, sm_workspace *workspace, sm_arena *arena, const char **error)
{
    snprintf(workspace->path, sizeof workspace->path, "%s/work-XXXXXX", cache->directory);
    if (mkdtemp(workspace->path)) return true;
    *error = sm_arena_printf(arena, "no folder can be made in %s: %s", cache->directory, strerror(errno));
    return false;
}

static void remove_folder(const char *folder)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory) closedir(directory);
    rmdir(folder);
}

void sm_workspace_destroy(const sm_workspace *workspace)
{
    remove_folder(workspace->path);
}

static bool entry_path(const sm_cache *cache, const sm_cache_key *key, const char *suffix, char path[PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/%s%s", cache->directory, key->text, suffix) < PATH_MAX;
}

/* The bytes of the entry without its end, if they are what they were. */
static bool read_whole(const char *path, const sm_cache_key *key, sm_text *bytes)
{
    sm_trailer trailer;
    if (!sm_file_read(path, bytes) || bytes->length < sizeof trailer) return false;
    size_t length = bytes->length - sizeof trailer;
    memcpy(&trailer, bytes->bytes + length, sizeof trailer);
    bytes->length = length;
    bytes->bytes[length] = 0;
    return memcmp(trailer.magic, magic, sizeof trailer.magic) == 0 && memcmp(trailer.key, key->text, sizeof trailer.key) == 0 &&
           trailer.length == length && XXH128_isEqual(trailer.hash, XXH3_128bits(bytes->bytes, length));
}

bool sm_cache_read(const sm_cache *cache, const sm_cache_key *key, const char *suffix, sm_text *bytes)
{
    char path[PATH_MAX];
    if (!entry_path(cache, key, suffix, path) || access(path, F_OK) != 0) return false;
    if (read_whole(path, key, bytes)) {
        utimensat(AT_FDCWD, path, NULL, 0);
        return true;
    }
    bytes->length = 0;
    unlink(path);
    return false;
}

bool sm_cache_find(const sm_cache *cache, const sm_cache_key *key, const char *suffix, char path[PATH_MAX])
{
    sm_text bytes = {0};
    bool found = entry_path(cache, key, suffix, path) && sm_cache_read(cache, key, suffix, &bytes);
    sm_text_free(&bytes);
    return found;
}

bool sm_cache_store(const sm_cache *cache, const sm_cache_key *key, const char *suffix, const char *file)
{
    char path[PATH_MAX];
    sm_text bytes = {0};
    sm_trailer trailer = {0};
    bool ok = entry_path(cache, key, suffix, path) && sm_file_read(file, &bytes);
    if (ok) {
        memcpy(trailer.magic, magic, sizeof trailer.magic);
        memcpy(trailer.key, key->text, sizeof trailer.key);
        trailer.length = bytes.length;
        trailer.hash = XXH3_128bits(bytes.bytes, bytes.length);
        int end = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
        ok = end >= 0 && write(end, &trailer, sizeof trailer) == (ssize_t)sizeof trailer;
        if (end >= 0) ok = close(end) == 0 && ok;
        ok = ok && rename(file, path) == 0;
    }
    sm_text_free(&bytes);
    static unsigned stores;
    if (ok && __atomic_fetch_add(&stores, 1, __ATOMIC_RELAXED) % TRIM_EVERY == 0) sm_cache_trim(cache);
    return ok;
}

bool sm_cache_write(const sm_cache *cache, const sm_workspace *workspace, const sm_cache_key *key, const char *suffix,
                    const char *bytes, size_t length)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/entry%s", workspace->path, suffix) < (int)sizeof path &&
           sm_file_write(path, bytes, length) && sm_cache_store(cache, key, suffix, path);
}
