/* --profile: what took time, as a trace that Perfetto and chrome://tracing show; or, for a name ending in .gputrace, Metal's own capture. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

#define MOST_TRACKS 16

struct cli_profile {
    const char *path;
    FILE *file;
    double begin;     /* of the first, so that times are small numbers */
    bool any;
    char *tracks[MOST_TRACKS];
    size_t track_count;
};

bool cli_profile_is_capture(const char *path)
{
    return path != NULL && cli_ends_with(path, ".gputrace");
}

pv_status cli_profile_open(const char *path, cli_profile **profile, pv_error *error)
{
    *profile = NULL;
    if (path == NULL || cli_profile_is_capture(path)) return PV_OK;
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        int code = errno;
        cli_error(error, code == ENOENT || code == ENOTDIR ? PV_NOT_FOUND : PV_IO, "cannot write %s: %s", path, strerror(code));
        error->backend_code = code;
        return error->status;
    }
    *profile = cli_alloc(1, sizeof **profile);
    **profile = (cli_profile){.path = path, .file = file};
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [", file);
    return PV_OK;
}

static void write_event(cli_profile *profile, cli_json *json)
{
    fprintf(profile->file, "%s\n%s", profile->any ? "," : "", json->text.data);
    profile->any = true;
    free(json->text.data);
}

/* Tracks are threads of one process; each is named when it first comes. */
static size_t find_track(cli_profile *profile, const char *name)
{
    cli_json json = {0};
    for (size_t i = 0; i < profile->track_count; i++)
        if (strcmp(profile->tracks[i], name) == 0) return i;
    if (profile->track_count == MOST_TRACKS) return MOST_TRACKS - 1;
    profile->tracks[profile->track_count] = cli_format("%s", name);
    cli_json_open(&json, '{');
    cli_json_text_member(&json, "name", "thread_name");
    cli_json_text_member(&json, "ph", "M");
    cli_json_uint_member(&json, "pid", 1);
    cli_json_uint_member(&json, "tid", profile->track_count);
    cli_json_name(&json, "args");
    cli_json_open(&json, '{');
    cli_json_text_member(&json, "name", name);
    cli_json_close(&json, '}');
    cli_json_close(&json, '}');
    write_event(profile, &json);
    return profile->track_count++;
}

void cli_profile_add(void *user, const pv_timing *timing)
{
    cli_profile *profile = user;
    size_t track = find_track(profile, timing->track);
    cli_json json = {0};
    if (profile->begin == 0) profile->begin = timing->begin;
    cli_json_open(&json, '{');
    cli_json_text_member(&json, "name", timing->name);
    cli_json_text_member(&json, "ph", "X");
    cli_json_number_member(&json, "ts", 1e6 * (timing->begin - profile->begin));
    cli_json_number_member(&json, "dur", 1e6 * (timing->end - timing->begin));
    cli_json_uint_member(&json, "pid", 1);
    cli_json_uint_member(&json, "tid", track);
    cli_json_name(&json, "args");
    cli_json_open(&json, '{');
    if (timing->rows > 0) cli_json_uint_member(&json, "rows", timing->rows);
    if (timing->bytes > 0) cli_json_number_member(&json, "bytes", timing->bytes);
    if (timing->operations > 0) cli_json_number_member(&json, "operations", timing->operations);
    if (timing->threads > 0) cli_json_uint_member(&json, "threads", timing->threads);
    cli_json_close(&json, '}');
    cli_json_close(&json, '}');
    write_event(profile, &json);
}

void cli_profile_close(cli_profile *profile)
{
    if (profile == NULL) return;
    fputs("\n]}\n", profile->file);
    bool failed = ferror(profile->file) != 0;
    if (fclose(profile->file) != 0 || failed) cli_say("the trace %s could not be written whole", profile->path);
    for (size_t i = 0; i < profile->track_count; i++) free(profile->tracks[i]);
    free(profile);
}
