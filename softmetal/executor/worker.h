/* What the files of the executor, and the checker, share: an OS thread that runs threadgroups. Nobody else includes this. */
#ifndef SOFTMETAL_EXECUTOR_WORKER_H
#define SOFTMETAL_EXECUTOR_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "executor/executor.h"
#include "executor/fiber.h"

#define SM_MAX_THREADS 1024 /* of a threadgroup; no Apple GPU has more */
#define SM_SIMDGROUPS (SM_MAX_THREADS / SM_LANES)
#define SM_QUADS (SM_LANES / 4)
#define SM_NO_LANE UINT32_MAX
#define SM_VARIABLES 96 /* threadgroup variables that one kernel may use */
#define SM_SLOTS (SM_BUFFERS + SM_VARIABLES)

/* Where a lane waits in a meeting or at a simdgroup's barrier, which is a meeting without a function. */
typedef struct sm_wait {
    const void *site;
    sm_meeting meeting;
    uint32_t line;
    uint32_t scope;
} sm_wait;

/* The lanes of a simdgroup, or of a quad, as far as they wait for each other. */
typedef struct sm_cohort {
    uint32_t arrived;
    uint32_t line; /* and site, of the first that came */
    const void *site;
    bool mixed; /* not all wait at the same place */
} sm_cohort;

typedef struct sm_simdgroup {
    uint32_t live;       /* lanes that have not left the kernel; masks, here and below */
    uint32_t ready;      /* those that can run */
    uint32_t first;      /* its first lane's number; no mask */
    uint32_t at_barrier; /* those that wait for the whole threadgroup */
    sm_cohort all, quads[SM_QUADS];
    uint32_t met;        /* the clock when all of its lanes last met */
    bool partly;         /* some have met since; then known[i][j] is what lane i knows of lane j */
    uint16_t (*known)[SM_LANES];
    void *values[SM_LANES]; /* NULL for lanes that have left, or never were */
    const void *constants[SM_LANES];
    sm_wait waits[SM_LANES];
} sm_simdgroup;

/* Threadgroup memory of one variable, or of one argument: ends at a guard page. */
typedef struct sm_slot {
    uint8_t *base;
    uint32_t size, align;
    uint32_t slack;  /* bytes between its end and the guard page, which must stay 0xFF */
    uint32_t open;   /* bytes in front of the guard page that are mapped */
    uint32_t line;
    uint64_t group;  /* the serial of the threadgroup it was poisoned for */
} sm_slot;

typedef enum sm_end {
    SM_END_NONE,
    SM_END_SIGNAL,    /* a crash */
    SM_END_TIME,      /* it ran too long */
    SM_END_CANCEL,
    SM_END_BOUNDS,    /* a finding says what */
    SM_END_INVALID,   /* a finding says what */
    SM_END_DEADLOCK,
    SM_END_NO_MEMORY,
} sm_end;

typedef enum sm_what {
    SM_DIVERGENT_LANES,     /* size: lanes that go on */
    SM_DIFFERENT_BARRIERS,
    SM_LEFT_BEFORE_BARRIER,
    SM_BEHIND_THE_END,      /* bytes that nobody may write have changed */
    SM_OUTSIDE,             /* access: outside of everything that is bound */
    SM_COLLISION,           /* of two accesses */
    SM_NOT_WRITTEN,
    SM_TOO_MANY_BYTES,      /* of threadgroup memory: size */
    SM_TOO_MANY_VARIABLES,
} sm_what;

/* Something to report, as it was met: made into words when the dispatch is over (finding.c). */
typedef struct sm_finding {
    softmetal_report_kind kind;
    sm_what what;
    uint32_t line, other_line;
    uintptr_t pc, other_pc; /* where the lines are not known; 0: they are */
    uint32_t thread, other_thread; /* SM_NO_LANE: none */
    uint64_t group, other_group;   /* UINT64_MAX: none */
    int32_t buffer;         /* index, or -1 */
    int32_t slot;           /* of threadgroup memory, or -1 */
    int64_t offset;
    uint64_t size;
    uint32_t access, other_access; /* sm_access_kind */
    const char *other_kernel;      /* NULL: the same */
    const struct sm_object_image *other_image; /* of other_pc */
    uint64_t count;
} sm_finding;
#define SM_FINDINGS 128 /* different ones of a worker and dispatch; what is beyond is left out */

