#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const struct {
    const char *name, *text;
} status_table[PV_STATUS_COUNT] = {
#define STATUS_ROW(name, text) {#name, text},
    PV_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

const char *pv_status_text(pv_status status)
{
    return (unsigned)status < PV_STATUS_COUNT ? status_table[status].text : "unknown status";
}

const char *pv_status_name(pv_status status)
{
    return (unsigned)status < PV_STATUS_COUNT ? status_table[status].name : "UNKNOWN";
}

/* Names in messages come from files of strangers: what would steer a terminal or is no UTF-8 becomes '?', and a character that
 * was cut by the end of the record is left off. */
static void make_printable(char *text)
{
    size_t length = pv_utf8_complete(text, strlen(text));
    text[length] = '\0';
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t bytes = pv_utf8_decode(text + at, length - at, &code_point);
        bool control = code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
        if (bytes == 0 || (control && bytes == 1)) {
            text[at] = '?';
            bytes = 1;
        } else if (control) {
            memcpy(text + at, "??", 2);
        }
        at += bytes;
    }
}

/* Formats into a local record first: an argument may point into the record that is filled. */
static void fill(pv_error *error, pv_status status, const char *op, uint64_t offset, const char *format, va_list arguments)
{
    if (!error) return;
    pv_error made;
    memset(&made, 0, sizeof made);
    made.status = status;
    made.offset = offset;
    vsnprintf(made.message, sizeof made.message, format, arguments);
    snprintf(made.op, sizeof made.op, "%s", op ? op : "");
    make_printable(made.message);
    make_printable(made.op);
    *error = made;
}

pv_status (pv_fail)(pv_error *error, pv_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, "", PV_NO_OFFSET, format, arguments);
    va_end(arguments);
    return status;
}

pv_status (pv_fail_at)(pv_error *error, pv_status status, const char *op, uint64_t offset, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, op, offset, format, arguments);
    va_end(arguments);
    return status;
}

pv_status (pv_fail_memory)(pv_error *error, size_t bytes, const char *what)
{
    return pv_fail_at(error, PV_OUT_OF_MEMORY, what, PV_NO_OFFSET, "out of memory allocating %zu bytes for %s", bytes, what);
}
