/* HTTP as the Hub needs it. The token goes to the endpoint's own origin and nowhere else, whatever redirects say. */
#ifndef PENSIEVE_CLI_HTTP_H
#define PENSIEVE_CLI_HTTP_H

#include "cli.h"

typedef struct http_request {
    const char *url;
    bool head;     /* only headers; a redirect to another origin is not followed, its headers are the answer */
    uint64_t from; /* first byte wanted */
    /* Told once, before the first byte: does the body start at `from` (or at 0)? False from either ends the transfer. */
    bool (*on_start)(void *user, bool at_from);
    bool (*on_bytes)(void *user, const char *bytes, size_t length);
    void *user;
} http_request;

typedef struct http_reply {
    long code;            /* 0: none came */
    char message[256];    /* why none came, or why it broke off */
    bool broke;           /* the connection ended early: worth another try */
    bool refused;         /* on_start or on_bytes said false */
    uint64_t length;      /* Content-Length; UINT64_MAX if unknown */
    char etag[160];       /* X-Linked-Etag, else ETag; without W/ and quotes */
    uint64_t linked_size; /* X-Linked-Size; UINT64_MAX if there is none */
    char commit[64];      /* X-Repo-Commit */
    uint32_t retry_after; /* seconds, 0 if not said */
} http_reply;

/* False if the command was built without libcurl. */
bool http_available(void);
void http_perform(const http_request *request, http_reply *reply);
/* As a part of a path; `keep` are further characters that stay. The caller frees it. */
char *http_escape(const char *text, const char *keep);

#endif
