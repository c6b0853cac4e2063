// Every load and store of a CHECKED object: the compiler calls these (-fsanitize=thread), the executor is told. The functions
// are the object's own; the sanitizer's library is not linked.
#pragma once

#include "services.h"

#include <stddef.h>
#include <stdint.h>

// clang instruments atomics also where no_sanitize is said: a hook would call itself.
#ifdef __clang__
#define SM_HOOK extern "C" __attribute__((disable_sanitizer_instrumentation, noinline, used))
#else
#define SM_HOOK extern "C" __attribute__((no_sanitize("thread"), noinline, used))
#endif
#define SM_TELL(address, size, kind) sm::services->access(address, size, kind, __builtin_return_address(0))

#define SM_HOOKS(size)                                                                                                         \
    SM_HOOK void __tsan_read##size(void *a)                                                                                    \
    {                                                                                                                          \
        SM_TELL(a, size, SM_LOAD);                                                                                             \
    }                                                                                                                          \
    SM_HOOK void __tsan_write##size(void *a)                                                                                   \
    {                                                                                                                          \
        SM_TELL(a, size, SM_STORE);                                                                                            \
    }                                                                                                                          \
    SM_HOOK void __tsan_unaligned_read##size(void *a)                                                                          \
    {                                                                                                                          \
        SM_TELL(a, size, SM_LOAD);                                                                                             \
    }                                                                                                                          \
    SM_HOOK void __tsan_unaligned_write##size(void *a)                                                                         \
    {                                                                                                                          \
        SM_TELL(a, size, SM_STORE);                                                                                            \
    }                                                                                                                          \
    SM_HOOK void __tsan_read_write##size(void *a)                                                                              \
    {                                                                                                                          \
        SM_TELL(a, size, SM_LOAD), SM_TELL(a, size, SM_STORE);                                                                 \
    }                                                                                                                          \
    SM_HOOK void __tsan_unaligned_read_write##size(void *a)                                                                    \
    {                                                                                                                          \
        SM_TELL(a, size, SM_LOAD), SM_TELL(a, size, SM_STORE);                                                                 \
    }                                                                                                                          \
    SM_HOOK void __tsan_volatile_read##size(void *a)                                                                           \
    {                                                                                                                          \
        SM_TELL(a, size, SM_LOAD);                                                                                             \
    }                                                                                                                          \
    SM_HOOK void __tsan_volatile_write##size(void *a)                                                                          \
    {                                                                                                                          \
        SM_TELL(a, size, SM_STORE);                                                                                            \
    }
SM_HOOKS(1)
SM_HOOKS(2)
SM_HOOKS(4)
SM_HOOKS(8)
SM_HOOKS(16)

SM_HOOK void __tsan_init() {}
SM_HOOK void __tsan_func_entry(void *) {}
SM_HOOK void __tsan_func_exit() {}
SM_HOOK void __tsan_vptr_update(void **, void *) {}
SM_HOOK void __tsan_vptr_read(void **) {}
SM_HOOK void __tsan_read_range(void *a, size_t size)
{
    SM_TELL(a, size, SM_LOAD);
}
SM_HOOK void __tsan_write_range(void *a, size_t size)
{
    SM_TELL(a, size, SM_STORE);
}

SM_HOOK void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    SM_TELL(from, size, SM_LOAD);
    SM_TELL(to, size, SM_STORE);
    return __builtin_memcpy(to, from, size);
}

SM_HOOK void *__tsan_memmove(void *to, const void *from, size_t size)
{
    SM_TELL(from, size, SM_LOAD);
    SM_TELL(to, size, SM_STORE);
    return __builtin_memmove(to, from, size);
}

SM_HOOK void *__tsan_memset(void *to, int value, size_t size)
{
    SM_TELL(to, size, SM_STORE);
    return __builtin_memset(to, value, size);
}

// Atomic operations: the compiler replaces each __atomic builtin by one of these. The order of memory is always the strongest.
#define SM_ATOMIC_HOOKS(bits, T)                                                                                               \
    SM_HOOK T __tsan_atomic##bits##_load(const volatile T *a, int)                                                             \
    {                                                                                                                          \
        SM_TELL((const void *)a, sizeof(T), SM_ATOMIC_LOAD);                                                                   \
        return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                                                           \
    }                                                                                                                          \
    SM_HOOK void __tsan_atomic##bits##_store(volatile T *a, T v, int)                                                          \
    {                                                                                                                          \
        SM_TELL((const void *)a, sizeof(T), SM_ATOMIC_STORE);                                                                  \
        __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                                              \
    }                                                                                                                          \
    SM_ATOMIC_HOOK(bits, T, exchange, __atomic_exchange_n)                                                                     \
    SM_ATOMIC_HOOK(bits, T, fetch_add, __atomic_fetch_add)                                                                     \
    SM_ATOMIC_HOOK(bits, T, fetch_sub, __atomic_fetch_sub)                                                                     \
    SM_ATOMIC_HOOK(bits, T, fetch_and, __atomic_fetch_and)                                                                     \
    SM_ATOMIC_HOOK(bits, T, fetch_or, __atomic_fetch_or)                                                                       \
    SM_ATOMIC_HOOK(bits, T, fetch_xor, __atomic_fetch_xor)                                                                     \
    SM_ATOMIC_HOOK(bits, T, fetch_nand, __atomic_fetch_nand)                                                                   \
    SM_HOOK int __tsan_atomic##bits##_compare_exchange_strong(volatile T *a, T *expected, T v, int, int)                       \
    {                                                                                                                          \
        SM_TELL((const void *)a, sizeof(T), SM_ATOMIC);                                                                        \
        return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                             \
    }                                                                                                                          \
    SM_HOOK int __tsan_atomic##bits##_compare_exchange_weak(volatile T *a, T *expected, T v, int, int)                         \
    {                                                                                                                          \
        SM_TELL((const void *)a, sizeof(T), SM_ATOMIC);                                                                        \
        return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                             \
    }                                                                                                                          \
    SM_HOOK T __tsan_atomic##bits##_compare_exchange_val(volatile T *a, T expected, T v, int, int)                             \
    {                                                                                                                          \
        SM_TELL((const void *)a, sizeof(T), SM_ATOMIC);                                                                        \
        __atomic_compare_exchange_n(a, &expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                   \
        return expected;                                                                                                       \
    }
#define SM_ATOMIC_HOOK(bits, T, name, builtin)                                                                                 \
    SM_HOOK T __tsan_atomic##bits##_##name(volatile T *a, T v, int)                                                            \
    {                                                                                                                          \
        SM_TELL((const void *)a, sizeof(T), SM_ATOMIC);                                                                        \
        return builtin(a, v, __ATOMIC_SEQ_CST);                                                                                \
    }
SM_ATOMIC_HOOKS(8, uint8_t)
SM_ATOMIC_HOOKS(16, uint16_t)
SM_ATOMIC_HOOKS(32, uint32_t)
SM_ATOMIC_HOOKS(64, uint64_t)
SM_HOOK void __tsan_atomic_thread_fence(int)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
SM_HOOK void __tsan_atomic_signal_fence(int) {}
