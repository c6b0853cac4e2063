/* One load or store of a kernel. */
#include "checker/checker.h"

typedef struct access {
    sm_worker *worker;
    uintptr_t address;
    uint64_t size;
    uint32_t kind;
    uint32_t place;
    uint64_t word;  /* without the mask of its bytes */
    uint32_t fence; /* the clock of the last barrier that ordered such memory */
    bool shared;    /* device memory: other workers use the cells too */
    int32_t slot, buffer;
    int64_t offset; /* in it, for reports */
    const sm_range *range;
} access;

static inline bool is_atomic(uint32_t kind)
{
    return kind >= SM_ATOMIC;
}
/* and nothing else */
static inline bool is_load(uint32_t kind)
{
    return kind == SM_LOAD || kind == SM_ATOMIC_LOAD;
}
static inline bool is_store(uint32_t kind)
{
    return kind == SM_STORE || kind == SM_ATOMIC_STORE;
}

static inline uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}
static inline void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* Of device memory: whoever comes second sees the first, whatever the order of two workers. */
static inline uint64_t exchange(_Atomic uint64_t *word, uint64_t value, bool shared)
{
    if (shared) return atomic_exchange(word, value);
    const uint64_t before = get(word);
    put(word, value);
    return before;
}

/* ---- Findings ------------------------------------------------------------------------------------------------------ */

static sm_finding new_finding(const access *a, softmetal_report_kind kind, sm_what what)
{
    sm_finding finding = sm_finding_new(a->worker, kind);
    finding.what = what;
    finding.slot = a->slot;
    finding.buffer = a->buffer;
    finding.offset = a->offset;
    finding.size = a->size;
    finding.access = a->kind;
    if (a->place & SM_PLACE_LINE)
        finding.line = a->place & ~SM_PLACE_LINE;
    else if (a->place != 0 && a->worker->job->image != NULL)
        finding.pc = a->worker->job->image->begin + a->place - 1;
    return finding;
}

static __attribute__((noinline)) void collide(const access *a, uint64_t other, uint32_t place, uint32_t kind)
{
    const sm_launch *job = a->worker->job;
    const uint64_t group = (sm_word_serial(other) - job->first_serial) & SM_SERIAL_MASK;
    sm_finding finding = new_finding(a, a->slot >= 0 ? SOFTMETAL_RACE_THREADGROUP : SOFTMETAL_RACE_DEVICE, SM_COLLISION);
    finding.other_thread = sm_word_thread(other);
    finding.other_access = other & SM_WORD_ATOMIC ? SM_ATOMIC : kind;
    finding.other_image = job->image;
    finding.other_group = group;
    if (group >= job->total) {
        const sm_check_plan *plan = a->worker->check->plan;
        finding.kind = SOFTMETAL_MISSING_BARRIER;
        finding.other_kernel = "?";
        finding.other_image = NULL;
        for (uint32_t i = 0; i < plan->past_count; i++) {
            const sm_past *past = &plan->pasts[i];
            const uint64_t in_past = (sm_word_serial(other) - past->first_serial) & SM_SERIAL_MASK;
            if (in_past >= past->end_serial - past->first_serial) continue;
            finding.other_kernel = past->kernel;
            finding.other_image = past->image;
            finding.other_group = in_past;
        }
    }
    if (place & SM_PLACE_LINE)
        finding.other_line = place & ~SM_PLACE_LINE;
    else if (place != 0 && finding.other_image != NULL)
        finding.other_pc = finding.other_image->begin + place - 1;
    sm_finding_add(a->worker, &finding);
}

static __attribute__((noinline)) void unwritten(const access *a)
{
    const sm_finding finding = new_finding(a, SOFTMETAL_UNINITIALISED_READ, SM_NOT_WRITTEN);
    sm_finding_add(a->worker, &finding);
}

