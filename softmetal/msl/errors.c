#include "msl/errors.h"

#include "msl/preprocess.h"
#include "objc/memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- From a token of the preprocessed text to its place in the text that the user wrote. */

typedef struct sm_place {
    const char *file; /* NULL: none */
    uint32_t line, column;
} sm_place;

/* Tokens of one line, or of the lines that a macro's arguments span: two runs to be matched. */
typedef struct sm_run {
    const sm_tokens *tokens;
    uint32_t first, count;
} sm_run;

static bool same(const sm_run *a, uint32_t i, const sm_run *b, uint32_t j)
{
    const sm_token *x = &a->tokens->list[a->first + i], *y = &b->tokens->list[b->first + j];
    return x->length == y->length && memcmp(a->tokens->text + x->start, b->tokens->text + y->start, x->length) == 0;
}

#define MATCH_LIMIT 1024 /* tokens of a run; what comes after is not looked at */

/* match[i]: which token of b the token i of a is, by the longest common subsequence; -1: none, it comes from a macro. */
static bool match_runs(const sm_run *a, const sm_run *b, int *match)
{
    uint32_t n = a->count, m = b->count;
    uint16_t *best = sm_allocate((size_t)(n + 1) * (m + 1) * sizeof *best);
    if (!best) return false;
    for (uint32_t i = n; i-- > 0;) {
        for (uint32_t j = m; j-- > 0;) {
            uint16_t down = best[(i + 1) * (m + 1) + j], right = best[i * (m + 1) + j + 1];
            best[i * (m + 1) + j] = same(a, i, b, j) ? best[(i + 1) * (m + 1) + j + 1] + 1 : down > right ? down : right;
        }
    }
    for (uint32_t i = 0, j = 0; i < n;) {
        if (j < m && same(a, i, b, j) && best[i * (m + 1) + j] == best[(i + 1) * (m + 1) + j + 1] + 1)
            match[i++] = (int)j++;
        else if (j < m && best[i * (m + 1) + j + 1] >= best[(i + 1) * (m + 1) + j])
            j++;
        else
            match[i++] = -1;
    }
    free(best);
    return true;
}

static bool is_matched(const int *match, uint32_t count, uint32_t original)
{
    for (uint32_t i = 0; i < count; i++) {
        if (match[i] == (int)original) return true;
    }
    return false;
}

/* The token's own place, or that of the macro it comes from: the name before or behind that did not reach the preprocessed
 * text. */
static sm_place matched_place(const sm_run *a, const sm_run *b, const int *match, uint32_t wanted, uint32_t within)
{
    uint32_t found = 0;
    if (match[wanted] >= 0) {
        found = (uint32_t)match[wanted];
    } else {
        uint32_t before = wanted;
        while (before > 0 && match[before - 1] < 0) before--;
        uint32_t next = before > 0 ? (uint32_t)match[before - 1] + 1 : 0;
        if (next >= b->count) next = b->count - 1;
        for (found = next + 1; found-- > 0;) {
            if (sm_token_is(b->tokens, b->first + found, SM_IDENTIFIER) && !is_matched(match, a->count, found)) break;
        }
        if (found == UINT32_MAX) found = next;
        within = 0;
    }
    const sm_token *token = &b->tokens->list[b->first + found];
    return (sm_place){SM_SOURCE_FILE, token->line, token->column + (within < token->length ? within : token->length)};
}

/* The tokens of lines [first, last] around one of them. */
static sm_run run_around(const sm_tokens *tokens, uint32_t at, uint32_t last_line)
{
    const sm_token *list = tokens->list;
    sm_run run = {tokens, at, 1};
    while (run.first > 0 && list[run.first - 1].file == list[at].file && list[run.first - 1].line == list[at].line) run.first--;
    while (run.first + run.count < tokens->count && list[run.first + run.count].file == list[at].file &&
           list[run.first + run.count].line >= list[at].line && list[run.first + run.count].line <= last_line)
        run.count++;
    if (run.count > MATCH_LIMIT) run.count = MATCH_LIMIT;
    return run;
}

