/* Writing JSON: text grows in memory and is printed as one line. Commas are put where they belong; strings that are no UTF-8
 * get U+FFFD where the bytes make no character. */
#ifndef PENSIEVE_CLI_JSON_OUT_H
#define PENSIEVE_CLI_JSON_OUT_H

#include "cli.h"

typedef struct cli_json {
    cli_text text;
    bool comma; /* before the next name or element */
} cli_json;

/* An object that begins with "schema": "pensieve.<verb>/1". */
cli_json cli_json_start(const char *verb);
/* Closes the object, prints it with a newline, frees it. */
void cli_json_print(cli_json *json);

void cli_json_name(cli_json *json, const char *name);
void cli_json_open(cli_json *json, char bracket); /* '{' or '[' */
void cli_json_close(cli_json *json, char bracket);
void cli_json_string(cli_json *json, const char *text, size_t length);
void cli_json_uint(cli_json *json, uint64_t value);
void cli_json_int(cli_json *json, int64_t value);
void cli_json_number(cli_json *json, double value); /* null if it is not finite */
void cli_json_bool(cli_json *json, bool value);
/* Elements that were written elsewhere, with their commas. */
void cli_json_verbatim(cli_json *json, const char *text, size_t length);

/* "name": "text". */
void cli_json_text_member(cli_json *json, const char *name, const char *text);
void cli_json_uint_member(cli_json *json, const char *name, uint64_t value);
void cli_json_number_member(cli_json *json, const char *name, double value);
/* "error": {"status", "message", "op", "offset"}. */
void cli_json_error(cli_json *json, const pv_error *error);

#endif
