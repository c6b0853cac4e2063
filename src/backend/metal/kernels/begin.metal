// begin: patches go into the block tables and the token log, literal tokens into the log. A thread a patch, then a thread a row.

kernel void begin(device const uchar *step [[buffer(0)]], constant pv_args_begin &args [[buffer(1)]],
                  device int *table0 [[buffer(2)]], device int *table1 [[buffer(3)]], device int *table2 [[buffer(4)]],
                  device int *table3 [[buffer(5)]], device int *token_log [[buffer(6)]], uint at [[thread_position_in_grid]])
{
    device const pv_step_counts *counts = step_counts(step);
    if (at < counts->patches) {
        const pv_step_patch patch = step_array<pv_step_patch>(step, args.step.patches)[at];
        const uint group = uint(patch.group);
        if (patch.group == PV_PATCH_TOKEN_LOG) {
            token_log[uint(patch.slot) * args.log_cols + uint(patch.index)] = patch.page;
        } else if (group < PV_MAX_GROUPS && args.table_cols[group] > 0) {
            device int *table = group == 0 ? table0 : group == 1 ? table1 : group == 2 ? table2 : table3;
            table[uint(patch.slot) * args.table_cols[group] + uint(patch.index)] = patch.page;
        }
    } else if (at - counts->patches < counts->rows) {
        const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[at - counts->patches];
        if (row.token >= 0) {
            token_log[uint(row.slot) * args.log_cols + uint(row.position)] = row.token;
        }
    }
}
