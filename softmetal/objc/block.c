/* Blocks, by the ABI that clang's documentation gives (Block-ABI-Apple). A heap block has its references in the flags, as
 * compiled code expects, and the object's magic in the reserved word: so it is quarantined and reported on as objects are. */
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <stdlib.h>
#include <string.h>

enum {
    SM_BLOCK_REFERENCES = 0xfffe, /* in steps of two: the lowest bit is not ours */
    SM_BLOCK_REFERENCE = 2,
    SM_BLOCK_ON_HEAP = 1 << 24,
    SM_BLOCK_HAS_HELPERS = 1 << 25,
    SM_BLOCK_IS_GLOBAL = 1 << 28,
};

/* Of a captured variable. */
enum {
    SM_FIELD_OBJECT = 3,
    SM_FIELD_BLOCK = 7,
    SM_FIELD_BYREF = 8,
    SM_FIELD_WEAK = 16,
    SM_FIELD_IN_BYREF = 128,
};

typedef struct sm_block_descriptor {
    unsigned long reserved, size;
    void (*copy)(void *to, const void *from); /* with SM_BLOCK_HAS_HELPERS */
    void (*dispose)(const void *block);
} sm_block_descriptor;

typedef struct sm_block {
    Class isa;
    atomic_int flags;
    uint32_t magic;
    void (*invoke)(void);
    const sm_block_descriptor *descriptor;
} sm_block;

/* A __block variable, which moves to the heap with the first block that captures it. */
typedef struct sm_byref {
    void *isa;
    struct sm_byref *forwarding;
    atomic_int flags;
    uint32_t size;
    void (*keep)(struct sm_byref *to, struct sm_byref *from); /* with SM_BLOCK_HAS_HELPERS */
    void (*destroy)(struct sm_byref *variable);
} sm_byref;

/* ---- Copy and release */

static uint64_t call_of_ended_block(void *block)
{
    (void)block;
    sm_reportf(SOFTMETAL_USE_AFTER_END, "a block that has ended was called");
    return 0;
}

static sm_block *to_heap(const sm_block *block)
{
    sm_block *copy = sm_allocate(block->descriptor->size);
    if (!copy) return NULL;
    int flags = atomic_load_explicit(&block->flags, memory_order_relaxed) & ~(SM_BLOCK_REFERENCES | 1);
    memcpy((void *)copy, block, block->descriptor->size);
    copy->isa = &_NSConcreteMallocBlock;
    copy->magic = SM_ALIVE;
    atomic_init(&copy->flags, flags | SM_BLOCK_ON_HEAP | SM_BLOCK_REFERENCE);
    if (flags & SM_BLOCK_HAS_HELPERS) block->descriptor->copy(copy, block);
    sm_count_live(&_NSConcreteMallocBlock, 1);
    return copy;
}

static bool has_ended(const sm_block *block)
{
    return block->isa == &_NSConcreteMallocBlock && block->magic == SM_ENDED;
}

void *_Block_copy(const void *source)
{
    sm_block *block = (sm_block *)source;
    if (!block) return NULL;
    if (has_ended(block)) {
        sm_reportf(SOFTMETAL_USE_AFTER_END, "a block that has ended was copied");
        return NULL;
    }
    int flags = atomic_load_explicit(&block->flags, memory_order_relaxed);
    if (flags & SM_BLOCK_IS_GLOBAL) return block;
    if (!(flags & SM_BLOCK_ON_HEAP)) return to_heap(block);
    atomic_fetch_add_explicit(&block->flags, SM_BLOCK_REFERENCE, memory_order_relaxed);
    return block;
}

static void end(sm_block *block)
{
    size_t size = block->descriptor->size;
    if (atomic_load_explicit(&block->flags, memory_order_relaxed) & SM_BLOCK_HAS_HELPERS) block->descriptor->dispose(block);
    sm_count_live(&_NSConcreteMallocBlock, -1);
    memset((char *)block + sizeof *block, SM_ENDED_FILL, size - sizeof *block);
    block->invoke = (void (*)(void))call_of_ended_block;
    sm_bury((id)block, size);
}

void _Block_release(const void *released)
{
    sm_block *block = (sm_block *)released;
    if (!block) return;
    if (has_ended(block)) {
        sm_reportf(SOFTMETAL_OVER_RELEASE, "a block that has ended was released");
        return;
    }
    int flags = atomic_load_explicit(&block->flags, memory_order_relaxed);
    if (flags & SM_BLOCK_IS_GLOBAL || !(flags & SM_BLOCK_ON_HEAP)) return;
    int before = atomic_fetch_sub_explicit(&block->flags, SM_BLOCK_REFERENCE, memory_order_acq_rel);
    if ((before & SM_BLOCK_REFERENCES) == SM_BLOCK_REFERENCE) end(block);
}

