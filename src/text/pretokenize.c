#include "text/pretokenize.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/tokenizer_vocab.h"
#include "text/unicode.h"

#define GPT2_REGEX "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

void pv_pretokenizer_init(pv_pretokenizer *pretokenizer, const pv_allocator *allocator)
{
    *pretokenizer = (pv_pretokenizer){.allocator = allocator};
}

void pv_pretokenizer_free(pv_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        pv_regex_destroy(pretokenizer->steps[i].regex);
        pv_free(pretokenizer->allocator, pretokenizer->steps[i].literal);
    }
    pv_pretokenizer_init(pretokenizer, pretokenizer->allocator);
}

static pv_status new_step(pv_pretokenizer *pretokenizer, pv_behavior behavior, bool invert, pv_step **step, pv_error *error)
{
    if (pretokenizer->count == PV_MAX_STEPS)
        return pv_fail(error, PV_UNSUPPORTED, "the pre-tokenizer has more than %d steps", PV_MAX_STEPS);
    *step = &pretokenizer->steps[pretokenizer->count++];
    **step = (pv_step){.behavior = behavior, .invert = invert};
    return PV_OK;
}

pv_status pv_pretokenizer_regex(pv_pretokenizer *pretokenizer, const char *pattern, size_t length, pv_behavior behavior,
                                bool invert, pv_error *error)
{
    pv_step *step = NULL;
    pv_status status = new_step(pretokenizer, behavior, invert, &step, error);
    if (status != PV_OK) return status;
    step->pattern = pv_pattern_find(pattern, length);
    return step->pattern ? PV_OK : pv_regex_compile(pretokenizer->allocator, pattern, length, &step->regex, error);
}

pv_status pv_pretokenizer_literal(pv_pretokenizer *pretokenizer, const char *text, size_t length, pv_behavior behavior,
                                  bool invert, pv_error *error)
{
    pv_step *step = NULL;
    if (length == 0) return pv_fail(error, PV_UNSUPPORTED, "the pre-tokenizer splits at an empty string");
    pv_status status = new_step(pretokenizer, behavior, invert, &step, error);
    if (status != PV_OK) return status;
    step->literal = pv_copy_string(pretokenizer->allocator, text, length);
    step->literal_length = length;
    return step->literal ? PV_OK : pv_fail_memory(error, length, "a pattern");
}

pv_status pv_pretokenizer_byte_level(pv_pretokenizer *pretokenizer, bool pattern, bool prefix_space, pv_error *error)
{
    pv_step *step = NULL;
    pv_status status = new_step(pretokenizer, PV_ISOLATED, false, &step, error);
    if (status != PV_OK) return status;
    step->prefix_space = prefix_space;
    if (pattern) step->pattern = pv_pattern_find(GPT2_REGEX, strlen(GPT2_REGEX));
    return PV_OK;
}

pv_status pv_pretokenizer_spell(pv_pretokenizer *pretokenizer, pv_error *error)
{
    pv_step *step = NULL;
    pv_status status = new_step(pretokenizer, PV_ISOLATED, false, &step, error);
    if (status != PV_OK) return status;
    step->spells = pretokenizer->spells = true;
    return PV_OK;
}

pv_status pv_pretokenizer_digits(pv_pretokenizer *pretokenizer, bool individual, pv_error *error)
{
    return pv_pretokenizer_regex(pretokenizer, "\\p{N}", strlen("\\p{N}"), individual ? PV_ISOLATED : PV_CONTIGUOUS, false,
                                 error);
}

pv_status pv_pretokenizer_metaspace(pv_pretokenizer *pretokenizer, const char *mark, size_t length, pv_prepend prepend,
                                    bool cuts, pv_error *error)
{
    pv_step *step = NULL;
    uint32_t code_point;
    if (length == 0 || pv_utf8_decode(mark, length, &code_point) != length)
        return pv_fail(error, PV_BAD_FILE, "the pre-tokenizer's replacement of spaces is \"%.*s\", must be one character",
                       (int)pv_min_size(length, 64), mark);
    pv_status status = new_step(pretokenizer, PV_ISOLATED, false, &step, error);
    if (status != PV_OK) return status;
    memcpy(step->mark, mark, length);
    step->cuts = cuts;
    step->prepend = prepend;
    return PV_OK;
}

