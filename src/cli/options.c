#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { FLAG, TEXT, TEXTS, CHOICE, U32, U64, FLOAT, LIST, PAIRS } kind;

typedef struct option {
    uint32_t verbs;
    const char *name, *alias, *argument; /* alias: llama.cpp's spelling, or NULL */
    kind kind;
    size_t offset;       /* in cli_settings */
    double low, high;    /* of a number, or of each in a list */
    const char *choices; /* separated by | */
    const char *help;
} option;

enum {
    RUN = CLI_VERB_RUN,
    BENCH = CLI_VERB_BENCH,
    INSPECT = CLI_VERB_INSPECT,
    DEVICES = CLI_VERB_DEVICES,
    TOKENIZE = CLI_VERB_TOKENIZE,
    SYNTH = CLI_VERB_SYNTH,
    CONVERT = CLI_VERB_CONVERT,
    PULL = CLI_VERB_PULL,
    TUNE = CLI_VERB_TUNE,
    ALL = CLI_VERB_ALL,
    MODELS = RUN | BENCH | INSPECT | TOKENIZE,
};

#define AT(member) offsetof(cli_settings, member)
#define U32_MAX 4294967295.0

/* clang-format off */
static const option options[] = {
    {MODELS | PULL, "--model", "-m", "MODEL", TEXT, AT(model), 0, 0, NULL, "the model, where it is not the first word"},
    {RUN, "--prompt", "-p", "TEXT", TEXT, AT(prompt), 0, 0, NULL,
     "the prompt, where it is not the second word; - is standard input"},
    {RUN, "--system", "-sys", "TEXT", TEXT, AT(system), 0, 0, NULL, "a system message"},
    {RUN, "--raw", NULL, NULL, FLAG, AT(raw), 0, 0, NULL, "no chat template: the prompt is the text to go on from"},
    {RUN, "--max-tokens", "-n", "N", U32, AT(max_tokens), 1, U32_MAX, NULL,
     "tokens of an answer at most (until the context is full)"},
    {RUN | INSPECT, "--ctx", "-c", "N", U32, AT(context), 1, U32_MAX, NULL,
     "tokens of context (the model's own, at most 8192)"},
    {RUN, "--temp", NULL, "X", FLOAT, AT(temperature), 0, 1e4, NULL,
     "temperature; 0, the default, takes the most likely token"},
    {RUN, "--top-k", NULL, "N", U32, AT(top_k), 0, U32_MAX, NULL, "sample among the N most likely tokens (off)"},
    {RUN, "--top-p", NULL, "X", FLOAT, AT(top_p), 0, 1, NULL, "sample among tokens that make up this probability (off)"},
    {RUN, "--min-p", NULL, "X", FLOAT, AT(min_p), 0, 1, NULL, "drop tokens less likely than X times the likeliest (off)"},
    {RUN, "--repeat-penalty", NULL, "X", FLOAT, AT(repeat_penalty), 0, 1e4, NULL,
     "above 1: tokens seen lately become less likely (off)"},
    {RUN | SYNTH, "--seed", "-s", "N", U64, AT(seed), 0, 0, NULL, "the same seed gives the same result (0)"},
    {RUN, "--stop", NULL, "TEXT", TEXTS, AT(stops), 0, 0, NULL, "end the answer before this text; may be repeated"},
    {RUN, "--ignore-eos", NULL, NULL, FLAG, AT(ignore_end), 0, 0, NULL, "go on after tokens that end an answer"},
    {RUN, "--logits", NULL, "FILE", TEXT, AT(logits), 0, 0, NULL, "write f32 logits, a row for each position run"},
    {RUN, "--profile", NULL, "FILE", TEXT, AT(profile), 0, 0, NULL, "write a trace of the run for Perfetto; FILE.gputrace: for Xcode"},
    {RUN, "--validate", NULL, NULL, FLAG, AT(validate), 0, 0, NULL, "look at every result on a Metal device, and tell of NaN (slow)"},
    {BENCH, "--n-prompt", "-p", "N,...", LIST, AT(prompts), 0, 1e6, NULL, "prompt lengths to measure (512); 0: none"},
    {BENCH, "--n-gen", "-n", "N,...", LIST, AT(generations), 0, 1e6, NULL, "tokens to generate (128); 0: none"},
    {BENCH, "--prompt-gen", "-pg", "P,N", PAIRS, AT(pairs), 1, 1e6, NULL,
     "measure a prompt and an answer together; may be repeated"},
    {BENCH, "--n-depth", "-d", "N,...", LIST, AT(depths), 0, 1e6, NULL, "tokens already in the context (0)"},
    {BENCH, "--repetitions", "-r", "N", U32, AT(repetitions), 1, 1000, NULL, "times each test is run (5)"},
    {BENCH, "--threads", "-t", "N,...", LIST, AT(thread_list), 1, 1024, NULL, "thread counts, each measured (the processors)"},
    {BENCH, "--no-warmup", NULL, NULL, FLAG, AT(no_warmup), 0, 0, NULL, "no run before the measured ones"},
    {BENCH, "--output", "-o", "FORMAT", CHOICE, AT(format), 0, 0, "md|json|jsonl|csv",
     "form of the table: md, json, jsonl, csv (md)"},
    {RUN | BENCH, "--step-rows", "-ub", "N", U32, AT(step_rows), 1, 2048, NULL, "tokens of a prompt run in one step (512)"},
    {TUNE, "--size", NULL, "N", U32, AT(size), 256, 16384, NULL, "rows and columns of the matrices measured with (4096)"},
    {MODELS | TUNE, "--device", "-dev", "NAME", TEXT, AT(device), 0, 0, NULL, "auto, cpu, metal[:N], cuda[:N] or ane (auto)"},
    {RUN | BENCH, "--gpu-layers", "-ngl", "N", TEXT, AT(gpu_layers), 0, 0, NULL,
     "0 is --device cpu; a number, all or auto is the default"},
    {RUN | INSPECT | TOKENIZE | SYNTH | DEVICES | TUNE, "--threads", "-t", "N", U32, AT(threads), 1, 1024, NULL,
     "threads of the processor (as many as it has)"},
    {RUN | BENCH | INSPECT, "--kv", NULL, "TYPE", CHOICE, AT(kv), 0, 0, "f16|8bit|4bit", "what the KV cache holds: f16, 8bit or 4bit (f16); less is less exact"},
    {RUN | BENCH | INSPECT, "--load", NULL, "HOW", CHOICE, AT(load), 0, 0, "map|copy", "map the file, or copy it (map)"},
    {INSPECT, "--tensors", NULL, NULL, FLAG, AT(tensors), 0, 0, NULL, "list every tensor"},
    {TOKENIZE, "--no-bos", NULL, NULL, FLAG, AT(no_bos), 0, 0, NULL, "no beginning-of-sequence token"},
    {TOKENIZE, "--special", NULL, NULL, FLAG, AT(special), 0, 0, NULL, "control tokens spelled in the text become tokens"},
    {TOKENIZE, "--decode", NULL, NULL, FLAG, AT(decode), 0, 0, NULL, "the other way: TEXT is ids with blanks or commas between"},
    {SYNTH, "--arch", NULL, "NAME", TEXT, AT(architecture), 0, 0, NULL, "llama, the only one yet"},
    {SYNTH, "--shape", NULL, "NAME", TEXT, AT(shape), 0, 0, NULL, "8b, 1b, 135m or tiny"},
    {SYNTH, "--layout", NULL, "NAME", TEXT, AT(layout), 0, 0, NULL, "F32, F16, BF16, Q4_0, Q8_0, Q4_K … (F16); a name that is none shows all"},
    {CONVERT, "--bits", "--q-bits", "N", U32, AT(bits), 2, 8, NULL, "quantize to 2, 3, 4, 5, 6 or 8 bits a weight"},
    {CONVERT, "--group", "--q-group-size", "N", U32, AT(group), 32, 128, NULL, "weights that share a scale: 32, 64 or 128 (64)"},
    {CONVERT, "--repack", NULL, NULL, FLAG, AT(repack), 0, 0, NULL, "leave weights as they are, in a file that is mapped"},
    {ALL, "--json", NULL, NULL, FLAG, AT(json), 0, 0, NULL, "JSON on standard output"},
    {MODELS | PULL | SYNTH | CONVERT, "--quiet", "-q", NULL, FLAG, AT(quiet), 0, 0, NULL, "only errors on standard error"},
    {ALL, "--verbose", "-v", NULL, FLAG, AT(verbose), 0, 0, NULL, "more on standard error: timings, what is decided and why"},
    {ALL, "--help", "-h", NULL, FLAG, AT(help), 0, 0, NULL, "this text"},
    {ALL, "--version", NULL, NULL, FLAG, AT(version), 0, 0, NULL, "the version"},
};
/* clang-format on */

