#include "support_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

static const uint64_t arena_bytes[RIG_ARENAS] = {16u << 20, 8u << 20, 16u << 20, 1u << 20};
static const pv_memory arena_kind[RIG_ARENAS] = {PV_MEMORY_WEIGHTS, PV_MEMORY_KV, PV_MEMORY_SCRATCH, PV_MEMORY_STEP};

/* PENSIEVE_TEST_DEVICE=metal: the suite runs on Metal, or on the library PENSIEVE_METAL that stands in for it. */
const pv_backend *rig_backend(void)
{
    const char *name = getenv("PENSIEVE_TEST_DEVICE");
    return name != NULL && strcmp(name, "metal") == 0 ? &pv_metal_backend : &pv_cpu_backend;
}

/* ---- Tampering ------------------------------------------------------------------------------------------------------- */

static rig *tampered; /* whose results are changed */

/* Changes the word that is largest as a number by about a thousandth: far more than any bound, far less than an eye would see.
 */
static void tamper(void *bytes, uint64_t length)
{
    size_t count = (size_t)(length / 4), largest = 0;
    float cell, best = -1;
    for (size_t i = 0; i < count; i++) {
        memcpy(&cell, (uint8_t *)bytes + i * 4, 4);
        if (isfinite(cell) && fabsf(cell) > best) best = fabsf(cell), largest = i;
    }
    uint32_t word;
    memcpy(&word, (uint8_t *)bytes + largest * 4, 4);
    word ^= 0x2000;
    memcpy((uint8_t *)bytes + largest * 4, &word, 4);
}

static pv_status tampering_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes,
                                uint64_t length, pv_error *error)
{
    pv_status status = rig_backend()->read(device, buffer, offset, bytes, length, error);
    if (status == PV_OK && tampered && tampered->tampering) tamper(bytes, length);
    return status;
}

/* ---- Devices --------------------------------------------------------------------------------------------------------- */

static const char *const kernel_sets[] = {"generic", "avx2", "avx512", "neon", "dotprod"};
#define KERNEL_SETS (sizeof kernel_sets / sizeof kernel_sets[0])

static const pv_step_limits rig_limits = {
    .rows = 96, .seqs = 24, .logits = 32, .patches = 64, .biases = 2048, .slots = 24, .context = 1024};

static void check(pv_status status, const pv_error *error)
{
    if (status != PV_OK) print_message("%s: %s (%s)\n", pv_status_name(status), error->message, error->op);
    assert_int_equal(status, PV_OK);
}

bool rig_open(rig *r, const pv_backend *backend, const char *kernels, uint32_t threads, bool plain)
{
    pv_error error = {0};
    *r = (rig){.backend = backend, .kernels = kernels, .threads = threads, .plain = plain, .limits = rig_limits};
    r->allocator = pv_allocator_default();
    r->environment = (pv_environment){
        .allocator = &r->allocator, .cpu_kernels = kernels, .threads = threads, .metal_library = getenv("PENSIEVE_METAL")};
    pv_status status = backend->open(backend, &r->environment, rig_backend()->name, plain, &r->device, &error);
    if (status == PV_NOT_FOUND) return false;
    check(status, &error);
    r->layout = pv_step_layout_for(&r->limits);
    for (unsigned i = 0; i < RIG_ARENAS; i++) {
        rig_arena *a = &r->arena[i];
        check(backend->alloc(r->device, arena_kind[i], arena_bytes[i], &a->buffer, &error), &error);
        a->before = malloc((size_t)arena_bytes[i]);
        a->after = malloc((size_t)arena_bytes[i]);
        a->used = arena_bytes[i];
    }
    rig_reset(r);
    return true;
}

/* The software device keeps what it saw of wrong use of Metal and of kernels: there must be nothing. */
static void expect_no_report(void)
{
    const char *path = getenv("PENSIEVE_METAL");
    void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_NOLOAD) : NULL;
    if (library == NULL) return;
    struct { /* softmetal_report begins so */
        int kind;
        const char *message;
        uint64_t rest[32];
    } report;
    bool (*get)(size_t, void *) = NULL;
    *(void **)&get = dlsym(library, "softmetal_get_report");
    size_t count = 0;
    for (; get != NULL && get(count, &report); count++) print_message("%s\n", report.message);
    dlclose(library);
    assert_int_equal(count, 0);
}

