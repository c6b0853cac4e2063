#include "text/normalize.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/unicode.h"

#define MAX_NORMAL ((size_t)1 << 31)

void pv_normalizer_init(pv_normalizer *normalizer, const pv_allocator *allocator)
{
    *normalizer = (pv_normalizer){.allocator = allocator};
}

void pv_normalizer_free(pv_normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        pv_normal_step *step = &normalizer->steps[i];
        pv_regex_destroy(step->regex);
        pv_free(normalizer->allocator, step->pattern);
        pv_free(normalizer->allocator, step->content);
        if (step->kind == PV_NORMAL_CHARSMAP) pv_charsmap_free(&step->map);
    }
    pv_normalizer_init(normalizer, normalizer->allocator);
}

pv_status pv_normalizer_add(pv_normalizer *normalizer, pv_normal_kind kind, pv_normal_step **step, pv_error *error)
{
    if (normalizer->count == PV_MAX_STEPS)
        return pv_fail(error, PV_UNSUPPORTED, "the normalizer has more than %d steps", PV_MAX_STEPS);
    *step = &normalizer->steps[normalizer->count++];
    **step = (pv_normal_step){.kind = kind};
    if (kind == PV_NORMAL_CHARSMAP) pv_charsmap_init(&(*step)->map, normalizer->allocator);
    return PV_OK;
}

static pv_status keep_content(const pv_normalizer *normalizer, pv_normal_step *step, const char *content, size_t length,
                              pv_error *error)
{
    if (length > PV_NORMAL_MAX_CONTENT)
        return pv_fail(error, PV_UNSUPPORTED, "the normalizer puts in %zu bytes, more than %u", length, PV_NORMAL_MAX_CONTENT);
    step->content = pv_copy_string(normalizer->allocator, content, length);
    step->content_length = length;
    return step->content ? PV_OK : pv_fail_memory(error, length, "a normalizer");
}

pv_status pv_normalizer_replace(pv_normalizer *normalizer, bool is_regex, const char *pattern, size_t pattern_length,
                                const char *content, size_t content_length, pv_error *error)
{
    pv_normal_step *step = NULL;
    if (pattern_length == 0) return pv_fail(error, PV_UNSUPPORTED, "the normalizer replaces an empty string");
    pv_status status = pv_normalizer_add(normalizer, PV_NORMAL_REPLACE, &step, error);
    if (status == PV_OK) status = keep_content(normalizer, step, content, content_length, error);
    if (status != PV_OK) return status;
    if (is_regex) return pv_regex_compile(normalizer->allocator, pattern, pattern_length, &step->regex, error);
    step->pattern = pv_copy_string(normalizer->allocator, pattern, pattern_length);
    step->pattern_length = pattern_length;
    return step->pattern ? PV_OK : pv_fail_memory(error, pattern_length, "a normalizer");
}

pv_status pv_normalizer_prepend(pv_normalizer *normalizer, const char *content, size_t length, pv_error *error)
{
    pv_normal_step *step = NULL;
    pv_status status = pv_normalizer_add(normalizer, PV_NORMAL_PREPEND, &step, error);
    return status == PV_OK ? keep_content(normalizer, step, content, length, error) : status;
}

/* ---- Characters ----------------------------------------------------------------------------------------------------- */

/* What becomes of a character: itself, nothing, a space, or itself between spaces. */
typedef enum fate { KEPT, DROPPED, SPACED, SURROUNDED } fate;

static fate without_marks(uint32_t c)
{
    return pv_unicode_mark(c) ? DROPPED : KEPT;
}

static fate without_accents(uint32_t c)
{
    return pv_unicode_nonspacing(c) ? DROPPED : KEPT;
}

