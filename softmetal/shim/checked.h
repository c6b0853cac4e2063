// A CHECKED object is compiled with -fsanitize=thread and linked without its run-time: these are what the compiler calls at each load
// and store, and they ask the executor. Included once, by what is compiled.
#ifndef SOFTMETAL_SHIM_CHECKED_H
#define SOFTMETAL_SHIM_CHECKED_H

#include "types.h"

#ifdef SOFTMETAL_CHECKED

// Static objects are made before there is an executor.
#define SM_ACCESS(address, size, kind)                                                                                \
    if (sm::services != nullptr) sm::services->access(address, size, kind, __builtin_return_address(0))
#define SM_HOOK extern "C" __attribute__((visibility("hidden"), used)) SM_UNCHECKED
#define SM_HOOKS(size)                                                                                                \
    SM_HOOK void __tsan_read##size(void *p) { SM_ACCESS(p, size, SM_LOAD); }                                          \
    SM_HOOK void __tsan_write##size(void *p) { SM_ACCESS(p, size, SM_STORE); }                                        \
    SM_HOOK void __tsan_unaligned_read##size(void *p) { SM_ACCESS(p, size, SM_LOAD); }                                \
    SM_HOOK void __tsan_unaligned_write##size(void *p) { SM_ACCESS(p, size, SM_STORE); }                              \
    SM_HOOK void __tsan_volatile_read##size(void *p) { SM_ACCESS(p, size, SM_LOAD); }                                 \
    SM_HOOK void __tsan_volatile_write##size(void *p) { SM_ACCESS(p, size, SM_STORE); }                               \
    SM_HOOK void __tsan_read_write##size(void *p)                                                                     \
    {                                                                                                                 \
        SM_ACCESS(p, size, SM_LOAD);                                                                                  \
        SM_ACCESS(p, size, SM_STORE);                                                                                 \
    }
SM_HOOKS(1)
SM_HOOKS(2)
SM_HOOKS(4)
SM_HOOKS(8)
SM_HOOKS(16)
SM_HOOK void __tsan_init(void) {}
SM_HOOK void __tsan_func_entry(void *) {}
SM_HOOK void __tsan_func_exit(void *) {}
SM_HOOK void __tsan_read_range(void *p, unsigned long size) { SM_ACCESS(p, size, SM_LOAD); }
SM_HOOK void __tsan_write_range(void *p, unsigned long size) { SM_ACCESS(p, size, SM_STORE); }
SM_HOOK void *__tsan_memcpy(void *to, const void *from, unsigned long size)
{
    SM_ACCESS(from, size, SM_LOAD);
    SM_ACCESS(to, size, SM_STORE);
    return __builtin_memcpy(to, from, size);
}
SM_HOOK void *__tsan_memmove(void *to, const void *from, unsigned long size)
{
    SM_ACCESS(from, size, SM_LOAD);
    SM_ACCESS(to, size, SM_STORE);
    return __builtin_memmove(to, from, size);
}
SM_HOOK void *__tsan_memset(void *to, int value, unsigned long size)
{
    SM_ACCESS(to, size, SM_STORE);
    return __builtin_memset(to, value, size);
}
#undef SM_HOOKS
#undef SM_HOOK
#undef SM_ACCESS

#endif
#endif
