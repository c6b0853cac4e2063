/* kv_store, rope and attention on every instruction set against plain double loops over a paged cache; the same bits for a row alone,
 * in a batch and in any chunk of its prompt; and nothing from beyond a row's position. */
#include "test_cpu.h"

typedef struct shape {
    uint32_t heads, kv_heads, head_dim;
} shape;

/* One sequence's keys and values as they stand in the cache, in f16. */
typedef struct history {
    uint32_t length;
    float *q, *k, *v; /* [length][heads or kv_heads × head_dim] */
} history;

static history history_make(shape size, uint32_t length, uint64_t seed)
{
    const size_t kv = (size_t)length * size.kv_heads * size.head_dim, all = (size_t)length * size.heads * size.head_dim;
    history h = {.length = length, .q = malloc(all * 4), .k = malloc(kv * 4), .v = malloc(kv * 4)};
    cpu_fill(seed, h.q, all);
    cpu_fill(seed + 1, h.k, kv);
    cpu_fill(seed + 2, h.v, kv);
    for (size_t i = 0; i < all; i++) h.q[i] *= 4;
    return h;
}

static void history_free(history *h)
{
    free(h->q);
    free(h->k);
    free(h->v);
}

/* A cache of one layer for two slots of `blocks` pages each, whose pages lie in a scattered order, filled with NaN. */
static pv_kv_view cache_make(cpu_slab *slab, shape size, uint32_t slots, uint32_t blocks)
{
    pv_kv_view cache = {.kv_heads = size.kv_heads, .head_dim = size.head_dim};
    cache.page_bytes = 2ull * size.kv_heads * PV_PAGE_TOKENS * size.head_dim * 2 + 64;
    cache.pages = (pv_tensor){.buffer = cpu_buffer(slab, cache.page_bytes * (slots * blocks + 1)), .layout = PV_LAYOUT_F16};
    memset(pv_tensor_host(&cache.pages), 0xFF, cache.page_bytes * (slots * blocks + 1));
    cache.table = (pv_tensor){.buffer = cpu_buffer(slab, 4ull * slots * blocks), .rows = slots, .cols = blocks};
    int32_t *table = pv_tensor_host(&cache.table);
    const uint32_t pages = slots * blocks;
    for (uint32_t i = 0; i < pages; i++) table[i] = (int32_t)(1 + (i * 7 + 3) % pages);
    if (pages % 7 == 0) {
        for (uint32_t i = 0; i < pages; i++) table[i] = (int32_t)(pages - i);
    }
    return cache;
}

static double half(float x) { return (double)pv_f16_to_f32(pv_f32_to_f16(x)); }

/* out [head_dim] of one row and head. */
static void reference(shape size, const history *h, uint32_t position, uint32_t head, float scale, double *out)
{
    const uint32_t kv_head = head / (size.heads / size.kv_heads), dim = size.head_dim;
    const float *q = h->q + ((size_t)position * size.heads + head) * dim;
    double *score = malloc((position + 1) * sizeof *score), largest = -INFINITY, sum = 0;
    for (uint32_t j = 0; j <= position; j++) {
        score[j] = 0;
        for (uint32_t i = 0; i < dim; i++) score[j] += (double)q[i] * half(h->k[((size_t)j * size.kv_heads + kv_head) * dim + i]);
        score[j] *= (double)scale;
        largest = fmax(largest, score[j]);
    }
    for (uint32_t i = 0; i < dim; i++) out[i] = 0;
    for (uint32_t j = 0; j <= position; j++) {
        const double weight = exp(score[j] - largest);
        sum += weight;
        for (uint32_t i = 0; i < dim; i++) out[i] += weight * half(h->v[((size_t)j * size.kv_heads + kv_head) * dim + i]);
    }
    for (uint32_t i = 0; i < dim; i++) out[i] /= sum;
    free(score);
}

typedef struct scene {
    cpu_slab slab;
    shape size;
    pv_kv_view cache;
    pv_tensor q, k, v, out;
    cpu_step step;
} scene;

static void scene_make(scene *s, const char *kernels, uint32_t threads, shape size, uint32_t rows, uint32_t blocks)
{
    *s = (scene){.slab = {.device = cpu_open(kernels, threads, false)}, .size = size};
    s->cache = cache_make(&s->slab, size, 3, blocks);
    s->q = cpu_tensor(&s->slab, rows, size.heads * size.head_dim, PV_EXTENT_ROWS);
    s->k = cpu_tensor(&s->slab, rows, size.kv_heads * size.head_dim, PV_EXTENT_ROWS);
    s->v = cpu_tensor(&s->slab, rows, size.kv_heads * size.head_dim, PV_EXTENT_ROWS);
    s->out = cpu_tensor(&s->slab, rows, size.heads * size.head_dim, PV_EXTENT_ROWS);
    s->step = cpu_step_make(&s->slab, (pv_step_limits){.rows = rows, .seqs = rows, .logits = 1, .slots = 3, .context = blocks * 32});
}