/* The line on which the text goes on behind the line of a token: a macro's arguments may span several. */
static uint32_t next_line_of(const sm_tokens *tokens, uint32_t at)
{
    for (uint32_t i = at + 1; i < tokens->count; i++) {
        if (tokens->list[i].file == tokens->list[at].file && tokens->list[i].line > tokens->list[at].line)
            return tokens->list[i].line;
    }
    return tokens->list[at].line;
}

/* `within`: so many bytes behind the token's start. */
static sm_place original_place(const sm_origin *origin, const sm_token *token, uint32_t within)
{
    const sm_tokens *tokens = &origin->unit->tokens;
    sm_place place = {tokens->files[token->file], token->line, token->column};
    if (strcmp(place.file, SM_SOURCE_FILE) != 0) return place;
    sm_arena arena = {0};
    sm_tokens original = {0};
    int *match = sm_allocate(MATCH_LIMIT * sizeof *match);
    uint32_t at = (uint32_t)(token - tokens->list), last_line = next_line_of(tokens, at);
    /* An original that cannot be read to its end is read as far as it goes. */
    sm_lex(&original, &arena, origin->text, strlen(origin->text), SM_SOURCE_FILE, SM_LEX_ORIGINAL);
    sm_run a = run_around(tokens, at, last_line), b = {&original, 0, 0};
    while (b.first < original.count && original.list[b.first].line < token->line) b.first++;
    while (b.first + b.count < original.count && b.count < MATCH_LIMIT && original.list[b.first + b.count].line <= last_line)
        b.count++;
    if (match && b.count && at - a.first < a.count && match_runs(&a, &b, match))
        place = matched_place(&a, &b, match, at - a.first, within);
    free(match);
    sm_tokens_free(&original);
    sm_arena_free(&arena);
    return place;
}

/* __global float *__private → device float * */
static void put_message(const sm_origin *origin, const char *message, size_t length, sm_text *out)
{
    static const char *const names[][2] = {
        {"*__private", "*"},        {"__global", "device"},  {"__local", "threadgroup"},
        {"__constant", "constant"}, {"__private", "thread"}, {"__generic ", ""},
    };
    for (size_t i = 0; i < length;) {
        size_t n = 0;
        for (size_t k = 0; origin->opencl && k < sizeof names / sizeof *names && !n; k++) {
            size_t own = strlen(names[k][0]);
            if (length - i < own || memcmp(message + i, names[k][0], own) != 0) continue;
            sm_text_put(out, names[k][1]);
            n = own;
        }
        if (!n) sm_text_add(out, message + i, 1);
        i += n ? n : 1;
    }
}

static void say(const sm_origin *origin, sm_place place, const char *severity, const char *message, size_t length, sm_text *out)
{
    const char *file = place.file && strcmp(place.file, SM_SOURCE_FILE) != 0 ? place.file : origin->name;
    sm_text line = {0};
    if (place.line)
        sm_text_printf(&line, "%s:%u:%u: %s: ", file, place.line, place.column ? place.column : 1, severity);
    else
        sm_text_printf(&line, "%s: %s: ", file, severity);
    put_message(origin, message, length, &line);
    sm_text_put(&line, "\n");
    /* The same thing is not said twice. */
    bool known = line.bytes && out->bytes && strstr(out->bytes, line.bytes);
    if (!known && line.bytes) sm_text_add(out, line.bytes, line.length);
    sm_text_free(&line);
}

void sm_report_notes(const sm_origin *origin, sm_text *out)
{
    const sm_unit *unit = origin->unit;
    for (uint32_t i = 0; i < unit->note_count; i++) {
        const sm_note *note = &unit->notes[i];
        sm_place place = {unit->tokens.file_count > note->file ? unit->tokens.files[note->file] : NULL, note->line,
                          note->column};
        if (note->token != SM_NO_TOKEN) place = original_place(origin, &unit->tokens.list[note->token], 0);
        say(origin, place, note->severity, note->message, strlen(note->message), out);
    }
}

/* ---- What compilers say. */

