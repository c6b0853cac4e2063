/* Tokenizers from GGUF metadata, tokenizer.ggml.*. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "text/tokenizer_internal.h"

/* tokenizer.ggml.token_type */
enum { TYPE_UNDEFINED, TYPE_NORMAL, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE, TYPE_COUNT };

static bool is_integer(pv_meta_type type)
{
    return type != PV_META_F32 && type != PV_META_F64 && type != PV_META_BOOL && type != PV_META_STRING &&
           type != PV_META_ARRAY;
}

/* An array of tokenizer.ggml.<name>; *meta is NULL if it is absent and not required. */
static pv_status get_array(const pv_source *source, const char *key, bool required, const pv_meta **meta, pv_error *error)
{
    const char *file = pv_source_file_name(source, 0);
    *meta = pv_source_meta(source, key);
    if (!*meta && required) return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "%s is missing", key);
    if (*meta && (*meta)->type != PV_META_ARRAY)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "%s is no array", key);
    return PV_OK;
}

static pv_status get_strings(const pv_source *source, const char *key, const pv_meta **meta, pv_error *error)
{
    pv_status status = get_array(source, key, true, meta, error);
    if (status == PV_OK && (*meta)->element != PV_META_STRING)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_file_name(source, 0), PV_NO_OFFSET, "%s is no array of strings", key);
    return status;
}

/* Types and scores have an element for each token. */
static pv_status get_numbers(const pv_source *source, const char *key, bool integers, uint64_t count, const pv_meta **meta,
                             pv_error *error)
{
    const char *file = pv_source_file_name(source, 0);
    pv_status status = get_array(source, key, false, meta, error);
    if (status != PV_OK || !*meta) return status;
    bool numbers =
        is_integer((*meta)->element) || (!integers && ((*meta)->element == PV_META_F32 || (*meta)->element == PV_META_F64));
    if (!numbers)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "%s is no array of %s", key,
                          integers ? "integers" : "numbers");
    if ((*meta)->count != count)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET,
                          "%s has %" PRIu64 " elements, but there are %" PRIu64 " tokens", key, (*meta)->count, count);
    return PV_OK;
}

static bool is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((uint8_t)text[i] >= 0x80) return false;
    return true;
}

static pv_status load_token(pv_tokenizer *tokenizer, const char *file, uint64_t id, int type, const char *text, size_t length,
                            pv_error *error)
{
    static const struct {
        bool added;
        uint8_t flags;
    } types[TYPE_COUNT] = {
        [TYPE_UNKNOWN] = {true, PV_ADDED_CONTROL},
        [TYPE_CONTROL] = {true, PV_ADDED_CONTROL},
        [TYPE_USER_DEFINED] = {true, 0},
    };
    pv_status status = pv_vocab_reach(&tokenizer->vocab, id, error);
    if (status != PV_OK || length == 0) return status; /* an empty token is a hole: nothing encodes to it */
    if (types[type].added &&
        (status = pv_added_put(&tokenizer->added, (uint32_t)id, text, length, types[type].flags, file, error)) != PV_OK)
        return status;
    /* Added tokens spell themselves: "é" is no byte E9. */
    if (types[type].added && !is_ascii(text, length)) return PV_OK;
    return pv_vocab_put(&tokenizer->vocab, id, text, length, error);
}

static pv_status load_tokens(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error)
{
    const char *file = pv_source_file_name(source, 0);
    const pv_meta *tokens, *types, *scores;
    pv_status status = get_strings(source, "tokenizer.ggml.tokens", &tokens, error);
    if (status != PV_OK) return status;
    if (tokens->count == 0 || tokens->count > PV_VOCAB_MAX_SIZE)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET,
                          "tokenizer.ggml.tokens has %" PRIu64 " elements, must have 1 to %u", tokens->count,
                          PV_VOCAB_MAX_SIZE);
    if ((status = get_numbers(source, "tokenizer.ggml.token_type", true, tokens->count, &types, error)) != PV_OK) return status;
    if ((status = get_numbers(source, "tokenizer.ggml.scores", false, tokens->count, &scores, error)) != PV_OK) return status;
    uint64_t cursor = 0;
    const char *text;
    size_t length;
    for (uint64_t id = 0; pv_meta_next_string(tokens, &cursor, &text, &length); id++) {
        double type = types ? pv_meta_number(types, id) : TYPE_NORMAL;
        if (!(type >= 0 && type < TYPE_COUNT))
            return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "tokenizer.ggml.token_type of token %" PRIu64 " is %g",
                              id, type);
        if ((status = load_token(tokenizer, file, id, (int)type, text, length, error)) != PV_OK) return status;
    }
    return pv_vocab_index(&tokenizer->vocab, error);
}

