/* Templates that want too much, or break off anywhere, are refused: PV_BAD_TEMPLATE within bounded steps and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "text/template_eval.h"

/* ---- An allocator that counts ---- */

typedef struct counter {
    size_t live, peak, blocks;
} counter;

/* Old and new exist at once while a block is resized: the worst that an allocator may do. */
static void *count_bytes(void *user, void *pointer, size_t size)
{
    counter *c = user;
    size_t *old = pointer ? (size_t *)pointer - 2 : NULL, *fresh = NULL;
    if (size) {
        fresh = malloc(size + 2 * sizeof *fresh);
        assert_non_null(fresh);
        fresh[0] = size;
        c->live += size;
        c->blocks++;
        if (c->live > c->peak) c->peak = c->live;
        if (old) memcpy(fresh + 2, pointer, old[0] < size ? old[0] : size);
    }
    if (old) {
        c->live -= old[0];
        c->blocks--;
        free(old);
    }
    return fresh ? fresh + 2 : NULL;
}

/* ---- Templates ---- */

/* The source is head, then unit `times` over, then tail. */
typedef struct hostile {
    const char *head, *unit;
    size_t times;
    const char *tail;
} hostile;

static const hostile refused[] = {
    /* Nesting. */
    {"", "{% if 1 %}", 5500, ""},
    {"", "{% if 1 %}", 129, "{% endif %}"},
    {"", "{% for x in [1] %}", 5500, ""},
    {"", "{% macro m() %}", 5000, ""},
    {"", "{% filter upper %}", 5000, ""},
    {"", "{% set x %}", 5000, ""},
    {"", "{% with %}", 5000, ""},
    {"", "{% call m() %}", 5000, ""},
    {"", "{% generation %}", 5000, ""},
    {"{{ ", "(", 100000, "}}"},
    {"{{ ", "[", 100000, "}}"},
    {"{{ ", "{1:", 50000, "}}"},
    {"{{ x", "[x", 50000, "}}"},
    {"{{ x", "(x", 50000, "}}"},
    {"{{ ", "-", 200000, "1 }}"},
    {"{{ ", "not ", 50000, "1 }}"},
    {"{{ ", "1 if ", 50000, "1 }}"},
    {"{{ 1", " if 1 else 1", 20000, " }}"},
    {"{{ 1", "|abs", 60000, " }}"},
    {"{{ 1", " + 1", 60000, " }}"},
    {"{{ 1", " ** 1", 50000, " }}"},
    {"{{ 1", " and 1", 40000, " }}"},
    {"{{ 1", " or 1", 40000, " }}"},
    {"{{ 1", " < 2", 60000, " }}"},
    {"{{ x", ".a", 100000, " }}"},
    {"{{ x", "[0]", 80000, " }}"},
    {"{{ x", "()", 100000, " }}"},
    {"{{ x", " is defined", 2, " }}"},
    {"{{ (1", ",(1", 50000, " }}"},
    {"{% set ", "(a,", 50000, " = 1 %}"},
    {"{% for ", "(a,", 50000, " in 1 %}"},
    {"{{ f(", "a,", 300, ") }}"},
    {"{{ f(a=", "f(a=", 50000, " }}"},
    /* Recursion. */
    {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "", 0, ""},
    {"{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 2) }}{% endmacro %}{{ f(0) }}", "", 0, ""},
    {"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}", "", 0, ""},
    {"{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{{ caller() }}{% endmacro %}{% call f() %}x{% endcall %}", "", 0,
     ""},
    {"{% macro f(x=f()) %}{% endmacro %}{{ f() }}", "", 0, ""},
    {"{% macro f(n) %}", "{% if 1 %}", 100, "{{ f(n) }}"},
    {"{% set ns = namespace() %}{% macro f() %}{{ ns.f() }}{% endmacro %}{% set ns.f = f %}{{ f() }}", "", 0, ""},
    {"{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}", "", 0, ""},
    /* Ranges and loops. */
    {"{{ range(1000000000000) }}", "", 0, ""},
    {"{{ range(100001) | list }}", "", 0, ""},
    {"{{ range(0, -100001, -1) }}", "", 0, ""},
    {"{{ range(-9223372036854775807, 9223372036854775807) }}", "", 0, ""},
    {"{{ range(1, 2, 0) }}", "", 0, ""},
    {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "", 0, ""},
    {"{% for a in range(100000) %}", "{% for a in range(100000) %}", 50, ""},
    {"{% for a in range(99999) %}{% for b in range(99999) %}{% continue %}{% endfor %}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{% for b in range(99999) if 0 %}{% endfor %}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{{ range(99999) | sum }}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{{ range(99999) | select('odd') | list | length }}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{% if 'x' in range(99999) %}{% endif %}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{{ (range(99999) | list) == (range(99999) | list) }}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{{ range(9999) | sort | first }}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{{ (range(99999)|list)[::-1][0] }}{% endfor %}", "", 0, ""},
    {"{% for a in range(99999) %}{{ range(99999) | map('string') | unique | list | length }}{% endfor %}", "", 0, ""},
    /* Growth. */
    {"{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "", 0, ""},
    {"{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "", 0, ""},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "", 0, ""},
    {"{% set ns = namespace(s='xx') %}{% for i in range(100) %}{% set ns.s = ns.s | replace('x', ns.s) %}{% endfor %}", "", 0,
     ""},
    {"{% set ns = namespace(s='xx') %}{% for i in range(100) %}{% set ns.s = ns.s.join(ns.s) %}{% endfor %}", "", 0, ""},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}", "", 0, ""},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(90) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}", "",
     0, ""},
    {"{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(90) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}"
     "{% endfor %}{{ ns.s == ns.t }}",
     "", 0, ""},
    {"{% set ns = namespace(s=[1], t=[2]) %}{% for i in range(90) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.s, ns.t] %}"
     "{% endfor %}{{ ns.s < ns.t }}{{ ns.s }}",
     "", 0, ""},
    {"{% set ns = namespace(s=(1,)) %}{% for i in range(90) %}{% set ns.s = (ns.s, ns.s) %}{% endfor %}{{ {ns.s: 1} }}", "", 0,
     ""},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(5000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}", "", 0, ""},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(5000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s | tojson }}", "", 0,
     ""},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(5000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s == [ns.s] }}{{ ns.s "
     "}}",
     "", 0, ""},
    {"{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns }}", "", 0, ""},
    {"{% set ns = namespace(g=[1]) %}{% for i in range(5000) %}{% set ns.g = ns.g | map('string') %}{% endfor %}{{ ns.g | list "
     "}}",
     "", 0, ""},
    {"{{ 'x' * 1000000000 }}", "", 0, ""},
    {"{{ 'x' * 9223372036854775807 }}", "", 0, ""},
    {"{{ [1] * 1000000000 }}", "", 0, ""},
    {"{{ [] * 1000000000 }}{{ (range(99999) | list) * 99999 }}", "", 0, ""},
    {"{{ ('x' * 9999999) * 9999999 }}", "", 0, ""},
    {"{{ 'x'.center(999999999) }}", "", 0, ""},
    {"{{ 'x'.ljust(9223372036854775807) }}", "", 0, ""},
    {"{{ '1'.zfill(999999999) }}", "", 0, ""},
    {"{{ 'x' | center(999999999) }}", "", 0, ""},
    {"{{ 'a\nb' | indent(999999999) }}", "", 0, ""},
    {"{{ [1] | tojson(indent=999999999) }}", "", 0, ""},
    {"{{ [1] | batch(999999999, 0) | list }}", "", 0, ""},
    {"{{ [1] | slice(999999999) | list }}", "", 0, ""},
    {"{% for i in range(99999) %}{{ 'xxxxxxxxxxxxxxxx' * 999 }}{% endfor %}", "", 0, ""},
    {"{% for i in range(99999) %}{% set x = ('y' * 999999) %}{% endfor %}", "", 0, ""},
    {"{% set b = 'y' * 9999999 %}{% for i in range(99999) %}{{ 'z' in b }}{% endfor %}", "", 0, ""},
    {"{% set b = 'y' * 9999999 %}{% for i in range(99999) %}{{ b == b + '' }}{% endfor %}", "", 0, ""},
    {"{% set b = 'y' * 9999999 %}{% for i in range(99999) %}{{ b.count('yz') }}{% endfor %}", "", 0, ""},
    {"{% set b = ('y' * 9999) ~ 'z' %}{% for i in range(99999) %}{{ ('y' * 99999).rfind(b) }}{% endfor %}", "", 0, ""},
    {"{% set b = 'é' * 999999 %}{% for i in range(99999) %}{{ b[999998] }}{% endfor %}", "", 0, ""},
    {"{% set b = ' ' * 9999999 %}{% for i in range(99999) %}{{ b.strip() }}{% endfor %}", "", 0, ""},
    {"{{ ('y' * 9999999).strip('z' * 9999999 ~ 'y') }}{{ ('y' * 9999999).rfind('y' * 999999 ~ 'z') }}", "", 0, ""},
    {"{% set b = 'y' * 999999 %}{% for i in range(99999) %}{{ b | upper | length }}{% endfor %}", "", 0, ""},
    {"{% set b = 'y' * 999999 %}{% for i in range(99999) %}{{ {b: 1} | length }}{% endfor %}", "", 0, ""},
    /* Formats and numbers. */
    {"{{ '%999999999d' % 1 }}", "", 0, ""},
    {"{{ '%.999999999f' % 1.5 }}", "", 0, ""},
    {"{{ '%*d' % (99, 1) }}", "", 0, ""},
    {"{{ '%n' % 1 }}", "", 0, ""},
    {"{{ '%s%s%s%s' % 1 }}", "", 0, ""},
    {"{{ '{0.__class__.__mro__}'.format(1) }}", "", 0, ""},
    {"{{ '{0[__class__]}'.format({}) }}", "", 0, ""},
    {"{{ '{:>999999999}'.format(1) }}", "", 0, ""},
    {"{{ '{99999999999999999999}'.format(1) }}", "", 0, ""},
    {"{{ 10 ** 999999999 }}", "", 0, ""},
    {"{{ 2 ** 64 }}", "", 0, ""},
    {"{{ 9223372036854775807 * 2 }}", "", 0, ""},
    {"{{ -9223372036854775807 - 2 }}", "", 0, ""},
    {"{{ (-9223372036854775807 - 1) // -1 }}", "", 0, ""},
    {"{{ -(-9223372036854775807 - 1) }}", "", 0, ""},
    {"{{ (-9223372036854775807 - 1) | abs }}", "", 0, ""},
    {"{{ 1", "0", 30, " }}"},
    {"{{ 1.", "0", 5000, " }}"},
    {"{{ 0x", "f", 5000, " }}"},
    {"{{ 1 % 0 }}", "", 0, ""},
    {"{{ 'x'[::0] }}", "", 0, ""},
    /* Ways out of the sandbox. */
    {"{{ ''.__class__.__mro__[1].__subclasses__() }}", "", 0, ""},
    {"{{ ''['__class__']['__mro__'] }}", "", 0, ""},
    {"{{ [].__class__() }}", "", 0, ""},
    {"{{ namespace.__init__.__globals__ }}", "", 0, ""},
    {"{{ range.__self__.x }}", "", 0, ""},
    {"{{ ''.upper.__self__.__class__() }}", "", 0, ""},
    {"{{ [1] | map('__class__') | list }}", "", 0, ""},
    {"{{ [1] | map(attribute='__class__.__mro__') | list }}", "", 0, ""},
    {"{{ {}.update({1: 2}) }}", "", 0, ""},
    {"{{ [3].sort() }}", "", 0, ""},
    {"{{ loop._iterable }}", "", 0, ""},
    {"{{ self._TemplateReference__context }}", "", 0, ""},
    {"{% import 'os' as os %}", "", 0, ""},
    {"{% extends 'x' %}", "", 0, ""},
    {"{% autoescape true %}{% endautoescape %}", "", 0, ""},
    {"{% do x %}", "", 0, ""},
    /* Broken off, or no template at all. */
    {"{{", "", 0, ""},
    {"{%", "", 0, ""},
    {"{#", "", 0, ""},
    {"{{ '", "a", 200000, ""},
    {"{{ \"", "\\\"", 100000, ""},
    {"{% raw %}", "x", 200000, ""},
    {"{% raw %}", "{%", 100000, ""},
    {"{#", "-#", 100000, ""},
    {"{% if", "", 0, ""},
    {"{% if 1 %}", "", 0, ""},
    {"{% if 1 %}{% else %}{% elif 1 %}{% endif %}", "", 0, ""},
    {"{% for", "", 0, ""},
    {"{% for x in", "", 0, ""},
    {"{% macro m(", "", 0, ""},
    {"{% set x", "", 0, ""},
    {"{% set x =", "", 0, ""},
    {"{{ x.", "", 0, ""},
    {"{{ x[", "", 0, ""},
    {"{{ x(", "", 0, ""},
    {"{{ x |", "", 0, ""},
    {"{{ x is", "", 0, ""},
    {"{{ x is not", "", 0, ""},
    {"{{ x }", "", 0, ""},
    {"{{ ) }}", "", 0, ""},
    {"{{ \xc3 }}", "", 0, ""},
    {"\xed\xa0\x80", "", 0, ""},
    {"{{ '\\ud800' }}", "", 0, ""},
    {"{{ '\\U00110000' }}", "", 0, ""},
    {"{{ $ }}", "", 0, ""},
    {"", "x", PV_TEMPLATE_MAX_SOURCE + 1, ""},
    {"{{ x", "| default(1)", 25000, " }}"},
    {"{% ", "x ", 100000, "%}"},
};

