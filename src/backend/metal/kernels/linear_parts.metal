// What the kernels of linear share: constants, and how the parts of an op share a dispatch. `layout`, function constant 0, stands in
// layouts.metal.

constant uint with_norm [[function_constant(1)]];
constant uint with_glu [[function_constant(2)]]; // pv_activation of the gate; 0: no glu

#define SIMDGROUPS 4 // of a threadgroup

// What a threadgroup's number means: a part, and the first of its columns of out.
struct part_place {
    uint part, first;
};

static inline part_place find_part(constant pv_args_linear &args, uint group, uint columns)
{
    part_place place = {0, 0};
    for (uint p = 0; p < 3; p++) {
        const uint groups = (args.rows[p] + columns - 1) / columns;
        if (group < groups) {
            place.part = p;
            place.first = group * columns;
            break;
        }
        group -= groups;
        place.first = 0xFFFFFFFF; // beyond all parts
    }
    return place;
}
