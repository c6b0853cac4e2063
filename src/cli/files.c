#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub.h"

bool hub_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

pv_status hub_system_error(pv_error *error, const char *what, const char *path)
{
    int code = errno;
    cli_error(error, code == ENOENT ? PV_NOT_FOUND : PV_IO, "cannot %s %s: %s", what, path, strerror(code));
    error->backend_code = code;
    return error->status;
}

pv_status hub_make_folders(const char *path, pv_error *error)
{
    char *copy = cli_format("%s", path);
    pv_status status = PV_OK;
    for (char *at = copy + 1; status == PV_OK; at++) {
        char kept = *at;
        if (kept != '/' && kept != '\0') continue;
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) status = hub_system_error(error, "make the folder", copy);
        *at = kept;
        if (kept == '\0') break;
    }
    free(copy);
    return status;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **hub_names_in(const char *folder, size_t *count)
{
    size_t capacity = 0;
    char **names = NULL;
    DIR *open = opendir(folder);
    *count = 0;
    if (open == NULL) return NULL;
    for (struct dirent *entry = readdir(open); entry != NULL; entry = readdir(open)) {
        if (entry->d_name[0] == '.') continue;
        names = cli_grow(names, &capacity, *count + 1, sizeof *names);
        names[(*count)++] = cli_format("%s", entry->d_name);
    }
    closedir(open);
    if (*count > 1) qsort(names, *count, sizeof *names, compare);
    return names;
}

void hub_free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) free(names[i]);
    free(names);
}

#define MAX_DEPTH 16

/* Calls for every entry below, contents before their folder; links are entries, not ways. */
static bool walk(const char *path, bool (*call)(void *user, const char *path, const struct stat *info), void *user, int depth)
{
    struct stat info;
    bool ok = true;
    if (lstat(path, &info) != 0) return false;
    if (S_ISDIR(info.st_mode) && depth < MAX_DEPTH) {
        DIR *open = opendir(path);
        if (open == NULL) return false;
        for (struct dirent *entry = readdir(open); entry != NULL; entry = readdir(open)) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
            char *below = cli_format("%s/%s", path, entry->d_name);
            ok = walk(below, call, user, depth + 1) && ok;
            free(below);
        }
        closedir(open);
    }
    return call(user, path, &info) && ok;
}

static bool remove_one(void *user, const char *path, const struct stat *info)
{
    (void)user;
    return (S_ISDIR(info->st_mode) ? rmdir(path) : unlink(path)) == 0;
}

bool hub_remove_all(const char *path)
{
    return walk(path, remove_one, NULL, 0);
}

static bool add_size(void *user, const char *path, const struct stat *info)
{
    uint64_t *sum = user;
    (void)path;
    if (S_ISREG(info->st_mode)) *sum += (uint64_t)info->st_size;
    return true;
}

uint64_t hub_size_of(const char *path)
{
    uint64_t sum = 0;
    walk(path, add_size, &sum, 0);
    return sum;
}
