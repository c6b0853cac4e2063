/* NSString: UTF-8 inside, counted in UTF-16 units outside. Strings never change. */
#include "executor/executor.h"
#include "foundation/encoding.h"
#include "foundation/foundation.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SM_NOT_FOUND INT64_MAX /* NSNotFound */

static sm_string *as_string(id self)
{
    return (sm_string *)self;
}

/* The object of another NSString; otherwise NULL, and a report. */
static sm_string *argument(SEL _cmd, id other)
{
    if (sm_is_kind(other, &sm_string_class)) return as_string(other);
    sm_reportf(SOFTMETAL_VALIDATION, "-[NSString %s]: the argument is %s, and must be an NSString", sel_getName(_cmd),
               other ? object_getClassName(other) : "nil");
    return NULL;
}

/* ---- Making strings */

/* Takes the text over, also if it fails: then the string is given back and nil returned. */
static id fill(id self, char *text, size_t bytes)
{
    size_t length;
    sm_string *string = as_string(self);
    if (string && text && sm_utf8_length(text, bytes, &length)) {
        free(string->text);
        string->text = text;
        string->bytes = bytes;
        string->length = length;
        return self;
    }
    free(text);
    sm_release(self);
    return NULL;
}

static id create(const void *utf8, size_t bytes)
{
    id string = sm_new(&sm_string_class);
    return string ? fill(string, sm_copy_bytes(utf8, bytes), bytes) : NULL;
}

id sm_string_create(const char *utf8)
{
    return utf8 ? create(utf8, strlen(utf8)) : NULL;
}

id sm_string_createf(const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *text = length >= 0 ? sm_allocate((size_t)length + 1) : NULL;
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    id string = text ? sm_new(&sm_string_class) : NULL;
    if (string) return fill(string, text, (size_t)length);
    free(text);
    return NULL;
}

const char *sm_string_utf8(id string)
{
    return string ? as_string(string)->text ? as_string(string)->text : "" : NULL;
}

static id refuse_null(id self, SEL _cmd)
{
    sm_reportf(SOFTMETAL_VALIDATION, "[NSString %s]: the text is NULL", sel_getName(_cmd));
    sm_release(self);
    return NULL;
}

static id init_utf8(id self, SEL _cmd, const char *utf8)
{
    if (!utf8) return refuse_null(self, _cmd);
    return fill(self, sm_copy_bytes(utf8, strlen(utf8)), strlen(utf8));
}

static id init_bytes(id self, SEL _cmd, const void *bytes, NSUInteger length, NSUInteger encoding)
{
    size_t utf8_bytes = 0;
    if (!bytes && length > 0) return refuse_null(self, _cmd);
    char *text = sm_decode(bytes ? bytes : "", length, encoding, &utf8_bytes);
    return fill(self, text, utf8_bytes);
}

static id init_bytes_no_copy(id self, SEL _cmd, void *bytes, NSUInteger length, NSUInteger encoding, BOOL free_when_done)
{
    id string = init_bytes(self, _cmd, bytes, length, encoding);
    if (string && free_when_done) free(bytes);
    return string;
}

static id init_c_string(id self, SEL _cmd, const char *text, NSUInteger encoding)
{
    if (!text) return refuse_null(self, _cmd);
    return init_bytes(self, _cmd, text, strlen(text), encoding);
}

static id init_string(id self, SEL _cmd, id other)
{
    const sm_string *string = argument(_cmd, other);
    if (string) return fill(self, sm_copy_bytes(sm_string_utf8(other), string->bytes), string->bytes);
    sm_release(self);
    return NULL;
}

static id new_empty(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_autorelease(sm_new((Class)self));
}

static id with_utf8(id self, SEL _cmd, const char *utf8)
{
    id string = sm_new((Class)self);
    return string ? sm_autorelease(init_utf8(string, _cmd, utf8)) : NULL;
}

static id with_c_string(id self, SEL _cmd, const char *text, NSUInteger encoding)
{
    id string = sm_new((Class)self);
    return string ? sm_autorelease(init_c_string(string, _cmd, text, encoding)) : NULL;
}

