/* A quantized model from a stranger: the input up to its first byte 0xFF, which JSON cannot hold, is config.json, the rest
 * model.safetensors, whose header ends at its last brace and gets its length put before it. */
#include <fcntl.h>

#include "check_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
}

static void remove_folder(void)
{
    char path[128];
    path_of("config.json", path);
    unlink(path);
    path_of("model.safetensors", path);
    unlink(path);
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

static void write_file(const char *name, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
{
    char path[128];
    path_of(name, path);
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0 || write(descriptor, head, head_size) != (ssize_t)head_size || write(descriptor, data, size) != (ssize_t)size)
        __builtin_trap();
    close(descriptor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    const uint8_t *mark = size > 0 ? memchr(data, 0xff, size) : NULL;
    const size_t config = mark ? (size_t)(mark - data) : size, rest = mark ? size - config - 1 : 0;
    const uint8_t *file = mark ? mark + 1 : nothing;
    uint8_t length[8];
    size_t header = rest;
    make_folder();
    while (header > 0 && file[header - 1] != '}') header--;
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header >> 8 * i);
    write_file("config.json", nothing, 0, config > 0 ? data : nothing, config);
    write_file("model.safetensors", length, sizeof length, file, rest);
    fuzz_open_twice(folder, true, size + sizeof length);
    return 0;
}
