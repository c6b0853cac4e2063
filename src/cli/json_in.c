#include "json_in.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 32

typedef struct reader {
    const char *at, *end;
    cli_text path, value;
    json_on_string call;
    void *user;
} reader;

static bool read_value(reader *r, int depth);

static void skip_blanks(reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at) != NULL && *r->at != '\0') r->at++;
}

static bool take(reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static bool read_hex(reader *r, uint32_t *unit)
{
    *unit = 0;
    if (r->end - r->at < 4) return false;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = *r->at;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return false;
        *unit = *unit << 4 | (uint32_t)digit;
    }
    return true;
}

static void add_character(cli_text *out, uint32_t c)
{
    char bytes[4];
    size_t n = 0;
    if (c == 0 || (c >= 0xD800 && c <= 0xDFFF)) c = 0xFFFD;
    if (c < 0x80)
        bytes[n++] = (char)c;
    else {
        int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        bytes[n++] = (char)((0xF0 << (3 - more) & 0xFF) | c >> (6 * more));
        while (more-- > 0) bytes[n++] = (char)(0x80 | (c >> (6 * more) & 0x3F));
    }
    cli_add(out, bytes, n);
}

static bool read_escape(reader *r, cli_text *out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t unit, low;
    if (r->at == r->end) return false;
    char c = *r->at++;
    if (c != 'u') {
        const char *found = c != '\0' ? strchr(letters, c) : NULL;
        if (found != NULL) cli_add(out, &meanings[found - letters], 1);
        return found != NULL;
    }
    if (!read_hex(r, &unit)) return false;
    if (unit >= 0xD800 && unit < 0xDC00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
        r->at += 2;
        if (!read_hex(r, &low)) return false;
        if (low >= 0xDC00 && low < 0xE000)
            unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        else
            add_character(out, unit), unit = low;
    }
    add_character(out, unit);
    return true;
}

static bool read_string(reader *r, cli_text *out)
{
    if (!take(r, '"')) return false;
    while (r->at < r->end && *r->at != '"') {
        if ((unsigned char)*r->at < 0x20) return false;
        if (*r->at == '\\') {
            r->at++;
            if (!read_escape(r, out)) return false;
        } else {
            cli_add(out, r->at++, 1);
        }
    }
    return take(r, '"');
}

static bool read_member(reader *r, int depth)
{
    size_t kept = r->path.length;
    if (kept > 0) cli_add(&r->path, ".", 1);
    bool ok = read_string(r, &r->path) && take(r, ':') && read_value(r, depth);
    r->path.length = kept;
    r->path.data[kept] = '\0';
    return ok;
}

static bool read_many(reader *r, char close, bool (*read)(reader *, int), int depth)
{
    r->at++;
    if (take(r, close)) return true;
    do {
        if (!read(r, depth + 1)) return false;
    } while (take(r, ','));
    return take(r, close);
}

static bool read_value(reader *r, int depth)
{
    skip_blanks(r);
    if (r->at == r->end || depth > MAX_DEPTH) return false;
    if (*r->at == '{') return read_many(r, '}', read_member, depth);
    if (*r->at == '[') return read_many(r, ']', read_value, depth);
    if (*r->at == '"') {
        r->value.length = 0;
        cli_add(&r->value, "", 0);
        if (!read_string(r, &r->value)) return false;
        r->call(r->user, r->path.data, r->value.data);
        return true;
    }
    /* a number, true, false, null: of no use here */
    size_t length = 0;
    while (r->at + length < r->end && r->at[length] != '\0' &&
           strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", r->at[length]) != NULL)
        length++;
    r->at += length;
    return length > 0;
}

bool json_read_strings(const char *text, size_t length, json_on_string call, void *user)
{
    reader r = {.at = text, .end = text + length, .call = call, .user = user};
    cli_add(&r.path, "", 0);
    bool ok = read_value(&r, 0);
    skip_blanks(&r);
    ok = ok && r.at == r.end;
    free(r.path.data);
    free(r.value.data);
    return ok;
}
