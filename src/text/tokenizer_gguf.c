/* Tokenizers from GGUF metadata, tokenizer.ggml.*. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/tokenizer_internal.h"

#define SPACE_MARK "\xe2\x96\x81" /* ▁ */

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

/* What a file says of each of its tokens. */
typedef struct token_list {
    const pv_meta *tokens, *types, *scores; /* types and scores: NULL if there are none */
    bool *left_out;                         /* by id: encoding never gives it but as an added token */
} token_list;

static pv_status get_tokens(const pv_source *source, token_list *list, pv_error *error)
{
    const char *file = pv_source_file_name(source, 0);
    pv_status status = get_strings(source, "tokenizer.ggml.tokens", &list->tokens, error);
    if (status != PV_OK) return status;
    uint64_t count = list->tokens->count;
    if (count == 0 || count > PV_VOCAB_MAX_SIZE)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET,
                          "tokenizer.ggml.tokens has %" PRIu64 " elements, must have 1 to %u", count, PV_VOCAB_MAX_SIZE);
    if ((status = get_numbers(source, "tokenizer.ggml.token_type", true, count, &list->types, error)) != PV_OK) return status;
    return get_numbers(source, "tokenizer.ggml.scores", false, count, &list->scores, error);
}

static const struct {
    bool added, left_out;
    uint8_t flags;
} token_types[TYPE_COUNT] = {
    [TYPE_UNKNOWN] = {true, true, PV_ADDED_CONTROL},
    [TYPE_CONTROL] = {true, true, PV_ADDED_CONTROL},
    [TYPE_USER_DEFINED] = {true, false, 0},
    [TYPE_UNUSED] = {false, true, 0},
    [TYPE_BYTE] = {false, true, 0},
};

/* In vocabularies by characters ▁ stands for a space, in the texts that users look for too. */
static pv_status add_token(pv_tokenizer *tokenizer, const char *file, uint32_t id, int type, const char *text, size_t length,
                           pv_error *error)
{
    pv_bytes spaced;
    if (!tokenizer->vocab.plain) return pv_added_put(&tokenizer->added, id, text, length, token_types[type].flags, file, error);
    pv_bytes_init(&spaced, &tokenizer->allocator);
    for (size_t at = 0; at < length;) {
        bool mark = length - at >= 3 && memcmp(text + at, SPACE_MARK, 3) == 0;
        pv_bytes_add(&spaced, mark ? " " : text + at, 1);
        at += mark ? 3 : 1;
    }
    pv_status status =
        spaced.failed ? pv_fail_memory(error, length, "a token")
                      : pv_added_put(&tokenizer->added, id, spaced.data, spaced.length, token_types[type].flags, file, error);
    pv_bytes_free(&spaced);
    return status;
}

static pv_status load_token(pv_tokenizer *tokenizer, const char *file, uint64_t id, int type, const char *text, size_t length,
                            pv_error *error)
{
    pv_status status = pv_vocab_reach(&tokenizer->vocab, id, error);
    if (status != PV_OK || length == 0) return status; /* an empty token is a hole: nothing encodes to it */
    if (token_types[type].added && (status = add_token(tokenizer, file, (uint32_t)id, type, text, length, error)) != PV_OK)
        return status;
    /* Added tokens spell themselves: "é" is no byte E9. And if they have spaces they stand in no vocabulary by characters. */
    if (token_types[type].added && (!is_ascii(text, length) || (tokenizer->vocab.plain && memchr(text, ' ', length))))
        return PV_OK;
    return pv_vocab_put(&tokenizer->vocab, id, text, length, error);
}

