/* Texts that nobody would write: each gets an answer, none crashes the translator. */
#include "msl/errors.h"
#include "msl/generate.h"
#include "msl/unit.h"
#include "support_msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* What the translator found, and what a compiler might say of it: each message is about the text, or is left out. */
static void report(const char *text, size_t length, const sm_unit *unit, const sm_placement *placements)
{
    char *original = malloc(length + 1), said[512];
    memcpy(original, text, length);
    original[length] = 0;
    sm_origin origin = {.name = "mine", .text = original, .unit = unit, .placements = placements};
    sm_text out = {0};
    snprintf(said, sizeof said,
             "program_source: In function 'f':\nprogram_source:1:9: error: one [-Wone]\nprogram_source:%zu:%zu: error: "
             "two\n/shim/vector.h:3:4: error: three\n"
             "program_source:1:1: note: in instantiation of f requested here\nsoftmetal-entry:1:2: error: four\n:::: "
             "error\nx:1: \n9:9:9:\n",
             length / 40 + 1, length % 50);
    sm_report_notes(&origin, &out);
    sm_report_diagnostics(&origin, said, &out);
    assert_false(out.failed);
    for (const char *line = out.bytes; line && *line; line = strchr(line, '\n') + 1) assert_non_null(strchr(line, '\n'));
    sm_text_free(&out);
    free(original);
}

/* Translates both ways, generates, and lets it all go. True if the text was taken. */
static bool translate(const char *text, size_t length)
{
    bool taken = true;
    for (int strict = 0; strict < 2; strict++) {
        sm_unit unit = {0};
        bool ok = strict ? sm_translate_strict(&unit, text, length, "program_source")
                         : sm_translate(&unit, text, length, "program_source");
        assert_false(unit.arena.failed);
        /* What is refused is refused for a reason. */
        if (!ok) assert_true(unit.note_count > 0);
        if (!strict) taken = ok;
        sm_generation generation = {.entry = SM_NO_TOKEN, .mode = strict ? SM_GENERATE_STRICT : SM_GENERATE_CHECK};
        sm_arena arena = {0};
        sm_text out = {0};
        const char *error = NULL;
        sm_placement *placements = calloc(unit.tokens.count + 1, sizeof *placements);
        if (ok) assert_true(sm_generate(&unit, &generation, &arena, &out, placements, &error));
        if (ok && !strict && unit.entry_count && !unit.constant_count) {
            generation = (sm_generation){.entry = 0};
            assert_true(sm_generate(&unit, &generation, &arena, &out, placements, &error));
        }
        report(text, length, &unit, placements);
        free(placements);
        sm_text_free(&out);
        sm_arena_free(&arena);
        sm_unit_free(&unit);
    }
    return taken;
}

static bool translate_string(const char *text)
{
    return translate(text, strlen(text));
}

/* `count` times the string. */
static char *repeated(const char *string, size_t count)
{
    size_t length = strlen(string);
    char *text = malloc(length * count + 1);
    for (size_t i = 0; i < count; i++) memcpy(text + i * length, string, length);
    text[length * count] = 0;
    return text;
}

static void test_repetition(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "(", ")", "{", "}", "[", "]", "<", ">", "((", "a<", "a<b,", "a>", "[[", "]]", "{[", "template <", "template ",
        "kernel ", "threadgroup ", "constant ", "threadgroup float x; ", "threadgroup float *p; ", "constant * ",
        "struct s { ", "namespace n { ", "x y(", "void f() {} ", "void f(device int *p) {} ", "a::", "operator", "operator ",
        "= ", ": ", "~", "\"\" ", "'x' ", "1.5 ", "1e", "0x1p", ". ", "# 1 \"a\"\n", "# 3\n", "#pragma x\n",
        "[[function_constant(1)]] ", "[[host_name(\"x\")]] ", "kernel void k() {} ",
        "constant int c [[function_constant(1)]]; ", "is_function_constant_defined(", "static_cast<", "float4(", "(float4)",
        "{ [0 ... 3] = ", "alignas(", "decltype(", "::", "...", "->", "\\\n", "union ", "enum e { a } ", "typedef ",
        "using x = ", "extern \"C\" { ", "public: ", "friend ", "coherent(", "goto ", "double ", "static ",
        "if (x) threadgroup float y; ", "R\"(", "/*", "//", "\r", "\f",
    };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (size_t count = 1; count <= 20000; count = count == 1 ? 2 : count == 2 ? 300 : count * 66) {
            char *text = repeated(pieces[i], count);
            translate_string(text);
            free(text);
        }
    }
}

