#include "text/pretokenize.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
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

pv_status pv_pretokenizer_digits(pv_pretokenizer *pretokenizer, bool individual, pv_error *error)
{
    return pv_pretokenizer_regex(pretokenizer, "\\p{N}", strlen("\\p{N}"), individual ? PV_ISOLATED : PV_CONTIGUOUS, false,
                                 error);
}

/* ---- Running -------------------------------------------------------------------------------------------------------- */

void pv_pretokenize_run_init(pv_pretokenize_run *run, const pv_pretokenizer *pretokenizer,
                             pv_status (*word)(void *user, const char *word, size_t length, pv_error *error), void *user,
                             pv_error *error)
{
    *run = (pv_pretokenize_run){.pretokenizer = pretokenizer, .word = word, .user = user, .error = error};
    pv_bytes_init(&run->prefixed, pretokenizer->allocator);
}

void pv_pretokenize_run_free(pv_pretokenize_run *run)
{
    for (size_t i = 0; i < PV_MAX_STEPS; i++) pv_regex_scratch_destroy(run->scratch[i]);
    pv_bytes_free(&run->prefixed);
}

static pv_status run_steps(pv_pretokenize_run *run, size_t index, const char *text, size_t length);

/* Joins the stretches of a text, matches and what lies between, as the step's behavior says, and passes on what is complete. */
typedef struct joiner {
    pv_pretokenize_run *run;
    size_t index; /* of the step */
    const char *text;
    size_t start, end; /* held back: what comes next may join it */
    bool holds;
    bool matched; /* the last stretch was a match */
} joiner;

static pv_status flush(joiner *join)
{
    if (!join->holds) return PV_OK;
    join->holds = false;
    return run_steps(join->run, join->index + 1, join->text + join->start, join->end - join->start);
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

static pv_status split(pv_pretokenize_run *run, size_t index, const char *text, size_t length)
{
    const pv_step *step = &run->pretokenizer->steps[index];
    joiner join = {.run = run, .index = index, .text = text};
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
static pv_status split_isolated(pv_pretokenize_run *run, size_t index, const char *text, size_t length)
{
    const pv_pattern *pattern = run->pretokenizer->steps[index].pattern;
    pv_status status;
    size_t done = 0, start, end;
    while (done < length && pattern->find(pattern, text, length, done, &start, &end)) {
        if (start > done && (status = run_steps(run, index + 1, text + done, start - done)) != PV_OK) return status;
        if ((status = run_steps(run, index + 1, text + start, end - start)) != PV_OK) return status;
        done = end;
    }
    return done < length ? run_steps(run, index + 1, text + done, length - done) : PV_OK;
}

static pv_status run_step(pv_pretokenize_run *run, size_t index, const char *text, size_t length)
{
    const pv_step *step = &run->pretokenizer->steps[index];
    if (step->pattern && step->behavior == PV_ISOLATED) return split_isolated(run, index, text, length);
    if (step->pattern || step->regex || step->literal) return split(run, index, text, length);
    return run_steps(run, index + 1, text, length);
}

/* The recursion is as deep as there are steps. Only the last step may prefix a space, so one buffer serves. */
static pv_status run_steps(pv_pretokenize_run *run, size_t index, const char *text, size_t length)
{
    if (length == 0) return PV_OK;
    if (index == run->pretokenizer->count) return run->word(run->user, text, length, run->error);
    if (run->pretokenizer->steps[index].prefix_space && text[0] != ' ') {
        run->prefixed.length = 0;
        pv_bytes_add(&run->prefixed, " ", 1);
        pv_bytes_add(&run->prefixed, text, length);
        if (run->prefixed.failed) return pv_fail_memory(run->error, length + 1, "a text with a space before it");
        text = run->prefixed.data;
        length = run->prefixed.length;
    }
    return run_step(run, index, text, length);
}

pv_status pv_pretokenize(pv_pretokenize_run *run, const char *text, size_t length)
{
    return run_steps(run, 0, text, length);
}
