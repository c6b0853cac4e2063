/* MTLBinaryArchive. It holds which functions were compiled with which constants, by hash; the objects themselves are in the
 * cache that all processes share. So a hit or a miss is as on a Mac, and the file is small.
 *
 * The file: magic, number of keys, the keys, a hash of all before it. */
#include "metal/metal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

SM_STRING_CONSTANT(MTLBinaryArchiveDomain, SM_ARCHIVE_DOMAIN)

#define SM_ON "MTLBinaryArchive "
#define SM_MAGIC UINT64_C(0x31656c6946204d53) /* "SM File1" */
#define SM_MOST_KEYS (UINT64_C(1) << 20)

typedef struct sm_key {
    uint64_t words[2];
} sm_key;

typedef struct sm_archive {
    sm_base base;
    pthread_mutex_t mutex;
    sm_key *keys;
    size_t count;
} sm_archive;

static sm_archive *of(id self)
{
    return (sm_archive *)self;
}

static BOOL fail(id *error, int64_t code, const char *what, const char *path)
{
    id text = sm_string_createf("%s: %s", path, what);
    sm_error_set(error, SM_ARCHIVE_DOMAIN, code, text ? sm_string_utf8(text) : what);
    sm_release(text);
    return 0;
}

/* ---- Keys */

static bool has_locked(const sm_archive *archive, const uint64_t key[2])
{
    for (size_t i = 0; i < archive->count; i++) {
        if (memcmp(archive->keys[i].words, key, sizeof archive->keys[i].words) == 0) return true;
    }
    return false;
}

bool sm_archive_has(id given, const uint64_t key[2])
{
    sm_archive *archive = of(sm_expect_kind(given, &sm_archive_class, "MTLComputePipelineDescriptor binaryArchives"));
    if (!archive) return false;
    pthread_mutex_lock(&archive->mutex);
    bool found = has_locked(archive, key);
    pthread_mutex_unlock(&archive->mutex);
    return found;
}

static bool add(sm_archive *archive, const uint64_t key[2])
{
    pthread_mutex_lock(&archive->mutex);
    bool there = has_locked(archive, key);
    sm_key *keys = there ? NULL : sm_reallocate(archive->keys, (archive->count + 1) * sizeof *keys);
    if (keys) {
        archive->keys = keys;
        memcpy(keys[archive->count++].words, key, sizeof keys->words);
        there = true;
    }
    pthread_mutex_unlock(&archive->mutex);
    return there;
}

/* ---- Files */

static bool parse(sm_archive *archive, const uint64_t *words, size_t count)
{
    if (count < 3 || words[0] != SM_MAGIC || words[1] > SM_MOST_KEYS || count != 3 + 2 * words[1]) return false;
    if (XXH3_64bits(words, (count - 1) * sizeof *words) != words[count - 1]) return false;
    for (size_t i = 0; i < words[1]; i++) {
        if (!add(archive, words + 2 + 2 * i)) return false;
    }
    return true;
}

static bool load(sm_archive *archive, const char *path, id *error)
{
    size_t most = (3 + 2 * SM_MOST_KEYS) * sizeof(uint64_t);
    FILE *file = fopen(path, "rb");
    if (!file) return fail(error, SM_ARCHIVE_INVALID_FILE, strerror(errno), path);
    uint64_t *words = NULL;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    bool read = size > 0 && (size_t)size <= most && size % (long)sizeof *words == 0 && fseek(file, 0, SEEK_SET) == 0 &&
                (words = sm_allocate((size_t)size)) != NULL && fread(words, 1, (size_t)size, file) == (size_t)size;
    fclose(file);
    bool whole = read && parse(archive, words, (size_t)size / sizeof *words);
    free(words);
    return whole || fail(error, SM_ARCHIVE_INVALID_FILE, "the file is no binary archive of softmetal's, or damaged", path);
}

static uint64_t *compose(sm_archive *archive, size_t *count)
{
    pthread_mutex_lock(&archive->mutex);
    *count = 3 + 2 * archive->count;
    uint64_t *words = sm_allocate(*count * sizeof *words);
    if (words) {
        words[0] = SM_MAGIC;
        words[1] = archive->count;
        if (archive->count) memcpy(words + 2, archive->keys, archive->count * sizeof *archive->keys);
        words[*count - 1] = XXH3_64bits(words, (*count - 1) * sizeof *words);
    }
    pthread_mutex_unlock(&archive->mutex);
    return words;
}

static BOOL store(sm_archive *archive, const char *path, id *error)
{
    size_t count;
    char *fresh = NULL;
    uint64_t *words = compose(archive, &count);
    FILE *file = words && asprintf(&fresh, "%s.%ld", path, (long)getpid()) >= 0 ? fopen(fresh, "wb") : NULL;
    bool written = file && fwrite(words, sizeof *words, count, file) == count;
    if (file && fclose(file) != 0) written = false;
    free(words);
    if (written && rename(fresh, path) == 0) {
        free(fresh);
        return 1;
    }
    int reason = errno;
    if (file) unlink(fresh);
    free(fresh);
    return fail(error, SM_ARCHIVE_INTERNAL, strerror(reason), path);
}

/* ---- Archives */

