/* Methods of str, list, tuple and dict. */
#include "text/template_eval.h"

#include <string.h>

#include "base/checked.h"
#include "text/template_unicode.h"

/* ---- Arguments ---- */

static pv_status want_string(tmpl_run *run, tmpl_value value, tmpl_string **string)
{
    if (value.type != TMPL_STRING) return tmpl_fail(run, "a str is wanted, got %s", tmpl_type_name(value.type));
    *string = value.string;
    return PV_OK;
}

/* A str, or NULL if it was not given or is none. */
static pv_status maybe_string(tmpl_run *run, tmpl_value value, tmpl_string **string)
{
    *string = NULL;
    return value.type == TMPL_MISSING || value.type == TMPL_NONE ? PV_OK : want_string(run, value, string);
}

static pv_status maybe_integer(tmpl_run *run, tmpl_value value, int64_t otherwise, int64_t *integer)
{
    *integer = otherwise;
    if (value.type == TMPL_MISSING || tmpl_as_integer(value, integer)) return PV_OK;
    return tmpl_fail(run, "an int is wanted, got %s", tmpl_type_name(value.type));
}

/* The part text[start:end] that a search is limited to, as bytes. */
static pv_status limit(tmpl_run *run, tmpl_string *text, tmpl_value start, tmpl_value end, size_t *from, size_t *to)
{
    size_t characters;
    int64_t first, last;
    pv_status status = tmpl_characters(run, text, &characters);
    if (start.type == TMPL_NONE) start.type = TMPL_MISSING;
    if (end.type == TMPL_NONE) end.type = TMPL_MISSING;
    if (status == PV_OK) status = maybe_integer(run, start, 0, &first);
    if (status == PV_OK) status = maybe_integer(run, end, (int64_t)characters, &last);
    if (status != PV_OK) return status;
    if (first < 0 && (first += (int64_t)characters) < 0) first = 0;
    if (last < 0 && (last += (int64_t)characters) < 0) last = 0;
    if (last > (int64_t)characters) last = (int64_t)characters;
    *to = SIZE_MAX; /* nothing lies behind the end, not even an empty text */
    *from = text->length + 1;
    if (first > (int64_t)characters || first > last) return PV_OK;
    status = tmpl_offset(run, text, (size_t)first, from);
    return status == PV_OK ? tmpl_offset(run, text, (size_t)last, to) : status;
}

/* ---- Methods of str ---- */

static pv_status change_case(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    return tmpl_change_case(run, input->self.string, input->option, out);
}

enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 };
static pv_status strip(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *characters;
    pv_status status = maybe_string(run, input->argument[0], &characters);
    if (status != PV_OK) return status;
    return tmpl_strip(run, input->self.string, characters, input->option & STRIP_LEFT, input->option & STRIP_RIGHT, out);
}

static pv_status ends_match(tmpl_run *run, const tmpl_input *input, tmpl_value affix, size_t from, size_t to, bool *result)
{
    const tmpl_string *text = input->self.string;
    if (affix.type != TMPL_STRING)
        return tmpl_fail(run, "a str or a tuple of them is wanted, got %s", tmpl_type_name(affix.type));
    size_t length = affix.string->length;
    *result = to != SIZE_MAX && from <= to && length <= to - from &&
              memcmp(text->data + (input->option ? to - length : from), affix.string->data, length) == 0;
    return tmpl_charge_bytes(run, length);
}

/* startswith, or endswith with option 1. */
static pv_status has_affix(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    size_t from, to;
    bool result = false;
    tmpl_value affix = input->argument[0];
    pv_status status = limit(run, input->self.string, input->argument[1], input->argument[2], &from, &to);
    if (status == PV_OK && affix.type == TMPL_TUPLE) {
        for (size_t i = 0; i < affix.list->count && status == PV_OK && !result; i++)
            status = ends_match(run, input, affix.list->items[i], from, to, &result);
    } else if (status == PV_OK) {
        status = ends_match(run, input, affix, from, to, &result);
    }
    *out = tmpl_bool(result);
    return status;
}