static id with_string(id self, SEL _cmd, id other)
{
    id string = sm_new((Class)self);
    return string ? sm_autorelease(init_string(string, _cmd, other)) : NULL;
}

static void string_dealloc(id self)
{
    free(as_string(self)->text);
}

/* ---- What it holds */

static const char *utf8(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_string_utf8(self);
}

static NSUInteger length(id self, SEL _cmd)
{
    (void)_cmd;
    return as_string(self)->length;
}

static uint16_t character_at(id self, SEL _cmd, NSUInteger index)
{
    const sm_string *string = as_string(self);
    if (index >= string->length) {
        sm_reportf(SOFTMETAL_VALIDATION, "-[NSString %s]: index %" PRIu64 " of a string of length %zu", sel_getName(_cmd),
                   index, string->length);
        return 0;
    }
    if (string->bytes == string->length) return (uint8_t)string->text[index];
    const char *at = string->text;
    for (NSUInteger unit = 0;;) {
        uint32_t character;
        sm_utf8_next(&at, string->text + string->bytes, &character);
        if (unit == index && character < 0x10000) return (uint16_t)character;
        if (unit == index) return (uint16_t)(0xd800 + ((character - 0x10000) >> 10));
        if (character >= 0x10000 && unit + 1 == index) return (uint16_t)(0xdc00 + ((character - 0x10000) & 0x3ff));
        unit += character >= 0x10000 ? 2 : 1;
    }
}

/* In the encoding; a byte order mark is not counted. 0 if the encoding lacks a character. */
static NSUInteger length_of_bytes(id self, SEL _cmd, NSUInteger encoding)
{
    (void)_cmd;
    size_t bytes = 0;
    char *encoded = sm_encode(sm_string_utf8(self), as_string(self)->bytes, encoding == SM_UTF16 ? SM_UTF16_LITTLE : encoding,
                              false, &bytes);
    free(encoded);
    return bytes;
}

static NSUInteger maximum_length_of_bytes(id self, SEL _cmd, NSUInteger encoding)
{
    (void)_cmd;
    NSUInteger units = as_string(self)->length;
    switch (encoding) {
    case SM_ASCII:
    case SM_LATIN1: return units;
    case SM_UTF8: return 3 * units;
    case SM_UTF32_LITTLE: return 4 * units;
    default: return 2 * units;
    }
}

static size_t terminator(NSUInteger encoding)
{
    return encoding == SM_UTF32_LITTLE ? 4 : encoding == SM_UTF16 || encoding >= SM_UTF16_BIG ? 2 : 1;
}

static BOOL get_c_string(id self, SEL _cmd, char *buffer, NSUInteger capacity, NSUInteger encoding)
{
    (void)_cmd;
    size_t bytes = 0;
    char *encoded = sm_encode(sm_string_utf8(self), as_string(self)->bytes, encoding == SM_UTF16 ? SM_UTF16_LITTLE : encoding,
                              false, &bytes);
    bool fits = encoded && buffer && bytes + terminator(encoding) <= capacity;
    if (fits) {
        memcpy(buffer, encoded, bytes);
        memset(buffer + bytes, 0, terminator(encoding));
    }
    free(encoded);
    return fits;
}

/* The bytes belong to an autoreleased object. */
static const char *c_string(id self, SEL _cmd, NSUInteger encoding)
{
    (void)_cmd;
    size_t bytes = 0;
    if (encoding == SM_UTF8) return sm_string_utf8(self);
    char *encoded = sm_encode(sm_string_utf8(self), as_string(self)->bytes, encoding == SM_UTF16 ? SM_UTF16_LITTLE : encoding,
                              false, &bytes);
    id data = encoded ? sm_data_create(encoded, bytes + terminator(encoding)) : NULL; /* sm_encode leaves zeros behind */
    free(encoded);
    return data ? sm_data_bytes(sm_autorelease(data)) : NULL;
}

static id data_using_encoding_lossy(id self, SEL _cmd, NSUInteger encoding, BOOL lossy)
{
    (void)_cmd;
    size_t bytes = 0;
    char *encoded = sm_encode(sm_string_utf8(self), as_string(self)->bytes, encoding, lossy, &bytes);
    id data = encoded ? sm_data_create(encoded, bytes) : NULL;
    free(encoded);
    return sm_autorelease(data);
}

