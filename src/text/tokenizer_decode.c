/* What tokens stand for: spellings rewritten once, when a tokenizer is loaded. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/tokenizer_internal.h"

static void replace_all(const char *text, size_t length, const char *from, const char *to, pv_bytes *out)
{
    size_t from_length = strlen(from), at = 0;
    for (const char *hit; (hit = memmem(text + at, length - at, from, from_length)) != NULL;) {
        pv_bytes_add(out, text + at, (size_t)(hit - text) - at);
        pv_bytes_add(out, to, strlen(to));
        at = (size_t)(hit - text) + from_length;
    }
    pv_bytes_add(out, text + at, length - at);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* <0x41> */
static bool is_byte(const char *text, size_t length, char *byte)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return false;
    int high = hex_value(text[3]), low = hex_value(text[4]);
    if (high < 0 || low < 0) return false;
    *byte = (char)(high << 4 | low);
    return true;
}

/* What Hugging Face's decoder takes back of the spaces between English words, token by token. */
static void clean_up(const char *text, size_t length, pv_bytes *out)
{
    static const char *const rules[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    pv_bytes turn[2];
    for (size_t i = 0; i < 2; i++) pv_bytes_init(&turn[i], out->allocator);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        pv_bytes *next = &turn[i % 2];
        if (!memmem(text, length, rules[i][0], strlen(rules[i][0]))) continue;
        if (next->data == text) next = &turn[1 - i % 2];
        next->length = 0;
        replace_all(text, length, rules[i][0], rules[i][1], next);
        out->failed |= next->failed;
        if (out->failed) break;
        text = next->data;
        length = next->length;
    }
    pv_bytes_add(out, text, length);
    for (size_t i = 0; i < 2; i++) pv_bytes_free(&turn[i]);
}

static void render_piece(const pv_decoding *d, const char *text, size_t length, pv_bytes *word, pv_bytes *out)
{
    size_t prefix = strlen(d->prefix);
    bool goes_on = prefix > 0 && length >= prefix && memcmp(text, d->prefix, prefix) == 0;
    word->length = 0;
    if (!goes_on) pv_bytes_add(word, " ", 1);
    pv_bytes_add(word, text + (goes_on ? prefix : 0), length - (goes_on ? prefix : 0));
    out->failed |= word->failed;
    if (out->failed) return;
    if (d->cleans_up)
        clean_up(word->data, word->length, out);
    else
        pv_bytes_add(out, word->data, word->length);
}

static void render(const pv_decoding *d, const char *text, size_t length, pv_bytes *word, pv_bytes *out)
{
    char byte;
    if (d->byte_fallback && is_byte(text, length, &byte))
        pv_bytes_add(out, &byte, 1);
    else if (d->joins_words)
        render_piece(d, text, length, word, out);
    else if (d->mark[0])
        replace_all(text, length, d->mark, d->mark_text, out);
    else
        pv_bytes_add(out, text, length);
}

/* Added tokens pass through the decoder like all; one that is found in normalized text stands for that: it may have taken a
 * space along. Control tokens keep their spelling, by which templates know them. */
static pv_status render_added(pv_tokenizer *tokenizer, pv_error *error)
{
    pv_added *added = &tokenizer->added;
    pv_bytes word, made;
    pv_bytes_init(&word, &tokenizer->allocator);
    pv_bytes_init(&made, &tokenizer->allocator);
    for (size_t i = 0; i < added->count && !added->text.failed; i++) {
        pv_added_token *token = &added->tokens[i];
        if ((token->flags & PV_ADDED_CONTROL) && !tokenizer->decoding.joins_words) continue;
        if (token->pattern == token->offset && !tokenizer->vocab.plain) continue;
        made.length = 0;
        render(&tokenizer->decoding, added->text.data + token->pattern, token->pattern_length, &word, &made);
        token->shown = (uint32_t)added->text.length;
        token->shown_length = (uint32_t)made.length;
        pv_bytes_add(&added->text, made.length ? made.data : "", made.length);
        added->text.failed |= made.failed;
    }
    pv_bytes_free(&word);
    pv_bytes_free(&made);
    return added->text.failed ? pv_fail_memory(error, added->text.length, "the added tokens") : PV_OK;
}

pv_status pv_tokenizer_render(pv_tokenizer *tokenizer, pv_error *error)
{
    const pv_decoding *d = &tokenizer->decoding;
    const pv_vocab *vocab = &tokenizer->vocab;
    pv_bytes word;
    pv_status status = render_added(tokenizer, error);
    if (status != PV_OK) return status;
    if (!vocab->plain || (!d->mark[0] && !d->byte_fallback && !d->joins_words) || vocab->size == 0) return PV_OK;
    tokenizer->text_end = pv_alloc(&tokenizer->allocator, vocab->size, sizeof *tokenizer->text_end);
    if (!tokenizer->text_end) return pv_fail_memory(error, vocab->size * sizeof *tokenizer->text_end, "the tokens' texts");
    pv_bytes_init(&word, &tokenizer->allocator);
    for (size_t id = 0; id < vocab->size; id++) {
        const pv_vocab_entry *entry = &vocab->entries[id];
        if (entry->length > 0) render(d, vocab->bytes.data + entry->offset, entry->length, &word, &tokenizer->text);
        if (tokenizer->text.failed || tokenizer->text.length > UINT32_MAX) break;
        tokenizer->text_end[id] = (uint32_t)tokenizer->text.length;
    }
    pv_bytes_free(&word);
    if (tokenizer->text.failed || tokenizer->text.length > UINT32_MAX)
        return pv_fail_memory(error, tokenizer->text.length, "the tokens' texts");
    return PV_OK;
}

size_t pv_tokenizer_leading(const pv_tokenizer *tokenizer, const char *bytes, size_t length)
{
    const pv_decoding *d = &tokenizer->decoding;
    size_t spaces = 0;
    while (spaces < length && bytes[spaces] == ' ' && (d->strips_all || spaces < d->strips)) spaces++;
    return spaces;
}
