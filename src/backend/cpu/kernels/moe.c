/* Experts: which rows go to which (moe_route), and the sum of what comes back (moe_sum). moe_linear stands beside linear. */
#include "functions.h"
#include "kernel.h"

/* Larger comes first; NaN is the lowest. */
static bool above(float a, float b) { return a > b || (b != b && a == a); }

/* The `used` largest of a row, and their weights. */
static void route_row(const pv_op_moe_route *route, const float *scores, int32_t *experts, float *weights)
{
    const uint32_t count = route->scores.cols, used = route->used;
    uint32_t chosen = 0;
    for (uint32_t e = 0; e < count; e++) {
        uint32_t at = chosen;
        while (at > 0 && above(scores[e], scores[experts[at - 1]])) at--;
        if (at == used) continue;
        if (chosen < used) chosen++;
        memmove(experts + at + 1, experts + at, (chosen - at - 1) * sizeof *experts);
        experts[at] = (int32_t)e;
    }
    const vf base = vf_set(scores[experts[0]]);
    float all[PV_LANES] = {0}, sum = 0;
    for (uint32_t e = 0; e < count; e += PV_LANES) { /* lane by lane, so that the order is the same for all instruction sets */
        const uint32_t left = count - e < PV_LANES ? count - e : PV_LANES;
        vf_store(all, vf_add(vf_load(all), vf_keep(vf_exp(vf_sub(vf_load_part(scores + e, left), base)), left, 0.0f)));
    }
    for (uint32_t i = 0; i < used; i += PV_LANES) {
        const uint32_t left = used - i < PV_LANES ? used - i : PV_LANES;
        float picked[PV_LANES] = {0};
        for (uint32_t j = 0; j < left; j++) picked[j] = scores[experts[i + j]];
        vf_store_part(weights + i, vf_exp(vf_sub(vf_load(picked), base)), left);
    }
    const float total = vf_tree(vf_load(all));
    for (uint32_t i = 0; i < used; i++) sum += weights[i];
    const float divisor = route->normalize && total == total ? sum : total;
    for (uint32_t i = 0; i < used; i++) weights[i] = route->scale != 0 ? weights[i] / divisor * route->scale : weights[i] / divisor;
}

/* By expert, then by number: counting, then placing. offsets[e + 1] is where the next of expert e goes, in the end where its last went. */
static void sort_assignments(const pv_op_moe_route *route, uint32_t rows)
{
    const int32_t *experts = pv_tensor_host(&route->experts);
    int32_t *order = pv_tensor_host(&route->order), *offsets = pv_tensor_host(&route->offsets);
    const uint32_t count = rows * route->used, expert_count = route->scores.cols;
    memset(offsets, 0, (expert_count + 1) * sizeof *offsets);
    for (uint32_t a = 0; a < count; a++)
        if ((uint32_t)experts[a] + 1 < expert_count) offsets[experts[a] + 2]++;
    for (uint32_t e = 2; e <= expert_count; e++) offsets[e] += offsets[e - 1];
    for (uint32_t a = 0; a < count; a++) order[offsets[experts[a] + 1]++] = (int32_t)a;
}

static void moe_route_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_moe_route *route = &op->moe_route;
    const uint32_t rows = pv_cpu_rows(context, &route->scores);
    const pv_cpu_range share = pv_cpu_share(context, rows);
    int32_t *experts = pv_tensor_host(&route->experts);
    for (uint32_t r = share.first; r < share.end; r++)
        route_row(route, pv_cpu_row(&route->scores, r), experts + (size_t)r * route->used, pv_cpu_row(&route->weights, r));
    if (context->workers > 1) pv_cpu_barrier(context->team);
    if (context->worker == 0) sort_assignments(route, rows);
}

static void moe_sum_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_moe_sum *sum = &op->moe_sum;
    const uint32_t cols = sum->out.cols, used = sum->weights.cols;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &sum->x));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *x = pv_cpu_row(&sum->x, r), *weights = pv_cpu_row(&sum->weights, r), *residual = pv_cpu_row(&sum->residual, r);
        float *out = pv_cpu_row(&sum->out, r);
        for (uint32_t i = 0; i < cols; i += PV_LANES) {
            const uint32_t count = cols - i < PV_LANES ? cols - i : PV_LANES;
            vf total = vf_zero();
            for (uint32_t u = 0; u < used; u++) total = vf_fma(vf_set(weights[u]), vf_load_part(x + (size_t)u * cols + i, count), total);
            vf_store_part(out + i, vf_add(total, vf_load_part(residual + i, count)), count);
        }
    }
}

const pv_cpu_kernel PV_K(pv_cpu_moe_route) = {moe_route_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_moe_sum) = {moe_sum_run, NULL};
