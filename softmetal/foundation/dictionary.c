/* NSDictionary and NSMutableDictionary: pairs in the order in which they came, searched one by one: those of Metal are
 * small. */
#include "executor/executor.h"
#include "foundation/array.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct sm_dictionary {
    sm_object object;
    id keys, values; /* NSMutableArray each, made with the first pair */
} sm_dictionary;

static sm_dictionary *as_dictionary(id self)
{
    return (sm_dictionary *)self;
}

#define SM_NO_INDEX SIZE_MAX

static size_t find(id self, id key)
{
    id keys = as_dictionary(self)->keys;
    for (size_t i = 0; i < sm_array_count(keys); i++) {
        if (sm_equal(sm_array_at(keys, i), key)) return i;
    }
    return SM_NO_INDEX;
}

static void call_at(id array, const char *selector, size_t index)
{
    ((void (*)(id, SEL, NSUInteger))sm_implementation(array, selector))(array, sel_registerName(selector), index);
}

static void replace(id array, size_t index, id object)
{
    const char *selector = "replaceObjectAtIndex:withObject:";
    ((void (*)(id, SEL, NSUInteger, id))sm_implementation(array, selector))(array, sel_registerName(selector), index, object);
}

/* Keys are copied, as on a Mac. */
static bool add(sm_dictionary *dictionary, id key, id value)
{
    if (!dictionary->keys) dictionary->keys = sm_mutable_array_create();
    if (!dictionary->values) dictionary->values = sm_mutable_array_create();
    IMP copy = sm_implementation(key, "copy");
    id own = copy ? ((id(*)(id, SEL))copy)(key, sel_registerName("copy")) : NULL;
    bool added = own && sm_array_add(dictionary->keys, own);
    sm_release(own);
    if (!added || sm_array_add(dictionary->values, value)) return added;
    call_at(dictionary->keys, "removeObjectAtIndex:", sm_array_count(dictionary->keys) - 1);
    return false;
}

static bool set(id self, id key, id value)
{
    size_t index = find(self, key);
    if (index == SM_NO_INDEX) return add(as_dictionary(self), key, value);
    replace(as_dictionary(self)->values, index, value);
    return true;
}

static bool not_nil(id self, SEL _cmd, id key, id value)
{
    if (key && value) return true;
    sm_reportf(SOFTMETAL_VALIDATION, "-[%s %s]: a %s is nil", self->isa->name, sel_getName(_cmd), key ? "value" : "key");
    return false;
}

/* ---- Making dictionaries */

static id init(id self, SEL _cmd, const id *values, const id *keys, NSUInteger count)
{
    bool good = true;
    for (NSUInteger i = 0; good && i < count; i++)
        good = not_nil(self, _cmd, keys[i], values[i]) && set(self, keys[i], values[i]);
    if (good) return self;
    sm_release(self);
    return NULL;
}

static id with_objects(id self, SEL _cmd, const id *values, const id *keys, NSUInteger count)
{
    id dictionary = sm_new((Class)self);
    return dictionary ? sm_autorelease(init(dictionary, _cmd, values, keys, count)) : NULL;
}

static id with_object(id self, SEL _cmd, id value, id key)
{
    return with_objects(self, _cmd, &value, &key, 1);
}

static id new_empty(id self, SEL _cmd)
{
    return with_objects(self, _cmd, NULL, NULL, 0);
}

static id with_capacity(id self, SEL _cmd, NSUInteger capacity)
{
    (void)capacity;
    return new_empty(self, _cmd);
}

static void dealloc(id self)
{
    sm_release(as_dictionary(self)->keys);
    sm_release(as_dictionary(self)->values);
}

/* ---- What it holds */

static NSUInteger count(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_dictionary_count(self);
}

static id object_for_key(id self, SEL _cmd, id key)
{
    (void)_cmd;
    size_t index = key ? find(self, key) : SM_NO_INDEX;
    return index == SM_NO_INDEX ? NULL : sm_array_at(as_dictionary(self)->values, index);
}

static id list(id array)
{
    size_t number = sm_array_count(array);
    id all = sm_mutable_array_create();
    for (size_t i = 0; all && i < number; i++) sm_array_add(all, sm_array_at(array, i));
    return all;
}

static id all_keys(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_autorelease(list(as_dictionary(self)->keys));
}

static id all_values(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_autorelease(list(as_dictionary(self)->values));
}

static id enumerator_over(id array)
{
    id all = list(array), enumerator = all ? sm_enumerator_create(all) : NULL;
    sm_release(all);
    return sm_autorelease(enumerator);
}

static id key_enumerator(id self, SEL _cmd)
{
    (void)_cmd;
    return enumerator_over(as_dictionary(self)->keys);
}

static id object_enumerator(id self, SEL _cmd)
{
    (void)_cmd;
    return enumerator_over(as_dictionary(self)->values);
}

static NSUInteger enumerate(id self, SEL _cmd, sm_fast_enumeration *state, id *room, NSUInteger capacity)
{
    id keys = as_dictionary(self)->keys;
    if (!keys) return 0;
    IMP next = sm_implementation(keys, "countByEnumeratingWithState:objects:count:");
    return ((NSUInteger(*)(id, SEL, sm_fast_enumeration *, id *, NSUInteger))next)(keys, _cmd, state, room, capacity);
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    if (!sm_is_kind(other, &sm_dictionary_class) || sm_dictionary_count(self) != sm_dictionary_count(other)) return false;
    for (size_t i = 0; i < sm_dictionary_count(self); i++) {
        id key, value;
        sm_dictionary_at(self, i, &key, &value);
        if (!sm_equal(value, object_for_key(other, _cmd, key))) return false;
    }
    return true;
}

