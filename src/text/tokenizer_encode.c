/* Encoding: added tokens are taken out of the text, what lies between is normalized and cut into words, and each word is
 * encoded by the model. */
#include "base/alloc.h"
#include "base/checked.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

#define MAX_TEXT ((size_t)1 << 30)

/* One call's working memory. */
typedef struct encoder {
    const pv_tokenizer *tokenizer;
    bool control; /* control tokens are found in text */
    const pv_span *plain;
    size_t plain_count;
    pv_tokens *tokens;
    pv_bpe_scratch bpe; /* of bpe, unigram and pieces the one of the model's kind */
    pv_unigram_scratch unigram;
    pv_word_cache pieces;
    pv_pretokenize_run words;
    pv_normalize_run normal;
    pv_error *error;
} encoder;

/* A stretch of the text, and where it stands there: what the spans refer to. */
typedef struct stretch {
    const char *text;
    size_t length;
    size_t offset, original_length; /* the length differs where it was normalized */
    bool continues;                 /* bytes that are no text stand before it */
} stretch;

static pv_status encode_word(void *user, const char *word, size_t length, pv_error *error)
{
    encoder *e = user;
    const pv_tokenizer *t = e->tokenizer;
    bool made = false;
    switch (t->kind) {
    case PV_TOKENIZER_BPE: made = pv_bpe_encode(&t->bpe, &t->vocab, &e->bpe, word, length, e->tokens); break;
    case PV_TOKENIZER_UNIGRAM: made = pv_unigram_encode(&t->unigram, &t->vocab, &e->unigram, word, length, e->tokens); break;
    case PV_TOKENIZER_WORDPIECE: made = pv_wordpiece_encode(&t->wordpiece, &e->pieces, word, length, e->tokens); break;
    }
    return made ? PV_OK : pv_fail_memory(error, length, "encoding a word");
}

static pv_status encode_normalized(encoder *e, const stretch *s)
{
    e->words.first = s->offset == 0;
    e->words.continues = s->continues;
    return pv_pretokenize(&e->words, s->text, s->length);
}

/* Gives the tokens of a search, and what lies between to `rest`. */
static pv_status take_found(encoder *e, pv_added_search *search, const stretch *s,
                            pv_status (*rest)(encoder *e, const stretch *s))
{
    const pv_added_token *token;
    pv_status status;
    size_t done = 0;
    while ((token = pv_added_next(search)) != NULL) {
        stretch between = {s->text + done, 0, s->offset + done, 0, s->continues && done == 0};
        if (search->start > done) {
            between.length = between.original_length = search->start - done;
            if ((status = rest(e, &between)) != PV_OK) return status;
        }
        if (!pv_tokens_add(e->tokens, (int32_t)token->id)) return pv_fail_memory(e->error, sizeof(int32_t), "tokens");
        done = search->end;
    }
    stretch last = {s->text + done, s->length - done, s->offset + done, s->length - done, s->continues && done == 0};
    return last.length > 0 ? rest(e, &last) : PV_OK;
}

/* Takes the added tokens of one matcher out of a stretch and gives what lies between to `rest`. `original`: what the stretch
 * was before it was normalized; NULL: it was not changed. */
static pv_status take_added(encoder *e, const pv_added_matcher *matcher, const stretch *s, const stretch *original,
                            pv_status (*rest)(encoder *e, const stretch *s))
{
    const pv_normalizer *normalizer = &e->tokenizer->normalizer;
    uint32_t *places = NULL;
    size_t count;
    pv_added_search search = {
        .added = &e->tokenizer->added,
        .matcher = matcher,
        .control = e->control,
        .text = s->text,
        .length = s->length,
        .plain = e->plain,
        .plain_count = e->plain_count,
        .offset = s->offset,
    };
    if (matcher->count == 0) return rest(e, s);
    if (original && pv_spans_overlap(e->plain, e->plain_count, original->offset, original->offset + original->length)) {
        if (pv_normalizer_keeps_places(normalizer)) {
            places = pv_normalize_places(normalizer, s->continues, original->text, original->length, &count);
            if (!places) return pv_fail_memory(e->error, original->length, "following text through its normalizer");
        }
        search.places = places;
        if (!places) search.control = false; /* places are lost: no control token is found if any of it is to stay text */
    }
    pv_status status = take_found(e, &search, s, rest);
    pv_free(&e->tokenizer->allocator, places);
    return status;
}