static void test_depth(void **state)
{
    (void)state;
    char *open = repeated("(", 256), *close = repeated(")", 256), text[2048];
    snprintf(text, sizeof text, "constant int x = %s1%s;\n", open, close);
    assert_true(translate_string(text));
    free(open);
    free(close);
    open = repeated("(", 257);
    close = repeated(")", 257);
    snprintf(text, sizeof text, "constant int x = %s1%s;\n", open, close);
    assert_false(translate_string(text));
    char *errors;
    assert_null(sm_msl_library_create(text, &(sm_msl_options){0}, &errors));
    assert_string_equal(errors, "program_source:1:274: error: bracket nesting level exceeded maximum of 256\n");
    free(errors);
    free(open);
    free(close);
}

static void test_unfinished(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\"", "'", "\"\\", "'\\", "R\"x(", "/*", "/* *", "#", "# ", "# 1", "# 1 \"", "# 1 \"\\", "# 99999999999999999999",
        "kernel", "kernel void", "kernel void k", "kernel void k(", "[[", "[[host_name", "template", "template<",
        "threadgroup", "constant", "operator", "struct", "struct s", "struct s :", "namespace", "namespace a::", "using",
        "typedef", "1.", "0x", "1e+", "u8\"", "::", "\\", "@", "`", "\x7f", "\x01",
        "kernel void k() {} template [[host_name(\"x\")]] kernel", "x(*", "= {", "operator()",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) translate_string(texts[i]);
    assert_false(translate("kernel void k() {\0}", 19));
    assert_false(translate("\0", 1));
    assert_true(translate("", 0));
}

/* Whole texts through the whole way: an error with a place, or none. */
static void test_whole_way(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "\n", "kernel void k(device int *x) { x[0] = 'a; }\n", "/* never ends", "\"never ends\n",
        "kernel void k() { \"never ends }\n", "#define", "#if", "#include", "#include <", "#include \"text.metal\"\n",
        "\x7f\x45\x4c\x46\x02\x01\x01\xff\xfe\x80\x90", "kernel void k() { int \xc3\xa9 = 1; }\n", "_Pragma(\"x\") _Pragma(",
        "#pragma METAL\n#pragma\n", "#line 4294967295\nint x\n", "#line 0 \"\"\nint x\n", "\\\n\\\n", "#define A A A\nA",
        "#define HASH #\nHASH include \"/etc/passwd\"\n", "kernel void k() { [[x]] # 3\n }\n", "}",
        "kernel void k(device int *x) { asm(\"int3\"); x[0] = 1; }\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *errors = NULL;
        sm_msl_library *library = sm_msl_library_create(texts[i], &(sm_msl_options){0}, &errors);
        if (library)
            assert_null(errors);
        else
            assert_non_null(errors ? strstr(errors, "error: ") : NULL);
        sm_msl_library_destroy(library);
        free(errors);
        sm_msl_strict(texts[i], &(sm_msl_options){0}, &errors);
        free(errors);
    }
}

/* What editors and macros make of a text: it means the same. */
static void test_disguises(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\xEF\xBB\xBF#include <metal_stdlib>\nkernel void k(device int *x [[buffer(0)]]) { x[0] = 7; }\n",
        "#include <metal_stdlib>\r\nkernel void k(device int *x [[buffer(0)]]) { // one\r\n x[0] = 7;\r\n}\r\n",
        "ker\\\nnel void k(device int *x [[buf\\\nfer(0)]]) { thread\\\ngroup int a[1]; a[0] = 7; x[0] = a[0]; }\n",
        "#define G threadgroup\n#define K(n) kernel void n\n#define TWO(n, ...) G int n[__VA_ARGS__], n##n[__VA_ARGS__]\n"
        "K(k)(device int *x [[buffer(0)]]) { TWO(a, 1); a[0] = 3; aa[0] = 4; x[0] = a[0] + aa[0]; }\n",
        "constant char s[] = R\"x(threadgroup int a; } /* // )x\"; kernel void k(device int *x [[buffer(0)]]) { x[0] = s[0] - 109; }\n",
        "kernel void k(device int *x [[buffer(0)]]) { int gr\xC3\xB6\xC3\x9F\x65 = 7; x[0] = gr\xC3\xB6\xC3\x9F\x65; }\n",
        "kernel void k(device int *x [[buffer(0)]]) { threadgroup int a[2]; { threadgroup int a[2]; a[1] = 5; x[0] = a[1]; }\n"
        "    auto f = [&](int v) { threadgroup int b[1]; b[0] = v; return b[0]; }; a[1] = f(2); x[0] += a[1]; }\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sm_msl_library *library = test_library(texts[i], NULL);
        sm_built built = test_build(library, "k", NULL, 0);
        int32_t out[1] = {0};
        void *buffers[SM_BUFFERS] = {out};
        test_run(&built, &(sm_lane){.buffers = buffers});
        assert_int_equal(out[0], 7);
        sm_msl_library_destroy(library);
    }
}