static char *build(const hostile *h, size_t *length)
{
    size_t head = strlen(h->head), unit = strlen(h->unit), tail = strlen(h->tail);
    *length = head + unit * h->times + tail;
    char *source = malloc(*length + 1);
    assert_non_null(source);
    memcpy(source, h->head, head);
    for (size_t i = 0; i < h->times; i++) memcpy(source + head + i * unit, h->unit, unit);
    memcpy(source + *length - tail, h->tail, tail);
    return source;
}

/* Refused with a message, within bounded steps and memory, and nothing is left. */
static void assert_refused(const hostile *h)
{
    counter c = {0};
    pv_allocator allocator = {count_bytes, &c};
    pv_template *tmpl = NULL;
    pv_rendered rendered;
    pv_error error = {0};
    uint64_t steps = 0;
    size_t length;
    char *source = build(h, &length);
    pv_rendered_init(&rendered, &allocator);
    pv_status status = pv_template_compile(&allocator, source, length, &tmpl, &error);
    if (status == PV_OK) status = tmpl_render(tmpl, "{}", 2, NULL, 0, &rendered, &steps, &error);
    if (status != PV_BAD_TEMPLATE || error.status != PV_BAD_TEMPLATE || !error.message[0])
        fail_msg("template %.80s: %s %s", h->head, pv_status_name(status), error.message);
    /* One piece of work is charged before or right behind it, and none is larger than the output may be. */
    if (steps > PV_TEMPLATE_MAX_STEPS + 2 * PV_TEMPLATE_MAX_OUTPUT / TMPL_BYTES_PER_STEP)
        fail_msg("template %.80s: %zu steps", h->head, (size_t)steps);
    if (c.peak > PV_TEMPLATE_MAX_MEMORY) fail_msg("template %.80s: %zu bytes", h->head, c.peak);
    pv_rendered_free(&rendered);
    pv_template_destroy(tmpl);
    assert_int_equal(c.blocks, 0);
    free(source);
}