/* Text that is valid UTF-8. */
static pv_status encode_valid(encoder *e, const stretch *s)
{
    stretch normal = *s;
    e->normal.continues = s->continues;
    pv_status status = pv_normalize(&e->normal, s->text, s->length, &normal.text, &normal.length, e->error);
    bool moved = normal.text != s->text || normal.length != s->length;
    if (status != PV_OK) return status;
    return take_added(e, &e->tokenizer->added.normalized, &normal, moved ? s : NULL, encode_normalized);
}

/* Patterns are made for characters: bytes that are none become words of their own, a word for each run. */
static pv_status encode_bytes(encoder *e, const stretch *s)
{
    pv_status status = PV_OK;
    for (size_t at = 0; at < s->length && status == PV_OK;) {
        size_t valid = pv_utf8_valid(s->text + at, s->length - at);
        stretch part = {s->text + at, valid, s->offset + at, valid, at > 0};
        if (valid > 0) status = encode_valid(e, &part);
        at += valid;
        size_t start = at;
        uint32_t code_point;
        while (at < s->length && pv_utf8_decode(s->text + at, s->length - at, &code_point) == 0) at++;
        if (at > start && status == PV_OK) status = encode_word(e, s->text + start, at - start, e->error);
    }
    return status;
}

pv_status pv_tokenizer_encode_marked(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                                     const pv_span *plain, size_t plain_count, pv_tokens *tokens, pv_error *error)
{
    encoder e = {.tokenizer = tokenizer,
                 .control = flags & PV_ENCODE_SPECIAL,
                 .plain = plain,
                 .plain_count = plain_count,
                 .tokens = tokens,
                 .error = error};
    size_t before = tokens->count;
    if (length > MAX_TEXT)
        return pv_fail(error, PV_INVALID_ARGUMENT, "the text has %zu bytes, more than %zu", length, MAX_TEXT);
    if (length == 0) return PV_OK;
    pv_word_cache_init(&e.pieces, &tokenizer->allocator, tokenizer->kind == PV_TOKENIZER_WORDPIECE ? length : 0);
    pv_bpe_scratch_init(&e.bpe, &tokenizer->bpe, tokenizer->kind == PV_TOKENIZER_BPE ? length : 0);
    pv_unigram_scratch_init(&e.unigram, &tokenizer->unigram, tokenizer->kind == PV_TOKENIZER_UNIGRAM ? length : 0);
    pv_pretokenize_run_init(&e.words, &tokenizer->pretokenizer, encode_word, &e, error);
    pv_normalize_run_init(&e.normal, &tokenizer->normalizer);
    pv_status status = take_added(&e, &tokenizer->added.raw, &(stretch){text, length, 0, length, false}, NULL, encode_bytes);
    if (status != PV_OK) tokens->count = before;
    pv_normalize_run_free(&e.normal);
    pv_pretokenize_run_free(&e.words);
    pv_unigram_scratch_free(&e.unigram, &tokenizer->unigram);
    pv_bpe_scratch_free(&e.bpe, &tokenizer->bpe);
    pv_word_cache_free(&e.pieces, &tokenizer->allocator);
    return status;
}

pv_status pv_tokenizer_encode(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, pv_tokens *tokens,
                              pv_error *error)
{
    return pv_tokenizer_encode_marked(tokenizer, text, length, flags, NULL, 0, tokens, error);
}