/* `respell`: gives the spelling that the model looks for, in place of the file's; NULL: that is the same. */
static pv_status load_tokens(pv_tokenizer *tokenizer, const pv_source *source, const token_list *list,
                             void (*respell)(const char **text, size_t *length, int type, pv_bytes *made), pv_error *error)
{
    const char *file = pv_source_file_name(source, 0), *text;
    uint64_t cursor = 0;
    size_t length;
    pv_status status = PV_OK;
    pv_bytes made;
    pv_bytes_init(&made, &tokenizer->allocator);
    for (uint64_t id = 0; status == PV_OK && pv_meta_next_string(list->tokens, &cursor, &text, &length); id++) {
        double type = list->types ? pv_meta_number(list->types, id) : TYPE_NORMAL;
        if (!(type >= 0 && type < TYPE_COUNT)) {
            status = pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "tokenizer.ggml.token_type of token %" PRIu64 " is %g",
                                id, type);
            break;
        }
        if (respell) respell(&text, &length, (int)type, &made);
        status = made.failed ? pv_fail_memory(error, length, "a token")
                             : load_token(tokenizer, file, id, (int)type, text, length, error);
        if (list->left_out) list->left_out[id] = token_types[(int)type].left_out;
    }
    pv_bytes_free(&made);
    return status == PV_OK ? pv_vocab_index(&tokenizer->vocab, error) : status;
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
    if ((status = pv_gguf_pre_add(pre, &tokenizer->pretokenizer, error)) != PV_OK) return status;
    pv_normal_step *step = NULL;
    if (pre->nfc && (status = pv_normalizer_add(&tokenizer->normalizer, PV_NORMAL_NFC, &step, error)) != PV_OK) return status;
    tokenizer->bpe.ignore_merges = pre->ignore_merges;
    tokenizer->add_bos = pre->add_bos;
    return PV_OK;
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

static pv_status load_bpe(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, pv_error *error)
{
    pv_status status;
    if ((status = load_pre(tokenizer, source, error)) != PV_OK) return status;
    if ((status = get_tokens(source, list, error)) != PV_OK) return status;
    if ((status = load_tokens(tokenizer, source, list, NULL, error)) != PV_OK) return status;
    return load_merges(tokenizer, source, error);
}

/* ---- Models of SentencePiece ---------------------------------------------------------------------------------------- */

static pv_status get_flag(const pv_source *source, const char *key, bool otherwise, bool *out, pv_error *error)
{
    bool found;
    *out = otherwise;
    return pv_meta_bool(source, key, out, &found, error);
}

static pv_status make_left_out(const pv_tokenizer *tokenizer, token_list *list, pv_error *error)
{
    list->left_out = pv_calloc(&tokenizer->allocator, list->tokens->count, sizeof *list->left_out);
    return list->left_out ? PV_OK : pv_fail_memory(error, list->tokens->count, "the vocabulary");
}

/* Every token that two tokens make up is a merge; a higher score comes first, and of equal ones the leftmost. */
typedef struct ranked_token {
    double score;
    uint32_t id;
} ranked_token;

