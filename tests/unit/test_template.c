/* Chat templates against Python's jinja2: byte for byte, and an error where it gives an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "text/template.h"

#define REAL_TEMPLATES PV_TEST_DATA "/../../shared/data/templates"
#define JINJA "3.1.6"
#define SCRIPT PV_TEST_DATA "/golden/make_templates.py"

enum { MAX_SETS = 64, MAX_TEMPLATES = 4000 };

typedef struct golden {
    pv_allocator allocator;
    char *text;
    size_t length;
    pv_json json;
    int64_t now;
    struct {
        const char *text; /* inside `text` */
        size_t length;
    } sets[MAX_SETS];
    struct {
        char *text;
        size_t length;
    } templates[MAX_TEMPLATES];
    size_t set_count, template_count;
    size_t cases, texts, mismatches;
    pv_template *compiled; /* of the case before, cases being in the order of templates */
    size_t compiled_number;
    pv_status compiled_status;
    pv_error compiled_error;
} golden;

static void expect(golden *g, pv_json_type type)
{
    pv_error error = {0};
    if (pv_json_expect(&g->json, type, &error) != PV_OK) fail_msg("%s", error.message);
}

static pv_json_type next(golden *g)
{
    pv_error error = {0};
    if (pv_json_next(&g->json, &error) != PV_OK) fail_msg("%s", error.message);
    return g->json.type;
}

static size_t number(golden *g)
{
    int64_t value;
    expect(g, PV_JSON_NUMBER);
    assert_int_equal(pv_json_int(&g->json, &value, NULL), PV_OK);
    assert_true(value >= 0);
    return (size_t)value;
}

static void read_sets(golden *g)
{
    expect(g, PV_JSON_ARRAY);
    while (next(g) == PV_JSON_OBJECT) {
        assert_true(g->set_count < MAX_SETS);
        size_t start = g->json.start;
        assert_int_equal(pv_json_skip(&g->json, NULL), PV_OK);
        g->sets[g->set_count].text = g->text + start;
        g->sets[g->set_count++].length = g->json.at - start;
    }
}

static void read_templates(golden *g)
{
    expect(g, PV_JSON_ARRAY);
    while (next(g) == PV_JSON_STRING) {
        assert_true(g->template_count < MAX_TEMPLATES);
        g->templates[g->template_count].text = pv_copy_string(&g->allocator, g->json.string, g->json.string_length);
        g->templates[g->template_count++].length = g->json.string_length;
    }
}

/* Marks are in order, apart from each other, and inside. */
static void check_marks(const pv_rendered *rendered)
{
    size_t end = 0;
    for (size_t i = 0; i < rendered->input_count; i++) {
        assert_true(rendered->input[i].start < rendered->input[i].end);
        assert_true(i == 0 || rendered->input[i].start > end);
        end = rendered->input[i].end;
    }
    assert_true(end <= rendered->text.length);
}

static void report(golden *g, size_t template, size_t set, const char *wanted, const char *found)
{
    if (g->mismatches++ < 10)
        print_error("template %zu, set %zu:\n%.200s\nwanted: %.400s\nfound: %.400s\n\n", template, set,
                    g->templates[template].text, wanted, found);
}

static void compile(golden *g, size_t template)
{
    if (g->compiled_number == template) return;
    pv_template_destroy(g->compiled);
    g->compiled = NULL;
    g->compiled_number = template;
    g->compiled_error = (pv_error){0};
    g->compiled_status = pv_template_compile(&g->allocator, g->templates[template].text, g->templates[template].length,
                                             &g->compiled, &g->compiled_error);
}

/* [template, set, "t", text] or [template, set, "e", message, raised] */
static void run_case(golden *g)
{
    static const char *const input_names[] = {"messages", "tools", NULL};
    pv_rendered rendered;
    size_t template = number(g), set = number(g);
    assert_true(template <g->template_count &&set < g->set_count);
    compile(g, template);
    pv_error error = g->compiled_error;
    pv_status status = g->compiled_status;
    pv_rendered_init(&rendered, &g->allocator);
    if (status == PV_OK)
        status =
            pv_template_render(g->compiled, g->sets[set].text, g->sets[set].length, input_names, g->now, &rendered, &error);
    check_marks(&rendered);
    expect(g, PV_JSON_STRING);
    bool text = pv_json_is(&g->json, "t");
    expect(g, PV_JSON_STRING);
    const char *wanted = g->json.string;
    if (text) {
        bool same = status == PV_OK && rendered.text.length == g->json.string_length &&
                    (!rendered.text.length || memcmp(rendered.text.data, wanted, rendered.text.length) == 0);
        if (!same)
            report(g, template, set, wanted, status == PV_OK ? (rendered.text.data ? rendered.text.data : "") : error.message);
    } else {
        char *message = pv_copy_string(&g->allocator, wanted, g->json.string_length);
        bool raised = next(g) == PV_JSON_TRUE;
        bool same = status == PV_BAD_TEMPLATE && strncmp(error.message, "line ", 5) == 0 &&
                    (!raised || strstr(error.message, message) != NULL);
        if (!same) report(g, template, set, message, status == PV_OK ? "no error" : error.message);
        pv_free(&g->allocator, message);
    }
    expect(g, PV_JSON_ARRAY_END);
    g->texts += text;
    g->cases++;
    pv_rendered_free(&rendered);
}

