/* The parts of a tokenizer.json around its model: normalizer, pre-tokenizer, post-processor, decoder. Each is a component with
 * a type and settings, or a Sequence of such. What is not known is refused by name. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "text/tokenizer_internal.h"

/* A component as it stands in the file; the fields of all types together. */
typedef struct component {
    char type[40], behavior[24], scheme[16];
    pv_bytes pattern; /* or the token that comes first */
    pv_bytes content; /* what is put in, a prefix, a delimiter, a map in base64 */
    bool has_pattern, is_regex;
    bool invert, individual_digits, add_prefix_space, use_regex, leads, split, cleanup;
    bool strip_left, strip_right, clean_text, handle_chinese_chars, strip_accents, lowercase, says_strip_accents;
    int64_t start, stop;
} component;

static const struct {
    const char *name;
    size_t offset;
} flags[] = {
    {"invert", offsetof(component, invert)},
    {"individual_digits", offsetof(component, individual_digits)},
    {"add_prefix_space", offsetof(component, add_prefix_space)},
    {"use_regex", offsetof(component, use_regex)},
    {"split", offsetof(component, split)},
    {"cleanup", offsetof(component, cleanup)},
    {"strip_left", offsetof(component, strip_left)},
    {"strip_right", offsetof(component, strip_right)},
    {"clean_text", offsetof(component, clean_text)},
    {"handle_chinese_chars", offsetof(component, handle_chinese_chars)},
    {"lowercase", offsetof(component, lowercase)},
};

/* Which list of which section is being read. */
typedef struct section {
    pv_tokenizer *tokenizer;
    const char *name, *list; /* "pre-tokenizer", "pretokenizers" */
    pv_status (*act)(struct section *section, const component *read, pv_error *error);
    const char *file;
    bool byte_level; /* a ByteLevel component was met */
    bool fused;      /* a decoder has made one text of all tokens */
    bool leads;      /* a post-processor puts a token first */
    pv_bytes *first; /* which */
} section;

static pv_status wrong(const pv_json *json, const char *what, const char *wanted, pv_error *error)
{
    return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s: %s at offset %zu must be %s", json->file, what,
                      json->start, wanted);
}

static pv_status read_string(pv_json *json, const char *name, char *out, size_t size, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type != PV_JSON_STRING) return wrong(json, name, "a string", error);
    snprintf(out, size, "%.*s", (int)pv_min_size(json->string_length, size - 1), json->string);
    return PV_OK;
}

static pv_status read_flag(pv_json *json, const char *name, bool *out, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type != PV_JSON_TRUE && json->type != PV_JSON_FALSE) return wrong(json, name, "true or false", error);
    *out = json->type == PV_JSON_TRUE;
    return PV_OK;
}

static pv_status keep_in(const pv_json *json, pv_bytes *kept, pv_error *error)
{
    kept->length = 0;
    pv_bytes_add(kept, json->string, json->string_length);
    return kept->failed ? pv_fail_memory(error, json->string_length, "a pattern") : PV_OK;
}

static pv_status keep_string(const pv_json *json, component *read, pv_error *error)
{
    return keep_in(json, &read->pattern, error);
}

/* A string, or null, which is the empty one. */
static pv_status read_content(pv_json *json, component *read, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_STRING) return wrong(json, "a content", "a string or null", error);
    return keep_in(json, &read->content, error);
}

static pv_status read_number(pv_json *json, int64_t *out, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_NUMBER, error);
    return status == PV_OK ? pv_json_int(json, out, error) : status;
}

/* true, false or null */
static pv_status read_strip_accents(pv_json *json, component *read, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_TRUE && json->type != PV_JSON_FALSE)
        return wrong(json, "strip_accents", "true, false or null", error);
    read->says_strip_accents = true;
    read->strip_accents = json->type == PV_JSON_TRUE;
    return PV_OK;
}

/* {"String": "…"} or {"Regex": "…"} */
static pv_status read_pattern(pv_json *json, component *read, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    if (status == PV_OK) status = pv_json_expect(json, PV_JSON_KEY, error);
    if (status != PV_OK) return status;
    read->is_regex = pv_json_is(json, "Regex");
    if (!read->is_regex && !pv_json_is(json, "String")) return wrong(json, "pattern", "a String or a Regex", error);
    if ((status = pv_json_expect(json, PV_JSON_STRING, error)) != PV_OK) return status;
    if ((status = keep_string(json, read, error)) != PV_OK) return status;
    read->has_pattern = true;
    return pv_json_expect(json, PV_JSON_OBJECT_END, error);
}

