/* Weak references: a list of places that are set to nil when their object ends. */
#include "objc/memory.h"
#include "objc/runtime.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct sm_weak {
    id *location;
    id object;
} sm_weak;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sm_weak *places;
static size_t capacity;
static _Atomic size_t count; /* looked at without the lock by objects that end: most programs have no weak references */

static void remove_place(id *location)
{
    for (size_t i = 0; i < count; i++) {
        if (places[i].location != location) continue;
        places[i] = places[--count];
        return;
    }
}

static bool add_place(id *location, id object)
{
    if (count == capacity) {
        size_t wanted = capacity > 0 ? 2 * capacity : 32;
        void *more = sm_reallocate(places, wanted * sizeof *places);
        if (!more) return false;
        places = more;
        capacity = wanted;
    }
    places[count].location = location;
    places[count].object = object;
    count++;
    return true;
}

static bool is_alive(id object)
{
    return object && object->magic == SM_ALIVE && !sm_is_block(object) &&
           atomic_load_explicit(&object->references, memory_order_relaxed) > 0;
}

id objc_storeWeak(id *location, id object)
{
    pthread_mutex_lock(&lock);
    remove_place(location);
    *location = is_alive(object) && add_place(location, object) ? object : NULL;
    object = *location;
    pthread_mutex_unlock(&lock);
    return object;
}

id objc_initWeak(id *location, id object)
{
    *location = NULL;
    return object ? objc_storeWeak(location, object) : NULL;
}

/* One reference more, unless the last has just been given back. */
static bool retain_if_alive(id object)
{
    int references = atomic_load_explicit(&object->references, memory_order_relaxed);
    while (references > 0 && references < SM_IMMORTAL) {
        if (atomic_compare_exchange_weak(&object->references, &references, references + 1)) return true;
    }
    return references >= SM_IMMORTAL;
}

id objc_loadWeakRetained(id *location)
{
    pthread_mutex_lock(&lock);
    id object = *location;
    if (object && !retain_if_alive(object)) object = NULL;
    pthread_mutex_unlock(&lock);
    return object;
}

id objc_loadWeak(id *location)
{
    return sm_autorelease(objc_loadWeakRetained(location));
}

void objc_destroyWeak(id *location)
{
    objc_storeWeak(location, NULL);
}

void objc_copyWeak(id *to, id *from)
{
    id object = objc_loadWeakRetained(from);
    objc_initWeak(to, object);
    sm_release(object);
}

void objc_moveWeak(id *to, id *from)
{
    objc_copyWeak(to, from);
    objc_destroyWeak(from);
}

void sm_clear_weak(id object)
{
    if (atomic_load(&count) == 0) return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count;) {
        if (places[i].object != object) {
            i++;
            continue;
        }
        *places[i].location = NULL;
        places[i] = places[--count];
    }
    pthread_mutex_unlock(&lock);
}
