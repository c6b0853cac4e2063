#include "hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- Names ---- */

static bool is_plain(char c, const char *others)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || (c != '\0' && strchr(others, c) != NULL);
}

/* Moves past a part of plain characters; false if it is empty, too long, or could leave its folder. */
static bool take_part(const char **at, const char *others, char out[HUB_MAX_NAME + 1])
{
    size_t length = 0;
    while (is_plain((*at)[length], others)) length++;
    if (length == 0 || length > HUB_MAX_NAME || (*at)[0] == '.' || (*at)[0] == '-' || (*at)[0] == '/') return false;
    memcpy(out, *at, length);
    out[length] = '\0';
    *at += length;
    return strstr(out, "..") == NULL && strstr(out, "//") == NULL && out[length - 1] != '/';
}

bool hub_parse(const char *text, hub_name *name)
{
    *name = (hub_name){.revision = "main"};
    if (!take_part(&text, "._-", name->organisation) || *text++ != '/' || !take_part(&text, "._-", name->name)) return false;
    if (strstr(name->organisation, "--") != NULL || strstr(name->name, "--") != NULL) return false;
    if (cli_ends_with(name->name, ".gguf") || cli_ends_with(name->name, ".safetensors")) return false; /* a file that is not there */
    if (*text == ':' && (text++, !take_part(&text, "._-", name->quant))) return false;
    if (*text == '@' && (text++, !take_part(&text, "._-/", name->revision))) return false;
    return *text == '\0';
}

pv_status hub_no_folder(pv_error *error)
{
    return cli_error(error, PV_NOT_FOUND, "there is no folder for models: set PENSIEVE_CACHE or HOME");
}

char *hub_folder(const char *hub, const hub_name *name)
{
    return cli_format("%s/models--%s--%s", hub, name->organisation, name->name);
}

/* ---- Choosing files ---- */

static bool is_weights(const char *file, const char *extension)
{
    return cli_ends_with(file, extension) && strchr(file, '/') == NULL && file[0] != '.';
}

/* Is there "-00001-of-00003" in the name? Sets how many parts there are. */
static bool is_part(const char *file, unsigned *parts)
{
    unsigned part;
    for (const char *at = strstr(file, "-of-"); at != NULL; at = strstr(at + 1, "-of-"))
        if (at - file >= 6 && sscanf(at - 6, "-%5u-of-%5u", &part, parts) == 2) return true;
    return false;
}

static bool is_model_gguf(const char *file)
{
    return is_weights(file, ".gguf") && strcasestr(file, "mmproj") == NULL && strcasestr(file, "imatrix") == NULL;
}

/* "Q4_K" is in "model-Q4_K.gguf", and not in "model-Q4_K_M.gguf". */
static bool has_quant(const char *file, const char *quant)
{
    size_t length = strlen(quant);
    for (const char *at = strcasestr(file, quant); at != NULL; at = strcasestr(at + 1, quant)) {
        bool begins = at == file || strchr("-._", at[-1]) != NULL, ends = strchr("-.", at[length]) != NULL;
        if (begins && ends) return true;
    }
    return false;
}

static int find_gguf(char *const *files, size_t count, const char *quant)
{
    for (size_t i = 0; i < count; i++)
        if (is_model_gguf(files[i]) && (quant == NULL || has_quant(files[i], quant))) return (int)i;
    return -1;
}

static pv_status refuse_choice(const hub_name *name, char *const *files, size_t count, pv_error *error)
{
    cli_text there = {0};
    cli_add(&there, "", 0);
    for (size_t i = 0; i < count; i++)
        if (is_model_gguf(files[i])) cli_add_format(&there, "%s%s", there.length > 0 ? ", " : "", files[i]);
    if (there.length == 0)
        cli_error(error, PV_NOT_FOUND, "%s/%s holds neither a .gguf file nor config.json with .safetensors files",
                  name->organisation, name->name);
    else
        cli_error(error, PV_NOT_FOUND, "%s/%s has no file for '%s'; there is: %.300s", name->organisation, name->name,
                  name->quant, there.data);
    free(there.data);
    return PV_NOT_FOUND;
}

static bool is_of_folder(const char *file, bool has_model)
{
    if (strchr(file, '/') != NULL || file[0] == '.') return false;
    if (cli_ends_with(file, ".json") || cli_ends_with(file, ".jinja")) return true;
    /* some repositories hold the same weights again in their maker's own form */
    return cli_ends_with(file, ".safetensors") && !(has_model && strncmp(file, "model", 5) != 0);
}

static bool choose_folder(char *const *files, size_t count, bool *keep)
{
    bool config = false, weights = false, has_model = false;
    for (size_t i = 0; i < count; i++) {
        config = config || strcmp(files[i], "config.json") == 0;
        weights = weights || is_weights(files[i], ".safetensors");
        has_model = has_model || (is_weights(files[i], ".safetensors") && strncmp(files[i], "model", 5) == 0);
    }
    if (!config || !weights) return false;
    for (size_t i = 0; i < count; i++) keep[i] = is_of_folder(files[i], has_model);
    return true;
}

