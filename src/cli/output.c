#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int lost; /* errno of the first write that failed */

void cli_output_start(void)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that left is an error with a message */
    signal(SIGXFSZ, SIG_IGN); /* as is a file that has reached its limit */
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        if (fcntl(descriptor, F_GETFD) >= 0) continue;
        /* Opened the wrong way round, so that using it fails as using a closed one does. */
        int made = open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
        if (made >= 0 && made != descriptor) close(made);
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
}

static void note(bool ok)
{
    if (!ok && lost == 0) lost = errno != 0 ? errno : EIO;
}

void cli_print(const char *bytes, size_t length)
{
    errno = 0;
    if (lost == 0 && length > 0) note(fwrite(bytes, 1, length, stdout) == length);
}

void cli_printf(const char *format, ...)
{
    if (lost != 0) return;
    va_list arguments;
    va_start(arguments, format);
    errno = 0;
    note(vprintf(format, arguments) >= 0);
    va_end(arguments);
}

bool cli_flush(void)
{
    errno = 0;
    if (lost == 0) note(fflush(stdout) == 0);
    return lost == 0;
}

int cli_output_end(int code)
{
    bool ok = cli_flush();
    /* Some file systems tell only at closing that there was no room. */
    errno = 0;
    if (ok && close(STDOUT_FILENO) != 0 && errno != EBADF) note(false);
    if (lost == 0) return code;
    cli_say("cannot write to standard output: %s", strerror(lost));
    return code == CLI_DONE || code == CLI_INTERRUPTED ? CLI_FAILURE : code;
}
