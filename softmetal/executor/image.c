#include "executor/image.h"

#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sm_image *images;

typedef struct search {
    uintptr_t address;
    sm_image found;
    const char *path;
} search;

static int look(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    search *s = context;
    sm_image image = {.base = info->dlpi_addr, .begin = UINTPTR_MAX, .code_begin = UINTPTR_MAX};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD) continue;
        const uintptr_t begin = info->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;
        if (begin < image.begin) image.begin = begin;
        if (end > image.end) image.end = end;
        if (!(part->p_flags & PF_X)) continue;
        if (begin < image.code_begin) image.code_begin = begin;
        if (end > image.code_end) image.code_end = end;
    }
    if (s->address < image.begin || s->address >= image.end) return 0;
    s->found = image;
    s->path = info->dlpi_name;
    return 1;
}

/* The loader has no name for the program itself. */
static char *path_of(const char *name)
{
    return name[0] != 0 ? strdup(name) : realpath("/proc/self/exe", NULL);
}

static sm_image *add(const search *s)
{
    sm_image *image = malloc(sizeof *image);
    if (image == NULL) return NULL;
    *image = s->found;
    image->path = path_of(s->path);
    if (image->path == NULL) {
        free(image);
        return NULL;
    }
    image->next = images;
    return images = image;
}

const sm_image *sm_image_of(const void *address)
{
    search s = {.address = (uintptr_t)address};
    if (dl_iterate_phdr(look, &s) == 0) return NULL;
    pthread_mutex_lock(&lock);
    sm_image *image = images;
    while (image != NULL && image->begin != s.found.begin) image = image->next;
    if (image == NULL) image = add(&s);
    pthread_mutex_unlock(&lock);
    return image;
}

/* ---- Lines --------------------------------------------------------------------------------------------------------- */

#define AT_ONCE 64 /* addresses that one run of the tool is given */

typedef struct sm_known_line {
    uintptr_t pc;
    uint32_t line;
} known_line;

static const char *const tools[] = {"addr2line", "llvm-addr2line", "llvm-addr2line-19", "llvm-addr2line-14"};

/* Starts the tool with its output in *output. */
static pid_t spawn(const char *tool, char **arguments, FILE **output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    pid_t child = -1;
    arguments[0] = (char *)(uintptr_t)tool;
    if (posix_spawnp(&child, tool, &actions, NULL, arguments, environ) != 0) child = -1;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *output = child >= 0 ? fdopen(ends[0], "r") : NULL;
    if (*output == NULL) close(ends[0]);
    return child;
}

/* The shim's headers, and what msl writes around a text, are not what a report is about. */
static bool is_text(const char *file, size_t length)
{
    static const char *const others[] = {".h", ".hpp", ".inc", ".cc", ".cpp", ".cxx", "softmetal-entry"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const size_t end = strlen(others[i]);
        if (length >= end && memcmp(file + length - end, others[i], end) == 0) return false;
    }
    return true;
}

/* Reads "0x…" and then "file:line" for each of the functions that were inlined there, the innermost first. */
static void read_lines(FILE *output, known_line *wanted, size_t count)
{
    char text[1024];
    size_t next = 0;
    while (fgets(text, sizeof text, output) != NULL) {
        if (strncmp(text, "0x", 2) == 0 && strchr(text, ':') == NULL) {
            next++;
            continue;
        }
        const char *colon = strrchr(text, ':');
        if (next == 0 || next > count || colon == NULL || wanted[next - 1].line != 0) continue;
        if (is_text(text, (size_t)(colon - text))) wanted[next - 1].line = (uint32_t)strtoul(colon + 1, NULL, 10);
    }
}

static bool ask(const char *tool, const sm_image *image, known_line *wanted, size_t count)
{
    char numbers[AT_ONCE][24], *arguments[AT_ONCE + 5] = {NULL, "-a", "-i", "-e", image->path};
    for (size_t i = 0; i < count; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%#zx", (size_t)(wanted[i].pc - image->base));
        arguments[5 + i] = numbers[i];
    }
    char *list[AT_ONCE + 6] = {NULL};
    memcpy(list, arguments, (5 + count) * sizeof *list);
    FILE *output = NULL;
    const pid_t child = spawn(tool, list, &output);
    if (output != NULL) {
        read_lines(output, wanted, count);
        fclose(output);
    }
    if (child < 0) return false;
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static const known_line *known(const sm_image *image, uintptr_t pc)
{
    for (size_t i = 0; i < image->line_count; i++)
        if (image->lines[i].pc == pc) return &image->lines[i];
    return NULL;
}

/* Finds out the lines of those that are not known yet, AT_ONCE at most. True if it may be that there are more. */
static bool learn(sm_image *image, const uintptr_t *pcs, size_t count)
{
    known_line wanted[AT_ONCE];
    size_t asked = 0;
    for (size_t i = 0; i < count && asked < AT_ONCE; i++) {
        bool seen = pcs[i] == 0 || known(image, pcs[i]) != NULL;
        for (size_t k = 0; k < asked && !seen; k++) seen = wanted[k].pc == pcs[i];
        if (!seen) wanted[asked++] = (known_line){.pc = pcs[i]};
    }
    if (asked == 0) return false;
    if (image->line_count + asked > image->line_capacity) {
        const size_t capacity = 2 * image->line_capacity + AT_ONCE;
        known_line *grown = realloc(image->lines, capacity * sizeof *grown);
        if (grown == NULL) return false;
        image->lines = grown;
        image->line_capacity = capacity;
    }
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
        if (ask(tools[i], image, wanted, asked)) break;
    memcpy(image->lines + image->line_count, wanted, asked * sizeof *wanted);
    image->line_count += asked;
    return true;
}

void sm_image_lines(const sm_image *image, const uintptr_t *pcs, uint32_t *lines, size_t count)
{
    memset(lines, 0, count * sizeof *lines);
    if (image == NULL) return;
    pthread_mutex_lock(&lock);
    while (learn((sm_image *)(uintptr_t)image, pcs, count)) continue;
    for (size_t i = 0; i < count; i++) {
        const known_line *found = pcs[i] != 0 ? known(image, pcs[i]) : NULL;
        if (found != NULL) lines[i] = found->line;
    }
    pthread_mutex_unlock(&lock);
}