static __attribute__((noinline, noreturn)) void outside(const access *a)
{
    const sm_finding finding = new_finding(a, SOFTMETAL_OUT_OF_BOUNDS, SM_OUTSIDE);
    sm_finding_add(a->worker, &finding);
    sm_group_end(a->worker, SM_END_BOUNDS);
}

/* ---- Order --------------------------------------------------------------------------------------------------------- */

/* Of the same threadgroup: did it happen before what the running lane does now? */
static inline bool before_now(const access *a, uint64_t other)
{
    const sm_worker *worker = a->worker;
    const uint32_t thread = sm_word_thread(other), clock = sm_word_clock(other);
    if (thread == worker->lane || clock < a->fence || clock == SM_CLOCK_END) return true;
    if (thread / SM_LANES != worker->lane / SM_LANES) return false;
    const sm_simdgroup *simdgroup = worker->simdgroup;
    return clock < simdgroup->met ||
           (simdgroup->partly && clock < simdgroup->known[worker->lane % SM_LANES][thread % SM_LANES]);
}

/* Nothing that can still be unordered with anything: of an earlier threadgroup, or dispatch. */
static inline bool stale(const access *a, uint64_t other)
{
    const uint64_t serial = sm_word_serial(other);
    if (serial == sm_word_serial(a->word)) return false;
    if (!a->shared) return true;
    const uint64_t epoch = a->range->epoch_serial, end = a->worker->job->first_serial + a->worker->job->total;
    return ((serial - epoch) & SM_SERIAL_MASK) >= end - epoch;
}

/* Is it unordered with the running lane's access? */
static inline bool concurrent(const access *a, uint64_t other)
{
    if (sm_word_serial(other) == sm_word_serial(a->word)) return !before_now(a, other);
    return !stale(a, other);
}

static inline bool collides(const access *a, uint64_t word, uint64_t other)
{
    if ((sm_word_mask(word) & sm_word_mask(other)) == 0 || (word & other & SM_WORD_ATOMIC)) return false;
    return concurrent(a, other);
}

/* ---- Cells --------------------------------------------------------------------------------------------------------- */

/* The reader that was displaced stays as the other one, if it tells more than that: it is of another threadgroup, or
 * simdgroup. */
static inline void keep_other(const access *a, sm_cell *cell, uint64_t displaced, uint32_t place)
{
    if (displaced == 0 || !concurrent(a, displaced)) return;
    const uint64_t other = get(&cell->other);
    if (other != 0 && concurrent(a, other)) {
        const uint64_t own = sm_word_serial(a->word);
        const bool far = sm_word_serial(other) != own || sm_word_thread(other) / SM_LANES != a->worker->lane / SM_LANES;
        const bool displaced_far =
            sm_word_serial(displaced) != own || sm_word_thread(displaced) / SM_LANES != a->worker->lane / SM_LANES;
        if (far && (!displaced_far || sm_word_serial(other) != own)) return;
    }
    put(&cell->other, displaced);
    atomic_store_explicit(&cell->other_place, place, memory_order_relaxed);
}

static inline void load_cell(const access *a, sm_cell *cell, uint64_t word)
{
    if (get(&cell->reader) == word) return; /* it has looked already, and a writer since would have seen it */
    const uint32_t place = atomic_load_explicit(&cell->reader_place, memory_order_relaxed);
    const uint64_t displaced = exchange(&cell->reader, word, a->shared);
    atomic_store_explicit(&cell->reader_place, a->place, memory_order_relaxed);
    if (displaced != 0) keep_other(a, cell, displaced, place);
    const uint64_t writer = get(&cell->writer);
    if (collides(a, word, writer))
        collide(a, writer, atomic_load_explicit(&cell->writer_place, memory_order_relaxed), SM_STORE);
}

