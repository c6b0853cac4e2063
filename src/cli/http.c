#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *http_escape(const char *text, const char *keep)
{
    cli_text out = {0};
    cli_add(&out, "", 0);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL;
        if (plain || strchr(keep, c) != NULL)
            cli_add(&out, text, 1);
        else
            cli_add_format(&out, "%%%02X", c);
    }
    return out.data;
}

#ifdef PENSIEVE_LIBCURL

#include <curl/curl.h>

#define MAX_REDIRECTS 8

typedef struct transfer {
    const http_request *request;
    http_reply *reply;
    CURL *curl;
    bool started, linked_etag;
    char *location; /* NULL: none */
} transfer;

bool http_available(void)
{
    return true;
}

/* ---- Headers ---- */

static void copy_value(char *out, size_t size, const char *value)
{
    size_t length = strcspn(value, "\r\n");
    while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t')) length--;
    snprintf(out, size, "%.*s", (int)length, value);
}

static void copy_etag(char *out, size_t size, const char *value)
{
    if (strncmp(value, "W/", 2) == 0) value += 2;
    copy_value(out, size, value);
    size_t length = strlen(out);
    if (length >= 2 && out[0] == '"' && out[length - 1] == '"') {
        memmove(out, out + 1, length - 2);
        out[length - 2] = '\0';
    }
}

static void take_etag(transfer *t, const char *value)
{
    if (!t->linked_etag) copy_etag(t->reply->etag, sizeof t->reply->etag, value);
}

static void take_linked_etag(transfer *t, const char *value)
{
    t->linked_etag = true;
    copy_etag(t->reply->etag, sizeof t->reply->etag, value);
}

static void take_linked_size(transfer *t, const char *value)
{
    t->reply->linked_size = strtoull(value, NULL, 10);
}

static void take_commit(transfer *t, const char *value)
{
    copy_value(t->reply->commit, sizeof t->reply->commit, value);
}

static void take_length(transfer *t, const char *value)
{
    t->reply->length = strtoull(value, NULL, 10);
}

static void take_retry(transfer *t, const char *value)
{
    unsigned long seconds = strtoul(value, NULL, 10);
    t->reply->retry_after = seconds < 120 ? (uint32_t)seconds : 120;
}

static const struct {
    const char *name;
    void (*take)(transfer *t, const char *value);
} headers[] = {
    {"etag:", take_etag},
    {"x-linked-etag:", take_linked_etag},
    {"x-linked-size:", take_linked_size},
    {"x-repo-commit:", take_commit},
    {"content-length:", take_length},
    {"retry-after:", take_retry},
};

static size_t on_header(char *bytes, size_t size, size_t count, void *user)
{
    transfer *t = user;
    char line[2048];
    size_t length = size * count, kept = length < sizeof line - 1 ? length : sizeof line - 1;
    memcpy(line, bytes, kept);
    line[kept] = '\0';
    for (size_t i = 0; i < CLI_COUNT(headers); i++) {
        size_t name = strlen(headers[i].name);
        if (strncasecmp(line, headers[i].name, name) == 0) headers[i].take(t, line + name + strspn(line + name, " \t"));
    }
    return length;
}

/* ---- Bodies ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *user)
{
    transfer *t = user;
    const http_request *r = t->request;
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206) return size * count; /* a redirect's or an error's page */
    bool ok = t->started || r->on_start == NULL || r->on_start(r->user, code == 206);
    t->started = true;
    if (ok && r->on_bytes != NULL) ok = r->on_bytes(r->user, bytes, size * count);
    t->reply->refused = !ok;
    return ok ? size * count : 0;
}

/* ---- One hop ---- */

/* scheme://host:port of an address. */
static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
}

static bool same_origin(const char *a, const char *b)
{
    size_t length = origin_length(a);
    return length > 0 && length == origin_length(b) && strncasecmp(a, b, length) == 0;
}

static void set_options(const transfer *t, const char *url, char *range, size_t range_size, struct curl_slist *list)
{
    CURL *curl = t->curl;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pensieve");
    curl_easy_setopt(curl, CURLOPT_NOBODY, t->request->head ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)cli_environment_timeout());
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)cli_environment_timeout());
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, (void *)(uintptr_t)t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, (void *)(uintptr_t)t);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    if (t->request->from > 0) {
        snprintf(range, range_size, "%llu-", (unsigned long long)t->request->from);
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
    }
}

static void perform_one(transfer *t, const char *url)
{
    char range[32], reason[CURL_ERROR_SIZE] = "";
    const char *token = cli_environment_token();
    struct curl_slist *list = NULL;
    t->curl = curl_easy_init();
    if (t->curl == NULL) {
        snprintf(t->reply->message, sizeof t->reply->message, "libcurl cannot start");
        return;
    }
    if (token != NULL && same_origin(url, cli_environment_endpoint())) {
        char *header = cli_format("Authorization: Bearer %s", token);
        list = curl_slist_append(NULL, header);
        free(header);
    }
    set_options(t, url, range, sizeof range, list);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, reason);
    CURLcode code = curl_easy_perform(t->curl);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->reply->code);
    const char *location = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &location);
    free(t->location);
    t->location = location != NULL ? cli_format("%s", location) : NULL;
    if (code != CURLE_OK && !t->reply->refused) {
        t->reply->broke =
            t->reply->code != 0 || code == CURLE_OPERATION_TIMEDOUT || code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR;
        snprintf(t->reply->message, sizeof t->reply->message, "%s", reason[0] != '\0' ? reason : curl_easy_strerror(code));
    }
    curl_slist_free_all(list);
    curl_easy_cleanup(t->curl);
    t->curl = NULL;
}

/* ---- All hops ---- */

static bool is_redirect(long code)
{
    return code == 301 || code == 302 || code == 303 || code == 307 || code == 308;
}

static bool goes_on(const transfer *t, const char *url)
{
    if (t->reply->message[0] != '\0' || !is_redirect(t->reply->code) || t->location == NULL) return false;
    return !t->request->head || same_origin(t->location, url);
}

void http_perform(const http_request *request, http_reply *reply)
{
    static bool ready;
    if (!ready) curl_global_init(CURL_GLOBAL_DEFAULT);
    ready = true;
    transfer t = {.request = request, .reply = reply};
    char *url = cli_format("%s", request->url);
    for (int hop = 0; hop < MAX_REDIRECTS; hop++) {
        *reply = (http_reply){.length = UINT64_MAX, .linked_size = UINT64_MAX};
        t.linked_etag = false;
        perform_one(&t, url);
        if (!goes_on(&t, url)) break;
        if (strncasecmp(url, "https:", 6) == 0 && strncasecmp(t.location, "https:", 6) != 0) {
            snprintf(reply->message, sizeof reply->message, "the server leads from https to an address without it");
            break;
        }
        free(url);
        url = t.location;
        t.location = NULL;
    }
    free(t.location);
    free(url);
}

#else

bool http_available(void)
{
    return false;
}

void http_perform(const http_request *request, http_reply *reply)
{
    (void)request;
    *reply = (http_reply){.message = "built without libcurl"};
}

#endif
