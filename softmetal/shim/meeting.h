// Meetings of lanes: each puts a value on its stack, the executor runs one function on all of them, each goes on with what became of
// its own.
#ifndef SOFTMETAL_SHIM_MEETING_H
#define SOFTMETAL_SHIM_MEETING_H

#include "math.h"

namespace sm
{
// Where an active lane's value is; of others there is none.
template <class T> SM_INLINE SM_UNCHECKED T &value_of(void *const values[], uint32_t lane) { return *(T *)values[lane]; }

template <class Value> SM_INLINE void join(sm_scope scope, sm_meeting meeting, Value &value, source_line line, const void *site)
{
    services->meet(scope, meeting, &value, nullptr, line.number, site);
}

// The lane's number in its scope.
template <sm_scope Scope> SM_INLINE uint32_t lane_number()
{
    const sm_lane *lane = services->self();
    return Scope == SM_SCOPE_QUAD ? lane->thread_index_in_quadgroup : lane->thread_index_in_simdgroup;
}
template <sm_scope Scope> inline constexpr int width = Scope == SM_SCOPE_QUAD ? 4 : SM_LANES;
// The number of the scope's first lane among `values`, seen from one of its lanes.
template <sm_scope Scope> SM_INLINE constexpr uint32_t base_of(uint32_t lane) { return Scope == SM_SCOPE_QUAD ? lane & ~3u : 0; }

// What an inactive lane would have given: all bits set, NaN for a real number, so that its use shows.
template <class T> SM_INLINE SM_UNCHECKED void poison(T &value) { __builtin_memset((void *)&value, 0xff, sizeof(T)); }

// Sums and products of bfloat are of float, as its functions are; what only moves or chooses leaves it as it is.

// ---- Reductions, in a tree of neighbours: ((0 + 1) + (2 + 3)) + …, of the lanes that are active.

struct op_sum {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b) { return T(a + b); }
};
struct op_product {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b) { return T(a * b); }
};
struct op_and {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b) { return T(a & b); }
};
struct op_or {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b) { return T(a | b); }
};
struct op_xor {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b) { return T(a ^ b); }
};
struct op_smaller {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b)
    {
        if constexpr (is_bfloat<T>) return T(op_min::apply(float(a), float(b)));
        else return on<op_min, element_t<T>>(a, b);
    }
};
struct op_greater {
    template <class T> static SM_INLINE SM_UNCHECKED T apply(const T &a, const T &b)
    {
        if constexpr (is_bfloat<T>) return T(op_max::apply(float(a), float(b)));
        else return on<op_max, element_t<T>>(a, b);
    }
};

template <class Op, class T> SM_UNCHECKED void reduce(void *const values[SM_LANES], uint32_t active, const void *)
{
    T partial[SM_LANES];
    int count = 0;
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) partial[count++] = value_of<T>(values, __builtin_ctz(rest));
    for (; count > 1; count = (count + 1) / 2) {
        for (int i = 0; i < count / 2; i++) partial[i] = Op::apply(partial[2 * i], partial[2 * i + 1]);
        if (count % 2 != 0) partial[count / 2] = partial[count - 1];
    }
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) value_of<T>(values, __builtin_ctz(rest)) = partial[0];
}

// ---- Prefixes, in the order of lanes. An exclusive one starts with what changes nothing.

template <class Op, class T, bool Exclusive> SM_UNCHECKED void scan(void *const values[SM_LANES], uint32_t active, const void *)
{
    T sum(is_same<Op, op_product> ? 1 : 0);
    bool first = true;
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        T &value = value_of<T>(values, __builtin_ctz(rest));
        const T own = value, next = first ? own : Op::apply(sum, own);
        value = Exclusive ? sum : next;
        sum = next;
        first = false;
    }
}

// ---- Shuffles: each lane names the lane whose data it wants, and may name one whose filling it wants instead.

template <class T> struct shuffled {
    T data, result;
    int from;
};
template <class T> struct filled {
    T data, filling, result;
    int from;
    bool filler;
};

inline constexpr int FIRST_ACTIVE = -1;

template <class T, sm_scope Scope> SM_UNCHECKED void shuffle(void *const values[SM_LANES], uint32_t active, const void *)
{
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        const uint32_t lane = __builtin_ctz(rest);
        shuffled<T> &own = value_of<shuffled<T>>(values, lane);
        const uint32_t from = own.from == FIRST_ACTIVE ? uint32_t(__builtin_ctz(active)) : base_of<Scope>(lane) + uint32_t(own.from);
        if (from < SM_LANES && (active >> from & 1) != 0) own.result = value_of<shuffled<T>>(values, from).data;
        else poison(own.result);
    }
}
template <class T, sm_scope Scope> SM_UNCHECKED void shuffle_and_fill(void *const values[SM_LANES], uint32_t active, const void *)
{
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        const uint32_t lane = __builtin_ctz(rest);
        filled<T> &own = value_of<filled<T>>(values, lane);
        const uint32_t from = base_of<Scope>(lane) + uint32_t(own.from);
        if (from < SM_LANES && (active >> from & 1) != 0) {
            const filled<T> &other = value_of<filled<T>>(values, from);
            own.result = own.filler ? other.filling : other.data;
        } else {
            poison(own.result);
        }
    }
}

