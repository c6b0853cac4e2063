/* MTLEvent, MTLSharedEvent and its listeners, MTLFence.
 *
 * One lock and one condition for all events: they are few, and waits on them rare. */
#include "metal/metal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* What is to be called when an event comes to a value. */
typedef struct sm_notice {
    struct sm_notice *next;
    uint64_t value;
    struct sm_listener *listener; /* retained */
    id event;                     /* retained while it waits to be called */
    void *block;
} sm_notice;

/* Calls its blocks on a thread of its own, as a dispatch queue would. */
typedef struct sm_listener {
    sm_object object;
    id queue; /* the host's; not used */
    sm_notice *first, **end;
    bool started, ending;
    pthread_t thread;
} sm_listener;

static sm_event *of(id self)
{
    return (sm_event *)self;
}

id sm_event_create(sm_device *device, bool shared)
{
    return sm_base_new(shared ? &sm_shared_event_class : &sm_event_class, device);
}

/* ---- Listeners */

static _Thread_local sm_listener *own;

static void free_notice(sm_notice *notice)
{
    sm_block_release(notice->block);
    sm_release(notice->event);
    sm_release((id)notice->listener);
    free(notice);
}

static void *listen(void *argument)
{
    sm_listener *listener = own = argument;
    pthread_mutex_lock(&lock);
    while (!listener->ending || listener->first) {
        sm_notice *notice = listener->first;
        if (!notice) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        listener->first = notice->next;
        if (!listener->first) listener->end = &listener->first;
        pthread_mutex_unlock(&lock);
        sm_unsettle();
        void *pool = sm_pool_push();
        sm_block_call_pointer(notice->block, notice->event, notice->value);
        sm_pool_pop(pool);
        free_notice(notice);
        sm_settle();
        if (!own) return NULL; /* that was the listener's last reference */
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void hand_over_locked(sm_notice *notice)
{
    sm_listener *listener = notice->listener;
    notice->next = NULL;
    if (!listener->end) listener->end = &listener->first;
    *listener->end = notice;
    listener->end = &notice->next;
    if (!listener->started) listener->started = pthread_create(&listener->thread, NULL, listen, listener) == 0;
}

static void listener_dealloc(id self)
{
    sm_listener *listener = (sm_listener *)self;
    pthread_mutex_lock(&lock);
    listener->ending = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (listener->started && own == listener) {
        pthread_detach(listener->thread);
        own = NULL;
    } else if (listener->started) {
        pthread_join(listener->thread, NULL);
    }
    sm_release(listener->queue);
}

static id listener_init(id self, SEL cmd, id queue)
{
    (void)cmd;
    sm_store(&((sm_listener *)self)->queue, NULL);
    (void)queue; /* a libdispatch object, which is no object of this library's */
    return self;
}

static id listener_queue(id self, SEL cmd)
{
    (void)cmd;
    return ((sm_listener *)self)->queue;
}

static id shared_listener(id self, SEL cmd)
{
    static id shared;
    (void)self, (void)cmd;
    pthread_mutex_lock(&lock);
    if (!shared) shared = sm_make_immortal(sm_new(&sm_listener_class));
    pthread_mutex_unlock(&lock);
    return shared;
}

static const sm_method listener_methods[] = {
    SM_METHOD("initWithDispatchQueue:", "@@:@", listener_init),
    SM_METHOD("dispatchQueue", "@@:", listener_queue),
};
static const sm_method listener_class_methods[] = {SM_METHOD("sharedListener", "@@:", shared_listener)};
sm_class sm_listener_class = {.name = "MTLSharedEventListener",
                              .size = sizeof(sm_listener),
                              .dealloc = listener_dealloc,
                              SM_METHODS(listener_methods),
                              SM_CLASS_METHODS(listener_class_methods)};
SM_REGISTER_AT_LOAD(sm_listener_class)

/* ---- Values */

/* Values only grow. */
void sm_event_signal(sm_event *event, uint64_t value)
{
    pthread_mutex_lock(&lock);
    if (value > event->value) event->value = value;
    for (sm_notice **at = &event->notices; *at;) {
        sm_notice *notice = *at;
        if (notice->value > event->value) {
            at = &notice->next;
            continue;
        }
        *at = notice->next;
        notice->event = sm_retain((id)event);
        hand_over_locked(notice);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int working; /* command buffers that execute, and do not wait for an event */

void sm_events_working(int change)
{
    pthread_mutex_lock(&lock);
    working += change;
    if (working == 0) pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* The time counts while no command buffer does anything: then the CPU alone could signal. */
sm_waited sm_event_wait(sm_device *device, sm_event *event, uint64_t value)
{
    uint32_t limit = device->world.kernel_time_limit_ms;
    bool in_time = true;
    pthread_mutex_lock(&lock);
    if (--working == 0) pthread_cond_broadcast(&changed);
    struct timespec when = sm_time_in(limit);
    while (event->value < value && !sm_device_is_removed(device) && in_time) {
        if (working > 0 || limit == UINT32_MAX) {
            pthread_cond_wait(&changed, &lock);
            when = sm_time_in(limit);
        } else {
            in_time = pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &when) != ETIMEDOUT;
        }
    }
    working++;
    sm_waited waited = event->value >= value ? SM_WAITED : in_time ? SM_WAIT_REMOVED : SM_WAIT_TOO_LONG;
    uint64_t last = event->value;
    pthread_mutex_unlock(&lock);
    if (waited == SM_WAIT_TOO_LONG)
        sm_misuse("MTLCommandBuffer encodeWaitForEvent:value:", "event '%s' stayed at %llu for %u ms, and %llu is waited for",
                  sm_label_of((id)event, "without a label"), (unsigned long long)last, limit, (unsigned long long)value);
    return waited;
}

void sm_events_wake(void)
{
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static uint64_t signaled(id self, SEL cmd)
{
    (void)cmd;
    pthread_mutex_lock(&lock);
    uint64_t value = of(self)->value;
    pthread_mutex_unlock(&lock);
    return value;
}

static void set_signaled(id self, SEL cmd, uint64_t value)
{
    uint64_t before = signaled(self, cmd);
    if (value < before)
        sm_misuse("MTLSharedEvent setSignaledValue:", "event '%s' has the value %llu and is set to %llu; values only grow",
                  sm_label_of(self, "without a label"), (unsigned long long)before, (unsigned long long)value);
    sm_event_signal(of(self), value);
}

static BOOL wait_until(id self, SEL cmd, uint64_t value, uint64_t milliseconds)
{
    (void)cmd;
    struct timespec when = sm_time_in(milliseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)milliseconds);
    pthread_mutex_lock(&lock);
    int result = 0;
    while (of(self)->value < value && result != ETIMEDOUT)
        result = pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &when);
    BOOL reached = of(self)->value >= value;
    pthread_mutex_unlock(&lock);
    return reached;
}

static void notify(id self, SEL cmd, id given, uint64_t value, const void *block)
{
    (void)cmd;
    const char *method = "MTLSharedEvent notifyListener:atValue:block:";
    sm_listener *listener = (sm_listener *)sm_expect_kind(given, &sm_listener_class, method);
    if (!listener || !block) {
        sm_misuse(method, "the %s is nil", listener ? "block" : "listener");
        return;
    }
    sm_notice *notice = sm_allocate(sizeof *notice);
    if (!notice) return;
    notice->listener = (sm_listener *)sm_retain((id)listener);
    notice->value = value;
    notice->block = sm_block_copy(block);
    pthread_mutex_lock(&lock);
    if (of(self)->value >= value) {
        notice->event = sm_retain(self);
        hand_over_locked(notice);
    } else {
        notice->next = of(self)->notices;
        of(self)->notices = notice;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void dealloc(id self)
{
    while (of(self)->notices) {
        sm_notice *next = of(self)->notices->next;
        free_notice(of(self)->notices);
        of(self)->notices = next;
    }
    sm_base_dealloc(self);
}

static id no_handle(id self, SEL cmd)
{
    (void)cmd;
    sm_misuse("MTLSharedEvent newSharedEventHandle", "event '%s': softmetal does not reach into other processes",
              sm_label_of(self, "without a label"));
    return NULL;
}

static const sm_method event_methods[] = {SM_DEVICE_METHOD, SM_LABEL_METHODS};
sm_class sm_event_class = {
    .name = "SoftMTLEvent", .protocol = "MTLEvent", .size = sizeof(sm_event), .dealloc = dealloc, SM_METHODS(event_methods)};
SM_REGISTER_AT_LOAD(sm_event_class)

static const sm_method shared_methods[] = {
    SM_METHOD("signaledValue", "Q@:", signaled),
    SM_METHOD("setSignaledValue:", "v@:Q", set_signaled),
    SM_METHOD("waitUntilSignaledValue:timeoutMS:", "B@:QQ", wait_until),
    SM_METHOD("notifyListener:atValue:block:", "v@:@Q@?", notify),
    SM_METHOD("newSharedEventHandle", "@@:", no_handle),
};
sm_class sm_shared_event_class = {.name = "SoftMTLSharedEvent",
                                  .protocol = "MTLSharedEvent",
                                  .super = &sm_event_class,
                                  .size = sizeof(sm_event),
                                  SM_METHODS(shared_methods)};
SM_REGISTER_AT_LOAD(sm_shared_event_class)

static const sm_method fence_methods[] = {SM_DEVICE_METHOD, SM_LABEL_METHODS};
sm_class sm_fence_class = {.name = "SoftMTLFence",
                           .protocol = "MTLFence",
                           .size = sizeof(sm_base),
                           .dealloc = sm_base_dealloc,
                           SM_METHODS(fence_methods)};
SM_REGISTER_AT_LOAD(sm_fence_class)