static inline void store_cell(const access *a, sm_cell *cell, uint64_t word)
{
    const uint32_t place = atomic_load_explicit(&cell->writer_place, memory_order_relaxed);
    uint64_t before = get(&cell->writer);
    /* A plain store is still concurrent with others when the same thread's atomic one follows. */
    if (before != (word & ~(uint64_t)SM_WORD_ATOMIC)) {
        before = exchange(&cell->writer, word, a->shared);
        atomic_store_explicit(&cell->writer_place, a->place, memory_order_relaxed);
    }
    if (before != 0 && collides(a, word, before)) collide(a, before, place, SM_STORE);
    const uint64_t reader = get(&cell->reader), other = get(&cell->other);
    if (reader != 0 && collides(a, word, reader))
        collide(a, reader, atomic_load_explicit(&cell->reader_place, memory_order_relaxed), SM_LOAD);
    else if (other != 0 && collides(a, word, other))
        collide(a, other, atomic_load_explicit(&cell->other_place, memory_order_relaxed), SM_LOAD);
}

/* ---- Threadgroup memory -------------------------------------------------------------------------------------------- */

/* What a vector of three leaves out is often copied with it; so are gaps between a struct's members. */
static inline bool matters(uint64_t size, uint64_t first_unwritten, uint64_t unwritten_bytes)
{
    if (unwritten_bytes == 0) return false;
    if (size > 16) return unwritten_bytes == size;
    return first_unwritten < size - size / 4;
}

static inline void access_cells(const access *a, sm_cell *cells, uint64_t at, uint32_t shift)
{
    const uint64_t granule = (uint64_t)1 << shift;
    uint64_t first_unwritten = 0, unwritten_bytes = 0;
    for (uint64_t done = 0; done < a->size;) {
        const uint64_t in = (at + done) & (granule - 1), left = a->size - done,
                       count = granule - in < left ? granule - in : left;
        sm_cell *cell = &cells[(at + done) >> shift];
        const uint64_t word = a->word | (((uint64_t)1 << count) - 1) << (in + SM_WORD_MASK_SHIFT);
        if (!a->shared && !is_store(a->kind) && sm_word_serial(get(&cell->writer)) != sm_word_serial(word)) {
            if (unwritten_bytes == 0) first_unwritten = done;
            unwritten_bytes += count;
        }
        if (is_load(a->kind))
            load_cell(a, cell, word);
        else
            store_cell(a, cell, word);
        done += count;
    }
    if (unwritten_bytes != 0 && matters(a->size, first_unwritten, unwritten_bytes)) unwritten(a);
}

static inline void threadgroup_access(access *a)
{
    sm_worker *worker = a->worker;
    struct sm_check *check = worker->check;
    const uint32_t number = (uint32_t)((a->address - (uintptr_t)worker->memory) >> worker->slot_shift);
    const sm_slot *slot = &worker->slots[number];
    const uint64_t at = a->address - (uintptr_t)slot->base;
    a->slot = (int32_t)number;
    a->offset = (int64_t)at;
    if (at >= slot->size || a->size > slot->size - at || slot->group != worker->group_serial) outside(a);
    if (!is_store(a->kind)) check->threadgroup_loaded += a->size;
    if (!is_load(a->kind)) check->threadgroup_stored += a->size;
    a->fence = worker->fenced_threadgroup;
    access_cells(a, check->cells + ((size_t)number << worker->slot_shift), at, check->slot_granule[number]);
}

/* ---- Device memory ------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void wipe(sm_marks *marks, uint64_t epoch)
{
    uint64_t now = atomic_load(&marks->epoch);
    if (now != epoch && now != SM_BLOCK_BUSY && atomic_compare_exchange_strong(&marks->epoch, &now, SM_BLOCK_BUSY)) {
        for (uint32_t i = 0; i < SM_BLOCK / 64; i++) put(&marks->bits[i], 0);
        atomic_store(&marks->epoch, epoch);
    }
    while (atomic_load(&marks->epoch) != epoch) continue;
}

/* Runs over the words of a bit map that hold bits for `size` bytes from `at`. */
#define FOR_BITS(at, size, word, bits)                                                                                         \
    for (uint64_t bit_at = (at), bit_left = (size), word, bits;                                                                \
         bit_left > 0 &&                                                                                                       \
         (word = bit_at / 64, bits = (bit_left >= 64 ? UINT64_MAX : ((uint64_t)1 << bit_left) - 1) << bit_at % 64, true);      \
         bit_left -= 64 - bit_at % 64 < bit_left ? 64 - bit_at % 64 : bit_left, bit_at += 64 - bit_at % 64)

