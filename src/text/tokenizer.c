#include "text/tokenizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/tokenizer_internal.h"

void pv_tokens_init(pv_tokens *tokens, const pv_allocator *allocator)
{
    *tokens = (pv_tokens){.allocator = allocator};
}

void pv_tokens_free(pv_tokens *tokens)
{
    pv_free(tokens->allocator, tokens->ids);
    pv_tokens_init(tokens, tokens->allocator);
}

bool pv_tokens_add(pv_tokens *tokens, int32_t id)
{
    if (tokens->count == tokens->capacity &&
        !pv_grow(tokens->allocator, (void **)&tokens->ids, &tokens->capacity, tokens->count + 1, sizeof *tokens->ids))
        return false;
    tokens->ids[tokens->count++] = id;
    return true;
}

pv_tokenizer *pv_tokenizer_create(const pv_allocator *allocator)
{
    pv_tokenizer *made = pv_calloc(allocator, 1, sizeof *made);
    if (!made) return NULL;
    made->allocator = *allocator;
    made->bos = -1;
    pv_vocab_init(&made->vocab, &made->allocator, "");
    pv_added_init(&made->added, &made->allocator);
    pv_normalizer_init(&made->normalizer, &made->allocator);
    pv_pretokenizer_init(&made->pretokenizer, &made->allocator);
    pv_bpe_init(&made->bpe, &made->allocator);
    pv_unigram_init(&made->unigram, &made->allocator);
    pv_wordpiece_init(&made->wordpiece, &made->allocator);
    pv_bytes_init(&made->text, &made->allocator);
    pv_tokens_init(&made->ends, &made->allocator);
    return made;
}

pv_status pv_tokenizer_load(const pv_allocator *allocator, pv_source *source, pv_tokenizer **tokenizer, pv_error *error)
{
    static pv_status (*const load[])(pv_tokenizer *tokenizer, pv_source *source, pv_error *error) = {
        [PV_SOURCE_GGUF] = pv_tokenizer_load_gguf,
        [PV_SOURCE_SAFETENSORS] = pv_tokenizer_load_json,
    };
    pv_tokenizer *made = pv_tokenizer_create(allocator);
    if (!made) return pv_fail_memory(error, sizeof *made, "a tokenizer");
    pv_status status = load[pv_source_get_kind(source)](made, source, error);
    made->vocab.file = ""; /* the source's name goes with the source */
    if (status == PV_OK)
        *tokenizer = made;
    else
        pv_tokenizer_destroy(made);
    return status;
}

void pv_tokenizer_destroy(pv_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    pv_allocator allocator = tokenizer->allocator;
    pv_vocab_free(&tokenizer->vocab);
    pv_added_free(&tokenizer->added);
    pv_normalizer_free(&tokenizer->normalizer);
    pv_pretokenizer_free(&tokenizer->pretokenizer);
    pv_bpe_free(&tokenizer->bpe);
    pv_unigram_free(&tokenizer->unigram);
    pv_wordpiece_free(&tokenizer->wordpiece);
    pv_bytes_free(&tokenizer->text);
    pv_free(&allocator, tokenizer->text_end);
    pv_tokens_free(&tokenizer->ends);
    pv_free(&allocator, tokenizer);
}

/* An added token may stand in the model's vocabulary too, then with the same id. */
pv_status pv_tokenizer_seal(pv_tokenizer *tokenizer, const char *file, pv_error *error)
{
    pv_vocab *vocab = &tokenizer->vocab;
    pv_added *added = &tokenizer->added;
    pv_status status = pv_added_seal(added, &tokenizer->normalizer, file, error);
    for (size_t i = 0; i < added->count && status == PV_OK; i++) {
        const pv_added_token *token = &added->tokens[i];
        const char *content = added->text.data + token->offset;
        int shown = (int)pv_min_size(token->length, 64);
        uint32_t id;
        if ((status = pv_vocab_reach(vocab, token->id, error)) != PV_OK) return status;
        bool listed = pv_vocab_find(vocab, content, token->length, &id);
        if (listed && id != token->id)
            return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET,
                              "added token \"%.*s\" has id %u, but %u in the vocabulary", shown, content, token->id, id);
        if (!listed && vocab->entries[token->id].form != PV_FORM_NONE)
            return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET,
                              "added token \"%.*s\" has id %u, which is another token in the vocabulary", shown, content,
                              token->id);
        vocab->entries[token->id].added = true;
    }
    return status == PV_OK ? pv_tokenizer_render(tokenizer, error) : status;
}