/* {"SpecialToken": {"id": "<s>", …}}, read behind its key. */
static pv_status read_special(pv_json *json, component *read, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        if (!pv_json_is(json, "id")) {
            status = pv_json_skip(json, error);
        } else if ((status = pv_json_expect(json, PV_JSON_STRING, error)) == PV_OK) {
            read->leads = true;
            status = keep_string(json, read, error);
        }
    }
    return status;
}

/* The template for one text, a list of {"SpecialToken": …} and {"Sequence": …}; only what comes first matters. */
static pv_status read_template(pv_json *json, component *read, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type != PV_JSON_ARRAY) return wrong(json, "single", "an array", error);
    for (size_t i = 0; (status = pv_json_next(json, error)) == PV_OK && json->type != PV_JSON_ARRAY_END; i++) {
        if (i > 0 || json->type != PV_JSON_OBJECT) {
            if (i == 0) return wrong(json, "an item of single", "an object", error);
            if ((status = pv_json_skip(json, error)) != PV_OK) return status;
            continue;
        }
        while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
            status = pv_json_is(json, "SpecialToken") ? read_special(json, read, error) : pv_json_skip(json, error);
            if (status != PV_OK) return status;
        }
        if (status != PV_OK) return status;
    }
    return status;
}

/* ["<s>", 0], the first token of RobertaProcessing and BertProcessing. */
static pv_status read_pair(pv_json *json, component *read, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_ARRAY, error);
    if (status == PV_OK) status = pv_json_expect(json, PV_JSON_STRING, error);
    if (status == PV_OK) status = keep_string(json, read, error);
    if (status == PV_OK) status = pv_json_expect(json, PV_JSON_NUMBER, error);
    if (status == PV_OK) status = pv_json_expect(json, PV_JSON_ARRAY_END, error);
    read->leads = true;
    return status;
}

static pv_status read_section(section *s, pv_json *json, pv_error *error);

static pv_status read_list(section *s, pv_json *json, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type != PV_JSON_ARRAY) return wrong(json, s->list, "an array", error);
    while ((status = pv_json_next(json, error)) == PV_OK && json->type != PV_JSON_ARRAY_END)
        if ((status = read_section(s, json, error)) != PV_OK) return status;
    return status;
}

static pv_status read_field(section *s, pv_json *json, component *read, pv_error *error)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (pv_json_is(json, flags[i].name))
            return read_flag(json, flags[i].name, (bool *)((char *)read + flags[i].offset), error);
    if (pv_json_is(json, "type")) return read_string(json, "type", read->type, sizeof read->type, error);
    if (pv_json_is(json, "behavior")) return read_string(json, "behavior", read->behavior, sizeof read->behavior, error);
    static const char *const contents[] = {"content", "prepend", "replacement", "delimiter", "precompiled_charsmap", "prefix"};
    if (pv_json_is(json, "prepend_scheme"))
        return read_string(json, "prepend_scheme", read->scheme, sizeof read->scheme, error);
    if (pv_json_is(json, "strip_accents")) return read_strip_accents(json, read, error);
    if (pv_json_is(json, "start")) return read_number(json, &read->start, error);
    if (pv_json_is(json, "stop")) return read_number(json, &read->stop, error);
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++)
        if (pv_json_is(json, contents[i])) return read_content(json, read, error);
    if (pv_json_is(json, "pattern")) return read_pattern(json, read, error);
    if (s->first && pv_json_is(json, "single")) return read_template(json, read, error);
    if (s->first && pv_json_is(json, "cls")) return read_pair(json, read, error);
    if (pv_json_is(json, s->list)) return read_list(s, json, error);
    return pv_json_skip(json, error);
}