static void hostile_templates_are_refused(void **state)
{
    (void)state;
    size_t count = sizeof refused / sizeof *refused;
    assert_true(count >= 65);
    for (size_t i = 0; i < count; i++) assert_refused(&refused[i]);
}

/* ---- What happened to others ---- */

/* CVE-2024-34359 (llama-cpp-python), CVE-2026-5760 (SGLang): a model's template ran any code. */
static void cve_2024_34359_and_2026_5760_templates_reach_no_code(void **state)
{
    (void)state;
    static const hostile templates[] = {
        {"{% for c in [].__class__.__base__.__subclasses__() %}{{ c.__name__ }}{% endfor %}", "", 0, ""},
        {"{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}", "", 0, ""},
        {"{{ cycler.__init__.__globals__.os.system('id') }}", "", 0, ""},
        {"{{ lipsum.__globals__['os'].popen('id').read() }}", "", 0, ""},
        {"{{ ''|attr('__class__') }}", "", 0, ""},
        {"{{ ''['\\x5f\\x5fclass\\x5f\\x5f']['mro'] }}", "", 0, ""},
        {"{{ range.__class__.__call__.x }}", "", 0, ""},
    };
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) assert_refused(&templates[i]);
}

static void incident_5500_nested_ifs_overflowed_a_stack(void **state)
{
    (void)state;
    assert_refused(&(hostile){"", "{% if 1 %}", 5500, ""});
    assert_refused(&(hostile){"{{ ", "[", 5500, " }}"});
}

