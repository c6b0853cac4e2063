/* Blocks as a compiler makes them, not by hand: built by clang -fblocks against the library, which is its blocks runtime here.
 * Writes nothing and returns 0 if all is as it should be; otherwise it names what is not. */
#include <stdint.h>
#include <stdio.h>

extern void *_Block_copy(const void *block);
extern void _Block_release(const void *block);
extern void *dispatch_queue_create(const char *label, void *attributes);
extern void dispatch_async(void *queue, void (^work)(void));
extern void dispatch_sync(void *queue, void (^work)(void));
extern void dispatch_release(void *object);
extern uint64_t softmetal_check_leaks(void);

#define Block_copy(block) ((__typeof__(block))_Block_copy((const void *)(block)))

static int failures;

static void check(int condition, const char *what)
{
    if (condition) return;
    failures++;
    fprintf(stderr, "compiled_blocks: %s\n", what);
}

typedef struct size3 { uint64_t width, height, depth; } size3;
typedef int (^counter)(int);

/* A block that captures another, which moves to the heap with it and changes a variable of this function's. */
__attribute__((noinline)) static counter make_counter(int start)
{
    __block int total = start;
    counter add = ^(int number) { return total += number; };
    counter twice = ^(int number) {
        add(number);
        return add(number);
    };
    counter copy = Block_copy(twice);
    total += 1000;
    return copy;
}

static int no_captures(void)
{
    int (^plain)(void) = ^{ return 7; };
    int (^copy)(void) = Block_copy(plain);
    check(copy == plain, "a block without captures is not global");
    int result = copy();
    _Block_release(copy);
    return result;
}

int main(void)
{
    check(no_captures() == 7, "a block without captures");
    counter one = make_counter(5), other = Block_copy(one);
    check(other == one, "a heap block is copied and not retained");
    check(one(10) == 1025, "a __block variable after its function");
    _Block_release(one);
    check(other(1) == 1027, "a block that is still held");
    _Block_release(other);
    check(softmetal_check_leaks() == 0, "a block is left");

    __block uint64_t sum = 0;
    size3 size = {1, 2, 3};
    void *queue = dispatch_queue_create("blocks", NULL);
    for (int i = 0; i < 100; i++) dispatch_async(queue, ^{ sum += size.width + size.height + size.depth + (uint64_t)i; });
    dispatch_sync(queue, ^{ sum *= 2; });
    check(sum == 2 * (600 + 4950), "blocks on a queue");
    dispatch_sync(queue, ^{});
    dispatch_release(queue);
    printf("%sok 1 - blocks that a compiler made\n1..1\n", failures > 0 ? "not " : "");
    return failures > 0;
}