/* A line of a megabyte, valid; and its mistake at the end. */
static void test_long_line(void **state)
{
    (void)state;
    char *sum = repeated("1 + ", 1 << 18);
    size_t length = strlen(sum);
    char *text = malloc(length + 200);
    sprintf(text, "kernel void k(device int *x [[buffer(0)]]) { x[0] = ");
    /* An array's elements, not a sum: compilers recurse over sums. */
    for (size_t i = 0; i + 1 < length; i++) {
        if (sum[i] == '+') sum[i] = ',';
    }
    sprintf(
        text,
        "constant int table[] = {%s1};\nkernel void k(device int *x [[buffer(0)]]) { x[0] = table[5] + sizeof(table) / 4; }\n",
        sum);
    sm_msl_library *library = test_library(text, NULL);
    sm_built built = test_build(library, "k", NULL, 0);
    int32_t out[1];
    void *buffers[SM_BUFFERS] = {out};
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_int_equal(out[0], (1 << 18) + 2);
    sm_msl_library_destroy(library);
    char *errors;
    strcpy(strstr(text, "1};"), "z};\n");
    assert_null(sm_msl_library_create(text, &(sm_msl_options){0}, &errors));
    assert_int_equal(strncmp(errors, "program_source:1:", 17), 0);
    free(errors);
    free(text);
    free(sum);
}

/* ---- Random changes of the texts in tests/msl. */

static uint64_t seed = 88172645463325252u;

static uint32_t random_below(uint32_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 11) % bound;
}

static size_t token_end(const char *text, size_t at, size_t length)
{
    size_t end = at + 1;
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", text[at])) return end;
    while (end < length && text[end] && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", text[end]))
        end++;
    return end;
}

/* Copies `text` with a token deleted, doubled, swapped with another place's, or a byte changed. Returns the new length. */
static size_t mutate(const char *text, size_t length, char *out)
{
    static const char *const words[] = {
        "threadgroup", "constant", "template", "<",  ">", "{", "}", "(",  ")", "[", "]",   "[[", "]]",  ";",         ",",
        "kernel",      "operator", "struct",   "::", "*", "&", "=", "\"", "'", "#", "0.5", "::", "...", "namespace", "static"};
    size_t at = random_below((uint32_t)length), end = token_end(text, at, length);
    const char *put = text + at;
    size_t put_length = end - at;
    switch (random_below(5)) {
    case 0: put_length = 0; break;
    case 1:
        put = words[random_below(sizeof words / sizeof *words)];
        put_length = strlen(put);
        break;
    case 2: {
        size_t other = random_below((uint32_t)length);
        put = text + other;
        put_length = token_end(text, other, length) - other;
        break;
    }
    case 3: end = at; break; /* inserted before itself: doubled */
    default: {
        static char byte;
        byte = (char)random_below(256);
        put = &byte;
        put_length = 1;
        end = at + 1;
        break;
    }
    }
    memcpy(out, text, at);
    memcpy(out + at, put, put_length);
    memcpy(out + at + put_length, text + end, length - end);
    return length - (end - at) + put_length;
}

static void test_mutations(void **state)
{
    (void)state;
    static const char *const names[] = {"forms.metal", "templates.metal", "threadgroup.metal", "spaces.metal"};
    unsigned taken = 0, refused = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text = test_msl_text(names[i]);
        size_t length = strlen(text), capacity = length + 8192;
        char *now = malloc(capacity), *next = malloc(capacity);
        for (int round = 0; round < 1500; round++) {
            memcpy(now, text, length);
            size_t size = length;
            /* Directives are the preprocessor's; here they would end it. */
            for (size_t k = 0; k < size; k++) {
                if (now[k] == '#') now[k] = ' ';
            }
            for (uint32_t changes = 1 + random_below(8); changes; changes--) {
                size = mutate(now, size, next);
                char *swap = now;
                now = next;
                next = swap;
            }
            if (translate(now, size))
                taken++;
            else
                refused++;
        }
        free(now);
        free(next);
        free(text);
    }
    /* Both answers occur, or the changes change nothing worth trying. */
    assert_true(taken > 100);
    assert_true(refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_repetition), cmocka_unit_test(test_depth),
                                       cmocka_unit_test(test_unfinished), cmocka_unit_test(test_disguises), cmocka_unit_test(test_whole_way),
                                       cmocka_unit_test(test_long_line),  cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests_name("msl hostile", tests, NULL, NULL);
}
