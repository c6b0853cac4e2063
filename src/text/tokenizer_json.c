/* Tokenizers from a Hugging Face folder: tokenizer.json, and what tokenizer_config.json says of its special tokens. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "text/tokenizer_internal.h"

static pv_status bad(const pv_json *json, const char *message, pv_error *error)
{
    return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s: offset %zu: %s", json->file, json->start, message);
}

/* ---- tokenizer.json ------------------------------------------------------------------------------------------------- */

typedef struct document {
    pv_tokenizer *tokenizer;
    pv_bytes *bos;
    bool has_model, has_pretokenizer, byte_level, decodes_bytes, has_decoder;
    bool waits;    /* the model came before what tells how its tokens are spelled */
    pv_json model; /* waits: the reader before it */
} document;

/* An added token as it stands in a file. */
typedef struct added_token {
    pv_bytes content;
    int64_t id; /* −1: not given */
    unsigned flags;
} added_token;

/* Read behind its brace. */
static pv_status read_added_fields(pv_json *json, added_token *read, pv_error *error)
{
    static const struct {
        const char *name;
        unsigned flag;
    } flags[] = {
        {"special", PV_ADDED_CONTROL}, {"normalized", PV_ADDED_NORMALIZED}, {"lstrip", PV_ADDED_LSTRIP},
        {"rstrip", PV_ADDED_RSTRIP},   {"single_word", PV_ADDED_WORD},
    };
    pv_status status;
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        size_t flag = 0;
        while (flag < sizeof flags / sizeof *flags && !pv_json_is(json, flags[flag].name)) flag++;
        if (flag < sizeof flags / sizeof *flags) {
            status = pv_json_next(json, error);
            if (status == PV_OK && json->type == PV_JSON_TRUE)
                read->flags |= flags[flag].flag;
            else if (status == PV_OK && json->type != PV_JSON_FALSE)
                status = bad(json, "must be true or false", error);
        } else if (pv_json_is(json, "id")) {
            status = pv_json_expect(json, PV_JSON_NUMBER, error);
            if (status == PV_OK) status = pv_json_int(json, &read->id, error);
        } else if (pv_json_is(json, "content")) {
            status = pv_json_expect(json, PV_JSON_STRING, error);
            read->content.length = 0;
            if (status == PV_OK) pv_bytes_add(&read->content, json->string, json->string_length);
            if (read->content.failed) status = pv_fail_memory(error, json->string_length, "an added token");
        } else {
            status = pv_json_skip(json, error);
        }
        if (status != PV_OK) break;
    }
    return status;
}

static pv_status read_added(document *d, pv_json *json, pv_error *error)
{
    added_token read = {.id = -1};
    pv_bytes_init(&read.content, json->allocator);
    pv_status status = read_added_fields(json, &read, error);
    if (status == PV_OK && (read.id < 0 || read.id >= PV_VOCAB_MAX_SIZE))
        status = bad(json, "an added token has no id, or one out of range", error);
    if (status == PV_OK)
        status = pv_added_put(&d->tokenizer->added, (uint32_t)read.id, read.content.data, read.content.length, read.flags,
                              json->file, error);
    pv_bytes_free(&read.content);
    return status;
}

static pv_status read_added_tokens(document *d, pv_json *json, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_ARRAY) return bad(json, "added_tokens must be an array", error);
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_OBJECT)
        if ((status = read_added(d, json, error)) != PV_OK) return status;
    return status == PV_OK && json->type != PV_JSON_ARRAY_END ? bad(json, "an added token must be an object", error) : status;
}

static pv_status read_normalizer(document *d, pv_json *json, pv_error *error)
{
    return pv_tokenizer_parse_normalizer(d->tokenizer, json, error);
}

static pv_status read_pretokenizer(document *d, pv_json *json, pv_error *error)
{
    d->has_pretokenizer = true;
    return pv_tokenizer_parse_pretokenizer(d->tokenizer, json, &d->byte_level, error);
}

static pv_status read_postprocessor(document *d, pv_json *json, pv_error *error)
{
    return pv_tokenizer_parse_postprocessor(d->tokenizer, json, d->bos, error);
}

static pv_status read_decoder(document *d, pv_json *json, pv_error *error)
{
    pv_status status = pv_tokenizer_parse_decoder(d->tokenizer, json, &d->decodes_bytes, error);
    d->has_decoder = json->type != PV_JSON_NULL;
    return status;
}

static pv_status parse_model(document *d, pv_json *json, pv_error *error)
{
    d->tokenizer->vocab.plain = !d->byte_level;
    return pv_tokenizer_parse_model(d->tokenizer, json, error);
}

