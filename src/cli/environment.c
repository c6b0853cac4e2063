/* All that the command reads from the environment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

/* NULL where a variable is unset or empty. */
static const char *get(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* As the Hub's library reads booleans. */
static bool is_set(const char *name)
{
    static const char *const yes[] = {"1", "ON", "YES", "TRUE"};
    const char *value = get(name);
    for (size_t i = 0; value != NULL && i < CLI_COUNT(yes); i++)
        if (strcasecmp(value, yes[i]) == 0) return true;
    return false;
}

const char *cli_environment_kernels(void)
{
    return get("PENSIEVE_CPU");
}

const char *cli_environment_metal(void)
{
    return get("PENSIEVE_METAL");
}

bool cli_environment_no_color(void)
{
    return get("NO_COLOR") != NULL;
}

bool cli_environment_offline(void)
{
    return is_set("HF_HUB_OFFLINE");
}

bool cli_environment_no_progress(void)
{
    return is_set("HF_HUB_DISABLE_PROGRESS_BARS");
}

bool cli_environment_no_symlinks(void)
{
    return is_set("HF_HUB_DISABLE_SYMLINKS");
}

const char *cli_environment_endpoint(void)
{
    static char *endpoint;
    if (endpoint != NULL) return endpoint;
    const char *given = get("HF_ENDPOINT");
    endpoint = cli_format("%s", given != NULL ? given : "https://huggingface.co");
    for (size_t n = strlen(endpoint); n > 0 && endpoint[n - 1] == '/'; n--) endpoint[n - 1] = '\0';
    return endpoint;
}

uint32_t cli_environment_timeout(void)
{
    const char *value = get("HF_HUB_DOWNLOAD_TIMEOUT");
    long seconds = value != NULL ? strtol(value, NULL, 10) : 0;
    return seconds > 0 && seconds < 86400 ? (uint32_t)seconds : 10;
}

/* $variable/rest if the variable is set, else NULL. */
static char *under(const char *variable, const char *rest)
{
    const char *value = get(variable);
    return value != NULL ? cli_format("%s%s", value, rest) : NULL;
}

static char *first_of(char *const paths[], size_t count)
{
    char *chosen = NULL;
    for (size_t i = 0; i < count; i++) {
        if (chosen == NULL)
            chosen = paths[i];
        else
            free(paths[i]);
    }
    return chosen != NULL ? chosen : cli_format("%s", "");
}

const char *cli_environment_cache(void)
{
    static char *cache;
#ifdef __APPLE__
    static const char *const home_cache = "/Library/Caches/pensieve";
#else
    static const char *const home_cache = "/.cache/pensieve";
#endif
    if (cache == NULL) {
        char *paths[] = {under("PENSIEVE_CACHE", ""), under("XDG_CACHE_HOME", "/pensieve"), under("HOME", home_cache)};
        cache = first_of(paths, CLI_COUNT(paths));
    }
    return cache;
}

static char *huggingface_home(void)
{
    char *paths[] = {under("HF_HOME", ""), under("XDG_CACHE_HOME", "/huggingface"), under("HOME", "/.cache/huggingface")};
    return first_of(paths, CLI_COUNT(paths));
}

const char *cli_environment_huggingface(void)
{
    static char *hub;
    if (hub == NULL) {
        char *home = huggingface_home();
        char *paths[] = {under("HF_HUB_CACHE", ""), home[0] != '\0' ? cli_format("%s/hub", home) : NULL};
        hub = first_of(paths, CLI_COUNT(paths));
        free(home);
    }
    return hub;
}

/* Who names a folder for the Hub's files gets them there; PENSIEVE_CACHE comes before. */
const char *cli_environment_hub(void)
{
    static char *hub;
    if (hub == NULL) {
        const char *cache = cli_environment_cache();
        char *paths[] = {under("PENSIEVE_CACHE", "/hub"), under("HF_HUB_CACHE", ""), under("HF_HOME", "/hub"),
                         cache[0] != '\0' ? cli_format("%s/hub", cache) : NULL};
        hub = first_of(paths, CLI_COUNT(paths));
    }
    return hub;
}

/* The first line of $HF_TOKEN_PATH or $HF_HOME/token. */
static char *token_from_file(void)
{
    char *home = huggingface_home();
    const char *given = get("HF_TOKEN_PATH");
    char *path = given != NULL ? cli_format("%s", given) : home[0] != '\0' ? cli_format("%s/token", home) : NULL;
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    char line[512];
    char *token = NULL;
    if (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, " \t\r\n")] = '\0';
        if (line[0] != '\0') token = cli_format("%s", line);
    }
    if (file != NULL) fclose(file);
    free(path);
    free(home);
    return token;
}

const char *cli_environment_token(void)
{
    static char *token;
    static bool known;
    if (known) return token;
    known = true;
    const char *given = get("HF_TOKEN");
    token = given != NULL ? cli_format("%s", given) : token_from_file();
    /* It becomes part of a header. */
    for (size_t i = 0; token != NULL && token[i] != '\0'; i++)
        if ((unsigned char)token[i] <= ' ' || (unsigned char)token[i] > '~') token[i] = '\0';
    return token != NULL && token[0] != '\0' ? token : NULL;
}
