/* Every function and builtin of the Metal Shading Language that the shim has, by the test that runs it: test_shim_math.c runs SHIM_MATH
 * and fails where one of its names was not looked at. */
#ifndef SOFTMETAL_TESTS_SHIM_NAMES_H
#define SOFTMETAL_TESTS_SHIM_NAMES_H

#define SHIM_MATH(X)                                                                                                  \
    X(acos) X(acosh) X(asin) X(asinh) X(atan) X(atan2) X(atanh) X(ceil) X(copysign) X(cos) X(cosh) X(cospi) X(divide) X(exp) \
    X(exp2) X(exp10) X(fabs) X(abs) X(fdim) X(floor) X(fma) X(fmax) X(fmax3) X(fmedian3) X(fmin) X(fmin3) X(fmod) X(fract) \
    X(frexp) X(ilogb) X(ldexp) X(log) X(log2) X(log10) X(max) X(max3) X(median3) X(min) X(min3) X(modf) X(nextafter) X(pow) \
    X(powr) X(rint) X(round) X(rsqrt) X(sin) X(sincos) X(sinh) X(sinpi) X(sqrt) X(tan) X(tanh) X(tanpi) X(trunc)          \
    X(clamp) X(mix) X(saturate) X(sign) X(smoothstep) X(step)

#define SHIM_INTEGER(X)                                                                                               \
    X(abs) X(absdiff) X(addsat) X(clamp) X(clz) X(ctz) X(extract_bits) X(hadd) X(insert_bits) X(mad24) X(madhi) X(madsat) X(max) \
    X(max3) X(median3) X(min) X(min3) X(mul24) X(mulhi) X(popcount) X(reverse_bits) X(rhadd) X(rotate) X(subsat)

#define SHIM_RELATIONAL(X)                                                                                            \
    X(all) X(any) X(isfinite) X(isinf) X(isnan) X(isnormal) X(isordered) X(isunordered) X(not) X(select) X(signbit)

#define SHIM_GEOMETRIC(X)                                                                                             \
    X(cross) X(distance) X(distance_squared) X(dot) X(faceforward) X(length) X(length_squared) X(normalize) X(reflect)   \
    X(refract) X(determinant) X(transpose)

#define SHIM_PACK(X)                                                                                                  \
    X(unpack_snorm4x8_to_float) X(unpack_unorm4x8_to_float) X(unpack_unorm4x8_srgb_to_float) X(unpack_snorm2x16_to_float) \
    X(unpack_unorm2x16_to_float) X(unpack_unorm10a2_to_float) X(unpack_unorm565_to_float) X(unpack_snorm4x8_to_half)    \
    X(unpack_unorm4x8_to_half) X(unpack_unorm4x8_srgb_to_half) X(unpack_snorm2x16_to_half) X(unpack_unorm2x16_to_half)  \
    X(unpack_unorm10a2_to_half) X(unpack_unorm565_to_half) X(pack_float_to_snorm4x8) X(pack_float_to_unorm4x8)          \
    X(pack_float_to_srgb_unorm4x8) X(pack_float_to_snorm2x16) X(pack_float_to_unorm2x16) X(pack_float_to_unorm10a2)     \
    X(pack_float_to_unorm565) X(pack_half_to_snorm4x8) X(pack_half_to_unorm4x8) X(pack_half_to_srgb_unorm4x8)           \
    X(pack_half_to_snorm2x16) X(pack_half_to_unorm2x16) X(pack_half_to_unorm10a2) X(pack_half_to_unorm565)

/* simd_NAME and quad_NAME */
#define SHIM_LANES(X)                                                                                                 \
    X(active_threads_mask) X(all) X(and) X(any) X(ballot) X(broadcast) X(broadcast_first) X(is_first) X(is_helper_thread) \
    X(max) X(min) X(or) X(prefix_exclusive_product) X(prefix_exclusive_sum) X(prefix_inclusive_product)                \
    X(prefix_inclusive_sum) X(product) X(shuffle) X(shuffle_and_fill_down) X(shuffle_and_fill_up) X(shuffle_down)        \
    X(shuffle_rotate_down) X(shuffle_rotate_up) X(shuffle_up) X(shuffle_xor) X(sum) X(xor)

#define SHIM_SIMDGROUP_MATRIX(X)                                                                                      \
    X(make_filled_simdgroup_matrix) X(simdgroup_load) X(simdgroup_store) X(simdgroup_multiply) X(simdgroup_multiply_accumulate) \
    X(thread_elements)

#define SHIM_ATOMIC(X)                                                                                                \
    X(atomic_store_explicit) X(atomic_load_explicit) X(atomic_exchange_explicit) X(atomic_compare_exchange_weak_explicit) \
    X(atomic_fetch_add_explicit) X(atomic_fetch_and_explicit) X(atomic_fetch_max_explicit) X(atomic_fetch_min_explicit) \
    X(atomic_fetch_or_explicit) X(atomic_fetch_sub_explicit) X(atomic_fetch_xor_explicit) X(atomic_min_explicit)        \
    X(atomic_max_explicit) X(atomic_thread_fence) X(threadgroup_barrier) X(simdgroup_barrier)

/* Attributes of a kernel's parameters */
#define SHIM_BUILTIN(X)                                                                                               \
    X(thread_position_in_grid) X(thread_position_in_threadgroup) X(threadgroup_position_in_grid) X(threads_per_grid)    \
    X(threadgroups_per_grid) X(threads_per_threadgroup) X(dispatch_threads_per_threadgroup) X(thread_index_in_threadgroup) \
    X(thread_index_in_simdgroup) X(thread_index_in_quadgroup) X(simdgroup_index_in_threadgroup)                        \
    X(quadgroup_index_in_threadgroup) X(simdgroups_per_threadgroup) X(quadgroups_per_threadgroup)                      \
    X(dispatch_simdgroups_per_threadgroup) X(dispatch_quadgroups_per_threadgroup) X(threads_per_simdgroup)              \
    X(thread_execution_width)

#endif