/* ---- Finding ---- */

/* "--name", "--name=value" or an alias; *value points behind the '=' if there is one. */
static const option *find(const cli_verb *verb, const char *word, const char **value)
{
    const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    *value = equals != NULL ? equals + 1 : NULL;
    for (size_t i = 0; i < CLI_COUNT(options); i++) {
        const option *o = &options[i];
        if ((o->verbs & verb->bit) == 0) continue;
        if (strlen(o->name) == length && strncmp(o->name, word, length) == 0) return o;
        if (o->alias != NULL && strcmp(o->alias, word) == 0) return o;
    }
    return NULL;
}

/* ---- Values ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal whole number up to `stop`, which may be NULL if the text must end there. */
static bool read_whole(const char *text, const char **stop, uint64_t *value)
{
    char *end;
    if (!is_digit(text[0])) return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno != 0 || (stop == NULL && *end != '\0')) return false;
    if (stop != NULL) *stop = end;
    return true;
}

static int refuse(const cli_verb *verb, const option *o, const char *text, const char *wanted)
{
    return cli_misuse(verb, "%s %s: '%s' is given, %s is wanted", verb->name, o->name, text, wanted);
}

static int refuse_range(const cli_verb *verb, const option *o, const char *text, const char *what)
{
    char wanted[96];
    snprintf(wanted, sizeof wanted, "%s from %.10g to %.10g", what, o->low, o->high);
    return refuse(verb, o, text, wanted);
}

