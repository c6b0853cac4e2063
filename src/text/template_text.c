/* What string methods and filters do to text; marks go where their bytes go. */
#include "text/template_eval.h"

#include <string.h>

#include "base/checked.h"
#include "text/template_unicode.h"

/* The character at `at`; its bytes, never 0. */
static size_t decode(const tmpl_string *text, size_t at, uint32_t *c)
{
    size_t bytes = pv_utf8_decode(text->data + at, text->length - at, c);
    if (bytes) return bytes;
    *c = (unsigned char)text->data[at];
    return 1;
}

/* Where the character before `end` starts. */
static size_t step_back(const tmpl_string *text, size_t end)
{
    do end--;
    while (end && ((unsigned char)text->data[end] & 0xc0) == 0x80);
    return end;
}

/* ---- Strip ---- */

/* Whole characters match only at whole characters, so bytes may be searched. */
static bool in_set(tmpl_run *run, const tmpl_string *set, const char *data, size_t bytes, uint32_t c)
{
    run->steps++;
    if (!set) return run->steps <= PV_TEMPLATE_MAX_STEPS && tmpl_is_space(c);
    run->steps += 1 + set->length / (bytes == 1 ? TMPL_BYTES_PER_STEP : TMPL_BYTES_PER_SLOW_STEP);
    if (run->steps > PV_TEMPLATE_MAX_STEPS) return false;
    return bytes == 1 ? memchr(set->data, data[0], set->length) != NULL : memmem(set->data, set->length, data, bytes) != NULL;
}

pv_status tmpl_strip(tmpl_run *run, const tmpl_string *text, const tmpl_string *characters, bool left, bool right,
                     tmpl_value *out)
{
    size_t from = 0, to = text->length, bytes;
    uint32_t c;
    while (left && from < to) {
        bytes = decode(text, from, &c);
        if (!in_set(run, characters, text->data + from, bytes, c)) break;
        from += bytes;
    }
    while (right && to > from) {
        size_t last = step_back(text, to);
        decode(text, last, &c);
        if (!in_set(run, characters, text->data + last, to - last, c)) break;
        to = last;
    }
    pv_status status = tmpl_charge_bytes(run, text->length - (to - from));
    return status == PV_OK ? tmpl_substring(run, text, from, to, out) : status;
}

/* ---- Replace ---- */

/* An empty `old` stands before every character and at the end. */
static pv_status replace_nothing(tmpl_run *run, const tmpl_string *text, const tmpl_string *fresh, int64_t count,
                                 tmpl_builder *builder)
{
    size_t at = 0;
    uint32_t c;
    (void)run;
    while (builder->status == PV_OK) {
        if (count-- == 0) break;
        tmpl_add_string(builder, fresh);
        if (at == text->length) return builder->status;
        size_t bytes = decode(text, at, &c);
        tmpl_add_part(builder, text, at, at + bytes);
        at += bytes;
    }
    tmpl_add_part(builder, text, at, text->length);
    return builder->status;
}

pv_status tmpl_replace(tmpl_run *run, tmpl_string *text, tmpl_string *old, tmpl_string *fresh, int64_t count, bool safe,
                       tmpl_value *out)
{
    tmpl_builder builder;
    size_t done = 0, at;
    pv_status status = PV_OK;
    tmpl_builder_init(&builder, run);
    builder.safe = safe;
    if (!old->length) {
        replace_nothing(run, text, fresh, count, &builder);
        return tmpl_finish(&builder, out);
    }
    while (count-- != 0 && builder.status == PV_OK) {
        if ((status = tmpl_find(run, text, old, done, &at)) != PV_OK) return status;
        if (at == SIZE_MAX) break;
        tmpl_add_part(&builder, text, done, at);
        tmpl_add_string(&builder, fresh);
        done = at + old->length;
    }
    tmpl_add_part(&builder, text, done, text->length);
    return tmpl_finish(&builder, out);
}

/* ---- Case ---- */

static bool is_cased(uint32_t c)
{
    return tmpl_is_upper(c) || tmpl_is_lower(c) || tmpl_is_title(c);
}

/* Σ ends a word: a letter before it, none behind it. */
static bool is_final_sigma(const tmpl_string *text, size_t at, size_t next)
{
    uint32_t c;
    if (at == 0) return false;
    decode(text, step_back(text, at), &c);
    if (!is_cased(c)) return false;
    if (next >= text->length) return true;
    decode(text, next, &c);
    return !is_cased(c);
}

