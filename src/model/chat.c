/* The text side of a model: tokenizing, and chats through the model's template. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "model/flat.h"
#include "model/model.h"

/* ---- Tokens ---- */

static pv_status need_tokenizer(const pv_model *model, pv_error *error)
{
    if (model->tokenizer != NULL) return PV_OK;
    return pv_fail(error, PV_UNSUPPORTED, "%s has no tokenizer; it can only be run with token ids", model->name);
}

/* With the beginning-of-sequence token if the model wants one and the text does not begin with it: exactly one stands first. */
static void give_tokens(const pv_model *model, bool begins, const pv_tokens *found, int32_t *tokens, size_t capacity, size_t *count)
{
    bool wants_bos;
    int32_t bos = pv_tokenizer_bos(model->tokenizer, &wants_bos);
    size_t missing = begins && wants_bos && bos >= 0 && (found->count == 0 || found->ids[0] != bos);
    size_t room = capacity > missing ? capacity - missing : 0, number = found->count < room ? found->count : room;
    if (missing > 0 && capacity > 0) tokens[0] = bos;
    if (number > 0) memcpy(tokens + missing, found->ids, number * sizeof *tokens);
    *count = found->count + missing;
}

pv_status pv_tokenize(const pv_model *model, const char *text, size_t length, unsigned flags, int32_t *tokens, size_t capacity,
                      size_t *count, pv_error *error)
{
    if (model == NULL || (text == NULL && length > 0) || count == NULL || (tokens == NULL && capacity > 0))
        return pv_fail(error, PV_INVALID_ARGUMENT, "model, text, tokens or count is NULL");
    pv_tokens found;
    pv_status status = need_tokenizer(model, error);
    if (status != PV_OK) return status;
    pv_tokens_init(&found, model->allocator);
    unsigned encode = (flags & PV_TOKENIZE_SPECIAL) != 0 ? PV_ENCODE_SPECIAL : 0;
    status = pv_tokenizer_encode(model->tokenizer, text, length, encode, &found, error);
    if (status == PV_OK) give_tokens(model, (flags & PV_TOKENIZE_BOS) != 0, &found, tokens, capacity, count);
    pv_tokens_free(&found);
    return status;
}

pv_status pv_detokenize(const pv_model *model, const int32_t *tokens, size_t count, unsigned flags, char *text, size_t capacity,
                        size_t *length, pv_error *error)
{
    if (model == NULL || (tokens == NULL && count > 0) || length == NULL || (text == NULL && capacity > 0))
        return pv_fail(error, PV_INVALID_ARGUMENT, "model, tokens, text or length is NULL");
    pv_status status = need_tokenizer(model, error);
    if (status != PV_OK) return status;
    size_t total = 0;
    bool starts = (flags & PV_DETOKENIZE_CONTINUES) == 0;
    for (size_t i = 0; i < count; i++) {
        const char *bytes;
        size_t number;
        bool control;
        if (!pv_tokenizer_bytes(model->tokenizer, tokens[i], &bytes, &number, &control))
            return pv_fail(error, PV_INVALID_ARGUMENT, "token %zu is %d, an id below %u is wanted", i, tokens[i],
                           pv_tokenizer_size(model->tokenizer));
        if (control && (flags & PV_DETOKENIZE_SPECIAL) == 0) continue;
        if (starts && number > 0) {
            size_t leading = pv_tokenizer_leading(model->tokenizer, bytes, number);
            bytes += leading;
            number -= leading;
            starts = false;
        }
        size_t room = total < capacity ? capacity - total : 0;
        if (room > 0) memcpy(text + total, bytes, number < room ? number : room);
        total += number;
    }
    *length = total;
    return PV_OK;
}

/* ---- Finding the template ---- */

static void compile(pv_model *model, const char *text, size_t length)
{
    pv_template_compile(model->allocator, text, length, &model->template, &model->template_error);
}

