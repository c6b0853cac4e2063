// <metal_atomic>: atomic objects in device and threadgroup memory.
#ifndef SOFTMETAL_SHIM_ATOMIC_H
#define SOFTMETAL_SHIM_ATOMIC_H

#include "barrier.h"

namespace metal
{
enum memory_order {
    memory_order_relaxed = __ATOMIC_RELAXED,
    memory_order_acquire = __ATOMIC_ACQUIRE,
    memory_order_release = __ATOMIC_RELEASE,
    memory_order_acq_rel = __ATOMIC_ACQ_REL,
    memory_order_seq_cst = __ATOMIC_SEQ_CST,
};
enum thread_scope {
    thread_scope_thread,
    thread_scope_simdgroup,
    thread_scope_threadgroup,
    thread_scope_device,
};

template <class T> struct atomic {
    T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<long> atomic_long;
typedef atomic<ulong> atomic_ulong;
} // namespace metal

namespace sm
{
using metal::atomic;

// What an atomic touches is told to the checker as such, and not as the loads and stores that it is made of.
#ifdef SOFTMETAL_CHECKED
#define SM_ATOMIC_CODE __attribute__((noinline)) SM_UNCHECKED
#define SM_ATOMIC_ACCESS(object, T, kind) services->access((const void *)object, sizeof(T), kind, __builtin_return_address(0))
#else
#define SM_ATOMIC_CODE SM_INLINE
#define SM_ATOMIC_ACCESS(object, T, kind) (void)0
#endif

template <class T> SM_INLINE T *place(const volatile atomic<T> *object) { return (T *)&object->value; }

// All are sequentially consistent: what MSL allows beyond is not to be seen here.
template <class T> SM_ATOMIC_CODE T atomic_load(const volatile atomic<T> *object)
{
    SM_ATOMIC_ACCESS(object, T, SM_ATOMIC_LOAD);
    T value;
    __atomic_load(place(object), &value, __ATOMIC_SEQ_CST);
    return value;
}
template <class T> SM_ATOMIC_CODE void atomic_store(volatile atomic<T> *object, T value)
{
    SM_ATOMIC_ACCESS(object, T, SM_ATOMIC_STORE);
    __atomic_store(place(object), &value, __ATOMIC_SEQ_CST);
}
template <class T> SM_ATOMIC_CODE T atomic_exchange(volatile atomic<T> *object, T value)
{
    SM_ATOMIC_ACCESS(object, T, SM_ATOMIC);
    T before;
    __atomic_exchange(place(object), &value, &before, __ATOMIC_SEQ_CST);
    return before;
}
template <class T> SM_ATOMIC_CODE bool atomic_compare_exchange(volatile atomic<T> *object, T *expected, T desired)
{
    SM_ATOMIC_ACCESS(object, T, SM_ATOMIC);
    return __atomic_compare_exchange(place(object), expected, &desired, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

struct atomic_add {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return T(a + b); }
};
struct atomic_sub {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return T(a - b); }
};
struct atomic_and {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return T(a & b); }
};
struct atomic_or {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return T(a | b); }
};
struct atomic_xor {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return T(a ^ b); }
};
struct atomic_min {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return b < a ? b : a; }
};
struct atomic_max {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(T a, T b) { return a < b ? b : a; }
};
template <class Op, class T> SM_ATOMIC_CODE T atomic_fetch(volatile atomic<T> *object, T operand)
{
    SM_ATOMIC_ACCESS(object, T, SM_ATOMIC);
    T before, after;
    __atomic_load(place(object), &before, __ATOMIC_RELAXED);
    do after = Op::apply(before, operand);
    while (!__atomic_compare_exchange(place(object), &before, &after, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return before;
}
template <class T> struct atomic_operand { typedef T type; };
template <class T> using atomic_operand_t = typename atomic_operand<T>::type;
} // namespace sm

namespace metal
{
template <class T> SM_INLINE T atomic_load_explicit(const volatile atomic<T> *object, memory_order)
{
    return sm::atomic_load(object);
}
template <class T> SM_INLINE void atomic_store_explicit(volatile atomic<T> *object, sm::atomic_operand_t<T> value, memory_order)
{
    sm::atomic_store(object, value);
}
template <class T> SM_INLINE T atomic_exchange_explicit(volatile atomic<T> *object, sm::atomic_operand_t<T> value, memory_order)
{
    return sm::atomic_exchange(object, value);
}
template <class T>
SM_INLINE bool atomic_compare_exchange_weak_explicit(volatile atomic<T> *object, sm::atomic_operand_t<T> *expected,
                                                     sm::atomic_operand_t<T> desired, memory_order, memory_order)
{
    return sm::atomic_compare_exchange(object, expected, desired);
}
#define SM_ATOMIC_FETCH(name)                                                                                         \
    template <class T>                                                                                                \
    SM_INLINE T atomic_fetch_##name##_explicit(volatile atomic<T> *object, sm::atomic_operand_t<T> operand, memory_order) \
    {                                                                                                                 \
        return sm::atomic_fetch<sm::atomic_##name>(object, operand);                                                  \
    }
SM_ATOMIC_FETCH(add)
SM_ATOMIC_FETCH(sub)
SM_ATOMIC_FETCH(and)
SM_ATOMIC_FETCH(or)
SM_ATOMIC_FETCH(xor)
SM_ATOMIC_FETCH(min)
SM_ATOMIC_FETCH(max)

// Without the value before: of ulong.
template <class T> SM_INLINE void atomic_min_explicit(volatile atomic<T> *object, sm::atomic_operand_t<T> operand, memory_order)
{
    sm::atomic_fetch<sm::atomic_min>(object, operand);
}
template <class T> SM_INLINE void atomic_max_explicit(volatile atomic<T> *object, sm::atomic_operand_t<T> operand, memory_order)
{
    sm::atomic_fetch<sm::atomic_max>(object, operand);
}

SM_INLINE void atomic_thread_fence(mem_flags, memory_order, thread_scope = thread_scope_device)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
} // namespace metal

#endif