void rig_close(rig *r)
{
    for (unsigned i = 0; i < RIG_ARENAS; i++) {
        free(r->arena[i].before);
        free(r->arena[i].after);
        r->backend->free(r->device, &r->arena[i].buffer);
    }
    r->backend->close(r->device);
    expect_no_report();
}

/* Bits that were seen with the first thread count, in order. */
static uint64_t *seen_bits;
static size_t seen_count, seen_capacity, seen_at;
static bool first_threads;

static void run_cases(rig *r, void (*cases)(rig *r))
{
    seen_at = 0;
    cases(r);
    if (r->failures > 0)
        print_message("%llu comparisons failed on %s%s with %u threads\n", (unsigned long long)r->failures,
                      r->kernels != NULL ? r->kernels : rig_backend()->name, r->plain ? ", plain" : "", r->threads);
    assert_int_equal(r->failures, 0);
    assert_true(r->compared > 0);
    if (!first_threads) assert_int_equal(seen_at, seen_count);
}

static void run_thread_counts(const char *kernels, bool plain, uint32_t first, uint32_t last, void (*cases)(rig *r))
{
    static rig r;
    double worst = 0;
    seen_count = 0;
    for (uint32_t threads = first; threads <= last; threads++) {
        first_threads = threads == first;
        assert_true(rig_open(&r, rig_backend(), kernels, threads, plain));
        run_cases(&r, cases);
        worst = fmax(worst, r.worst);
        rig_close(&r);
    }
    print_message("%s%s: %llu values, at most %.2f of the bound\n", kernels != NULL ? kernels : rig_backend()->name, plain ? ", plain" : "",
                  (unsigned long long)r.compared, worst);
}

static void forget_bits(void)
{
    free(seen_bits);
    seen_bits = NULL;
    seen_capacity = seen_count = 0;
}

static void run_kernel_sets(uint32_t first, uint32_t last, void (*cases)(rig *r))
{
    static rig r;
    size_t sets = 0;
    bool fastest_was_run = false;
    assert_true(rig_open(&r, &pv_cpu_backend, NULL, 1, false));
    char fastest[32];
    snprintf(fastest, sizeof fastest, "%s", r.backend->describe(r.device)->kernels);
    rig_close(&r);
    for (size_t i = 0; i < KERNEL_SETS; i++) {
        if (!rig_open(&r, &pv_cpu_backend, kernel_sets[i], 1, false)) continue;
        assert_string_equal(r.backend->describe(r.device)->kernels, kernel_sets[i]);
        rig_close(&r);
        for (int plain = 0; plain < 2; plain++) run_thread_counts(kernel_sets[i], plain, first, last, cases);
        fastest_was_run |= strcmp(fastest, kernel_sets[i]) == 0;
        sets++;
    }
    assert_true(sets >= 1);
    assert_true(fastest_was_run);
    forget_bits();
}

/* A GPU has one set of kernels and no threads of ours; plain declines every fusion. */
static void run_gpu(void (*cases)(rig *r))
{
    for (int plain = 0; plain < 2; plain++) run_thread_counts(NULL, plain, 1, 1, cases);
    forget_bits();
}

void rig_for_all(void (*cases)(rig *r))
{
    if (rig_backend() == &pv_cpu_backend)
        run_kernel_sets(1, 3, cases);
    else
        run_gpu(cases);
}

void rig_for_threads(uint32_t threads, void (*cases)(rig *r))
{
    if (rig_backend() == &pv_cpu_backend)
        run_kernel_sets(threads, threads, cases);
    else
        run_gpu(cases);
}

void rig_expect_noticed(void (*cases)(rig *r))
{
    static rig r;
    static pv_backend backend;
    backend = *rig_backend();
    backend.read = tampering_read;
    assert_true(rig_open(&r, &backend, NULL, 2, false));
    tampered = &r;
    r.quiet = true;
    first_threads = true;
    seen_count = seen_at = 0;
    cases(&r);
    tampered = NULL;
    print_message("%llu of %llu tampered results noticed\n", (unsigned long long)r.failures, (unsigned long long)r.reads);
    assert_true(r.reads > 0);
    assert_true(r.failures >= r.reads);
    rig_close(&r);
    forget_bits();
}

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */

