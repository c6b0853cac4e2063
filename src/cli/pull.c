/* Fetching a model from the Hub: the list of its files, then each file to <blob>.incomplete under a lock, resumed where it
 * stopped, checked, put under its name, and linked from the snapshot. The revision is noted when everything is there. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http.h"
#include "hub.h"
#include "json_in.h"
#include "json_out.h"
#include "sha256.h"

#define MAX_LIST ((size_t)32 << 20)
#define MAX_TRIES 5 /* without a byte of progress */

typedef struct pull {
    const cli_settings *settings;
    const hub_name *name;
    char *folder; /* models--ORG--NAME */
    char *lock_folder;
    char commit[41];
    char **files;
    size_t file_count, file_capacity;
    bool *keep;
} pull;

/* ---- Answers that are none ---- */

static bool worth_a_try(const http_reply *reply)
{
    return reply->broke || reply->code == 408 || reply->code == 429 || reply->code >= 500;
}

static void wait_before(int tries, const http_reply *reply)
{
    int milliseconds = reply->retry_after > 0 ? (int)reply->retry_after * 1000 : 250 << tries;
    poll(NULL, 0, milliseconds);
}

static pv_status explain(const pull *p, const char *what, const http_reply *reply, pv_error *error)
{
    const char *endpoint = cli_environment_endpoint();
    if (reply->message[0] != '\0')
        return cli_error(error, PV_NOT_FOUND, "%s: cannot be fetched from %s: %s", what, endpoint, reply->message);
    if (reply->code == 401 || reply->code == 403)
        return cli_error(
            error, PV_NOT_FOUND,
            "%s: %s refuses it (HTTP %ld): there is no such model, or it takes a token (HF_TOKEN) of somebody who may have it",
            what, endpoint, reply->code);
    if (reply->code == 404)
        return cli_error(error, PV_NOT_FOUND, "%s: %s has no %s/%s at revision %s (HTTP 404)", what, endpoint,
                         p->name->organisation, p->name->name, p->name->revision);
    return cli_error(error, PV_NOT_FOUND, "%s: %s answers with HTTP %ld", what, endpoint, reply->code);
}

/* ---- The list of files ---- */

static bool add_list(void *user, const char *bytes, size_t length)
{
    cli_text *text = user;
    if (text->length + length > MAX_LIST) return false;
    cli_add(text, bytes, length);
    return true;
}

static void take_string(void *user, const char *path, const char *value)
{
    pull *p = user;
    if (strcmp(path, "sha") == 0 && strlen(value) == 40 && strspn(value, "0123456789abcdef") == 40)
        memcpy(p->commit, value, 41);
    /* only files beside each other are wanted, and none that could lead elsewhere */
    if (strcmp(path, "siblings.rfilename") != 0 || strchr(value, '/') != NULL || value[0] == '.' || value[0] == '\0' ||
        strlen(value) > 200)
        return;
    for (const char *at = value; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == '\\') return;
    p->files = cli_grow(p->files, &p->file_capacity, p->file_count + 1, sizeof *p->files);
    p->files[p->file_count++] = cli_format("%s", value);
}

static pv_status read_list(pull *p, pv_error *error)
{
    http_reply reply;
    cli_text text = {0};
    char *revision = http_escape(p->name->revision, "");
    char *url = cli_format("%s/api/models/%s/%s/revision/%s", cli_environment_endpoint(), p->name->organisation, p->name->name,
                           revision);
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        const http_request request = {.url = url, .on_bytes = add_list, .user = &text};
        text.length = 0;
        http_perform(&request, &reply);
        if (!worth_a_try(&reply) || tries + 1 == MAX_TRIES) break;
        wait_before(tries, &reply);
    }
    char *name = cli_format("%s/%s", p->name->organisation, p->name->name);
    pv_status status = PV_OK;
    if (reply.code != 200 || reply.message[0] != '\0')
        status = explain(p, name, &reply, error);
    else if (text.length == 0 || !json_read_strings(text.data, text.length, take_string, p) || p->commit[0] == '\0')
        status = cli_error(error, PV_BAD_FILE, "%s: the answer is not the Hub's list of a model's files", url);
    free(name);
    free(text.data);
    free(url);
    free(revision);
    return status;
}

/* ---- One file ---- */

typedef struct download {
    const char *file;
    int descriptor;
    uint64_t done, size; /* size: UINT64_MAX if unknown */
    sha256 hash;
    int failed; /* errno of a write */
    bool shows;
} download;

