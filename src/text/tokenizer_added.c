#include "text/tokenizer_added.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/unicode.h"

void pv_added_init(pv_added *added, const pv_allocator *allocator)
{
    *added = (pv_added){.allocator = allocator};
    pv_bytes_init(&added->text, allocator);
}

void pv_added_free(pv_added *added)
{
    pv_free(added->allocator, added->tokens);
    pv_free(added->allocator, added->raw.order);
    pv_free(added->allocator, added->normalized.order);
    pv_bytes_free(&added->text);
    pv_added_init(added, added->allocator);
}

pv_status pv_added_put(pv_added *added, uint32_t id, const char *content, size_t length, unsigned flags, const char *file,
                       pv_error *error)
{
    if (length == 0 || length > PV_ADDED_MAX_LENGTH)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "added token %u has %zu bytes, must have 1 to %u", id, length,
                          PV_ADDED_MAX_LENGTH);
    if (!pv_grow(added->allocator, (void **)&added->tokens, &added->capacity, added->count + 1, sizeof *added->tokens))
        return pv_fail_memory(error, (added->count + 1) * sizeof *added->tokens, "the added tokens");
    added->tokens[added->count++] = (pv_added_token){
        .id = id,
        .offset = (uint32_t)added->text.length,
        .length = (uint32_t)length,
        .flags = (uint8_t)flags,
        .pattern = (uint32_t)added->text.length,
        .pattern_length = (uint32_t)length,
        .shown = (uint32_t)added->text.length,
        .shown_length = (uint32_t)length,
    };
    pv_bytes_add(&added->text, content, length);
    return added->text.failed ? pv_fail_memory(error, length, "the added tokens") : PV_OK;
}

static int compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, pv_min_size(a_length, b_length));
    if (order != 0) return order;
    return a_length < b_length ? -1 : a_length > b_length;
}

static int by_id(const void *left, const void *right)
{
    const pv_added_token *a = left, *b = right;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* qsort has no context argument: what is sorted carries its text along. */
typedef struct sorted_pattern {
    const char *text;
    uint32_t length, token;
} sorted_pattern;

static int by_pattern(const void *left, const void *right)
{
    const sorted_pattern *a = left, *b = right;
    int order = compare_bytes(a->text, a->length, b->text, b->length);
    return order != 0 ? order : (a->token < b->token ? -1 : a->token > b->token);
}

static pv_status build_matcher(pv_added *added, bool normalized, pv_added_matcher *matcher, pv_error *error)
{
    size_t count = 0;
    sorted_pattern *sorted = pv_alloc(added->allocator, added->count, sizeof *sorted);
    if (!sorted) return pv_fail_memory(error, added->count * sizeof *sorted, "the added tokens");
    for (size_t i = 0; i < added->count; i++) {
        const pv_added_token *token = &added->tokens[i];
        if (((token->flags & PV_ADDED_NORMALIZED) != 0) != normalized || token->pattern_length == 0) continue;
        sorted[count++] = (sorted_pattern){added->text.data + token->pattern, token->pattern_length, (uint32_t)i};
    }
    if (count > 0) {
        qsort(sorted, count, sizeof *sorted, by_pattern);
        matcher->order = pv_alloc(added->allocator, count, sizeof *matcher->order);
        if (!matcher->order) {
            pv_free(added->allocator, sorted);
            return pv_fail_memory(error, count * sizeof *matcher->order, "the added tokens");
        }
        for (size_t i = 0; i < count; i++) {
            matcher->order[i] = sorted[i].token;
            matcher->first[(uint8_t)sorted[i].text[0] + 1]++;
        }
        for (size_t i = 1; i < 257; i++) matcher->first[i] += matcher->first[i - 1];
        matcher->count = count;
    }
    pv_free(added->allocator, sorted);
    return PV_OK;
}

static pv_status normalize_pattern(pv_added *added, pv_added_token *token, pv_normalize_run *run, pv_error *error)
{
    const char *content = added->text.data + token->offset, *normal;
    size_t length;
    if (!(token->flags & PV_ADDED_NORMALIZED) || pv_utf8_valid(content, token->length) != token->length) return PV_OK;
    pv_status status = pv_normalize(run, content, token->length, &normal, &length, error);
    if (status != PV_OK) return status;
    if (length == token->length && memcmp(normal, content, length) == 0) return PV_OK;
    if (length > 8 * PV_ADDED_MAX_LENGTH)
        return pv_fail(error, PV_BAD_FILE, "added token %u has %zu bytes once it is normalized, more than %u", token->id,
                       length, 8 * PV_ADDED_MAX_LENGTH);
    /* What strips may give a part of the content, which moves when the text grows. */
    char *copy = pv_copy_string(added->allocator, normal, length);
    if (!copy) return pv_fail_memory(error, length, "the added tokens");
    token->pattern = (uint32_t)added->text.length;
    token->pattern_length = (uint32_t)length;
    pv_bytes_add(&added->text, copy, length);
    pv_free(added->allocator, copy);
    return added->text.failed ? pv_fail_memory(error, token->length, "the added tokens") : PV_OK;
}

static pv_status normalize_patterns(pv_added *added, const pv_normalizer *normalizer, pv_error *error)
{
    pv_normalize_run run;
    pv_status status = PV_OK;
    pv_normalize_run_init(&run, normalizer);
    for (size_t i = 0; i < added->count && status == PV_OK; i++)
        status = normalize_pattern(added, &added->tokens[i], &run, error);
    pv_normalize_run_free(&run);
    return status;
}

static pv_status refuse_duplicates(const pv_added *added, const char *file, pv_error *error)
{
    for (size_t i = 1; i < added->count; i++)
        if (added->tokens[i].id == added->tokens[i - 1].id)
            return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "added token id %u is given twice", added->tokens[i].id);
    pv_map contents;
    pv_map_init(&contents, added->allocator);
    pv_status status = PV_OK;
    for (size_t i = 0; i < added->count && status == PV_OK; i++) {
        const pv_added_token *token = &added->tokens[i];
        const char *content = added->text.data + token->offset;
        int fresh = pv_map_add(&contents, content, token->length, token->id);
        if (fresh < 0) {
            status = pv_fail_memory(error, added->count, "the added tokens");
        } else if (fresh == 0) {
            status = pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "added token \"%.*s\" is given twice",
                                (int)pv_min_size(token->length, 64), content);
        }
    }
    pv_map_free(&contents);
    return status;
}

