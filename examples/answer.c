/* One answer, printed as it is made.
 *
 *     example_answer MODEL "a question"
 */
#include <stdio.h>
#include <stdlib.h>

#include "pensieve.h"

static PV_BOOL print_text(void *user, const char *text, size_t length, int32_t token)
{
    (void)user, (void)token;
    fwrite(text, 1, length, stdout);
    return fflush(stdout) == 0; /* false ends the answer */
}

/* The question in the model's own chat format; the caller frees *tokens. */
static pv_status make_prompt(const pv_model *model, const char *question, int32_t **tokens, size_t *count, pv_error *error)
{
    const pv_message message = {"user", question};
    pv_status status = pv_chat_tokens(model, &message, 1, NULL, NULL, 0, count, error); /* how many there are */
    if (status != PV_OK) return status;
    *tokens = malloc(*count * sizeof **tokens);
    if (*tokens == NULL) return PV_OUT_OF_MEMORY;
    return pv_chat_tokens(model, &message, 1, NULL, *tokens, *count, count, error);
}

static pv_status answer(pv_runtime *runtime, const char *path, const char *question, pv_error *error)
{
    pv_model *model = NULL;
    pv_session *session = NULL;
    int32_t *tokens = NULL;
    size_t count = 0;
    pv_answer result;
    pv_status status = pv_model_load(runtime, path, NULL, &model, error);
    if (status == PV_OK) status = make_prompt(model, question, &tokens, &count, error);
    if (status == PV_OK) status = pv_session_create(model, &session, error);
    if (status == PV_OK) {
        const pv_request request = {.prompt = tokens, .prompt_length = count, .max_tokens = 256};
        status = pv_session_generate(session, &request, print_text, NULL, &result, error);
    }
    if (status == PV_OK) {
        printf("\n");
        fflush(stdout);
        fprintf(stderr, "%u tokens, the first after %.3f s, all in %.3f s\n", result.generated_tokens,
                result.first_token_seconds, result.seconds);
    }
    free(tokens);
    pv_session_destroy(session);
    pv_model_destroy(model);
    return status;
}

int main(int count, char **arguments)
{
    pv_error error = {0};
    pv_runtime *runtime;
    if (count != 3) {
        fprintf(stderr, "usage: %s MODEL QUESTION\n", arguments[0]);
        return 2;
    }
    pv_status status = pv_runtime_create(NULL, &runtime, &error);
    if (status == PV_OK) {
        status = answer(runtime, arguments[1], arguments[2], &error);
        pv_runtime_destroy(runtime);
    }
    if (status != PV_OK) fprintf(stderr, "%s: %s\n", pv_status_text(status), error.message);
    return status == PV_OK ? 0 : 1;
}