// ---- Votes: a bit for each lane that is active and agrees.

template <sm_scope Scope> SM_UNCHECKED inline void vote(void *const values[SM_LANES], uint32_t active, const void *)
{
    uint32_t yes = 0;
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        const uint32_t lane = __builtin_ctz(rest);
        if (value_of<uint32_t>(values, lane) != 0) yes |= 1u << (lane - base_of<Scope>(lane));
    }
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) value_of<uint32_t>(values, __builtin_ctz(rest)) = yes;
}

// ---- What simd_ and quad_ functions share. `site` tells functions of one line apart.

template <sm_scope Scope, class Op, class T> SM_INLINE T reduced(T value, source_line line, const void *site)
{
    join(Scope, &reduce<Op, T>, value, line, site);
    return value;
}
template <sm_scope Scope, class Op, bool Exclusive, class T> SM_INLINE T scanned(T value, source_line line, const void *site)
{
    join(Scope, &scan<Op, T, Exclusive>, value, line, site);
    return value;
}
template <sm_scope Scope, class T> SM_INLINE T fetched(const T &data, int from, source_line line, const void *site)
{
    shuffled<T> value = {data, data, from};
    join(Scope, &shuffle<T, Scope>, value, line, site);
    return value.result;
}
// From `delta` lanes above, or below. Lanes for which there is none keep their data.
template <sm_scope Scope, class T> SM_INLINE T shifted(const T &data, int delta, source_line line, const void *site)
{
    const int own = int(lane_number<Scope>()), from = own + delta;
    return fetched<Scope>(data, from < 0 || from >= width<Scope> ? own : from, line, site);
}
template <sm_scope Scope, class T> SM_INLINE T rotated(const T &data, int delta, source_line line, const void *site)
{
    return fetched<Scope>(data, (int(lane_number<Scope>()) + delta) & (width<Scope> - 1), line, site);
}
// The same in groups of `modulo` lanes, where lanes for which there is none get the filling's other end.
template <sm_scope Scope, class T>
SM_INLINE T shifted_and_filled(const T &data, const T &filling, int delta, int modulo, source_line line, const void *site)
{
    const int own = int(lane_number<Scope>()), at = own & (modulo - 1), wanted = at + delta;
    filled<T> value = {data, filling, data, own - at + (wanted & (modulo - 1)), wanted < 0 || wanted >= modulo};
    join(Scope, &shuffle_and_fill<T, Scope>, value, line, site);
    return value.result;
}
template <sm_scope Scope> SM_INLINE uint32_t voted(bool yes, source_line line, const void *site)
{
    uint32_t value = yes;
    join(Scope, &vote<Scope>, value, line, site);
    return value;
}
// Those that exist: the last simdgroup of a threadgroup may be short.
template <sm_scope Scope> SM_INLINE uint32_t existing()
{
    const sm_lane *lane = services->self();
    const uint32_t *size = lane->threads_per_threadgroup;
    const uint32_t first = lane->thread_index_in_threadgroup - lane_number<Scope>();
    const uint32_t count = size[0] * size[1] * size[2] - first;
    return count >= uint32_t(width<Scope>) ? (Scope == SM_SCOPE_QUAD ? 0xfu : ~0u) : (1u << count) - 1;
}
} // namespace sm

// The functions of one scope. `line` is that of the call; nobody gives it.
#define SM_LINE sm::source_line line = sm::source_line(__builtin_LINE())
#define SM_SITE static const char site = 0
#define SM_REDUCTION(scope, SCOPE, name, op, kind)                                                                          \
    template <class A, class T = sm::kind##_t<A>> SM_INLINE T scope##_##name(const A &data, SM_LINE)                    \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::reduced<SCOPE, sm::op>(T(data), line, &site);                                                      \
    }
#define SM_PREFIX(scope, SCOPE, name, op, exclusive)                                                                  \
    template <class A, class T = sm::any_t<A>> SM_INLINE T scope##_prefix_##name(const A &data, SM_LINE)              \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::scanned<SCOPE, sm::op, exclusive>(T(data), line, &site);                                           \
    }
#define SM_SHUFFLE(scope, SCOPE, name, from)                                                                          \
    template <class A, class T = sm::value_t<A>> SM_INLINE T scope##_##name(const A &data, ushort n, SM_LINE)           \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::fetched<SCOPE>(T(data), from, line, &site);                                                        \
    }
#define SM_SHIFT_LANES(scope, SCOPE, name, how, sign)                                                                 \
    template <class A, class T = sm::value_t<A>> SM_INLINE T scope##_shuffle_##name(const A &data, ushort delta, SM_LINE) \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::how<SCOPE>(T(data), sign int(delta), line, &site);                                                 \
    }
