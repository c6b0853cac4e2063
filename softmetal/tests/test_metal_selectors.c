/* What softmetal implements against the table derived from metal-cpp (selectors/table.txt): the same types where both have a
 * method; and no method of a class that compute hosts use is lacking without being listed, with its reason, in
 * selectors/gaps.txt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "objc/object.h"
#include "softmetal.h"

id MTLCreateSystemDefaultDevice(void);

#define SM_LINE 1024
#define SM_MOST 8192

typedef struct entry {
    char class[128], selector[256], types[256]; /* of a class line: its superclass in types, and no selector */
    char sign;
    bool seen;
} entry;

static entry *table, *gaps;
static size_t table_count, gap_count;

/* ---- Reading */

static FILE *open_data(const char *name)
{
    char path[SM_LINE];
    snprintf(path, sizeof path, "%s/selectors/%s", SOFTMETAL_TEST_DATA, name);
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s is missing", path);
    return file;
}

static void read_table(void)
{
    char line[SM_LINE], class[128] = "";
    FILE *file = open_data("table.txt");
    while (fgets(line, sizeof line, file)) {
        entry *to = &table[table_count];
        char kind[8], first[256], second[256];
        if (*line == '#' || sscanf(line, "%7s %255s %255s", kind, first, second) != 3) continue;
        assert_true(table_count < SM_MOST);
        bool is_class = strcmp(kind, "class") == 0;
        if (is_class)
            snprintf(class, sizeof class, "%.127s", first);
        else
            snprintf(to->selector, sizeof to->selector, "%s", first);
        snprintf(to->class, sizeof to->class, "%s", class);
        snprintf(to->types, sizeof to->types, "%s", second);
        to->sign = is_class ? 0 : *kind;
        table_count++;
    }
    fclose(file);
}

/* "class NAME reason" and "NAME -selector reason"; a * at the end of a name or selector stands for anything. */
static void read_gaps(void)
{
    char line[SM_LINE];
    FILE *file = open_data("gaps.txt");
    while (fgets(line, sizeof line, file)) {
        char first[256], second[256], reason[256];
        entry *to = &gaps[gap_count];
        if (*line == '#' || *line == '\n') continue;
        if (sscanf(line, "%255s %255s %255[^\n]", first, second, reason) != 3) fail_msg("gaps.txt: '%s' names no reason", line);
        bool is_class = strcmp(first, "class") == 0;
        snprintf(to->class, sizeof to->class, "%.127s", is_class ? second : first);
        if (!is_class) to->sign = *second;
        if (!is_class) snprintf(to->selector, sizeof to->selector, "%s", second + 1);
        assert_true(++gap_count < SM_MOST);
    }
    fclose(file);
}

static bool fits(const char *pattern, const char *text)
{
    size_t length = strlen(pattern);
    if (length && pattern[length - 1] == '*') return strncmp(pattern, text, length - 1) == 0;
    return strcmp(pattern, text) == 0;
}

static bool is_gap(const char *class, char sign, const char *selector)
{
    for (size_t i = 0; i < gap_count; i++) {
        if (gaps[i].sign != sign || !fits(gaps[i].class, class) || (sign && !fits(gaps[i].selector, selector))) continue;
        gaps[i].seen = true;
        return true;
    }
    return false;
}

static const entry *find_class(const char *name)
{
    for (size_t i = 0; i < table_count; i++) {
        if (!table[i].sign && strcmp(table[i].class, name) == 0) return &table[i];
    }
    return NULL;
}

/* The entry for a method of a class of the table, or of one that it inherits from. */
static const entry *find_method(const char *class, char sign, const char *selector)
{
    for (const entry *at = find_class(class); at; at = find_class(at->types)) {
        for (size_t i = 0; i < table_count; i++) {
            if (table[i].sign == sign && strcmp(table[i].class, at->class) == 0 && strcmp(table[i].selector, selector) == 0)
                return &table[i];
        }
    }
    return NULL;
}

/* ---- What softmetal has */

/* The name under which the table knows a class of softmetal's: its protocol's, or its own; of a part of one, that of the
 * whole. */