static void write_bytes(rig *r, uint32_t arena, uint64_t offset, const void *bytes, uint64_t length)
{
    pv_error error = {0};
    check(r->backend->write(r->device, &r->arena[arena].buffer, offset, bytes, length, &error), &error);
}

static void read_bytes(rig *r, uint32_t arena, uint64_t offset, void *bytes, uint64_t length)
{
    pv_error error = {0};
    check(r->backend->read(r->device, &r->arena[arena].buffer, offset, bytes, length, &error), &error);
}

static void poison(rig *r, uint32_t arena, uint64_t offset, uint64_t length)
{
    static uint8_t bytes[65536];
    memset(bytes, RIG_POISON, sizeof bytes);
    for (uint64_t done = 0; done < length; done += sizeof bytes)
        write_bytes(r, arena, offset + done, bytes, length - done < sizeof bytes ? length - done : sizeof bytes);
}

/* A place of its own for a tensor: gaps between them stay poisoned, and are watched. */
static uint64_t take(rig *r, uint32_t arena, uint64_t bytes, uint64_t alignment)
{
    rig_arena *a = &r->arena[arena];
    uint64_t offset = (a->used + 256 + alignment - 1) & ~(alignment - 1);
    a->used = offset + bytes;
    assert_true(a->used + 4096 <= arena_bytes[arena]);
    return offset;
}

void rig_reset(rig *r)
{
    for (uint32_t i = 0; i < RIG_ARENAS; i++) {
        uint64_t dirty = r->arena[i].used + 4096 < arena_bytes[i] ? r->arena[i].used + 4096 : arena_bytes[i];
        poison(r, i, 0, dirty);
        r->arena[i].used = 0;
    }
    r->written_count = 0;
    r->rows = r->logits = 0;
    r->room = 3;
    r->block = (pv_tensor){.buffer = &r->arena[RIG_STEP].buffer, .offset = take(r, RIG_STEP, r->layout.bytes, 256), .rows = 1};
    r->outputs = (pv_tensor){.buffer = &r->arena[RIG_STEP].buffer,
                             .offset = take(r, RIG_STEP, r->limits.logits * sizeof(pv_step_output), 256),
                             .rows = r->limits.logits,
                             .row_bytes = sizeof(pv_step_output)};
}

static uint32_t arena_of(const rig *r, const pv_tensor *tensor)
{
    for (uint32_t i = 0; i < RIG_ARENAS; i++) {
        if (tensor->buffer == &r->arena[i].buffer) return i;
    }
    fail_msg("a tensor of no arena");
    return 0;
}

void rig_put(rig *r, const pv_tensor *tensor, uint64_t offset, const void *bytes, uint64_t length)
{
    if (length > 0) write_bytes(r, arena_of(r, tensor), tensor->offset + offset, bytes, length);
}

void rig_get(rig *r, const pv_tensor *tensor, uint64_t offset, void *bytes, uint64_t length)
{
    r->tampering = true;
    r->reads++;
    read_bytes(r, arena_of(r, tensor), tensor->offset + offset, bytes, length);
    r->tampering = false;
}

float *rig_rows(rig *r, const pv_tensor *tensor, uint32_t count)
{
    size_t bytes = (size_t)(count * tensor->row_bytes);
    float *rows = malloc(bytes);
    rig_get(r, tensor, 0, rows, bytes);
    return rows;
}

/* ---- Tensors --------------------------------------------------------------------------------------------------------- */

pv_tensor rig_cells(rig *r, uint32_t arena, uint32_t rows, uint32_t cols, const void *values)
{
    pv_tensor tensor = {
        .buffer = &r->arena[arena].buffer, .rows = rows, .cols = cols, .row_bytes = 4ull * cols, .layout = PV_LAYOUT_F32};
    tensor.offset = take(r, arena, rows * tensor.row_bytes, 256);
    if (values) rig_put(r, &tensor, 0, values, rows * tensor.row_bytes);
    return tensor;
}

