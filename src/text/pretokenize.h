/* Pre-tokenizers: a list of steps that cut text into words, each cutting further the pieces that the one before leaves. */
#ifndef PV_TEXT_PRETOKENIZE_H
#define PV_TEXT_PRETOKENIZE_H

#include "base/text.h"

#define PV_MAX_STEPS 16
#define PV_MAX_REGEX (16u << 10) /* bytes of a pattern */

/* ---- Patterns with a matcher of their own --------------------------------------------------------------------------- */

/* Finds the first match at or after `from` in text[0..length), valid UTF-8; false if there is none. */
typedef struct pv_pattern {
    const char *name;
    bool (*find)(const struct pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end);
    uint8_t letters;   /* classes that count as letters */
    uint8_t digits;    /* numbers a match may hold; 0: any many */
    bool slash;        /* a run of signs takes '/' behind it as it takes newlines */
    bool contractions; /* 's and the like are words, or end words */
    bool runs;         /* of punctuation, instead of one character */
} pv_pattern;

/* The matcher of a regular expression that is known, NULL if it is not. */
const pv_pattern *pv_pattern_find(const char *regex, size_t length);
/* Runs of word characters, and runs of what is neither that nor a space. Written as a regular expression, \w+|[^\w\s]+ has
 * other word characters. */
extern const pv_pattern pv_pattern_words;
/* All that are known, for tests: NULL past the last. */
const pv_pattern *pv_pattern_at(size_t index, const char **regex);

/* ---- Other regular expressions -------------------------------------------------------------------------------------- */

/* Patterns are in Oniguruma's syntax, as tokenizer.json has them. What reads otherwise in PCRE2 is translated or refused. */
pv_status pv_regex_translate(const char *pattern, size_t length, pv_bytes *out, pv_error *error);

typedef struct pv_regex pv_regex;
typedef struct pv_regex_scratch pv_regex_scratch; /* of one call */

/* `allocator` must outlive it. Errors: PV_UNSUPPORTED (names the feature), PV_BAD_FILE (no regular expression),
 * PV_OUT_OF_MEMORY. */
pv_status pv_regex_compile(const pv_allocator *allocator, const char *pattern, size_t length, pv_regex **regex,
                           pv_error *error);
void pv_regex_destroy(pv_regex *regex);
pv_regex_scratch *pv_regex_scratch_create(const pv_regex *regex);
void pv_regex_scratch_destroy(pv_regex_scratch *scratch);
/* As pv_pattern.find, with *found. Errors: PV_INVALID_ARGUMENT (the text asks for too much backtracking), PV_OUT_OF_MEMORY. */
pv_status pv_regex_find(const pv_regex *regex, pv_regex_scratch *scratch, const char *text, size_t length, size_t from,
                        bool *found, size_t *start, size_t *end, pv_error *error);

/* ---- Steps ---------------------------------------------------------------------------------------------------------- */

typedef enum pv_behavior { PV_REMOVED, PV_ISOLATED, PV_MERGED_WITH_PREVIOUS, PV_MERGED_WITH_NEXT, PV_CONTIGUOUS } pv_behavior;

typedef enum pv_prepend { PV_PREPEND_NEVER, PV_PREPEND_FIRST, PV_PREPEND_ALWAYS } pv_prepend;

/* One of pattern, regex, literal, mark and spells is set; none: the text stays whole. */
typedef struct pv_step {
    const pv_pattern *pattern;
    pv_regex *regex;
    char *literal;
    size_t literal_length;
    pv_behavior behavior;
    bool invert;       /* what lies between matches counts as the matches */
    bool spells;       /* bytes become the characters that spell them */
    bool prefix_space; /* a piece that does not begin with a space gets one */
    char mark[5];      /* stands for spaces; text is cut before each, if `cuts` */
    bool cuts;
    pv_prepend prepend; /* the mark, to a piece that does not begin with one; FIRST: where the text begins */
} pv_step;