static void run_golden(golden *g, const char *path)
{
    pv_error error = {0};
    *g = (golden){.allocator = pv_allocator_default(), .compiled_number = SIZE_MAX};
    if (pv_read_file(&g->allocator, path, 64u << 20, &g->text, &g->length, &error) != PV_OK) fail_msg("%s", error.message);
    pv_json_init(&g->json, &g->allocator, g->text, g->length, path);
    expect(g, PV_JSON_OBJECT);
    while (next(g) == PV_JSON_KEY) {
        if (pv_json_is(&g->json, "now")) {
            g->now = (int64_t)number(g);
        } else if (pv_json_is(&g->json, "sets")) {
            read_sets(g);
        } else if (pv_json_is(&g->json, "templates")) {
            read_templates(g);
        } else {
            expect(g, PV_JSON_ARRAY);
            while (next(g) == PV_JSON_ARRAY) run_case(g);
        }
    }
    print_message("%zu templates, %zu cases: %zu texts, %zu errors, %zu mismatches\n", g->template_count, g->cases, g->texts,
                  g->cases - g->texts, g->mismatches);
    pv_template_destroy(g->compiled);
    for (size_t i = 0; i < g->template_count; i++) pv_free(&g->allocator, g->templates[i].text);
    pv_json_free(&g->json);
    pv_free(&g->allocator, g->text);
}

static void own_templates_match(void **state)
{
    (void)state;
    golden *g = malloc(sizeof *g);
    run_golden(g, PV_TEST_DATA "/golden/templates/expected.json");
    assert_int_equal(g->mismatches, 0);
    assert_true(g->template_count > 900 && g->texts > 900 && g->cases - g->texts > 150);
    free(g);
}

/* Templates of well-known models, where they lie beside the repository: they are not ours to carry. */
static void real_templates_match(void **state)
{
    (void)state;
    if (pv_path_kind(REAL_TEMPLATES) != 2) {
        print_message("no folder %s: skipped\n", REAL_TEMPLATES);
        skip();
    }
    if (system("python3 -c 'import jinja2; assert jinja2.__version__ == \"" JINJA "\"' 2>/dev/null") != 0) {
        print_message("no python3 with jinja2 " JINJA ": skipped\n");
        skip();
    }
    char path[] = "/tmp/pensieve-templates-XXXXXX", command[1024];
    const int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    snprintf(command, sizeof command, "python3 '" SCRIPT "' '" REAL_TEMPLATES "' '%s'", path);
    assert_int_equal(system(command), 0);
    golden *g = malloc(sizeof *g);
    run_golden(g, path);
    unlink(path);
    assert_int_equal(g->mismatches, 0);
    assert_true(g->template_count >= 65 && g->cases >= 6 * g->template_count);
    free(g);
}

/* ---- The interface itself ---- */

static pv_status render(const char *source, const char *variables, int64_t now, pv_rendered *rendered, pv_error *error)
{
    pv_allocator allocator = pv_allocator_default();
    pv_template *tmpl = NULL;
    pv_status status = pv_template_compile(&allocator, source, strlen(source), &tmpl, error);
    if (status == PV_OK) status = pv_template_render(tmpl, variables, strlen(variables), NULL, now, rendered, error);
    pv_template_destroy(tmpl);
    return status;
}

