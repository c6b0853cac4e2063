/* The parts of a tokenizer.json around its model: normalizer, pre-tokenizer, post-processor, decoder. Each is a component with
 * a type and settings, or a Sequence of such. What is not known is refused by name. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "text/tokenizer_internal.h"

/* A component as it stands in the file; the fields of all types together. */
typedef struct component {
    char type[40], behavior[24];
    pv_bytes pattern; /* or the token that comes first */
    bool has_pattern, is_regex;
    bool invert, individual_digits, add_prefix_space, use_regex, leads;
} component;

static const struct {
    const char *name;
    size_t offset;
} flags[] = {
    {"invert", offsetof(component, invert)},
    {"individual_digits", offsetof(component, individual_digits)},
    {"add_prefix_space", offsetof(component, add_prefix_space)},
    {"use_regex", offsetof(component, use_regex)},
};

/* Which list of which section is being read. */
typedef struct section {
    pv_tokenizer *tokenizer;
    const char *name, *list; /* "pre-tokenizer", "pretokenizers" */
    pv_status (*act)(struct section *section, const component *read, pv_error *error);
    const char *file;
    bool byte_level; /* a ByteLevel component was met */
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

static pv_status keep_string(const pv_json *json, component *read, pv_error *error)
{
    read->pattern.length = 0;
    pv_bytes_add(&read->pattern, json->string, json->string_length);
    return read->pattern.failed ? pv_fail_memory(error, json->string_length, "a pattern") : PV_OK;
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
    component read = {.use_regex = true};
    if (json->type == PV_JSON_NULL) return PV_OK;
    if (json->type != PV_JSON_OBJECT) return wrong(json, s->name, "an object or null", error);
    pv_bytes_init(&read.pattern, json->allocator);
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY)
        if ((status = read_field(s, json, &read, error)) != PV_OK) break;
    if (status == PV_OK && read.type[0] == '\0') status = wrong(json, s->name, "an object with a type", error);
    if (status == PV_OK && strcmp(read.type, "Sequence") != 0) status = s->act(s, &read, error);
    pv_bytes_free(&read.pattern);
    return status;
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

static pv_status act_normalizer(section *s, const component *read, pv_error *error)
{
    if (strcmp(read->type, "NFC") != 0) return unsupported(s, read->type, "null, NFC", error);
    s->tokenizer->pretokenizer.nfc = true;
    return PV_OK;
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

static pv_status act_pretokenizer(section *s, const component *read, pv_error *error)
{
    static const struct {
        const char *type;
        pv_status (*add)(section *s, const component *read, pv_error *error);
    } types[] = {{"Split", add_split}, {"Digits", add_digits}, {"ByteLevel", add_byte_level}};
    /* Behind ByteLevel, patterns would see the characters that spell bytes. */
    if (s->byte_level) return unsupported(s, read->type, "nothing behind ByteLevel", error);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].type, read->type) == 0) return types[i].add(s, read, error);
    return unsupported(s, read->type, "Sequence, Split, Digits, ByteLevel", error);
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

static pv_status act_decoder(section *s, const component *read, pv_error *error)
{
    return strcmp(read->type, "ByteLevel") == 0 ? PV_OK : unsupported(s, read->type, "null, ByteLevel", error);
}

pv_status pv_tokenizer_parse_decoder(pv_tokenizer *tokenizer, pv_json *json, pv_error *error)
{
    section s = {.tokenizer = tokenizer, .name = "decoder", .list = "decoders", .act = act_decoder};
    return start_section(&s, json, error);
}
