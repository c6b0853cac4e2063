/* Memory of ended objects is kept for a while, so that a message to one is named and not a crash. */
#include "objc/runtime.h"

#include <pthread.h>
#include <stdlib.h>

#define SM_QUARANTINE_OBJECTS 4096
#define SM_QUARANTINE_BYTES ((size_t)64 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    id object;
    size_t size;
} buried[SM_QUARANTINE_OBJECTS]; /* a ring */
static size_t first, count, bytes;

/* Takes the oldest out. */
static id exhume(void)
{
    id object = buried[first].object;
    bytes -= buried[first].size;
    first = (first + 1) % SM_QUARANTINE_OBJECTS;
    count--;
    return object;
}

void sm_bury(id object, size_t size)
{
    object->magic = SM_ENDED;
    atomic_store_explicit(&object->references, 0, memory_order_relaxed);
    pthread_mutex_lock(&lock);
    while (count > 0 && (count == SM_QUARANTINE_OBJECTS || bytes + size > SM_QUARANTINE_BYTES)) free(exhume());
    size_t place = (first + count) % SM_QUARANTINE_OBJECTS;
    buried[place].object = object;
    buried[place].size = size;
    bytes += size;
    count++;
    pthread_mutex_unlock(&lock);
}