static pv_status load_merges(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error)
{
    const pv_meta *merges;
    uint64_t cursor = 0;
    const char *text;
    size_t length;
    pv_status status = get_strings(source, "tokenizer.ggml.merges", &merges, error);
    while (status == PV_OK && pv_meta_next_string(merges, &cursor, &text, &length))
        status = pv_bpe_merge_line(&tokenizer->bpe, &tokenizer->vocab, text, length, error);
    return status == PV_OK ? pv_bpe_seal(&tokenizer->bpe, &tokenizer->vocab, error) : status;
}

/* What `pre` stands for. A file without it is older than the name and cannot be told from others. */
static pv_status load_pre(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error)
{
    const char *file = pv_source_file_name(source, 0), *name;
    size_t length;
    bool found;
    pv_status status = pv_meta_string(source, "tokenizer.ggml.pre", &name, &length, &found, error);
    if (status != PV_OK) return status;
    if (!found)
        return pv_fail_at(error, PV_UNSUPPORTED, file, PV_NO_OFFSET,
                          "tokenizer.ggml.pre is missing, so that the pre-tokenizer is not known; convert the model anew");
    const pv_gguf_pre *pre = pv_gguf_pre_find(name, length);
    if (!pre)
        return pv_fail_at(error, PV_UNSUPPORTED, file, PV_NO_OFFSET, "the pre-tokenizer '%.*s' is not known",
                          (int)pv_min_size(length, 64), name);
    for (size_t i = 0; pre->patterns[i]; i++) {
        status = pv_pretokenizer_regex(&tokenizer->pretokenizer, pre->patterns[i], strlen(pre->patterns[i]), PV_ISOLATED, false,
                                       error);
        if (status != PV_OK) return status;
    }
    tokenizer->pretokenizer.nfc = pre->nfc;
    tokenizer->bpe.ignore_merges = pre->ignore_merges;
    tokenizer->add_bos = pre->add_bos;
    return pv_meta_bool(source, "tokenizer.ggml.add_bos_token", &tokenizer->add_bos, &found, error);
}

static pv_status load_id(const pv_tokenizer *tokenizer, const pv_source *source, const char *key, uint64_t *id, bool *found,
                         pv_error *error)
{
    pv_status status = pv_meta_u64(source, key, id, found, error);
    if (status == PV_OK && *found && *id >= tokenizer->vocab.size)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_file_name(source, 0), PV_NO_OFFSET,
                          "%s is %" PRIu64 ", but there are %zu tokens", key, *id, tokenizer->vocab.size);
    return status;
}

static pv_status load_ids(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    uint64_t id;
    bool found;
    pv_status status = load_id(tokenizer, source, "tokenizer.ggml.bos_token_id", &id, &found, error);
    if (status == PV_OK && found) tokenizer->bos = (int32_t)id;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && status == PV_OK; i++) {
        status = load_id(tokenizer, source, ends[i], &id, &found, error);
        if (status == PV_OK && found) status = pv_tokenizer_add_end(tokenizer, id, error);
    }
    return status == PV_OK ? pv_tokenizer_add_known_ends(tokenizer, error) : status;
}

static pv_status load_bpe(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error)
{
    pv_status status;
    if ((status = load_pre(tokenizer, source, error)) != PV_OK) return status;
    if ((status = load_tokens(tokenizer, source, error)) != PV_OK) return status;
    if ((status = load_merges(tokenizer, source, error)) != PV_OK) return status;
    if ((status = pv_tokenizer_seal(tokenizer, pv_source_file_name(source, 0), error)) != PV_OK) return status;
    return load_ids(tokenizer, source, error);
}

pv_status pv_tokenizer_load_gguf(pv_tokenizer *tokenizer, pv_source *source, pv_error *error)
{
    static const struct {
        const char *name;
        pv_status (*load)(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error);
    } models[] = {
        {"gpt2", load_bpe}, /* byte-level BPE */
    };
    const char *file = pv_source_file_name(source, 0), *name;
    size_t length;
    bool found;
    pv_status status = pv_meta_string(source, "tokenizer.ggml.model", &name, &length, &found, error);
    if (status != PV_OK) return status;
    if (!found)
        return pv_fail_at(error, PV_NOT_FOUND, file, PV_NO_OFFSET,
                          "the file has no tokenizer: tokenizer.ggml.model is missing");
    tokenizer->vocab.file = file;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strlen(models[i].name) == length && memcmp(models[i].name, name, length) == 0)
            return models[i].load(tokenizer, source, error);
    return pv_fail_at(error, PV_UNSUPPORTED, file, PV_NO_OFFSET, "the tokenizer model '%.*s' is not supported; gpt2 is",
                      (int)pv_min_size(length, 64), name);
}
