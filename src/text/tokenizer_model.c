/* The model of a tokenizer.json: a vocabulary, what belongs to it by the model's type, and settings. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "text/tokenizer_internal.h"

typedef struct model {
    pv_tokenizer *tokenizer;
    char type[16]; /* "": none */
    pv_bytes unknown;
    pv_bytes prefix;        /* of tokens that go on a word */
    pv_bytes suffix;        /* of tokens that end one */
    bool has_vocab, scored; /* scored: the vocabulary is a list of pairs */
    bool has_merges, waits; /* waits: merges came before the vocabulary */
    pv_json merges;         /* waits: the reader before them */
    bool byte_fallback;
    int64_t unknown_id, max_characters; /* −1: not named */
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

static pv_status keep(const pv_json *json, pv_bytes *kept, const char *what, pv_error *error)
{
    kept->length = 0;
    pv_bytes_add(kept, json->string, json->string_length);
    return kept->failed ? pv_fail_memory(error, json->string_length, what) : PV_OK;
}

static pv_status put_token(model *m, uint64_t id, const pv_bytes *spelling, pv_error *error)
{
    pv_vocab *vocab = &m->tokenizer->vocab;
    return spelling->length == 0 ? pv_vocab_reach(vocab, id, error)
                                 : pv_vocab_put(vocab, id, spelling->data, spelling->length, error);
}

/* {"a": 0, …}, read behind its brace. */
static pv_status read_spellings(model *m, pv_json *json, pv_bytes *spelling, pv_error *error)
{
    pv_status status;
    while ((status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        int64_t id = -1;
        status = keep(json, spelling, "a token", error);
        if (status == PV_OK) status = pv_json_expect(json, PV_JSON_NUMBER, error);
        if (status == PV_OK) status = pv_json_int(json, &id, error);
        if (status == PV_OK && id < 0) status = bad(json, "a token's id is negative", error);
        if (status == PV_OK) status = put_token(m, (uint64_t)id, spelling, error);
        if (status != PV_OK) break;
    }
    return status;
}

/* A score as Hugging Face reads it: the digits as an integer, over a power of ten. That may be one unit off the nearest number,
 * and decides between ways to write a text whose sums are the same but for rounding. What has an exponent or more digits is
 * read exactly. */
static pv_status read_score(const pv_json *json, double *score, pv_error *error)
{
    static const double powers[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *text = json->string;
    size_t length = json->string_length, decimals = 0;
    uint64_t digits = 0;
    bool negative = length > 0 && text[0] == '-', behind_point = false;
    for (size_t i = negative; i < length; i++) {
        bool point = text[i] == '.';
        if ((!point && (text[i] < '0' || text[i] > '9')) || digits > (UINT64_MAX - 9) / 10 || decimals == 22)
            return pv_json_double(json, score, error);
        if (point) {
            behind_point = true;
            continue;
        }
        digits = digits * 10 + (uint64_t)(text[i] - '0');
        decimals += behind_point;
    }
    *score = (double)digits / powers[decimals];
    if (negative) *score = -*score;
    return PV_OK;
}

/* [["a", -1.5], …], read behind its bracket. */
static pv_status read_scored(model *m, pv_json *json, pv_bytes *spelling, pv_error *error)
{
    pv_unigram *unigram = &m->tokenizer->unigram;
    pv_status status;
    while ((status = pv_json_next(json, error)) == PV_OK && json->type != PV_JSON_ARRAY_END) {
        double score = 0;
        if (json->type != PV_JSON_ARRAY) return bad(json, "a token must be a pair of its spelling and its score", error);
        status = pv_json_expect(json, PV_JSON_STRING, error);
        if (status == PV_OK) status = keep(json, spelling, "a token", error);
        if (status == PV_OK) status = pv_json_expect(json, PV_JSON_NUMBER, error);
        if (status == PV_OK) status = read_score(json, &score, error);
        if (status == PV_OK) status = pv_json_expect(json, PV_JSON_ARRAY_END, error);
        if (status == PV_OK) status = put_token(m, unigram->count, spelling, error);
        if (status == PV_OK) status = pv_unigram_score(unigram, score, json->file, error);
        if (status != PV_OK) break;
    }
    return status;
}

static pv_status read_vocab(model *m, pv_json *json, pv_error *error)
{
    pv_bytes spelling;
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK) return status;
    if (m->has_vocab) return bad(json, "the model has two vocabularies", error);
    if (json->type != PV_JSON_OBJECT && json->type != PV_JSON_ARRAY)
        return bad(json, "a vocabulary must be an object or an array", error);
    m->has_vocab = true;
    m->scored = json->type == PV_JSON_ARRAY;
    pv_bytes_init(&spelling, json->allocator);
    status = m->scored ? read_scored(m, json, &spelling, error) : read_spellings(m, json, &spelling, error);
    pv_bytes_free(&spelling);
    return status == PV_OK ? pv_vocab_index(&m->tokenizer->vocab, error) : status;
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
    if (m->has_vocab && !m->scored) return read_merges(m, json, error);
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
    snprintf(m->type, sizeof m->type, "%.*s", (int)pv_min_size(json->string_length, sizeof m->type - 1), json->string);
    if (m->type[0] == '\0') return bad(json, "the model's type is empty", error);
    return PV_OK;
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

static pv_status read_string(pv_json *json, pv_bytes *kept, const char *what, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_STRING) return bad(json, what, error);
    return keep(json, kept, "a token", error);
}

static pv_status read_count(pv_json *json, int64_t *out, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_NUMBER) return bad(json, "must be a number or null", error);
    if ((status = pv_json_int(json, out, error)) != PV_OK) return status;
    return *out < 0 ? bad(json, "must not be negative", error) : PV_OK;
}