static pv_status add_pattern(pv_pretokenizer *pretokenizer, const pv_pattern *pattern, pv_behavior behavior, bool invert,
                             pv_error *error)
{
    pv_step *step = NULL;
    pv_status status = new_step(pretokenizer, behavior, invert, &step, error);
    if (status == PV_OK) step->pattern = pattern;
    return status;
}

pv_status pv_pretokenizer_spaces(pv_pretokenizer *pretokenizer, pv_error *error)
{
    return pv_pretokenizer_regex(pretokenizer, "\\s", strlen("\\s"), PV_REMOVED, false, error);
}

pv_status pv_pretokenizer_words(pv_pretokenizer *pretokenizer, pv_error *error)
{
    return add_pattern(pretokenizer, &pv_pattern_words, PV_REMOVED, true, error);
}

pv_status pv_pretokenizer_punctuation(pv_pretokenizer *pretokenizer, pv_behavior behavior, pv_error *error)
{
    static const char regex[] = "[\\p{P}$+<=>\\^`|~]";
    return pv_pretokenizer_regex(pretokenizer, regex, sizeof regex - 1, behavior, false, error);
}

/* ---- Running -------------------------------------------------------------------------------------------------------- */

void pv_pretokenize_run_init(pv_pretokenize_run *run, const pv_pretokenizer *pretokenizer,
                             pv_status (*word)(void *user, const char *word, size_t length, pv_error *error), void *user,
                             pv_error *error)
{
    *run = (pv_pretokenize_run){.pretokenizer = pretokenizer, .word = word, .user = user, .error = error};
    for (size_t i = 0; i < PV_MAX_STEPS; i++) pv_bytes_init(&run->made[i], pretokenizer->allocator);
    pv_bytes_init(&run->unspelled, pretokenizer->allocator);
}

void pv_pretokenize_run_free(pv_pretokenize_run *run)
{
    for (size_t i = 0; i < PV_MAX_STEPS; i++) {
        pv_regex_scratch_destroy(run->scratch[i]);
        pv_bytes_free(&run->made[i]);
    }
    pv_bytes_free(&run->unspelled);
}

/* `first`: the piece begins where the text does. */
static pv_status run_steps(pv_pretokenize_run *run, size_t index, const char *text, size_t length, bool first);

/* Joins the stretches of a text, matches and what lies between, as the step's behavior says, and passes on what is complete. */
typedef struct joiner {
    pv_pretokenize_run *run;
    size_t index; /* of the step */
    const char *text;
    size_t start, end; /* held back: what comes next may join it */
    bool holds;
    bool matched; /* the last stretch was a match */
    bool first;   /* of the text */
} joiner;

static pv_status flush(joiner *join)
{
    if (!join->holds) return PV_OK;
    join->holds = false;
    return run_steps(join->run, join->index + 1, join->text + join->start, join->end - join->start,
                     join->first && join->start == 0);
}

static pv_status join_stretch(joiner *join, size_t start, size_t end, bool match)
{
    pv_status status;
    pv_behavior behavior = join->run->pretokenizer->steps[join->index].behavior;
    bool joins = false;
    if (start == end) return PV_OK;
    switch (behavior) {
    case PV_REMOVED:
    case PV_ISOLATED: break;
    case PV_CONTIGUOUS: joins = match == join->matched; break;
    case PV_MERGED_WITH_PREVIOUS: joins = match && !join->matched; break;
    case PV_MERGED_WITH_NEXT: joins = !match && join->matched; break;
    }
    join->matched = match;
    if (joins && join->holds) {
        join->end = end;
        return PV_OK;
    }
    if ((status = flush(join)) != PV_OK) return status;
    if (behavior == PV_REMOVED && match) return PV_OK;
    join->start = start;
    join->end = end;
    join->holds = true;
    return PV_OK;
}

