/* What the Metal part makes of Foundation. `create` functions return one reference, which is the caller's; texts are copied. */
#ifndef SOFTMETAL_FOUNDATION_FOUNDATION_H
#define SOFTMETAL_FOUNDATION_FOUNDATION_H

#include "objc/object.h"

typedef uint64_t NSUInteger;
typedef int64_t NSInteger;

typedef struct sm_range { NSUInteger location, length; } sm_range; /* NSRange */

typedef struct sm_string {
    sm_object object;
    char *text;    /* UTF-8, followed by a 0 */
    size_t bytes;
    size_t length; /* in UTF-16 units */
} sm_string;

extern sm_class sm_string_class, sm_array_class, sm_mutable_array_class, sm_dictionary_class, sm_mutable_dictionary_class,
    sm_number_class, sm_url_class, sm_data_class, sm_error_class;

/* An exported NSString constant, which hosts find by name; plain ASCII: SM_STRING_CONSTANT(MTLExampleDomain, "MTLExample") */
#define SM_STRING_CONSTANT(symbol, ascii)                                                                             \
    static sm_string symbol##_string = {                                                                              \
        {&sm_string_class, SM_IMMORTAL, SM_ALIVE}, (char *)(ascii), sizeof(ascii) - 1, sizeof(ascii) - 1};            \
    extern __attribute__((visibility("default"))) const id symbol;                                                    \
    const id symbol = &symbol##_string.object;

id sm_string_create(const char *utf8); /* NULL also if it is not UTF-8 */
id sm_string_createf(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *sm_string_utf8(id string); /* NULL for nil; lives as long as the string */

id sm_array_create(const id *objects, size_t count);
id sm_mutable_array_create(void);
bool sm_array_add(id array, id object);
size_t sm_array_count(id array);
id sm_array_at(id array, size_t index);

id sm_dictionary_create(const id *keys, const id *values, size_t count);
id sm_dictionary_get(id dictionary, const char *key);
size_t sm_dictionary_count(id dictionary);
void sm_dictionary_at(id dictionary, size_t index, id *key, id *value);

id sm_number_create_uint(uint64_t value);
id sm_number_create_double(double value);
uint64_t sm_number_uint(id number);

id sm_url_create_path(const char *path);
const char *sm_url_path(id url);

id sm_data_create(const void *bytes, size_t length);
const void *sm_data_bytes(id data); /* of an NSData or a dispatch_data_t */
size_t sm_data_length(id data);

/* What NSProcessInfo says from now on; 0: 15. Part of the world. */
void sm_process_set_macos(uint32_t major);

id sm_error_create(const char *domain, int64_t code, const char *description);
/* The reference to the dictionary (may be NULL) becomes the error's. */
id sm_error_create_with(const char *domain, int64_t code, id user_info);
const char *sm_error_domain(id error);
int64_t sm_error_code(id error);
/* Fills *error (an NSError ** of the caller's, may be NULL) with an autoreleased error. */
void sm_error_set(id *error, const char *domain, int64_t code, const char *description);

#endif