/* How a kernel's run was cut short. */
typedef struct sm_crash {
    sm_end end;
    int signal;
    uintptr_t address;
    uintptr_t pc;       /* in the object, as near as can be told; or 0 */
    uint32_t lane;
} sm_crash;

/* A dispatch while it runs. */
typedef struct sm_launch {
    const sm_dispatch *dispatch;
    void (*run)(const sm_lane *lane);
    const softmetal_world *world;
    uint64_t number;        /* of the dispatch, in its executor; never 0 */
    uint32_t groups[3];
    uint64_t total;         /* threadgroups */
    uint64_t first_serial;
    void *buffers[SM_BUFFERS];
    const struct sm_object_image *image;
    uintptr_t image_begin;
    atomic_uint_fast64_t next;
    uint64_t chunk;         /* threadgroups that a worker takes at once */
    atomic_bool stop;
} sm_launch;

typedef struct sm_worker {
    sm_executor *executor;
    sm_launch *job;
    uint32_t number; /* 0: on the thread that called sm_executor_run */
    /* The threadgroup that runs. */
    uint32_t lane;          /* that runs now */
    uint32_t threads;       /* of the threadgroup */
    uint32_t live;          /* lanes that have not left */
    uint32_t runnable;      /* simdgroups with ready lanes */
    uint32_t arrived;       /* lanes at the threadgroup's barrier */
    uint32_t barrier_line, barrier_fences, barrier_lane; /* of the first that came */
    uint32_t other_line, other_lane; /* of one that came to another barrier; SM_NO_LANE: none */
    uint32_t meeting_line;  /* of the meeting that runs now; 0: none does */
    uint32_t left_lane;     /* one that left the kernel; SM_NO_LANE: none */
    /* The checker's clock: counts what orders lanes, from 1 in each threadgroup, and stays at its end if it gets there. */
    uint32_t clock, fenced_threadgroup, fenced_device; /* and when a barrier last ordered all lanes */
    sm_simdgroup *simdgroup; /* of the running lane */
    uint64_t group_index;   /* in the grid */
    uint64_t group_serial;  /* no two threadgroups have the same, whatever their dispatch */
    uint32_t group_position[3], origin[3]; /* of its first thread */
    uint32_t shape[3];      /* of the threadgroup that the lanes are made for */
    uint64_t shape_job;     /* its number */
    uint64_t random;        /* state of the shuffle; 0: in order */
    /* Fibers. */
    sm_fiber main, *fiber, *previous;
    sm_fiber *fibers;       /* SM_MAX_THREADS */
    uint32_t fibers_made, stacks_open, idle_count;
    sm_fiber *idle[SM_MAX_THREADS];
    sm_fiber *lane_fiber[SM_MAX_THREADS]; /* where it waits; NULL for those that have not begun */
    /* One region of memory: lanes, then stacks with guard pages between them. */
    uint8_t *region;
    size_t region_size;
    sm_lane *lanes;         /* SM_MAX_THREADS */
    void **buffers;         /* by index, for the lanes */
    void **threadgroup;
    uint8_t *stacks;
    sm_simdgroup *simdgroups;
    /* Threadgroup memory. */
    uint8_t *memory;
    size_t memory_size, memory_limit, slot_stride;
    uint32_t slot_shift;
    sm_slot slots[SM_SLOTS]; /* arguments first */
    uint32_t *slot_of_variable; /* by id; 0: none yet */
    uint32_t variable_capacity, variables_used;
    uint64_t threadgroup_bytes; /* that this dispatch has asked for so far */
    bool slack;             /* some slot has slack to look at */
    /* Crashes: the handler looks at these. */
    atomic_bool running;    /* between main's leaving and its return */
    bool thrown;            /* a handler has brought this thread back to `main` */
    atomic_int interrupt;   /* an sm_end that the guard asks for */
    atomic_uint_fast64_t progress; /* counts threadgroups, for the guard of time */
    sm_crash crash;
    pthread_t thread;
    /* Counted for the job, added up at its end. */
    uint64_t threads_run, groups_run, barriers, meetings;
    sm_finding findings[SM_FINDINGS];
    uint32_t finding_count;
    struct sm_check *check; /* the checker's; NULL in plain worlds */
} sm_worker;

/* The worker of this OS thread while it runs a dispatch. */
extern __thread sm_worker *sm_current __attribute__((tls_model("initial-exec")));

#endif