static void start_over(download *d)
{
    d->done = 0;
    sha256_start(&d->hash);
    if (ftruncate(d->descriptor, 0) != 0 && d->failed == 0) d->failed = errno;
}

static bool on_start(void *user, bool at_from)
{
    download *d = user;
    if (!at_from) start_over(d);
    return d->failed == 0;
}

static bool on_bytes(void *user, const char *bytes, size_t length)
{
    download *d = user;
    for (size_t put = 0; put < length && d->failed == 0;) {
        ssize_t n = pwrite(d->descriptor, bytes + put, length - put, (off_t)(d->done + put));
        if (n > 0)
            put += (size_t)n;
        else if (n == 0 || errno != EINTR)
            d->failed = n == 0 ? EIO : errno;
    }
    if (d->failed != 0) return false;
    sha256_add(&d->hash, bytes, length);
    d->done += length;
    if (d->shows) cli_progress(d->file, d->done, d->size != UINT64_MAX ? d->size : 0);
    return d->size == UINT64_MAX || d->done <= d->size;
}

/* What an earlier try left is gone on from. */
static void take_up(download *d)
{
    static char bytes[1 << 16];
    struct stat info;
    sha256_start(&d->hash);
    if (fstat(d->descriptor, &info) != 0 || (d->size != UINT64_MAX && (uint64_t)info.st_size > d->size)) {
        start_over(d);
        return;
    }
    while (d->done < (uint64_t)info.st_size) {
        ssize_t n = pread(d->descriptor, bytes, sizeof bytes, (off_t)d->done);
        if (n <= 0) {
            start_over(d);
            return;
        }
        sha256_add(&d->hash, bytes, (size_t)n);
        d->done += (uint64_t)n;
    }
}

static pv_status transfer(const pull *p, download *d, const char *url, pv_error *error)
{
    http_reply reply = {0};
    for (int tries = 0; tries < MAX_TRIES && (d->size == UINT64_MAX || d->done < d->size); tries++) {
        uint64_t before = d->done;
        const http_request request = {.url = url, .from = d->done, .on_start = on_start, .on_bytes = on_bytes, .user = d};
        http_perform(&request, &reply);
        if (d->failed != 0) {
            errno = d->failed;
            return hub_system_error(error, "write", d->file);
        }
        if (reply.refused) return PV_OK; /* longer than it was said to be: the check will tell */
        bool got_all = reply.code == 200 || reply.code == 206;
        if (got_all && reply.message[0] == '\0') return PV_OK;
        if (reply.code == 416) start_over(d);
        /* no connection, after some of it came: the network may come back */
        bool gone = reply.code == 0 && d->done > 0;
        if (!worth_a_try(&reply) && reply.code != 416 && !gone) return explain(p, d->file, &reply, error);
        if (d->done > before) tries = -1;
        if (tries + 1 < MAX_TRIES) wait_before(tries < 0 ? 0 : tries, &reply);
    }
    if (d->size != UINT64_MAX && d->done == d->size) return PV_OK;
    return explain(p, d->file, &reply, error);
}

static bool is_sha256(const char *etag)
{
    return strlen(etag) == 64 && strspn(etag, "0123456789abcdef") == 64;
}

/* What came is what was announced: its size, and its SHA-256 where the Hub tells it. */
static pv_status check(download *d, const char *etag, pv_error *error)
{
    char found[65];
    sha256_end(&d->hash, found);
    if (d->size != UINT64_MAX && d->done != d->size)
        return cli_error(error, PV_BAD_FILE, "%s: %llu bytes came, %llu were announced", d->file, (unsigned long long)d->done,
                         (unsigned long long)d->size);
    if (is_sha256(etag) && strcmp(etag, found) != 0)
        return cli_error(error, PV_BAD_FILE, "%s: its SHA-256 is %s, %s is wanted", d->file, found, etag);
    return PV_OK;
}

