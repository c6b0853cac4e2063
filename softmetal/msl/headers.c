#include "msl/headers.h"

#include <stddef.h>

const char *const sm_metal_headers[] = {
    "metal_stdlib", "metal_math", "metal_simdgroup", "metal_simdgroup_matrix", "metal_atomic", "metal_compute",
    "metal_geometric", "metal_integer", "metal_matrix", "metal_relational", "metal_pack", "metal_common", "metal_types",
    "metal_tensor", "metal_array", "metal_assert", "metal_cooperative_tensor", "metal_config", "metal_extended_vector",
    "metal_function_constants", "metal_graphics", "metal_imageblocks", "metal_initializer_list", "metal_interpolate",
    "metal_iterator", "metal_limits", "metal_logging", "metal_math_precise", "metal_mesh", "metal_numeric",
    "metal_packed_vector", "metal_quadgroup", "metal_raster_order_group", "metal_raytracing", "metal_tessellation",
    "metal_texture", "metal_tuple", "metal_type_traits", "metal_utility", "metal_vector", "metal_visible_function_table",
    "simd/simd.h", "simd/vector_types.h", "simd/matrix_types.h", "simd/packed.h", "TargetConditionals.h", NULL,
};

const char sm_prelude[] = "#pragma once\n"
                          "#include \"metal_stdlib.h\"\n"
                          "#include \"thunk.h\"\n"
                          "#ifdef SOFTMETAL_CHECKED\n"
                          "#include \"hooks.h\"\n"
                          "#endif\n";