id sm_archive_create(sm_device *device, id given, id *error)
{
    const char *method = "MTLDevice newBinaryArchiveWithDescriptor:error:";
    sm_archive_descriptor *descriptor = (sm_archive_descriptor *)sm_expect_kind(given, &sm_archive_descriptor_class, method);
    if (error) *error = NULL;
    if (!descriptor) {
        sm_misuse(method, "the descriptor is nil");
        fail(error, SM_ARCHIVE_INTERNAL, "the descriptor is nil", "archive");
        return NULL;
    }
    if (sm_fault_error(SOFTMETAL_FAULT_ARCHIVE, error)) return NULL;
    sm_archive *archive = of(sm_base_new(&sm_archive_class, device));
    if (!archive) return NULL;
    pthread_mutex_init(&archive->mutex, NULL);
    id url = sm_expect_kind(descriptor->url, &sm_url_class, method);
    const char *path = url ? sm_url_path(url) : NULL;
    if (!descriptor->url || (path && load(archive, path, error))) return (id)archive;
    if (!path) fail(error, SM_ARCHIVE_INVALID_FILE, "the URL is no path of a file", "archive");
    sm_release((id)archive);
    return NULL;
}

static void dealloc(id self)
{
    pthread_mutex_destroy(&of(self)->mutex);
    free(of(self)->keys);
    sm_base_dealloc(self);
}

static BOOL add_pipeline(id self, SEL cmd, id given, id *error)
{
    (void)cmd;
    const char *method = SM_ON "addComputePipelineFunctionsWithDescriptor:error:";
    if (error) *error = NULL;
    id descriptor = sm_expect_kind(given, &sm_pipeline_descriptor_class, method);
    id function = descriptor ? sm_descriptor_function(descriptor) : NULL;
    if (!function) {
        sm_misuse(method, "the descriptor%s is nil", descriptor ? "'s function" : "");
        return fail(error, SM_ARCHIVE_UNEXPECTED, "there is no function to add", "archive");
    }
    if (sm_fault_error(SOFTMETAL_FAULT_ARCHIVE, error)) return 0;
    id problem = NULL, pipeline = sm_pipeline_create(of(self)->base.device, function, descriptor, 0, NULL, &problem);
    if (!pipeline) return fail(error, SM_ARCHIVE_COMPILE, sm_error_text(problem), "archive");
    sm_release(pipeline);
    return add(of(self), ((sm_function *)function)->key) || fail(error, SM_ARCHIVE_INTERNAL, "there is no memory", "archive");
}

static BOOL add_function(id self, SEL cmd, id given, id library, id *error)
{
    (void)cmd;
    const char *method = SM_ON "addFunctionWithDescriptor:library:error:";
    if (error) *error = NULL;
    sm_function_descriptor *descriptor = (sm_function_descriptor *)sm_expect_kind(given, &sm_function_descriptor_class, method);
    library = sm_expect_kind(library, &sm_library_class, method);
    if (!descriptor || !library) {
        sm_misuse(method, "the %s is nil", descriptor ? "library" : "descriptor");
        return fail(error, SM_ARCHIVE_UNEXPECTED, "there is no function to add", "archive");
    }
    if (sm_fault_error(SOFTMETAL_FAULT_ARCHIVE, error)) return 0;
    id function = sm_function_create((sm_library *)library, descriptor->name, descriptor->constantValues,
                                     descriptor->specializedName, descriptor->options, error);
    BOOL added = function && add(of(self), ((sm_function *)function)->key);
    sm_release(function);
    return added;
}

static BOOL serialize(id self, SEL cmd, id url, id *error)
{
    (void)cmd;
    const char *method = SM_ON "serializeToURL:error:";
    if (error) *error = NULL;
    url = sm_expect_kind(url, &sm_url_class, method);
    const char *path = url ? sm_url_path(url) : NULL;
    if (!path) {
        sm_misuse(method, "the URL is nil, or no path of a file");
        return fail(error, SM_ARCHIVE_INTERNAL, "the URL is nil, or no path of a file", "archive");
    }
    if (sm_fault_error(SOFTMETAL_FAULT_ARCHIVE, error)) return 0;
    return store(of(self), path, error);
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("addComputePipelineFunctionsWithDescriptor:error:", "B@:@^@", add_pipeline),
    SM_METHOD("addFunctionWithDescriptor:library:error:", "B@:@@^@", add_function),
    SM_METHOD("serializeToURL:error:", "B@:@^@", serialize),
};
sm_class sm_archive_class = {.name = "SoftMTLBinaryArchive",
                             .protocol = "MTLBinaryArchive",
                             .size = sizeof(sm_archive),
                             .dealloc = dealloc,
                             SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_archive_class)

/* ---- MTLBinaryArchiveDescriptor */

SM_OBJECT_ACCESSORS(sm_archive_descriptor, url, sm_store)

static void descriptor_dealloc(id self)
{
    sm_release(get_url(self, NULL));
}

static id descriptor_copy(id self, SEL cmd)
{
    id made = sm_new(&sm_archive_descriptor_class);
    if (made) set_url(made, cmd, get_url(self, cmd));
    return made;
}

static const sm_method descriptor_methods[] = {
    SM_METHOD("copy", "@@:", descriptor_copy),
    SM_PROPERTY("url", "setUrl:", "@", url),
};
sm_class sm_archive_descriptor_class = {.name = "MTLBinaryArchiveDescriptor",
                                        .size = sizeof(sm_archive_descriptor),
                                        .dealloc = descriptor_dealloc,
                                        SM_METHODS(descriptor_methods)};
SM_REGISTER_AT_LOAD(sm_archive_descriptor_class)
