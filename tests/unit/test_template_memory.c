/* Every allocation of compiling and rendering fails once in turn: PV_OUT_OF_MEMORY, nothing leaks, nothing breaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/template.h"

typedef struct failing {
    size_t calls, fail_at, blocks;
} failing;

static void *fail_once(void *user, void *pointer, size_t size)
{
    failing *f = user;
    if (!size) {
        f->blocks -= pointer != NULL;
        free(pointer);
        return NULL;
    }
    if (++f->calls == f->fail_at) return NULL;
    f->blocks += pointer == NULL;
    return realloc(pointer, size);
}

static const char *const input_names[] = {"messages", NULL};

static const struct {
    const char *source, *variables;
} cases[] = {
    {"{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}\n{% endfor %}{{ messages | tojson(indent=2) }}",
     "{\"messages\": [{\"role\": \"user\", \"content\": \" h\\u00e9llo \"}, {\"role\": \"assistant\", \"content\": \"\"}]}"},
    {"{% macro m(a, b=[1, 2], *c) %}{% endmacro %}", "{}"},
    {"{% macro m(a, b=[1]) %}{{ a }}{{ varargs }}{{ kwargs }}{{ caller(a) }}{% endmacro %}{% call(x) m('q', 2, 3, z=4) %}{{ x "
     "* 3 }}"
     "{% endcall %}{% set ns = namespace(s='', d={'k': 1.5}) %}{% for k, v in dict(a=1, b=none).items() %}{% set ns.s = ns.s ~ "
     "k %}"
     "{{ loop.cycle(1, 2) }}{{ loop.changed(k) }}{% endfor %}{{ ns }}{{ ns.s | upper | replace('A', '<>') | e }}",
     "{}"},
    {"{{ messages | map(attribute='n') | sort | join(',') }}{{ messages | selectattr('n', 'gt', 1) | list }}"
     "{{ messages | groupby('n') | length }}{{ messages | unique(attribute='n') | list | length }}{{ 'a b c'.split() }}"
     "{{ '%s=%05.1f' % ('x', 1.25) }}{{ '{} {x}'.format(1, x=2) }}{{ 'abc'[::-1] }}{{ range(3)[1:] | list }}",
     "{\"messages\": [{\"n\": 3}, {\"n\": 1}, {\"n\": 2}, {\"n\": 123456789012345678901234567890}][0:0]}"},
    {"{{ messages | map(attribute='n') | sort | join(',') }}{{ messages | selectattr('n', 'gt', 1) | list }}"
     "{{ messages | groupby('n') | length }}{{ messages | unique(attribute='n') | list | length }}{{ 'a b c'.split() }}"
     "{{ '%s=%05.1f' % ('x', 1.25) }}{{ '{} {x}'.format(1, x=2) }}{{ 'abc'[::-1] }}{{ range(3)[1:] | list }}",
     "{\"messages\": [{\"n\": 3}, {\"n\": 1}, {\"n\": 2}], \"big\": 123456789012345678901234567890}"},
    {"{% set s %}{% for i in range(3000) %}{{ messages[0] }}-{{ i }}{% endfor %}{% endset %}{{ s }}{{ s | length }}"
     "{% for i in range(40) %}{% set ignored = s.upper() %}{% endfor %}",
     "{\"messages\": [\"marked\"]}"},
};

static pv_status run(const pv_allocator *allocator, size_t number, pv_error *error)
{
    pv_template *tmpl = NULL;
    pv_rendered rendered;
    const char *source = cases[number].source, *variables = cases[number].variables;
    pv_rendered_init(&rendered, allocator);
    pv_status status = pv_template_compile(allocator, source, strlen(source), &tmpl, error);
    if (status == PV_OK) status = pv_template_render(tmpl, variables, strlen(variables), input_names, 0, &rendered, error);
    pv_rendered_free(&rendered);
    pv_template_destroy(tmpl);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    size_t failures = 0;
    for (size_t number = 0; number < sizeof cases / sizeof *cases; number++) {
        failing f = {0};
        pv_allocator allocator = {fail_once, &f};
        pv_error error = {0};
        pv_status wanted = run(&allocator, number, &error);
        size_t allocations = f.calls;
        assert_true(allocations > 2);
        assert_int_equal(f.blocks, 0);
        for (size_t at = 1; at <= allocations; at++) {
            f = (failing){.fail_at = at};
            error = (pv_error){0};
            pv_status status = run(&allocator, number, &error);
            assert_int_equal(status, PV_OUT_OF_MEMORY);
            assert_int_equal(error.status, PV_OUT_OF_MEMORY);
            assert_int_equal(f.blocks, 0);
            failures++;
        }
        f = (failing){.fail_at = allocations + 1};
        assert_int_equal(run(&allocator, number, &error), wanted);
        assert_int_equal(f.blocks, 0);
    }
    assert_true(failures > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