static inline void mark(const access *a, struct sm_shadow *shadow, uint64_t at)
{
    const uint64_t epoch = a->range->epoch;
    FOR_BITS(at, a->size, word, bits)
    {
        sm_marks *marks = &shadow->marks[word / (SM_BLOCK / 64)];
        if (atomic_load_explicit(&marks->epoch, memory_order_acquire) != epoch) wipe(marks, epoch);
        _Atomic uint64_t *place = &marks->bits[word % (SM_BLOCK / 64)];
        if ((get(place) & bits) == bits) continue;
        atomic_fetch_or_explicit(place, bits, memory_order_relaxed);
        put(&marks->word, a->word);
        atomic_store_explicit(&marks->place, a->place, memory_order_relaxed);
    }
}

static __attribute__((noinline)) void look_at_marks(const access *a, const struct sm_shadow *shadow, uint64_t at)
{
    FOR_BITS(at, a->size, word, bits)
    {
        const sm_marks *marks = &shadow->marks[word / (SM_BLOCK / 64)];
        if (get(&marks->epoch) != a->range->epoch || (get(&marks->bits[word % (SM_BLOCK / 64)]) & bits) == 0) continue;
        collide(a, get(&marks->word), atomic_load_explicit(&marks->place, memory_order_relaxed), SM_LOAD);
        return;
    }
}

static void look_at_written(const access *a, const struct sm_shadow *shadow, uint64_t at)
{
    uint64_t first = a->size, missing = 0;
    FOR_BITS(at, a->size, word, bits)
    {
        const uint64_t absent = bits & ~get(&shadow->written[word]);
        if (absent == 0) continue;
        const uint64_t distance = word * 64 + (uint64_t)__builtin_ctzll(absent) - at;
        if (missing == 0) first = distance;
        missing += (uint64_t)__builtin_popcountll(absent);
    }
    if (matters(a->size, first, missing)) unwritten(a);
}

static void set_written(const access *a, struct sm_shadow *shadow, uint64_t at)
{
    FOR_BITS(at, a->size, word, bits)
    if ((get(&shadow->written[word]) & bits) != bits)
        atomic_fetch_or_explicit(&shadow->written[word], bits, memory_order_relaxed);
}

/* A kernel that only reads: no cell is changed. */
static void look_at_writers(const access *a, const struct sm_shadow *shadow, uint64_t at)
{
    const uint32_t shift = shadow->granule_shift;
    for (uint64_t i = at >> shift; i <= (at + a->size - 1) >> shift; i++) {
        const sm_cell *cell = &shadow->cells[i];
        const uint64_t writer = get(&cell->writer);
        if (writer == 0 || !collides(a, a->word | 0xFu << SM_WORD_MASK_SHIFT, writer)) continue;
        collide(a, writer, atomic_load_explicit(&cell->writer_place, memory_order_relaxed), SM_STORE);
        return;
    }
}

static inline void device_access(access *a, const sm_range *range)
{
    sm_worker *worker = a->worker;
    struct sm_check *check = worker->check;
    struct sm_shadow *shadow = (struct sm_shadow *)(uintptr_t)range->shadow;
    const uint64_t at = a->address - range->begin + range->memory_offset;
    a->offset = (int64_t)(a->address - range->begin);
    a->buffer = is_load(a->kind) ? range->load_index : range->store_index;
    if (!is_store(a->kind)) check->loaded[a->buffer] += a->size;
    if (!is_load(a->kind)) check->stored[a->buffer] += a->size;
    if (shadow == NULL) return;
    a->range = range;
    a->shared = true;
    a->fence = worker->fenced_device;
    if (shadow->written != NULL && !is_store(a->kind)) look_at_written(a, shadow, at);
    if (shadow->written != NULL && !is_load(a->kind)) set_written(a, shadow, at);
    if (range->loaded_before && !is_load(a->kind)) look_at_marks(a, shadow, at);
    if (range->writable) {
        access_cells(a, shadow->cells, at, shadow->granule_shift);
    } else {
        if (range->stored_before) look_at_writers(a, shadow, at);
        if (!range->alone) mark(a, shadow, at);
    }
}