static pv_status read_model(document *d, pv_json *json, pv_error *error)
{
    d->has_model = true;
    if (d->has_pretokenizer) return parse_model(d, json, error);
    /* A second reader over the same text, at the same place, with memory of its own. */
    d->waits = true;
    d->model = *json;
    d->model.scratch = NULL;
    d->model.scratch_capacity = 0;
    return pv_json_skip(json, error);
}

static const struct {
    const char *name;
    pv_status (*read)(document *d, pv_json *json, pv_error *error);
} sections[] = {
    {"added_tokens", read_added_tokens},    {"normalizer", read_normalizer}, {"pre_tokenizer", read_pretokenizer},
    {"post_processor", read_postprocessor}, {"decoder", read_decoder},       {"model", read_model},
};

static pv_status read_document(document *d, pv_json *json, pv_error *error)
{
    unsigned seen = 0;
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        size_t i = 0;
        while (i < sizeof sections / sizeof *sections && !pv_json_is(json, sections[i].name)) i++;
        if (i == sizeof sections / sizeof *sections) {
            status = pv_json_skip(json, error);
        } else if (seen & 1u << i) {
            status = bad(json, "a section stands twice", error);
        } else {
            seen |= 1u << i;
            status = sections[i].read(d, json, error);
        }
    }
    return status == PV_OK ? pv_json_expect(json, PV_JSON_END, error) : status;
}

static pv_status parse(pv_tokenizer *tokenizer, const char *text, size_t length, const char *file, pv_bytes *bos,
                       pv_error *error)
{
    document d = {.tokenizer = tokenizer, .bos = bos};
    pv_json json;
    tokenizer->vocab.file = file;
    pv_json_init(&json, &tokenizer->allocator, text, length, file);
    pv_status status = read_document(&d, &json, error);
    if (status == PV_OK && !d.has_model) status = bad(&json, "there is no model", error);
    if (status == PV_OK && d.waits) status = parse_model(&d, &d.model, error);
    if (d.waits) pv_json_free(&d.model);
    if (status == PV_OK && d.has_decoder && d.decodes_bytes != d.byte_level)
        status = pv_fail_at(error, PV_UNSUPPORTED, file, PV_NO_OFFSET, "%s: the %s is ByteLevel, but not the %s", file,
                            d.byte_level ? "pre-tokenizer" : "decoder", d.byte_level ? "decoder" : "pre-tokenizer");
    if (status == PV_OK && tokenizer->vocab.size == 0 && tokenizer->added.count == 0)
        status = bad(&json, "there are no tokens", error);
    pv_json_free(&json);
    return status;
}

/* ---- tokenizer_config.json ------------------------------------------------------------------------------------------ */

typedef struct config {
    pv_bytes bos, eos; /* empty: not named */
    bool says_add_bos, add_bos;
} config;

/* A string, or an object with the string as `content`; anything else names no token. */
static pv_status read_token(pv_json *json, pv_bytes *out, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    out->length = 0;
    if (json->type == PV_JSON_STRING) {
        pv_bytes_add(out, json->string, json->string_length);
    } else if (json->type == PV_JSON_OBJECT) {
        while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
            if (!pv_json_is(json, "content")) {
                status = pv_json_skip(json, error);
            } else if ((status = pv_json_expect(json, PV_JSON_STRING, error)) == PV_OK) {
                out->length = 0;
                pv_bytes_add(out, json->string, json->string_length);
            }
            if (status != PV_OK) break;
        }
    } else if (json->type == PV_JSON_ARRAY) {
        status = pv_json_skip(json, error);
    }
    return status == PV_OK && out->failed ? pv_fail_memory(error, json->string_length, "a token") : status;
}

/* {"3": {"content": "<s>", "normalized": false, …}, …}, read behind its brace: what it says of an added token goes before what
 * tokenizer.json says. */
static pv_status read_overrides(pv_added *added, const pv_map *contents, pv_json *json, pv_error *error)
{
    pv_status status;
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        added_token read = {.id = -1};
        uint32_t index;
        pv_bytes_init(&read.content, json->allocator);
        status = pv_json_expect(json, PV_JSON_OBJECT, error);
        if (status == PV_OK) status = read_added_fields(json, &read, error);
        if (status == PV_OK && read.content.data && pv_map_find(contents, read.content.data, read.content.length, &index))
            added->tokens[index].flags = (uint8_t)read.flags;
        pv_bytes_free(&read.content);
        if (status != PV_OK) break;
    }
    return status;
}