pv_status hub_choose(const hub_name *name, char *const *files, size_t count, bool *keep, pv_error *error)
{
    static const char *const preferred[] = {"Q4_K_M", "Q4_K_S", "Q4_K", "Q4_1", "Q4_0", "Q8_0", "Q6_K", "F16", "BF16", "F32"};
    unsigned parts;
    int chosen = -1;
    for (size_t i = 0; i < count; i++) keep[i] = false;
    if (name->quant[0] != '\0') {
        chosen = find_gguf(files, count, name->quant);
    } else {
        for (size_t i = 0; chosen < 0 && i < CLI_COUNT(preferred); i++) chosen = find_gguf(files, count, preferred[i]);
        if (chosen < 0) chosen = find_gguf(files, count, NULL);
        if (chosen < 0 && choose_folder(files, count, keep)) return PV_OK;
    }
    if (chosen < 0) return refuse_choice(name, files, count, error);
    if (is_part(files[chosen], &parts))
        return cli_error(error, PV_UNSUPPORTED, "%s is one of %u parts; GGUF files in parts are not read yet", files[chosen],
                         parts);
    keep[chosen] = true;
    return PV_OK;
}

/* ---- Finding what was fetched ---- */

/* All parts of each file that comes in parts. */
static bool has_all_parts(char *const *files, size_t count, const bool *keep)
{
    unsigned found = 0, parts = 0, wanted;
    for (size_t i = 0; i < count; i++)
        if (keep[i] && is_weights(files[i], ".safetensors") && is_part(files[i], &wanted)) found++, parts = wanted;
    return found == parts;
}

char *hub_model_in(const hub_name *name, const char *snapshot)
{
    size_t count, there = 0;
    pv_error unused;
    char *path = NULL;
    char **files = hub_names_in(snapshot, &count);
    /* a link whose file is gone is not there */
    for (size_t i = 0; i < count; i++) {
        char *file = cli_format("%s/%s", snapshot, files[i]);
        bool exists = hub_exists(file);
        free(file);
        if (exists)
            files[there++] = files[i];
        else
            free(files[i]);
    }
    bool *keep = cli_alloc(there, sizeof *keep);
    if (hub_choose(name, files, there, keep, &unused) == PV_OK && has_all_parts(files, there, keep)) {
        for (size_t i = 0; i < there && path == NULL; i++)
            if (keep[i] && is_model_gguf(files[i])) path = cli_format("%s/%s", snapshot, files[i]);
        if (path == NULL) path = cli_format("%s", snapshot);
    }
    free(keep);
    hub_free_names(files, there);
    return path;
}

static bool is_commit(const char *text)
{
    return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40;
}

/* The commit that a revision stands for in this cache. */
static bool read_ref(const char *folder, const hub_name *name, char commit[41])
{
    char *path = cli_format("%s/refs/%s", folder, name->revision);
    char line[128] = "";
    FILE *file = fopen(path, "re");
    bool ok = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL) fclose(file);
    free(path);
    line[strcspn(line, "\r\n ")] = '\0';
    if (!ok && is_commit(name->revision)) {
        snprintf(line, sizeof line, "%s", name->revision);
        ok = true;
    }
    if (!ok || !is_commit(line)) return false;
    memcpy(commit, line, 41);
    return true;
}

static char *find_in(const char *hub, const hub_name *name)
{
    char commit[41];
    char *path = NULL;
    if (hub[0] == '\0') return NULL;
    char *folder = hub_folder(hub, name);
    if (read_ref(folder, name, commit)) {
        char *snapshot = cli_format("%s/snapshots/%s", folder, commit);
        path = hub_model_in(name, snapshot);
        free(snapshot);
    }
    free(folder);
    return path;
}

char *hub_find(const hub_name *name)
{
    char *path = find_in(cli_environment_hub(), name);
    return path != NULL ? path : find_in(cli_environment_huggingface(), name);
}

pv_status hub_resolve(const cli_settings *settings, const char *model, char **path, pv_error *error)
{
    hub_name name;
    *path = NULL;
    if (hub_exists(model)) {
        *path = cli_format("%s", model);
        return PV_OK;
    }
    if (!hub_parse(model, &name))
        return cli_error(error, PV_NOT_FOUND,
                         "%s: there is no such file or folder, and it is no name on the Hub (org/name[:QUANT][@REVISION])",
                         model);
    *path = hub_find(&name);
    if (*path != NULL) return PV_OK;
    if (!settings->quiet) cli_say("%s is not in the cache; fetching it", model);
    return hub_pull(settings, &name, path, error);
}
