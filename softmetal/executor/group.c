/* Runs one threadgroup: which lane goes next, barriers, and meetings of simdgroups.
 *
 * A lane begins on the fiber of the lane that has just left, so a kernel that never waits never switches. A lane that waits
 * goes straight to the next one that can run. Lanes of the current simdgroup come first, the lowest first, unless the world
 * shuffles. */
#include <string.h>

#include "executor/group.h"

__thread sm_worker *sm_current __attribute__((tls_model("initial-exec")));

static uint32_t bit_of(uint32_t lane)
{
    return 1u << (lane % SM_LANES);
}

static uint32_t random_bit(sm_worker *worker, uint32_t mask)
{
    uint64_t x = worker->random;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    worker->random = x;
    for (uint32_t skip = (uint32_t)(x >> 33) % (uint32_t)__builtin_popcount(mask); skip > 0; skip--) mask &= mask - 1;
    return (uint32_t)__builtin_ctz(mask);
}

static void tick(sm_worker *worker)
{
    if (worker->clock < SM_CLOCK_END) worker->clock++;
}

/* ---- Meetings ------------------------------------------------------------------------------------------------------ */

static uint32_t members(const sm_simdgroup *simdgroup, const sm_cohort *cohort)
{
    return cohort == &simdgroup->all ? UINT32_MAX : 0xFu << 4 * (uint32_t)(cohort - simdgroup->quads);
}

/* What `lane` knows of others now that `active` have met: everything that any of them knew. */
static void learn(sm_worker *worker, sm_simdgroup *simdgroup, uint32_t active)
{
    uint16_t known[SM_LANES] = {0};
    if (!simdgroup->partly) memset(simdgroup->known, 0, sizeof *simdgroup->known * SM_LANES);
    simdgroup->partly = true;
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        const uint16_t *row = simdgroup->known[__builtin_ctz(rest)];
        for (uint32_t i = 0; i < SM_LANES; i++) known[i] = row[i] > known[i] ? row[i] : known[i];
    }
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) known[__builtin_ctz(rest)] = (uint16_t)worker->clock;
    for (uint32_t rest = active; rest != 0; rest &= rest - 1)
        memcpy(simdgroup->known[__builtin_ctz(rest)], known, sizeof known);
}

/* All that `active` did so far is before what they do from now on. */
static inline void order(sm_worker *worker, sm_simdgroup *simdgroup, uint32_t active)
{
    tick(worker);
    if (active == simdgroup->live) {
        simdgroup->met = worker->clock;
        simdgroup->partly = false;
    } else if (worker->check != NULL) {
        learn(worker, simdgroup, active);
    }
}

/* Runs the meeting of the lanes `active`, and lets them go on. */
static __attribute__((noinline)) void hold(sm_worker *worker, sm_simdgroup *simdgroup, sm_cohort *cohort, uint32_t active)
{
    const uint32_t leader = (uint32_t)__builtin_ctz(active);
    const sm_meeting meeting = simdgroup->waits[leader].meeting;
    order(worker, simdgroup, active); /* what the lanes did is before what the meeting does */
    worker->meeting_line = simdgroup->waits[leader].line;
    if (meeting != NULL && active == simdgroup->live) {
        meeting(simdgroup->values, active, simdgroup->constants[leader]);
    } else if (meeting != NULL) {
        void *values[SM_LANES] = {NULL};
        for (uint32_t rest = active; rest != 0; rest &= rest - 1)
            values[__builtin_ctz(rest)] = simdgroup->values[__builtin_ctz(rest)];
        meeting(values, active, simdgroup->constants[leader]);
    }
    cohort->arrived &= ~active;
    simdgroup->ready |= active;
    worker->runnable |= 1u << (simdgroup - worker->simdgroups);
    worker->meetings += meeting != NULL;
    worker->barriers += meeting == NULL;
    worker->meeting_line = 0;
    if (meeting != NULL) order(worker, simdgroup, active);
}

