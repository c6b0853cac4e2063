#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

/* ---- Text to tokens ---- */

/* The bytes of one token, in memory of the caller's. */
static void token_text(const pv_model *model, int32_t token, cli_text *text)
{
    size_t length = 0;
    text->length = 0;
    cli_add(text, "", 0);
    if (pv_detokenize(model, &token, 1, PV_DETOKENIZE_SPECIAL | PV_DETOKENIZE_CONTINUES, text->data, text->capacity, &length, NULL) != PV_OK) return;
    if (length + 1 > text->capacity) {
        text->data = cli_grow(text->data, &text->capacity, length + 1, 1);
        pv_detokenize(model, &token, 1, PV_DETOKENIZE_SPECIAL | PV_DETOKENIZE_CONTINUES, text->data, text->capacity, &length, NULL);
    }
    text->length = length;
    text->data[length] = '\0';
}

static void print_tokens_json(const pv_model *model, const int32_t *tokens, size_t count)
{
    cli_text text = {0};
    cli_json json = cli_json_start("tokenize");
    cli_json_uint_member(&json, "count", count);
    cli_json_name(&json, "token_ids");
    cli_json_open(&json, '[');
    for (size_t i = 0; i < count; i++) cli_json_int(&json, tokens[i]);
    cli_json_close(&json, ']');
    cli_json_name(&json, "tokens");
    cli_json_open(&json, '[');
    for (size_t i = 0; i < count; i++) {
        token_text(model, tokens[i], &text);
        cli_json_string(&json, text.data, text.length);
    }
    cli_json_close(&json, ']');
    cli_json_print(&json);
    free(text.data);
}

/* "id<TAB>text", the text as a JSON string, so that each token is one line. */
static void print_tokens(const pv_model *model, const int32_t *tokens, size_t count)
{
    cli_text text = {0};
    for (size_t i = 0; i < count; i++) {
        cli_json json = {0};
        token_text(model, tokens[i], &text);
        cli_json_string(&json, text.data, text.length);
        cli_printf("%d\t%s\n", tokens[i], json.text.data);
        free(json.text.data);
    }
    free(text.data);
}

static pv_status encode(const cli_settings *settings, const pv_model *model, const cli_text *text, pv_error *error)
{
    int32_t *tokens;
    size_t count;
    unsigned flags = (settings->no_bos ? 0u : PV_TOKENIZE_BOS) | (settings->special ? PV_TOKENIZE_SPECIAL : 0u);
    pv_status status = cli_text_tokens(model, text->data, text->length, flags, &tokens, &count, error);
    if (status != PV_OK) return status;
    if (settings->json)
        print_tokens_json(model, tokens, count);
    else
        print_tokens(model, tokens, count);
    free(tokens);
    return PV_OK;
}

/* ---- Tokens to text ---- */

/* Ids separated by blanks, commas or brackets. */
static pv_status read_ids(const cli_text *text, int32_t **tokens, size_t *count, pv_error *error)
{
    static const char separators[] = " \t\r\n,[]";
    size_t capacity = 0;
    *tokens = NULL;
    *count = 0;
    for (const char *at = text->data + strspn(text->data, separators); *at != '\0'; at += strspn(at, separators)) {
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || errno != 0 || id < 0 || id > INT32_MAX || (*end != '\0' && strchr(separators, *end) == NULL)) {
            cli_error(error, PV_INVALID_ARGUMENT, "'%.*s' is given, a token id is wanted", (int)strcspn(at, separators), at);
            free(*tokens);
            return PV_INVALID_ARGUMENT;
        }
        *tokens = cli_grow(*tokens, &capacity, *count + 1, sizeof **tokens);
        (*tokens)[(*count)++] = (int32_t)id;
        at = end;
    }
    return PV_OK;
}

static pv_status decode(const cli_settings *settings, const pv_model *model, const cli_text *text, pv_error *error)
{
    int32_t *tokens;
    size_t count, length = 0;
    pv_status status = read_ids(text, &tokens, &count, error);
    if (status != PV_OK) return status;
    char *bytes = NULL;
    status = pv_detokenize(model, tokens, count, PV_DETOKENIZE_SPECIAL, NULL, 0, &length, error);
    if (status == PV_OK) {
        bytes = cli_alloc(length + 1, 1);
        status = pv_detokenize(model, tokens, count, PV_DETOKENIZE_SPECIAL, bytes, length, &length, error);
    }
    if (status == PV_OK && settings->json) {
        cli_json json = cli_json_start("tokenize");
        cli_json_name(&json, "text");
        cli_json_string(&json, bytes, length);
        cli_json_print(&json);
    } else if (status == PV_OK) {
        cli_print(bytes, length);
        cli_print("\n", 1);
    }
    free(bytes);
    free(tokens);
    return status;
}

/* ---- The verb ---- */

int cli_tokenize(const cli_settings *settings)
{
    pv_error error;
    cli_model model = {0};
    cli_text text = {0};
    pv_model_options options;
    pv_status status = cli_model_options(settings, &options, &error);
    const char *given = settings->words[0];
    options.text_only = true;
    if (status == PV_OK && given != NULL && strcmp(given, "-") != 0)
        cli_add(&text, given, strlen(given));
    else if (status == PV_OK)
        status = cli_read_input(&text, &error);
    if (status == PV_OK) status = cli_load(settings, &options, settings->threads, &model, &error);
    if (status == PV_OK)
        status = settings->decode ? decode(settings, model.model, &text, &error) : encode(settings, model.model, &text, &error);
    int code = status == PV_OK ? CLI_DONE : cli_fail(settings, "tokenize", &error);
    cli_unload(&model);
    free(text.data);
    return code;
}