pv_tensor rig_activation(rig *r, pv_extent extent, uint32_t cols)
{
    uint32_t rows = (extent == PV_EXTENT_LOGITS ? r->logits : r->rows) + r->room;
    pv_tensor tensor = rig_cells(r, RIG_SCRATCH, rows, cols, NULL);
    tensor.extent = (uint8_t)extent;
    return tensor;
}

pv_tensor rig_input(rig *r, pv_extent extent, uint32_t cols, const float *values)
{
    pv_tensor tensor = rig_activation(r, extent, cols);
    uint64_t real = (tensor.rows - r->room) * tensor.row_bytes, padding = r->room * tensor.row_bytes;
    rig_put(r, &tensor, 0, values, real);
    if (r->clean_padding) {
        void *zeros = calloc(1, (size_t)padding);
        rig_put(r, &tensor, real, zeros, padding);
        free(zeros);
    }
    return tensor;
}

/* Uploads tile by tile from memory of just that size, so that a read beyond it is seen. */
static void upload(rig *r, const pv_tensor *weight, uint32_t tile, uint64_t row_bytes, const uint8_t *canonical)
{
    pv_error error = {0};
    for (uint32_t first = 0, tiles = 1; first < weight->rows; tiles++) {
        uint32_t left = weight->rows - first, count = tile * tiles < left ? tile * tiles : left;
        uint8_t *rows = malloc((size_t)(count * row_bytes));
        memcpy(rows, canonical + first * row_bytes, (size_t)(count * row_bytes));
        check(r->backend->upload(r->device, weight, first, count, rows, &error), &error);
        free(rows);
        first += count;
    }
}

pv_tensor rig_weight(rig *r, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses, const uint8_t *canonical)
{
    pv_error error = {0};
    pv_weight_spec spec = {0}, again = {0};
    check(r->backend->weight_spec(r->device, layout, rows, cols, uses, &spec, &error), &error);
    check(r->backend->weight_spec(r->device, layout, rows, cols, uses, &again, &error), &error);
    assert_true(spec.packing == again.packing && spec.bytes == again.bytes && spec.alignment == again.alignment &&
                spec.row_tile == again.row_tile && spec.may_alias == again.may_alias && spec.layout == again.layout);
    assert_true(!spec.may_alias || spec.packing == PV_PACKING_NONE);
    assert_true(spec.row_tile > 0 && spec.alignment > 0 && (spec.alignment & (spec.alignment - 1)) == 0);
    pv_tensor tensor = {
        .buffer = &r->arena[RIG_WEIGHTS].buffer, .rows = rows, .cols = cols, .layout = spec.layout, .packing = spec.packing};
    tensor.offset = take(r, RIG_WEIGHTS, spec.bytes, spec.alignment);
    if (spec.packing == PV_PACKING_NONE) tensor.row_bytes = ref_row_bytes(spec.layout, cols);
    rig_range own = {RIG_WEIGHTS, tensor.offset, tensor.offset + spec.bytes};
    uint8_t guard[256], after[256];
    read_bytes(r, RIG_WEIGHTS, own.end, guard, sizeof guard);
    upload(r, &tensor, spec.row_tile, ref_row_bytes(layout, cols), canonical);
    read_bytes(r, RIG_WEIGHTS, own.end, after, sizeof after);
    assert_memory_equal(guard, after, sizeof guard); /* packing stays in its place */
    return tensor;
}

pv_tensor rig_vector(rig *r, const float *values, uint32_t cols)
{
    return rig_weight(r, PV_LAYOUT_F32, 1, cols, PV_USE_VECTOR, (const uint8_t *)values);
}

pv_kv_view rig_cache(rig *r, uint32_t pages, uint32_t kv_heads, uint32_t head_dim)
{
    return rig_cache_of(r, PV_KV_F16, pages, kv_heads, head_dim, head_dim);
}

static uint64_t head_bytes(pv_kv_type type, uint32_t dim)
{
    return type == PV_KV_F16 ? 2 * dim : dim / (type == PV_KV_8BIT ? 1 : 2) + 2 * ((dim + 31) / 32);
}

