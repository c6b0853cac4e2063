/* Memory of buffers: pages that end at a guard, mapped twice, so that the CPU's view can be closed while the device goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "executor/group.h"
#include "executor/trap.h"

#define ALIGNMENT 16u /* of a buffer's begin; bytes between its end and the guard page are 0 and stay so */
/* The device's view lies far from all other memory, if addresses are not scarce: indices that are wrong are often wrong by a
 * lot. */
#define FAR_FRONT ((size_t)256 << 20)
#define FAR_BEHIND ((size_t)1 << 30)
#define NEAR ((size_t)64 << 10)

typedef struct sm_view sm_view;

/* Those that may be closed. A handler takes the lock too: no memory of a buffer is touched while it is held. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sm_memory *memories;

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Between two guards. `file` is -1 for memory of this view alone. */
static bool map_view(sm_view *view, size_t size, int file, size_t front, size_t behind)
{
    uint8_t *all = mmap(NULL, front + size + behind, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return false;
    const int flags = MAP_FIXED | (file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    *view = (sm_view){all + front, all, front + size + behind};
    if (mmap(view->pages, size, PROT_READ | PROT_WRITE, flags, file, 0) != MAP_FAILED) return true;
    munmap(all, view->size);
    *view = (sm_view){NULL, NULL, 0};
    return false;
}

static bool map_device(sm_memory *memory, int file)
{
    const size_t near = round_up(NEAR, page_size());
    return map_view(&memory->views[0], memory->mapped, file, FAR_FRONT, FAR_BEHIND) ||
           map_view(&memory->views[0], memory->mapped, file, near, near);
}

static void unmap_view(sm_view *view)
{
    if (view->all != NULL) munmap(view->all, view->size);
}

static bool map_twice(sm_memory *memory)
{
    const size_t near = round_up(NEAR, page_size());
    const int file = memfd_create("softmetal buffer", MFD_CLOEXEC);
    if (file < 0) return false;
    const bool mapped = ftruncate(file, (off_t)memory->mapped) == 0 && map_device(memory, file) &&
                        map_view(&memory->views[1], memory->mapped, file, near, near);
    close(file); /* the views keep it */
    if (!mapped) unmap_view(&memory->views[0]);
    return mapped;
}

/* Private to the device: the CPU has no view to close. */
static bool map_private(sm_memory *memory)
{
    return map_device(memory, -1);
}

static bool map_apart(sm_memory *memory)
{
    const size_t near = round_up(NEAR, page_size());
    if (!map_device(memory, -1)) return false;
    if (map_view(&memory->views[1], memory->mapped, -1, near, near)) return true;
    unmap_view(&memory->views[0]);
    return false;
}

static bool create(sm_memory *memory, uint64_t bytes, bool (*map)(sm_memory *memory))
{
    *memory = (sm_memory){.bytes = bytes};
    if (bytes > (uint64_t)1 << 46) return false;
    const size_t room = round_up(bytes, ALIGNMENT);
    memory->mapped = round_up(room > 0 ? room : 1, page_size());
    if (!map(memory)) return false;
    const size_t offset = memory->mapped - room;
    memory->device = memory->views[0].pages + offset;
    memory->cpu = memory->views[1].pages != NULL ? memory->views[1].pages + offset : memory->device;
    pthread_mutex_lock(&lock);
    memory->next = memories;
    if (memories != NULL) memories->previous = memory;
    memories = memory;
    pthread_mutex_unlock(&lock);
    return true;
}

bool sm_memory_create(sm_memory *memory, uint64_t bytes, bool poisoned)
{
    if (!create(memory, bytes, poisoned ? map_private : map_twice)) return false;
    memory->poisoned = poisoned;
    if (poisoned) memset(memory->device, 0xFF, bytes);
    return true;
}

bool sm_memory_create_apart(sm_memory *memory, uint64_t bytes)
{
    return create(memory, bytes, map_apart);
}

void sm_memory_import(sm_memory *memory, void *host, uint64_t bytes)
{
    *memory = (sm_memory){.device = host, .cpu = host, .bytes = bytes};
}

void sm_memory_destroy(sm_memory *memory)
{
    sm_check_forget(memory);
    if (memory->views[0].all == NULL) return;
    pthread_mutex_lock(&lock);
    if (memory->previous != NULL) memory->previous->next = memory->next;
    if (memory->next != NULL) memory->next->previous = memory->previous;
    if (memories == memory) memories = memory->next;
    pthread_mutex_unlock(&lock);
    unmap_view(&memory->views[0]);
    unmap_view(&memory->views[1]);
    *memory = (sm_memory){.device = NULL};
}

/* ---- In flight ----------------------------------------------------------------------------------------------------- */

static void protect(sm_memory *memory, int protection)
{
    if (memory->views[1].pages != NULL) mprotect(memory->views[1].pages, memory->mapped, protection);
}

void sm_memory_begin_flight(sm_memory *memory)
{
    sm_traps_look();
    pthread_mutex_lock(&lock);
    if (memory->open++ == 0) {
        protect(memory, PROT_NONE);
        memory->closed = memory->views[1].pages != NULL;
    }
    pthread_mutex_unlock(&lock);
}

void sm_memory_end_flight(sm_memory *memory)
{
    pthread_mutex_lock(&lock);
    if (--memory->open == 0 && memory->closed) {
        protect(memory, PROT_READ | PROT_WRITE);
        memory->closed = false;
    }
    pthread_mutex_unlock(&lock);
}

/* What the handler has seen; made into reports outside of it. */
typedef struct touch {
    char label[64];
    uint64_t offset, bytes;
} touch;

static touch touches[64];
static size_t touch_count;

bool sm_memory_touched(uintptr_t address)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (sm_memory *memory = memories; memory != NULL && !found; memory = memory->next) {
        if (memory->views[1].pages == NULL || address - (uintptr_t)memory->views[1].pages >= memory->mapped) continue;
        found = true;
        if (!memory->closed) break; /* somebody has opened it meanwhile: the access succeeds when it is tried again */
        protect(memory, PROT_READ | PROT_WRITE);
        memory->closed = false;
        if (touch_count == sizeof touches / sizeof *touches) break;
        touch *t = &touches[touch_count++];
        t->offset = address - (uintptr_t)memory->cpu;
        t->bytes = memory->bytes;
        size_t i = 0;
        for (; memory->label != NULL && memory->label[i] != 0 && i + 1 < sizeof t->label; i++) t->label[i] = memory->label[i];
        t->label[i] = 0;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void sm_memory_report_touches(void)
{
    touch seen[sizeof touches / sizeof *touches];
    pthread_mutex_lock(&lock);
    const size_t count = touch_count;
    memcpy(seen, touches, count * sizeof *seen);
    touch_count = 0;
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < count; i++) {
        sm_reportf(
            SOFTMETAL_CPU_ACCESS_IN_FLIGHT,
            "the CPU touched byte %llu of a buffer of %llu bytes%s%s%s while a command buffer that uses it was in flight",
            (unsigned long long)seen[i].offset, (unsigned long long)seen[i].bytes, seen[i].label[0] != 0 ? " ('" : "",
            seen[i].label, seen[i].label[0] != 0 ? "')" : "");
    }
}

bool sm_memory_guards(const sm_memory *memory, uintptr_t address)
{
    if (memory->views[0].all == NULL) return address - (uintptr_t)memory->device < memory->bytes;
    return address - (uintptr_t)memory->views[0].all < memory->views[0].size;
}