/* The range that holds the address and begins nearest to it; for reports, where none holds it, one that is near. */
static const sm_range *find_range(const struct sm_check *check, uintptr_t address, uint64_t size)
{
    const sm_range *found = NULL;
    for (uint32_t i = 0; i < check->range_count; i++)
        if (address - check->ranges[i].begin < check->ranges[i].size &&
            size <= check->ranges[i].size - (address - check->ranges[i].begin))
            found = &check->ranges[i];
    return found;
}

/* Not memory of the kernel's? Objects' own constants, and the executor's table, are allowed. */
static __attribute__((noinline)) void elsewhere(access *a)
{
    a->offset = 0;
    if (sm_image_holds(a->worker->job->image, a->address)) return;
    if (a->address - (uintptr_t)&sm_executor_services < sizeof sm_executor_services) return;
    const struct sm_check *check = a->worker->check;
    uint64_t nearest = UINT64_MAX;
    for (uint32_t i = 0; i < check->range_count; i++) {
        const sm_range *range = &check->ranges[i];
        const uint64_t distance =
            a->address < range->begin ? range->begin - a->address : a->address - range->begin - range->size;
        if ((distance >= nearest && distance < (uint64_t)1 << 63) || distance > (uint64_t)1 << 32) continue;
        nearest = distance < (uint64_t)1 << 63 ? distance : 0;
        a->buffer = is_load(a->kind) ? range->load_index : range->store_index;
        a->offset = (int64_t)(a->address - range->begin);
    }
    outside(a);
}

/* What is not set here is set where it is used. */
static inline void describe(access *a, sm_worker *worker, uintptr_t address, size_t size, uint32_t kind, const void *pc)
{
    a->worker = worker;
    a->address = address;
    a->size = size;
    a->kind = kind;
    a->slot = a->buffer = -1;
    a->shared = false;
    a->place =
        worker->meeting_line != 0 ? worker->meeting_line | SM_PLACE_LINE : (uint32_t)((uintptr_t)pc - worker->job->image_begin);
    a->word = worker->group_serial << SM_WORD_SERIAL_SHIFT | (uint64_t)worker->lane << SM_WORD_THREAD_SHIFT |
              worker->clock << SM_WORD_CLOCK_SHIFT | is_atomic(kind);
}

void sm_check_access(const void *address, size_t size, uint32_t kind, const void *pc)
{
    sm_worker *worker = sm_current;
    const uintptr_t place = (uintptr_t)address;
    if (place - (uintptr_t)worker->region < worker->region_size || size == 0) return; /* the threads' own */
    struct sm_check *check = worker->check;
    if (check == NULL) return;
    if (place - (uintptr_t)worker->memory < worker->memory_size) {
        access a;
        describe(&a, worker, place, size, kind, pc);
        threadgroup_access(&a);
        return;
    }
    uint8_t *site = &check->site_range[((uintptr_t)pc ^ (uintptr_t)pc >> 8) % SM_SITES];
    const sm_range *range = &check->ranges[*site];
    if (place - range->begin >= range->own_size || size > range->own_size - (place - range->begin)) {
        range = find_range(check, place, size);
        if (range != NULL) *site = (uint8_t)(range - check->ranges);
    }
    if (range != NULL && range->plain && kind == SM_LOAD) {
        check->loaded[range->load_index] += size;
        return;
    }
    access a;
    describe(&a, worker, place, size, kind, pc);
    if (range != NULL)
        device_access(&a, range);
    else
        elsewhere(&a);
}
