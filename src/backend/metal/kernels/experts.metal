// Tiles of assignments: what the products by experts share.

struct expert_tile {
    uint expert, first, count; // of order; without a route of rows
};

// Tiles of `size` assignments are numbered by expert; beyond the last one count is 0. Lanes look at an expert each.
static inline expert_tile routed_tile(device const int *offsets, uint experts, uint number, uint size, uint lane)
{
    expert_tile tile = {0, 0, 0};
    for (uint first = 0; first < experts; first += PV_METAL_SIMD) {
        const uint expert = first + lane;
        const uint begin = expert < experts ? uint(offsets[expert]) : 0, end = expert < experts ? uint(offsets[expert + 1]) : 0;
        const uint tiles = (end - begin + size - 1) / size, before = simd_prefix_exclusive_sum(tiles);
        const bool mine = number >= before && number - before < tiles;
        const uint count = simd_max(mine ? min(end - begin - (number - before) * size, size) : 0u);
        if (count > 0) {
            tile.expert = simd_max(mine ? expert : 0u);
            tile.first = simd_max(mine ? begin + (number - before) * size : 0u);
            tile.count = count;
            break;
        }
        number -= simd_sum(tiles);
    }
    return tile;
}

// The same where every row uses every expert.
static inline expert_tile tile_of_all(uint rows, uint experts, uint number, uint size)
{
    const uint tiles = (rows + size - 1) / size, expert = number / tiles, first = number % tiles * size;
    expert_tile tile = {expert, first, expert < experts ? min(rows - first, size) : 0};
    return tile;
}

static inline expert_tile find_tile(constant pv_args_moe_linear &args, uint rows, device const int *offsets, uint number,
                                    uint size, uint lane)
{
    expert_tile tile = {0, 0, 0};
    if (number < rows * args.used) { // in a step without rows offsets may be anything
        tile = args.routed != 0 ? routed_tile(offsets, args.experts, number, size, lane)
                                : tile_of_all(rows, args.experts, number, size);
    }
    return tile;
}

static inline uint assignment_of(constant pv_args_moe_linear &args, expert_tile tile, device const int *order, uint i)
{
    return args.routed != 0 ? uint(order[tile.first + i]) : (tile.first + i) * args.experts + tile.expert;
}
