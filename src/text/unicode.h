/* What tokenizers need of Unicode: character classes, fast steps over text known to be valid, and canonical composition. */
#ifndef PV_TEXT_UNICODE_H
#define PV_TEXT_UNICODE_H

#include "base/text.h"

/* A character's classes, by general category. */
enum {
    PV_UPPER = 1,    /* Lu, Lt */
    PV_LOWER = 2,    /* Ll */
    PV_CASELESS = 4, /* Lm, Lo */
    PV_MARK = 8,     /* M */
    PV_NUMBER = 16,  /* N */
    PV_SPACE = 32,   /* the White_Space property, which \s means */
    PV_NEWLINE = 64, /* \r, \n */
    PV_SIGN = 128,   /* P, S */
    PV_LETTER = PV_UPPER | PV_LOWER | PV_CASELESS,
};

/* Where what models were trained with knows another Unicode than utf8proc: ranges in order, in unicode_tables.c. */
typedef struct pv_unicode_range {
    uint32_t first, last;
    int32_t value;
} pv_unicode_range;
/* A general category by its two letters. */
#define PV_CATEGORY(first, second) ((first) << 8 | (second))
extern const pv_unicode_range pv_unicode_newer[], pv_unicode_classes[], pv_unicode_inert[], pv_unicode_punctuations[],
    pv_unicode_accents[], pv_unicode_marks[], pv_unicode_others[], pv_unicode_lowers[], pv_unicode_joins[];
extern const size_t pv_unicode_newer_count, pv_unicode_classes_count, pv_unicode_inert_count, pv_unicode_punctuations_count,
    pv_unicode_accents_count, pv_unicode_marks_count, pv_unicode_others_count, pv_unicode_lowers_count, pv_unicode_joins_count;

extern const uint8_t pv_ascii_class[128];
uint8_t pv_unicode_class(uint32_t code_point);
/* \w as Unicode recommends it: Alphabetic, M, Nd, Pc and the two joiners. */
bool pv_unicode_word(uint32_t code_point);

/* Decodes the character at `text`, which must be the first byte of a valid one; returns its bytes. */
static inline size_t pv_utf8_step(const char *text, uint32_t *code_point)
{
    const uint8_t *byte = (const uint8_t *)text;
    if (byte[0] < 0x80) {
        *code_point = byte[0];
        return 1;
    }
    if (byte[0] < 0xe0) {
        *code_point = (byte[0] & 0x1fu) << 6 | (byte[1] & 0x3fu);
        return 2;
    }
    if (byte[0] < 0xf0) {
        *code_point = (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
        return 3;
    }
    *code_point = (byte[0] & 0x07u) << 18 | (byte[1] & 0x3fu) << 12 | (byte[2] & 0x3fu) << 6 | (byte[3] & 0x3fu);
    return 4;
}

/* The class of the character at `text`, valid as above, and its bytes. */
static inline uint8_t pv_utf8_class(const char *text, size_t *bytes)
{
    uint8_t first = (uint8_t)text[0];
    if (first < 0x80) {
        *bytes = 1;
        return pv_ascii_class[first];
    }
    uint32_t code_point;
    *bytes = pv_utf8_step(text, &code_point);
    return pv_unicode_class(code_point);
}

/* Where the character that ends before text[at] begins; at > 0, the text is valid. */
static inline size_t pv_utf8_back(const char *text, size_t at)
{
    do at--;
    while (at > 0 && ((uint8_t)text[at] & 0xc0) == 0x80);
    return at;
}

/* How many of the first bytes are valid UTF-8. */
size_t pv_utf8_valid(const char *text, size_t length);

typedef enum pv_form_name { PV_NFC, PV_NFD, PV_NFKC, PV_NFKD } pv_form_name;
/* Appends text[0..length), valid UTF-8, in a normalization form. Check out->failed. */
void pv_unicode_normalize(pv_form_name form, const char *text, size_t length, pv_bytes *out);
/* True if the text is certain to be in that form already; false says nothing. */
bool pv_unicode_is_normal(pv_form_name form, const char *text, size_t length);
/* Appends the text in lower case, character by character: no context decides. */
void pv_unicode_lower(const char *text, size_t length, pv_bytes *out);
/* M and Mn, as normalizers that strip them see it. */
bool pv_unicode_mark(uint32_t code_point);
bool pv_unicode_nonspacing(uint32_t code_point);
/* P, and in ASCII S too. */
bool pv_unicode_punctuation(uint32_t code_point);
/* True if the character goes on the grapheme before it although utf8proc does not know it. */
bool pv_unicode_goes_on(uint32_t code_point);
/* Cc, Cf, Co; tab and newlines are spaces instead. */
bool pv_unicode_other(uint32_t code_point);

#endif