/* `wanted` are those that live. */
static inline void hold_if_complete(sm_worker *worker, sm_simdgroup *simdgroup, sm_cohort *cohort, uint32_t wanted)
{
    if (cohort->arrived == wanted && wanted != 0 && !cohort->mixed) hold(worker, simdgroup, cohort, wanted);
}

static bool same_place(const sm_wait *a, const sm_wait *b)
{
    return a->line == b->line && a->site == b->site && a->scope == b->scope && a->meeting == b->meeting;
}

static void look_again(sm_simdgroup *simdgroup, sm_cohort *cohort)
{
    cohort->mixed = false;
    if (cohort->arrived == 0) return;
    const sm_wait *first = &simdgroup->waits[__builtin_ctz(cohort->arrived)];
    cohort->line = first->line, cohort->site = first->site;
    for (uint32_t rest = cohort->arrived; rest != 0; rest &= rest - 1)
        if (!same_place(first, &simdgroup->waits[__builtin_ctz(rest)])) cohort->mixed = true;
}

static void report_divergence(sm_worker *worker, const sm_simdgroup *simdgroup, uint32_t active)
{
    const uint32_t base = (uint32_t)(simdgroup - worker->simdgroups) * SM_LANES;
    const uint32_t lane = (uint32_t)__builtin_ctz(active), rest = simdgroup->live & ~active;
    const sm_wait *wait = &simdgroup->waits[lane];
    sm_finding finding = sm_finding_new(worker, wait->meeting != NULL ? SOFTMETAL_DIVERGENT_SIMD : SOFTMETAL_DIVERGENT_BARRIER);
    finding.what = SM_DIVERGENT_LANES;
    finding.line = wait->line;
    finding.thread = base + lane;
    finding.size = (uint32_t)__builtin_popcount(active);
    if (rest != 0) {
        const uint32_t other = (uint32_t)__builtin_ctz(rest);
        finding.other_thread = base + other;
        finding.other_line = simdgroup->at_barrier & 1u << other ? worker->barrier_line : simdgroup->waits[other].line;
    }
    sm_finding_add(worker, &finding);
}

/* No lane of the simdgroup can run, and some wait for others of it. Those that are furthest behind (the lowest line) go on. */
static void part(sm_worker *worker, sm_simdgroup *simdgroup)
{
    sm_cohort *cohort = NULL;
    uint32_t chosen = SM_NO_LANE;
    for (uint32_t i = 0; i <= SM_QUADS; i++) {
        sm_cohort *candidate = i == 0 ? &simdgroup->all : &simdgroup->quads[i - 1];
        for (uint32_t rest = candidate->arrived; rest != 0; rest &= rest - 1) {
            const uint32_t lane = (uint32_t)__builtin_ctz(rest);
            if (cohort != NULL && simdgroup->waits[chosen].line <= simdgroup->waits[lane].line) continue;
            cohort = candidate, chosen = lane;
        }
    }
    if (cohort == NULL) return;
    uint32_t active = 0;
    for (uint32_t rest = cohort->arrived; rest != 0; rest &= rest - 1)
        if (same_place(&simdgroup->waits[chosen], &simdgroup->waits[__builtin_ctz(rest)])) active |= rest & -rest;
    if (worker->check != NULL) report_divergence(worker, simdgroup, active);
    hold(worker, simdgroup, cohort, active);
    look_again(simdgroup, cohort);
}

/* ---- The threadgroup's barrier ------------------------------------------------------------------------------------- */

static void report_barrier(sm_worker *worker)
{
    sm_finding finding = sm_finding_new(worker, SOFTMETAL_DIVERGENT_BARRIER);
    finding.line = worker->barrier_line;
    finding.thread = worker->barrier_lane;
    finding.size = worker->arrived;
    if (worker->other_lane != SM_NO_LANE) {
        finding.what = SM_DIFFERENT_BARRIERS;
        finding.other_line = worker->other_line;
        finding.other_thread = worker->other_lane;
    } else {
        finding.what = SM_LEFT_BEFORE_BARRIER;
        finding.other_thread = worker->left_lane;
    }
    sm_finding_add(worker, &finding);
}