pv_status pv_added_seal(pv_added *added, const pv_normalizer *normalizer, const char *file, pv_error *error)
{
    pv_status status;
    if (added->count == 0) return PV_OK;
    qsort(added->tokens, added->count, sizeof *added->tokens, by_id);
    if ((status = refuse_duplicates(added, file, error)) != PV_OK) return status;
    if (normalizer->count > 0 && (status = normalize_patterns(added, normalizer, error)) != PV_OK) return status;
    if ((status = build_matcher(added, false, &added->raw, error)) != PV_OK) return status;
    return build_matcher(added, true, &added->normalized, error);
}

const pv_added_token *pv_added_get(const pv_added *added, uint32_t id)
{
    pv_added_token key = {.id = id};
    return added->count ? bsearch(&key, added->tokens, added->count, sizeof *added->tokens, by_id) : NULL;
}

const pv_added_token *pv_added_find(const pv_added *added, const char *content, size_t length)
{
    for (size_t i = 0; i < added->count; i++) {
        const pv_added_token *token = &added->tokens[i];
        if (token->length == length && memcmp(added->text.data + token->offset, content, length) == 0) return token;
    }
    return NULL;
}

static const char *pattern_at(const pv_added *added, const pv_added_matcher *matcher, size_t index, size_t *length)
{
    const pv_added_token *token = &added->tokens[matcher->order[index]];
    *length = token->pattern_length;
    return added->text.data + token->pattern;
}

