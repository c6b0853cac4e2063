/* list and rm: what stands in the cache folder. Models of the Hub are named org/name, other files as they are called. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub.h"
#include "json_out.h"

static const char prefix[] = "models--";

/* models--ORG--NAME to ORG/NAME; NULL if it is no such folder. */
static char *model_name(const char *folder)
{
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0) return NULL;
    char *name = cli_format("%s", folder + sizeof prefix - 1), *dashes = strstr(name, "--");
    if (dashes == NULL) {
        free(name);
        return NULL;
    }
    *dashes = '/';
    memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    return name;
}

/* NULL where there is no folder for the cache: "/models" would be somebody else's. The caller frees it. */
static char *own_models(void)
{
    const char *cache = cli_environment_cache();
    return cache[0] != '\0' ? cli_format("%s/models", cache) : NULL;
}

/* ---- list ---- */

typedef struct lister {
    const cli_settings *settings;
    cli_json json;
    size_t count;
} lister;

static void show(lister *l, const char *name, const char *path)
{
    uint64_t bytes = hub_size_of(path);
    l->count++;
    if (!l->settings->json) {
        cli_printf("%-48s %10s  %s\n", name, cli_bytes_text(bytes), path);
        return;
    }
    cli_json_open(&l->json, '{');
    cli_json_text_member(&l->json, "name", name);
    cli_json_uint_member(&l->json, "bytes", bytes);
    cli_json_text_member(&l->json, "path", path);
    cli_json_close(&l->json, '}');
}

static void list_folder(lister *l, const char *folder, bool of_hub)
{
    size_t count;
    char **names = hub_names_in(folder, &count);
    for (size_t i = 0; i < count; i++) {
        char *path = cli_format("%s/%s", folder, names[i]), *name = of_hub ? model_name(names[i]) : cli_format("%s", names[i]);
        if (name != NULL) show(l, name, path);
        free(name);
        free(path);
    }
    hub_free_names(names, count);
}

int cli_list_models(const cli_settings *settings)
{
    lister l = {.settings = settings, .json = cli_json_start("list")};
    const char *hub = cli_environment_hub(), *other = cli_environment_huggingface();
    char *own = own_models();
    cli_json_name(&l.json, "models");
    cli_json_open(&l.json, '[');
    if (own != NULL) list_folder(&l, own, false);
    list_folder(&l, hub, true);
    if (strcmp(hub, other) != 0) list_folder(&l, other, true);
    cli_json_close(&l.json, ']');
    if (settings->json)
        cli_json_print(&l.json);
    else if (l.count == 0)
        cli_say("no models in %s", own != NULL ? cli_environment_cache() : "any cache: neither PENSIEVE_CACHE nor HOME is set");
    free(l.json.text.data);
    free(own);
    return CLI_DONE;
}

/* ---- rm ---- */

/* Of a model with several .gguf files, one: its entry in every snapshot, and the blob behind it. */
static bool remove_quant(const hub_name *name, const char *folder)
{
    size_t count;
    bool found = false;
    char *snapshots = cli_format("%s/snapshots", folder);
    char **names = hub_names_in(snapshots, &count);
    for (size_t i = 0; i < count; i++) {
        char *snapshot = cli_format("%s/%s", snapshots, names[i]), *path = hub_model_in(name, snapshot);
        if (path != NULL && strcmp(path, snapshot) != 0) {
            char *blob = realpath(path, NULL);
            found = unlink(path) == 0 || found;
            /* a blob is of this model or it is left alone */
            char *own = realpath(folder, NULL);
            if (blob != NULL && own != NULL && strncmp(blob, own, strlen(own)) == 0 && blob[strlen(own)] == '/') unlink(blob);
            free(own);
            free(blob);
        }
        free(path);
        free(snapshot);
    }
    hub_free_names(names, count);
    free(snapshots);
    return found;
}

static pv_status remove_model(const hub_name *name, pv_error *error)
{
    const char *hub = cli_environment_hub();
    if (hub[0] == '\0') return hub_no_folder(error);
    char *folder = hub_folder(hub, name), *locks = cli_format("%s/.locks/models--%s--%s", hub, name->organisation, name->name);
    pv_status status = PV_OK;
    if (!hub_exists(folder))
        status = cli_error(error, PV_NOT_FOUND, "%s/%s is not in %s", name->organisation, name->name, hub);
    else if (name->quant[0] != '\0' && !remove_quant(name, folder))
        status = cli_error(error, PV_NOT_FOUND, "%s/%s has no file for '%s' in %s", name->organisation, name->name, name->quant,
                           hub);
    else if (name->quant[0] == '\0' && !hub_remove_all(folder))
        status = cli_error(error, PV_IO, "%s cannot be removed whole", folder);
    if (status == PV_OK && name->quant[0] == '\0') hub_remove_all(locks);
    free(locks);
    free(folder);
    return status;
}

static pv_status remove_file(const char *name, pv_error *error)
{
    char *own = own_models();
    if (own == NULL) return hub_no_folder(error);
    char *path = cli_format("%s/%s", own, name);
    pv_status status = PV_OK;
    if (name[0] == '.' || name[0] == '\0' || strchr(name, '/') != NULL || !hub_exists(path))
        status = cli_error(error, PV_NOT_FOUND, "'%s' is neither org/name of a fetched model nor a file in %s", name, own);
    else if (!hub_remove_all(path))
        status = cli_error(error, PV_IO, "%s cannot be removed whole", path);
    free(path);
    free(own);
    return status;
}

int cli_remove(const cli_settings *settings)
{
    pv_error error;
    hub_name name;
    pv_status status = hub_parse(settings->model, &name) ? remove_model(&name, &error) : remove_file(settings->model, &error);
    if (status != PV_OK) return cli_fail(settings, "rm", &error);
    if (settings->json) {
        cli_json json = cli_json_start("rm");
        cli_json_text_member(&json, "removed", settings->model);
        cli_json_print(&json);
    }
    return CLI_DONE;
}