/* tokenizer_config.json has one template, or a list of named ones of which "default" is meant. */
static void compile_from_config(pv_model *model, const pv_flat *flat)
{
    const char *text = pv_flat_string(flat, "chat_template");
    char path[64];
    for (unsigned i = 0; text == NULL; i++) {
        snprintf(path, sizeof path, "chat_template.%u.name", i);
        const char *name = pv_flat_string(flat, path);
        if (name == NULL) return;
        if (strcmp(name, "default") != 0) continue;
        snprintf(path, sizeof path, "chat_template.%u.template", i);
        text = pv_flat_string(flat, path);
        if (text == NULL) return;
    }
    compile(model, text, strlen(text));
}

pv_status pv_chat_load(pv_model *model, pv_error *error)
{
    const char *text;
    size_t length;
    if (pv_source_get_kind(model->source) == PV_SOURCE_GGUF) {
        bool found;
        pv_status status = pv_meta_string(model->source, "tokenizer.chat_template", &text, &length, &found, error);
        if (status == PV_OK && found) compile(model, text, length);
        return status;
    }
    pv_status status = pv_source_text(model->source, "chat_template.jinja", &text, &length, error);
    if (status != PV_OK) return status;
    if (text != NULL) {
        compile(model, text, length);
        return PV_OK;
    }
    status = pv_source_text(model->source, "tokenizer_config.json", &text, &length, error);
    if (status != PV_OK || text == NULL) return status;
    pv_flat flat;
    status = pv_flat_read(model->allocator, text, length, "tokenizer_config.json", &flat, error);
    if (status != PV_OK) return status;
    compile_from_config(model, &flat);
    pv_flat_free(&flat);
    return PV_OK;
}

/* ---- Rendering ---- */

static void add_json_string(pv_bytes *out, const char *text, size_t length)
{
    pv_bytes_add(out, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\')
            pv_bytes_format(out, "\\%c", byte);
        else if (byte < 0x20)
            pv_bytes_format(out, "\\u%04x", byte);
        else
            pv_bytes_add(out, text + i, 1);
    }
    pv_bytes_add(out, "\"", 1);
}

static void add_token_variable(pv_bytes *out, const pv_model *model, const char *name, int32_t token)
{
    const char *bytes;
    size_t length;
    bool control;
    if (model->tokenizer == NULL || token < 0 || !pv_tokenizer_bytes(model->tokenizer, token, &bytes, &length, &control)) return;
    pv_bytes_format(out, "\"%s\":", name);
    add_json_string(out, bytes, length);
    pv_bytes_add(out, ",", 1);
}

static bool is_utf8(const char *text)
{
    size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t step = pv_utf8_decode(text + at, length - at, &code_point);
        if (step == 0) return false;
        at += step;
    }
    return true;
}

static pv_status check_json(const pv_model *model, const char *text, pv_json_type wanted, const char *name, pv_error *error)
{
    pv_json json;
    pv_json_init(&json, model->allocator, text, strlen(text), name);
    pv_status status = pv_json_expect(&json, wanted, error);
    if (status == PV_OK) status = pv_json_skip(&json, error);
    if (status == PV_OK) status = pv_json_expect(&json, PV_JSON_END, error);
    pv_json_free(&json);
    return status;
}

/* The variables that Hugging Face's apply_chat_template gives, as one JSON object. */
static pv_status make_variables(const pv_model *model, const pv_message *messages, size_t count, const pv_chat_options *options,
                                pv_bytes *out, pv_error *error)
{
    pv_bytes_add(out, "{", 1);
    add_token_variable(out, model, "bos_token", model->tokenizer != NULL ? pv_tokenizer_bos(model->tokenizer, &(bool){false}) : -1);
    add_token_variable(out, model, "eos_token", model->end_count > 0 ? model->ends[0] : -1);
    if (options->extra_json != NULL) {
        pv_status status = check_json(model, options->extra_json, PV_JSON_OBJECT, "extra_json", error);
        if (status != PV_OK) return status;
        const char *open = strchr(options->extra_json, '{') + 1, *close = strrchr(options->extra_json, '}');
        size_t blank = strspn(open, " \t\r\n");
        if (open + blank < close) {
            pv_bytes_add(out, open, (size_t)(close - open));
            pv_bytes_add(out, ",", 1);
        }
    }
    if (options->tools_json != NULL) {
        pv_status status = check_json(model, options->tools_json, PV_JSON_ARRAY, "tools_json", error);
        if (status != PV_OK) return status;
        pv_bytes_format(out, "\"tools\":%s,", options->tools_json);
    }
    pv_bytes_format(out, "\"add_generation_prompt\":%s,\"messages\":[", options->no_generation_prompt ? "false" : "true");
    for (size_t i = 0; i < count; i++) {
        if (messages[i].role == NULL || messages[i].content == NULL || !is_utf8(messages[i].role) || !is_utf8(messages[i].content))
            return pv_fail(error, PV_INVALID_ARGUMENT, "message %zu needs a role and a content in UTF-8", i);
        pv_bytes_add(out, i > 0 ? ",{\"role\":" : "{\"role\":", i > 0 ? 9 : 8);
        add_json_string(out, messages[i].role, strlen(messages[i].role));
        pv_bytes_add(out, ",\"content\":", 11);
        add_json_string(out, messages[i].content, strlen(messages[i].content));
        pv_bytes_add(out, "}", 1);
    }
    pv_bytes_add(out, "]}", 2);
    return out->failed ? pv_fail_memory(error, out->length, "a chat's variables") : PV_OK;
}

