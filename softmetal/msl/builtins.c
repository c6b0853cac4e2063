#include "msl/builtins.h"

#include <stddef.h>
#include <string.h>

#define FIELD(name) {#name, "sm::input<&sm_lane::" #name ">{}"}
#define ALIAS(name, field) {#name, "sm::input<&sm_lane::" #field ">{}"}

static const struct {
    const char *attribute, *source;
} builtins[] = {
    FIELD(thread_position_in_grid),
    FIELD(thread_position_in_threadgroup),
    FIELD(threadgroup_position_in_grid),
    FIELD(threads_per_grid),
    FIELD(threadgroups_per_grid),
    FIELD(threads_per_threadgroup),
    FIELD(dispatch_threads_per_threadgroup),
    FIELD(thread_index_in_threadgroup),
    FIELD(simdgroup_index_in_threadgroup),
    FIELD(thread_index_in_simdgroup),
    FIELD(simdgroups_per_threadgroup),
    FIELD(quadgroup_index_in_threadgroup),
    FIELD(thread_index_in_quadgroup),
    FIELD(quadgroups_per_threadgroup),
    {"dispatch_simdgroups_per_threadgroup", "sm::dispatched<SM_LANES>{}"},
    {"dispatch_quadgroups_per_threadgroup", "sm::dispatched<4>{}"},
    ALIAS(grid_size, threads_per_grid),
    {"grid_origin", "sm::fixed<0>{}"},
    {"threads_per_simdgroup", "sm::fixed<SM_LANES>{}"},
    {"thread_execution_width", "sm::fixed<SM_LANES>{}"},
};

const char *sm_builtin_source(const char *attribute)
{
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
        if (strcmp(builtins[i].attribute, attribute) == 0) return builtins[i].source;
    }
    return NULL;
}

bool sm_attribute_unsupported(const char *attribute)
{
    static const char *const names[] = {
        "texture", "sampler", "stage_in", "position", "vertex_id", "instance_id", "base_vertex", "base_instance",
        "front_facing", "point_coord", "color", "imageblock_data", "payload", "thread_index_in_quadgroup_in_grid", "user",
        "amplification_id", "amplification_count", "patch", "patch_id", "position_in_patch", "render_target_array_index",
        "viewport_array_index", "sample_id", "sample_mask", "primitive_id", "barycentric_coord",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], attribute) == 0) return true;
    }
    return false;
}