static pv_status fetch_blob(const pull *p, const char *file, const char *url, const http_reply *head, const char *blob,
                            pv_error *error)
{
    char *incomplete = cli_format("%s.incomplete", blob);
    download d = {.file = file,
                  .size = head->linked_size != UINT64_MAX ? head->linked_size : head->length,
                  .shows = !p->settings->quiet && !cli_environment_no_progress()};
    pv_status status = PV_OK;
    d.descriptor = open(incomplete, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (d.descriptor < 0) status = hub_system_error(error, "write", incomplete);
    for (int tries = 0; status == PV_OK && tries < 2; tries++) {
        if (tries == 0)
            take_up(&d);
        else
            start_over(&d);
        status = transfer(p, &d, url, error);
        cli_progress_end();
        if (status != PV_OK) break;
        status = check(&d, head->etag, error);
        if (status == PV_OK) break;
        cli_say("%s; it is thrown away%s", error->message, tries == 0 ? " and fetched again" : "");
        start_over(&d);
        if (tries == 0) status = PV_OK;
    }
    if (status == PV_OK && fsync(d.descriptor) != 0) status = hub_system_error(error, "write", incomplete);
    if (d.descriptor >= 0) close(d.descriptor);
    if (status == PV_OK && rename(incomplete, blob) != 0) status = hub_system_error(error, "rename", incomplete);
    if (status == PV_BAD_FILE) unlink(incomplete);
    free(incomplete);
    return status;
}

/* Held by one process at a time, until it is closed. */
static pv_status take_lock(const pull *p, const char *etag, int *descriptor, pv_error *error)
{
    char *path = cli_format("%s/%s.lock", p->lock_folder, etag);
    pv_status status = PV_OK;
    *descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*descriptor < 0 || flock(*descriptor, LOCK_EX) != 0) status = hub_system_error(error, "lock", path);
    free(path);
    return status;
}

/* snapshots/<commit>/<file> -> ../../blobs/<etag>, or the file itself where links are not wanted or not known. */
static pv_status place(const pull *p, const char *blob, const char *etag, const char *place, pv_error *error)
{
    char *target = cli_format("../../blobs/%s", etag);
    pv_status status = PV_OK;
    (void)p;
    unlink(place);
    bool linked = !cli_environment_no_symlinks() && symlink(target, place) == 0;
    if (!linked && rename(blob, place) != 0) status = hub_system_error(error, "make", place);
    free(target);
    return status;
}

static bool is_file_name(const char *etag)
{
    return etag[0] != '\0' && etag[0] != '.' && strlen(etag) <= 128 &&
           strspn(etag, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == strlen(etag);
}

static void ask_head(const char *url, http_reply *reply)
{
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        const http_request request = {.url = url, .head = true};
        http_perform(&request, reply);
        if (!worth_a_try(reply) || tries + 1 == MAX_TRIES) return;
        wait_before(tries, reply);
    }
}

static pv_status fetch_file(const pull *p, const char *file, pv_error *error)
{
    http_reply head;
    int lock = -1;
    char *escaped = http_escape(file, "");
    char *url = cli_format("%s/%s/%s/resolve/%s/%s", cli_environment_endpoint(), p->name->organisation, p->name->name,
                           p->commit, escaped);
    char *entry = cli_format("%s/snapshots/%s/%s", p->folder, p->commit, file), *blob = NULL;
    pv_status status = PV_OK;
    if (!hub_exists(entry)) {
        ask_head(url, &head);
        bool answered = head.message[0] == '\0' && head.code >= 200 && head.code < 400;
        if (!answered)
            status = explain(p, file, &head, error);
        else if (!is_file_name(head.etag))
            status = cli_error(error, PV_BAD_FILE, "%s: the server names it '%.100s', which is no ETag of the Hub's", file,
                               head.etag);
        if (status == PV_OK) {
            blob = cli_format("%s/blobs/%s", p->folder, head.etag);
            /* a redirect's length is not the file's */
            if (head.code != 200) head.length = UINT64_MAX;
            status = take_lock(p, head.etag, &lock, error);
        }
        if (status == PV_OK && !hub_exists(blob)) status = fetch_blob(p, file, url, &head, blob, error);
        if (status == PV_OK) status = place(p, blob, head.etag, entry, error);
    }
    if (lock >= 0) close(lock);
    free(blob);
    free(entry);
    free(url);
    free(escaped);
    return status;
}

/* ---- The whole ---- */

