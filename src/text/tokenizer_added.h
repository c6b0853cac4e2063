/* Added tokens: found in text by their own spelling before anything else happens to it. */
#ifndef PV_TEXT_TOKENIZER_ADDED_H
#define PV_TEXT_TOKENIZER_ADDED_H

#include "text/normalize.h"

#define PV_ADDED_MAX_LENGTH 1024 /* bytes of an added token: what matching may cost for each byte of text */

enum {
    PV_ADDED_CONTROL = 1,    /* found only on request */
    PV_ADDED_NORMALIZED = 2, /* found in normalized text */
    PV_ADDED_LSTRIP = 4,     /* takes the spaces before it */
    PV_ADDED_RSTRIP = 8,     /* takes the spaces behind it */
    PV_ADDED_WORD = 16,      /* only where no word character touches it */
};

typedef struct pv_added_token {
    uint32_t id;
    uint32_t offset, length;          /* the content, in `text` */
    uint32_t pattern, pattern_length; /* what is looked for: the content, normalized if so flagged */
    uint32_t shown, shown_length;     /* what the id stands for in text */
    uint8_t flags;
} pv_added_token;

/* Looks for many patterns at once: they are sorted, and each byte read narrows the range of those that agree. */
typedef struct pv_added_matcher {
    uint32_t *order; /* indices of tokens, by pattern */
    size_t count;
    uint32_t first[257]; /* of the patterns that begin with a byte, in `order` */
} pv_added_matcher;

typedef struct pv_added {
    const pv_allocator *allocator;
    pv_added_token *tokens; /* by id once sealed */
    size_t count, capacity;
    pv_bytes text;
    pv_added_matcher raw, normalized;
} pv_added;

void pv_added_init(pv_added *added, const pv_allocator *allocator);
void pv_added_free(pv_added *added);
/* Errors: PV_BAD_FILE (empty or too long), PV_OUT_OF_MEMORY. */
pv_status pv_added_put(pv_added *added, uint32_t id, const char *content, size_t length, unsigned flags, const char *file,
                       pv_error *error);
/* Sorts, once, when all are there, and normalizes the patterns that ask for it. Errors: PV_BAD_FILE (an id or a content twice),
 * PV_OUT_OF_MEMORY. */
pv_status pv_added_seal(pv_added *added, const pv_normalizer *normalizer, const char *file, pv_error *error);
/* NULL if the id is no added token. */
const pv_added_token *pv_added_get(const pv_added *added, uint32_t id);
/* By content; NULL if there is none. */
const pv_added_token *pv_added_find(const pv_added *added, const char *content, size_t length);

/* A search for added tokens in a text: where each stands, leftmost, then longest. */
typedef struct pv_added_search {
    const pv_added *added;
    const pv_added_matcher *matcher;
    bool control; /* control tokens are found */
    const char *text;
    size_t length;
    const pv_span *plain; /* control tokens that overlap one of these are not found */
    size_t plain_count;
    size_t offset;          /* of the text in what the spans refer to */
    const uint32_t *places; /* of each byte there, behind offset; NULL: the same as in the text */
    size_t at;              /* how far the text was searched */
    size_t start, end;      /* of the token found last, with the spaces that it strips */
} pv_added_search;

/* The next token; NULL if there is no more. */
const pv_added_token *pv_added_next(pv_added_search *search);
/* True if [start, end) and one of the spans, in order, have a byte in common. */
bool pv_spans_overlap(const pv_span *spans, size_t count, size_t start, size_t end);

#endif
