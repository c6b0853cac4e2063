/* NSArray, NSMutableArray and NSEnumerator. As on a Mac, one that can change is for one thread at a time. */
#include "foundation/array.h"
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct sm_array {
    sm_object object;
    id *items;
    size_t count, capacity;
    unsigned long mutations;
} sm_array;

static sm_array *as_array(id self)
{
    return (sm_array *)self;
}

static bool reserve(sm_array *array, size_t count)
{
    if (count <= array->capacity) return true;
    size_t capacity = count > 2 * array->capacity ? count : 2 * array->capacity;
    id *items = capacity < SIZE_MAX / sizeof *items ? sm_reallocate(array->items, capacity * sizeof *items) : NULL;
    if (!items) return false;
    array->items = items;
    array->capacity = capacity;
    return true;
}

static bool insert(sm_array *array, size_t index, id object)
{
    if (!reserve(array, array->count + 1)) return false;
    memmove(array->items + index + 1, array->items + index, (array->count - index) * sizeof *array->items);
    array->items[index] = sm_retain(object);
    array->count++;
    array->mutations++;
    return true;
}

static void remove_at(sm_array *array, size_t index)
{
    id object = array->items[index];
    array->count--;
    array->mutations++;
    memmove(array->items + index, array->items + index + 1, (array->count - index) * sizeof *array->items);
    sm_release(object);
}

/* On a Mac these raise an exception. */
static bool in_range(id self, SEL _cmd, size_t index, size_t end)
{
    if (index < end) return true;
    sm_reportf(SOFTMETAL_VALIDATION, "-[%s %s]: index %zu is beyond its %zu objects", self->isa->name, sel_getName(_cmd), index,
               as_array(self)->count);
    return false;
}

static bool not_nil(id self, SEL _cmd, id object)
{
    if (object) return true;
    sm_reportf(SOFTMETAL_VALIDATION, "-[%s %s]: an object is nil", self->isa->name, sel_getName(_cmd));
    return false;
}

/* ---- Making arrays */

static id init_objects(id self, SEL _cmd, const id *objects, NSUInteger count)
{
    bool good = reserve(as_array(self), count);
    for (NSUInteger i = 0; good && i < count; i++)
        good = not_nil(self, _cmd, objects[i]) && insert(as_array(self), i, objects[i]);
    if (good) return self;
    sm_release(self);
    return NULL;
}

/* Another NSArray, or nil: what else is given is reported, and taken as nil. */
static id argument(SEL _cmd, id other)
{
    if (!other || sm_is_kind(other, &sm_array_class)) return other;
    sm_reportf(SOFTMETAL_VALIDATION, "[NSArray %s]: the argument is %s, and must be an NSArray", sel_getName(_cmd),
               object_getClassName(other));
    return NULL;
}

static id init_array(id self, SEL _cmd, id other)
{
    other = argument(_cmd, other);
    return other ? init_objects(self, _cmd, as_array(other)->items, as_array(other)->count) : self;
}

static id init_capacity(id self, SEL _cmd, NSUInteger capacity)
{
    (void)_cmd;
    reserve(as_array(self), capacity < 4096 ? capacity : 4096); /* a hint */
    return self;
}

static id with_objects(id self, SEL _cmd, const id *objects, NSUInteger count)
{
    id array = sm_new((Class)self);
    return array ? sm_autorelease(init_objects(array, _cmd, objects, count)) : NULL;
}

static id with_object(id self, SEL _cmd, id object)
{
    return with_objects(self, _cmd, &object, 1);
}

static id with_array(id self, SEL _cmd, id other)
{
    other = argument(_cmd, other);
    return other ? with_objects(self, _cmd, as_array(other)->items, as_array(other)->count) : with_objects(self, _cmd, NULL, 0);
}

static id new_empty(id self, SEL _cmd)
{
    return with_objects(self, _cmd, NULL, 0);
}

static id with_capacity(id self, SEL _cmd, NSUInteger capacity)
{
    id array = sm_new((Class)self);
    return array ? sm_autorelease(init_capacity(array, _cmd, capacity)) : NULL;
}

static void dealloc(id self)
{
    for (size_t i = 0; i < as_array(self)->count; i++) sm_release(as_array(self)->items[i]);
    free(as_array(self)->items);
}

/* ---- What it holds */

static NSUInteger count(id self, SEL _cmd)
{
    (void)_cmd;
    return as_array(self)->count;
}

static id object_at(id self, SEL _cmd, NSUInteger index)
{
    return in_range(self, _cmd, index, as_array(self)->count) ? as_array(self)->items[index] : NULL;
}

static id first_object(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_array_at(self, 0);
}

