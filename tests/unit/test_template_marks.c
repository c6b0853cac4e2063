/* Which bytes of a rendering are input: a conversation must not be able to write a control token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "text/template.h"

/* The rendering with its marked parts between « and ». */
static void show(const pv_rendered *rendered, char *out, size_t size)
{
    size_t at = 0, length = 0;
    for (size_t i = 0; i <= rendered->input_count; i++) {
        size_t start = i < rendered->input_count ? rendered->input[i].start : rendered->text.length;
        size_t end = i < rendered->input_count ? rendered->input[i].end : start;
        assert_true(length + (end - at) + 8 < size);
        if (start > at) memcpy(out + length, rendered->text.data + at, start - at);
        length += start - at;
        if (end > start) {
            memcpy(out + length, "«", 2);
            memcpy(out + length + 2, rendered->text.data + start, end - start);
            memcpy(out + length + 2 + (end - start), "»", 2);
            length += end - start + 4;
        }
        at = end;
    }
    out[length] = 0;
}

static const char variables[] = "{\"in\": \"<|im_end|> é\\n\", \"word\": \"AbC\", \"words\": [\"x\", \"y z\"], \"data\": "
                                "{\"key\": \"val\\\"ue\", \"n\": 5},"
                                " \"own\": \"<s>\", \"blank\": \"  pad  \", \"csv\": \"a,b,c\", \"html\": \"<b>\"}";
static const char *const input_names[] = {"in", "word", "words", "data", "blank", "csv", "html", NULL};

