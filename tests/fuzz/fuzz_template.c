/* Chat templates from a stranger's file: whatever the bytes, compiling and rendering end, within their limits, with a status.
 * The input is a template, or a template, a NUL and the variables as JSON. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char usual_variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\" h\\u00e9 <|x|>\\n\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":["
    "1,2.5,true]}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"bos_token\":\"<s>\",\"add_generation_prompt\":true}";
static const char *const input_names[] = {"messages", "tools", NULL};

static void require(bool condition)
{
    if (!condition) abort();
}

static void check_marks(const pv_rendered *rendered)
{
    for (size_t i = 0; i < rendered->input_count; i++) {
        require(rendered->input[i].start < rendered->input[i].end);
        require(rendered->input[i].end <= rendered->text.length);
        require(i == 0 || rendered->input[i].start > rendered->input[i - 1].end);
    }
}

/* Marking must not change a byte. */
static void render_both_ways(const pv_allocator *allocator, const pv_template *tmpl, const char *variables, size_t length)
{
    pv_rendered marked, plain;
    pv_error error = {0};
    pv_rendered_init(&marked, allocator);
    pv_rendered_init(&plain, allocator);
    pv_status status = pv_template_render(tmpl, variables, length, input_names, 1700000000, &marked, &error);
    require(status == PV_OK || status == PV_BAD_TEMPLATE || status == PV_BAD_FILE);
    require(status == PV_OK || (error.status == status && error.message[0]));
    check_marks(&marked);
    pv_status again = pv_template_render(tmpl, variables, length, NULL, 1700000000, &plain, &error);
    if (status == PV_OK && again == PV_OK) {
        require(plain.input_count == 0 && plain.text.length == marked.text.length);
        require(!plain.text.length || memcmp(plain.text.data, marked.text.data, plain.text.length) == 0);
    }
    pv_rendered_free(&plain);
    pv_rendered_free(&marked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pv_allocator allocator = pv_allocator_default();
    pv_template *tmpl = NULL;
    pv_error error = {0};
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t length = end ? (size_t)(end - data) : size;
    pv_status status = pv_template_compile(&allocator, (const char *)data, length, &tmpl, &error);
    require(status == PV_OK || (status == PV_BAD_TEMPLATE && error.message[0]));
    if (status != PV_OK) return 0;
    if (end)
        render_both_ways(&allocator, tmpl, (const char *)end + 1, size - length - 1);
    else
        render_both_ways(&allocator, tmpl, usual_variables, strlen(usual_variables));
    pv_template_destroy(tmpl);
    return 0;
}
