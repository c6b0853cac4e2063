#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "options.h"

#define MODEL_NOTE                                                                                                             \
    "MODEL is a .gguf file, a folder in the Hugging Face layout, or org/name[:QUANT][@REVISION] on the Hub; a path that\n"     \
    "exists wins."

static const cli_verb verbs[] = {
    {"run", "MODEL [PROMPT]", "Answers a prompt, or holds a chat where no prompt is given and standard input is a terminal",
     MODEL_NOTE " PROMPT - is standard input, as is no prompt where that is no terminal.\n"
                "Ctrl-C ends an answer (exit code 130; in a chat only the answer).",
     CLI_VERB_RUN, 1, 2, cli_run},
    {"bench", "MODEL", "Measures tokens per second, with llama-bench's names: pp512 is a prompt, tg128 an answer",
     MODEL_NOTE " Tokenisation is not measured; figures are mean and standard deviation of tokens/s.", CLI_VERB_BENCH, 1, 1,
     cli_bench},
    {"inspect", "MODEL", "Shows what a model file holds and what it would take to run it", MODEL_NOTE, CLI_VERB_INSPECT, 1, 1,
     cli_inspect},
    {"devices", "", "Lists the devices that were found, and why others cannot be used", NULL, CLI_VERB_DEVICES, 0, 0,
     cli_devices},
    {"tokenize", "MODEL [TEXT]", "Shows the tokens of a text; no TEXT or - is standard input", MODEL_NOTE, CLI_VERB_TOKENIZE, 1,
     2, cli_tokenize},
    {"synth", "OUT", "Writes a model with random weights in a real shape, to measure speed without a download",
     "OUT ending in .gguf becomes a GGUF file, any other a folder with SafeTensors (F32, F16, BF16).", CLI_VERB_SYNTH, 1, 1,
     cli_synth},
    {"tune", "", "Measures a device's variants of kernels and keeps the choice in the cache folder",
     "Only --device metal has something to choose; models that are run from then on use it. Nothing is tuned otherwise.",
     CLI_VERB_TUNE, 0, 0, cli_tune},
    {"convert", "MODEL OUT", "Writes a SafeTensors model to the folder OUT: quantized as MLX does it, or aligned",
     "MODEL is a SafeTensors file or folder, or org/name on the Hub. --bits quantizes linear layers and embeddings;\n"
     "--repack leaves weights as they are, in a file that is mapped without a copy; quantized ones only Pensieve reads there.", CLI_VERB_CONVERT, 2, 2, cli_convert},
    {"pull", "MODEL", "Fetches org/name[:QUANT][@REVISION] from the Hub",
     "HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT are honoured.\n"
     "Files go to $PENSIEVE_CACHE/hub, else $HF_HUB_CACHE, else $HF_HOME/hub, else the cache folder's hub.",
     CLI_VERB_PULL, 1, 1, cli_pull},
    {"list", "", "Lists the models in the cache", NULL, CLI_VERB_LIST, 0, 0, cli_list_models},
    {"rm", "MODEL", "Removes a model from the cache", NULL, CLI_VERB_RM, 1, 1, cli_remove},
};

static const char *const later_verbs[] = {"doctor", "serve"};

static void print_usage(FILE *out)
{
    fprintf(out, "Pensieve %s runs large language models on this machine.\n\nUsage: pensieve VERB ...\n\n", pv_version());
    for (size_t i = 0; i < CLI_COUNT(verbs); i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", verbs[i].name, verbs[i].arguments);
        fprintf(out, "  %-24s %s\n", left, verbs[i].summary);
    }
    fprintf(out, "\n'pensieve VERB --help' shows a verb's options. Later versions: ");
    for (size_t i = 0; i < CLI_COUNT(later_verbs); i++) fprintf(out, "%s%s", i > 0 ? ", " : "", later_verbs[i]);
    fprintf(out,
            ".\n\n%s\n\nExit codes: 0 done, 1 failure, 2 usage, 3 something is missing, 4 model refused, 5 not enough memory,\n"
            "130 interrupted.\n",
            MODEL_NOTE);
}

static const cli_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < CLI_COUNT(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}

/* Where the words cannot be read by the table of options. */
static bool asks_for_json(int count, char *const *arguments)
{
    for (int i = 0; i < count && strcmp(arguments[i], "--") != 0; i++) {
        bool form = i > 0 && (strcmp(arguments[i - 1], "-o") == 0 || strcmp(arguments[i - 1], "--output") == 0);
        if (strcmp(arguments[i], "--json") == 0 || strncmp(arguments[i], "--output=json", 13) == 0) return true;
        if (form && (strcmp(arguments[i], "json") == 0 || strcmp(arguments[i], "jsonl") == 0)) return true;
    }
    return false;
}

static int refuse_verb(const char *name, int count, char *const *arguments)
{
    for (size_t i = 0; i < CLI_COUNT(later_verbs); i++)
        if (strcmp(later_verbs[i], name) == 0) {
            pv_error error;
            cli_error(&error, PV_UNSUPPORTED, "%s is not in this version", name);
            cli_fail(&(cli_settings){.json = asks_for_json(count, arguments)}, name, &error);
            return CLI_USAGE;
        }
    return cli_misuse(NULL, name[0] == '-' ? "unknown option '%s'" : "unknown verb '%s'", name);
}

static int run_verb(const cli_verb *verb, int count, char *const *arguments)
{
    cli_settings settings;
    int code = cli_parse(verb, count, arguments, &settings);
    if (code != CLI_DONE) {
        if (asks_for_json(count, arguments)) cli_print_misuse(verb->name);
        return code;
    }
    if (settings.help || settings.version) {
        if (settings.help)
            cli_help(verb);
        else
            cli_printf("pensieve %s\n", pv_version());
        return CLI_DONE;
    }
    /* -m takes the place of the first word. */
    if (settings.model == NULL && settings.word_count > 0) {
        settings.model = settings.words[0];
        settings.word_count--;
        memmove(settings.words, settings.words + 1, sizeof settings.words - sizeof settings.words[0]);
    }
    cli_interrupt_start();
    return verb->run(&settings);
}

static int run_command(int count, char *const *arguments)
{
    if (count < 1) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *name = arguments[0];
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    if (help && count > 1 && find_verb(arguments[1]) != NULL) {
        cli_help(find_verb(arguments[1]));
        return CLI_DONE;
    }
    if (help) {
        print_usage(stdout);
        return CLI_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        cli_printf("pensieve %s\n", pv_version());
        return CLI_DONE;
    }
    const cli_verb *verb = find_verb(name);
    return verb != NULL ? run_verb(verb, count - 1, arguments + 1) : refuse_verb(name, count - 1, arguments + 1);
}

int main(int count, char **arguments)
{
    cli_output_start();
    return cli_output_end(run_command(count - 1, arguments + 1));
}