/* ---- Questions ------------------------------------------------------------------------------------------------------ */

bool pv_tokenizer_bytes(const pv_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *length, bool *control)
{
    const pv_vocab *vocab = &tokenizer->vocab;
    if (id < 0 || (size_t)id >= vocab->size) return false;
    const pv_vocab_entry *entry = &vocab->entries[id];
    const pv_added_token *token = entry->added ? pv_added_get(&tokenizer->added, (uint32_t)id) : NULL;
    if (token) {
        *bytes = tokenizer->added.text.data + token->shown;
        *length = token->shown_length;
        *control = token->flags & PV_ADDED_CONTROL;
        return true;
    }
    const char *text = vocab->bytes.data;
    size_t start = entry->offset, end = start + entry->length;
    if (tokenizer->text_end) {
        text = tokenizer->text.data;
        start = id ? tokenizer->text_end[id - 1] : 0;
        end = tokenizer->text_end[id];
    }
    *bytes = end > start ? text + start : "";
    *length = end - start;
    *control = false;
    return true;
}

uint32_t pv_tokenizer_size(const pv_tokenizer *tokenizer)
{
    return (uint32_t)tokenizer->vocab.size;
}

int32_t pv_tokenizer_bos(const pv_tokenizer *tokenizer, bool *add_bos)
{
    if (add_bos) *add_bos = tokenizer->add_bos && tokenizer->bos >= 0;
    return tokenizer->bos;
}

int32_t pv_tokenizer_find(const pv_tokenizer *tokenizer, const char *text, size_t length)
{
    uint32_t id;
    const pv_added_token *token = pv_added_find(&tokenizer->added, text, length);
    if (token) return (int32_t)token->id;
    return pv_vocab_find(&tokenizer->vocab, text, length, &id) ? (int32_t)id : -1;
}

const int32_t *pv_tokenizer_ends(const pv_tokenizer *tokenizer, size_t *count)
{
    *count = tokenizer->ends.count;
    return tokenizer->ends.ids;
}

/* ---- Ends ----------------------------------------------------------------------------------------------------------- */

pv_status pv_tokenizer_add_end(pv_tokenizer *tokenizer, uint64_t id, pv_error *error)
{
    for (size_t i = 0; i < tokenizer->ends.count; i++)
        if ((uint64_t)tokenizer->ends.ids[i] == id) return PV_OK;
    return pv_tokens_add(&tokenizer->ends, (int32_t)id) ? PV_OK
                                                        : pv_fail_memory(error, sizeof(int32_t), "the ids that end an answer");
}

pv_status pv_tokenizer_add_known_ends(pv_tokenizer *tokenizer, pv_error *error)
{
    static const struct {
        const char *spelling;
        const char *unless; /* a vocabulary with this token means something else by it */
    } known[] = {
        {"<|im_end|>", NULL},
        {"<|eot_id|>", NULL},
        {"<|eom_id|>", NULL},
        {"<|eot|>", NULL},
        {"<|eom|>", NULL},
        {"<|endoftext|>", NULL},
        {"<|end_of_text|>", NULL},
        {"</s>", NULL},
        {"<eos>", NULL},
        {"<end_of_turn>", NULL},
        {"<turn|>", NULL},
        {"<|end|>", "<|return|>"}, /* there it ends a message within */
        {"<|return|>", NULL},
        {"<|call|>", NULL},
        {"<|END_OF_TURN_TOKEN|>", NULL},
        {"<|end_of_turn|>", NULL},
        {"<|endofturn|>", NULL},
        {"<\xef\xbd\x9c"
         "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
         NULL},
        {"<end_of_utterance>", NULL},
        {"<|EOT|>", NULL},
        {"<EOT>", NULL},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *unless = known[i].unless;
        const pv_added_token *token = pv_added_find(&tokenizer->added, known[i].spelling, strlen(known[i].spelling));
        if (!token || !(token->flags & PV_ADDED_CONTROL)) continue;
        if (unless && pv_added_find(&tokenizer->added, unless, strlen(unless))) continue;
        pv_status status = pv_tokenizer_add_end(tokenizer, token->id, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}
