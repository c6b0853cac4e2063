/* Runs a libFuzzer target over files, without libFuzzer: every input that was ever found stays in the tests.
 * usage: replay_<target> FOLDER. The empty input and every prefix length up to 64 of each file run too: truncation finds much. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target sees memory of exactly `size` bytes, so that a sanitizer catches a read beyond. */
static int run_input(const uint8_t *data, size_t size)
{
    uint8_t *exact = calloc(size > 0 ? size : 1, 1);
    if (exact == NULL) return 1;
    if (size > 0) memcpy(exact, data, size);
    int bad = LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return bad;
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return 1;
    int bad = 1;
    uint8_t *data = NULL;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0) goto done;
    data = malloc((size_t)size + 1);
    if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) goto done;
    bad = run_input(data, (size_t)size);
    for (long prefix = 1; prefix <= 64 && prefix < size; prefix++) bad |= run_input(data, (size_t)prefix);
done:
    free(data);
    fclose(file);
    return bad;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argument_count, char **arguments)
{
    struct dirent **entries = NULL;
    int failed = run_input((const uint8_t *)"", 0), cases = 1;
    printf("%s 1 - the empty input\n", failed ? "not ok" : "ok");
    int count = argument_count > 1 ? scandir(arguments[1], &entries, visible, alphasort) : 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", arguments[1], entries[i]->d_name);
        int bad = run_file(path);
        failed += bad != 0;
        printf("%s %d - %s\n", bad ? "not ok" : "ok", ++cases, entries[i]->d_name);
        fflush(stdout);
        free(entries[i]);
    }
    free(entries);
    printf("1..%d\n", cases);
    return failed != 0;
}