/* A component, or null, at the reader's current token. The depth is bounded by the reader's. */
static pv_status read_section(section *s, pv_json *json, pv_error *error)
{
    pv_status status;
    component read = {.use_regex = true,
                      .add_prefix_space = true,
                      .split = true,
                      .clean_text = true,
                      .handle_chinese_chars = true,
                      .lowercase = true};
    if (json->type == PV_JSON_NULL) return PV_OK;
    if (json->type != PV_JSON_OBJECT) return wrong(json, s->name, "an object or null", error);
    pv_bytes_init(&read.pattern, json->allocator);
    pv_bytes_init(&read.content, json->allocator);
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY)
        if ((status = read_field(s, json, &read, error)) != PV_OK) break;
    if (status == PV_OK && read.type[0] == '\0') status = wrong(json, s->name, "an object with a type", error);
    if (status == PV_OK && strcmp(read.type, "Sequence") != 0) status = s->act(s, &read, error);
    pv_bytes_free(&read.pattern);
    pv_bytes_free(&read.content);
    return status;
}

/* Never NULL. */
static const char *text_of(const pv_bytes *kept)
{
    return kept->data ? kept->data : "";
}

static pv_status start_section(section *s, pv_json *json, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    s->file = json->file;
    return status == PV_OK ? read_section(s, json, error) : status;
}

static pv_status unsupported(const section *s, const char *what, const char *supported, pv_error *error)
{
    return pv_fail_at(error, PV_UNSUPPORTED, s->file, PV_NO_OFFSET, "%s: the %s '%s' is not supported; supported: %s", s->file,
                      s->name, what, supported);
}

/* ---- Normalizer ----------------------------------------------------------------------------------------------------- */

static pv_status add_normal(section *s, pv_normal_kind kind, pv_error *error)
{
    pv_normal_step *step = NULL;
    return pv_normalizer_add(&s->tokenizer->normalizer, kind, &step, error);
}

static pv_status add_strip(section *s, const component *read, pv_error *error)
{
    pv_normal_step *step = NULL;
    pv_status status = pv_normalizer_add(&s->tokenizer->normalizer, PV_NORMAL_STRIP, &step, error);
    if (status != PV_OK) return status;
    step->left = read->strip_left;
    step->right = read->strip_right;
    return PV_OK;
}

static pv_status add_replace(section *s, const component *read, pv_error *error)
{
    if (!read->has_pattern)
        return pv_fail_at(error, PV_BAD_FILE, s->file, PV_NO_OFFSET, "%s: a Replace has no pattern", s->file);
    return pv_normalizer_replace(&s->tokenizer->normalizer, read->is_regex, text_of(&read->pattern), read->pattern.length,
                                 text_of(&read->content), read->content.length, error);
}

static pv_status add_prepend(section *s, const component *read, pv_error *error)
{
    return pv_normalizer_prepend(&s->tokenizer->normalizer, text_of(&read->content), read->content.length, error);
}

static pv_status add_charsmap(section *s, const component *read, pv_error *error)
{
    pv_normal_step *step = NULL;
    if (read->content.length == 0) return PV_OK; /* a map of nothing */
    pv_status status = pv_normalizer_add(&s->tokenizer->normalizer, PV_NORMAL_CHARSMAP, &step, error);
    if (status != PV_OK) return status;
    step->shortest = true;
    return pv_charsmap_read_base64(&step->map, read->content.data, read->content.length, s->file, error);
}

static pv_status add_bert(section *s, const component *read, pv_error *error)
{
    bool strips = read->says_strip_accents ? read->strip_accents : read->lowercase;
    pv_status status = PV_OK;
    if (read->clean_text) status = add_normal(s, PV_NORMAL_CLEAN, error);
    if (status == PV_OK && read->handle_chinese_chars) status = add_normal(s, PV_NORMAL_SPACE_CHINESE, error);
    if (status == PV_OK && strips) status = add_normal(s, PV_NORMAL_NFD, error);
    if (status == PV_OK && strips) status = add_normal(s, PV_NORMAL_STRIP_ACCENTS, error);
    return status == PV_OK && read->lowercase ? add_normal(s, PV_NORMAL_LOWERCASE, error) : status;
}