static pv_status render(const pv_model *model, const pv_message *messages, size_t count, const pv_chat_options *options,
                        pv_rendered *rendered, pv_error *error)
{
    static const pv_chat_options defaults;
    static const char *const input_names[] = {"messages", "tools", NULL}, *const nothing[] = {NULL};
    if (options == NULL) options = &defaults;
    if (model == NULL || (messages == NULL && count > 0)) return pv_fail(error, PV_INVALID_ARGUMENT, "model or messages is NULL");
    if (model->template == NULL && model->template_error.status != PV_OK) {
        if (error != NULL) *error = model->template_error;
        return model->template_error.status;
    }
    if (model->template == NULL) return pv_fail(error, PV_UNSUPPORTED, "%s has no chat template; run it with a raw prompt", model->name);
    pv_bytes variables;
    pv_bytes_init(&variables, model->allocator);
    pv_status status = make_variables(model, messages, count, options, &variables, error);
    if (status == PV_OK)
        status = pv_template_render(model->template, variables.data, variables.length, options->allow_control ? nothing : input_names,
                                    options->now, rendered, error);
    pv_bytes_free(&variables);
    return status;
}

pv_status pv_chat_text(const pv_model *model, const pv_message *messages, size_t message_count, const pv_chat_options *options,
                       char *text, size_t capacity, size_t *length, pv_error *error)
{
    if (model == NULL || length == NULL || (text == NULL && capacity > 0))
        return pv_fail(error, PV_INVALID_ARGUMENT, "model, text or length is NULL");
    pv_rendered rendered;
    pv_rendered_init(&rendered, model->allocator);
    pv_status status = render(model, messages, message_count, options, &rendered, error);
    if (status == PV_OK) {
        size_t number = rendered.text.length < capacity ? rendered.text.length : capacity;
        if (number > 0) memcpy(text, rendered.text.data, number);
        *length = rendered.text.length;
    }
    pv_rendered_free(&rendered);
    return status;
}

pv_status pv_chat_tokens(const pv_model *model, const pv_message *messages, size_t message_count, const pv_chat_options *options,
                         int32_t *tokens, size_t capacity, size_t *count, pv_error *error)
{
    if (model == NULL || count == NULL || (tokens == NULL && capacity > 0))
        return pv_fail(error, PV_INVALID_ARGUMENT, "model, tokens or count is NULL");
    pv_status status = need_tokenizer(model, error);
    if (status != PV_OK) return status;
    pv_rendered rendered;
    pv_tokens found;
    pv_rendered_init(&rendered, model->allocator);
    pv_tokens_init(&found, model->allocator);
    status = render(model, messages, message_count, options, &rendered, error);
    if (status == PV_OK)
        status = pv_tokenizer_encode_marked(model->tokenizer, rendered.text.data, rendered.text.length, PV_ENCODE_SPECIAL, rendered.input,
                                            rendered.input_count, &found, error);
    if (status == PV_OK) give_tokens(model, true, &found, tokens, capacity, count); /* most templates write it themselves */
    pv_tokens_free(&found);
    pv_rendered_free(&rendered);
    return status;
}
