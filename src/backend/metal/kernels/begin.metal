// begin: patches go into the block tables and the token log, in order, then literal tokens into the log. One threadgroup: of two patches of a
// cell the later one counts, and a token counts more than a patch. Patches are taken a batch at a time; in a batch an earlier one stands back.

#define BATCH 256 // threads, and patches of a batch

static inline bool same_cell(pv_step_patch a, pv_step_patch b)
{
    return a.group == b.group && a.slot == b.slot && a.index == b.index;
}

static inline bool is_last(threadgroup const pv_step_patch *batch, uint at, uint count)
{
    for (uint i = at + 1; i < count; i++) {
        if (same_cell(batch[i], batch[at])) {
            return false;
        }
    }
    return true;
}

kernel void begin(device const uchar *step [[buffer(0)]], constant pv_args_begin &args [[buffer(1)]],
                  device int *table0 [[buffer(2)]], device int *table1 [[buffer(3)]], device int *table2 [[buffer(4)]],
                  device int *table3 [[buffer(5)]], device int *token_log [[buffer(6)]], uint at [[thread_index_in_threadgroup]])
{
    threadgroup pv_step_patch batch[BATCH];
    const uint patches = step_counts(step)->patches, rows = step_counts(step)->rows;
    for (uint first = 0; first < patches; first += BATCH) {
        const uint count = min(uint(BATCH), patches - first);
        if (at < count) {
            batch[at] = step_array<pv_step_patch>(step, args.step.patches)[first + at];
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (at < count && is_last(batch, at, count)) {
            const pv_step_patch patch = batch[at];
            const uint group = uint(patch.group);
            if (patch.group == PV_PATCH_TOKEN_LOG) {
                token_log[uint(patch.slot) * args.log_cols + uint(patch.index)] = patch.page;
            } else if (group < PV_MAX_GROUPS && args.table_cols[group] > 0) {
                device int *table = group == 0 ? table0 : group == 1 ? table1 : group == 2 ? table2 : table3;
                table[uint(patch.slot) * args.table_cols[group] + uint(patch.index)] = patch.page;
            }
        }
        threadgroup_barrier(mem_flags::mem_device);
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    for (uint i = at; i < rows; i += BATCH) {
        const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[i];
        if (row.token >= 0) {
            token_log[uint(row.slot) * args.log_cols + uint(row.position)] = row.token;
        }
    }
}
