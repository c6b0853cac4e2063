/* Between the executor and an object that was compiled from MSL text. Included by both: C11 and C++17.
 *
 * The object exports one symbol, `softmetal_object`. Nothing else crosses by name: hosts open this library RTLD_LOCAL, where
 * symbols of one dlopened object are not seen by another.
 */
#ifndef SOFTMETAL_EXECUTOR_ABI_H
#define SOFTMETAL_EXECUTOR_ABI_H

#include <stddef.h>
#include <stdint.h>

#define SM_ABI 1
#define SM_LANES 32   /* of a simdgroup */
#define SM_BUFFERS 31 /* indices of buffer arguments, and of threadgroup arguments */

/* One GPU thread as the executor made it; constant while it runs. Positions are x, y, z. */
typedef struct sm_lane {
    uint32_t thread_position_in_grid[3];
    uint32_t thread_position_in_threadgroup[3];
    uint32_t threadgroup_position_in_grid[3];
    uint32_t threads_per_grid[3];
    uint32_t threadgroups_per_grid[3];
    uint32_t threads_per_threadgroup[3];          /* of this threadgroup: smaller at the grid's edge */
    uint32_t dispatch_threads_per_threadgroup[3]; /* as dispatched */
    uint32_t thread_index_in_threadgroup;
    uint32_t simdgroup_index_in_threadgroup, thread_index_in_simdgroup;
    uint32_t simdgroups_per_threadgroup;
    uint32_t quadgroup_index_in_threadgroup, thread_index_in_quadgroup, quadgroups_per_threadgroup;
    void *const *buffers;     /* by index; a constant argument points to its bytes */
    void *const *threadgroup; /* by index: memory of setThreadgroupMemoryLength */
} sm_lane;

typedef enum sm_scope { SM_SCOPE_QUAD, SM_SCOPE_SIMD, SM_SCOPE_THREADGROUP } sm_scope;

/* Fences of a barrier, MSL's mem_flags. */
enum { SM_FENCE_NONE = 0, SM_FENCE_DEVICE = 1, SM_FENCE_THREADGROUP = 2, SM_FENCE_TEXTURE = 4 };

/* Runs once for a set of lanes that have met: values[i] points to lane i's value, which lives on that lane's stack; lanes outside of
 * `active` have NULL. It changes the values in place. `constant` is the same for all lanes (the leader's). */
typedef void (*sm_meeting)(void *const values[SM_LANES], uint32_t active, const void *constant);

/* What an object may ask of the executor. Every function is called by a running lane, which may be switched away inside. */
typedef struct sm_services {
    uint32_t abi;
    /* Waits for all lanes of the scope (simdgroup or threadgroup). `line` is the MSL line, which names the place. */
    void (*barrier)(sm_scope scope, uint32_t fences, uint32_t line);
    /* Waits for all lanes of the quad or simdgroup, then has `meeting` run once on their values. `site` tells functions of one line
     * apart. Lanes that left the kernel count as inactive. Where lanes wait at several sites and none can run, those of one site go on as
     * the active set, and DIVERGENT_SIMD is reported if the world is checked. */
    void (*meet)(sm_scope scope, sm_meeting meeting, void *value, const void *constant, uint32_t line, const void *site);
    /* Memory of a threadgroup variable: the same address for all threads of a threadgroup, poisoned with 0xFF when first asked for. `id` is
     * the variable's number in its object. */
    void *(*threadgroup_variable)(uint32_t id, size_t size, size_t align, uint32_t line);
    /* The lane that runs. */
    const sm_lane *(*self)(void);
    /* Off by up to the world's ulp_jitter; only objects compiled with SOFTMETAL_JITTER ask. */
    float (*jitter)(float value);
    /* A load or store of a CHECKED object (never called by others). `pc` is where, for the line. `kind` is an sm_access_kind. */
    void (*access)(const void *address, size_t size, uint32_t kind, const void *pc);
} sm_services;

/* Atomics order nothing but themselves. SM_ATOMIC loads and stores. */
typedef enum sm_access_kind { SM_LOAD = 0, SM_STORE = 1, SM_ATOMIC = 2, SM_ATOMIC_LOAD = 3, SM_ATOMIC_STORE = 4 } sm_access_kind;

typedef enum sm_argument_kind { SM_ARGUMENT_BUFFER, SM_ARGUMENT_THREADGROUP, SM_ARGUMENT_BUILTIN } sm_argument_kind;

typedef struct sm_argument {
    const char *name;
    uint32_t kind;      /* sm_argument_kind */
    uint32_t index;     /* [[buffer(index)]], [[threadgroup(index)]] */
    uint32_t size;      /* bytes of what a reference refers to, of one element of a pointer */
    uint32_t align;
    uint8_t reference;  /* T &: all of `size` must be bound */
    uint8_t read_only;  /* const, or in the constant address space */
    uint8_t constant_space;
} sm_argument;

typedef struct sm_kernel {
    const char *name;   /* host_name */
    void (*run)(const sm_lane *lane);
    const sm_argument *arguments;
    uint32_t argument_count;
    uint32_t max_threads;       /* [[max_total_threads_per_threadgroup(n)]], or 0 */
    uint32_t threadgroup_bytes; /* of threadgroup variables, as far as known when compiled */
    uint32_t line;
} sm_kernel;

typedef struct sm_object_table {
    uint32_t abi;
    uint32_t checked;
    const sm_kernel *kernels;
    uint32_t kernel_count;
    const sm_services **services; /* where the executor puts its table before the first run */
    void (*complete)(void);       /* fills in threadgroup_bytes; msl calls it when it has loaded the object */
} sm_object_table;

#define SM_OBJECT_SYMBOL "softmetal_object"

#endif