static __attribute__((noinline)) void open_barrier(sm_worker *worker)
{
    if (worker->other_lane != SM_NO_LANE || worker->live != worker->threads) report_barrier(worker);
    for (uint32_t i = 0; i * SM_LANES < worker->threads; i++) {
        sm_simdgroup *simdgroup = &worker->simdgroups[i];
        if (simdgroup->at_barrier == 0) continue;
        simdgroup->ready |= simdgroup->at_barrier;
        simdgroup->at_barrier = 0;
        worker->runnable |= 1u << i;
    }
    tick(worker);
    if (worker->barrier_fences & SM_FENCE_THREADGROUP) worker->fenced_threadgroup = worker->clock;
    if (worker->barrier_fences & SM_FENCE_DEVICE) worker->fenced_device = worker->clock;
    worker->barriers++;
    worker->arrived = 0;
    worker->other_lane = SM_NO_LANE;
}

/* ---- Who goes next ------------------------------------------------------------------------------------------------- */

/* The same where it is not simply the next lane of this simdgroup. */
static __attribute__((noinline)) uint32_t pick_slowly(sm_worker *worker)
{
    sm_simdgroup *simdgroup = worker->simdgroup;
    const uint32_t current = (uint32_t)(simdgroup - worker->simdgroups);
    if (simdgroup->ready == 0 && simdgroup->live != simdgroup->at_barrier) part(worker, simdgroup);
    if (simdgroup->ready == 0) worker->runnable &= ~(1u << current);
    if (worker->runnable == 0) return SM_NO_LANE;
    if (simdgroup->ready == 0 || worker->random != 0) {
        const uint32_t later = worker->runnable & ~((2u << current) - 1);
        const uint32_t next = worker->random != 0 ? random_bit(worker, worker->runnable)
                                                  : (uint32_t)__builtin_ctz(later != 0 ? later : worker->runnable);
        simdgroup = worker->simdgroup = &worker->simdgroups[next];
    }
    const uint32_t lane =
        worker->random != 0 ? random_bit(worker, simdgroup->ready) : (uint32_t)__builtin_ctz(simdgroup->ready);
    simdgroup->ready &= ~(1u << lane);
    return simdgroup->first + lane;
}

/* Takes the next lane that can run out of the ready ones; SM_NO_LANE if all have left. */
static inline uint32_t pick(sm_worker *worker)
{
    sm_simdgroup *simdgroup = worker->simdgroup;
    const uint32_t ready = simdgroup->ready;
    if (__builtin_expect(ready == 0 || worker->random != 0, 0)) return pick_slowly(worker);
    simdgroup->ready = ready & (ready - 1);
    return simdgroup->first + (uint32_t)__builtin_ctz(ready);
}

static void start_lane(sm_worker *worker)
{
    sm_lane *lane = &worker->lanes[worker->lane];
    for (int i = 0; i < 3; i++) {
        lane->threadgroup_position_in_grid[i] = worker->group_position[i];
        lane->thread_position_in_grid[i] = worker->origin[i] + lane->thread_position_in_threadgroup[i];
    }
}

/* Nothing comes after the switch, so that it is a jump, and what comes back is in the caller. */
static inline void switch_to(sm_worker *worker, sm_fiber *to)
{
    sm_fiber *from = worker->fiber;
    worker->fiber = to;
#ifdef SM_SANITIZED
    worker->previous = from;
    sm_fiber_go(from, to);
    sm_fiber_arrived(from, worker->previous);
#else
    sm_fiber_switch(&from->sp, to->sp);
#endif
}

void sm_group_end(sm_worker *worker, sm_end end)
{
    worker->crash = (sm_crash){.end = end, .lane = worker->lane};
    switch_to(worker, &worker->main);
    __builtin_unreachable();
}