typedef struct pv_pretokenizer {
    const pv_allocator *allocator;
    pv_step steps[PV_MAX_STEPS];
    size_t count;
    bool spells; /* one of the steps does: words come out spelled */
} pv_pretokenizer;

void pv_pretokenizer_init(pv_pretokenizer *pretokenizer, const pv_allocator *allocator);
void pv_pretokenizer_free(pv_pretokenizer *pretokenizer);
/* Each adds a step. Errors: PV_UNSUPPORTED (too many), PV_OUT_OF_MEMORY, and those of pv_regex_compile. */
pv_status pv_pretokenizer_regex(pv_pretokenizer *pretokenizer, const char *pattern, size_t length, pv_behavior behavior,
                                bool invert, pv_error *error);
pv_status pv_pretokenizer_literal(pv_pretokenizer *pretokenizer, const char *text, size_t length, pv_behavior behavior,
                                  bool invert, pv_error *error);
/* Cuts with GPT-2's pattern, or not at all. */
pv_status pv_pretokenizer_byte_level(pv_pretokenizer *pretokenizer, bool pattern, bool prefix_space, pv_error *error);
/* The steps that follow see, in the place of bytes, the characters that spell them: Ã© for é. Words are bytes again. */
pv_status pv_pretokenizer_spell(pv_pretokenizer *pretokenizer, pv_error *error);
/* Numbers one by one, or in runs. */
pv_status pv_pretokenizer_digits(pv_pretokenizer *pretokenizer, bool individual, pv_error *error);

/* Spaces become `mark`, a character. */
pv_status pv_pretokenizer_metaspace(pv_pretokenizer *pretokenizer, const char *mark, size_t length, pv_prepend prepend,
                                    bool cuts, pv_error *error);
/* Cuts at spaces, which are left out. */
pv_status pv_pretokenizer_spaces(pv_pretokenizer *pretokenizer, pv_error *error);
/* Keeps pv_pattern_words alone. */
pv_status pv_pretokenizer_words(pv_pretokenizer *pretokenizer, pv_error *error);
/* Punctuation character by character; in ASCII all signs are. */
pv_status pv_pretokenizer_punctuation(pv_pretokenizer *pretokenizer, pv_behavior behavior, pv_error *error);

/* The steps of a GGUF `tokenizer.ggml.pre`, and what else it stands for. */
typedef struct pv_gguf_pre {
    const char *name;
    const char *patterns[8]; /* regular expressions, NULL behind the last */
    const char *spelled[4];  /* more of them, which see the characters that spell bytes */
    bool nfc, ignore_merges;
    bool add_bos; /* unless the file says otherwise */
} pv_gguf_pre;
/* NULL if it is not known. */
const pv_gguf_pre *pv_gguf_pre_find(const char *name, size_t length);
/* Adds its steps. Errors: those of pv_pretokenizer_regex. */
pv_status pv_gguf_pre_add(const pv_gguf_pre *pre, pv_pretokenizer *pretokenizer, pv_error *error);

/* One call's working memory, and where the words go. */
typedef struct pv_pretokenize_run {
    const pv_pretokenizer *pretokenizer;
    pv_regex_scratch *scratch[PV_MAX_STEPS]; /* made when needed */
    pv_bytes made[PV_MAX_STEPS];             /* text that a step has changed */
    pv_bytes unspelled;                      /* a word */
    bool continues;                          /* the text goes on from what came before: nothing is put before it */
    bool first;                              /* the text is the first of all */
    pv_status (*word)(void *user, const char *word, size_t length, pv_error *error);
    void *user;
    pv_error *error;
} pv_pretokenize_run;

void pv_pretokenize_run_init(pv_pretokenize_run *run, const pv_pretokenizer *pretokenizer,
                             pv_status (*word)(void *user, const char *word, size_t length, pv_error *error), void *user,
                             pv_error *error);
void pv_pretokenize_run_free(pv_pretokenize_run *run);
/* Gives the words of text[0..length), valid and normalized, in order. Errors: those of pv_regex_find and of `word`. */
pv_status pv_pretokenize(pv_pretokenize_run *run, const char *text, size_t length);

#endif