static void scene_free(scene *s)
{
    pv_backend_device *device = s->slab.device;
    cpu_free(&s->slab);
    device->backend->close(device);
}

/* Adds rows [first, first + count) of a sequence to the step that is being formed, in tiles of up to 32. */
static void add_rows(scene *s, const history *h, int32_t slot, uint32_t first, uint32_t count)
{
    pv_step_counts *counts = s->step.view.counts;
    const size_t q = (size_t)s->size.heads * s->size.head_dim, kv = (size_t)s->size.kv_heads * s->size.head_dim;
    const int32_t seq = (int32_t)counts->seqs++;
    s->step.view.seqs[seq] = (pv_step_seq){.slot = slot, .first_row = (int32_t)counts->rows, .rows = (int32_t)count,
                                           .kv_length = (int32_t)(first + count)};
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = counts->rows + i;
        s->step.view.rows[row] = (pv_step_row){.position = (int32_t)(first + i), .slot = slot, .seq = seq};
        memcpy(cpu_values(&s->q) + row * q, h->q + (first + i) * q, q * 4);
        memcpy(cpu_values(&s->k) + row * kv, h->k + (first + i) * kv, kv * 4);
        memcpy(cpu_values(&s->v) + row * kv, h->v + (first + i) * kv, kv * 4);
    }
    for (uint32_t i = 0; i < count; i += PV_TILE_ROWS) {
        s->step.view.tiles[counts->tiles++] = (pv_step_tile){
            .seq = seq, .first_row = (int32_t)(counts->rows + i), .rows = (int32_t)(count - i < PV_TILE_ROWS ? count - i : PV_TILE_ROWS)};
    }
    counts->rows += count;
}

static void run_step(scene *s)
{
    pv_op ops[2] = {{.kind = PV_OP_kv_store}, {.kind = PV_OP_attention}};
    ops[0].kv_store = (pv_op_kv_store){.k = s->k, .v = s->v, .store = s->cache};
    ops[1].attention = (pv_op_attention){.q = s->q, .out = s->out, .cache = s->cache, .heads = s->size.heads,
                                         .scale = 1.0f / sqrtf((float)s->size.head_dim)};
    cpu_run(s->slab.device, ops, 2, &s->step);
    *s->step.view.counts = (pv_step_counts){0};
}

/* Runs a whole prompt in chunks; out of every position goes to `out`. */
static void run_chunks(scene *s, const history *h, uint32_t chunk, float *out)
{
    const size_t width = (size_t)s->size.heads * s->size.head_dim;
    for (uint32_t first = 0; first < h->length; first += chunk) {
        const uint32_t count = h->length - first < chunk ? h->length - first : chunk;
        add_rows(s, h, 1, first, count);
        run_step(s);
        memcpy(out + first * width, cpu_values(&s->out), count * width * 4);
    }
}

/* Keys are f16, exact in the reference; scores have an error of about head_dim ε |q||k|, which goes into the weights' exponent, and the
 * weighted mean adds its own n ε. |q| ≤ 4, |k|, |v| ≤ 1. */
static double tolerance(shape size, float scale, uint32_t keys)
{
    return 0x1p-24 * (2.0 * size.head_dim * 4 * (double)scale * size.head_dim / 4 + keys + 16);
}

static void check_against_reference(const char *kernels, shape size, uint32_t length, uint32_t chunk, uint32_t threads)
{
    scene s;
    scene_make(&s, kernels, threads, size, chunk, (length + 31) / 32 + 1);
    history h = history_make(size, length, 11);
    const size_t width = (size_t)size.heads * size.head_dim;
    float *out = malloc(length * width * 4);
    double *want = malloc(size.head_dim * sizeof *want);
    const float scale = 1.0f / sqrtf((float)size.head_dim);
    run_chunks(&s, &h, chunk, out);
    for (uint32_t p = 0; p < length; p += p < 40 ? 1 : 37) {
        for (uint32_t head = 0; head < size.heads; head++) {
            reference(size, &h, p, head, scale, want);
            for (uint32_t i = 0; i < size.head_dim; i++) {
                const double got = (double)out[p * width + head * size.head_dim + i];
                if (!(fabs(got - want[i]) <= tolerance(size, scale, p + 1))) {
                    fail_msg("%s %u/%u × %u: position %u head %u element %u is %.9g, want %.9g", kernels, size.heads, size.kv_heads,
                             size.head_dim, p, head, i, got, want[i]);
                }
            }
        }
    }
    assert_true(cpu_count(s.slab.device, "attention") >= 1);
    free(out);
    free(want);
    history_free(&h);
    scene_free(&s);
}