pv_kv_view rig_cache_of(rig *r, pv_kv_type type, uint32_t pages, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim)
{
    pv_kv_view view = {.kv_heads = kv_heads, .head_dim = head_dim, .value_dim = value_dim != head_dim ? value_dim : 0, .type = type};
    view.page_bytes = kv_heads * PV_PAGE_TOKENS * (head_bytes(type, head_dim) + head_bytes(type, value_dim));
    view.pages = rig_cells(r, RIG_KV, 1, (uint32_t)(pages * view.page_bytes / 4), NULL);
    view.pages.layout = PV_LAYOUT_F16;
    view.pages.cols *= 2;
    uint32_t blocks = r->limits.context / PV_PAGE_TOKENS;
    int32_t *table = calloc((size_t)r->limits.slots * blocks, sizeof *table);
    view.table = rig_cells(r, RIG_KV, r->limits.slots, blocks, table);
    free(table);
    return view;
}

/* ---- Steps ----------------------------------------------------------------------------------------------------------- */

static void add_tiles(pv_step_view *view, uint32_t seq, uint32_t first_row, uint32_t rows)
{
    for (uint32_t done = 0; done < rows; done += PV_TILE_ROWS) {
        uint32_t count = rows - done < PV_TILE_ROWS ? rows - done : PV_TILE_ROWS;
        view->tiles[view->counts->tiles++] =
            (pv_step_tile){.seq = (int32_t)seq, .first_row = (int32_t)(first_row + done), .rows = (int32_t)count};
    }
}

/* The block is written in the host's view: step memory is host-visible. */
pv_step_view rig_step(rig *r, const rig_sequence *sequences, uint32_t count)
{
    uint8_t *host = pv_tensor_host(&r->block);
    assert_non_null(host);
    memset(host, RIG_POISON, r->layout.bytes);
    pv_step_view view = pv_step_view_of(host, &r->layout);
    *view.counts = (pv_step_counts){.seqs = count};
    for (uint32_t i = 0; i < count; i++) {
        const rig_sequence *s = &sequences[i];
        uint32_t first = view.counts->rows;
        assert_true(first + (uint32_t)s->count <= r->limits.rows && i < r->limits.seqs);
        if (s->count == 1) {
            assert_int_equal(view.counts->decode_rows, first);
            view.counts->decode_rows++;
        }
        view.seqs[i] =
            (pv_step_seq){.slot = s->slot, .first_row = (int32_t)first, .rows = s->count, .kv_length = s->first + s->count};
        for (int32_t j = 0; j < s->count; j++)
            view.rows[view.counts->rows++] = (pv_step_row){.token = s->tokens ? s->tokens[j] : PV_TOKEN_FROM_LOG,
                                                           .position = s->first + j,
                                                           .slot = s->slot,
                                                           .seq = (int32_t)i};
        add_tiles(&view, i, first, (uint32_t)s->count);
    }
    r->rows = view.counts->rows;
    r->logits = 0;
    return view;
}

void rig_may_write(rig *r, const pv_tensor *tensor, uint64_t offset, uint64_t length)
{
    assert_true(r->written_count < RIG_MAX_RANGES);
    uint64_t begin = tensor->offset + offset;
    r->written[r->written_count++] = (rig_range){arena_of(r, tensor), begin, begin + length};
}

void rig_may_write_rows(rig *r, const pv_tensor *tensor)
{
    rig_may_write(r, tensor, 0, (tensor->extent == PV_EXTENT_LOGITS ? r->logits : r->rows) * tensor->row_bytes);
}

void rig_may_write_op(rig *r, const pv_op *op)
{
    pv_op copy = *op;
    pv_operand operands[PV_MAX_OPERANDS];
    size_t count = pv_op_operands(&copy, operands);
    for (size_t i = 0; i < count; i++) {
        const pv_tensor *tensor = operands[i].tensor;
        if (!(operands[i].access & PV_WRITE) || tensor->scratch > 0) continue;
        if (tensor->extent == PV_EXTENT_FIXED)
            rig_may_write(r, tensor, 0, tensor->rows * tensor->row_bytes);
        else
            rig_may_write_rows(r, tensor);
    }
    if (op->kind == PV_OP_sample) rig_may_write(r, &r->outputs, 0, r->logits * sizeof(pv_step_output));
}