static pv_status act_normalizer(section *s, const component *read, pv_error *error)
{
    static const struct {
        const char *type;
        pv_normal_kind kind;
        pv_status (*add)(section *s, const component *read, pv_error *error); /* NULL: the kind is all */
    } types[] = {
        {"NFC", PV_NORMAL_NFC, NULL},
        {"NFD", PV_NORMAL_NFD, NULL},
        {"NFKC", PV_NORMAL_NFKC, NULL},
        {"NFKD", PV_NORMAL_NFKD, NULL},
        {"Lowercase", PV_NORMAL_LOWERCASE, NULL},
        {"StripAccents", PV_NORMAL_STRIP_MARKS, NULL},
        {"Nmt", PV_NORMAL_NMT, NULL},
        {"Strip", PV_NORMAL_STRIP, add_strip},
        {"Replace", PV_NORMAL_REPLACE, add_replace},
        {"Prepend", PV_NORMAL_PREPEND, add_prepend},
        {"Precompiled", PV_NORMAL_CHARSMAP, add_charsmap},
        {"BertNormalizer", PV_NORMAL_CLEAN, add_bert},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].type, read->type) == 0)
            return types[i].add ? types[i].add(s, read, error) : add_normal(s, types[i].kind, error);
    return unsupported(s, read->type,
                       "null, Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Nmt, Strip, Replace, Prepend, "
                       "Precompiled, BertNormalizer",
                       error);
}

pv_status pv_tokenizer_parse_normalizer(pv_tokenizer *tokenizer, pv_json *json, pv_error *error)
{
    section s = {.tokenizer = tokenizer, .name = "normalizer", .list = "normalizers", .act = act_normalizer};
    return start_section(&s, json, error);
}

/* ---- Pre-tokenizer -------------------------------------------------------------------------------------------------- */

static pv_status find_behavior(const section *s, const char *name, pv_behavior *behavior, pv_error *error)
{
    static const char *const names[] = {
        [PV_REMOVED] = "Removed",
        [PV_ISOLATED] = "Isolated",
        [PV_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PV_MERGED_WITH_NEXT] = "MergedWithNext",
        [PV_CONTIGUOUS] = "Contiguous",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *behavior = (pv_behavior)i;
        return PV_OK;
    }
    return pv_fail_at(error, PV_UNSUPPORTED, s->file, PV_NO_OFFSET, "%s: the split behavior '%s' is not known", s->file, name);
}

static pv_status add_split(section *s, const component *read, pv_error *error)
{
    pv_behavior behavior = PV_ISOLATED;
    pv_pretokenizer *pretokenizer = &s->tokenizer->pretokenizer;
    pv_status status = find_behavior(s, read->behavior, &behavior, error);
    if (status != PV_OK) return status;
    if (!read->has_pattern) return pv_fail_at(error, PV_BAD_FILE, s->file, PV_NO_OFFSET, "%s: a Split has no pattern", s->file);
    const char *pattern = read->pattern.data ? read->pattern.data : "";
    if (read->is_regex)
        return pv_pretokenizer_regex(pretokenizer, pattern, read->pattern.length, behavior, read->invert, error);
    return pv_pretokenizer_literal(pretokenizer, pattern, read->pattern.length, behavior, read->invert, error);
}

static pv_status add_digits(section *s, const component *read, pv_error *error)
{
    return pv_pretokenizer_digits(&s->tokenizer->pretokenizer, read->individual_digits, error);
}

static pv_status add_byte_level(section *s, const component *read, pv_error *error)
{
    s->byte_level = true;
    return pv_pretokenizer_byte_level(&s->tokenizer->pretokenizer, read->use_regex, read->add_prefix_space, error);
}

static pv_status add_metaspace(section *s, const component *read, pv_error *error)
{
    static const struct {
        const char *name;
        pv_prepend prepend;
    } schemes[] = {
        {"", PV_PREPEND_ALWAYS}, {"always", PV_PREPEND_ALWAYS}, {"first", PV_PREPEND_FIRST}, {"never", PV_PREPEND_NEVER}};
    const char *mark = read->content.length ? read->content.data : "\xe2\x96\x81";
    size_t i = 0;
    while (i < sizeof schemes / sizeof *schemes && strcmp(schemes[i].name, read->scheme) != 0) i++;
    if (i == sizeof schemes / sizeof *schemes)
        return pv_fail_at(error, PV_UNSUPPORTED, s->file, PV_NO_OFFSET, "%s: the prepend_scheme '%s' is not known", s->file,
                          read->scheme);
    return pv_pretokenizer_metaspace(&s->tokenizer->pretokenizer, mark, strlen(mark),
                                     read->add_prefix_space ? schemes[i].prepend : PV_PREPEND_NEVER, read->split, error);
}