static void incident_a_macro_that_calls_itself_overflowed_a_stack(void **state)
{
    (void)state;
    assert_refused(&(hostile){"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "", 0, ""});
}

static void incident_a_range_of_10_to_12_took_all_memory(void **state)
{
    (void)state;
    assert_refused(&(hostile){"{% for i in range(1000000000000) %}x{% endfor %}", "", 0, ""});
    assert_refused(&(hostile){"{{ range(1000000000000) | list }}", "", 0, ""});
}

/* ---- What a step stands for ---- */

/* Expressions that take long by themselves: with steps of at most some ten nanoseconds they are worth at least this many. */
static const struct {
    const char *before, *work;
    uint64_t steps;
} costs[] = {
    /* Numbers through the C library. */
    {"", "{{ 0.1 + 0.2 }}", 64},
    {"", "{{ 5e-324 }}", 100},
    {"", "{{ 1.2345678901234567e-308 }}", 800},
    {"", "{{ [0.1 + 0.2] | tojson }}", 64},
    {"", "{{ 0.123456 | round(60) and 1 }}", 64},
    {"", "{{ '%d' % 5 }}", 32},
    {"", "{{ '%.60f' % 1.1e299 }}", 700},
    {"", "{{ '1.5' | float and 1 }}", 32},
    {"{% set n = '1.' ~ '123456789' * 100 %}", "{{ n | float and 1 }}", 225},
    {"", "{{ 1e300 % 1e-300 and 1 }}", 400},
    {"", "{{ 1.5 ** 2.5 and 1 }}", 8},
    {"{% set n = '9' * 9999 ~ 'x' %}", "{{ n | int }}", 2500},
    {"{% set n = ' ' * 9999 %}", "{{ n | float and 1 }}", 2500},
    /* Text that is looked at character by character. */
    {"{% set s = 'A' * 9999 %}", "{{ s is upper }}", 9999},
    {"{% set s = 'A' * 9999 %}", "{{ s.isalnum() }}", 4999},
    {"{% set s = 'A' * 9999 %}", "{{ s | wordcount }}", 4999},
    {"{% set s = 'A' * 9999 %}", "{{ s | lower | length }}", 9999},
    {"{% set s = ' ' * 9999 %}", "{{ s.strip() }}", 9999},
    {"{% set s = ' ' * 9999 %}", "{{ s.split() | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ s.splitlines() | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ s | e | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ s | tojson | length }}", 1249},
    {"{% set s = 'A' * 9999 %}", "{{ s[::2] | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ (s % ()) | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ s.format() | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ [1] | map(attribute=s) | list | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ [{}] | sort(attribute=s) | length }}", 2499},
    {"{% set s = 'A' * 9999 %}", "{{ s | truncate(9000, leeway=0) | length }}", 2249},
    /* Text that almost matches. */
    {"{% set s = 'A' * 9999 %}", "{{ s.find('AB') }}", 9999},
    {"{% set s = 'A' * 9999 %}", "{{ s.rfind('AB') }}", 9999},
    {"{% set s = 'A' * 9999 %}", "{{ s.rfind('B') }}", 2499},
    {"{% set s = 'A' * 9999 ~ 'B' %}{% set t = 'A' * 9999 ~ 'C' %}", "{{ s == t }}", 312},
    {"{% set s = 'A' * 9999 %}{% set ns = namespace() %}", "{{ ns[s] is defined }}", 312},
    /* Memory. */
    {"{% set l = range(9999) | list %}", "{{ l[::-1] | length }}", 7499},
};

static uint64_t steps_of(const char *before, const char *work)
{
    char source[256];
    pv_allocator allocator = pv_allocator_default();
    pv_template *tmpl = NULL;
    pv_rendered rendered;
    pv_error error = {0};
    uint64_t steps = 0;
    int length = snprintf(source, sizeof source, "%s%s", before, work);
    pv_rendered_init(&rendered, &allocator);
    pv_status status = pv_template_compile(&allocator, source, (size_t)length, &tmpl, &error);
    if (status == PV_OK) status = tmpl_render(tmpl, "{}", 2, NULL, 0, &rendered, &steps, &error);
    if (status != PV_OK) fail_msg("%s: %s", source, error.message);
    pv_rendered_free(&rendered);
    pv_template_destroy(tmpl);
    return steps;
}

static void what_takes_long_costs_many_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        const uint64_t steps = steps_of(costs[i].before, costs[i].work) - steps_of(costs[i].before, "");
        if (steps < costs[i].steps)
            fail_msg("%s: %zu steps, wanted %zu", costs[i].work, (size_t)steps, (size_t)costs[i].steps);
    }
}

