/* Normalizers: a list of steps that rewrite text before it is cut into words. */
#ifndef PV_TEXT_NORMALIZE_H
#define PV_TEXT_NORMALIZE_H

#include "text/charsmap.h"
#include "text/pretokenize.h"

typedef enum pv_normal_kind {
    PV_NORMAL_NFC, /* in the order of pv_form_name */
    PV_NORMAL_NFD,
    PV_NORMAL_NFKC,
    PV_NORMAL_NFKD,
    PV_NORMAL_LOWERCASE,
    PV_NORMAL_STRIP,           /* spaces at the ends */
    PV_NORMAL_STRIP_MARKS,     /* M is left out */
    PV_NORMAL_STRIP_ACCENTS,   /* Mn is left out */
    PV_NORMAL_NMT,             /* controls are left out, kinds of spaces become spaces */
    PV_NORMAL_CLEAN,           /* the same as BERT does it */
    PV_NORMAL_SPACE_CHINESE,   /* a space on both sides of Chinese characters */
    PV_NORMAL_COLLAPSE_SPACES, /* runs become one, none at the ends */
    PV_NORMAL_REPLACE,
    PV_NORMAL_PREPEND,
    PV_NORMAL_CHARSMAP,
} pv_normal_kind;

typedef struct pv_normal_step {
    pv_normal_kind kind;
    bool left, right; /* STRIP */
    bool shortest;    /* CHARSMAP */
    char *pattern;    /* REPLACE, unless there is a regex */
    size_t pattern_length;
    pv_regex *regex; /* REPLACE */
    char *content;   /* REPLACE, PREPEND */
    size_t content_length;
    pv_charsmap map; /* CHARSMAP */
} pv_normal_step;

typedef struct pv_normalizer {
    const pv_allocator *allocator;
    pv_normal_step steps[PV_MAX_STEPS];
    size_t count;
} pv_normalizer;

void pv_normalizer_init(pv_normalizer *normalizer, const pv_allocator *allocator);
void pv_normalizer_free(pv_normalizer *normalizer);
#define PV_NORMAL_MAX_CONTENT 256 /* bytes put in the place of a match, or before a text */
#define PV_NORMAL_GROWTH 64       /* times as long a text may become, and a text of a few bytes as one of 1,000 */
/* Each adds a step. Errors: PV_UNSUPPORTED (too many), PV_OUT_OF_MEMORY, and those of pv_regex_compile and pv_charsmap_read. */
pv_status pv_normalizer_add(pv_normalizer *normalizer, pv_normal_kind kind, pv_normal_step **step, pv_error *error);
pv_status pv_normalizer_replace(pv_normalizer *normalizer, bool is_regex, const char *pattern, size_t pattern_length,
                                const char *content, size_t content_length, pv_error *error);
pv_status pv_normalizer_prepend(pv_normalizer *normalizer, const char *content, size_t length, pv_error *error);

/* True if each step puts known text before or in the place of known text, so that places can be followed through it. */
bool pv_normalizer_keeps_places(const pv_normalizer *normalizer);
/* For such a normalizer: where each byte of the normalized text comes from in text[0..length); NULL if memory runs out. To be
 * freed with pv_free. `continues` as below. */
uint32_t *pv_normalize_places(const pv_normalizer *normalizer, bool continues, const char *text, size_t length, size_t *count);

/* One call's working memory. */
typedef struct pv_normalize_run {
    const pv_normalizer *normalizer;
    pv_regex_scratch *scratch[PV_MAX_STEPS]; /* made when needed */
    pv_bytes text[2];
    size_t most;    /* bytes that the text may have */
    bool continues; /* the text goes on from what came before: nothing is put before it */
} pv_normalize_run;

void pv_normalize_run_init(pv_normalize_run *run, const pv_normalizer *normalizer);
void pv_normalize_run_free(pv_normalize_run *run);
/* text[0..length), valid UTF-8, normalized: *out is the text itself or the run's until the next call.
 * Errors: PV_OUT_OF_MEMORY, PV_INVALID_ARGUMENT (it grows beyond 2^31 bytes or PV_NORMAL_GROWTH), those of pv_regex_find. */
pv_status pv_normalize(pv_normalize_run *run, const char *text, size_t length, const char **out, size_t *out_length,
                       pv_error *error);

#endif