static pv_status read_field(model *m, pv_json *json, pv_error *error)
{
    pv_bpe *bpe = &m->tokenizer->bpe;
    if (pv_json_is(json, "type")) return read_type(m, json, error);
    if (pv_json_is(json, "vocab")) return read_vocab(m, json, error);
    if (pv_json_is(json, "merges")) return meet_merges(m, json, error);
    if (pv_json_is(json, "unk_token")) return read_string(json, &m->unknown, "unk_token must be a string or null", error);
    if (pv_json_is(json, "continuing_subword_prefix"))
        return read_string(json, &m->prefix, "continuing_subword_prefix must be a string or null", error);
    if (pv_json_is(json, "unk_id")) return read_count(json, &m->unknown_id, error);
    if (pv_json_is(json, "max_input_chars_per_word")) return read_count(json, &m->max_characters, error);
    if (pv_json_is(json, "fuse_unk")) return read_flag(json, &bpe->fuse_unknown, error);
    if (pv_json_is(json, "ignore_merges")) return read_flag(json, &bpe->ignore_merges, error);
    if (pv_json_is(json, "byte_fallback")) return read_flag(json, &m->byte_fallback, error);
    if (pv_json_is(json, "dropout")) return read_unwanted(json, "dropout", error);
    if (pv_json_is(json, "end_of_word_suffix"))
        return read_string(json, &m->suffix, "end_of_word_suffix must be a string or null", error);
    return pv_json_skip(json, error);
}

/* ---- What each type makes of it ------------------------------------------------------------------------------------- */

/* It is compared as it is spelled: in ByteLevel's alphabet ASCII spells itself. */
static pv_status set_suffix(model *m, const pv_json *json, pv_error *error)
{
    pv_bpe *bpe = &m->tokenizer->bpe;
    if (m->suffix.length == 0) return PV_OK;
    if (m->suffix.length >= sizeof bpe->suffix) return refuse(json, "an end_of_word_suffix of 16 bytes or more", error);
    for (size_t i = 0; i < m->suffix.length; i++)
        if (m->suffix.data[i] <= ' ' || m->suffix.data[i] > '~')
            return refuse(json, "an end_of_word_suffix that is not printable ASCII", error);
    memcpy(bpe->suffix, m->suffix.data, m->suffix.length);
    return PV_OK;
}

static pv_status finish_bpe(model *m, const pv_json *json, pv_error *error)
{
    pv_status status = PV_OK;
    pv_tokenizer *tokenizer = m->tokenizer;
    pv_bpe *bpe = &tokenizer->bpe;
    tokenizer->kind = PV_TOKENIZER_BPE;
    if (m->scored) return bad(json, "the vocabulary of a BPE model must be an object", error);
    if (!m->has_merges) return bad(json, "the BPE model has no merges", error);
    if (m->prefix.length > 0) return refuse(json, "continuing_subword_prefix", error);
    if (m->byte_fallback && !tokenizer->vocab.plain) return refuse(json, "byte_fallback behind ByteLevel", error);
    if ((status = set_suffix(m, json, error)) != PV_OK) return status;
    bpe->characters = tokenizer->vocab.plain;
    bpe->byte_fallback = m->byte_fallback;
    if (m->waits) status = read_merges(m, &m->merges, error);
    if (status == PV_OK) status = pv_bpe_seal(bpe, &tokenizer->vocab, error);
    /* Without such a token in the vocabulary Hugging Face fails only when it is needed: in byte-level models never. */
    if (status == PV_OK && m->unknown.length > 0)
        pv_vocab_find(&tokenizer->vocab, m->unknown.data, m->unknown.length, &bpe->unknown);
    return status;
}

