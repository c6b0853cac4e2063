/* Reading what the Hub answers: the strings of a JSON text with the way that leads to each, and nothing else. */
#ifndef PENSIEVE_CLI_JSON_IN_H
#define PENSIEVE_CLI_JSON_IN_H

#include "cli.h"

/* `path` is "sha" or "siblings.rfilename": names joined by dots, arrays add nothing. `value` is unescaped UTF-8. */
typedef void (*json_on_string)(void *user, const char *path, const char *value);

/* False if the text is no JSON or nested deeper than 32. */
bool json_read_strings(const char *text, size_t length, json_on_string call, void *user);

#endif