static void add_mapped(tmpl_builder *builder, uint32_t c, tmpl_case to, bool marked)
{
    uint32_t mapped[3];
    int count = tmpl_map_case(c, to, mapped);
    for (int i = 0; i < count; i++) tmpl_add_char(builder, mapped[i], marked);
}

/* Where the filter called title starts a new word. */
static bool separates_words(uint32_t c)
{
    return tmpl_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
}

pv_status tmpl_change_case(tmpl_run *run, const tmpl_string *text, int option, tmpl_value *out)
{
    tmpl_builder builder;
    tmpl_builder_init(&builder, run);
    builder.safe = text->safe;
    bool first = true; /* of the text, or of a word */
    builder.status = tmpl_charge_slow_bytes(run, text->length * 2); /* beside what is written */
    for (size_t at = 0; at < text->length && builder.status == PV_OK;) {
        uint32_t c;
        size_t next = at + decode(text, at, &c);
        bool marked = tmpl_is_marked(text, at);
        if (c >= 0x80) run->steps += option == CASE_SWAP || c == 0x3a3 ? 2 : 0; /* several looks at the tables */
        tmpl_case to = option == CASE_UPPER ? TMPL_UPPER : TMPL_LOWER;
        if (option == CASE_SWAP && tmpl_is_lower(c)) to = TMPL_UPPER;
        if (first && (option == CASE_CAPITALIZE || option == CASE_TITLE)) to = TMPL_TITLE;
        if (first && option == CASE_WORDS) to = TMPL_UPPER;
        if (option == CASE_SWAP && !is_cased(c))
            tmpl_add_char(&builder, c, marked);
        else if (to == TMPL_LOWER && c == 0x3a3)
            tmpl_add_char(&builder, is_final_sigma(text, at, next) ? 0x3c2 : 0x3c3, marked);
        else
            add_mapped(&builder, c, to, marked);
        first = option == CASE_TITLE ? !is_cased(c) : option == CASE_WORDS && separates_words(c);
        at = next;
    }
    return tmpl_finish(&builder, out);
}

pv_status tmpl_is_cased(tmpl_run *run, const tmpl_string *text, bool upper, bool *result)
{
    bool found = false;
    size_t at = 0;
    const size_t end = tmpl_slow_bytes_left(run, text->length * 4) / 4;
    *result = true;
    while (at < end && *result) {
        uint32_t c;
        at += decode(text, at, &c);
        if (upper ? tmpl_is_lower(c) || tmpl_is_title(c) : tmpl_is_upper(c) || tmpl_is_title(c)) *result = false;
        found = found || (upper ? tmpl_is_upper(c) : tmpl_is_lower(c));
    }
    *result = *result && found;
    return tmpl_charge_slow_bytes(run, at * 4);
}

/* ---- Lines and alignment ---- */

pv_status tmpl_split_lines(tmpl_run *run, tmpl_string *text, bool keep_ends, tmpl_value *out)
{
    tmpl_value line;
    size_t start = 0;
    pv_status status = tmpl_new_list(run, TMPL_LIST, 0, out);
    if (status == PV_OK) status = tmpl_charge_slow_bytes(run, text->length);
    for (size_t at = 0; at < text->length && status == PV_OK;) {
        uint32_t c;
        size_t next = at + decode(text, at, &c);
        if (!tmpl_is_line_end(c) && next < text->length) {
            at = next;
            continue;
        }
        size_t end = tmpl_is_line_end(c) ? at : next;
        if (c == '\r' && next < text->length && text->data[next] == '\n') next++;
        status = tmpl_substring(run, text, start, keep_ends ? next : end, &line);
        if (status == PV_OK) status = tmpl_list_add(run, out->list, line);
        start = at = next;
    }
    return status;
}

pv_status tmpl_center(tmpl_run *run, tmpl_string *text, int64_t width, const tmpl_string *fill, int option, tmpl_value *out)
{
    size_t characters;
    tmpl_builder builder;
    pv_status status = tmpl_characters(run, text, &characters);
    if (status != PV_OK) return status;
    int64_t room = width > (int64_t)characters ? width - (int64_t)characters : 0;
    /* Python gives the odd one to the left if the width is odd. */
    int64_t left = option == ALIGN_LEFT ? 0 : option == ALIGN_RIGHT ? room : room / 2 + (room & width & 1);
    tmpl_builder_init(&builder, run);
    builder.safe = text->safe;
    for (int64_t i = 0; i < left && builder.status == PV_OK; i++) tmpl_add_string(&builder, fill);
    tmpl_add_string(&builder, text);
    for (int64_t i = left; i < room && builder.status == PV_OK; i++) tmpl_add_string(&builder, fill);
    return tmpl_finish(&builder, out);
}
