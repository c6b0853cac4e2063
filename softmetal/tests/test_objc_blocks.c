/* Blocks as C hosts lay them out by hand: global and stack ones, with captures and helpers. */
#include "objc_support.h"

enum { ON_HEAP = 1 << 24, HAS_HELPERS = 1 << 25, IS_GLOBAL = 1 << 28, HAS_SIGNATURE = 1 << 30 };

typedef struct descriptor {
    unsigned long reserved, size;
    void (*copy)(void *to, const void *from);
    void (*dispose)(const void *block);
} descriptor;

typedef struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(void);
    const descriptor *descriptor;
    /* captures */
    int *sum;
    int add;
    id object;
} block;

static void invoke0(block *self)
{
    *self->sum += self->add;
}

static void invoke1(block *self, id argument)
{
    *self->sum += self->add * (argument ? 10 : 1);
}

static void invoke2(block *self, id first, id second)
{
    *self->sum += self->add * ((first ? 10 : 1) + (second ? 100 : 0));
}

static void invoke_pointer(block *self, void *pointer, uint64_t length)
{
    *self->sum += *(int *)pointer + (int)length;
}

static void copy_captures(void *to, const void *from)
{
    _Block_object_assign(&((block *)to)->object, ((const block *)from)->object, 3);
}

static void dispose_captures(const void *self)
{
    _Block_object_dispose(((const block *)self)->object, 3);
}

static const descriptor plain = {0, sizeof(block), NULL, NULL};
static const descriptor with_helpers = {0, sizeof(block), copy_captures, dispose_captures};

static block on_stack(int *sum, int add, void (*invoke)(void))
{
    return (block){&_NSConcreteStackBlock, HAS_SIGNATURE, 0, invoke, &plain, sum, add, NULL};
}

static void global_blocks_stay_as_they_are(void **state)
{
    (void)state;
    static int sum;
    static block global = {
        &_NSConcreteGlobalBlock, IS_GLOBAL | HAS_SIGNATURE, 0, (void (*)(void))invoke0, &plain, &sum, 3, NULL};
    uint64_t live = sm_live_objects();
    assert_reports_nothing({
        void *copy = sm_block_copy(&global);
        assert_ptr_equal(copy, &global);
        sm_block_call0(copy);
        for (int i = 0; i < 5; i++) sm_block_release(copy);
        sm_block_call0(&global);
        assert_ptr_equal(objc_retain((id)&global), &global);
        objc_release((id)&global);
    });
    assert_int_equal(sum, 6);
    assert_int_equal(sm_live_objects(), live);
}

__attribute__((noinline)) static void *make(int *sum, int add)
{
    block local = on_stack(sum, add, (void (*)(void))invoke1);
    void *copy = sm_block_copy(&local);
    memset((void *)&local, 0xff, sizeof local); /* the stack it was on is gone */
    __asm__ volatile("" : : "r"(&local) : "memory");
    return copy;
}

static void stack_blocks_move_to_the_heap(void **state)
{
    (void)state;
    int sum = 0;
    uint64_t live = sm_live_objects();
    void *copy = make(&sum, 7);
    assert_int_equal(sm_live_objects(), live + 1);
    assert_ptr_equal(((block *)copy)->isa, &_NSConcreteMallocBlock);
    assert_true(((block *)copy)->flags & ON_HEAP);
    sm_block_call1(copy, NULL);
    sm_block_call1(copy, class_named("NSObject"));
    assert_int_equal(sum, 77);
    assert_ptr_equal(_Block_copy(copy), copy);
    assert_ptr_equal(objc_retainBlock(copy), copy);
    _Block_release(copy);
    sm_block_release(copy);
    sm_block_call1(copy, NULL);
    assert_int_equal(sum, 84);
    sm_block_release(copy);
    assert_int_equal(sm_live_objects(), live);
    sm_block_release(NULL);
    assert_null(sm_block_copy(NULL));
    sm_block_call0(NULL);
}

static void calls_pass_arguments(void **state)
{
    (void)state;
    int sum = 0, value = 1000;
    block two = on_stack(&sum, 1, (void (*)(void))invoke2);
    sm_block_call2(&two, NULL, class_named("NSObject"));
    assert_int_equal(sum, 101);
    block pointer = on_stack(&sum, 1, (void (*)(void))invoke_pointer);
    sm_block_call_pointer(&pointer, &value, 20);
    assert_int_equal(sum, 1121);
}