static const char *table_name(Class class)
{
    if (strcmp(class->name, "SoftMTLDeviceMaker") == 0) return "MTLDevice";
    return class->protocol ? class->protocol : class->name;
}

static Class implementation(const char *name)
{
    Class found = NULL;
    for (size_t i = 0; i < sm_class_count(); i++) {
        Class class = sm_class_at(i);
        if (strcmp(table_name(class), name) == 0 && strcmp(class->name, "SoftMTLDeviceMaker") != 0) found = class;
    }
    return found;
}

static const char *types_of(Class class, char sign, const char *selector)
{
    for (; class; class = class->super) {
        const sm_method *methods = sign == '+' ? class->class_methods : class->methods;
        size_t count = sign == '+' ? class->class_method_count : class->method_count;
        for (size_t i = 0; i < count; i++) {
            if (strcmp(methods[i].selector, selector) == 0) return methods[i].types;
        }
    }
    return NULL;
}

static size_t check_types(Class class, char sign, size_t *compared)
{
    const sm_method *methods = sign == '+' ? class->class_methods : class->methods;
    size_t count = sign == '+' ? class->class_method_count : class->method_count, wrong = 0;
    for (size_t i = 0; i < count; i++) {
        const entry *is = find_method(table_name(class), sign, methods[i].selector);
        if (!is) continue;
        ++*compared;
        if (sm_encodings_agree(is->types, methods[i].types)) continue;
        print_error("%c[%s %s] has the types '%s'; in metal-cpp '%s'\n", sign, class->name, methods[i].selector,
                    methods[i].types, is->types);
        wrong++;
    }
    return wrong;
}

static void types_agree(void **state)
{
    size_t wrong = 0, compared = 0;
    (void)state;
    for (size_t i = 0; i < sm_class_count(); i++) {
        wrong += check_types(sm_class_at(i), '+', &compared);
        wrong += check_types(sm_class_at(i), '-', &compared);
    }
    print_message("%zu methods have the types of the table\n", compared);
    assert_int_equal(wrong, 0);
    assert_true(compared > 400);
}

/* A comparison that lets a wrong type pass would make the test above worthless. */
static void wrong_types_are_seen(void **state)
{
    (void)state;
    const entry *is = find_method("MTLDevice", '-', "newBufferWithLength:options:");
    assert_non_null(is);
    assert_true(sm_encodings_agree(is->types, "@@:QQ"));
    assert_false(sm_encodings_agree(is->types, "@@:IQ"));
    assert_false(sm_encodings_agree(is->types, "@@:Q"));
    assert_false(sm_encodings_agree(is->types, "v@:QQ"));
    is = find_method("MTLComputeCommandEncoder", '-', "dispatchThreads:threadsPerThreadgroup:");
    assert_true(sm_encodings_agree(is->types, "v@:{MTLSize=QQQ}{MTLSize=QQQ}"));
    assert_false(sm_encodings_agree(is->types, "v@:{MTLSize=III}{MTLSize=QQQ}"));
    assert_false(sm_encodings_agree(is->types, "v@:{MTLSize=QQQ}{MTLSize=QQ}"));
    assert_non_null(find_method("MTLBuffer", '-', "allocatedSize")); /* inherited twice */
    assert_null(find_method("MTLBuffer", '-', "dispatchThreads:threadsPerThreadgroup:"));
}

static size_t check_class(const entry *class)
{
    size_t lacking = 0;
    Class is = implementation(class->class);
    if (!is) {
        if (is_gap(class->class, 0, NULL)) return 0;
        print_error("class %s is neither implemented nor listed\n", class->class);
        return 1;
    }
    for (size_t i = 0; i < table_count; i++) {
        const entry *method = &table[i];
        if (!method->sign || strcmp(method->class, class->class) != 0) continue;
        bool there = types_of(is, method->sign, method->selector) != NULL,
             listed = is_gap(class->class, method->sign, method->selector);
        if (there != listed) continue;
        print_error("%c[%s %s] is %s\n", method->sign, class->class, method->selector,
                    there ? "implemented, and listed as lacking" : "neither implemented nor listed");
        lacking++;
    }
    return lacking;
}

