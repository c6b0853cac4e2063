/* The model of a tokenizer.json: BPE's vocabulary, merges and settings. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "text/tokenizer_internal.h"

typedef struct model {
    pv_tokenizer *tokenizer;
    pv_bytes unknown;
    bool has_type, has_vocab, has_merges, waits; /* merges came before the vocabulary */
    pv_json merges;                              /* waits: the reader before them */
} model;

static pv_status bad(const pv_json *json, const char *message, pv_error *error)
{
    return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s: offset %zu: %s", json->file, json->start, message);
}

static pv_status refuse(const pv_json *json, const char *what, pv_error *error)
{
    return pv_fail_at(error, PV_UNSUPPORTED, json->file, json->start, "%s: a BPE model with %s is not supported", json->file,
                      what);
}

static pv_status read_vocab(model *m, pv_json *json, pv_error *error)
{
    pv_vocab *vocab = &m->tokenizer->vocab;
    pv_bytes spelling;
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (m->has_vocab) return bad(json, "the model has two vocabularies", error);
    if (json->type != PV_JSON_OBJECT) return bad(json, "the vocabulary of a BPE model must be an object", error);
    m->has_vocab = true;
    pv_bytes_init(&spelling, json->allocator);
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        int64_t id = -1;
        spelling.length = 0;
        pv_bytes_add(&spelling, json->string, json->string_length);
        if (spelling.failed) status = pv_fail_memory(error, json->string_length, "a token");
        if (status == PV_OK) status = pv_json_expect(json, PV_JSON_NUMBER, error);
        if (status == PV_OK) status = pv_json_int(json, &id, error);
        if (status == PV_OK && id < 0) status = bad(json, "a token's id is negative", error);
        if (status == PV_OK && spelling.length == 0)
            status = pv_vocab_reach(vocab, (uint64_t)id, error);
        else if (status == PV_OK)
            status = pv_vocab_put(vocab, (uint64_t)id, spelling.data, spelling.length, error);
        if (status != PV_OK) break;
    }
    pv_bytes_free(&spelling);
    return status == PV_OK ? pv_vocab_index(vocab, error) : status;
}

/* ["a", "b"], read behind its bracket. */
static pv_status read_pair(model *m, pv_json *json, pv_bytes *left, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_STRING, error);
    if (status != PV_OK) return status;
    left->length = 0;
    pv_bytes_add(left, json->string, json->string_length);
    if (left->failed) return pv_fail_memory(error, json->string_length, "a merge");
    if ((status = pv_json_expect(json, PV_JSON_STRING, error)) != PV_OK) return status;
    status = pv_bpe_merge(&m->tokenizer->bpe, &m->tokenizer->vocab, left->data, left->length, json->string, json->string_length,
                          error);
    return status == PV_OK ? pv_json_expect(json, PV_JSON_ARRAY_END, error) : status;
}

static pv_status read_merges(model *m, pv_json *json, pv_error *error)
{
    pv_bytes left;
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type != PV_JSON_ARRAY) return bad(json, "merges must be an array", error);
    pv_bytes_init(&left, json->allocator);
    while ((status = pv_json_next(json, error)) == PV_OK && json->type != PV_JSON_ARRAY_END) {
        if (json->type == PV_JSON_ARRAY) {
            status = read_pair(m, json, &left, error);
        } else if (json->type == PV_JSON_STRING) {
            status = pv_bpe_merge_line(&m->tokenizer->bpe, &m->tokenizer->vocab, json->string, json->string_length, error);
        } else {
            status = bad(json, "a merge must be a string or a pair", error);
        }
        if (status != PV_OK) break;
    }
    pv_bytes_free(&left);
    return status;
}

static pv_status meet_merges(model *m, pv_json *json, pv_error *error)
{
    if (m->has_merges) return bad(json, "the model has merges twice", error);
    m->has_merges = true;
    if (m->has_vocab) return read_merges(m, json, error);
    /* A second reader over the same text, at the same place, with memory of its own. */
    m->waits = true;
    m->merges = *json;
    m->merges.scratch = NULL;
    m->merges.scratch_capacity = 0;
    return pv_json_skip(json, error);
}