enum { FIND_FIRST, FIND_LAST, INDEX_FIRST, INDEX_LAST, FIND_COUNT };
static pv_status count_matches(tmpl_run *run, const tmpl_string *text, const tmpl_string *needle, size_t from, tmpl_value *out)
{
    int64_t count = 0;
    size_t at;
    pv_status status;
    for (;;) {
        if ((status = tmpl_find(run, text, needle, from, &at)) != PV_OK || at == SIZE_MAX) break;
        count++;
        from = at + needle->length;
    }
    *out = tmpl_int(count);
    return status;
}

/* Places where the first byte fits are paid for one by one: patterns that almost match are slow. */
static pv_status find_last(tmpl_run *run, const tmpl_string *text, const tmpl_string *needle, size_t from, size_t *found)
{
    *found = SIZE_MAX;
    if (needle->length > text->length) return PV_OK;
    size_t end = text->length - needle->length + 1; /* the place is before it */
    while (end > from) {
        const size_t at = needle->length ? tmpl_last_byte(text, from, end, needle->data[0]) : end - 1;
        pv_status status = tmpl_charge_slow_bytes(run, end - (at == SIZE_MAX ? from : at));
        if (status != PV_OK || at == SIZE_MAX) return status;
        if ((status = tmpl_charge_bytes(run, needle->length)) != PV_OK) return status;
        if (memcmp(text->data + at, needle->data, needle->length) == 0) {
            *found = at;
            return PV_OK;
        }
        end = at;
    }
    return PV_OK;
}

static pv_status find(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text = input->self.string, *needle;
    size_t from, to, at = SIZE_MAX, before;
    tmpl_value head;
    pv_status status = want_string(run, input->argument[0], &needle);
    if (status == PV_OK) status = limit(run, text, input->argument[1], input->argument[2], &from, &to);
    if (status != PV_OK) return status;
    tmpl_string part = {.data = text->data, .length = to == SIZE_MAX ? 0 : to, .characters = SIZE_MAX};
    bool inside = to != SIZE_MAX;
    if (input->option == FIND_COUNT) {
        *out = tmpl_int(0);
        if (!inside) return PV_OK;
        if (needle->length) return count_matches(run, &part, needle, from, out);
        status = tmpl_substring(run, text, from, to, &head);
        if (status == PV_OK) status = tmpl_characters(run, head.string, &before);
        *out = tmpl_int(status == PV_OK ? (int64_t)before + 1 : 0);
        return status;
    }
    bool last = input->option == FIND_LAST || input->option == INDEX_LAST;
    if (inside) status = last ? find_last(run, &part, needle, from, &at) : tmpl_find(run, &part, needle, from, &at);
    if (status != PV_OK) return status;
    *out = tmpl_int(-1);
    if (at == SIZE_MAX)
        return input->option == INDEX_FIRST || input->option == INDEX_LAST ? tmpl_fail(run, "substring not found") : PV_OK;
    if ((status = tmpl_substring(run, text, 0, at, &head)) != PV_OK) return status;
    if ((status = tmpl_characters(run, head.string, &before)) != PV_OK) return status;
    *out = tmpl_int((int64_t)before);
    return PV_OK;
}

static pv_status replace(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *old, *fresh;
    int64_t count;
    pv_status status = want_string(run, input->argument[0], &old);
    if (status == PV_OK) status = want_string(run, input->argument[1], &fresh);
    if (status == PV_OK) status = maybe_integer(run, input->argument[2], -1, &count);
    if (status != PV_OK) return status;
    return tmpl_replace(run, input->self.string, old, fresh, count, input->self.string->safe, out);
}

static pv_status add_part(tmpl_run *run, const tmpl_string *text, size_t from, size_t to, tmpl_value *list)
{
    tmpl_value part;
    pv_status status = tmpl_substring(run, text, from, to, &part);
    return status == PV_OK ? tmpl_list_add(run, list->list, part) : status;
}

