/* What the Metal part makes of Foundation. `create` functions return one reference, which is the caller's; texts are copied. */
#ifndef SOFTMETAL_FOUNDATION_FOUNDATION_H
#define SOFTMETAL_FOUNDATION_FOUNDATION_H

#include "objc/object.h"

typedef uint64_t NSUInteger;
typedef int64_t NSInteger;

typedef struct sm_range { NSUInteger location, length; } sm_range; /* NSRange */

id sm_string_create(const char *utf8);
id sm_string_createf(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *sm_string_utf8(id string); /* NULL for nil; lives as long as the string */

id sm_array_create(const id *objects, size_t count);
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

id sm_error_create(const char *domain, int64_t code, const char *description);
/* Fills *error (an NSError ** of the caller's, may be NULL) with an autoreleased error. */
void sm_error_set(id *error, const char *domain, int64_t code, const char *description);

#endif
