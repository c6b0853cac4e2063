#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"

#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#ifdef __linux__
static void read_name(char *name, size_t capacity)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    for (char line[256]; fgets(line, sizeof line, file) != NULL;) {
        char *value = strchr(line, ':');
        if (value == NULL || strncmp(line, "model name", 10) != 0) continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(name, capacity, "%s", value);
        break;
    }
    fclose(file);
}

/* A control group's limit, UINT64_MAX if there is none. */
static uint64_t read_limit(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return UINT64_MAX;
    char text[32] = "";
    const bool there = fgets(text, sizeof text, file) != NULL && text[0] >= '0' && text[0] <= '9';
    fclose(file);
    return there ? strtoull(text, NULL, 10) : UINT64_MAX;
}

static uint64_t memory_limit(void)
{
    const uint64_t limit = read_limit("/sys/fs/cgroup/memory.max");
    return limit != UINT64_MAX ? limit : read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
}
#elif defined(__APPLE__)
static void read_name(char *name, size_t capacity)
{
    size_t size = capacity;
    if (sysctlbyname("machdep.cpu.brand_string", name, &size, NULL, 0) != 0) snprintf(name, capacity, "processor");
}
static uint64_t memory_limit(void) { return UINT64_MAX; }
#else
static void read_name(char *name, size_t capacity) { (void)name, (void)capacity; }
static uint64_t memory_limit(void) { return UINT64_MAX; }
#endif

uint32_t pv_cpu_processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (uint32_t)CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

void pv_cpu_describe(pv_device_description *description)
{
    *description = (pv_device_description){.available = true, .unified = true, .steps_ahead = 1};
    snprintf(description->id, sizeof description->id, "cpu");
#if defined(__x86_64__)
    snprintf(description->name, sizeof description->name, "x86-64 processor");
#elif defined(__aarch64__)
    snprintf(description->name, sizeof description->name, "aarch64 processor");
#else
    snprintf(description->name, sizeof description->name, "processor");
#endif
    read_name(description->name, sizeof description->name);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    description->memory_total = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    const uint64_t limit = memory_limit();
    description->memory_usable = limit < description->memory_total ? limit : description->memory_total;
    description->max_buffer = description->memory_usable;
}