static size_t skip_words(const tmpl_string *text, size_t at, bool space)
{
    uint32_t c;
    while (at < text->length) {
        c = (unsigned char)text->data[at];
        size_t bytes = c < 0x80 ? 1 : pv_utf8_decode(text->data + at, text->length - at, &c);
        if (!bytes || tmpl_is_space(c) != space) break;
        at += bytes;
    }
    return at;
}

static pv_status split_words(tmpl_run *run, const tmpl_string *text, int64_t most, tmpl_value *out)
{
    pv_status status = tmpl_charge_slow_bytes(run, text->length);
    for (size_t at = status == PV_OK ? skip_words(text, 0, true) : 0; at < text->length && status == PV_OK;) {
        size_t end = skip_words(text, at, false);
        if (most-- == 0) return add_part(run, text, at, text->length, out);
        status = add_part(run, text, at, end, out);
        at = skip_words(text, end, true);
    }
    return status;
}

static pv_status split_words_from_right(tmpl_run *run, tmpl_string *text, int64_t most, tmpl_value *out)
{
    tmpl_value all, head;
    pv_status status = tmpl_new_list(run, TMPL_LIST, 0, &all);
    if (status == PV_OK) status = split_words(run, text, -1, &all);
    if (status != PV_OK) return status;
    size_t count = all.list->count, kept = most < 0 ? count : pv_min_size(count, (size_t)most);
    if (kept < count) { /* the head keeps its inner white space, but not that at its ends */
        const char *end = kept ? all.list->items[count - kept].string->data : text->data + text->length;
        status = tmpl_substring(run, text, 0, (size_t)(end - text->data), &head);
        if (status == PV_OK) status = tmpl_strip(run, head.string, NULL, false, true, &head);
        if (status == PV_OK) status = tmpl_list_add(run, out->list, head);
    }
    for (size_t i = count - kept; i < count && status == PV_OK; i++) status = tmpl_list_add(run, out->list, all.list->items[i]);
    return status;
}

static pv_status split_at(tmpl_run *run, const tmpl_string *text, const tmpl_string *separator, int64_t most, tmpl_value *out)
{
    size_t start = 0, at;
    pv_status status = PV_OK;
    while (most-- != 0 && status == PV_OK) {
        if ((status = tmpl_find(run, text, separator, start, &at)) != PV_OK || at == SIZE_MAX) break;
        status = add_part(run, text, start, at, out);
        start = at + separator->length;
    }
    return status == PV_OK ? add_part(run, text, start, text->length, out) : status;
}

static pv_status split_at_from_right(tmpl_run *run, const tmpl_string *text, const tmpl_string *separator, int64_t most,
                                     tmpl_value *out)
{
    tmpl_string rest = *text;
    size_t at;
    pv_status status = PV_OK;
    while (most-- != 0 && status == PV_OK) {
        if ((status = find_last(run, &rest, separator, 0, &at)) != PV_OK || at == SIZE_MAX) break;
        status = add_part(run, text, at + separator->length, rest.length, out);
        rest.length = at;
    }
    if (status == PV_OK) status = add_part(run, text, 0, rest.length, out);
    for (size_t i = 0, j = out->list->count; i + 1 < j; i++) {
        tmpl_value swap = out->list->items[i];
        out->list->items[i] = out->list->items[--j];
        out->list->items[j] = swap;
    }
    return status;
}

/* split, or rsplit with option 1. */
static pv_status split(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *separator, *text = input->self.string;
    int64_t most;
    pv_status status = maybe_string(run, input->argument[0], &separator);
    if (status == PV_OK) status = maybe_integer(run, input->argument[1], -1, &most);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, 0, out);
    if (status != PV_OK) return status;
    if (!separator) return input->option ? split_words_from_right(run, text, most, out) : split_words(run, text, most, out);
    if (!separator->length) return tmpl_fail(run, "empty separator");
    return input->option ? split_at_from_right(run, text, separator, most, out) : split_at(run, text, separator, most, out);
}

