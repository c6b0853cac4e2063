// Threadgroup variables in all their places.
#include <metal_stdlib>
using namespace metal;

struct pair {
    int a;
    float b;
};

template <int N> int helper(int value)
{
    threadgroup int memory[N];
    memory[N - 1] = value;
    return memory[N - 1] + N;
}

kernel void variables(device int *out [[buffer(0)]], threadgroup int *given [[threadgroup(0)]], threadgroup pair &one)
{
    threadgroup int plain[8];
    threadgroup int matrix[2][3], single, other[1];
    const int n = 4;
    threadgroup metal::array<int, 3> inside;
    int threadgroup behind[n];
    threadgroup pair pairs[2];
    threadgroup uchar bytes[3];
    if (n > 3) {
        threadgroup int plain[2]; // another one
        plain[1] = 100;
        out[8] = plain[1];
    }
    threadgroup int *pointer = plain;
    threadgroup const int *const_pointer = &matrix[1][2];
    const threadgroup int &reference = single;
    plain[7] = 1;
    matrix[1][2] = 2;
    single = 3;
    other[0] = 4;
    inside[2] = 5;
    behind[3] = 6;
    pairs[1].a = 7;
    bytes[2] = 8;
    given[0] = 9;
    one.a = 10;
    out[0] = pointer[7];
    out[1] = *const_pointer;
    out[2] = reference;
    out[3] = other[0] + inside[2] + behind[3];
    out[4] = pairs[1].a + bytes[2];
    out[5] = *(threadgroup int *)given + static_cast<threadgroup pair *>(&one)->a;
    out[6] = helper<4>(50);
    out[7] = helper<8>(60) + helper<4>(0);
}

template <typename T> kernel void sized(device uint *out [[buffer(0)]])
{
    threadgroup T memory[10];
    memory[9] = T(3);
    out[0] = uint(memory[9]) + sizeof(memory);
}
template [[host_name("sized_char")]] kernel decltype(sized<char>) sized<char>;
template [[host_name("sized_long")]] kernel decltype(sized<long>) sized<long>;