static int read_u32(const cli_verb *verb, const option *o, const char *text, void *out)
{
    uint64_t value;
    if (!read_whole(text, NULL, &value) || (double)value < o->low || (double)value > o->high)
        return refuse_range(verb, o, text, "a whole number");
    *(uint32_t *)out = (uint32_t)value;
    return CLI_DONE;
}

static int read_u64(const cli_verb *verb, const option *o, const char *text, void *out)
{
    return read_whole(text, NULL, out) ? CLI_DONE : refuse(verb, o, text, "a whole number below 2^64");
}

static int read_float(const cli_verb *verb, const option *o, const char *text, void *out)
{
    char *end;
    double value = strtod(text, &end);
    /* no sign, no "nan", no blanks, no hexadecimal */
    bool plain = (is_digit(text[0]) || text[0] == '.') && strspn(text, "0123456789.eE+-") == strlen(text);
    if (!plain || end == text || *end != '\0' || !(value >= o->low && value <= o->high))
        return refuse_range(verb, o, text, "a number");
    *(float *)out = (float)value;
    return CLI_DONE;
}

static int read_choice(const cli_verb *verb, const option *o, const char *text, void *out)
{
    size_t length = strlen(text);
    for (const char *at = o->choices; *at != '\0';) {
        size_t part = strcspn(at, "|");
        if (part == length && strncmp(at, text, part) == 0) {
            *(const char **)out = text;
            return CLI_DONE;
        }
        at += part + (at[part] == '|');
    }
    char wanted[96];
    snprintf(wanted, sizeof wanted, "one of %s", o->choices);
    return refuse(verb, o, text, wanted);
}

static int read_list(const cli_verb *verb, const option *o, const char *text, void *out)
{
    cli_list *list = out;
    const char *at = text;
    list->count = 0;
    for (;;) {
        uint64_t value;
        if (!read_whole(at, &at, &value) || (double)value < o->low || (double)value > o->high || (*at != ',' && *at != '\0'))
            return refuse_range(verb, o, text, "whole numbers separated by commas, each");
        if (list->count == CLI_MAX_LIST) return refuse(verb, o, text, "at most 16 numbers");
        list->value[list->count++] = (uint32_t)value;
        if (*at++ == '\0') return CLI_DONE;
    }
}

static int read_pair(const cli_verb *verb, const option *o, const char *text, void *out)
{
    cli_list *list = out;
    const char *at;
    uint64_t first, second;
    if (!read_whole(text, &at, &first) || *at != ',' || !read_whole(at + 1, NULL, &second) || (double)first < o->low ||
        (double)second < o->low || (double)first > o->high || (double)second > o->high)
        return refuse_range(verb, o, text, "two numbers P,N, each");
    if (list->count == CLI_MAX_LIST) return refuse(verb, o, text, "at most 16 of these");
    list->value[list->count] = (uint32_t)first;
    list->second[list->count++] = (uint32_t)second;
    return CLI_DONE;
}

