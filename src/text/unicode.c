#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"

/* C0 controls hold no class, but tab to carriage return are spaces. */
#define S PV_SPACE
#define E (PV_SPACE | PV_NEWLINE)
#define P PV_SIGN
#define N PV_NUMBER
#define U PV_UPPER
#define L PV_LOWER
const uint8_t pv_ascii_class[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, E, S, S, E, 0, 0, /* control */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* control */
    S, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, /*  !"#$%&'()*+,-./ */
    N, N, N, N, N, N, N, N, N, N, P, P, P, P, P, P, /* 0-9 :;<=>? */
    P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, /* @ A-O */
    U, U, U, U, U, U, U, U, U, U, U, P, P, P, P, P, /* P-Z [\]^_ */
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* ` a-o */
    L, L, L, L, L, L, L, L, L, L, L, P, P, P, P, 0, /* p-z {|}~ DEL */
};
#undef S
#undef E
#undef P
#undef N
#undef U
#undef L

/* The value of the range that holds a character; `otherwise` if none does. */
static int32_t look_up(const pv_unicode_range *ranges, size_t count, uint32_t code_point, int32_t otherwise)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].last < code_point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].first <= code_point ? ranges[low].value : otherwise;
}

#define LOOK_UP(table, code_point, otherwise) look_up(table, table##_count, code_point, otherwise)

uint8_t pv_unicode_class(uint32_t code_point)
{
    static const uint8_t by_category[] = {
        [UTF8PROC_CATEGORY_CN] = 0,         [UTF8PROC_CATEGORY_LU] = PV_UPPER,    [UTF8PROC_CATEGORY_LL] = PV_LOWER,
        [UTF8PROC_CATEGORY_LT] = PV_UPPER,  [UTF8PROC_CATEGORY_LM] = PV_CASELESS, [UTF8PROC_CATEGORY_LO] = PV_CASELESS,
        [UTF8PROC_CATEGORY_MN] = PV_MARK,   [UTF8PROC_CATEGORY_MC] = PV_MARK,     [UTF8PROC_CATEGORY_ME] = PV_MARK,
        [UTF8PROC_CATEGORY_ND] = PV_NUMBER, [UTF8PROC_CATEGORY_NL] = PV_NUMBER,   [UTF8PROC_CATEGORY_NO] = PV_NUMBER,
        [UTF8PROC_CATEGORY_PC] = PV_SIGN,   [UTF8PROC_CATEGORY_PD] = PV_SIGN,     [UTF8PROC_CATEGORY_PS] = PV_SIGN,
        [UTF8PROC_CATEGORY_PE] = PV_SIGN,   [UTF8PROC_CATEGORY_PI] = PV_SIGN,     [UTF8PROC_CATEGORY_PF] = PV_SIGN,
        [UTF8PROC_CATEGORY_PO] = PV_SIGN,   [UTF8PROC_CATEGORY_SM] = PV_SIGN,     [UTF8PROC_CATEGORY_SC] = PV_SIGN,
        [UTF8PROC_CATEGORY_SK] = PV_SIGN,   [UTF8PROC_CATEGORY_SO] = PV_SIGN,     [UTF8PROC_CATEGORY_ZS] = PV_SPACE,
        [UTF8PROC_CATEGORY_ZL] = PV_SPACE,  [UTF8PROC_CATEGORY_ZP] = PV_SPACE,    [UTF8PROC_CATEGORY_CC] = 0,
        [UTF8PROC_CATEGORY_CF] = 0,         [UTF8PROC_CATEGORY_CS] = 0,           [UTF8PROC_CATEGORY_CO] = 0,
    };
    if (code_point < 0x80) return pv_ascii_class[code_point];
    /* White_Space is Z, tab to carriage return, and NEL. */
    if (code_point == 0x85) return PV_SPACE;
    int category = utf8proc_get_property((utf8proc_int32_t)code_point)->category;
    return category == UTF8PROC_CATEGORY_CN ? (uint8_t)LOOK_UP(pv_unicode_classes, code_point, 0) : by_category[category];
}

bool pv_unicode_word(uint32_t code_point)
{
    /* Alphabetic that is neither L, M nor Nl: the circled and squared Latin letters. */
    static const uint32_t alphabetic_signs[][2] = {
        {0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
    if (code_point == 0x200c || code_point == 0x200d) return true;
    uint8_t class = pv_unicode_class(code_point);
    if (class & (PV_LETTER | PV_MARK)) return true;
    for (size_t i = 0; i < sizeof alphabetic_signs / sizeof *alphabetic_signs; i++)
        if (code_point >= alphabetic_signs[i][0] && code_point <= alphabetic_signs[i][1]) return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);
    if (category == UTF8PROC_CATEGORY_CN) return class & PV_NUMBER; /* those that are new are decimal digits */
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC;
}

size_t pv_utf8_valid(const char *text, size_t length)
{
    size_t at = 0;
    for (;;) {
        while (at + 8 <= length) {
            uint64_t eight;
            memcpy(&eight, text + at, 8);
            if (eight & 0x8080808080808080u) break;
            at += 8;
        }
        if (at == length) return at;
        uint32_t code_point;
        size_t bytes = pv_utf8_decode(text + at, length - at, &code_point);
        if (bytes == 0) return at;
        at += bytes;
    }
}

/* True if normalization leaves the character alone, whatever utf8proc knows of it. */
static bool is_inert(uint32_t code_point)
{
    return code_point >= 0x700 && LOOK_UP(pv_unicode_inert, code_point, 0) != 0;
}

/* Characters that stand unchanged in a form and never combine with what precedes them; what follows may combine with them.
 * Nothing below U+0300 combines with anything before it, but letters of Latin-1 fall apart in the forms D, and signs there
 * stand for others in the forms K. The blocks listed hold starters that are no second half of any canonical composition. */
static bool starts_segment(pv_form_name form, uint32_t code_point)
{
    static const struct {
        uint32_t first, last;
        bool in[4]; /* by form */
    } blocks[] = {
        {0x400, 0x482, {[PV_NFC] = true, [PV_NFKC] = true}},  /* Cyrillic */
        {0x2010, 0x2010, {true, true, true, true}},           /* dashes and quotation marks, */
        {0x2011, 0x2011, {[PV_NFC] = true, [PV_NFD] = true}}, /* some of which stand for others */
        {0x2012, 0x2016, {true, true, true, true}},
        {0x2017, 0x2017, {[PV_NFC] = true, [PV_NFD] = true}},
        {0x2018, 0x2023, {true, true, true, true}},
        {0x2024, 0x2026, {[PV_NFC] = true, [PV_NFD] = true}},
        {0x3001, 0x3029, {true, true, true, true}},            /* punctuation of Chinese and Japanese */
        {0x3041, 0x3096, {[PV_NFC] = true, [PV_NFKC] = true}}, /* Hiragana */
        {0x30a1, 0x30fa, {[PV_NFC] = true, [PV_NFKC] = true}}, /* Katakana */
        {0x4e00, 0x9fff, {true, true, true, true}},            /* Chinese characters */
        {0xac00, 0xd7a3, {[PV_NFC] = true, [PV_NFKC] = true}}, /* Hangul syllables */
        {0xff01, 0xff5e, {[PV_NFC] = true, [PV_NFD] = true}},  /* full-width ASCII */
        {0x1f300, 0x1faff, {true, true, true, true}},          /* pictographs */
    };
    if (code_point < 0x80) return true;
    if (code_point < 0x300) return form == PV_NFC;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks && code_point >= blocks[i].first; i++)
        if (code_point <= blocks[i].last) return blocks[i].in[form];
    return is_inert(code_point);
}

bool pv_unicode_is_normal(pv_form_name form, const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        at += pv_utf8_step(text + at, &code_point);
        if (!starts_segment(form, code_point)) return false;
    }
    return true;
}

/* A segment's decomposition, in code points. */
typedef struct segment {
    const pv_allocator *allocator;
    pv_form_name form;
    int32_t *points, *spare; /* spare: for the sort, as large */
    size_t count, capacity, spare_capacity;
} segment;

/* No canonical decomposition of one character is longer than 4, no other longer than 18. */
#define MAX_DECOMPOSITION 32

static bool decompose(segment *made, const char *text, size_t length)
{
    made->count = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        at += pv_utf8_step(text + at, &code_point);
        if (!pv_grow(made->allocator, (void **)&made->points, &made->capacity, made->count + MAX_DECOMPOSITION,
                     sizeof(int32_t)))
            return false;
        int boundary = 0, options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
        if (made->form == PV_NFKC || made->form == PV_NFKD) options |= UTF8PROC_COMPAT;
        utf8proc_ssize_t added = -1;
        if (!is_inert(code_point))
            added = utf8proc_decompose_char((utf8proc_int32_t)code_point, made->points + made->count, MAX_DECOMPOSITION,
                                            (utf8proc_option_t)options, &boundary);
        if (added < 0 || added > MAX_DECOMPOSITION) {
            made->points[made->count++] = (int32_t)code_point;
        } else {
            made->count += (size_t)added;
        }
    }
    return true;
}

static uint8_t combining_class(int32_t code_point)
{
    return is_inert((uint32_t)code_point) ? 0 : (uint8_t)utf8proc_get_property(code_point)->combining_class;
}

/* Sorts a run of marks by combining class, keeping the order of equals; linear, for text may hold a million marks in a row. */
static bool order_marks(segment *made, size_t first, size_t count)
{
    int32_t *run = made->points + first;
    if (count <= 16) {
        for (size_t i = 1; i < count; i++) {
            int32_t mark = run[i];
            size_t j = i;
            for (; j > 0 && combining_class(run[j - 1]) > combining_class(mark); j--) run[j] = run[j - 1];
            run[j] = mark;
        }
        return true;
    }
    size_t starts[257] = {0};
    if (!pv_grow(made->allocator, (void **)&made->spare, &made->spare_capacity, count, sizeof(int32_t))) return false;
    for (size_t i = 0; i < count; i++) starts[combining_class(run[i]) + 1]++;
    for (size_t i = 1; i < 257; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; i < count; i++) made->spare[starts[combining_class(run[i])]++] = run[i];
    memcpy(run, made->spare, count * sizeof *run);
    return true;
}

static bool order_segment(segment *made)
{
    for (size_t at = 0; at < made->count;) {
        size_t end = at;
        while (end < made->count && combining_class(made->points[end]) != 0) end++;
        if (end - at > 1 && !order_marks(made, at, end - at)) return false;
        at = end + 1;
    }
    return true;
}

static void put_segment(segment *made, const char *text, size_t length, pv_bytes *out)
{
    if (!decompose(made, text, length) || !order_segment(made)) {
        out->failed = true;
        return;
    }
    utf8proc_ssize_t count = (utf8proc_ssize_t)made->count;
    if (made->form == PV_NFC || made->form == PV_NFKC)
        count = utf8proc_normalize_utf32(made->points, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        char character[4];
        pv_bytes_add(out, character, pv_utf8_encode((uint32_t)made->points[i], character));
    }
}

void pv_unicode_normalize(pv_form_name form, const char *text, size_t length, pv_bytes *out)
{
    segment made = {.allocator = out->allocator, .form = form};
    size_t plain = 0, start = 0; /* text[plain..start) is copied as it is; a segment begins at start */
    bool open = false;           /* the segment holds a character that does not stand for itself */
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t bytes = pv_utf8_step(text + at, &code_point);
        if (starts_segment(form, code_point)) {
            if (open) {
                pv_bytes_add(out, text + plain, start - plain);
                put_segment(&made, text + start, at - start, out);
                plain = at;
            }
            start = at;
            open = false;
        } else {
            open = true;
        }
        at += bytes;
    }
    pv_bytes_add(out, text + plain, (open ? start : length) - plain);
    if (open) put_segment(&made, text + start, length - start, out);
    pv_free(out->allocator, made.points);
    pv_free(out->allocator, made.spare);
}

void pv_unicode_lower(const char *text, size_t length, pv_bytes *out)
{
    size_t plain = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code_point, lower;
        char character[4];
        size_t bytes = pv_utf8_step(text + at, &code_point);
        if (code_point < 0x80)
            lower = code_point >= 'A' && code_point <= 'Z' ? code_point | 0x20 : code_point;
        else
            lower = (uint32_t)(utf8proc_tolower((utf8proc_int32_t)code_point) + LOOK_UP(pv_unicode_lowers, code_point, 0));
        if (lower != code_point) {
            pv_bytes_add(out, text + plain, at - plain);
            pv_bytes_add(out, character, pv_utf8_encode(lower, character));
            if (code_point == 0x130) pv_bytes_add(out, "\xcc\x87", 2); /* the one letter that becomes two characters */
            plain = at + bytes;
        }
        at += bytes;
    }
    pv_bytes_add(out, text + plain, length - plain);
}

bool pv_unicode_mark(uint32_t code_point)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);
    bool mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
    return code_point >= 0x300 && LOOK_UP(pv_unicode_marks, code_point, mark) != 0;
}

bool pv_unicode_nonspacing(uint32_t code_point)
{
    bool nonspacing = utf8proc_category((utf8proc_int32_t)code_point) == UTF8PROC_CATEGORY_MN;
    return code_point >= 0x300 && LOOK_UP(pv_unicode_accents, code_point, nonspacing) != 0;
}

bool pv_unicode_punctuation(uint32_t code_point)
{
    if (code_point < 0x80) return pv_ascii_class[code_point] & PV_SIGN;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);
    return LOOK_UP(pv_unicode_punctuations, code_point, category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) !=
           0;
}

bool pv_unicode_goes_on(uint32_t code_point)
{
    return code_point >= 0x300 && LOOK_UP(pv_unicode_joins, code_point, 0) != 0;
}

bool pv_unicode_other(uint32_t code_point)
{
    if (code_point == '\t' || code_point == '\n' || code_point == '\r') return false;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);
    bool other = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
    return LOOK_UP(pv_unicode_others, code_point, other) != 0;
}
