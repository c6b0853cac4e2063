// matrix<T, C, R>: C columns of R elements, of half or float.
#ifndef SOFTMETAL_SHIM_MATRIX_H
#define SOFTMETAL_SHIM_MATRIX_H

#include "geometric.h"

namespace metal
{
template <class T, int C, int R> struct matrix {
    vec<T, R> columns[C];

    matrix() = default;
    // The diagonal.
    explicit matrix(T diagonal)
    {
        for (int c = 0; c < C; c++) {
            columns[c] = vec<T, R>(T(0));
            if (c < R) columns[c][c] = diagonal;
        }
    }
    // Columns, or all elements, a column after the other.
    template <class... A, class = sm::enable_if_t<sizeof...(A) == C && ((sm::shape<A>::size == R) && ...)>>
    matrix(const A &...a)
    {
        int c = 0;
        ((columns[c++] = vec<T, R>(a)), ...);
    }
    template <class... A, class = sm::enable_if_t<sizeof...(A) == C * R && ((sm::shape<A>::size == 1) && ...)>, class = void>
    matrix(const A &...a)
    {
        int i = 0;
        ((columns[i / R][i % R] = T(a), i++), ...);
    }
    template <class U> explicit matrix(const matrix<U, C, R> &m)
    {
        for (int c = 0; c < C; c++) columns[c] = vec<T, R>(m.columns[c]);
    }
    vec<T, R> &operator[](int c) { return columns[c]; }
    const vec<T, R> &operator[](int c) const { return columns[c]; }

    matrix &operator+=(const matrix &m) { return *this = *this + m; }
    matrix &operator-=(const matrix &m) { return *this = *this - m; }
    matrix &operator*=(const matrix<T, C, C> &m) { return *this = *this * m; }
    matrix &operator*=(T s) { return *this = *this * s; }
};

template <class T, int C, int R> SM_INLINE matrix<T, C, R> operator+(const matrix<T, C, R> &a, const matrix<T, C, R> &b)
{
    matrix<T, C, R> m;
    for (int c = 0; c < C; c++) m.columns[c] = a.columns[c] + b.columns[c];
    return m;
}
template <class T, int C, int R> SM_INLINE matrix<T, C, R> operator-(const matrix<T, C, R> &a, const matrix<T, C, R> &b)
{
    matrix<T, C, R> m;
    for (int c = 0; c < C; c++) m.columns[c] = a.columns[c] - b.columns[c];
    return m;
}
template <class T, int C, int R> SM_INLINE matrix<T, C, R> operator-(const matrix<T, C, R> &a)
{
    matrix<T, C, R> m;
    for (int c = 0; c < C; c++) m.columns[c] = -a.columns[c];
    return m;
}
template <class T, int C, int R, class S, class = sm::enable_if_t<sm::shape<S>::size == 1>>
SM_INLINE matrix<T, C, R> operator*(const matrix<T, C, R> &a, S s)
{
    matrix<T, C, R> m;
    for (int c = 0; c < C; c++) m.columns[c] = a.columns[c] * T(s);
    return m;
}
template <class T, int C, int R, class S, class = sm::enable_if_t<sm::shape<S>::size == 1>>
SM_INLINE matrix<T, C, R> operator*(S s, const matrix<T, C, R> &a)
{
    return a * s;
}
// A column vector on the right: the sum of columns, weighted.
template <class T, int C, int R, class V, class = sm::enable_if_t<sm::shape<V>::size == C && sm::is_same<sm::element_t<V>, T>>,
          class = void>
SM_INLINE vec<T, R> operator*(const matrix<T, C, R> &a, const V &v)
{
    const vec<T, C> weights(v);
    vec<T, R> sum = a.columns[0] * weights[0];
    for (int c = 1; c < C; c++) sum += a.columns[c] * weights[c];
    return sum;
}
// A row vector on the left.
template <class T, int C, int R, class V, class = sm::enable_if_t<sm::shape<V>::size == R && sm::is_same<sm::element_t<V>, T>>,
          class = void>
SM_INLINE vec<T, C> operator*(const V &v, const matrix<T, C, R> &a)
{
    const vec<T, R> row(v);
    vec<T, C> result;
    for (int c = 0; c < C; c++) {
        T sum = row[0] * a.columns[c][0];
        for (int r = 1; r < R; r++) sum = T(sum + row[r] * a.columns[c][r]);
        result[c] = sum;
    }
    return result;
}
template <class T, int K, int R, int C>
SM_INLINE matrix<T, C, R> operator*(const matrix<T, K, R> &a, const matrix<T, C, K> &b)
{
    matrix<T, C, R> m;
    for (int c = 0; c < C; c++) m.columns[c] = a * b.columns[c];
    return m;
}
template <class T, int C, int R> SM_INLINE bool operator==(const matrix<T, C, R> &a, const matrix<T, C, R> &b)
{
    for (int c = 0; c < C; c++)
        for (int r = 0; r < R; r++)
            if (!(a.columns[c][r] == b.columns[c][r])) return false;
    return true;
}
template <class T, int C, int R> SM_INLINE bool operator!=(const matrix<T, C, R> &a, const matrix<T, C, R> &b)
{
    return !(a == b);
}

template <class T, int C, int R> SM_INLINE matrix<T, R, C> transpose(const matrix<T, C, R> &a)
{
    matrix<T, R, C> m;
    for (int c = 0; c < C; c++)
        for (int r = 0; r < R; r++) m.columns[r][c] = a.columns[c][r];
    return m;
}
template <class T> SM_INLINE T determinant(const matrix<T, 2, 2> &m) { return T(m[0].x * m[1].y - m[1].x * m[0].y); }
template <class T> SM_INLINE T determinant(const matrix<T, 3, 3> &m)
{
    const vec<T, 3> p = cross(m[1], m[2]);
    return T(m[0].x * p.x + m[0].y * p.y + m[0].z * p.z);
}
// By the minors of the first two columns and of the last two.
template <class T> SM_INLINE T determinant(const matrix<T, 4, 4> &m)
{
    float sum = 0;
    static constexpr signed char pairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}, signs[6] = {1, -1, 1, 1, -1, 1};
    for (int i = 0; i < 6; i++) {
        const int p = pairs[i][0], q = pairs[i][1], s = pairs[5 - i][0], t = pairs[5 - i][1];
        const float left = float(m[0][p]) * float(m[1][q]) - float(m[0][q]) * float(m[1][p]);
        const float right = float(m[2][s]) * float(m[3][t]) - float(m[2][t]) * float(m[3][s]);
        sum += float(signs[i]) * left * right;
    }
    return T(sum);
}

#define SM_MATRIX_TYPES(X)                                                                                            \
    X(float, 2, 2) X(float, 2, 3) X(float, 2, 4) X(float, 3, 2) X(float, 3, 3) X(float, 3, 4) X(float, 4, 2) X(float, 4, 3) \
    X(float, 4, 4) X(half, 2, 2) X(half, 2, 3) X(half, 2, 4) X(half, 3, 2) X(half, 3, 3) X(half, 3, 4) X(half, 4, 2)    \
    X(half, 4, 3) X(half, 4, 4)
#define SM_MATRIX_NAME(T, C, R) typedef matrix<T, C, R> T##C##x##R;
SM_MATRIX_TYPES(SM_MATRIX_NAME)
} // namespace metal
#define SM_MATRIX_GLOBAL(T, C, R) using metal::T##C##x##R;
SM_MATRIX_TYPES(SM_MATRIX_GLOBAL)

#endif