/* ---- Every beginning of a template ---- */

static const char long_template[] =
    "{#- c -#}{% macro m(a, b=1) -%}{{ a ~ b }}{{ caller() if caller }}{%- endmacro %}{% set ns = namespace(x=[1, 'a\\n']) %}"
    "{% for k, v in {'a': 1, 'b': (2, 3)}.items() if v is not none %}{% if loop.first and not k == 'z' %}{{ m(k, b=v) }}"
    "{% elif k in ['b'] %}{% set ns.x = ns.x + [v] %}{% else %}{% break %}{% endif %}{% else %}none{% endfor %}"
    "{% call m(1) %}{{ 'x' if 1 < 2 <= 3 else \"y\" }}{% endcall %}{% filter upper %}a{% endfilter %}{% raw %}{{ }}{% endraw %}"
    "{% set t %}{{ ns.x[::-1] | tojson(indent=2) | replace('1', '2') }}{% endset %}{{ t | length // 2 ** 1 - -3.5e0 }}"
    "{% with a = 1, b = 2 %}{{ [a, b, *[]] if 0 else a }}{% endwith %}{% generation %}{{ ns.x is iterable }}{% endgeneration "
    "%}";

static void every_beginning_ends_well(void **state)
{
    (void)state;
    counter c = {0};
    pv_allocator allocator = {count_bytes, &c};
    size_t refusals = 0;
    for (size_t length = 0; length <= strlen(long_template); length++) {
        pv_template *tmpl = NULL;
        pv_rendered rendered;
        pv_error error = {0};
        pv_rendered_init(&rendered, &allocator);
        char *source = malloc(length + 1); /* exactly as long as told, for the address sanitizer */
        memcpy(source, long_template, length);
        pv_status status = pv_template_compile(&allocator, source, length, &tmpl, &error);
        free(source);
        if (status == PV_OK) status = pv_template_render(tmpl, "{}", 2, NULL, 0, &rendered, &error);
        assert_true(status == PV_OK || status == PV_BAD_TEMPLATE);
        refusals += status != PV_OK;
        pv_rendered_free(&rendered);
        pv_template_destroy(tmpl);
        assert_int_equal(c.blocks, 0);
    }
    assert_true(refusals > 600);
}