typedef struct sm_message {
    char file[512];
    uint32_t line, column;
    const char *severity; /* NULL: context, such as "required from here" */
    const char *text;
    size_t length;
} sm_message;

/* "file:12:5: error: text"; false for other lines. */
static bool parse(const char *line, size_t length, sm_message *message)
{
    static const char *const severities[] = {"fatal error", "error", "warning", "note"};
    for (size_t i = 1; i + 4 < length && i < sizeof message->file; i++) {
        if (line[i] != ':' || !isdigit((unsigned char)line[i + 1])) continue;
        size_t at = i + 1;
        uint64_t numbers[2] = {0, 0};
        int count = 0;
        while (count < 2 && at < length && isdigit((unsigned char)line[at])) {
            while (at < length && isdigit((unsigned char)line[at]) && numbers[count] < UINT32_MAX)
                numbers[count] = numbers[count] * 10 + (uint64_t)(line[at++] - '0');
            if (at >= length || line[at] != ':') break;
            at++;
            count++;
        }
        if (count == 0 || at >= length || line[at] != ' ') continue;
        memcpy(message->file, line, i);
        message->file[i] = 0;
        message->line = (uint32_t)numbers[0];
        message->column = (uint32_t)numbers[1];
        message->severity = NULL;
        message->text = line + at + 1;
        message->length = length - at - 1;
        for (size_t s = 0; s < 4; s++) {
            size_t n = strlen(severities[s]);
            if (message->length < n + 2 || memcmp(message->text, severities[s], n) != 0 || message->text[n] != ':') continue;
            message->severity = severities[s];
            message->text += n + 2;
            message->length -= n + 2;
            break;
        }
        return true;
    }
    return false;
}

/* [-Wsomething] at the end names an option that the user cannot set. */
static void trim(sm_message *message)
{
    if (message->length < 5 || message->text[message->length - 1] != ']') return;
    for (size_t i = message->length; i-- > 2;) {
        if (message->text[i] != '[') continue;
        if (message->text[i + 1] == '-' && message->text[i - 1] == ' ') message->length = i - 1;
        return;
    }
}

/* gcc's words for an #include that leads nowhere, as clang says it, and why. */
static void say_missing(const sm_origin *origin, sm_place place, const sm_message *message, sm_text *out)
{
    static const char gcc[] = ": No such file or directory", clang[] = " file not found";
    sm_text text = {0};
    size_t length = message->length, n = sizeof gcc - 1;
    if (length > n && memcmp(message->text + length - n, gcc, n) == 0)
        sm_text_printf(&text, "'%.*s'%s", (int)(length - n), message->text, clang);
    else
        sm_text_add(&text, message->text, length);
    if (text.bytes && strstr(text.bytes, clang)) sm_text_put(&text, " (newLibraryWithSource: has no include path)");
    if (text.bytes) say(origin, place, message->severity, text.bytes, text.length, out);
    sm_text_free(&text);
}

/* The token of the unit that stands at line and column of what was compiled. */
static const sm_token *token_at(const sm_origin *origin, uint16_t file, uint32_t line, uint32_t column)
{
    const sm_tokens *tokens = &origin->unit->tokens;
    const sm_token *best = NULL;
    uint32_t best_column = 0;
    for (uint32_t i = 0; i < tokens->count; i++) {
        const sm_token *token = &tokens->list[i];
        const sm_placement *placement = &origin->placements[i];
        if (token->line != line || token->file != file || placement->line == 0) continue;
        if (!best || (placement->column <= column && placement->column >= best_column)) {
            best = token;
            best_column = placement->column;
        }
    }
    return best;
}

/* How far behind a token's start a column is; what was written in its place counts as its start. */
static uint32_t within_token(const sm_origin *origin, const sm_token *token, uint32_t column)
{
    uint32_t start = origin->placements[token - origin->unit->tokens.list].column;
    if (column <= start) return 0;
    size_t written = token->replacement ? strlen(token->replacement) : token->length;
    if (column - start >= written) return token->length;
    return token->replacement ? 0 : column - start;
}