#define SM_FILL_LANES(scope, SCOPE, name, sign)                                                                       \
    template <class A, class T = sm::value_t<A>>                                                                        \
    SM_INLINE T scope##_shuffle_and_fill_##name(const A &data, const sm::type_of<T> &filling, ushort delta, SM_LINE)  \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::shifted_and_filled<SCOPE>(T(data), filling, sign int(delta), sm::width<SCOPE>, line, &site);       \
    }                                                                                                                 \
    template <class A, class T = sm::value_t<A>>                                                                        \
    SM_INLINE T scope##_shuffle_and_fill_##name(const A &data, const sm::type_of<T> &filling, ushort delta,           \
                                                ushort modulo, SM_LINE)                                               \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::shifted_and_filled<SCOPE>(T(data), filling, sign int(delta), modulo, line, &site);                 \
    }
#define SM_LANE_FUNCTIONS(scope, SCOPE, number)                                                                       \
    SM_REDUCTION(scope, SCOPE, sum, op_sum, any)                                                                           \
    SM_REDUCTION(scope, SCOPE, product, op_product, any)                                                                   \
    SM_REDUCTION(scope, SCOPE, min, op_smaller, value)                                                                       \
    SM_REDUCTION(scope, SCOPE, max, op_greater, value)                                                                       \
    SM_REDUCTION(scope, SCOPE, and, op_and, value)                                                                           \
    SM_REDUCTION(scope, SCOPE, or, op_or, value)                                                                             \
    SM_REDUCTION(scope, SCOPE, xor, op_xor, value)                                                                           \
    SM_PREFIX(scope, SCOPE, inclusive_sum, op_sum, false)                                                             \
    SM_PREFIX(scope, SCOPE, exclusive_sum, op_sum, true)                                                              \
    SM_PREFIX(scope, SCOPE, inclusive_product, op_product, false)                                                     \
    SM_PREFIX(scope, SCOPE, exclusive_product, op_product, true)                                                      \
    SM_SHUFFLE(scope, SCOPE, shuffle, n)                                                                              \
    SM_SHUFFLE(scope, SCOPE, broadcast, n)                                                                            \
    SM_SHUFFLE(scope, SCOPE, shuffle_xor, int(sm::lane_number<SCOPE>() ^ n))                                          \
    SM_SHIFT_LANES(scope, SCOPE, down, shifted, +)                                                                    \
    SM_SHIFT_LANES(scope, SCOPE, up, shifted, -)                                                                      \
    SM_SHIFT_LANES(scope, SCOPE, rotate_down, rotated, +)                                                             \
    SM_SHIFT_LANES(scope, SCOPE, rotate_up, rotated, -)                                                               \
    SM_FILL_LANES(scope, SCOPE, down, +)                                                                              \
    SM_FILL_LANES(scope, SCOPE, up, -)                                                                                \
    template <class A, class T = sm::value_t<A>> SM_INLINE T scope##_broadcast_first(const A &data, SM_LINE)            \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::fetched<SCOPE>(T(data), sm::FIRST_ACTIVE, line, &site);                                            \
    }                                                                                                                 \
    class scope##_vote                                                                                                \
    {                                                                                                                 \
      public:                                                                                                         \
        typedef number vote_t;                                                                                        \
        explicit constexpr scope##_vote(vote_t v = 0) : bits(v) {}                                                    \
        explicit constexpr operator vote_t() const { return bits; }                                                   \
        bool all() const { return uint32_t(bits) == sm::existing<SCOPE>(); }                                          \
        bool any() const { return bits != 0; }                                                                        \
                                                                                                                      \
      private:                                                                                                        \
        vote_t bits;                                                                                                  \
    };                                                                                                                \
    SM_INLINE scope##_vote scope##_ballot(bool yes, SM_LINE)                                                          \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return scope##_vote(sm::voted<SCOPE>(yes, line, &site));                                                      \
    }                                                                                                                 \
    SM_INLINE scope##_vote scope##_active_threads_mask(SM_LINE)                                                       \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return scope##_vote(sm::voted<SCOPE>(true, line, &site));                                                     \
    }                                                                                                                 \
    SM_INLINE bool scope##_any(bool yes, SM_LINE)                                                                     \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::voted<SCOPE>(yes, line, &site) != 0;                                                               \
    }                                                                                                                 \
    SM_INLINE bool scope##_all(bool yes, SM_LINE)                                                                     \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return sm::voted<SCOPE>(!yes, line, &site) == 0;                                                              \
    }                                                                                                                 \
    SM_INLINE bool scope##_is_first(SM_LINE)                                                                          \
    {                                                                                                                 \
        SM_SITE;                                                                                                      \
        return (sm::voted<SCOPE>(true, line, &site) & ((1u << sm::lane_number<SCOPE>()) - 1)) == 0;                   \
    }                                                                                                                 \
    SM_INLINE bool scope##_is_helper_thread() { return false; }

namespace sm
{
template <class T> struct same_type { typedef T type; };
template <class T> using type_of = typename same_type<T>::type; // takes no part in deduction
} // namespace sm

#endif