static id last_object(id self, SEL _cmd)
{
    (void)_cmd;
    return as_array(self)->count > 0 ? as_array(self)->items[as_array(self)->count - 1] : NULL;
}

static NSUInteger index_of(id self, SEL _cmd, id object)
{
    (void)_cmd;
    for (size_t i = 0; object && i < as_array(self)->count; i++) {
        if (sm_equal(as_array(self)->items[i], object)) return i;
    }
    return INT64_MAX; /* NSNotFound */
}

static BOOL contains(id self, SEL _cmd, id object)
{
    return index_of(self, _cmd, object) != INT64_MAX;
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    (void)_cmd;
    if (!sm_is_kind(other, &sm_array_class) || as_array(self)->count != as_array(other)->count) return false;
    for (size_t i = 0; i < as_array(self)->count; i++) {
        if (!sm_equal(as_array(self)->items[i], as_array(other)->items[i])) return false;
    }
    return true;
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    if (self->isa == &sm_array_class) return sm_retain(self);
    return sm_array_create(as_array(self)->items, as_array(self)->count);
}

static id mutable_copy(id self, SEL _cmd)
{
    id array = sm_new(&sm_mutable_array_class);
    return array ? init_array(array, _cmd, self) : NULL;
}

static id description(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_autorelease(sm_string_createf("<%s: %zu objects>", self->isa->name, as_array(self)->count));
}

/* ---- Changing it */

static void add_object(id self, SEL _cmd, id object)
{
    if (not_nil(self, _cmd, object)) insert(as_array(self), as_array(self)->count, object);
}

static void insert_object(id self, SEL _cmd, id object, NSUInteger index)
{
    if (not_nil(self, _cmd, object) && in_range(self, _cmd, index, as_array(self)->count + 1))
        insert(as_array(self), index, object);
}

static void replace_object(id self, SEL _cmd, NSUInteger index, id object)
{
    if (!not_nil(self, _cmd, object) || !in_range(self, _cmd, index, as_array(self)->count)) return;
    objc_storeStrong(&as_array(self)->items[index], object);
}

static void remove_object_at(id self, SEL _cmd, NSUInteger index)
{
    if (in_range(self, _cmd, index, as_array(self)->count)) remove_at(as_array(self), index);
}

static void remove_last(id self, SEL _cmd)
{
    (void)_cmd;
    if (as_array(self)->count > 0) remove_at(as_array(self), as_array(self)->count - 1);
}

static void remove_object(id self, SEL _cmd, id object)
{
    NSUInteger index;
    while ((index = index_of(self, _cmd, object)) != INT64_MAX) remove_at(as_array(self), index);
}

static void remove_all(id self, SEL _cmd)
{
    while (as_array(self)->count > 0) remove_last(self, _cmd);
}

/* As setObject:atIndexedSubscript:, which array[i] = object sends. */
static void set_object(id self, SEL _cmd, id object, NSUInteger index)
{
    if (index == as_array(self)->count)
        add_object(self, _cmd, object);
    else
        replace_object(self, _cmd, index, object);
}

/* ---- Enumeration */

typedef struct sm_enumerator {
    sm_object object;
    id array;
    size_t next;
} sm_enumerator;

NSUInteger sm_enumerate(sm_fast_enumeration *state, id *items, size_t item_count, unsigned long *mutations)
{
    if (state->state != 0) return 0;
    state->state = 1;
    state->items = items;
    state->mutations = mutations;
    return item_count;
}

static NSUInteger enumerate(id self, SEL _cmd, sm_fast_enumeration *state, id *room, NSUInteger capacity)
{
    (void)_cmd, (void)room, (void)capacity;
    return sm_enumerate(state, as_array(self)->items, as_array(self)->count, &as_array(self)->mutations);
}

static id next_object(id self, SEL _cmd)
{
    (void)_cmd;
    sm_enumerator *enumerator = (sm_enumerator *)self;
    return enumerator->next < sm_array_count(enumerator->array) ? sm_array_at(enumerator->array, enumerator->next++) : NULL;
}

static id all_objects(id self, SEL _cmd)
{
    (void)_cmd;
    sm_enumerator *enumerator = (sm_enumerator *)self;
    size_t first = enumerator->next;
    enumerator->next = sm_array_count(enumerator->array);
    return sm_autorelease(sm_array_create(as_array(enumerator->array)->items + first, enumerator->next - first));
}

static NSUInteger enumerate_rest(id self, SEL _cmd, sm_fast_enumeration *state, id *room, NSUInteger capacity)
{
    (void)_cmd, (void)room, (void)capacity;
    static unsigned long never;
    sm_enumerator *enumerator = (sm_enumerator *)self;
    size_t first = enumerator->next;
    enumerator->next = sm_array_count(enumerator->array);
    return sm_enumerate(state, as_array(enumerator->array)->items + first, enumerator->next - first, &never);
}