static pv_status add_punctuation(section *s, const component *read, pv_error *error)
{
    pv_behavior behavior = PV_ISOLATED;
    pv_status status = read->behavior[0] ? find_behavior(s, read->behavior, &behavior, error) : PV_OK;
    return status == PV_OK ? pv_pretokenizer_punctuation(&s->tokenizer->pretokenizer, behavior, error) : status;
}

static pv_status add_spaces(section *s, const component *read, pv_error *error)
{
    (void)read;
    return pv_pretokenizer_spaces(&s->tokenizer->pretokenizer, error);
}

static pv_status add_words(section *s, const component *read, pv_error *error)
{
    (void)read;
    return pv_pretokenizer_words(&s->tokenizer->pretokenizer, error);
}

static pv_status add_bert_words(section *s, const component *read, pv_error *error)
{
    (void)read;
    pv_status status = pv_pretokenizer_spaces(&s->tokenizer->pretokenizer, error);
    return status == PV_OK ? pv_pretokenizer_punctuation(&s->tokenizer->pretokenizer, PV_ISOLATED, error) : status;
}

static pv_status add_delimiter(section *s, const component *read, pv_error *error)
{
    return pv_pretokenizer_literal(&s->tokenizer->pretokenizer, text_of(&read->content), read->content.length, PV_REMOVED,
                                   false, error);
}

static pv_status act_pretokenizer(section *s, const component *read, pv_error *error)
{
    static const struct {
        const char *type;
        pv_status (*add)(section *s, const component *read, pv_error *error);
    } types[] = {{"Split", add_split},
                 {"Digits", add_digits},
                 {"ByteLevel", add_byte_level},
                 {"Metaspace", add_metaspace},
                 {"Punctuation", add_punctuation},
                 {"WhitespaceSplit", add_spaces},
                 {"Whitespace", add_words},
                 {"BertPreTokenizer", add_bert_words},
                 {"CharDelimiterSplit", add_delimiter}};
    bool changes = strcmp(read->type, "ByteLevel") == 0 || strcmp(read->type, "Metaspace") == 0;
    if (s->byte_level && changes) return unsupported(s, read->type, "what only cuts behind ByteLevel", error);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].type, read->type) != 0) continue;
        pv_status status = s->byte_level && !s->tokenizer->pretokenizer.spells
                               ? pv_pretokenizer_spell(&s->tokenizer->pretokenizer, error)
                               : PV_OK;
        return status == PV_OK ? types[i].add(s, read, error) : status;
    }
    return unsupported(s, read->type,
                       "Sequence, Split, Digits, ByteLevel, Metaspace, Punctuation, WhitespaceSplit, Whitespace, "
                       "BertPreTokenizer, CharDelimiterSplit",
                       error);
}

pv_status pv_tokenizer_parse_pretokenizer(pv_tokenizer *tokenizer, pv_json *json, bool *byte_level, pv_error *error)
{
    section s = {.tokenizer = tokenizer, .name = "pre-tokenizer", .list = "pretokenizers", .act = act_pretokenizer};
    pv_status status = start_section(&s, json, error);
    *byte_level = s.byte_level;
    return status;
}

/* ---- Post-processor and decoder ------------------------------------------------------------------------------------- */

static pv_status act_postprocessor(section *s, const component *read, pv_error *error)
{
    static const char *const types[] = {"ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing"};
    size_t type = 0;
    while (type < sizeof types / sizeof *types && strcmp(types[type], read->type) != 0) type++;
    if (type == sizeof types / sizeof *types)
        return unsupported(s, read->type, "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing", error);
    if (!read->leads || s->leads) return PV_OK;
    s->leads = true;
    pv_bytes_add(s->first, read->pattern.data, read->pattern.length);
    return s->first->failed ? pv_fail_memory(error, read->pattern.length, "a token's name") : PV_OK;
}

pv_status pv_tokenizer_parse_postprocessor(pv_tokenizer *tokenizer, pv_json *json, pv_bytes *bos, pv_error *error)
{
    section s = {
        .tokenizer = tokenizer, .name = "post-processor", .list = "processors", .act = act_postprocessor, .first = bos};
    return start_section(&s, json, error);
}