static void note_memory(rig *r)
{
    for (uint32_t i = 0; i < RIG_ARENAS; i++) read_bytes(r, i, 0, r->arena[i].before, r->arena[i].used + 4096);
}

/* What changed must lie in a range that may be written. */
static void check_memory(rig *r)
{
    for (uint32_t i = 0; i < RIG_ARENAS; i++) {
        size_t length = (size_t)r->arena[i].used + 4096, at = 0;
        const uint8_t *before = r->arena[i].before;
        uint8_t *after = r->arena[i].after;
        read_bytes(r, i, 0, after, length);
        for (size_t j = 0; j < r->written_count; j++) {
            const rig_range *w = &r->written[j];
            if (w->arena == i) memcpy(after + w->begin, before + w->begin, (size_t)(w->end - w->begin));
        }
        if (memcmp(before, after, length) == 0) continue;
        while (before[at] == after[at]) at++;
        r->failures++;
        if (!r->quiet) print_message("arena %u: byte %zu of %zu was written and may not be\n", i, at, length);
    }
    r->written_count = 0;
}

/* Waits once, or as often as an impatient one has to. */
static pv_status wait_for(rig *r, pv_fence fence, pv_error *error)
{
    if (!r->impatient) return r->backend->wait(r->device, fence, 60000, error);
    uint32_t waits = 0;
    pv_status status = PV_TIMEOUT;
    while (status == PV_TIMEOUT && waits < 1000000) status = r->backend->wait(r->device, fence, waits++ & 1, error);
    r->timeouts += waits - 1;
    return status;
}

/* Begins a submission and aborts it; part of its ops have run then, unless it was done already. */
static void submit_and_abort(rig *r, pv_submission submission)
{
    pv_error error = {0};
    pv_fence fence = 0;
    atomic_bool abort = false;
    submission.abort = &abort;
    check(r->backend->submit(r->device, &submission, &fence, &error), &error);
    if (r->backend->wait(r->device, fence, 0, &error) == PV_OK) return;
    assert_int_equal(error.status, PV_TIMEOUT);
    atomic_store(&abort, true);
    pv_status status = r->backend->wait(r->device, fence, 60000, &error);
    assert_true(status == PV_CANCELLED || status == PV_OK);
    r->aborted += status == PV_CANCELLED;
}

static void submit_and_wait(rig *r, const pv_plan *plan)
{
    pv_error error = {0};
    pv_prepared *prepared = NULL;
    pv_fence fence = 0;
    check(r->backend->prepare(r->device, plan, &prepared, &error), &error);
    const pv_submission submission = {.plans = &prepared, .plan_count = 1, .block = r->block, .outputs = r->outputs};
    note_memory(r);
    if (r->abort_half) submit_and_abort(r, submission);
    check(r->backend->submit(r->device, &submission, &fence, &error), &error);
    pv_status status = wait_for(r, fence, &error);
    for (; r->resubmit && status == PV_DEVICE_TRANSIENT; r->resubmitted++) {
        check(r->backend->submit(r->device, &submission, &fence, &error), &error);
        status = wait_for(r, fence, &error);
    }
    check(status, &error);
    check_memory(r);
    r->backend->release(r->device, prepared);
}

void rig_run_built(rig *r, void (*build)(pv_builder *builder, void *user), void *user)
{
    pv_error error = {0};
    pv_builder *builder = NULL;
    pv_plan plan;
    check(pv_builder_create(&r->allocator, &r->limits, r->rows + r->room, r->logits + r->room, &builder, &error), &error);
    build(builder, user);
    check(pv_builder_finish(builder, r->device, NULL, 0, &plan, &error), &error);
    pv_tensor scratch = rig_cells(r, RIG_SCRATCH, 1, (uint32_t)(plan.scratch_bytes / 4), NULL);
    pv_plan_free(&plan);
    check(pv_builder_finish(builder, r->device, scratch.buffer, scratch.offset, &plan, &error), &error);
    rig_may_write(r, &scratch, 0, plan.scratch_bytes);
    r->pieces = plan.count;
    r->scratch = scratch;
    for (size_t i = 0; i < plan.count; i++) assert_true(r->backend->supports(r->device, &plan.ops[i]));
    submit_and_wait(r, &plan);
    pv_plan_free(&plan);
    pv_builder_destroy(builder);
}