/* The fiber that the lane waits on, or that it may begin on. */
static __attribute__((noinline)) sm_fiber *new_fiber(sm_worker *worker, uint32_t next)
{
    if (next == SM_NO_LANE) sm_group_end(worker, SM_END_DEADLOCK); /* cannot be: some lane of each simdgroup can always go on */
    sm_fiber *fiber = sm_fiber_idle(worker);
    if (fiber == NULL) sm_group_end(worker, SM_END_NO_MEMORY);
    return fiber;
}

/* The running lane waits until somebody makes it ready. */
static inline void wait_here(sm_worker *worker)
{
    const uint32_t self = worker->lane, next = pick(worker);
    if (__builtin_expect(next == self, 0)) return;
    sm_fiber *fiber = next != SM_NO_LANE ? worker->lane_fiber[next] : NULL;
    if (__builtin_expect(fiber == NULL, 0)) fiber = new_fiber(worker, next);
    worker->lane_fiber[self] = worker->fiber;
    worker->lane = next;
    switch_to(worker, fiber);
}

static inline void leave(sm_worker *worker)
{
    const uint32_t lane = worker->lane;
    sm_simdgroup *simdgroup = worker->simdgroup;
    simdgroup->live &= ~bit_of(lane);
    simdgroup->values[lane % SM_LANES] = NULL;
    worker->lane_fiber[lane] = NULL;
    worker->left_lane = lane;
    worker->live--;
    if (simdgroup->live != (simdgroup->ready | simdgroup->at_barrier)) {
        hold_if_complete(worker, simdgroup, &simdgroup->all, simdgroup->live);
        sm_cohort *quad = &simdgroup->quads[lane % SM_LANES / 4];
        hold_if_complete(worker, simdgroup, quad, simdgroup->live & members(simdgroup, quad));
    }
    if (worker->arrived != 0 && worker->arrived == worker->live) open_barrier(worker);
}

/* Runs lanes until one waits, goes where it can go on, and begins again when it is wanted. */
void sm_fiber_main(void)
{
    sm_worker *worker = sm_current;
    sm_fiber_arrived(worker->fiber, worker->previous);
    for (;;) {
        start_lane(worker);
        worker->job->run(&worker->lanes[worker->lane]);
        leave(worker);
        const uint32_t next = pick(worker);
        sm_fiber *fiber = &worker->main;
        if (next != SM_NO_LANE) {
            worker->lane = next;
            fiber = worker->lane_fiber[next];
            if (fiber == NULL) continue;
        }
        worker->idle[worker->idle_count++] = worker->fiber;
        switch_to(worker, fiber);
    }
}

/* ---- What kernels ask for ------------------------------------------------------------------------------------------ */

static void meet(sm_scope scope, sm_meeting meeting, void *value, const void *constant, uint32_t line, const void *site)
{
    sm_worker *worker = sm_current;
    sm_simdgroup *simdgroup = worker->simdgroup;
    const uint32_t own = worker->lane % SM_LANES;
    sm_cohort *cohort = &simdgroup->all;
    uint32_t wanted = simdgroup->live;
    if (scope != SM_SCOPE_SIMD) {
        cohort = &simdgroup->quads[own / 4];
        wanted &= members(simdgroup, cohort);
    }
    simdgroup->values[own] = value;
    simdgroup->constants[own] = constant;
    sm_wait *wait = &simdgroup->waits[own];
    wait->site = site, wait->meeting = meeting, wait->line = line, wait->scope = scope;
    if (cohort->arrived == 0) {
        cohort->line = line, cohort->site = site, cohort->mixed = false;
    } else if (cohort->line != line || cohort->site != site) {
        cohort->mixed = true;
    }
    cohort->arrived |= 1u << own;
    if (cohort->arrived == wanted && !cohort->mixed) {
        hold(worker, simdgroup, cohort, wanted);
        if (worker->random == 0) {
            simdgroup->ready &= ~(1u << own);
            return;
        }
    }
    wait_here(worker);
}

