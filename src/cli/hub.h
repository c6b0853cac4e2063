/* Models of the Hub in folders laid out as its own library does:
 * models--ORG--NAME/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<path> -> ../../blobs/<etag>}. */
#ifndef PENSIEVE_CLI_HUB_H
#define PENSIEVE_CLI_HUB_H

#include "cli.h"

#define HUB_MAX_NAME 96

typedef struct hub_name {
    char organisation[HUB_MAX_NAME + 1], name[HUB_MAX_NAME + 1], quant[HUB_MAX_NAME + 1], revision[HUB_MAX_NAME + 1];
} hub_name;

/* org/name[:QUANT][@REVISION]; false if the text is no such name. revision is "main" if none is given. */
bool hub_parse(const char *text, hub_name *name);
/* <hub>/models--ORG--NAME; the caller frees it. */
char *hub_folder(const char *hub, const hub_name *name);
/* The file or folder of a model in one of the caches; NULL if it is not there or not whole. The caller frees it. */
char *hub_find(const hub_name *name);
/* Fetches what is missing. Errors: PV_NOT_FOUND (no such model, no network, offline), PV_IO, PV_BAD_FILE (a file does not have
 * its SHA-256 after two tries), PV_UNSUPPORTED (built without libcurl). *path is the caller's to free. */
pv_status hub_pull(const cli_settings *settings, const hub_name *name, char **path, pv_error *error);

/* Of a repository's files (in the Hub's order), those that make up the model: keep[i] is set. Errors: PV_NOT_FOUND, with what
 * there is. */
pv_status hub_choose(const hub_name *name, char *const *files, size_t count, bool *keep, pv_error *error);
/* The path to load, out of a snapshot that holds the chosen files: a .gguf file or the folder; NULL if none. The caller frees
 * it. */
char *hub_model_in(const hub_name *name, const char *snapshot);

/* MODEL as a path; the caller frees it. Errors: those of hub_pull. */
pv_status hub_resolve(const cli_settings *settings, const char *model, char **path, pv_error *error);

/* PV_NOT_FOUND: nothing says where the cache is. */
pv_status hub_no_folder(pv_error *error);

/* files.c */
bool hub_exists(const char *path);
/* mkdir -p. Errors: PV_IO with errno. */
pv_status hub_make_folders(const char *path, pv_error *error);
/* Names in a folder, sorted; each and the array are the caller's to free. Empty if there is no such folder. */
char **hub_names_in(const char *folder, size_t *count);
void hub_free_names(char **names, size_t count);
/* Removes a folder and what is in it, following no links. False if something is left. */
bool hub_remove_all(const char *path);
uint64_t hub_size_of(const char *path);
pv_status hub_system_error(pv_error *error, const char *what, const char *path);

#endif
