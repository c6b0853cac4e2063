// What differs by address space alone is one and the same here.
#include <metal_stdlib>
using namespace metal;

template <typename T> struct pointee;
template <typename T> struct pointee<device T *> { typedef T type; };
template <typename U> struct pointee<threadgroup U *> { typedef U type; };
template <typename T> struct pointee<thread T *> { typedef T type; };
template <typename T> struct pointee<constant T *> { typedef T type; };

template <typename T> constexpr constant bool is_ours = false;
template <typename T> constexpr constant bool is_ours<device T *> = true;
template <typename T> constexpr constant bool is_ours<threadgroup T *> = true;

struct number {
    int value;
    number() thread : value(1) {}
    number() threadgroup : value(1) {}
    number(int v) thread : value(v) {}
    number(int v) device : value(v) {}
    number(int v) constant : value(v) {}
    int get() const thread { return value; }
    int get() const device { return value; }
    int get() const threadgroup { return value; }
    int get() constant { return value; }
    operator int() const thread { return value; }
    operator int() const device { return value; }
    template <typename T> T as(T) const device { return T(value); }
    template <typename U> U as(U) const thread { return U(value); }
    template <> float as(float x) const thread { return x + 0.5f; }
};

int first(const device int *p);
int first(const device int *p) { return p[0]; }
int first(const threadgroup int *q) { return q[0]; }
int first(constant int *p) { return p[0]; }
template <typename T, typename = enable_if_t<true>> T second(device T *p) { return p[1]; }
template <typename S, typename = enable_if_t<true>> S second(const thread S *p) { return p[1]; }
template <typename S, typename = enable_if_t<true>> S second(thread S *values) { return values[1]; }

constant int table[3] = {10, 20, 30};
constexpr constant static float floats[2] = {1.5, 2.5};
constant int *constant head = table;
static int table_sum(constant int *values, constant float *weights) { return values[0] + values[1] + int(weights[1] * 2); }

kernel void spaces(device int *in [[buffer(0)]], device int *out [[buffer(1)]], constant number &n [[buffer(2)]], volatile coherent(device) device uint *flag [[buffer(3)]])
{
    int mine[2] = {5, 6};
    float ranged[6] = {[0 ... 3] = 2.0f, [4 ... 4] = 3.0};
    thread number local(3);
    out[0] = first(in);
    out[1] = second(in);
    out[2] = second(mine);
    out[3] = table_sum(table, floats);
    out[4] = local.get() + n.get();
    out[5] = sizeof(pointee<device short *>::type) + 10 * sizeof(pointee<threadgroup long *>::type);
    out[6] = is_ours<device int *> + 2 * is_ours<threadgroup int *> + 4 * is_ours<int>;
    out[7] = ranged[0] + ranged[3] + ranged[4] + ranged[5];
    out[8] = local.as(2.0f) * 2;
    out[9] = head[2];
    *flag = 1;
}