/* partition, or rpartition with option 1: (head, separator, tail). */
static pv_status partition(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *separator, *text = input->self.string;
    size_t at;
    pv_status status = want_string(run, input->argument[0], &separator);
    if (status == PV_OK && !separator->length) status = tmpl_fail(run, "empty separator");
    if (status == PV_OK)
        status = input->option ? find_last(run, text, separator, 0, &at) : tmpl_find(run, text, separator, 0, &at);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_TUPLE, 3, out);
    if (status != PV_OK) return status;
    size_t head = at, tail;
    if (at == SIZE_MAX)
        head = tail = input->option ? 0 : text->length;
    else
        tail = at + separator->length;
    if ((status = add_part(run, text, 0, head, out)) != PV_OK) return status;
    if ((status = add_part(run, at == SIZE_MAX ? text : separator, 0, at == SIZE_MAX ? 0 : separator->length, out)) != PV_OK)
        return status;
    return add_part(run, text, tail, text->length, out);
}

static pv_status split_lines(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    return tmpl_split_lines(run, input->self.string, tmpl_truth(input->argument[0]), out);
}

static pv_status join(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    const tmpl_string *separator = input->self.string;
    tmpl_iterator *iterator;
    tmpl_builder builder;
    tmpl_value item;
    bool done;
    pv_status status = tmpl_iterate(run, input->argument[0], &iterator);
    tmpl_builder_init(&builder, run);
    builder.safe = separator->safe;
    for (size_t i = 0; status == PV_OK; i++) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        if (item.type != TMPL_STRING) return tmpl_fail(run, "join: item %zu is a %s, no str", i, tmpl_type_name(item.type));
        if (i) tmpl_add_string(&builder, separator);
        if (separator->safe && !item.string->safe)
            tmpl_add_escaped(&builder, item.string);
        else
            tmpl_add_string(&builder, item.string);
        status = builder.status;
    }
    return status == PV_OK ? tmpl_finish(&builder, out) : status;
}

/* removeprefix, or removesuffix with option 1. */
static pv_status remove_affix(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    const tmpl_string *text = input->self.string;
    tmpl_string *affix;
    bool result;
    pv_status status = want_string(run, input->argument[0], &affix);
    if (status == PV_OK) status = ends_match(run, input, input->argument[0], 0, text->length, &result);
    if (status != PV_OK) return status;
    size_t cut = result ? affix->length : 0;
    return tmpl_substring(run, text, input->option ? 0 : cut, input->option ? text->length - cut : text->length, out);
}

static pv_status align(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string space = {.data = " ", .length = 1, .characters = 1}, *fill = &space;
    int64_t width;
    size_t characters = 1;
    pv_status status = maybe_integer(run, input->argument[0], 0, &width);
    if (status == PV_OK && input->argument[1].type != TMPL_MISSING) status = want_string(run, input->argument[1], &fill);
    if (status == PV_OK) status = tmpl_characters(run, fill, &characters);
    if (status == PV_OK && characters != 1) status = tmpl_fail(run, "the fill must be one character");
    return status == PV_OK ? tmpl_center(run, input->self.string, width, fill, input->option, out) : status;
}

static pv_status zero_fill(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text = input->self.string;
    tmpl_builder builder;
    int64_t width;
    size_t characters, sign = text->length && (text->data[0] == '+' || text->data[0] == '-');
    pv_status status = maybe_integer(run, input->argument[0], 0, &width);
    if (status == PV_OK) status = tmpl_characters(run, text, &characters);
    if (status != PV_OK) return status;
    tmpl_builder_init(&builder, run);
    builder.safe = text->safe;
    tmpl_add_part(&builder, text, 0, sign);
    for (int64_t i = (int64_t)characters; i < width && builder.status == PV_OK; i++) tmpl_add(&builder, "0", 1, false);
    tmpl_add_part(&builder, text, sign, text->length);
    return tmpl_finish(&builder, out);
}

