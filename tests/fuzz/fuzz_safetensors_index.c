/* A folder of SafeTensors shards from a stranger. Bytes 0xFF, which JSON cannot hold, part the input into the index and up to
 * three shards, named a, b and c; each shard's header ends at its last brace and gets its length put before it. */
#include <dirent.h>
#include <fcntl.h>

#include "check_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES = 4 };
static const char *const names[FILES] = {"model.safetensors.index.json", "a", "b", "c"};
static char folder[64];

static void path_of(int file, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, names[file]);
}

static void remove_folder(void)
{
    char path[128];
    for (int i = 0; i < FILES; i++) {
        path_of(i, path);
        unlink(path);
    }
    rmdir(folder);
}

/* In memory where the system has such a folder. */
static void make_folder(void)
{
    if (folder[0] != 0) return;
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "/dev/shm/pensieve-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        snprintf(folder, sizeof folder, "%.40s/pensieve-fuzz-XXXXXX", temporary ? temporary : "/tmp");
        if (mkdtemp(folder) == NULL) __builtin_trap();
    }
    atexit(remove_folder);
}

static size_t write_file(int file, const uint8_t *data, size_t size)
{
    char path[128];
    uint8_t length[8];
    size_t header = size, head = file == 0 ? 0 : sizeof length;
    while (header > 0 && data[header - 1] != '}') header--;
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header >> 8 * i);
    path_of(file, path);
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0 || write(descriptor, length, head) != (ssize_t)head || write(descriptor, data, size) != (ssize_t)size)
        __builtin_trap();
    close(descriptor);
    return head + size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    size_t total = 0;
    make_folder();
    for (int i = 0; i < FILES; i++) {
        if (i > 0 && data == NULL) { /* the input has no such part: the shard is missing */
            path_of(i, path);
            unlink(path);
            continue;
        }
        const uint8_t *mark = size > 0 && i + 1 < FILES ? memchr(data, 0xff, size) : NULL;
        size_t part = mark ? (size_t)(mark - data) : size;
        total += write_file(i, data, part);
        size -= mark ? part + 1 : part;
        data = mark ? mark + 1 : NULL;
    }
    fuzz_open_twice(folder, true, total);
    return 0;
}