static pv_status find_literal(const pv_step *step, const char *text, size_t length, size_t from, bool *found, size_t *start,
                              size_t *end)
{
    const char *hit = memmem(text + from, length - from, step->literal, step->literal_length);
    *found = hit != NULL;
    if (hit) {
        *start = (size_t)(hit - text);
        *end = *start + step->literal_length;
    }
    return PV_OK;
}

static pv_status find_match(pv_pretokenize_run *run, size_t index, const char *text, size_t length, size_t from, bool *found,
                            size_t *start, size_t *end)
{
    const pv_step *step = &run->pretokenizer->steps[index];
    if (step->pattern) {
        *found = step->pattern->find(step->pattern, text, length, from, start, end);
        return PV_OK;
    }
    if (step->literal) return find_literal(step, text, length, from, found, start, end);
    if (!run->scratch[index]) {
        run->scratch[index] = pv_regex_scratch_create(step->regex);
        if (!run->scratch[index]) return pv_fail_memory(run->error, sizeof(void *), "matching a pattern");
    }
    return pv_regex_find(step->regex, run->scratch[index], text, length, from, found, start, end, run->error);
}

static pv_status split(pv_pretokenize_run *run, size_t index, const char *text, size_t length, bool first)
{
    const pv_step *step = &run->pretokenizer->steps[index];
    joiner join = {.run = run, .index = index, .text = text, .first = first};
    pv_status status = PV_OK;
    size_t done = 0, from = 0, start, end;
    bool found;
    while (from <= length) {
        if ((status = find_match(run, index, text, length, from, &found, &start, &end)) != PV_OK) return status;
        if (!found) break;
        if ((status = join_stretch(&join, done, start, step->invert)) != PV_OK) return status;
        if ((status = join_stretch(&join, start, end, !step->invert)) != PV_OK) return status;
        done = from = end;
        if (start == end) { /* an empty match cuts the text there; the search goes on behind the next character */
            uint32_t code_point;
            if (from == length) break;
            from += pv_utf8_step(text + from, &code_point);
        }
    }
    if ((status = join_stretch(&join, done, length, step->invert)) != PV_OK) return status;
    return flush(&join);
}

/* The usual case of split: every match is a word, and matches leave nothing between them or pass it on alike. */
static pv_status split_isolated(pv_pretokenize_run *run, size_t index, const char *text, size_t length, bool first)
{
    const pv_pattern *pattern = run->pretokenizer->steps[index].pattern;
    pv_status status;
    size_t done = 0, start, end;
    while (done < length && pattern->find(pattern, text, length, done, &start, &end)) {
        if (start > done && (status = run_steps(run, index + 1, text + done, start - done, first && done == 0)) != PV_OK)
            return status;
        if ((status = run_steps(run, index + 1, text + start, end - start, first && start == 0)) != PV_OK) return status;
        done = end;
    }
    return done < length ? run_steps(run, index + 1, text + done, length - done, first && done == 0) : PV_OK;
}

/* Cuts before each mark. */
static pv_status split_at_marks(pv_pretokenize_run *run, size_t index, const char *text, size_t length, bool first)
{
    const pv_step *step = &run->pretokenizer->steps[index];
    size_t mark = strlen(step->mark), done = 0;
    while (done < length) {
        size_t from = done + 1;
        const char *hit = memmem(text + from, length - from, step->mark, mark);
        size_t end = hit ? (size_t)(hit - text) : length;
        pv_status status = run_steps(run, index + 1, text + done, end - done, first && done == 0);
        if (status != PV_OK) return status;
        done = end;
    }
    return PV_OK;
}

