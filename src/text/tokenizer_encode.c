/* Encoding: added tokens are taken out of the text, what lies between is normalized and cut into words, and each word is
 * encoded by the model. */
#include "base/checked.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

#define MAX_TEXT ((size_t)1 << 30)

/* One call's working memory. */
typedef struct encoder {
    const pv_tokenizer *tokenizer;
    bool control; /* control tokens are found in text */
    pv_tokens *tokens;
    pv_bpe_scratch scratch;
    pv_pretokenize_run words;
    pv_bytes normal;
    pv_error *error;
} encoder;

static pv_status encode_word(void *user, const char *word, size_t length, pv_error *error)
{
    encoder *e = user;
    if (pv_bpe_encode(&e->tokenizer->bpe, &e->tokenizer->vocab, &e->scratch, word, length, e->tokens)) return PV_OK;
    return pv_fail_memory(error, length, "encoding a word");
}

static pv_status encode_normalized(encoder *e, const char *text, size_t length)
{
    return pv_pretokenize(&e->words, text, length);
}

/* Takes the added tokens of one matcher out of the text and gives what lies between to `rest`. */
static pv_status take_added(encoder *e, const pv_added_matcher *matcher, const char *text, size_t length,
                            pv_status (*rest)(encoder *e, const char *text, size_t length))
{
    const pv_added *added = &e->tokenizer->added;
    const pv_added_token *token;
    pv_status status;
    size_t at = 0, done = 0, start, end;
    if (matcher->count == 0) return rest(e, text, length);
    while ((token = pv_added_next(added, matcher, e->control, text, length, &at, done, &start, &end)) != NULL) {
        if (start > done && (status = rest(e, text + done, start - done)) != PV_OK) return status;
        if (!pv_tokens_add(e->tokens, (int32_t)token->id)) return pv_fail_memory(e->error, sizeof(int32_t), "tokens");
        done = end;
    }
    return done < length ? rest(e, text + done, length - done) : PV_OK;
}

/* Text that is valid UTF-8. */
static pv_status encode_valid(encoder *e, const char *text, size_t length)
{
    if (e->tokenizer->pretokenizer.nfc && !pv_unicode_is_nfc(text, length)) {
        e->normal.length = 0;
        pv_unicode_nfc(text, length, &e->normal);
        if (e->normal.failed) return pv_fail_memory(e->error, length, "normalizing text");
        text = e->normal.data;
        length = e->normal.length;
    }
    return take_added(e, &e->tokenizer->added.normalized, text, length, encode_normalized);
}

/* Patterns are made for characters: bytes that are none become words of their own, a word for each run. */
static pv_status encode_bytes(encoder *e, const char *text, size_t length)
{
    pv_status status = PV_OK;
    for (size_t at = 0; at < length && status == PV_OK;) {
        size_t valid = pv_utf8_valid(text + at, length - at);
        if (valid > 0) status = encode_valid(e, text + at, valid);
        at += valid;
        size_t start = at;
        uint32_t code_point;
        while (at < length && pv_utf8_decode(text + at, length - at, &code_point) == 0) at++;
        if (at > start && status == PV_OK) status = encode_word(e, text + start, at - start, e->error);
    }
    return status;
}

pv_status pv_tokenizer_encode(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, pv_tokens *tokens,
                              pv_error *error)
{
    encoder e = {.tokenizer = tokenizer, .control = flags & PV_ENCODE_SPECIAL, .tokens = tokens, .error = error};
    size_t before = tokens->count;
    if (length > MAX_TEXT)
        return pv_fail(error, PV_INVALID_ARGUMENT, "the text has %zu bytes, more than %zu", length, MAX_TEXT);
    if (length == 0) return PV_OK;
    pv_bpe_scratch_init(&e.scratch, &tokenizer->bpe, length);
    pv_pretokenize_run_init(&e.words, &tokenizer->pretokenizer, encode_word, &e, error);
    pv_bytes_init(&e.normal, &tokenizer->allocator);
    pv_status status = take_added(&e, &tokenizer->added.raw, text, length, encode_bytes);
    if (status != PV_OK) tokens->count = before;
    pv_bytes_free(&e.normal);
    pv_pretokenize_run_free(&e.words);
    pv_bpe_scratch_free(&e.scratch, &tokenizer->bpe);
    return status;
}
