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

const sm_image *sm_image_of(const void *address)
{
    search s = {.address = (uintptr_t)address};
    pthread_mutex_lock(&lock);
    const bool there = dl_iterate_phdr(look, &s) != 0;
    sm_image *image = images;
    while (image != NULL && (image->begin != s.found.begin || strcmp(image->path, s.path[0] != 0 ? s.path : "/proc/self/exe") != 0))
        image = image->next;
    if (there && image == NULL && (image = malloc(sizeof *image)) != NULL) {
        *image = s.found;
        image->path = strdup(s.path[0] != 0 ? s.path : "/proc/self/exe");
        image->next = images;
        if (image->path != NULL) {
            images = image;
        } else {
            free(image);
            image = NULL;
        }
    }
    pthread_mutex_unlock(&lock);
    return there ? image : NULL;
}

void sm_image_lines(const sm_image *image, const uintptr_t *pcs, uint32_t *lines, size_t count)
{
    (void)image, (void)pcs;
    for (size_t i = 0; i < count; i++) lines[i] = 0;
}
