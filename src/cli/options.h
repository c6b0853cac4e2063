/* One table of options for all verbs: the parser, --help and the messages all read it. */
#ifndef PENSIEVE_CLI_OPTIONS_H
#define PENSIEVE_CLI_OPTIONS_H

#include "cli.h"

enum {
    CLI_VERB_RUN = 1,
    CLI_VERB_BENCH = 2,
    CLI_VERB_INSPECT = 4,
    CLI_VERB_DEVICES = 8,
    CLI_VERB_TOKENIZE = 16,
    CLI_VERB_SYNTH = 32,
    CLI_VERB_PULL = 64,
    CLI_VERB_LIST = 128,
    CLI_VERB_RM = 256,
    CLI_VERB_TUNE = 512,
    CLI_VERB_CONVERT = 1024,
    CLI_VERB_ALL = 2047,
};

/* Reads what follows the verb. Returns CLI_DONE, or CLI_USAGE after naming what is wrong. */
int cli_parse(const cli_verb *verb, int count, char *const *arguments, cli_settings *settings);
/* The verb's usage and options, to standard output. */
void cli_help(const cli_verb *verb);

#endif
