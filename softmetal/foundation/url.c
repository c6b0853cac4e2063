/* NSURL: file URLs, and others as text. */
#include "executor/executor.h"
#include "foundation/foundation.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct sm_url {
    sm_object object;
    id absolute; /* NSString */
    id path;     /* NSString, or NULL if the URL has none */
    bool is_file;
} sm_url;

static sm_url *as_url(id self)
{
    return (sm_url *)self;
}

/* ---- Percent encoding (RFC 3986) */

static bool needs_no_escape(unsigned char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte && strchr("-._~/!$&'()*+,=:@", byte));
}

static char *escape(const char *prefix, const char *path)
{
    static const char digits[] = "0123456789ABCDEF";
    char *text = sm_allocate(strlen(prefix) + 3 * strlen(path) + 1), *to = text;
    if (!text) return NULL;
    to = stpcpy(to, prefix);
    for (; *path; path++) {
        unsigned char byte = (unsigned char)*path;
        if (needs_no_escape(byte)) {
            *to++ = *path;
            continue;
        }
        *to++ = '%';
        *to++ = digits[byte >> 4];
        *to++ = digits[byte & 15];
    }
    return text;
}

static int hex(char digit)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF", *at = digit ? strchr(digits, digit) : NULL;
    return at ? (int)((at - digits) & 15) : -1;
}

/* NULL if a % is not followed by two digits. */
static char *unescape(const char *text, size_t length)
{
    char *path = sm_copy_bytes(text, length), *to = path;
    for (size_t i = 0; path && i < length; i++) {
        if (text[i] != '%') {
            *to++ = text[i];
            continue;
        }
        int high = i + 2 < length ? hex(text[i + 1]) : -1;
        int low = high >= 0 ? hex(text[i + 2]) : -1;
        if (low < 0) {
            free(path);
            return NULL;
        }
        *to++ = (char)(high << 4 | low);
        i += 2;
    }
    if (path) *to = '\0';
    return path;
}

/* ---- Making URLs */

static id give_up(id self)
{
    sm_release(self);
    return NULL;
}

/* Relative paths are those of the working folder. */
static char *absolute_path(const char *path)
{
    if (*path == '/') return sm_copy_bytes(path, strlen(path));
    char *folder = getcwd(NULL, 0);
    char *text = folder ? sm_allocate(strlen(folder) + strlen(path) + 2) : NULL;
    if (text) stpcpy(stpcpy(stpcpy(text, folder), "/"), path);
    free(folder);
    return text;
}

static id fill_path(id self, const char *path)
{
    char *full = absolute_path(path), *text = full ? escape("file://", full) : NULL;
    as_url(self)->path = full ? sm_string_create(full) : NULL;
    as_url(self)->absolute = text ? sm_string_create(text) : NULL;
    as_url(self)->is_file = true;
    free(full);
    free(text);
    return as_url(self)->path && as_url(self)->absolute ? self : give_up(self);
}

static size_t scheme_length(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return text[length] == ':' ? length : 0;
}

static id fill_text(id self, const char *text)
{
    size_t scheme = scheme_length(text);
    const char *path = text + (scheme > 0 ? scheme + 1 : 0);
    if (strncmp(path, "//", 2) == 0) path += 2 + strcspn(path + 2, "/?#");
    char *plain = unescape(path, strcspn(path, "?#"));
    if (!plain || text[strcspn(text, " <>\"{}|\\^`")]) {
        free(plain);
        return give_up(self);
    }
    as_url(self)->path = sm_string_create(plain);
    as_url(self)->absolute = sm_string_create(text);
    as_url(self)->is_file = scheme == 4 && strncmp(text, "file", 4) == 0;
    free(plain);
    return as_url(self)->path && as_url(self)->absolute ? self : give_up(self);
}