static pv_status make_folders(pull *p, pv_error *error)
{
    const char *hub = cli_environment_hub();
    if (hub[0] == '\0') return hub_no_folder(error);
    p->folder = hub_folder(hub, p->name);
    p->lock_folder = cli_format("%s/.locks/models--%s--%s", hub, p->name->organisation, p->name->name);
    char *snapshot = cli_format("%s/snapshots/%s", p->folder, p->commit), *blobs = cli_format("%s/blobs", p->folder);
    pv_status status = hub_make_folders(snapshot, error);
    if (status == PV_OK) status = hub_make_folders(blobs, error);
    if (status == PV_OK) status = hub_make_folders(p->lock_folder, error);
    free(snapshot);
    free(blobs);
    return status;
}

/* refs/<revision>, put under its name when it is written. */
static pv_status note_revision(const pull *p, pv_error *error)
{
    pv_status status = PV_OK;
    if (strcmp(p->name->revision, p->commit) == 0) return PV_OK;
    char *path = cli_format("%s/refs/%s", p->folder, p->name->revision), *made = cli_format("%s.incomplete", path);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    status = hub_make_folders(path, error);
    *slash = '/';
    FILE *file = status == PV_OK ? fopen(made, "we") : NULL;
    bool written = file != NULL && fputs(p->commit, file) >= 0;
    if (file != NULL) written = fclose(file) == 0 && written;
    if (status == PV_OK && (!written || rename(made, path) != 0)) status = hub_system_error(error, "write", path);
    free(path);
    free(made);
    return status;
}

/* The small files first: a snapshot with weights is a whole one. */
static pv_status fetch_files(const pull *p, pv_error *error)
{
    pv_status status = PV_OK;
    for (int weights = 0; weights < 2; weights++)
        for (size_t i = 0; i < p->file_count && status == PV_OK; i++) {
            const char *dot = strrchr(p->files[i], '.');
            bool is_weights = dot != NULL && (strcmp(dot, ".safetensors") == 0 || strcmp(dot, ".gguf") == 0);
            if (p->keep[i] && is_weights == (weights == 1)) status = fetch_file(p, p->files[i], error);
        }
    return status;
}

pv_status hub_pull(const cli_settings *settings, const hub_name *name, char **path, pv_error *error)
{
    pull p = {.settings = settings, .name = name};
    if (!http_available())
        return cli_error(error, PV_NOT_FOUND,
                         "%s/%s cannot be fetched: the command was built without libcurl (package libcurl4-openssl-dev)",
                         name->organisation, name->name);
    if (cli_environment_offline())
        return cli_error(error, PV_NOT_FOUND, "%s/%s is not in the cache, and HF_HUB_OFFLINE is set", name->organisation,
                         name->name);
    pv_status status = read_list(&p, error);
    if (status == PV_OK) {
        p.keep = cli_alloc(p.file_count, sizeof *p.keep);
        status = hub_choose(name, p.files, p.file_count, p.keep, error);
    }
    if (status == PV_OK) status = make_folders(&p, error);
    if (status == PV_OK) status = fetch_files(&p, error);
    if (status == PV_OK) status = note_revision(&p, error);
    if (status == PV_OK) {
        char *snapshot = cli_format("%s/snapshots/%s", p.folder, p.commit);
        *path = hub_model_in(name, snapshot);
        if (*path == NULL) status = cli_error(error, PV_INTERNAL, "%s does not hold what was fetched", snapshot);
        free(snapshot);
    }
    hub_free_names(p.files, p.file_count);
    free(p.keep);
    free(p.folder);
    free(p.lock_folder);
    return status;
}

int cli_pull(const cli_settings *settings)
{
    pv_error error;
    hub_name name;
    char *path = NULL;
    pv_status status = PV_OK;
    if (!hub_parse(settings->model, &name))
        status = cli_error(&error, PV_INVALID_ARGUMENT,
                           "'%s' is given, a name on the Hub is wanted: org/name[:QUANT][@REVISION]", settings->model);
    if (status == PV_OK && cli_environment_offline() && (path = hub_find(&name)) == NULL)
        status = cli_error(&error, PV_NOT_FOUND, "%s is not in the cache, and HF_HUB_OFFLINE is set", settings->model);
    if (status == PV_OK && path == NULL) status = hub_pull(settings, &name, &path, &error);
    if (status != PV_OK) return cli_fail(settings, "pull", &error);
    if (settings->json) {
        cli_json json = cli_json_start("pull");
        cli_json_text_member(&json, "model", settings->model);
        cli_json_text_member(&json, "path", path);
        cli_json_print(&json);
    } else {
        cli_printf("%s\n", path);
    }
    free(path);
    return CLI_DONE;
}
