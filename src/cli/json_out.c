#include "json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin_value(cli_json *json)
{
    if (json->comma) cli_add(&json->text, ", ", 2);
    json->comma = true;
}

/* Bytes of the character that starts here, 0 if they make none (RFC 3629: no overlong forms, no surrogates). */
static size_t character(const unsigned char *at, size_t left)
{
    static const struct {
        unsigned char first, last, low, high;
        size_t length;
    } ranges[] = {
        {0x00, 0x7F, 0, 0, 1},       {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
        {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
        {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };
    for (size_t i = 0; i < CLI_COUNT(ranges); i++) {
        if (at[0] < ranges[i].first || at[0] > ranges[i].last) continue;
        if (ranges[i].length > left) return 0;
        if (ranges[i].length > 1 && (at[1] < ranges[i].low || at[1] > ranges[i].high)) return 0;
        for (size_t k = 2; k < ranges[i].length; k++)
            if (at[k] < 0x80 || at[k] > 0xBF) return 0;
        return ranges[i].length;
    }
    return 0;
}

static void add_string(cli_text *out, const char *text, size_t length)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    cli_add(out, "\"", 1);
    for (size_t i = 0; i < length;) {
        size_t bytes = character((const unsigned char *)text + i, length - i);
        const char *escape = bytes == 1 && text[i] != '\0' ? strchr(escaped, text[i]) : NULL;
        if (bytes == 0)
            cli_add(out, "\xEF\xBF\xBD", 3);
        else if (escape != NULL)
            cli_add_format(out, "\\%c", letters[escape - escaped]);
        else if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            cli_add_format(out, "\\u%04x", (unsigned)(unsigned char)text[i]);
        else
            cli_add(out, text + i, bytes);
        i += bytes > 0 ? bytes : 1;
    }
    cli_add(out, "\"", 1);
}

cli_json cli_json_start(const char *verb)
{
    cli_json json = {0};
    cli_add_format(&json.text, "{\"schema\": \"pensieve.%s/1\"", verb);
    json.comma = true;
    return json;
}

void cli_json_print(cli_json *json)
{
    cli_add(&json->text, "}\n", 2);
    cli_print(json->text.data, json->text.length);
    free(json->text.data);
    *json = (cli_json){0};
}

void cli_json_name(cli_json *json, const char *name)
{
    begin_value(json);
    add_string(&json->text, name, strlen(name));
    cli_add(&json->text, ": ", 2);
    json->comma = false;
}

void cli_json_open(cli_json *json, char bracket)
{
    begin_value(json);
    cli_add(&json->text, &bracket, 1);
    json->comma = false;
}

void cli_json_close(cli_json *json, char bracket)
{
    cli_add(&json->text, &bracket, 1);
    json->comma = true;
}

void cli_json_string(cli_json *json, const char *text, size_t length)
{
    begin_value(json);
    add_string(&json->text, text, length);
}

void cli_json_uint(cli_json *json, uint64_t value)
{
    begin_value(json);
    cli_add_format(&json->text, "%" PRIu64, value);
}

void cli_json_int(cli_json *json, int64_t value)
{
    begin_value(json);
    cli_add_format(&json->text, "%" PRId64, value);
}

void cli_json_number(cli_json *json, double value)
{
    begin_value(json);
    if (isfinite(value))
        cli_add_format(&json->text, "%.9g", value);
    else
        cli_add(&json->text, "null", 4);
}

void cli_json_bool(cli_json *json, bool value)
{
    begin_value(json);
    cli_add_format(&json->text, value ? "true" : "false");
}

void cli_json_verbatim(cli_json *json, const char *text, size_t length)
{
    if (length == 0) return;
    begin_value(json);
    cli_add(&json->text, text, length);
}

void cli_json_text_member(cli_json *json, const char *name, const char *text)
{
    cli_json_name(json, name);
    cli_json_string(json, text, strlen(text));
}

void cli_json_uint_member(cli_json *json, const char *name, uint64_t value)
{
    cli_json_name(json, name);
    cli_json_uint(json, value);
}

void cli_json_number_member(cli_json *json, const char *name, double value)
{
    cli_json_name(json, name);
    cli_json_number(json, value);
}

void cli_json_error(cli_json *json, const pv_error *error)
{
    cli_json_name(json, "error");
    cli_json_open(json, '{');
    cli_json_text_member(json, "status", pv_status_name(error->status));
    cli_json_text_member(json, "message", error->message);
    cli_json_text_member(json, "op", error->op);
    cli_json_name(json, "offset");
    if (error->offset == PV_NO_OFFSET)
        cli_json_verbatim(json, "null", 4);
    else
        cli_json_uint(json, error->offset);
    cli_json_close(json, '}');
}