static void captured_objects_are_held(void **state)
{
    (void)state;
    int sum = 0;
    uint64_t live = sm_live_objects();
    id object = send(class_named("NSObject"), "new");
    block local = on_stack(&sum, 1, (void (*)(void))invoke0);
    local.flags |= HAS_HELPERS;
    local.descriptor = &with_helpers;
    local.object = object;
    void *copy = sm_block_copy(&local);
    assert_int_equal(send_uint(object, "retainCount"), 2);
    sm_release(object);
    assert_int_equal(send_uint(((block *)copy)->object, "retainCount"), 1);
    sm_block_release(copy);
    assert_int_equal(sm_live_objects(), live);
    assert_reports(SOFTMETAL_USE_AFTER_END, "NSObject", send_uint(object, "retainCount"));
}

static void blocks_answer_messages(void **state)
{
    (void)state;
    int sum = 0;
    void *pool = objc_autoreleasePoolPush();
    uint64_t live = sm_live_objects();
    block local = on_stack(&sum, 1, (void (*)(void))invoke0);
    assert_reports_nothing({
        id copy = send((id)&local, "copy");
        assert_string_equal(object_getClassName(copy), "__NSMallocBlock__");
        send(send(copy, "retain"), "autorelease");
        send(copy, "release");
        sm_block_call0(copy);
        objc_autoreleasePoolPop(pool);
    });
    assert_int_equal(sum, 1);
    assert_int_equal(sm_live_objects(), live);
}

static void ended_blocks_are_named(void **state)
{
    (void)state;
    int sum = 0;
    void *copy = make(&sum, 1);
    sm_block_release(copy);
    assert_reports(SOFTMETAL_OVER_RELEASE, "a block that has ended was released", sm_block_release(copy));
    assert_reports(SOFTMETAL_USE_AFTER_END, "a block that has ended was copied", assert_null(sm_block_copy(copy)));
    assert_reports(SOFTMETAL_USE_AFTER_END, "a block that has ended was called", sm_block_call1(copy, NULL));
    assert_int_equal(sum, 0);
}

static void leaked_blocks_are_listed(void **state)
{
    (void)state;
    int sum = 0;
    void *copy = make(&sum, 1);
    softmetal_check_leaks();
    assert_int_equal(reported(SOFTMETAL_LEAK, "__NSMallocBlock__: 1 object is still alive"), 1);
    sm_block_release(copy);
}

/* ---- A __block variable shared by two blocks and the function that declared it */

typedef struct byref {
    void *isa;
    struct byref *forwarding;
    int flags;
    uint32_t size;
    int value;
} byref;

typedef struct byref_block {
    void *isa;
    int flags, reserved;
    void (*invoke)(struct byref_block *self);
    const descriptor *descriptor;
    byref *variable;
} byref_block;

static void increase(byref_block *self)
{
    self->variable->forwarding->value++;
}

static void copy_byref(void *to, const void *from)
{
    _Block_object_assign(&((byref_block *)to)->variable, ((const byref_block *)from)->variable, 8);
}

static void dispose_byref(const void *self)
{
    _Block_object_dispose(((const byref_block *)self)->variable, 8);
}

static void block_variables_are_shared(void **state)
{
    (void)state;
    static const descriptor helpers = {0, sizeof(byref_block), copy_byref, dispose_byref};
    byref variable = {NULL, &variable, 0, sizeof variable, 40};
    byref_block one = {&_NSConcreteStackBlock, HAS_HELPERS, 0, increase, &helpers, &variable}, two = one;
    void *first = sm_block_copy(&one), *second = sm_block_copy(&two);
    assert_ptr_not_equal(variable.forwarding, &variable);
    sm_block_call0(first);
    sm_block_call0(second);
    assert_int_equal(variable.forwarding->value, 42);
    sm_block_release(first);
    sm_block_call0(second);
    assert_int_equal(variable.forwarding->value, 43);
    sm_block_release(second);
    assert_int_equal(variable.forwarding->value, 43); /* the function's own reference */
    _Block_object_dispose(&variable, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(global_blocks_stay_as_they_are), cmocka_unit_test(stack_blocks_move_to_the_heap),
        cmocka_unit_test(calls_pass_arguments),           cmocka_unit_test(captured_objects_are_held),
        cmocka_unit_test(blocks_answer_messages),         cmocka_unit_test(ended_blocks_are_named),
        cmocka_unit_test(leaked_blocks_are_listed),       cmocka_unit_test(block_variables_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