static pv_status read_type(model *m, pv_json *json, pv_error *error)
{
    pv_status status = pv_json_expect(json, PV_JSON_STRING, error);
    if (status != PV_OK) return status;
    m->has_type = true;
    if (pv_json_is(json, "BPE")) return PV_OK;
    return pv_fail_at(error, PV_UNSUPPORTED, json->file, json->start, "%s: the tokenizer model '%.*s' is not supported; BPE is",
                      json->file, (int)pv_min_size(json->string_length, 40), json->string);
}

/* Settings that must be absent, null, false, 0 or "", and the message if they are not. */
static pv_status read_unwanted(pv_json *json, const char *what, pv_error *error)
{
    double value = 0;
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type == PV_JSON_NULL || json->type == PV_JSON_FALSE) return PV_OK;
    if (json->type == PV_JSON_STRING && json->string_length == 0) return PV_OK;
    if (json->type == PV_JSON_NUMBER && pv_json_double(json, &value, NULL) == PV_OK && value == 0) return PV_OK;
    return refuse(json, what, error);
}

static pv_status read_flag(pv_json *json, bool *out, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (json->type != PV_JSON_TRUE && json->type != PV_JSON_FALSE && json->type != PV_JSON_NULL)
        return bad(json, "must be true or false", error);
    *out = json->type == PV_JSON_TRUE;
    return PV_OK;
}

static pv_status read_unknown(model *m, pv_json *json, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_STRING) return bad(json, "unk_token must be a string or null", error);
    m->unknown.length = 0;
    pv_bytes_add(&m->unknown, json->string, json->string_length);
    return m->unknown.failed ? pv_fail_memory(error, json->string_length, "a token") : PV_OK;
}

static pv_status read_field(model *m, pv_json *json, pv_error *error)
{
    static const struct {
        const char *name, *what;
    } unwanted[] = {
        {"dropout", "dropout"},
        {"continuing_subword_prefix", "continuing_subword_prefix"},
        {"end_of_word_suffix", "end_of_word_suffix"},
        {"byte_fallback", "byte_fallback"},
    };
    if (pv_json_is(json, "type")) return read_type(m, json, error);
    if (pv_json_is(json, "vocab")) return read_vocab(m, json, error);
    if (pv_json_is(json, "merges")) return meet_merges(m, json, error);
    if (pv_json_is(json, "unk_token")) return read_unknown(m, json, error);
    if (pv_json_is(json, "fuse_unk")) return read_flag(json, &m->tokenizer->bpe.fuse_unknown, error);
    if (pv_json_is(json, "ignore_merges")) return read_flag(json, &m->tokenizer->bpe.ignore_merges, error);
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        if (pv_json_is(json, unwanted[i].name)) return read_unwanted(json, unwanted[i].what, error);
    return pv_json_skip(json, error);
}

static pv_status finish(model *m, const pv_json *json, pv_error *error)
{
    pv_status status = PV_OK;
    pv_tokenizer *tokenizer = m->tokenizer;
    if (!m->has_vocab) return bad(json, "the model has no vocab", error);
    if (!m->has_merges) {
        if (m->has_type) return bad(json, "the BPE model has no merges", error);
        return pv_fail_at(error, PV_UNSUPPORTED, json->file, json->start, "%s: the tokenizer model has no type, and is no BPE",
                          json->file);
    }
    if (m->waits) status = read_merges(m, &m->merges, error);
    if (status == PV_OK) status = pv_bpe_seal(&tokenizer->bpe, &tokenizer->vocab, error);
    /* Without such a token in the vocabulary Hugging Face fails only when it is needed: in byte-level models never. */
    if (status == PV_OK && m->unknown.length > 0)
        pv_vocab_find(&tokenizer->vocab, m->unknown.data, m->unknown.length, &tokenizer->bpe.unknown);
    return status;
}

/* Files from before there were types have none; Hugging Face takes those with merges for BPE. */
pv_status pv_tokenizer_parse_model(pv_tokenizer *tokenizer, pv_json *json, pv_error *error)
{
    model m = {.tokenizer = tokenizer};
    pv_bytes_init(&m.unknown, json->allocator);
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY)
        status = read_field(&m, json, error);
    if (status == PV_OK) status = finish(&m, json, error);
    pv_bytes_free(&m.unknown);
    if (m.waits) pv_json_free(&m.merges);
    return status;
}