static void barrier(sm_scope scope, uint32_t fences, uint32_t line)
{
    static const char place; /* of simdgroup barriers */
    if (scope != SM_SCOPE_THREADGROUP) {
        meet(scope, NULL, NULL, NULL, line, &place);
        return;
    }
    sm_worker *worker = sm_current;
    const uint32_t lane = worker->lane;
    if (worker->arrived++ == 0) {
        worker->barrier_line = line, worker->barrier_fences = fences, worker->barrier_lane = lane;
    } else if (worker->barrier_line != line) {
        worker->other_line = line, worker->other_lane = lane;
    }
    worker->simdgroup->at_barrier |= bit_of(lane);
    if (worker->arrived == worker->live) {
        open_barrier(worker);
        if (worker->random == 0) {
            worker->simdgroup->ready &= ~bit_of(lane);
            return;
        }
    }
    wait_here(worker);
}

static const sm_lane *self(void)
{
    return &sm_current->lanes[sm_current->lane];
}

/* The same for the same value and seed, whatever the order. */
static float jitter(float value)
{
    const softmetal_world *world = sm_current->job->world;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (world->ulp_jitter == 0 || magnitude == 0 || magnitude >= 0x7F800000u) return value;
    uint64_t hash = (bits + 1) * 0x9E3779B97F4A7C15u ^ world->seed * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32, hash *= 0xD6E8FEB86659FD93u, hash ^= hash >> 32;
    const int64_t off = (int64_t)(hash % (2ull * world->ulp_jitter + 1)) - (int64_t)world->ulp_jitter;
    int64_t moved = (int64_t)magnitude + off;
    if (moved < 1) moved = 1;
    if (moved > 0x7F7FFFFF) moved = 0x7F7FFFFF;
    bits = (bits & 0x80000000u) | (uint32_t)moved;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

const sm_services sm_executor_services = {
    .abi = SM_ABI,
    .barrier = barrier,
    .meet = meet,
    .threadgroup_variable = sm_threadgroup_variable,
    .self = self,
    .jitter = jitter,
    .access = sm_check_access,
};

/* ---- A threadgroup ------------------------------------------------------------------------------------------------- */

static void make_lanes(sm_worker *worker, const uint32_t shape[3])
{
    const sm_launch *job = worker->job;
    sm_lane lane = {.buffers = worker->buffers, .threadgroup = worker->threadgroup};
    for (int i = 0; i < 3; i++) {
        lane.threads_per_grid[i] = job->dispatch->grid[i];
        lane.threadgroups_per_grid[i] = job->groups[i];
        lane.threads_per_threadgroup[i] = shape[i];
        lane.dispatch_threads_per_threadgroup[i] = job->dispatch->group[i];
        worker->shape[i] = shape[i];
    }
    worker->threads = shape[0] * shape[1] * shape[2];
    worker->shape_job = job->number;
    lane.simdgroups_per_threadgroup = (worker->threads + SM_LANES - 1) / SM_LANES;
    lane.quadgroups_per_threadgroup = (worker->threads + 3) / 4;
    uint32_t index = 0;
    for (uint32_t z = 0; z < shape[2]; z++)
        for (uint32_t y = 0; y < shape[1]; y++)
            for (uint32_t x = 0; x < shape[0]; x++, index++) {
                lane.thread_position_in_threadgroup[0] = x;
                lane.thread_position_in_threadgroup[1] = y;
                lane.thread_position_in_threadgroup[2] = z;
                lane.thread_index_in_threadgroup = index;
                lane.simdgroup_index_in_threadgroup = index / SM_LANES;
                lane.thread_index_in_simdgroup = index % SM_LANES;
                lane.quadgroup_index_in_threadgroup = index / 4;
                lane.thread_index_in_quadgroup = index % 4;
                worker->lanes[index] = lane;
            }
    const uint32_t tail = worker->threads % SM_LANES;
    if (tail == 0) return;
    sm_simdgroup *last = &worker->simdgroups[worker->threads / SM_LANES];
    for (uint32_t i = tail; i < SM_LANES; i++) last->values[i] = NULL;
}

static void begin(sm_worker *worker)
{
    const uint32_t count = (worker->threads + SM_LANES - 1) / SM_LANES;
    for (uint32_t i = 0; i < count; i++) {
        sm_simdgroup *simdgroup = &worker->simdgroups[i];
        const uint32_t lanes = worker->threads - i * SM_LANES;
        simdgroup->live = lanes >= SM_LANES ? UINT32_MAX : (1u << lanes) - 1;
        simdgroup->ready = simdgroup->live;
        simdgroup->at_barrier = 0;
        simdgroup->met = 0;
        simdgroup->partly = false;
        simdgroup->all.arrived = 0;
        simdgroup->all.mixed = false;
        for (int quad = 0; quad < SM_QUADS; quad++) simdgroup->quads[quad].arrived = 0;
    }
    worker->runnable = count == SM_SIMDGROUPS ? UINT32_MAX : (1u << count) - 1;
    worker->live = worker->threads;
    worker->simdgroup = worker->simdgroups;
    worker->arrived = 0;
    worker->other_lane = SM_NO_LANE;
    worker->clock = 1;
    worker->fenced_threadgroup = worker->fenced_device = 0;
}

/* Runs fibers until one comes back to `main`, or a signal's handler has thrown this thread there. */
static void enter(sm_worker *worker, sm_fiber *fiber)
{
    worker->thrown = false;
    worker->previous = &worker->main;
    worker->fiber = fiber;
    atomic_store_explicit(&worker->running, true, memory_order_release); /* after what the guard reads */
    atomic_signal_fence(memory_order_seq_cst);
    sm_fiber_go(&worker->main, fiber);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&worker->running, false, memory_order_relaxed);
    if (worker->thrown) sm_fiber_thrown(&worker->main);
    sm_fiber_arrived(&worker->main, NULL);
    worker->fiber = &worker->main;
}

