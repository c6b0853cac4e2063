/* NSData, and the class of dispatch_data_t, which is one. */
#include "foundation/data.h"
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <stdlib.h>
#include <string.h>

static sm_data *as_data(id self)
{
    return (sm_data *)self;
}

static id fill(id self, void *bytes, size_t length)
{
    if (!bytes) {
        sm_release(self);
        return NULL;
    }
    as_data(self)->bytes = bytes;
    as_data(self)->length = length;
    return self;
}

static id init_bytes(id self, SEL _cmd, const void *bytes, NSUInteger length)
{
    if (bytes || length == 0) return fill(self, sm_copy_bytes(bytes, length), length);
    sm_reportf(SOFTMETAL_VALIDATION, "[NSData %s]: the bytes are NULL", sel_getName(_cmd));
    sm_release(self);
    return NULL;
}

static id init_no_copy(id self, SEL _cmd, void *bytes, NSUInteger length, BOOL free_when_done)
{
    if (!bytes) return init_bytes(self, _cmd, bytes, length);
    as_data(self)->borrowed = !free_when_done;
    return fill(self, bytes, length);
}

static id with_bytes(id self, SEL _cmd, const void *bytes, NSUInteger length)
{
    id data = sm_new((Class)self);
    return data ? sm_autorelease(init_bytes(data, _cmd, bytes, length)) : NULL;
}

static id with_no_copy(id self, SEL _cmd, void *bytes, NSUInteger length, BOOL free_when_done)
{
    id data = sm_new((Class)self);
    return data ? sm_autorelease(init_no_copy(data, _cmd, bytes, length, free_when_done)) : NULL;
}

static id with_no_copy_freed(id self, SEL _cmd, void *bytes, NSUInteger length)
{
    return with_no_copy(self, _cmd, bytes, length, true);
}

static id new_empty(id self, SEL _cmd)
{
    return with_bytes(self, _cmd, NULL, 0);
}

static void dealloc(id self)
{
    if (as_data(self)->destructor) {
        sm_block_call0(as_data(self)->destructor);
        sm_block_release(as_data(self)->destructor);
    } else if (!as_data(self)->borrowed) {
        free(as_data(self)->bytes);
    }
}

static const void *bytes_of(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_data_bytes(self);
}

static NSUInteger length(id self, SEL _cmd)
{
    (void)_cmd;
    return as_data(self)->length;
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    (void)_cmd;
    return sm_is_kind(other, &sm_data_class) && as_data(self)->length == as_data(other)->length &&
           (as_data(self)->length == 0 || memcmp(as_data(self)->bytes, as_data(other)->bytes, as_data(self)->length) == 0);
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_retain(self);
}

static const sm_method methods[] = {
    SM_METHOD("initWithBytes:length:", "@@:^vQ", init_bytes),
    SM_METHOD("initWithBytesNoCopy:length:freeWhenDone:", "@@:^vQB", init_no_copy),
    SM_METHOD("bytes", "^v@:", bytes_of),
    SM_METHOD("mutableBytes", "^v@:", bytes_of),
    SM_METHOD("length", "Q@:", length),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("isEqualToData:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", length),
    SM_METHOD("copy", "@@:", copy),
};

static const sm_method class_methods[] = {
    SM_METHOD("data", "@@:", new_empty),
    SM_METHOD("dataWithBytes:length:", "@@:^vQ", with_bytes),
    SM_METHOD("dataWithBytesNoCopy:length:", "@@:^vQ", with_no_copy_freed),
    SM_METHOD("dataWithBytesNoCopy:length:freeWhenDone:", "@@:^vQB", with_no_copy),
};

sm_class sm_data_class = {
    .name = "NSData",
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_data),
    .dealloc = dealloc,
};
SM_REGISTER_AT_LOAD(sm_data_class)

id sm_data_create(const void *bytes, size_t size)
{
    id data = sm_new(&sm_data_class);
    return data ? fill(data, sm_copy_bytes(bytes, size), size) : NULL;
}

/* As on a Mac NULL only if there are none. */
const void *sm_data_bytes(id data)
{
    return data ? as_data(data)->bytes : NULL;
}

size_t sm_data_length(id data)
{
    return data ? as_data(data)->length : 0;
}