static pv_status override_added(pv_tokenizer *tokenizer, pv_json *json, pv_error *error)
{
    pv_added *added = &tokenizer->added;
    pv_map contents;
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type == PV_JSON_ARRAY) return pv_json_skip(json, error);
    if (json->type != PV_JSON_OBJECT) return PV_OK;
    pv_map_init(&contents, &tokenizer->allocator);
    for (uint32_t i = 0; i < added->count && status == PV_OK; i++)
        if (pv_map_add(&contents, added->text.data + added->tokens[i].offset, added->tokens[i].length, i) < 0)
            status = pv_fail_memory(error, added->count, "the added tokens");
    if (status == PV_OK) status = read_overrides(added, &contents, json, error);
    pv_map_free(&contents);
    return status;
}

static pv_status read_config(pv_tokenizer *tokenizer, pv_json *json, config *c, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        if (pv_json_is(json, "added_tokens_decoder")) {
            status = override_added(tokenizer, json, error);
        } else if (pv_json_is(json, "bos_token")) {
            status = read_token(json, &c->bos, error);
        } else if (pv_json_is(json, "eos_token")) {
            status = read_token(json, &c->eos, error);
        } else if (pv_json_is(json, "add_bos_token")) {
            if ((status = pv_json_next(json, error)) != PV_OK) break;
            c->says_add_bos = json->type == PV_JSON_TRUE || json->type == PV_JSON_FALSE;
            c->add_bos = json->type == PV_JSON_TRUE;
            if (json->type == PV_JSON_OBJECT || json->type == PV_JSON_ARRAY) status = pv_json_skip(json, error);
        } else {
            status = pv_json_skip(json, error);
        }
    }
    return status == PV_OK ? pv_json_expect(json, PV_JSON_END, error) : status;
}

static int32_t find_named(const pv_tokenizer *tokenizer, const pv_bytes *name)
{
    return name->length ? pv_tokenizer_find(tokenizer, name->data, name->length) : -1;
}

/* `first`: what the post-processor puts first. The configuration's add_bos_token has the last word. */
static pv_status apply(pv_tokenizer *tokenizer, const config *c, const pv_bytes *first, const char *file, pv_error *error)
{
    int32_t leads = find_named(tokenizer, first), eos = find_named(tokenizer, &c->eos);
    if (first->length > 0 && leads < 0)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "%s: the post-processor puts '%.*s' first, which is no token",
                          file, (int)pv_min_size(first->length, 64), first->data);
    tokenizer->bos = find_named(tokenizer, &c->bos);
    if (tokenizer->bos < 0) tokenizer->bos = leads;
    tokenizer->add_bos = c->says_add_bos ? c->add_bos : leads >= 0 && leads == tokenizer->bos;
    pv_status status = eos >= 0 ? pv_tokenizer_add_end(tokenizer, (uint64_t)eos, error) : PV_OK;
    return status == PV_OK ? pv_tokenizer_add_known_ends(tokenizer, error) : status;
}

pv_status pv_tokenizer_read_json(pv_tokenizer *tokenizer, const char *text, size_t length, const char *config_text,
                                 size_t config_length, pv_error *error)
{
    static const char file[] = "tokenizer.json";
    config c = {0};
    pv_bytes first;
    pv_json json;
    pv_bytes_init(&c.bos, &tokenizer->allocator);
    pv_bytes_init(&c.eos, &tokenizer->allocator);
    pv_bytes_init(&first, &tokenizer->allocator);
    pv_status status = parse(tokenizer, text, length, file, &first, error);
    if (status == PV_OK && config_text) {
        pv_json_init(&json, &tokenizer->allocator, config_text, config_length, "tokenizer_config.json");
        status = read_config(tokenizer, &json, &c, error);
        pv_json_free(&json);
    }
    if (status == PV_OK) status = pv_tokenizer_seal(tokenizer, file, error);
    if (status == PV_OK) status = apply(tokenizer, &c, &first, file, error);
    pv_bytes_free(&c.bos);
    pv_bytes_free(&c.eos);
    pv_bytes_free(&first);
    return status;
}

pv_status pv_tokenizer_load_json(pv_tokenizer *tokenizer, pv_source *source, pv_error *error)
{
    const char *text, *config_text;
    size_t length, config_length;
    pv_status status = pv_source_text(source, "tokenizer.json", &text, &length, error);
    if (status == PV_OK) status = pv_source_text(source, "tokenizer_config.json", &config_text, &config_length, error);
    if (status != PV_OK) return status;
    if (!text)
        return pv_fail_at(error, PV_NOT_FOUND, "tokenizer.json", PV_NO_OFFSET,
                          "there is no tokenizer.json beside the model in %s", pv_source_path(source));
    return pv_tokenizer_read_json(tokenizer, text, length, config_text, config_length, error);
}