static void enumerator_dealloc(id self)
{
    sm_release(((sm_enumerator *)self)->array);
}

static const sm_method enumerator_methods[] = {
    SM_METHOD("nextObject", "@@:", next_object),
    SM_METHOD("allObjects", "@@:", all_objects),
    SM_METHOD("countByEnumeratingWithState:objects:count:", "Q@:^v^@Q", enumerate_rest),
};

static sm_class enumerator_class = {
    .name = "NSEnumerator",
    SM_METHODS(enumerator_methods),
    .size = sizeof(sm_enumerator),
    .dealloc = enumerator_dealloc,
};
SM_REGISTER_AT_LOAD(enumerator_class)

id sm_enumerator_create(id array)
{
    sm_enumerator *enumerator = (sm_enumerator *)sm_new(&enumerator_class);
    if (!enumerator) return NULL;
    enumerator->array = sm_retain(array);
    return &enumerator->object;
}

static id object_enumerator(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_autorelease(sm_enumerator_create(self));
}

/* ---- Classes */

static const sm_method methods[] = {
    SM_METHOD("initWithObjects:count:", "@@:^@Q", init_objects),
    SM_METHOD("initWithArray:", "@@:@", init_array),
    SM_METHOD("count", "Q@:", count),
    SM_METHOD("objectAtIndex:", "@@:Q", object_at),
    SM_METHOD("objectAtIndexedSubscript:", "@@:Q", object_at),
    SM_METHOD("firstObject", "@@:", first_object),
    SM_METHOD("lastObject", "@@:", last_object),
    SM_METHOD("indexOfObject:", "Q@:@", index_of),
    SM_METHOD("containsObject:", "B@:@", contains),
    SM_METHOD("objectEnumerator", "@@:", object_enumerator),
    SM_METHOD("countByEnumeratingWithState:objects:count:", "Q@:^v^@Q", enumerate),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("isEqualToArray:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", count),
    SM_METHOD("copy", "@@:", copy),
    SM_METHOD("mutableCopy", "@@:", mutable_copy),
    SM_METHOD("description", "@@:", description),
};

static const sm_method class_methods[] = {
    SM_METHOD("array", "@@:", new_empty),
    SM_METHOD("arrayWithObject:", "@@:@", with_object),
    SM_METHOD("arrayWithObjects:count:", "@@:^@Q", with_objects),
    SM_METHOD("arrayWithArray:", "@@:@", with_array),
};

static const sm_method mutable_methods[] = {
    SM_METHOD("initWithCapacity:", "@@:Q", init_capacity),
    SM_METHOD("addObject:", "v@:@", add_object),
    SM_METHOD("insertObject:atIndex:", "v@:@Q", insert_object),
    SM_METHOD("replaceObjectAtIndex:withObject:", "v@:Q@", replace_object),
    SM_METHOD("setObject:atIndexedSubscript:", "v@:@Q", set_object),
    SM_METHOD("removeObjectAtIndex:", "v@:Q", remove_object_at),
    SM_METHOD("removeObject:", "v@:@", remove_object),
    SM_METHOD("removeLastObject", "v@:", remove_last),
    SM_METHOD("removeAllObjects", "v@:", remove_all),
};

static const sm_method mutable_class_methods[] = {
    SM_METHOD("arrayWithCapacity:", "@@:Q", with_capacity),
};

sm_class sm_array_class = {
    .name = "NSArray",
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_array),
    .dealloc = dealloc,
};
SM_REGISTER_AT_LOAD(sm_array_class)

sm_class sm_mutable_array_class = {
    .name = "NSMutableArray",
    .super = &sm_array_class,
    SM_METHODS(mutable_methods),
    SM_CLASS_METHODS(mutable_class_methods),
    .size = sizeof(sm_array),
};
SM_REGISTER_AT_LOAD(sm_mutable_array_class)

/* ---- For the other parts */

id sm_array_create(const id *objects, size_t object_count)
{
    id array = sm_new(&sm_array_class);
    return array ? init_objects(array, sel_registerName("initWithObjects:count:"), objects, object_count) : NULL;
}

id sm_mutable_array_create(void)
{
    return sm_new(&sm_mutable_array_class);
}

bool sm_array_add(id array, id object)
{
    return array && object && insert(as_array(array), as_array(array)->count, object);
}

size_t sm_array_count(id array)
{
    return array ? as_array(array)->count : 0;
}

id sm_array_at(id array, size_t index)
{
    return index < sm_array_count(array) ? as_array(array)->items[index] : NULL;
}