static void errors_name_line_and_feature(void **state)
{
    (void)state;
    static const struct {
        const char *source, *message;
    } cases[] = {
        {"a\nb\n{% include 'x' %}", "line 3: the tag 'include' is not supported"},
        {"{{ x }}\n{{ 'a'|nosuch }}", "line 2: no filter named 'nosuch'"},
        {"{{ 1 is nosuch }}", "line 1: no test named 'nosuch'"},
        {"\n{{ 'a'|urlize }}", "line 2: 'urlize' is not supported"},
        {"{{ 'a'.encode() }}", "line 1: 'encode' is not supported"},
        {"\n\n{{ foo.bar }}", "line 3: 'foo' is undefined"},
        {"{{ {}.a.b }}", "line 1: 'dict object' has no attribute 'a'"},
        {"{% for x in [1] recursive %}{% endfor %}", "line 1: recursive loops are not supported"},
        {"{{ raise_exception('No \"tool\" here') }}", "line 1: No \"tool\" here"},
        {"{% if x %}\n{% for y in z %}", "line 2: found the end of the template, wanted '{% endfor %}'"},
        {"{{ 2 ** 63 }}", "line 1: an integer beyond 64 bits"},
        {"{{ 9223372036854775808 }}", "line 1: an integer beyond 64 bits"},
        {"{{ [].append(1) }}", "line 1: access to attribute 'append' of 'list' object is unsafe"},
        {"{{ ''.__class__.__mro__ }}", "line 1: access to attribute '__class__' of 'str' object is unsafe"},
        {"{{ strftime_now('%Q') }}", "line 1: strftime_now: '%Q' is not supported"},
        {"x\n{{ 'a\xff' }}", "line 2: byte 0xff is no UTF-8"},
        {"{{ joiner() }}", "line 1: 'joiner' is not supported"},
        {"{{ a_name_that_is_longer_than_a_hundred_bytes_in_all_which_ends_in_the_middle_of_a_character_at_the_ééééééééé.x }}",
         "line 1: 'a_name_that_is_longer_than_a_hundred_bytes_in_all_which_ends_in_the_middle_of_a_character_at_the_é' is "
         "undefined"},
        {"{{ '{0.x}'.format(1) }}", "line 1: format: '{0.x}' is not supported or not given"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_allocator allocator = pv_allocator_default();
        pv_rendered rendered;
        pv_error error = {0};
        pv_rendered_init(&rendered, &allocator);
        assert_int_equal(render(cases[i].source, "{}", 1, &rendered, &error), PV_BAD_TEMPLATE);
        assert_string_equal(error.message, cases[i].message);
        assert_string_equal(error.op, "chat template");
        pv_rendered_free(&rendered);
    }
}

static void variables_must_be_an_object(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "[]", "{", "{\"a\":}", "{} x", "1"};
    pv_allocator allocator = pv_allocator_default();
    pv_rendered rendered;
    pv_rendered_init(&rendered, &allocator);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pv_error error = {0};
        assert_int_equal(render("x", wrong[i], 0, &rendered, &error), PV_BAD_FILE);
        assert_int_equal(error.status, PV_BAD_FILE);
    }
    assert_int_equal(rendered.text.length, 0);
    pv_rendered_free(&rendered);
}

static void the_time_may_be_unknown(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_rendered rendered;
    pv_error error = {0};
    pv_rendered_init(&rendered, &allocator);
    assert_int_equal(render("{{ strftime_now('%Y') }}", "{}", 0, &rendered, &error), PV_BAD_TEMPLATE);
    assert_string_equal(error.message, "line 1: strftime_now: the time is not known");
    assert_int_equal(render("{{ strftime_now('%d %b %Y') }}", "{}", 951782400, &rendered, &error), PV_OK);
    assert_string_equal(rendered.text.data, "29 Feb 2000");
    assert_int_equal(render("{{ strftime_now('%F %a %j') }}", "{}", -86400 * 365, &rendered, &error), PV_OK);
    assert_string_equal(rendered.text.data, "1969-01-01 Wed 001");
    pv_rendered_free(&rendered);
}

static void a_failed_rendering_leaves_the_last_one(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_rendered rendered;
    pv_rendered_init(&rendered, &allocator);
    assert_int_equal(render("first {{ a }}", "{\"a\": [1, \"x\"]}", 0, &rendered, NULL), PV_OK);
    assert_int_equal(render("second {{ a.b.c }}", "{}", 0, &rendered, NULL), PV_BAD_TEMPLATE);
    assert_string_equal(rendered.text.data, "first [1, 'x']");
    assert_int_equal(render("third", "{}", 0, &rendered, NULL), PV_OK);
    assert_string_equal(rendered.text.data, "third");
    assert_int_equal(rendered.text.length, 5);
    pv_rendered_free(&rendered);
}

static void one_template_serves_many_renderings(void **state)
{
    (void)state;
    static const char source[] =
        "{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}é{{ 'é'|length }}";
    pv_allocator allocator = pv_allocator_default();
    pv_template *tmpl = NULL;
    pv_rendered rendered;
    assert_int_equal(pv_template_compile(&allocator, source, strlen(source), &tmpl, NULL), PV_OK);
    pv_rendered_init(&rendered, &allocator);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pv_template_render(tmpl, "{\"xs\":[1,2]}", 12, NULL, 0, &rendered, NULL), PV_OK);
        assert_string_equal(rendered.text.data, "3é1");
    }
    pv_rendered_free(&rendered);
    pv_template_destroy(tmpl);
    pv_template_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_templates_match),
        cmocka_unit_test(real_templates_match),
        cmocka_unit_test(errors_name_line_and_feature),
        cmocka_unit_test(variables_must_be_an_object),
        cmocka_unit_test(the_time_may_be_unknown),
        cmocka_unit_test(a_failed_rendering_leaves_the_last_one),
        cmocka_unit_test(one_template_serves_many_renderings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
