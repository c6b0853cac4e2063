#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define MAX_INPUT ((size_t)64 << 20)

pv_status cli_read_input(cli_text *text, pv_error *error)
{
    cli_add(text, "", 0);
    for (;;) {
        char bytes[16384];
        ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return cli_error(error, PV_IO, "cannot read standard input: %s", strerror(errno));
        if (got == 0) break;
        if (text->length + (size_t)got > MAX_INPUT)
            return cli_error(error, PV_INVALID_ARGUMENT, "standard input is longer than 64 MiB, the limit");
        cli_add(text, bytes, (size_t)got);
    }
    if (text->length > 0 && text->data[text->length - 1] == '\n') text->data[--text->length] = '\0';
    if (text->length > 0 && text->data[text->length - 1] == '\r') text->data[--text->length] = '\0';
    return PV_OK;
}
