/* Autorelease pools: a stack a thread, on which NULL marks where a pool begins. */
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct sm_pools {
    id *objects;
    size_t count, capacity;
    size_t depth; /* pools that are open */
} sm_pools;

static __thread sm_pools *mine;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool key_made;

static void pop_to(sm_pools *pools, size_t count)
{
    while (pools->count > count) {
        id object = pools->objects[--pools->count];
        if (object)
            sm_release(object);
        else
            pools->depth--;
    }
}

/* A thread ends with pools open: they are drained, as on a Mac. */
static void thread_ends(void *value)
{
    sm_pools *pools = value;
    mine = pools;
    pop_to(pools, 0);
    mine = NULL;
    free(pools->objects);
    free(pools);
}

static void make_key(void)
{
    key_made = pthread_key_create(&key, thread_ends) == 0;
}

static sm_pools *pools_of_thread(void)
{
    if (mine) return mine;
    pthread_once(&once, make_key);
    sm_pools *pools = key_made ? sm_allocate(sizeof *pools) : NULL;
    if (pools && pthread_setspecific(key, pools) != 0) {
        free(pools);
        pools = NULL;
    }
    return mine = pools;
}

static bool push(sm_pools *pools, id object)
{
    if (pools->count == pools->capacity) {
        size_t capacity = pools->capacity > 0 ? 2 * pools->capacity : 64;
        id *more = sm_reallocate(pools->objects, capacity * sizeof *more);
        if (!more) return false;
        pools->objects = more;
        pools->capacity = capacity;
    }
    pools->objects[pools->count++] = object;
    return true;
}

/* A pool is its place on the stack, from 1. NULL if there is no memory: then what was to be drained by it is drained by the one
 * below. */
void *sm_pool_push(void)
{
    sm_pools *pools = pools_of_thread();
    if (!pools || !push(pools, NULL)) return NULL;
    pools->depth++;
    return (void *)(uintptr_t)pools->count;
}

void sm_pool_pop(void *pool)
{
    size_t place = (uintptr_t)pool;
    if (place == 0) return;
    if (!mine || place > mine->count || mine->objects[place - 1]) {
        sm_reportf(SOFTMETAL_VALIDATION, "an autorelease pool was popped that is not open on this thread");
        return;
    }
    pop_to(mine, place - 1);
}

id sm_autorelease(id object)
{
    if (!object) return NULL;
    if (object->magic == SM_ENDED) {
        sm_reportf(SOFTMETAL_OVER_RELEASE, "a %s that has ended was autoreleased", object->isa->name);
        return NULL;
    }
    sm_pools *pools = pools_of_thread();
    if (pools && pools->depth > 0 && push(pools, object)) return object;
    sm_reportf(SOFTMETAL_LEAK, "a %s was autoreleased without a pool", object->isa->name);
    return object;
}

void *objc_autoreleasePoolPush(void)
{
    return sm_pool_push();
}

void objc_autoreleasePoolPop(void *pool)
{
    sm_pool_pop(pool);
}

/* ---- NSAutoreleasePool */

typedef struct sm_pool_object {
    sm_object object;
    void *pool;
} sm_pool_object;

static id pool_init(id self, SEL _cmd)
{
    (void)_cmd;
    ((sm_pool_object *)self)->pool = sm_pool_push();
    return self;
}

static void pool_drain(id self, SEL _cmd)
{
    (void)_cmd;
    sm_release(self);
}

static id pool_cannot(id self, SEL _cmd)
{
    sm_reportf(SOFTMETAL_VALIDATION, "'%s' sent to an NSAutoreleasePool, which is drained and nothing else", sel_getName(_cmd));
    return self;
}

static void pool_dealloc(id self)
{
    sm_pool_pop(((sm_pool_object *)self)->pool);
}

static void pool_add(id self, SEL _cmd, id object)
{
    (void)self, (void)_cmd;
    sm_autorelease(object);
}

static const sm_method pool_methods[] = {
    SM_METHOD("init", "@@:", pool_init),       SM_METHOD("drain", "v@:", pool_drain),
    SM_METHOD("retain", "@@:", pool_cannot),   SM_METHOD("autorelease", "@@:", pool_cannot),
    SM_METHOD("addObject:", "v@:@", pool_add),
};

static const sm_method pool_class_methods[] = {
    SM_METHOD("addObject:", "v@:@", pool_add),
};

static sm_class pool_class = {
    .name = "NSAutoreleasePool",
    SM_METHODS(pool_methods),
    SM_CLASS_METHODS(pool_class_methods),
    .size = sizeof(sm_pool_object),
    .dealloc = pool_dealloc,
};
SM_REGISTER_AT_LOAD(pool_class)
