/* A device under test and what stands around it: memory that is poisoned, weights uploaded by their spec, step blocks, and
 * plans of a few ops made by the builder and run through the seam. */
#ifndef TEST_SUPPORT_RIG_H
#define TEST_SUPPORT_RIG_H

#include "backend/backend.h"
#include "support_reference.h"

#define RIG_POISON 0xFF /* NaN as f32 and as f16, -1 as an integer */
#define RIG_MAX_RANGES 4096

enum { RIG_WEIGHTS, RIG_KV, RIG_SCRATCH, RIG_STEP, RIG_ARENAS };

typedef struct rig_arena {
    pv_buffer buffer;
    uint64_t used;
    uint8_t *before, *after; /* its bytes before the run and after it */
} rig_arena;

typedef struct rig_range {
    uint32_t arena;
    uint64_t begin, end;
} rig_range;

typedef struct rig {
    pv_allocator allocator;
    pv_environment environment;
    const pv_backend *backend;
    pv_backend_device *device;
    const char *kernels; /* as asked for */
    uint32_t threads;
    bool plain;
    bool tampering; /* reads of results are tampered with */
    bool quiet;     /* failures are counted and not printed */
    rig_arena arena[RIG_ARENAS];
    pv_step_limits limits;
    pv_step_layout layout;
    pv_tensor block, outputs;
    uint32_t rows, logits;             /* real ones, of the block that was written last */
    bool clean_padding;                /* rows beyond the real ones hold zeros, not poison, in inputs */
    uint32_t room;                     /* rows of the plan beyond the real ones */
    rig_range written[RIG_MAX_RANGES]; /* where an op may write */
    size_t written_count;
    size_t pieces;     /* ops of the plan that was run last */
    pv_tensor scratch; /* its scratch */
    bool resubmit;     /* transient failures are answered by another submission */
    bool impatient;    /* waits last no time or a millisecond, again and again */
    bool abort_half;   /* submissions are aborted when they have begun, then made again */
    uint64_t timeouts, aborted;
    uint64_t resubmitted;
    uint64_t failures; /* comparisons that failed */
    uint64_t compared; /* values */
    uint64_t reads;    /* of results */
    double worst;      /* largest |difference| / bound */
} rig;

/* The backend under test. */
const pv_backend *rig_backend(void);

/* Runs `cases` on every kernel set that this machine has, fused and plain, with 1, 2 and 3 threads; on a GPU fused and plain. What a case
 * gives to rig_same_bits must be the same for all thread counts. Asserts that nothing failed and that something was compared. */
void rig_for_all(void (*cases)(rig *r));
/* The same with one thread count. */
void rig_for_threads(uint32_t threads, void (*cases)(rig *r));
/* Runs `cases` on one device whose reads of results are tampered with in one word each; asserts that this is noticed every
 * time: as many failed comparisons as there were reads. */
void rig_expect_noticed(void (*cases)(rig *r));

/* One device by itself, for what the functions above do not do. False if there are no such kernels; NULL: the fastest. */
bool rig_open(rig *r, const pv_backend *backend, const char *kernels, uint32_t threads, bool plain);
void rig_close(rig *r);

/* Forgets all tensors and poisons their memory. */
void rig_reset(rig *r);

/* ---- Tensors ---- */

/* An activation [rows of the step or logits + room, cols], poisoned. */
pv_tensor rig_activation(rig *r, pv_extent extent, uint32_t cols);
/* The same with its real rows set; the others stay poisoned, but for clean_padding. */
pv_tensor rig_input(rig *r, pv_extent extent, uint32_t cols, const float *values);
pv_tensor rig_cells(rig *r, uint32_t arena, uint32_t rows, uint32_t cols, const void *values); /* 4 bytes each; NULL: poison */
pv_tensor rig_vector(rig *r, const float *values, uint32_t cols);
/* Canonical rows, placed and uploaded in tiles as weight_spec asks. */
pv_tensor rig_weight(rig *r, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses, const uint8_t *canonical);
/* Storage of a layer of `pages` pages and a block table of all slots, every page poisoned, every entry the null page. */
pv_kv_view rig_cache(rig *r, uint32_t pages, uint32_t kv_heads, uint32_t head_dim);
pv_kv_view rig_cache_of(rig *r, pv_kv_type type, uint32_t pages, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim);

void rig_put(rig *r, const pv_tensor *tensor, uint64_t offset, const void *bytes, uint64_t length);
/* Results: through the device's read, where tampering happens. */
void rig_get(rig *r, const pv_tensor *tensor, uint64_t offset, void *bytes, uint64_t length);
/* Rows 0 ... count - 1 of an activation, into memory that the caller frees. */
float *rig_rows(rig *r, const pv_tensor *tensor, uint32_t count);

/* ---- Steps ---- */

typedef struct rig_sequence {
    int32_t slot, first, count; /* positions first ... first + count - 1 */
    const int32_t *tokens;      /* NULL: from the log */
} rig_sequence;

/* Writes the step block: sequences of one row must come first. */
pv_step_view rig_step(rig *r, const rig_sequence *sequences, uint32_t count);

/* Says that the next run may write here. */
void rig_may_write(rig *r, const pv_tensor *tensor, uint64_t offset, uint64_t length);
/* The real rows of an activation. */
void rig_may_write_rows(rig *r, const pv_tensor *tensor);
/* Whatever the op says it writes, whole tensors of lasting state included. */
void rig_may_write_op(rig *r, const pv_op *op);

/* Builds, prepares, submits and waits; anything else that was written counts as a failure. */
void rig_run(rig *r, const pv_op *ops, size_t count);
/* The same for ops with builder scratch: `build` adds them. */
void rig_run_built(rig *r, void (*build)(pv_builder *builder, void *user), void *user);

/* ---- Comparing ---- */

/* How many of `count` values are farther from what is wanted than the bound allows, NaN where none is wanted or the reverse
 * included. */
size_t compare_values(const float *found, const ref_value *wanted, size_t count, double *worst);

/* Count failures in the rig and print the first of each. */
void rig_expect_values(rig *r, const char *what, const float *found, const ref_value *wanted, size_t count);
void rig_expect_bytes(rig *r, const char *what, const void *found, const void *wanted, size_t length);
void rig_expect(rig *r, const char *what, bool true_is_good);
/* The same bits as the same call gave with other thread counts of the same kernels. */
void rig_same_bits(rig *r, const void *bytes, size_t length);

/* The device has run `op` (with a weight in `layout`, or NULL) on the kernels under test. */
void rig_expect_ran(rig *r, const char *op, const char *layout);
/* A GPU has run this kernel. */
void rig_expect_kernel(rig *r, const char *kernel);

#endif
