/* Where a mistake is made, or not made: a device of some world, a queue, kernels of a text, two arrays. */
#ifndef SOFTMETAL_TESTS_SCENE_H
#define SOFTMETAL_TESTS_SCENE_H

#include "host.h"

enum { THREADS = 128, GROUP = 64 }; /* of most dispatches; the arrays have a float for each thread */

typedef struct scene {
    void *pool;
    id device, queue, library;
    id x, y;           /* x[t] is input(t), y is 0 */
    id left;           /* what a leak leaves alive: released at the very end */
    id buffer, encoder;
    char *refusal;     /* what the NSError says where the library did not compile */
} scene;

/* Whole numbers, whose sums are exact. */
static inline float input(uint32_t t)
{
    return (float)(t * 37 % 101);
}

/* A text holds its mistake and its correction as $mistake$correction$. */
static inline char *choose(const char *text, bool wrong)
{
    char *chosen = malloc(strlen(text) + 1), *to = chosen;
    int part = 0; /* 0 outside, 1 in the mistake, 2 in the correction */
    assert_non_null(chosen);
    for (; *text; text++) {
        if (*text == '$')
            part = (part + 1) % 3;
        else if (part == 0 || part == (wrong ? 1 : 2))
            *to++ = *text;
    }
    assert_int_equal(part, 0);
    *to = 0;
    return chosen;
}

static inline scene open_scene(const softmetal_world *world, const char *text)
{
    scene s = {0};
    id error = NULL;
    host.set_world(world);
    host.reset();
    s.pool = host.push_pool();
    s.device = host.create_device();
    assert_non_null(s.device);
    s.queue = get(s.device, "newCommandQueue");
    s.x = new_buffer(s.device, THREADS * sizeof(float), SHARED);
    s.y = new_buffer(s.device, THREADS * sizeof(float), SHARED);
    float *x = contents(s.x);
    for (uint32_t t = 0; t < THREADS; t++) x[t] = input(t);
    if (text) s.library = new_library(s.device, text, &error);
    if (text && !s.library) s.refusal = strdup(error_text(error));
    if (s.refusal && !world->strict) fail_msg("%s\n%s", text, s.refusal);
    return s;
}

/* Reports stay until the next scene. */
static inline void close_scene(scene *s)
{
    softmetal_counts counts;
    id all[] = {s->library, s->x, s->y, s->queue, s->device};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) release(all[i]);
    if (s->pool) host.pop_pool(s->pool);
    host.check_leaks();
    free(s->refusal);
    release(s->left);
    host.get_counts(&counts);
    assert_int_equal(counts.live_objects, 0);
    assert_int_equal(counts.live_buffer_bytes, 0);
}

static inline id pipeline(scene *s, const char *name)
{
    id error = NULL, function = new_function(s->library, name);
    if (!function) fail_msg("no function %s", name);
    id made = new_pipeline(s->device, function, &error);
    if (!made) fail_msg("%s: %s", name, error_text(error));
    release(function);
    return get(made, "autorelease");
}

static inline void begin(scene *s, bool concurrent)
{
    s->buffer = get(s->queue, "commandBuffer");
    s->encoder = SEND(id, (NSUInteger), s->buffer, "computeCommandEncoderWithDispatchType:", concurrent);
    set_buffer(s->encoder, s->x, 0, 0);
    set_buffer(s->encoder, s->y, 0, 1);
}

static inline void go(scene *s, const char *kernel)
{
    set_pipeline(s->encoder, pipeline(s, kernel));
    dispatch_threads(s->encoder, size1(THREADS), size1(GROUP));
}

/* True if it completed. */
static inline bool finished(scene *s)
{
    if (s->encoder) end(s->encoder);
    finish(s->buffer);
    return number(s->buffer, "status") == STATUS_COMPLETED;
}

static inline bool holds(id memory, float (*expected)(uint32_t t))
{
    const float *found = contents(memory);
    for (uint32_t t = 0; t < THREADS; t++) {
        if (found[t] == expected(t)) continue;
        print_error("element %u is %g, not %g\n", t, (double)found[t], (double)expected(t));
        return false;
    }
    return true;
}

#endif