bool sm_group_run(sm_worker *worker, uint64_t index)
{
    const sm_launch *job = worker->job;
    uint32_t shape[3];
    worker->group_index = index;
    worker->group_serial = job->first_serial + index;
    worker->group_position[0] = (uint32_t)(index % job->groups[0]);
    worker->group_position[1] = (uint32_t)(index / job->groups[0] % job->groups[1]);
    worker->group_position[2] = (uint32_t)(index / job->groups[0] / job->groups[1]);
    bool same = worker->shape_job == job->number;
    for (int i = 0; i < 3; i++) {
        const uint32_t left = job->dispatch->grid[i] - worker->group_position[i] * job->dispatch->group[i];
        shape[i] = left < job->dispatch->group[i] ? left : job->dispatch->group[i];
        same = same && shape[i] == worker->shape[i];
        worker->origin[i] = worker->group_position[i] * job->dispatch->group[i];
    }
    if (!same) make_lanes(worker, shape);
    begin(worker);
    worker->random = job->world->shuffle ? sm_mix(job->world->seed ^ sm_mix(job->number ^ sm_mix(index))) | 1 : 0;
    sm_threadgroup_begin(worker);
    worker->meeting_line = 0;
    worker->lane = pick(worker);
    sm_fiber *fiber = sm_fiber_idle(worker);
    if (fiber == NULL) {
        worker->crash.end = SM_END_NO_MEMORY;
        return false;
    }
    enter(worker, fiber);
    if (worker->crash.end != SM_END_NONE) {
        sm_fibers_forget(worker);
        return false;
    }
    worker->groups_run++;
    worker->threads_run += worker->threads;
    sm_threadgroup_end(worker);
    return worker->crash.end == SM_END_NONE;
}