static void reference_of(const char *kernels)
{
    check_against_reference(kernels, (shape){2, 1, 16}, 3, 3, 1);
    check_against_reference(kernels, (shape){9, 3, 64}, 70, 33, 2);
    check_against_reference(kernels, (shape){4, 4, 80}, 40, 40, 1);
    check_against_reference(kernels, (shape){4, 2, 96}, 35, 7, 2);
    check_against_reference(kernels, (shape){2, 1, 128}, 300, 64, 2);
    check_against_reference(kernels, (shape){2, 2, 256}, 33, 33, 1);
    check_against_reference(kernels, (shape){3, 1, 20}, 64, 64, 1); /* a padded tail */
    check_against_reference(kernels, (shape){2, 1, 7}, 33, 5, 1);
    check_against_reference(kernels, (shape){4, 2, 32}, 600, 100, 3);
}
static void test_reference(void **state)
{
    (void)state;
    cpu_for_each(reference_of);
}

/* The same bits whatever the chunks and threads. */
static void same_bits_of(const char *kernels)
{
    const shape size = {6, 2, 48};
    const uint32_t length = 560, chunks[] = {560, 1, 32, 100, 257}, threads[] = {1, 2, 3, 2, 3};
    history h = history_make(size, length, 5);
    const size_t bytes = (size_t)length * size.heads * size.head_dim * 4;
    float *first = malloc(bytes), *out = malloc(bytes);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        scene s;
        scene_make(&s, kernels, threads[i], size, chunks[i], 20);
        run_chunks(&s, &h, chunks[i], i == 0 ? first : out);
        if (i > 0) assert_memory_equal(first, out, bytes);
        scene_free(&s);
    }
    free(first);
    free(out);
    history_free(&h);
}
static void test_same_bits(void **state)
{
    (void)state;
    cpu_for_each(same_bits_of);
}

/* Two sequences in a step, decode rows and a chunk, give what each gives alone. */
static void mixed_of(const char *kernels)
{
    const shape size = {4, 2, 64};
    const size_t width = (size_t)size.heads * size.head_dim;
    history a = history_make(size, 300, 21), b = history_make(size, 45, 31);
    float *alone_a = malloc(300 * width * 4), *alone_b = malloc(45 * width * 4);
    scene s;
    scene_make(&s, kernels, 2, size, 300, 10);
    run_chunks(&s, &a, 300, alone_a);
    scene_free(&s);
    scene_make(&s, kernels, 1, size, 45, 10);
    run_chunks(&s, &b, 45, alone_b);
    scene_free(&s);

    scene_make(&s, kernels, 3, size, 300, 10);
    add_rows(&s, &a, 1, 0, 299);
    run_step(&s);
    add_rows(&s, &a, 1, 299, 1);
    add_rows(&s, &b, 2, 0, 45);
    run_step(&s);
    assert_memory_equal(cpu_values(&s.out), alone_a + 299 * width, width * 4);
    assert_memory_equal(cpu_values(&s.out) + width, alone_b, 45 * width * 4);
    scene_free(&s);
    history_free(&a);
    history_free(&b);
    free(alone_a);
    free(alone_b);
}
static void test_mixed(void **state)
{
    (void)state;
    cpu_for_each(mixed_of);
}