static id copy_to(id self, Class class)
{
    id dictionary = sm_new(class);
    for (size_t i = 0; dictionary && i < sm_dictionary_count(self); i++) {
        id key, value;
        sm_dictionary_at(self, i, &key, &value);
        if (set(dictionary, key, value)) continue;
        sm_release(dictionary);
        return NULL;
    }
    return dictionary;
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    return self->isa == &sm_dictionary_class ? sm_retain(self) : copy_to(self, &sm_dictionary_class);
}

static id mutable_copy(id self, SEL _cmd)
{
    (void)_cmd;
    return copy_to(self, &sm_mutable_dictionary_class);
}

/* ---- Changing it */

static void set_object(id self, SEL _cmd, id value, id key)
{
    if (not_nil(self, _cmd, key, value)) set(self, key, value);
}

static void remove_object(id self, SEL _cmd, id key)
{
    (void)_cmd;
    size_t index = key ? find(self, key) : SM_NO_INDEX;
    if (index == SM_NO_INDEX) return;
    call_at(as_dictionary(self)->keys, "removeObjectAtIndex:", index);
    call_at(as_dictionary(self)->values, "removeObjectAtIndex:", index);
}

static void remove_all(id self, SEL _cmd)
{
    (void)_cmd;
    objc_storeStrong(&as_dictionary(self)->keys, NULL);
    objc_storeStrong(&as_dictionary(self)->values, NULL);
}

static const sm_method methods[] = {
    SM_METHOD("initWithObjects:forKeys:count:", "@@:^@^@Q", init),
    SM_METHOD("count", "Q@:", count),
    SM_METHOD("objectForKey:", "@@:@", object_for_key),
    SM_METHOD("objectForKeyedSubscript:", "@@:@", object_for_key),
    SM_METHOD("valueForKey:", "@@:@", object_for_key),
    SM_METHOD("allKeys", "@@:", all_keys),
    SM_METHOD("allValues", "@@:", all_values),
    SM_METHOD("keyEnumerator", "@@:", key_enumerator),
    SM_METHOD("objectEnumerator", "@@:", object_enumerator),
    SM_METHOD("countByEnumeratingWithState:objects:count:", "Q@:^v^@Q", enumerate),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("isEqualToDictionary:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", count),
    SM_METHOD("copy", "@@:", copy),
    SM_METHOD("mutableCopy", "@@:", mutable_copy),
};

static const sm_method class_methods[] = {
    SM_METHOD("dictionary", "@@:", new_empty),
    SM_METHOD("dictionaryWithObject:forKey:", "@@:@@", with_object),
    SM_METHOD("dictionaryWithObjects:forKeys:count:", "@@:^@^@Q", with_objects),
};

static const sm_method mutable_methods[] = {
    SM_METHOD("setObject:forKey:", "v@:@@", set_object), SM_METHOD("setObject:forKeyedSubscript:", "v@:@@", set_object),
    SM_METHOD("setValue:forKey:", "v@:@@", set_object),  SM_METHOD("removeObjectForKey:", "v@:@", remove_object),
    SM_METHOD("removeAllObjects", "v@:", remove_all),
};

static const sm_method mutable_class_methods[] = {
    SM_METHOD("dictionaryWithCapacity:", "@@:Q", with_capacity),
};

sm_class sm_dictionary_class = {
    .name = "NSDictionary",
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_dictionary),
    .dealloc = dealloc,
};
SM_REGISTER_AT_LOAD(sm_dictionary_class)

sm_class sm_mutable_dictionary_class = {
    .name = "NSMutableDictionary",
    .super = &sm_dictionary_class,
    SM_METHODS(mutable_methods),
    SM_CLASS_METHODS(mutable_class_methods),
    .size = sizeof(sm_dictionary),
};
SM_REGISTER_AT_LOAD(sm_mutable_dictionary_class)

/* ---- For the other parts */

id sm_dictionary_create(const id *keys, const id *values, size_t number)
{
    id dictionary = sm_new(&sm_dictionary_class);
    return dictionary ? init(dictionary, sel_registerName("initWithObjects:forKeys:count:"), values, keys, number) : NULL;
}

id sm_dictionary_get(id dictionary, const char *key)
{
    for (size_t i = 0; i < sm_dictionary_count(dictionary); i++) {
        id there, value;
        sm_dictionary_at(dictionary, i, &there, &value);
        if (sm_is_kind(there, &sm_string_class) && strcmp(sm_string_utf8(there), key) == 0) return value;
    }
    return NULL;
}

size_t sm_dictionary_count(id dictionary)
{
    return dictionary ? sm_array_count(as_dictionary(dictionary)->keys) : 0;
}

void sm_dictionary_at(id dictionary, size_t index, id *key, id *value)
{
    *key = sm_array_at(as_dictionary(dictionary)->keys, index);
    *value = sm_array_at(as_dictionary(dictionary)->values, index);
}
