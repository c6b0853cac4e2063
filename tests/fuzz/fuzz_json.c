/* Any text as JSON. What is read token by token must be skipped in one go too, and the other way round. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Offsets are in the text and grow; strings are UTF-8 (lone surrogates were replaced); numbers are spelled as in the text. */
static void check_token(const pv_json *json, size_t before)
{
    int64_t whole;
    double real;
    if (json->start < before || json->start > json->at || json->at > json->length) __builtin_trap();
    if (json->depth > PV_JSON_MAX_DEPTH) __builtin_trap();
    if (json->type == PV_JSON_KEY || json->type == PV_JSON_STRING)
        for (size_t at = 0; at < json->string_length;) {
            uint32_t code_point;
            size_t bytes = pv_utf8_decode(json->string + at, json->string_length - at, &code_point);
            if (bytes == 0) __builtin_trap();
            at += bytes;
        }
    if (json->type == PV_JSON_NUMBER) {
        if (json->string != json->text + json->start) __builtin_trap();
        pv_status read = pv_json_double(json, &real, NULL);
        if (pv_json_int(json, &whole, NULL) == PV_OK && (read != PV_OK || real != (double)whole)) __builtin_trap();
    }
}

static pv_status walk(pv_json *json)
{
    pv_status status;
    size_t before = 0;
    do {
        pv_error error = {0};
        status = pv_json_next(json, &error);
        if (status != error.status || (status != PV_OK && (status != PV_BAD_FILE || error.offset > json->length)))
            __builtin_trap();
        if (status == PV_OK) check_token(json, before);
        before = json->start;
    } while (status == PV_OK && json->type != PV_JSON_END);
    return status;
}

static pv_status skip(pv_json *json)
{
    pv_status status = pv_json_next(json, NULL);
    if (status == PV_OK) status = pv_json_skip(json, NULL);
    return status == PV_OK ? pv_json_expect(json, PV_JSON_END, NULL) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pv_allocator allocator = pv_allocator_default();
    pv_json json;
    pv_json_init(&json, &allocator, (const char *)data, size, "fuzz");
    pv_status walked = walk(&json);
    pv_json_free(&json);
    pv_json_init(&json, &allocator, (const char *)data, size, "fuzz");
    if (skip(&json) != walked) __builtin_trap();
    pv_json_free(&json);
    return 0;
}