static fate cleaned_for_translation(uint32_t c)
{
    if ((c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return DROPPED;
    if (c == '\t' || c == '\n' || c == 0x0c || c == '\r' || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
        c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
        return SPACED;
    return KEPT;
}

static fate cleaned(uint32_t c)
{
    if (c >= 0x20 && c < 0x7f) return KEPT;
    if (c == 0 || c == 0xfffd || pv_unicode_other(c)) return DROPPED;
    return pv_unicode_class(c) & PV_SPACE ? SPACED : KEPT;
}

/* Unified ideographs, without kana and Hangul: the list of BERT. */
static fate surrounded(uint32_t c)
{
    static const uint32_t blocks[][2] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
                                         {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks && c >= blocks[i][0]; i++)
        if (c <= blocks[i][1]) return SURROUNDED;
    return KEPT;
}

static void by_character(fate (*decide)(uint32_t c), const char *text, size_t length, pv_bytes *out)
{
    size_t plain = 0; /* text[plain..at) is copied as it is */
    for (size_t at = 0, bytes; at < length; at += bytes) {
        uint32_t code_point;
        bytes = pv_utf8_step(text + at, &code_point);
        fate what = decide(code_point);
        if (what == KEPT) continue;
        pv_bytes_add(out, text + plain, at - plain);
        plain = at + bytes;
        if (what == DROPPED) continue;
        pv_bytes_add(out, " ", 1);
        if (what == SPACED) continue;
        pv_bytes_add(out, text + at, bytes);
        pv_bytes_add(out, " ", 1);
    }
    pv_bytes_add(out, text + plain, length - plain);
}

/* ---- Steps ---------------------------------------------------------------------------------------------------------- */

static void strip(const pv_normal_step *step, const char **text, size_t *length)
{
    size_t start = 0, end = *length, bytes;
    while (step->left && start < end && (pv_utf8_class(*text + start, &bytes) & PV_SPACE)) start += bytes;
    while (step->right && end > start) {
        size_t last = pv_utf8_back(*text, end);
        if (!(pv_utf8_class(*text + last, &bytes) & PV_SPACE)) break;
        end = last;
    }
    *text += start;
    *length = end - start;
}

static void collapse_spaces(const char *text, size_t length, pv_bytes *out)
{
    for (size_t at = 0; at < length;) {
        while (at < length && text[at] == ' ') at++;
        size_t start = at;
        while (at < length && text[at] != ' ') at++;
        if (at > start && out->length > 0) pv_bytes_add(out, " ", 1);
        pv_bytes_add(out, text + start, at - start);
    }
}

static void replace_character(const pv_normal_step *step, const char *text, size_t length, size_t most, pv_bytes *out)
{
    for (size_t at = 0; at < length && out->length <= most;) {
        const char *hit = memchr(text + at, step->pattern[0], length - at);
        size_t end = hit ? (size_t)(hit - text) : length;
        pv_bytes_add(out, text + at, end - at);
        if (hit) pv_bytes_add(out, step->content, step->content_length);
        at = end + 1;
    }
}

static void replace_text(const pv_normal_step *step, const char *text, size_t length, size_t most, pv_bytes *out)
{
    size_t at = 0;
    for (const char *hit;
         out->length <= most && (hit = memmem(text + at, length - at, step->pattern, step->pattern_length)) != NULL;) {
        size_t found = (size_t)(hit - text);
        pv_bytes_add(out, text + at, found - at);
        pv_bytes_add(out, step->content, step->content_length);
        at = found + step->pattern_length;
    }
    pv_bytes_add(out, text + at, length - at);
}

static pv_status replace_regex(pv_normalize_run *run, size_t index, const char *text, size_t length, pv_bytes *out,
                               pv_error *error)
{
    const pv_normal_step *step = &run->normalizer->steps[index];
    size_t done = 0, from = 0, start, end;
    bool found = true;
    if (!run->scratch[index]) run->scratch[index] = pv_regex_scratch_create(step->regex);
    if (!run->scratch[index]) return pv_fail_memory(error, sizeof(void *), "matching a pattern");
    while (from <= length && out->length <= run->most) {
        pv_status status = pv_regex_find(step->regex, run->scratch[index], text, length, from, &found, &start, &end, error);
        if (status != PV_OK) return status;
        if (!found) break;
        pv_bytes_add(out, text + done, start - done);
        pv_bytes_add(out, step->content, step->content_length);
        done = from = end;
        if (start == end) { /* an empty match: the search goes on behind the next character */
            uint32_t code_point;
            if (from == length) break;
            from += pv_utf8_step(text + from, &code_point);
        }
    }
    pv_bytes_add(out, text + done, length - done);
    return PV_OK;
}

static pv_status apply(pv_normalize_run *run, size_t index, const char *text, size_t length, pv_bytes *out, pv_error *error)
{
    const pv_normal_step *step = &run->normalizer->steps[index];
    switch (step->kind) {
    case PV_NORMAL_NFC:
    case PV_NORMAL_NFD:
    case PV_NORMAL_NFKC:
    case PV_NORMAL_NFKD: pv_unicode_normalize((pv_form_name)step->kind, text, length, out); break;
    case PV_NORMAL_LOWERCASE: pv_unicode_lower(text, length, out); break;
    case PV_NORMAL_STRIP: break; /* moves no byte */
    case PV_NORMAL_STRIP_MARKS: by_character(without_marks, text, length, out); break;
    case PV_NORMAL_STRIP_ACCENTS: by_character(without_accents, text, length, out); break;
    case PV_NORMAL_NMT: by_character(cleaned_for_translation, text, length, out); break;
    case PV_NORMAL_CLEAN: by_character(cleaned, text, length, out); break;
    case PV_NORMAL_SPACE_CHINESE: by_character(surrounded, text, length, out); break;
    case PV_NORMAL_COLLAPSE_SPACES: collapse_spaces(text, length, out); break;
    case PV_NORMAL_REPLACE:
        if (step->regex) return replace_regex(run, index, text, length, out, error);
        (step->pattern_length == 1 ? replace_character : replace_text)(step, text, length, run->most, out);
        break;
    case PV_NORMAL_PREPEND:
        pv_bytes_add(out, step->content, step->content_length);
        pv_bytes_add(out, text, length);
        break;
    case PV_NORMAL_CHARSMAP: pv_charsmap_apply(&step->map, step->shortest, text, length, run->most, out); break;
    }
    return PV_OK;
}

/* True if the step is certain to leave the text as it is. */
static bool is_idle(const pv_normal_step *step, const char *text, size_t length)
{
    if (length == 0) return true; /* nothing is put before nothing, either */
    if (step->kind <= PV_NORMAL_NFKD) return pv_unicode_is_normal((pv_form_name)step->kind, text, length);
    if (step->kind == PV_NORMAL_REPLACE && step->pattern_length == 1) return !memchr(text, step->pattern[0], length);
    return false;
}

/* ---- Places --------------------------------------------------------------------------------------------------------- */

bool pv_normalizer_keeps_places(const pv_normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        const pv_normal_step *step = &normalizer->steps[i];
        if (step->kind != PV_NORMAL_PREPEND && (step->kind != PV_NORMAL_REPLACE || step->regex)) return false;
    }
    return true;
}

/* A text, and for each of its bytes a place. */
typedef struct placed {
    pv_bytes text, places; /* places: uint32_t */
} placed;

static void put_placed(placed *out, const char *text, size_t length, const char *places, bool one)
{
    pv_bytes_add(&out->text, text, length);
    if (one)
        for (size_t i = 0; i < length; i++) pv_bytes_add(&out->places, places, sizeof(uint32_t));
    else
        pv_bytes_add(&out->places, places, length * sizeof(uint32_t));
}

static void place_step(const pv_normal_step *step, const placed *in, placed *out)
{
    const char *text = in->text.data, *places = in->places.data;
    size_t at = 0, length = in->text.length;
    if (step->kind == PV_NORMAL_PREPEND) {
        put_placed(out, step->content, step->content_length, places, true);
    } else {
        for (const char *hit; (hit = memmem(text + at, length - at, step->pattern, step->pattern_length)) != NULL;) {
            size_t found = (size_t)(hit - text);
            put_placed(out, text + at, found - at, places + at * sizeof(uint32_t), false);
            put_placed(out, step->content, step->content_length, places + found * sizeof(uint32_t), true);
            at = found + step->pattern_length;
        }
    }
    put_placed(out, text + at, length - at, places + at * sizeof(uint32_t), false);
}

uint32_t *pv_normalize_places(const pv_normalizer *normalizer, bool continues, const char *text, size_t length, size_t *count)
{
    placed turn[2];
    unsigned now = 0;
    for (size_t i = 0; i < 2; i++) {
        pv_bytes_init(&turn[i].text, normalizer->allocator);
        pv_bytes_init(&turn[i].places, normalizer->allocator);
    }
    pv_bytes_add(&turn[0].text, text, length);
    for (uint32_t i = 0; i < length; i++) pv_bytes_add(&turn[0].places, &i, sizeof i);
    bool failed = turn[0].text.failed || turn[0].places.failed;
    for (size_t i = 0; i < normalizer->count && !failed && turn[now].text.length > 0; i++) {
        placed *next = &turn[1 - now];
        if (normalizer->steps[i].kind == PV_NORMAL_PREPEND && continues) continue;
        next->text.length = next->places.length = 0;
        place_step(&normalizer->steps[i], &turn[now], next);
        failed = next->text.failed || next->places.failed;
        now = 1 - now;
    }
    uint32_t *places = failed ? NULL : pv_alloc(normalizer->allocator, turn[now].text.length + 1, sizeof *places);
    *count = turn[now].text.length;
    if (places && *count > 0) memcpy(places, turn[now].places.data, *count * sizeof *places);
    for (size_t i = 0; i < 2; i++) {
        pv_bytes_free(&turn[i].text);
        pv_bytes_free(&turn[i].places);
    }
    return places;
}

void pv_normalize_run_init(pv_normalize_run *run, const pv_normalizer *normalizer)
{
    *run = (pv_normalize_run){.normalizer = normalizer};
    pv_bytes_init(&run->text[0], normalizer->allocator);
    pv_bytes_init(&run->text[1], normalizer->allocator);
}

void pv_normalize_run_free(pv_normalize_run *run)
{
    for (size_t i = 0; i < PV_MAX_STEPS; i++) pv_regex_scratch_destroy(run->scratch[i]);
    pv_bytes_free(&run->text[0]);
    pv_bytes_free(&run->text[1]);
}

pv_status pv_normalize(pv_normalize_run *run, const char *text, size_t length, const char **out, size_t *out_length,
                       pv_error *error)
{
    unsigned turn = 0;
    run->most = pv_min_size(MAX_NORMAL, PV_NORMAL_GROWTH * (length + 1000));
    for (size_t i = 0; i < run->normalizer->count; i++) {
        const pv_normal_step *step = &run->normalizer->steps[i];
        if (is_idle(step, text, length) || (step->kind == PV_NORMAL_PREPEND && run->continues)) continue;
        if (step->kind == PV_NORMAL_STRIP) {
            strip(step, &text, &length);
            continue;
        }
        pv_bytes *next = &run->text[turn];
        next->length = 0;
        pv_status status = apply(run, i, text, length, next, error);
        if (status != PV_OK) return status;
        if (next->failed) return pv_fail_memory(error, length, "normalizing text");
        if (next->length > run->most)
            return pv_fail(error, PV_INVALID_ARGUMENT, "the text has %zu bytes or more once it is normalized, more than %zu",
                           next->length, run->most);
        text = next->data ? next->data : "";
        length = next->length;
        turn ^= 1;
    }
    *out = text;
    *out_length = length;
    return PV_OK;
}