static pv_status finish_unigram(model *m, const pv_json *json, pv_error *error)
{
    pv_tokenizer *tokenizer = m->tokenizer;
    tokenizer->kind = PV_TOKENIZER_UNIGRAM;
    if (!m->scored) return bad(json, "the vocabulary of a Unigram model must be an array", error);
    if (m->unknown_id >= (int64_t)tokenizer->vocab.size) return bad(json, "unk_id is no token of the Unigram model", error);
    tokenizer->unigram.unknown = m->unknown_id < 0 ? PV_UNIGRAM_NONE : (uint32_t)m->unknown_id;
    tokenizer->unigram.byte_fallback = m->byte_fallback;
    return pv_unigram_seal(&tokenizer->unigram, &tokenizer->vocab, NULL, error);
}

static pv_status finish_wordpiece(model *m, const pv_json *json, pv_error *error)
{
    pv_tokenizer *tokenizer = m->tokenizer;
    pv_wordpiece *wordpiece = &tokenizer->wordpiece;
    tokenizer->kind = PV_TOKENIZER_WORDPIECE;
    if (m->scored) return bad(json, "the vocabulary of a WordPiece model must be an object", error);
    if (m->prefix.length >= sizeof wordpiece->prefix) return bad(json, "continuing_subword_prefix is too long", error);
    if (m->prefix.data) snprintf(wordpiece->prefix, sizeof wordpiece->prefix, "%s", m->prefix.data);
    if (m->max_characters >= 0) wordpiece->max_characters = (uint64_t)m->max_characters;
    if (!pv_vocab_find(&tokenizer->vocab, m->unknown.length ? m->unknown.data : "[UNK]",
                       m->unknown.length ? m->unknown.length : 5, &wordpiece->unknown))
        return bad(json, "the WordPiece model's unk_token is no token of the vocabulary", error);
    return pv_wordpiece_seal(wordpiece, &tokenizer->vocab, NULL, error);
}

/* Files from before there were types have none; Hugging Face takes those with merges for BPE. */
static pv_status finish(model *m, const pv_json *json, pv_error *error)
{
    static const struct {
        const char *name;
        bool bytes; /* may have ByteLevel before it */
        pv_status (*finish)(model *m, const pv_json *json, pv_error *error);
    } types[] = {{"BPE", true, finish_bpe}, {"Unigram", false, finish_unigram}, {"WordPiece", false, finish_wordpiece}};
    const char *type = m->type[0] == '\0' && m->has_merges ? "BPE" : m->type;
    size_t i = 0;
    while (i < sizeof types / sizeof *types && strcmp(types[i].name, type) != 0) i++;
    if (type[0] == '\0' && m->has_vocab)
        return pv_fail_at(error, PV_UNSUPPORTED, json->file, json->start, "%s: the tokenizer model has no type, and is no BPE",
                          json->file);
    if (type[0] != '\0' && i == sizeof types / sizeof *types)
        return pv_fail_at(error, PV_UNSUPPORTED, json->file, json->start,
                          "%s: the tokenizer model '%s' is not supported; BPE, Unigram and WordPiece are", json->file, type);
    if (!m->has_vocab) return bad(json, "the model has no vocab", error);
    if (!types[i].bytes && !m->tokenizer->vocab.plain)
        return pv_fail_at(error, PV_UNSUPPORTED, json->file, json->start, "%s: a %s model behind ByteLevel is not supported",
                          json->file, type);
    return types[i].finish(m, json, error);
}

pv_status pv_tokenizer_parse_model(pv_tokenizer *tokenizer, pv_json *json, pv_error *error)
{
    model m = {.tokenizer = tokenizer, .unknown_id = -1, .max_characters = -1};
    pv_bytes_init(&m.unknown, json->allocator);
    pv_bytes_init(&m.prefix, json->allocator);
    pv_bytes_init(&m.suffix, json->allocator);
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY)
        status = read_field(&m, json, error);
    if (status == PV_OK) status = finish(&m, json, error);
    pv_bytes_free(&m.unknown);
    pv_bytes_free(&m.prefix);
    pv_bytes_free(&m.suffix);
    if (m.waits) pv_json_free(&m.merges);
    return status;
}
