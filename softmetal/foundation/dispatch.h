/* What hosts use of libdispatch, under Apple's names; the Metal part runs listeners on its queues. */
#ifndef SOFTMETAL_FOUNDATION_DISPATCH_H
#define SOFTMETAL_FOUNDATION_DISPATCH_H

#include "foundation/foundation.h"
#include "softmetal.h"

#define DISPATCH_TIME_NOW 0
#define DISPATCH_TIME_FOREVER UINT64_MAX

typedef uint64_t dispatch_time_t;
typedef void (*dispatch_function_t)(void *context);

/* Queues, data and semaphores are objects: sm_retain and sm_release do as well. */
SOFTMETAL_API void dispatch_retain(id object);
SOFTMETAL_API void dispatch_release(id object);

SOFTMETAL_API id dispatch_data_create(const void *buffer, size_t size, id queue, void *destructor);
SOFTMETAL_API extern const void *const _dispatch_data_destructor_free; /* DISPATCH_DATA_DESTRUCTOR_FREE */
SOFTMETAL_API size_t dispatch_data_get_size(id data);
SOFTMETAL_API id dispatch_data_create_map(id data, const void **buffer, size_t *size);

SOFTMETAL_API dispatch_time_t dispatch_time(dispatch_time_t when, int64_t nanoseconds);
SOFTMETAL_API id dispatch_semaphore_create(long value);
SOFTMETAL_API long dispatch_semaphore_wait(id semaphore, dispatch_time_t timeout);
SOFTMETAL_API long dispatch_semaphore_signal(id semaphore);

SOFTMETAL_API id dispatch_queue_create(const char *label, id attributes);
SOFTMETAL_API id dispatch_get_global_queue(long priority, unsigned long flags);
SOFTMETAL_API const char *dispatch_queue_get_label(id queue);
SOFTMETAL_API void dispatch_async_f(id queue, void *context, dispatch_function_t work);
SOFTMETAL_API void dispatch_async(id queue, void *block);
SOFTMETAL_API void dispatch_sync_f(id queue, void *context, dispatch_function_t work);
SOFTMETAL_API void dispatch_sync(id queue, void *block);

#endif