/* ---- What is large and still fine ---- */

static void renders(const char *source, const char *variables, const char *wanted)
{
    counter c = {0};
    pv_allocator allocator = {count_bytes, &c};
    static const char *const input_names[] = {"w", NULL};
    pv_template *tmpl = NULL;
    pv_rendered rendered;
    pv_error error = {0};
    pv_rendered_init(&rendered, &allocator);
    pv_status status = pv_template_compile(&allocator, source, strlen(source), &tmpl, &error);
    if (status == PV_OK) status = pv_template_render(tmpl, variables, strlen(variables), input_names, 0, &rendered, &error);
    if (status != PV_OK) fail_msg("%s: %s", source, error.message);
    assert_string_equal(rendered.text.data, wanted);
    pv_rendered_free(&rendered);
    pv_template_destroy(tmpl);
    assert_int_equal(c.blocks, 0);
}

static void honest_work_fits(void **state)
{
    (void)state;
    renders("{% macro f(n) %}{{ n }}{% if n > 1 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) | length }}", "{}", "111");
    renders("{% set ns = namespace(s='') %}{% for i in range(20000) %}{% set ns.s = ns.s + 'sixteen letters.' %}{% endfor %}{{ "
            "ns.s|length }}",
            "{}", "320000");
    renders("{% set ns = namespace(s='') %}{% for i in range(9000) %}{% set ns.s = ns.s + w + '|' + w + w %}{% endfor %}{{ "
            "ns.s|length }}",
            "{\"w\": \"input\"}", "144000");
    renders("{{ range(100000) | list | length }}", "{}", "100000");
    renders("{{ [-9223372036854775807 - 1, -1, 0, 9223372036854775807, range(-5, 9, 3)] }}", "{}",
            "[-9223372036854775808, -1, 0, 9223372036854775807, range(-5, 9, 3)]");
    renders("{{ [4503599627370497.0 | round(2), 1.2345678901234567 | round(17), 0.5 | round, -2.675 | round(2)] }}", "{}",
            "[4503599627370497.0, 1.2345678901234567, 0.0, -2.67]");
    renders("{{ ['abab'.find('b'), 'abab'.rfind('b'), 'ab'.find(''), 'ab'.rfind(''), 'aab'.find('ab'), 'abaab'.rfind('aba'),"
            " 'ab'.find('abc'), 'ab'.rfind('abc'), 'xaxbx'.rsplit('x', 2), 'xaxbx'.split('x')] }}",
            "{}", "[1, 3, 0, 2, 1, 0, -1, -1, ['xa', 'b', ''], ['', 'a', 'b', '']]");
    renders("{% for i in range(100000) %}{% if i == 99999 %}{{ i }}{% endif %}{% endfor %}", "{}", "99999");
    renders("{{ a[0][0][0][0][0][0][0][0][0][0] }}", "{\"a\":[[[[[[[[[[7]]]]]]]]]]}", "7");
    renders("{% macro f(n) %}{% for i in range(3) %}{% set x = n %}{% endfor %}{% endmacro %}"
            "{% for i in range(50000) %}{{ f(i) }}{% endfor %}ok",
            "{}", "ok"); /* frames are used again */
}