static id data_using_encoding(id self, SEL _cmd, NSUInteger encoding)
{
    return data_using_encoding_lossy(self, _cmd, encoding, false);
}

/* ---- Comparison */

static bool equal(const sm_string *one, const sm_string *other)
{
    return one->bytes == other->bytes && (one->bytes == 0 || memcmp(one->text, other->text, one->bytes) == 0);
}

static BOOL is_equal_to_string(id self, SEL _cmd, id other)
{
    (void)_cmd;
    return other && sm_is_kind(other, &sm_string_class) && equal(as_string(self), as_string(other));
}

/* FNV-1a over the bytes: equal strings, equal hashes. */
static NSUInteger hash(id self, SEL _cmd)
{
    (void)_cmd;
    NSUInteger value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < as_string(self)->bytes; i++) value = (value ^ (uint8_t)as_string(self)->text[i]) * 0x100000001b3u;
    return value;
}

static NSInteger sign(int64_t difference)
{
    return (difference > 0) - (difference < 0);
}

/* By UTF-8 bytes, which is by code point; a Mac compares UTF-16 units: other only beyond U+FFFF. */
static NSInteger compare(id self, SEL _cmd, id other)
{
    const sm_string *string = argument(_cmd, other);
    return string ? sign(strcmp(sm_string_utf8(self), sm_string_utf8(other))) : 0;
}

static NSInteger compare_no_case(id self, SEL _cmd, id other)
{
    const sm_string *string = argument(_cmd, other);
    return string ? sign(strcasecmp(sm_string_utf8(self), sm_string_utf8(other))) : 0;
}

static BOOL has_prefix(id self, SEL _cmd, id other)
{
    const sm_string *prefix = argument(_cmd, other), *string = as_string(self);
    return prefix && prefix->bytes > 0 && prefix->bytes <= string->bytes &&
           memcmp(string->text, prefix->text, prefix->bytes) == 0;
}

static BOOL has_suffix(id self, SEL _cmd, id other)
{
    const sm_string *suffix = argument(_cmd, other), *string = as_string(self);
    return suffix && suffix->bytes > 0 && suffix->bytes <= string->bytes &&
           memcmp(string->text + string->bytes - suffix->bytes, suffix->text, suffix->bytes) == 0;
}

/* Finds literally; of the options, NSCaseInsensitiveSearch (1) is known, for ASCII. */
static const char *find(id self, id other, NSUInteger options)
{
    const sm_string *string = as_string(self), *part = as_string(other);
    for (size_t at = 0; part->bytes > 0 && at + part->bytes <= string->bytes; at++) {
        if (options & 1 ? strncasecmp(string->text + at, part->text, part->bytes) == 0
                        : memcmp(string->text + at, part->text, part->bytes) == 0)
            return string->text + at;
    }
    return NULL;
}

static BOOL contains_string(id self, SEL _cmd, id other)
{
    return argument(_cmd, other) && find(self, other, 0);
}

static sm_range range_of_string(id self, SEL _cmd, id other, NSUInteger options)
{
    sm_range range = {SM_NOT_FOUND, 0};
    const sm_string *part = argument(_cmd, other);
    const char *at = part ? find(self, other, options) : NULL;
    if (at) {
        sm_utf8_length(as_string(self)->text, (size_t)(at - as_string(self)->text), &range.location);
        range.length = part->length;
    }
    return range;
}

/* ---- New strings from old */

static id by_appending(id self, SEL _cmd, id other)
{
    const sm_string *tail = argument(_cmd, other), *head = as_string(self);
    char *text = tail ? sm_allocate(head->bytes + tail->bytes + 1) : NULL;
    if (!text) return NULL;
    if (head->bytes > 0) memcpy(text, head->text, head->bytes);
    if (tail->bytes > 0) memcpy(text + head->bytes, tail->text, tail->bytes);
    id string = sm_new(&sm_string_class);
    if (!string) free(text);
    return string ? sm_autorelease(fill(string, text, head->bytes + tail->bytes)) : NULL;
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_retain(self);
}