static bool is_alphanumeric(uint32_t c)
{
    return tmpl_is_alpha(c) || tmpl_is_digit(c);
}
static bool (*const classes[])(uint32_t) = {tmpl_is_alpha, tmpl_is_digit, tmpl_is_decimal, tmpl_is_space, is_alphanumeric};
enum { CLASS_ALPHA, CLASS_DIGIT, CLASS_DECIMAL, CLASS_SPACE, CLASS_ALPHANUMERIC };

static pv_status is_class(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    const tmpl_string *text = input->self.string;
    bool result = text->length > 0;
    size_t at = 0;
    const size_t end = tmpl_slow_bytes_left(run, text->length * 2) / 2;
    for (size_t bytes; at < end && result; at += bytes) {
        uint32_t c = 0;
        bytes = pv_utf8_decode(text->data + at, text->length - at, &c);
        if (!bytes) bytes = 1;
        result = classes[input->option](c);
    }
    *out = tmpl_bool(result);
    return tmpl_charge_slow_bytes(run, at * 2);
}

static pv_status is_cased(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    bool result;
    pv_status status = tmpl_is_cased(run, input->self.string, input->option, &result);
    *out = tmpl_bool(result);
    return status;
}

static pv_status format(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    return tmpl_format_braces(run, input->self.string, input->call, out);
}

static const tmpl_builtin string_methods[] = {
    {"strip", strip, "chars", 0, STRIP_LEFT | STRIP_RIGHT},
    {"lstrip", strip, "chars", 0, STRIP_LEFT},
    {"rstrip", strip, "chars", 0, STRIP_RIGHT},
    {"split", split, "sep maxsplit", 0, 0},
    {"rsplit", split, "sep maxsplit", 0, 1},
    {"startswith", has_affix, "prefix start end", 1, 0},
    {"endswith", has_affix, "suffix start end", 1, 1},
    {"replace", replace, "old new count", 2, 0},
    {"upper", change_case, "", 0, CASE_UPPER},
    {"lower", change_case, "", 0, CASE_LOWER},
    {"capitalize", change_case, "", 0, CASE_CAPITALIZE},
    {"title", change_case, "", 0, CASE_TITLE},
    {"swapcase", change_case, "", 0, CASE_SWAP},
    {"join", join, "iterable", 1, 0},
    {"find", find, "sub start end", 1, FIND_FIRST},
    {"rfind", find, "sub start end", 1, FIND_LAST},
    {"index", find, "sub start end", 1, INDEX_FIRST},
    {"rindex", find, "sub start end", 1, INDEX_LAST},
    {"count", find, "sub start end", 1, FIND_COUNT},
    {"splitlines", split_lines, "keepends", 0, 0},
    {"partition", partition, "sep", 1, 0},
    {"rpartition", partition, "sep", 1, 1},
    {"removeprefix", remove_affix, "prefix", 1, 0},
    {"removesuffix", remove_affix, "suffix", 1, 1},
    {"center", align, "width fillchar", 1, ALIGN_CENTER},
    {"ljust", align, "width fillchar", 1, ALIGN_LEFT},
    {"rjust", align, "width fillchar", 1, ALIGN_RIGHT},
    {"zfill", zero_fill, "width", 1, 0},
    {"isalpha", is_class, "", 0, CLASS_ALPHA},
    {"isdigit", is_class, "", 0, CLASS_DIGIT},
    {"isdecimal", is_class, "", 0, CLASS_DECIMAL},
    {"isspace", is_class, "", 0, CLASS_SPACE},
    {"isalnum", is_class, "", 0, CLASS_ALPHANUMERIC},
    {"isupper", is_cased, "", 0, 1},
    {"islower", is_cased, "", 0, 0},
    {"format", format, NULL, 0, 0},
    {"format_map", NULL, NULL, 0, 0},
    {"casefold", NULL, NULL, 0, 0},
    {"encode", NULL, NULL, 0, 0},
    {"expandtabs", NULL, NULL, 0, 0},
    {"isascii", NULL, NULL, 0, 0},
    {"isidentifier", NULL, NULL, 0, 0},
    {"isnumeric", NULL, NULL, 0, 0},
    {"isprintable", NULL, NULL, 0, 0},
    {"istitle", NULL, NULL, 0, 0},
    {"maketrans", NULL, NULL, 0, 0},
    {"translate", NULL, NULL, 0, 0},
};

