// What the generated end of an MSL text is made of: kernels' arguments, their description, threadgroup variables.
//
//   static void sm_run_0(const sm_lane *lane) { sm::call(&saxpy, lane, sm::buffer{0}, sm::input<&sm_lane::thread_position_in_grid>{}); }
//   static const auto sm_arguments_0 = sm::describe(&saxpy, sm::parameter{"x", SM_ARGUMENT_BUFFER, 0, false, true}, …);
//   float (&sums)[32] = sm::threadgroup_variable<0>([] {}, 12);
#pragma once

#include "vector.h"

namespace sm {

// ---- Values of a kernel's parameters. Each source gives a parameter of type P its value.

template <class P> inline P at(void *address)
{
    if constexpr (is_reference<P>) return *static_cast<typename remove_reference<P>::type *>(address);
    else return static_cast<P>(address);
}

// [[buffer(index)]]
struct buffer {
    uint32_t index;
    template <class P> P get(const sm_lane *lane) const { return at<P>(lane->buffers[index]); }
};

// [[threadgroup(index)]]
struct threadgroup {
    uint32_t index;
    template <class P> P get(const sm_lane *lane) const { return at<P>(lane->threadgroup[index]); }
};

// A parameter that a function constant switches on and off; where it is off the kernel does not touch it.
template <class Source> struct switched {
    bool present;
    Source source;
    template <class P> P get(const sm_lane *lane) const { return present ? source.template get<P>(lane) : at<P>(nullptr); }
};

template <class Source> inline switched<Source> when(bool present, Source source) { return {present, source}; }

// The first components of x, y, z, as many as P has: a scalar or a vector, of any integer type.
template <class P> inline P components(const uint32_t *values)
{
    if constexpr (shape<P>::size == 1) {
        return static_cast<P>(values[0]);
    } else {
        P result{};
        for (size_t i = 0; i < sizeof(P) / sizeof(result[0]) && i < 3; i++)
            result[i] = static_cast<remove_cvref<decltype(result[0])>>(values[i]);
        return result;
    }
}

// A builtin that is a field of sm_lane.
template <auto Field> struct input {
    template <class P> P get(const sm_lane *lane) const
    {
        using V = remove_cvref<P>;
        if constexpr (is_array<typename remove_reference<decltype(lane->*Field)>::type>) return components<V>(lane->*Field);
        else return static_cast<V>(lane->*Field);
    }
};

// A builtin that is the same everywhere: 32 for threads_per_simdgroup.
template <uint32_t Value> struct fixed {
    template <class P> P get(const sm_lane *) const
    {
        const uint32_t values[3] = {Value, Value, Value};
        return components<remove_cvref<P>>(values);
    }
};

// How many groups of `Width` threads a threadgroup has that is as large as was dispatched; at the grid's edge they may be fewer.
template <uint32_t Width> struct dispatched {
    template <class P> P get(const sm_lane *lane) const
    {
        const uint32_t *size = lane->dispatch_threads_per_threadgroup;
        const uint32_t count = (size[0] * size[1] * size[2] + Width - 1) / Width, values[3] = {count, 1, 1};
        return components<remove_cvref<P>>(values);
    }
};

template <class R, class... P, class... S> inline void call(R (*function)(P...), const sm_lane *lane, S... sources)
{
    static_assert(sizeof...(P) == sizeof...(S), "the kernel's declaration and its definition differ");
    function(sources.template get<P>(lane)...);
}

// ---- Their description.

struct parameter {
    const char *name;
    uint32_t kind, index;
    bool constant_space;
    bool present; // false: switched off by a function constant
};

template <class T> constexpr uint32_t size_of()
{
    if constexpr (is_same<typename remove_cv<T>::type, void>) return 1;
    else return sizeof(T);
}

template <class T> constexpr uint32_t align_of()
{
    if constexpr (is_same<typename remove_cv<T>::type, void>) return 1;
    else return alignof(T);
}

template <class P> constexpr sm_argument describe_one(const parameter &p)
{
    using V = typename remove_reference<P>::type;
    using T = conditional_t<is_reference<P>, V, typename remove_pointer<V>::type>;
    sm_argument a{};
    a.name = p.name;
    a.kind = p.kind;
    a.index = p.index;
    a.size = size_of<T>();
    a.align = align_of<T>();
    a.reference = is_reference<P>;
    a.read_only = is_const<T> || p.constant_space;
    a.constant_space = p.constant_space;
    return a;
}

template <size_t N> struct description {
    sm_argument arguments[N ? N : 1];
    uint32_t count;
};

template <class R, class... P, class... S> inline description<sizeof...(P)> describe(R (*)(P...), S... parameters)
{
    static_assert(sizeof...(P) == sizeof...(S), "the kernel's declaration and its definition differ");
    description<sizeof...(P)> d{};
    const auto add = [&d](const parameter &p, const sm_argument &a) {
        if (p.present) d.arguments[d.count++] = a;
    };
    (add(parameters, describe_one<P>(parameters)), ...);
    return d;
}

// ---- Threadgroup variables: `threadgroup T name[n];` in kernel k becomes `T (&name)[n] = sm::threadgroup_variable<k>([] {}, line);`. The
// lambda's type tells variables apart, also those of two instances of one template.

static uint32_t threadgroup_variables;
template <uint32_t Kernel> static uint32_t threadgroup_bytes; // known when all static objects are made: see sm_object_table.complete

template <uint32_t Kernel, class Tag, class T> struct threadgroup_number {
    static const uint32_t value;
    static uint32_t take()
    {
        uint32_t &bytes = threadgroup_bytes<Kernel>;
        bytes = (bytes + alignof(T) - 1) / alignof(T) * alignof(T) + sizeof(T);
        return threadgroup_variables++;
    }
};
template <uint32_t Kernel, class Tag, class T>
const uint32_t threadgroup_number<Kernel, Tag, T>::value = threadgroup_number<Kernel, Tag, T>::take();

template <uint32_t Kernel, class Tag> struct threadgroup_memory {
    uint32_t line;
    template <class T> operator T &() const
    {
        const uint32_t id = threadgroup_number<Kernel, Tag, T>::value;
        return *static_cast<T *>(services->threadgroup_variable(id, sizeof(T), alignof(T), line));
    }
};

template <uint32_t Kernel, class Tag> inline threadgroup_memory<Kernel, Tag> threadgroup_variable(Tag, uint32_t line)
{
    return {line};
}

} // namespace sm