/* Puts marks in the place of spaces, and one before the piece where the step wants it. */
static pv_status mark_spaces(pv_pretokenize_run *run, size_t index, const char **text, size_t *length, bool first)
{
    const pv_step *step = &run->pretokenizer->steps[index];
    pv_bytes *made = &run->made[index];
    size_t mark = strlen(step->mark);
    bool marked = (*text)[0] == ' ' || (*length >= mark && memcmp(*text, step->mark, mark) == 0);
    bool prepends =
        !marked && !run->continues && (step->prepend == PV_PREPEND_ALWAYS || (step->prepend == PV_PREPEND_FIRST && first));
    if (!prepends && !memchr(*text, ' ', *length)) return PV_OK;
    made->length = 0;
    if (prepends) pv_bytes_add(made, step->mark, mark);
    for (size_t at = 0; at < *length;) {
        const char *space = memchr(*text + at, ' ', *length - at);
        size_t end = space ? (size_t)(space - *text) : *length;
        pv_bytes_add(made, *text + at, end - at);
        if (space) pv_bytes_add(made, step->mark, mark);
        at = end + 1;
    }
    if (made->failed) return pv_fail_memory(run->error, *length, "a text with its spaces marked");
    *text = made->data;
    *length = made->length;
    return PV_OK;
}

static pv_status prefix_space(pv_pretokenize_run *run, size_t index, const char **text, size_t *length)
{
    pv_bytes *made = &run->made[index];
    if ((*text)[0] == ' ' || run->continues) return PV_OK;
    made->length = 0;
    pv_bytes_add(made, " ", 1);
    pv_bytes_add(made, *text, *length);
    if (made->failed) return pv_fail_memory(run->error, *length + 1, "a text with a space before it");
    *text = made->data;
    *length = made->length;
    return PV_OK;
}

static pv_status spell(pv_pretokenize_run *run, size_t index, const char **text, size_t *length)
{
    pv_bytes *made = &run->made[index];
    made->length = 0;
    for (size_t i = 0; i < *length; i++) {
        char character[4];
        pv_bytes_add(made, character, pv_utf8_encode(pv_byte_character((uint8_t)(*text)[i]), character));
    }
    if (made->failed) return pv_fail_memory(run->error, *length, "a text with its bytes spelled");
    *text = made->data;
    *length = made->length;
    return PV_OK;
}

/* Characters are cut nowhere, so that each still spells a byte. */
static pv_status give_word(pv_pretokenize_run *run, const char *word, size_t length)
{
    pv_bytes *bytes = &run->unspelled;
    if (!run->pretokenizer->spells) return run->word(run->user, word, length, run->error);
    bytes->length = 0;
    pv_bytes_add(bytes, word, length);
    if (bytes->failed) return pv_fail_memory(run->error, length, "a word");
    pv_spelling_bytes(word, length, bytes->data, &bytes->length);
    return run->word(run->user, bytes->data, bytes->length, run->error);
}

/* The recursion is as deep as there are steps. */
static pv_status run_steps(pv_pretokenize_run *run, size_t index, const char *text, size_t length, bool first)
{
    pv_status status = PV_OK;
    if (length == 0) return PV_OK;
    if (index == run->pretokenizer->count) return give_word(run, text, length);
    const pv_step *step = &run->pretokenizer->steps[index];
    if (step->prefix_space) status = prefix_space(run, index, &text, &length);
    if (step->mark[0]) status = mark_spaces(run, index, &text, &length, first);
    if (step->spells) status = spell(run, index, &text, &length);
    if (status != PV_OK) return status;
    if (step->mark[0] && step->cuts) return split_at_marks(run, index, text, length, first);
    if (step->pattern && step->behavior == PV_ISOLATED) return split_isolated(run, index, text, length, first);
    if (step->pattern || step->regex || step->literal) return split(run, index, text, length, first);
    return run_steps(run, index + 1, text, length, first);
}

pv_status pv_pretokenize(pv_pretokenize_run *run, const char *text, size_t length)
{
    return run_steps(run, 0, text, length, run->first);
}
