/* Adds two arrays with a Metal kernel, on Linux. */
#include <stdint.h>
#include <stdio.h>

typedef struct objc_object *id;
typedef struct { uint64_t width, height, depth; } MTLSize;
extern id MTLCreateSystemDefaultDevice(void), objc_getClass(const char *name);
extern void objc_msgSend(void), *sel_registerName(const char *name), *objc_autoreleasePoolPush(void);
extern void objc_autoreleasePoolPop(void *pool);
static void (*msg)(void) = objc_msgSend;
/* SEND(result, (types of the arguments), receiver, "selector:", arguments) */
#define TYPES(...) , ##__VA_ARGS__
#define SEND(result, types, to, name, ...) ((result(*)(id, void *TYPES types))msg)(to, sel_registerName(name), ##__VA_ARGS__)

static id string(const char *text)
{
    return SEND(id, (const char *), objc_getClass("NSString"), "stringWithUTF8String:", text);
}

enum { N = 1000 };
static const char source[] = "kernel void add(device const float *a [[buffer(0)]], device const float *b [[buffer(1)]],\n"
                             "                device float *sum [[buffer(2)]], uint i [[thread_position_in_grid]])\n"
                             "{ sum[i] = a[i] + b[i]; }\n";

int main(void)
{
    void *pool = objc_autoreleasePoolPush();
    id device = MTLCreateSystemDefaultDevice(), queue = SEND(id, (), device, "newCommandQueue"), error = NULL, memory[3];
    id library = SEND(id, (id, id, id *), device, "newLibraryWithSource:options:error:", string(source), NULL, &error);
    if (!library) return puts(SEND(const char *, (), SEND(id, (), error, "localizedDescription"), "UTF8String")), 1;
    id function = SEND(id, (id), library, "newFunctionWithName:", string("add"));
    id pipeline = SEND(id, (id, id *), device, "newComputePipelineStateWithFunction:error:", function, &error);
    id commands = SEND(id, (), queue, "commandBuffer"), encoder = SEND(id, (), commands, "computeCommandEncoder");
    SEND(void, (id), encoder, "setComputePipelineState:", pipeline);
    for (uint64_t k = 0; k < 3; k++) {
        memory[k] = SEND(id, (uint64_t, uint64_t), device, "newBufferWithLength:options:", N * sizeof(float), 0);
        float *x = SEND(void *, (), memory[k], "contents");
        for (uint64_t i = 0; i < N; i++) x[i] = (float)(k == 0 ? i : 2 * i);
        SEND(void, (id, uint64_t, uint64_t), encoder, "setBuffer:offset:atIndex:", memory[k], 0, k);
    }
    SEND(void, (MTLSize, MTLSize), encoder, "dispatchThreads:threadsPerThreadgroup:", (MTLSize){N, 1, 1}, (MTLSize){128, 1, 1});
    SEND(void, (), encoder, "endEncoding");
    SEND(void, (), commands, "commit");
    SEND(void, (), commands, "waitUntilCompleted");
    printf("333 + 666 = %g\n", (double)((float *)SEND(void *, (), memory[2], "contents"))[333]);
    objc_autoreleasePoolPop(pool);
    return 0;
}
