#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

static void say(const char *format, va_list arguments)
{
    cli_progress_end();
    fputs("pensieve: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void cli_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

static pv_error misuse; /* the last one */

int cli_misuse(const cli_verb *verb, const char *format, ...)
{
    va_list arguments;
    misuse = (pv_error){.status = PV_INVALID_ARGUMENT, .offset = PV_NO_OFFSET};
    va_start(arguments, format);
    vsnprintf(misuse.message, sizeof misuse.message, format, arguments);
    va_end(arguments);
    cli_say("%s", misuse.message);
    fprintf(stderr, "Try 'pensieve %s%s--help'.\n", verb != NULL ? verb->name : "", verb != NULL ? " " : "");
    return CLI_USAGE;
}

static void print_error(const char *verb, const pv_error *error)
{
    cli_json json = cli_json_start(verb);
    cli_json_error(&json, error);
    cli_json_print(&json);
}

void cli_print_misuse(const char *verb)
{
    print_error(verb, &misuse);
}

int cli_fail(const cli_settings *settings, const char *verb, const pv_error *error)
{
    cli_say("%s", error->message);
    if (settings->json) print_error(verb, error);
    return cli_exit_code(error);
}

pv_status cli_error(pv_error *error, pv_status status, const char *format, ...)
{
    va_list arguments;
    *error = (pv_error){.status = status, .offset = PV_NO_OFFSET};
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

void cli_log(void *user, pv_log_level level, const char *message)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const cli_settings *settings = user;
    if (level > PV_LOG_WARNING && !settings->verbose) return;
    cli_say("%s: %s", names[level], message);
}

const char *cli_bytes_text(uint64_t bytes)
{
    static const struct {
        uint64_t size;
        const char *name;
    } units[] = {{1ull << 40, "TiB"}, {1ull << 30, "GiB"}, {1ull << 20, "MiB"}, {1ull << 10, "KiB"}};
    static char texts[8][32];
    static unsigned next;
    char *text = texts[next++ % CLI_COUNT(texts)];
    snprintf(text, sizeof texts[0], "%llu B", (unsigned long long)bytes);
    for (size_t i = 0; i < CLI_COUNT(units); i++)
        if (bytes >= units[i].size) {
            snprintf(text, sizeof texts[0], "%.1f %s", (double)bytes / (double)units[i].size, units[i].name);
            break;
        }
    return text;
}