static id copy_with_zone(id self, SEL _cmd, void *zone)
{
    (void)_cmd, (void)zone;
    return sm_retain(self);
}

static id description(id self, SEL _cmd)
{
    (void)_cmd;
    return self;
}

/* ---- Numbers */

static NSInteger integer_value(id self, SEL _cmd)
{
    (void)_cmd;
    return strtoll(sm_string_utf8(self), NULL, 10);
}

static int int_value(id self, SEL _cmd)
{
    NSInteger value = integer_value(self, _cmd);
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int)value;
}

static double double_value(id self, SEL _cmd)
{
    (void)_cmd;
    return strtod(sm_string_utf8(self), NULL);
}

static float float_value(id self, SEL _cmd)
{
    return (float)double_value(self, _cmd);
}

static const sm_method methods[] = {
    SM_METHOD("initWithUTF8String:", "@@:*", init_utf8),
    SM_METHOD("initWithBytes:length:encoding:", "@@:^vQQ", init_bytes),
    SM_METHOD("initWithBytesNoCopy:length:encoding:freeWhenDone:", "@@:^vQQB", init_bytes_no_copy),
    SM_METHOD("initWithCString:encoding:", "@@:*Q", init_c_string),
    SM_METHOD("initWithString:", "@@:@", init_string),
    SM_METHOD("UTF8String", "*@:", utf8),
    SM_METHOD("fileSystemRepresentation", "*@:", utf8),
    SM_METHOD("cStringUsingEncoding:", "*@:Q", c_string),
    SM_METHOD("getCString:maxLength:encoding:", "B@:*QQ", get_c_string),
    SM_METHOD("dataUsingEncoding:", "@@:Q", data_using_encoding),
    SM_METHOD("dataUsingEncoding:allowLossyConversion:", "@@:QB", data_using_encoding_lossy),
    SM_METHOD("length", "Q@:", length),
    SM_METHOD("characterAtIndex:", "S@:Q", character_at),
    SM_METHOD("lengthOfBytesUsingEncoding:", "Q@:Q", length_of_bytes),
    SM_METHOD("maximumLengthOfBytesUsingEncoding:", "Q@:Q", maximum_length_of_bytes),
    SM_METHOD("isEqual:", "B@:@", is_equal_to_string),
    SM_METHOD("isEqualToString:", "B@:@", is_equal_to_string),
    SM_METHOD("hash", "Q@:", hash),
    SM_METHOD("compare:", "q@:@", compare),
    SM_METHOD("caseInsensitiveCompare:", "q@:@", compare_no_case),
    SM_METHOD("hasPrefix:", "B@:@", has_prefix),
    SM_METHOD("hasSuffix:", "B@:@", has_suffix),
    SM_METHOD("containsString:", "B@:@", contains_string),
    SM_METHOD("rangeOfString:options:", "{_NSRange=QQ}@:@Q", range_of_string),
    SM_METHOD("stringByAppendingString:", "@@:@", by_appending),
    SM_METHOD("copy", "@@:", copy),
    SM_METHOD("copyWithZone:", "@@:^v", copy_with_zone),
    SM_METHOD("description", "@@:", description),
    SM_METHOD("integerValue", "q@:", integer_value),
    SM_METHOD("longLongValue", "q@:", integer_value),
    SM_METHOD("intValue", "i@:", int_value),
    SM_METHOD("doubleValue", "d@:", double_value),
    SM_METHOD("floatValue", "f@:", float_value),
};

static const sm_method class_methods[] = {
    SM_METHOD("string", "@@:", new_empty),
    SM_METHOD("stringWithUTF8String:", "@@:*", with_utf8),
    SM_METHOD("stringWithCString:encoding:", "@@:*Q", with_c_string),
    SM_METHOD("stringWithString:", "@@:@", with_string),
};

sm_class sm_string_class = {
    .name = "NSString",
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_string),
    .dealloc = string_dealloc,
};
SM_REGISTER_AT_LOAD(sm_string_class)