static int read_texts(const cli_verb *verb, const option *o, const char *text, void *out)
{
    cli_texts *texts = out;
    if (text[0] == '\0') return refuse(verb, o, text, "a text that is not empty");
    if (texts->count == CLI_MAX_STOPS) return refuse(verb, o, text, "at most 16 of these");
    texts->text[texts->count++] = text;
    return CLI_DONE;
}

static int read_value(const cli_verb *verb, const option *o, const char *text, cli_settings *settings)
{
    void *out = (char *)settings + o->offset;
    switch (o->kind) {
    case FLAG: *(bool *)out = true; return CLI_DONE;
    case TEXT: *(const char **)out = text; return CLI_DONE;
    case TEXTS: return read_texts(verb, o, text, out);
    case CHOICE: return read_choice(verb, o, text, out);
    case U32: return read_u32(verb, o, text, out);
    case U64: return read_u64(verb, o, text, out);
    case FLOAT: return read_float(verb, o, text, out);
    case LIST: return read_list(verb, o, text, out);
    case PAIRS: return read_pair(verb, o, text, out);
    }
    return CLI_USAGE;
}

/* ---- Parsing ---- */

static int parse_option(const cli_verb *verb, int count, char *const *arguments, int *i, cli_settings *settings)
{
    const char *word = arguments[*i], *value;
    const option *o = find(verb, word, &value);
    if (o == NULL) return cli_misuse(verb, "%s: unknown option '%s'", verb->name, word);
    if (o->kind == FLAG) {
        if (value != NULL) return cli_misuse(verb, "%s: %s takes no value", verb->name, o->name);
        return read_value(verb, o, "", settings);
    }
    if (value == NULL) {
        if (*i + 1 >= count) return cli_misuse(verb, "%s: %s needs a value %s", verb->name, word, o->argument);
        value = arguments[++*i];
    }
    return read_value(verb, o, value, settings);
}

static int add_word(const cli_verb *verb, const char *word, cli_settings *settings)
{
    if (settings->word_count >= verb->most) {
        if (verb->most == 0) return cli_misuse(verb, "%s takes no arguments, '%s' is given", verb->name, word);
        return cli_misuse(verb, "%s: one argument too many: '%s' (a text with blanks needs quotes)", verb->name, word);
    }
    settings->words[settings->word_count++] = word;
    return CLI_DONE;
}

int cli_parse(const cli_verb *verb, int count, char *const *arguments, cli_settings *settings)
{
    bool only_words = false;
    *settings = (cli_settings){0};
    for (int i = 0; i < count; i++) {
        const char *word = arguments[i];
        int code;
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
            continue;
        }
        if (only_words || word[0] != '-' || word[1] == '\0')
            code = add_word(verb, word, settings);
        else
            code = parse_option(verb, count, arguments, &i, settings);
        if (code != CLI_DONE) return code;
        if (settings->help || settings->version) return CLI_DONE;
    }
    size_t words = settings->word_count + (settings->model != NULL);
    if (words < verb->least) return cli_misuse(verb, "%s needs %s", verb->name, verb->arguments);
    if (words > verb->most)
        return cli_misuse(verb, "%s: the model is given twice: '%s' and '%s'", verb->name, settings->model, settings->words[0]);
    return CLI_DONE;
}

/* ---- Help ---- */

void cli_help(const cli_verb *verb)
{
    cli_printf("Usage: pensieve %s %s%s[options]\n\n%s.\n\n", verb->name, verb->arguments,
               verb->arguments[0] != '\0' ? " " : "", verb->summary);
    for (size_t i = 0; i < CLI_COUNT(options); i++) {
        const option *o = &options[i];
        char left[64];
        if ((o->verbs & verb->bit) == 0) continue;
        snprintf(left, sizeof left, "%s%s%s%s%s", o->name, o->alias != NULL ? ", " : "", o->alias != NULL ? o->alias : "",
                 o->argument != NULL ? " " : "", o->argument != NULL ? o->argument : "");
        cli_printf("  %-26s %s\n", left, o->help);
    }
    if (verb->notes != NULL) cli_printf("\n%s\n", verb->notes);
}