static int by_score(const void *left, const void *right)
{
    const ranked_token *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

#define MAX_SPLIT_WORK                                                                                                         \
    ((uint64_t)1 << 31) /* bytes hashed to find the parts of tokens; the largest vocabularies need a hundredth */

static pv_status add_splits(pv_tokenizer *tokenizer, const token_list *list, uint32_t id, uint32_t rank, uint64_t *work,
                            pv_error *error)
{
    const pv_vocab *vocab = &tokenizer->vocab;
    const char *text = vocab->bytes.data + vocab->entries[id].offset;
    size_t length = vocab->entries[id].length;
    *work += (uint64_t)length * length;
    if (*work > MAX_SPLIT_WORK)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET,
                          "the tokens are too many and too long to find their parts");
    for (size_t at = 1; at < length; at++) {
        pv_bpe_pair pair = {.rank = rank, .merged = id};
        if (((uint8_t)text[at] & 0xc0) == 0x80) continue;
        if (!pv_vocab_find_bytes(vocab, text, at, PV_FORM_RAW, &pair.left) || list->left_out[pair.left]) continue;
        if (!pv_vocab_find_bytes(vocab, text + at, length - at, PV_FORM_RAW, &pair.right) || list->left_out[pair.right])
            continue;
        pv_status status = pv_bpe_pair_add(&tokenizer->bpe, vocab, pair, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

static pv_status add_ranked(pv_tokenizer *tokenizer, const token_list *list, ranked_token *ranked, pv_error *error)
{
    size_t count = 0;
    uint64_t work = 0;
    for (uint32_t id = 0; id < tokenizer->vocab.size; id++) {
        double score = pv_meta_number(list->scores, id);
        if (!(score >= -1e30 && score <= 1e30))
            return pv_fail_at(error, PV_BAD_FILE, tokenizer->vocab.file, PV_NO_OFFSET,
                              "tokenizer.ggml.scores of token %u is %g", id, score);
        if (tokenizer->vocab.entries[id].form == PV_FORM_RAW && !list->left_out[id])
            ranked[count++] = (ranked_token){score, id};
    }
    qsort(ranked, count, sizeof *ranked, by_score);
    for (size_t i = 0, rank = 0; i < count; i++) {
        if (i > 0 && ranked[i].score != ranked[i - 1].score) rank = i;
        pv_status status = add_splits(tokenizer, list, ranked[i].id, (uint32_t)rank, &work, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

static pv_status derive_merges(pv_tokenizer *tokenizer, const token_list *list, pv_error *error)
{
    ranked_token *ranked = pv_alloc(&tokenizer->allocator, tokenizer->vocab.size, sizeof *ranked);
    if (!ranked) return pv_fail_memory(error, tokenizer->vocab.size * sizeof *ranked, "the merges");
    pv_status status = add_ranked(tokenizer, list, ranked, error);
    pv_free(&tokenizer->allocator, ranked);
    return status == PV_OK ? pv_bpe_seal(&tokenizer->bpe, &tokenizer->vocab, error) : status;
}

/* Spaces become ▁, and one more stands before a text; back again in what tokens stand for. `prefixes` and `removes`: what a
 * file means that does not say it. */
static pv_status set_spaces(pv_tokenizer *tokenizer, const pv_source *source, bool prefixes, bool removes, pv_error *error)
{
    bool prefix, collapses;
    pv_normal_step *step = NULL;
    pv_status status = get_flag(source, "tokenizer.ggml.add_space_prefix", prefixes, &prefix, error);
    if (status == PV_OK) status = get_flag(source, "tokenizer.ggml.remove_extra_whitespaces", removes, &collapses, error);
    if (status == PV_OK && collapses && removes)
        status = pv_normalizer_add(&tokenizer->normalizer, PV_NORMAL_COLLAPSE_SPACES, &step, error);
    if (status == PV_OK && prefix) status = pv_normalizer_prepend(&tokenizer->normalizer, " ", 1, error);
    if (status == PV_OK) status = pv_normalizer_replace(&tokenizer->normalizer, false, " ", 1, SPACE_MARK, 3, error);
    strcpy(tokenizer->decoding.mark, SPACE_MARK);
    strcpy(tokenizer->decoding.mark_text, " ");
    tokenizer->decoding.byte_fallback = true;
    tokenizer->decoding.strips = prefix;
    return status;
}

static pv_status find_unknown(const pv_source *source, uint64_t count, uint32_t *unknown, pv_error *error)
{
    uint64_t id = 0;
    bool found;
    pv_status status = pv_meta_u64(source, "tokenizer.ggml.unknown_token_id", &id, &found, error);
    if (status != PV_OK || !found) return status;
    if (id >= count)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_file_name(source, 0), PV_NO_OFFSET,
                          "tokenizer.ggml.unknown_token_id is %" PRIu64 ", but there are %" PRIu64 " tokens", id, count);
    *unknown = (uint32_t)id;
    return PV_OK;
}

static pv_status need_scores(const pv_source *source, const token_list *list, pv_error *error)
{
    if (list->scores) return PV_OK;
    return pv_fail_at(error, PV_BAD_FILE, pv_source_file_name(source, 0), PV_NO_OFFSET, "tokenizer.ggml.scores is missing");
}

/* BPE by characters, with byte fallback. */
static pv_status load_characters(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, bool prefixes,
                                 pv_error *error)
{
    pv_status status;
    tokenizer->vocab.plain = tokenizer->bpe.characters = tokenizer->bpe.byte_fallback = tokenizer->bpe.fuse_unknown = true;
    tokenizer->add_bos = true;
    if ((status = make_left_out(tokenizer, list, error)) != PV_OK) return status;
    if ((status = load_tokens(tokenizer, source, list, NULL, error)) != PV_OK) return status;
    if ((status = find_unknown(source, list->tokens->count, &tokenizer->bpe.unknown, error)) != PV_OK) return status;
    return set_spaces(tokenizer, source, prefixes, false, error);
}

/* The file has no merges: the scores tell their order. */
static pv_status load_spm(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, pv_error *error)
{
    pv_status status;
    if ((status = get_tokens(source, list, error)) != PV_OK) return status;
    if ((status = need_scores(source, list, error)) != PV_OK) return status;
    if ((status = load_characters(tokenizer, source, list, true, error)) != PV_OK) return status;
    return derive_merges(tokenizer, list, error);
}

/* The same with merges, and no space before a text unless the file says so: Gemma since its fourth. */
static pv_status load_gemma4(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, pv_error *error)
{
    pv_status status;
    if ((status = get_tokens(source, list, error)) != PV_OK) return status;
    if ((status = load_characters(tokenizer, source, list, false, error)) != PV_OK) return status;
    return load_merges(tokenizer, source, error);
}

static pv_status load_charsmap(pv_tokenizer *tokenizer, const pv_source *source, pv_error *error)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const char *file = pv_source_file_name(source, 0);
    const pv_meta *map;
    pv_normal_step *step = NULL;
    pv_status status = get_array(source, key, false, &map, error);
    if (status != PV_OK || !map || map->count == 0) return status;
    if (map->element != PV_META_U8 && map->element != PV_META_I8)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "%s is no array of bytes", key);
    status = pv_normalizer_add(&tokenizer->normalizer, PV_NORMAL_CHARSMAP, &step, error);
    return status == PV_OK ? pv_charsmap_read(&step->map, map->data, (size_t)map->data_bytes, file, error) : status;
}

static pv_status load_unigram(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, pv_error *error)
{
    pv_unigram *unigram = &tokenizer->unigram;
    pv_status status;
    tokenizer->kind = PV_TOKENIZER_UNIGRAM;
    tokenizer->vocab.plain = unigram->byte_fallback = unigram->single = true;
    if ((status = get_tokens(source, list, error)) != PV_OK) return status;
    if ((status = need_scores(source, list, error)) != PV_OK) return status;
    if ((status = make_left_out(tokenizer, list, error)) != PV_OK) return status;
    if ((status = load_tokens(tokenizer, source, list, NULL, error)) != PV_OK) return status;
    if ((status = find_unknown(source, list->tokens->count, &unigram->unknown, error)) != PV_OK) return status;
    if ((status = load_charsmap(tokenizer, source, error)) != PV_OK) return status;
    if ((status = set_spaces(tokenizer, source, true, true, error)) != PV_OK) return status;
    for (uint64_t id = 0; id < list->tokens->count && status == PV_OK; id++)
        status = pv_unigram_score(unigram, pv_meta_number(list->scores, id), tokenizer->vocab.file, error);
    return status == PV_OK ? pv_unigram_seal(unigram, &tokenizer->vocab, list->left_out, error) : status;
}

/* ---- BERT's ---------------------------------------------------------------------------------------------------------- */

/* Such files mark where a word begins, not where it goes on. */
static void respell_piece(const char **text, size_t *length, int type, pv_bytes *made)
{
    if (token_types[type].added || *length == 0) return;
    if (*length > 3 && memcmp(*text, SPACE_MARK, 3) == 0) {
        *text += 3;
        *length -= 3;
        return;
    }
    made->length = 0;
    pv_bytes_add(made, "##", 2);
    pv_bytes_add(made, *text, *length);
    if (made->failed) return;
    *text = made->data;
    *length = made->length;
}

/* The file does not say how text is normalized: those of the name are models without case. */
static pv_status load_wordpiece(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, pv_error *error)
{
    static const pv_normal_kind kinds[] = {PV_NORMAL_CLEAN, PV_NORMAL_SPACE_CHINESE, PV_NORMAL_NFD, PV_NORMAL_STRIP_ACCENTS,
                                           PV_NORMAL_LOWERCASE};
    pv_status status;
    pv_normal_step *step = NULL;
    tokenizer->kind = PV_TOKENIZER_WORDPIECE;
    tokenizer->vocab.plain = true;
    tokenizer->add_bos = true;
    strcpy(tokenizer->decoding.prefix, "##");
    tokenizer->decoding.joins_words = true;
    tokenizer->decoding.strips = 1;
    if ((status = get_tokens(source, list, error)) != PV_OK) return status;
    if ((status = make_left_out(tokenizer, list, error)) != PV_OK) return status;
    if ((status = load_tokens(tokenizer, source, list, respell_piece, error)) != PV_OK) return status;
    if ((status = find_unknown(source, list->tokens->count, &tokenizer->wordpiece.unknown, error)) != PV_OK) return status;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && status == PV_OK; i++)
        status = pv_normalizer_add(&tokenizer->normalizer, kinds[i], &step, error);
    if (status == PV_OK) status = pv_pretokenizer_spaces(&tokenizer->pretokenizer, error);
    if (status == PV_OK) status = pv_pretokenizer_punctuation(&tokenizer->pretokenizer, PV_ISOLATED, error);
    return status == PV_OK ? pv_wordpiece_seal(&tokenizer->wordpiece, &tokenizer->vocab, list->left_out, error) : status;
}

static pv_status load_model(pv_tokenizer *tokenizer, const pv_source *source, const char *name, size_t length, pv_error *error)
{
    static const struct {
        const char *name;
        pv_status (*load)(pv_tokenizer *tokenizer, const pv_source *source, token_list *list, pv_error *error);
    } models[] = {
        {"gpt2", load_bpe}, {"llama", load_spm}, {"gemma4", load_gemma4}, {"t5", load_unigram}, {"bert", load_wordpiece}};
    const char *file = pv_source_file_name(source, 0);
    size_t i = 0;
    while (i < sizeof models / sizeof *models &&
           (strlen(models[i].name) != length || memcmp(models[i].name, name, length) != 0))
        i++;
    if (i == sizeof models / sizeof *models)
        return pv_fail_at(error, PV_UNSUPPORTED, file, PV_NO_OFFSET,
                          "the tokenizer model '%.*s' is not supported; gpt2, llama, gemma4, t5 and bert are",
                          (int)pv_min_size(length, 64), name);
    token_list list = {0};
    pv_status status = models[i].load(tokenizer, source, &list, error);
    pv_free(&tokenizer->allocator, list.left_out);
    bool found;
    if (status == PV_OK) status = pv_meta_bool(source, "tokenizer.ggml.add_bos_token", &tokenizer->add_bos, &found, error);
    if (status == PV_OK) status = pv_tokenizer_seal(tokenizer, file, error);
    return status == PV_OK ? load_ids(tokenizer, source, error) : status;
}

pv_status pv_tokenizer_load_gguf(pv_tokenizer *tokenizer, pv_source *source, pv_error *error)
{
    const char *file = pv_source_file_name(source, 0), *name;
    size_t length;
    bool found;
    pv_status status = pv_meta_string(source, "tokenizer.ggml.model", &name, &length, &found, error);
    if (status != PV_OK) return status;
    if (!found)
        return pv_fail_at(error, PV_NOT_FOUND, file, PV_NO_OFFSET,
                          "the file has no tokenizer: tokenizer.ggml.model is missing");
    tokenizer->vocab.file = file;
    return load_model(tokenizer, source, name, length, error);
}