/* Where in the user's text; false if the message is about something else. */
static bool locate(const sm_origin *origin, const sm_message *message, sm_place *place)
{
    const sm_unit *unit = origin->unit;
    *place = (sm_place){message->file, message->line, message->column};
    if (!unit) return strncmp(message->file, "text.metal", 10) != 0;
    if (strcmp(message->file, SM_THUNK_FILE) == 0) {
        if (message->line == 0 || message->line > unit->entry_count) return false;
        *place = original_place(origin,
                                &unit->tokens.list[unit->declarations[unit->entries[message->line - 1].declaration].name], 0);
        return true;
    }
    for (uint32_t i = 0; i < unit->tokens.file_count; i++) {
        if (strcmp(unit->tokens.files[i], message->file) != 0) continue;
        const sm_token *token = token_at(origin, (uint16_t)i, message->line, message->column);
        if (token) *place = original_place(origin, token, within_token(origin, token, message->column));
        place->file = unit->tokens.files[i];
        return true;
    }
    return false;
}

static const char *next_line(const char *line)
{
    return line[strcspn(line, "\n")] ? line + strcspn(line, "\n") + 1 : line + strlen(line);
}

/* clang says after an error in a header what in the user's text led there. */
static bool locate_later(const sm_origin *origin, const char *line, sm_place *place)
{
    sm_message message;
    for (; *line; line = next_line(line)) {
        if (!parse(line, strcspn(line, "\n"), &message)) continue;
        if (!message.severity || strcmp(message.severity, "note") != 0) return false;
        bool led = memmem(message.text, message.length, "requested here", 14) ||
                   memmem(message.text, message.length, "in instantiation", 16);
        if (led && locate(origin, &message, place)) return true;
    }
    return false;
}

/* What says nothing that another error does not say better, and rules of OpenCL that MSL does not have: there a scalar takes on
 * the type of the vector's elements. */
static bool is_noise(const sm_message *message)
{
    static const char *const noise[] = {"declared void", "did you forget to '#include", "scalar operand type has greater rank"};
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++) {
        if (memmem(message->text, message->length, noise[i], strlen(noise[i]))) return true;
    }
    return false;
}

bool sm_only_noise(const char *said)
{
    bool any = false;
    for (const char *line = said; *line; line = next_line(line)) {
        sm_message message;
        if (!parse(line, strcspn(line, "\n"), &message) || !message.severity || !strstr(message.severity, "error")) continue;
        if (!is_noise(&message)) return false;
        any = true;
    }
    return any;
}

/* Goes through all that was said. Errors of the generated end follow from others, if there are others: `ends` says which are
 * wanted. */
static bool report(const sm_origin *origin, const char *said, bool ends, sm_text *out)
{
    sm_place context = {0};
    bool errors = false, shown = false;
    for (const char *line = said; *line; line = next_line(line)) {
        sm_message message;
        sm_place place;
        if (!parse(line, strcspn(line, "\n"), &message)) continue;
        bool located = locate(origin, &message, &place);
        if (!message.severity) {
            if (located) context = place;
            continue;
        }
        trim(&message);
        if (strcmp(message.severity, "note") == 0) {
            if (located && shown && !is_noise(&message)) say(origin, place, "note", message.text, message.length, out);
            continue;
        }
        bool end = strcmp(message.file, SM_THUNK_FILE) == 0;
        shown = strcmp(message.severity, "warning") != 0 && end == ends && !is_noise(&message);
        if (!shown) continue;
        if (!located) {
            if (context.line)
                place = context;
            else if (!locate_later(origin, next_line(line), &place))
                place = (sm_place){message.file, message.line, message.column};
        }
        if (origin->unit)
            say(origin, place, message.severity, message.text, message.length, out);
        else
            say_missing(origin, place, &message, out);
        context = (sm_place){0};
        errors = true;
    }
    return errors;
}

bool sm_report_diagnostics(const sm_origin *origin, const char *said, sm_text *out)
{
    return report(origin, said, false, out) || report(origin, said, true, out);
}