/* Of the kinds of decoders those are known that can be applied to each token by itself, and spaces stripped from the whole. */
static pv_status decode_replace(section *s, const component *read, pv_error *error)
{
    pv_decoding *d = &s->tokenizer->decoding;
    uint32_t code_point;
    bool character = pv_utf8_decode(text_of(&read->pattern), read->pattern.length, &code_point) == read->pattern.length;
    if ((s->fused && !character) || d->mark[0] || !read->has_pattern || read->is_regex || read->pattern.length == 0 ||
        read->pattern.length >= sizeof d->mark || read->content.length > read->pattern.length ||
        memchr(text_of(&read->pattern), 0, read->pattern.length) || memchr(text_of(&read->content), 0, read->content.length))
        return unsupported(s, "Replace of that kind", "one Replace of a String by one no longer; behind Fuse of a character",
                           error);
    snprintf(d->mark, sizeof d->mark, "%s", text_of(&read->pattern));
    snprintf(d->mark_text, sizeof d->mark_text, "%s", text_of(&read->content));
    return PV_OK;
}

static pv_status decode_fallback(section *s, const component *read, pv_error *error)
{
    (void)read;
    if (s->fused) return unsupported(s, "ByteFallback behind Fuse", "ByteFallback before it", error);
    s->tokenizer->decoding.byte_fallback = true;
    return PV_OK;
}

static pv_status decode_fuse(section *s, const component *read, pv_error *error)
{
    (void)read;
    (void)error;
    s->fused = true;
    return PV_OK;
}

static pv_status decode_strip(section *s, const component *read, pv_error *error)
{
    if (!s->fused || read->content.length != 1 || read->content.data[0] != ' ' || read->stop != 0 || read->start < 0 ||
        read->start > UINT32_MAX)
        return unsupported(s, "Strip of that kind", "spaces from the start, behind Fuse", error);
    s->tokenizer->decoding.strips = (uint32_t)read->start;
    return PV_OK;
}

static pv_status decode_metaspace(section *s, const component *read, pv_error *error)
{
    pv_decoding *d = &s->tokenizer->decoding;
    if (s->fused || d->mark[0] || read->content.length >= sizeof d->mark)
        return unsupported(s, "Metaspace of that kind", "one Metaspace, before Fuse", error);
    snprintf(d->mark, sizeof d->mark, "%s", read->content.length ? read->content.data : "\xe2\x96\x81");
    snprintf(d->mark_text, sizeof d->mark_text, " ");
    d->strips_all = read->add_prefix_space && strcmp(read->scheme, "never") != 0;
    return PV_OK;
}

static pv_status decode_wordpiece(section *s, const component *read, pv_error *error)
{
    pv_decoding *d = &s->tokenizer->decoding;
    if (s->fused || read->content.length >= sizeof d->prefix)
        return unsupported(s, "WordPiece of that kind", "a short prefix", error);
    snprintf(d->prefix, sizeof d->prefix, "%s", text_of(&read->content));
    d->joins_words = true;
    d->cleans_up = read->cleanup;
    d->strips = 1;
    return PV_OK;
}

static pv_status decode_bytes(section *s, const component *read, pv_error *error)
{
    (void)read;
    (void)error;
    s->byte_level = true;
    return PV_OK;
}

static pv_status act_decoder(section *s, const component *read, pv_error *error)
{
    static const struct {
        const char *type;
        pv_status (*act)(section *s, const component *read, pv_error *error);
    } types[] = {{"ByteLevel", decode_bytes},    {"Replace", decode_replace}, {"ByteFallback", decode_fallback},
                 {"Fuse", decode_fuse},          {"Strip", decode_strip},     {"Metaspace", decode_metaspace},
                 {"WordPiece", decode_wordpiece}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].type, read->type) == 0) return types[i].act(s, read, error);
    return unsupported(s, read->type, "null, Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece",
                       error);
}

pv_status pv_tokenizer_parse_decoder(pv_tokenizer *tokenizer, pv_json *json, bool *byte_level, pv_error *error)
{
    section s = {.tokenizer = tokenizer, .name = "decoder", .list = "decoders", .act = act_decoder};
    pv_status status = start_section(&s, json, error);
    *byte_level = s.byte_level;
    return status;
}