/* Angles against double precision, far out; then a turn and the store of the turned key. */
static void rope_of(const char *kernels)
{
    enum { ROWS = 9, DIM = 24, HEAD = 32, HEADS = 3, KV_HEADS = 1 };
    static const int32_t positions[ROWS] = {0, 1, 2, 31, 777, 4095, 65535, 131071, 131072};
    cpu_slab slab = {.device = cpu_open(kernels, 2, false)};
    pv_op ops[2] = {{.kind = PV_OP_rope_angles}, {.kind = PV_OP_rope}};
    pv_tensor frequency = cpu_tensor(&slab, 1, DIM / 2, PV_EXTENT_FIXED);
    for (int i = 0; i < DIM / 2; i++) cpu_values(&frequency)[i] = (float)pow(10000.0, -2.0 * i / DIM);
    pv_tensor angles = cpu_tensor(&slab, ROWS, DIM, PV_EXTENT_ROWS);
    const shape size = {HEADS, KV_HEADS, HEAD};
    for (int pairing = PV_ROPE_HALVES; pairing <= PV_ROPE_NEIGHBOURS; pairing++) {
        pv_kv_view cache = cache_make(&slab, size, 2, 4097);
        pv_tensor q = cpu_tensor(&slab, ROWS, HEADS * HEAD, PV_EXTENT_ROWS), k = cpu_tensor(&slab, ROWS, KV_HEADS * HEAD, PV_EXTENT_ROWS);
        pv_tensor v = cpu_tensor(&slab, ROWS, KV_HEADS * HEAD, PV_EXTENT_ROWS);
        float q_before[ROWS * HEADS * HEAD], k_before[ROWS * HEAD];
        cpu_fill(1, q_before, ROWS * HEADS * HEAD);
        cpu_fill(2, k_before, ROWS * HEAD);
        memcpy(cpu_values(&q), q_before, sizeof q_before);
        memcpy(cpu_values(&k), k_before, sizeof k_before);
        cpu_fill(3, cpu_values(&v), ROWS * HEAD);
        ops[0].rope_angles = (pv_op_rope_angles){.inverse_frequency = frequency, .out = angles, .magnitude = 1.5f};
        ops[1].rope = (pv_op_rope){.q = q, .k = k, .angles = angles, .head_dim = HEAD, .dim = DIM, .pairing = (pv_rope_pairing)pairing,
                                   .v = v, .store = cache};
        cpu_step step = cpu_step_make(&slab, (pv_step_limits){.rows = ROWS, .seqs = 1, .logits = 1, .slots = 2, .context = 4097 * 32});
        step.view.counts->rows = ROWS;
        for (int r = 0; r < ROWS; r++) step.view.rows[r] = (pv_step_row){.position = positions[r], .slot = 1};
        cpu_run(slab.device, ops, 2, &step);
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < DIM / 2; i++) {
                const double angle = (double)((float)positions[r] * cpu_values(&frequency)[i]);
                const double c = cos(angle) * 1.5, sn = sin(angle) * 1.5;
                assert_true(fabs((double)cpu_values(&angles)[r * DIM + 2 * i] - c) <= fmax(1.5e-7, fabs(c) * 0x1p-22));
                assert_true(fabs((double)cpu_values(&angles)[r * DIM + 2 * i + 1] - sn) <= fmax(1.5e-7, fabs(sn) * 0x1p-22));
                for (int h = 0; h <= HEADS; h++) { /* the last one is the key's */
                    const float *before = h < HEADS ? q_before + (r * HEADS + h) * HEAD : k_before + r * HEAD;
                    const float *after = h < HEADS ? cpu_values(&q) + (r * HEADS + h) * HEAD : cpu_values(&k) + r * HEAD;
                    const int a = pairing == PV_ROPE_HALVES ? i : 2 * i, b = pairing == PV_ROPE_HALVES ? i + DIM / 2 : 2 * i + 1;
                    const double x = (double)before[a], y = (double)before[b];
                    assert_true(fabs((double)after[a] - (x * c - y * sn)) <= 1e-6);
                    assert_true(fabs((double)after[b] - (y * c + x * sn)) <= 1e-6);
                }
            }
            for (int i = DIM; i < HEAD; i++) assert_true(cpu_values(&q)[r * HEADS * HEAD + i] == q_before[r * HEADS * HEAD + i]);
            const int32_t page = ((int32_t *)pv_tensor_host(&cache.table))[4097 + positions[r] / 32];
            const uint16_t *keys = (const uint16_t *)((uint8_t *)pv_tensor_host(&cache.pages) + (uint64_t)page * cache.page_bytes);
            for (int i = 0; i < HEAD; i++) {
                assert_int_equal(keys[positions[r] % 32 * HEAD + i], pv_f32_to_f16(cpu_values(&k)[r * HEAD + i]));
                assert_int_equal(keys[(32 + positions[r] % 32) * HEAD + i], pv_f32_to_f16(cpu_values(&v)[r * HEAD + i]));
            }
        }
    }
    pv_backend_device *device = slab.device;
    cpu_free(&slab);
    device->backend->close(device);
}
static void test_rope(void **state)
{
    (void)state;
    cpu_for_each(rope_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_same_bits), cmocka_unit_test(test_mixed),
                                       cmocka_unit_test(test_rope)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