static const struct {
    const char *source, *shown;
} cases[] = {
    {"{{ own }}{{ in }}", "<s>«<|im_end|> é\n»"},
    {"{{ 'a' + word + 'b' }}", "a«AbC»b"},
    {"{{ word + word }}", "«AbCAbC»"},
    {"{{ word }}{{ word }}", "«AbCAbC»"},
    {"{{ word }}-{{ word }}", "«AbC»-«AbC»"},
    {"{% set a = own + word + own + word %}{% set b = a + word %}{% set c = a + own %}{{ a }}|{{ b }}|{{ c }}|{{ b + own + "
     "word }}",
     "<s>«AbC»<s>«AbC»|<s>«AbC»<s>«AbCAbC»|<s>«AbC»<s>«AbC»<s>|<s>«AbC»<s>«AbCAbC»<s>«AbC»"},
    {"{{ 'a' ~ word ~ 1 ~ own }}", "a«AbC»1<s>"},
    {"{{ ('a' + word + 'bc')[2:5] }}", "«bC»b"},
    {"{{ ('a' + word + 'b')[::-1] }}", "b«CbA»a"},
    {"{{ ('a' + word + 'b')[0] }}{{ ('a' + word)[1] }}{{ word[-1] }}", "a«AC»"},
    {"{{ (' ' + blank + ' ').strip() }}", "«pad»"},
    {"{{ ('[' + blank + '] ')|trim }}", "[«  pad  »]"},
    {"{{ blank.lstrip() + '|' + blank.rstrip() }}", "«pad  »|«  pad»"},
    {"{{ csv.split(',') | join(';') }}", "«a»;«b»;«c»"},
    {"{{ ('x,' + csv).split(',') | join }}", "x«abc»"},
    {"{{ csv.split(',')[-1] }}{{ 'p,q'.split(',')[0] }}", "«c»p"},
    {"{{ csv.rsplit(',', 1)[0] }}{{ csv.partition(',')[2] }}", "«a,bb,c»"},
    {"{{ csv.replace(',', '<s>') }}", "«a»<s>«b»<s>«c»"},
    {"{{ 'a,b'.replace(',', word) }}", "a«AbC»b"},
    {"{{ csv | replace('b', own) }}", "«a,»<s>«,c»"},
    {"{{ ', '.join(words) }}", "«x», «y z»"},
    {"{{ word.join(['1', '2']) }}", "1«AbC»2"},
    {"{{ ('q' + word).upper() }}{{ ('q' + word)|lower }}", "Q«ABC»q«abc»"},
    {"{{ ('q' + word)|capitalize }}{{ (word + 'q')|title }}{{ word.swapcase() }}", "Q«abcAbc»q«aBc»"},
    {"{{ data | tojson }}", "{\"«key»\": \"«val\\\"ue»\", \"«n»\": 5}"},
    {"{{ [in, own] | tojson }}", "[\"«<|im_end|> é\\n»\", \"<s>\"]"},
    {"{{ data }}", "{'«key»': '«val\"ue»', '«n»': 5}"},
    {"{{ data.key }}{{ data['n'] }}", "«val\"ue»5"},
    {"{% for k, v in data.items() %}{{ k }}={{ v }};{% endfor %}", "«key»=«val\"ue»;«n»=5;"},
    {"{% for c in word %}{{ c }}.{% endfor %}", "«A».«b».«C»."},
    {"{% for c in 'a' + word %}{{ c }}{% endfor %}", "a«AbC»"},
    {"{{ word | list | join('-') }}", "«A»-«b»-«C»"},
    {"{{ words | map('upper') | join(' ') }}", "«X» «Y Z»"},
    {"{{ words | first }}{{ words | last | length }}", "«x»3"},
    {"{% set x %}<{{ word }}>{% endset %}{{ x }}{{ x | length }}", "<«AbC»>5"},
    {"{% macro m(t) %}[{{ t }}]{% endmacro %}{{ m(word) + m('z') }}", "[«AbC»][z]"},
    {"{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}c{{ word }}{% endcall %}", "(c«AbC»)"},
    {"{% filter upper %}a{{ word }}{% endfilter %}", "A«ABC»"},
    {"{% set ns = namespace(s='') %}{% for w in words %}{% set ns.s = ns.s + w + '\\n' %}{% endfor %}{{ ns.s }}",
     "«x»\n«y z»\n"},
    {"{{ '%s and %s' % (word, own) }}", "«AbC» and <s>"},
    {"{{ '{} {}'.format(own, word) }}", "<s> «AbC»"},
    {"{{ html | e }}{{ (word | safe) + '<' }}", "«&lt;b&gt;AbC»&lt;"},
    {"{{ ('a\\n' + word + '\\nb') | indent(2) }}", "a\n  «AbC»\n  b"},
    {"{{ word.center(7, '*') }}{{ word.removeprefix('A') }}", "**«AbC»**«bC»"},
    {"{{ word * 2 }}{{ own * 2 }}", "«AbCAbC»<s><s>"},
    {"{{ word if word == 'AbC' else own }}{{ 'same' if word == 'AbC' }}", "«AbC»same"},
    {"{{ word | length }}{{ word in ['AbC'] }}{{ data.n + 1 }}", "3True6"},
    {"{{ word | default('x') }}{{ none or word }}{{ own and word }}", "«AbCAbCAbC»"},
    {"{{ (csv.split(',') + ['d']) | tojson }}", "[\"«a»\", \"«b»\", \"«c»\", \"d\"]"},
    {"{{ words | sort(reverse=true) | join }}{{ ['b', 'a'] | sort | join }}", "«y zx»ab"},
    {"{{ csv.splitlines()[0] }}{{ (own + word)|reverse }}", "«a,b,cCbA»>s<"},
    {"{{ (own + word) | truncate(4, true, '~', 0) }}", "<s>~"},
    {"{{ word | string }}{{ word.format() }}{{ word | trim('C') }}", "«AbCAbCAb»"},
    {"{{ (word, 1) }}{{ {'k': word} }}", "('«AbC»', 1){'k': '«AbC»'}"},
    {"{{ dict(**data).key }}{{ (data | dictsort)[0][1] }}{{ (data | items | list)[0][0] }}", "«val\"ueval\"uekey»"},
};

static void marks_follow_their_bytes(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char shown[800];
        pv_template *tmpl = NULL;
        pv_rendered rendered;
        pv_error error = {0};
        pv_rendered_init(&rendered, &allocator);
        pv_status status = pv_template_compile(&allocator, cases[i].source, strlen(cases[i].source), &tmpl, &error);
        if (status == PV_OK) status = pv_template_render(tmpl, variables, strlen(variables), input_names, 0, &rendered, &error);
        if (status != PV_OK) fail_msg("%s: %s", cases[i].source, error.message);
        show(&rendered, shown, sizeof shown);
        assert_string_equal(shown, cases[i].shown);
        for (size_t m = 1; m < rendered.input_count; m++) assert_true(rendered.input[m].start > rendered.input[m - 1].end);

        /* Marking changes no byte. */
        pv_rendered plain;
        pv_rendered_init(&plain, &allocator);
        assert_int_equal(pv_template_render(tmpl, variables, strlen(variables), NULL, 0, &plain, &error), PV_OK);
        assert_int_equal(plain.input_count, 0);
        assert_int_equal(plain.text.length, rendered.text.length);
        assert_memory_equal(plain.text.data, rendered.text.data, plain.text.length);
        pv_rendered_free(&plain);
        pv_rendered_free(&rendered);
        pv_template_destroy(tmpl);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(marks_follow_their_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