/* The first of order[low..high) whose byte `depth` is at least `byte`; all are longer than `depth`. */
static size_t lower_bound(const pv_added *added, const pv_added_matcher *matcher, size_t low, size_t high, size_t depth,
                          unsigned byte)
{
    while (low < high) {
        size_t length, middle = low + (high - low) / 2;
        if ((uint8_t)pattern_at(added, matcher, middle, &length)[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool pv_spans_overlap(const pv_span *spans, size_t count, size_t start, size_t end)
{
    size_t low = 0, high = count;
    while (low < high) { /* the first span that ends behind start */
        size_t middle = low + (high - low) / 2;
        if (spans[middle].end <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && spans[low].start < end && start < end;
}

/* A control token spelled, if only in part, where text is to stay text. */
static bool is_barred(const pv_added_search *search, const pv_added_token *token, size_t from)
{
    if (search->plain_count == 0 || !(token->flags & PV_ADDED_CONTROL)) return false;
    size_t last = from + token->pattern_length - 1;
    size_t start = search->offset + (search->places ? search->places[from] : from);
    size_t end = search->offset + (search->places ? search->places[last] : last) + 1;
    return pv_spans_overlap(search->plain, search->plain_count, start, end);
}

/* The longest token that may stand at text[from], NULL if there is none. */
static const pv_added_token *longest_at(const pv_added_search *search, size_t from)
{
    const pv_added *added = search->added;
    const pv_added_matcher *matcher = search->matcher;
    const char *text = search->text + from;
    const pv_added_token *found = NULL;
    size_t low = matcher->first[(uint8_t)text[0]], high = matcher->first[(uint8_t)text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        const pv_added_token *shortest = &added->tokens[matcher->order[low]];
        if (shortest->pattern_length == depth) { /* stands first in the range, twice if two normalize alike */
            if (!is_barred(search, shortest, from)) found = shortest;
            do low++;
            while (low < high && added->tokens[matcher->order[low]].pattern_length == depth);
        }
        if (depth == search->length - from) break;
        uint8_t byte = (uint8_t)text[depth];
        low = lower_bound(added, matcher, low, high, depth, byte);
        high = lower_bound(added, matcher, low, high, depth, byte + 1u);
    }
    return found;
}

static bool word_before(const char *text, size_t at)
{
    if (at == 0) return false;
    size_t start = pv_utf8_back(text, at);
    uint32_t code_point;
    return pv_utf8_decode(text + start, at - start, &code_point) == at - start && pv_unicode_word(code_point);
}

static bool word_after(const char *text, size_t length, size_t at)
{
    uint32_t code_point;
    return pv_utf8_decode(text + at, length - at, &code_point) != 0 && pv_unicode_word(code_point);
}

static size_t spaces_before(const char *text, size_t at, size_t limit)
{
    while (at > limit) {
        size_t start = pv_utf8_back(text, at);
        uint32_t code_point;
        if (start < limit || pv_utf8_decode(text + start, at - start, &code_point) != at - start ||
            !(pv_unicode_class(code_point) & PV_SPACE))
            break;
        at = start;
    }
    return at;
}

static size_t spaces_after(const char *text, size_t length, size_t at)
{
    for (;;) {
        uint32_t code_point;
        size_t bytes = pv_utf8_decode(text + at, length - at, &code_point);
        if (bytes == 0 || !(pv_unicode_class(code_point) & PV_SPACE)) return at;
        at += bytes;
    }
}

const pv_added_token *pv_added_next(pv_added_search *search)
{
    const char *text = search->text;
    size_t length = search->length, taken = search->end;
    while (search->at < length) {
        size_t start = search->at;
        uint8_t byte = (uint8_t)text[start];
        const pv_added_token *token = NULL;
        if (search->matcher->first[byte] != search->matcher->first[byte + 1]) token = longest_at(search, start);
        if (!token) {
            search->at++;
            continue;
        }
        size_t end = start + token->pattern_length;
        search->at = end; /* a token that is passed over hides what it covers */
        if ((token->flags & PV_ADDED_CONTROL) && !search->control) continue;
        if ((token->flags & PV_ADDED_WORD) && (word_before(text, start) || word_after(text, length, end))) continue;
        /* The spaces taken by the token before may reach into this one's place; it stands nevertheless. */
        if ((token->flags & PV_ADDED_LSTRIP) && start > taken) start = spaces_before(text, start, taken);
        if (token->flags & PV_ADDED_RSTRIP) end = spaces_after(text, length, end);
        search->start = start;
        search->end = end;
        return token;
    }
    return NULL;
}