void *sm_block_copy(const void *block)
{
    return _Block_copy(block);
}

void sm_block_release(void *block)
{
    _Block_release(block);
}

id objc_retainBlock(id block)
{
    return _Block_copy(block);
}

/* ---- Calls */

void sm_block_call0(void *block)
{
    if (block) ((void (*)(void *))((sm_block *)block)->invoke)(block);
}

void sm_block_call1(void *block, id argument)
{
    if (block) ((void (*)(void *, id))((sm_block *)block)->invoke)(block, argument);
}

void sm_block_call2(void *block, id first, id second)
{
    if (block) ((void (*)(void *, id, id))((sm_block *)block)->invoke)(block, first, second);
}

void sm_block_call3(void *block, id first, id second, id third)
{
    if (block) ((void (*)(void *, id, id, id))((sm_block *)block)->invoke)(block, first, second, third);
}

void sm_block_call_pointer(void *block, const void *pointer, uint64_t value)
{
    if (block) ((void (*)(void *, const void *, uint64_t))((sm_block *)block)->invoke)(block, pointer, value);
}

/* ---- What compiled blocks do with their captures */

static sm_byref *byref_to_heap(sm_byref *variable)
{
    sm_byref *copy = sm_allocate(variable->size);
    if (!copy) return variable;
    int flags = atomic_load_explicit(&variable->flags, memory_order_relaxed);
    memcpy((void *)copy, variable, variable->size);
    copy->isa = NULL;
    copy->forwarding = variable->forwarding = copy;
    /* Two references: the block's, and that of the function whose variable it is. */
    atomic_init(&copy->flags, (flags & ~SM_BLOCK_REFERENCES) | SM_BLOCK_ON_HEAP | 2 * SM_BLOCK_REFERENCE);
    if (flags & SM_BLOCK_HAS_HELPERS) copy->keep(copy, variable);
    return copy;
}

static sm_byref *byref_copy(sm_byref *variable)
{
    sm_byref *there = variable->forwarding;
    if (!(atomic_load_explicit(&there->flags, memory_order_relaxed) & SM_BLOCK_ON_HEAP)) return byref_to_heap(variable);
    atomic_fetch_add_explicit(&there->flags, SM_BLOCK_REFERENCE, memory_order_relaxed);
    return there;
}

static void byref_release(sm_byref *variable)
{
    sm_byref *there = variable->forwarding;
    int flags = atomic_load_explicit(&there->flags, memory_order_relaxed);
    if (!(flags & SM_BLOCK_ON_HEAP)) return;
    int before = atomic_fetch_sub_explicit(&there->flags, SM_BLOCK_REFERENCE, memory_order_acq_rel);
    if ((before & SM_BLOCK_REFERENCES) != SM_BLOCK_REFERENCE) return;
    if (flags & SM_BLOCK_HAS_HELPERS) there->destroy(there);
    free(there);
}

void _Block_object_assign(void *to, const void *object, int flags)
{
    const void **place = to;
    switch (flags & ~SM_FIELD_WEAK) {
    case SM_FIELD_OBJECT: *place = sm_retain((id)object); break;
    case SM_FIELD_BLOCK: *place = _Block_copy(object); break;
    case SM_FIELD_BYREF: *place = byref_copy((sm_byref *)object); break;
    default: *place = object; break; /* in a __block variable: it owns nothing */
    }
}

void _Block_object_dispose(const void *object, int flags)
{
    switch (flags & ~SM_FIELD_WEAK) {
    case SM_FIELD_OBJECT: sm_release((id)object); break;
    case SM_FIELD_BLOCK: _Block_release(object); break;
    case SM_FIELD_BYREF: byref_release((sm_byref *)object); break;
    default: break;
    }
}

/* ---- Their classes */

static id block_copy_method(id self, SEL _cmd)
{
    (void)_cmd;
    return _Block_copy(self);
}

static const sm_method block_methods[] = {SM_METHOD("copy", "@@:", block_copy_method)};

static sm_class block_class = {.name = "NSBlock", SM_METHODS(block_methods), .size = sizeof(sm_block)};
sm_class _NSConcreteGlobalBlock = {.name = "__NSGlobalBlock__", .super = &block_class};
sm_class _NSConcreteStackBlock = {.name = "__NSStackBlock__", .super = &block_class};
sm_class _NSConcreteMallocBlock = {.name = "__NSMallocBlock__", .super = &block_class};
SM_REGISTER_AT_LOAD(_NSConcreteGlobalBlock)
SM_REGISTER_AT_LOAD(_NSConcreteStackBlock)
SM_REGISTER_AT_LOAD(_NSConcreteMallocBlock)