static void gaps_are_listed(void **state)
{
    size_t lacking = 0;
    (void)state;
    for (size_t i = 0; i < table_count; i++) {
        if (!table[i].sign && strncmp(table[i].class, "MTL", 3) == 0) lacking += check_class(&table[i]);
    }
    for (size_t i = 0; i < gap_count; i++) {
        if (gaps[i].seen) continue;
        print_error("gaps.txt lists %s %s, which is no gap\n", gaps[i].class, gaps[i].selector);
        lacking++;
    }
    assert_int_equal(lacking, 0);
}

/* A selector that Metal does not have is a slip of the pen: no host would send it. */
static void nothing_is_made_up(void **state)
{
    static const char *const roots[] = {"init", "copy", "respondsToSelector:"}; /* NSObject's, and NSCopying's */
    size_t unknown = 0;
    (void)state;
    for (size_t i = 0; i < sm_class_count(); i++) {
        Class class = sm_class_at(i);
        for (size_t m = 0; strncmp(table_name(class), "MTL", 3) == 0 && m < class->method_count; m++) {
            bool known = find_method(table_name(class), '-', class->methods[m].selector) != NULL;
            for (size_t r = 0; r < sizeof roots / sizeof *roots; r++)
                known = known || strcmp(roots[r], class->methods[m].selector) == 0;
            if (known) continue;
            print_error("-[%s %s] is not in the table\n", class->name, class->methods[m].selector);
            unknown++;
        }
    }
    assert_int_equal(unknown, 0);
}

/* What the table holds is what a host may announce: all of it is there, and slips are named. */
static void hosts_may_send_the_table(void **state)
{
    char selector[300];
    size_t announced = 0;
    (void)state;
    softmetal_reset();
    for (size_t i = 0; i < table_count; i++) {
        const entry *is = &table[i];
        if (!is->sign || strncmp(is->class, "MTL", 3) != 0 || !implementation(is->class) ||
            is_gap(is->class, is->sign, is->selector))
            continue;
        snprintf(selector, sizeof selector, "%c%s", is->sign, is->selector);
        if (!softmetal_expect_signature(is->class, selector, is->types)) fail_msg("%s %s %s", is->class, selector, is->types);
        announced++;
    }
    print_message("%zu methods announced\n", announced);
    assert_true(announced > 400);
    assert_int_equal(softmetal_report_count(), 0);
    assert_false(softmetal_expect_signature("MTLDevice", "-newBufferWithLength:options:", "@@:Qi"));
    assert_false(softmetal_expect_signature("MTLBuffer", "-content", "^v@:"));
    softmetal_report report;
    assert_true(softmetal_get_report(0, &report));
    assert_int_equal(report.kind, SOFTMETAL_BAD_SIGNATURE);
    assert_non_null(strstr(report.message, "newBufferWithLength:options:"));
    assert_true(softmetal_get_report(1, &report));
    assert_int_equal(report.kind, SOFTMETAL_UNKNOWN_SELECTOR);
    assert_int_equal(softmetal_report_count(), 2);
}

static void table_is_whole(void **state)
{
    (void)state;
    assert_true(table_count > 2500);
    assert_non_null(find_class("MTLDevice"));
    assert_non_null(find_class("MTLComputeCommandEncoder"));
    assert_non_null(find_class("NSError"));
}

int main(void)
{
    table = calloc(SM_MOST, sizeof *table);
    gaps = calloc(SM_MOST, sizeof *gaps);
    if (!table || !gaps) return 1;
    read_table();
    read_gaps();
    id device = MTLCreateSystemDefaultDevice(); /* so that the static library's Metal part is linked */
    sm_release(device);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_whole),  cmocka_unit_test(wrong_types_are_seen), cmocka_unit_test(types_agree),
        cmocka_unit_test(gaps_are_listed), cmocka_unit_test(nothing_is_made_up),   cmocka_unit_test(hosts_may_send_the_table),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(table);
    free(gaps);
    return failed;
}