const tmpl_builtin *tmpl_find_string_method(const tmpl_string *name)
{
    return tmpl_find_builtin(string_methods, sizeof string_methods / sizeof *string_methods, name);
}

/* ---- Methods of containers ---- */

static pv_status dict_get(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value *found;
    bool hashable;
    pv_status status = tmpl_dict_find(run, input->self.dict, input->argument[0], &found, &hashable);
    if (status != PV_OK) return status;
    if (!hashable) return tmpl_fail(run, "a %s cannot be a key", tmpl_type_name(input->argument[0].type));
    *out = found ? *found : input->argument[1].type == TMPL_MISSING ? tmpl_none() : input->argument[1];
    return PV_OK;
}

static pv_status dict_view(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    (void)run;
    *out = (tmpl_value){.type = TMPL_VIEW, .detail = (uint8_t)input->option, .dict = input->self.dict};
    return PV_OK;
}

/* Values never change, so a copy is the value itself; a namespace is no dict. */
static pv_status copy(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    (void)run;
    *out = input->self;
    return PV_OK;
}

/* index, or count with option 1. */
static pv_status list_find(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_iterator *iterator;
    tmpl_value item;
    int64_t count = 0;
    bool equal, done;
    pv_status status = tmpl_iterate(run, input->self, &iterator);
    for (int64_t i = 0; status == PV_OK; i++) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        if ((status = tmpl_equal(run, item, input->argument[0], &equal)) != PV_OK) break;
        *out = tmpl_int(i);
        if (equal && !input->option) return PV_OK;
        count += equal;
    }
    *out = tmpl_int(count);
    return status != PV_OK || input->option ? status : tmpl_fail(run, "the value is not in the list");
}

static const tmpl_builtin dict_methods[] = {
    {"get", dict_get, "key default", 1, 0},
    {"items", dict_view, "", 0, TMPL_VIEW_ITEMS},
    {"keys", dict_view, "", 0, TMPL_VIEW_KEYS},
    {"values", dict_view, "", 0, TMPL_VIEW_VALUES},
    {"copy", copy, "", 0, 0},
    {"fromkeys", NULL, NULL, 0, 0},
};
static const tmpl_builtin list_methods[] = {
    {"index", list_find, "value", 1, 0}, {"count", list_find, "value", 1, 1}, {"copy", copy, "", 0, 0}};

/* What would change a value is undefined in the sandbox. */
static const char *const dict_changes[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
static const char *const list_changes[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", NULL};

const tmpl_builtin *tmpl_find_container_method(uint8_t type, const tmpl_string *name, bool *refused)
{
    const char *const *changes = type == TMPL_DICT ? dict_changes : type == TMPL_LIST ? list_changes : NULL;
    for (; changes && *changes; changes++) {
        if (tmpl_is_text(name, *changes)) *refused = true;
    }
    if (type == TMPL_DICT) return tmpl_find_builtin(dict_methods, sizeof dict_methods / sizeof *dict_methods, name);
    if (type == TMPL_LIST) return tmpl_find_builtin(list_methods, sizeof list_methods / sizeof *list_methods, name);
    return type == TMPL_TUPLE || type == TMPL_RANGE ? tmpl_find_builtin(list_methods, 2, name) : NULL;
}