static const char *argument(SEL _cmd, id string)
{
    if (sm_is_kind(string, &sm_string_class)) return sm_string_utf8(string);
    sm_reportf(SOFTMETAL_VALIDATION, "[NSURL %s]: the argument is %s, and must be an NSString", sel_getName(_cmd),
               string ? object_getClassName(string) : "nil");
    return NULL;
}

static id init_path(id self, SEL _cmd, id path)
{
    const char *text = argument(_cmd, path);
    return text ? fill_path(self, text) : give_up(self);
}

static id init_string(id self, SEL _cmd, id string)
{
    const char *text = argument(_cmd, string);
    return text ? fill_text(self, text) : give_up(self);
}

static id with_path(id self, SEL _cmd, id path)
{
    id url = sm_new((Class)self);
    return url ? sm_autorelease(init_path(url, _cmd, path)) : NULL;
}

static id with_path_of_folder(id self, SEL _cmd, id path, BOOL is_folder)
{
    (void)is_folder;
    return with_path(self, _cmd, path);
}

static id with_string(id self, SEL _cmd, id string)
{
    id url = sm_new((Class)self);
    return url ? sm_autorelease(init_string(url, _cmd, string)) : NULL;
}

static void dealloc(id self)
{
    sm_release(as_url(self)->absolute);
    sm_release(as_url(self)->path);
}

/* ---- What it says */

static id path_of(id self, SEL _cmd)
{
    (void)_cmd;
    return as_url(self)->path;
}

static id absolute_string(id self, SEL _cmd)
{
    (void)_cmd;
    return as_url(self)->absolute;
}

static BOOL is_file_url(id self, SEL _cmd)
{
    (void)_cmd;
    return as_url(self)->is_file;
}

static const char *file_system_representation(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_string_utf8(as_url(self)->path);
}

static id last_path_component(id self, SEL _cmd)
{
    (void)_cmd;
    const char *path = sm_string_utf8(as_url(self)->path), *slash = path ? strrchr(path, '/') : NULL;
    return sm_autorelease(sm_string_create(slash && slash[1] ? slash + 1 : path));
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    (void)_cmd;
    return sm_is_kind(other, &sm_url_class) && sm_equal(as_url(self)->absolute, as_url(other)->absolute);
}

static NSUInteger hash(id self, SEL _cmd)
{
    id text = as_url(self)->absolute;
    IMP of_text = sm_implementation(text, "hash");
    return of_text ? ((NSUInteger(*)(id, SEL))of_text)(text, _cmd) : 0;
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_retain(self);
}

static const sm_method methods[] = {
    SM_METHOD("initFileURLWithPath:", "@@:@", init_path),
    SM_METHOD("initWithString:", "@@:@", init_string),
    SM_METHOD("path", "@@:", path_of),
    SM_METHOD("absoluteString", "@@:", absolute_string),
    SM_METHOD("isFileURL", "B@:", is_file_url),
    SM_METHOD("fileSystemRepresentation", "*@:", file_system_representation),
    SM_METHOD("lastPathComponent", "@@:", last_path_component),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", hash),
    SM_METHOD("description", "@@:", absolute_string),
    SM_METHOD("copy", "@@:", copy),
};

static const sm_method class_methods[] = {
    SM_METHOD("fileURLWithPath:", "@@:@", with_path),
    SM_METHOD("fileURLWithPath:isDirectory:", "@@:@B", with_path_of_folder),
    SM_METHOD("URLWithString:", "@@:@", with_string),
};

sm_class sm_url_class = {
    .name = "NSURL",
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_url),
    .dealloc = dealloc,
};
SM_REGISTER_AT_LOAD(sm_url_class)

/* ---- For the other parts */

id sm_url_create_path(const char *path)
{
    id url = path ? sm_new(&sm_url_class) : NULL;
    return url ? fill_path(url, path) : NULL;
}

const char *sm_url_path(id url)
{
    return url ? sm_string_utf8(as_url(url)->path) : NULL;
}