/* A document of 4 MB goes through strip, split and a macro without being copied for each. */
static void long_messages_fit(void **state)
{
    (void)state;
    static const char source[] = "{% macro show(m) %}{{ m.content.strip().split('</think>')[-1] | trim }}{% endmacro %}"
                                 "{% for m in messages %}<{{ m.role }}>{{ show(m) }}{% endfor %}";
    static const char *const input_names[] = {"messages", NULL};
    size_t size = 4u << 20;
    char *variables = malloc(size + 100);
    int head = sprintf(variables, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    memset(variables + head, 'x', size);
    strcpy(variables + head + size, "\"}]}");
    counter c = {0};
    pv_allocator allocator = {count_bytes, &c};
    pv_template *tmpl = NULL;
    pv_rendered rendered;
    pv_rendered_init(&rendered, &allocator);
    assert_int_equal(pv_template_compile(&allocator, source, strlen(source), &tmpl, NULL), PV_OK);
    assert_int_equal(pv_template_render(tmpl, variables, strlen(variables), input_names, 0, &rendered, NULL), PV_OK);
    assert_int_equal(rendered.text.length, size + 6);
    assert_int_equal(rendered.input_count, 2); /* the role and the content */
    assert_int_equal(rendered.input[1].start, 6);
    assert_int_equal(rendered.input[1].end, size + 6);
    pv_rendered_free(&rendered);
    pv_template_destroy(tmpl);
    free(variables);
    assert_int_equal(c.blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_templates_are_refused),
        cmocka_unit_test(cve_2024_34359_and_2026_5760_templates_reach_no_code),
        cmocka_unit_test(incident_5500_nested_ifs_overflowed_a_stack),
        cmocka_unit_test(incident_a_macro_that_calls_itself_overflowed_a_stack),
        cmocka_unit_test(incident_a_range_of_10_to_12_took_all_memory),
        cmocka_unit_test(what_takes_long_costs_many_steps),
        cmocka_unit_test(every_beginning_ends_well),
        cmocka_unit_test(honest_work_fits),
        cmocka_unit_test(long_messages_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