typedef struct op_list {
    const pv_op *ops;
    size_t count;
} op_list;

static void add_ops(pv_builder *builder, void *user)
{
    const op_list *list = user;
    for (size_t i = 0; i < list->count; i++) pv_builder_add(builder, list->ops[i], "op %zu", i);
}

void rig_run(rig *r, const pv_op *ops, size_t count)
{
    op_list list = {ops, count};
    rig_run_built(r, add_ops, &list);
}

/* ---- Comparing ------------------------------------------------------------------------------------------------------- */

static bool agrees(float found, ref_value wanted, double *worst)
{
    if (isnan(wanted.value)) return isnan(found);
    if (isnan(found) || isinf(wanted.value)) return found == wanted.value;
    double off = fabs((double)found - wanted.value);
    if (off > 0 && wanted.bound > 0) *worst = fmax(*worst, off / wanted.bound);
    /* half a unit of the last place of the f32 that holds the result, and of its least subnormal */
    return off <= wanted.bound + REF_U * fabs(wanted.value) + 1e-45;
}

size_t compare_values(const float *found, const ref_value *wanted, size_t count, double *worst)
{
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) failed += !agrees(found[i], wanted[i], worst);
    return failed;
}

static void note_failures(rig *r, const char *what, size_t failed, size_t count)
{
    r->compared += count;
    if (failed == 0) return;
    r->failures++;
    if (!r->quiet) print_message("%s: %zu of %zu differ\n", what, failed, count);
}

void rig_expect_values(rig *r, const char *what, const float *found, const ref_value *wanted, size_t count)
{
    double unused = 0;
    size_t failed = compare_values(found, wanted, count, &r->worst);
    note_failures(r, what, failed, count);
    for (size_t i = 0; failed > 0 && !r->quiet && i < count; i++) {
        if (agrees(found[i], wanted[i], &unused)) continue;
        print_message("  [%zu] %.9g, wanted %.9g within %.3g\n", i, found[i], wanted[i].value, wanted[i].bound);
        break;
    }
}

void rig_expect_bytes(rig *r, const char *what, const void *found, const void *wanted, size_t length)
{
    size_t failed = 0;
    for (size_t i = 0; i < length; i++) failed += ((const uint8_t *)found)[i] != ((const uint8_t *)wanted)[i];
    note_failures(r, what, failed, length);
}

void rig_expect(rig *r, const char *what, bool true_is_good)
{
    note_failures(r, what, !true_is_good, 1);
}

static uint64_t hash_of(const uint8_t *bytes, size_t length)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

void rig_same_bits(rig *r, const void *bytes, size_t length)
{
    uint64_t hash = hash_of(bytes, length);
    if (first_threads) {
        pv_allocator allocator = pv_allocator_default();
        assert_true(pv_grow(&allocator, (void **)&seen_bits, &seen_capacity, seen_count + 1, sizeof *seen_bits));
        seen_bits[seen_count++] = hash;
    } else {
        assert_true(seen_at < seen_count);
        rig_expect(r, "other bits than with one thread", seen_bits[seen_at] == hash);
    }
    seen_at++;
}

/* ---- Counters -------------------------------------------------------------------------------------------------------- */

void rig_expect_ran(rig *r, const char *op, const char *layout)
{
    static pv_counter counters[512];
    size_t count = r->backend->counters(r->device, counters, 512);
    char wanted[96];
    const char *kernels = r->backend->describe(r->device)->kernels;
    assert_true(count <= 512);
    snprintf(wanted, sizeof wanted, "%s%s%s %s", op, layout ? " " : "", layout ? layout : "", kernels);
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(counters[i].name, wanted) == 0 && counters[i].count > 0) return;
    }
    fail_msg("'%s' was never run", wanted);
}

void rig_expect_kernel(rig *r, const char *kernel)
{
    static pv_counter counters[512];
    const size_t count = r->backend->counters(r->device, counters, 512);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(counters[i].name, kernel) == 0 && counters[i].count > 0) return;
    }
    fail_msg("the kernel '%s' was never run", kernel);
}
