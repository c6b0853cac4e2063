#include <stdatomic.h>
#include <stdio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

static bool line_open; /* a progress line stands on the terminal */
static struct termios kept_mode;
static atomic_bool kept;

bool cli_is_terminal(int descriptor)
{
    return isatty(descriptor) == 1;
}

bool cli_has_color(int descriptor)
{
    return cli_is_terminal(descriptor) && !cli_environment_no_color();
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cli_progress(const char *what, uint64_t done, uint64_t total)
{
    static double last;
    double now = cli_seconds();
    if (!cli_is_terminal(STDERR_FILENO) || (line_open && done < total && now - last < 0.1)) return;
    last = now;
    line_open = true;
    if (total > 0)
        fprintf(stderr, "\r\033[K%s %3.0f %% of %s", what, 100.0 * (double)done / (double)total, cli_bytes_text(total));
    else
        fprintf(stderr, "\r\033[K%s %s", what, cli_bytes_text(done));
    fflush(stderr);
}

void cli_progress_end(void)
{
    if (!line_open) return;
    line_open = false;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}

void cli_terminal_keep(void)
{
    if (tcgetattr(STDIN_FILENO, &kept_mode) == 0) atomic_store(&kept, true);
}

void cli_terminal_restore(void)
{
    if (atomic_load(&kept)) tcsetattr(STDIN_FILENO, TCSANOW, &kept_mode);
}

int64_t cli_now(void)
{
    static time_t now; /* one for the whole run: a chat's beginning stays the same, so that it is found in the cache */
    if (now == 0) now = time(NULL);
    return (int64_t)now;
}
