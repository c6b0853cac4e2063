/* Foundation against the table derived from metal-cpp: same selectors, same types, and each that is missing is missing on
 * purpose. */
#include "objc_support.h"

/* "Class -selector", "Class +selector"; a * at the end stands for anything. */
static const char *const gaps[] = {
    /* Locks and notifications: hosts in C have their own. */
    "NSCondition *",
    "NSNotification *",
    "NSNotificationCenter *",
    /* A protocol, whose method is in the collections. */
    "NSFastEnumeration *",
    /* A program of the command line has no bundle to ask about. */
    "NSBundle +all*",
    "NSBundle +bundleWith*",
    "NSBundle -URLForAuxiliaryExecutable:",
    "NSBundle -appStoreReceiptURL",
    "NSBundle -builtIn*",
    "NSBundle -executableURL",
    "NSBundle -initWith*",
    "NSBundle -isLoaded",
    "NSBundle -load",
    "NSBundle -loadAndReturnError:",
    "NSBundle -localized*",
    "NSBundle -pathForAuxiliaryExecutable:",
    "NSBundle -preflightAndReturnError:",
    "NSBundle -private*",
    "NSBundle -shared*",
    "NSBundle -unload",
    /* What an app does with its life. */
    "NSProcessInfo -arguments",
    "NSProcessInfo -automaticTerminationSupportEnabled",
    "NSProcessInfo -beginActivityWithOptions:reason:",
    "NSProcessInfo -disable*",
    "NSProcessInfo -enable*",
    "NSProcessInfo -endActivity:",
    "NSProcessInfo -environment",
    "NSProcessInfo -fullUserName",
    "NSProcessInfo -globallyUniqueString",
    "NSProcessInfo -hostName",
    "NSProcessInfo -operatingSystem",
    "NSProcessInfo -perform*",
    "NSProcessInfo -set*",
    "NSProcessInfo -userName",
    /* Numbers are all that values hold. */
    "NSValue *",
    "NSNumber -descriptionWithLocale:",
};
enum { GAPS = sizeof gaps / sizeof *gaps };

static bool used[GAPS];

static bool is_gap(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < GAPS; i++) {
        size_t length = strlen(gaps[i]);
        bool prefix = gaps[i][length - 1] == '*';
        if (prefix ? strncmp(name, gaps[i], length - 1) != 0 : strcmp(name, gaps[i]) != 0) continue;
        used[i] = found = true;
    }
    return found;
}

/* NULL if there is none. alloc is a class method, whatever the table says. */
static const char *encoding(const char *class_name, char sign, const char *selector)
{
    Class class = objc_getClass(class_name);
    SEL sel = sel_registerName(selector);
    if (sign == '+' || strcmp(selector, "alloc") == 0) return method_getTypeEncoding(class_getClassMethod(class, sel));
    return method_getTypeEncoding(class_getInstanceMethod(class, sel));
}

static size_t compared, mistakes;

static void compare(const char *class_name, char sign, const char *selector, const char *types)
{
    char name[800];
    snprintf(name, sizeof name, "%s %c%s", class_name, sign, selector);
    const char *ours = encoding(class_name, sign, selector);
    if (!ours && is_gap(name)) return;
    if (ours && sm_encodings_agree(ours, types)) {
        compared++;
        return;
    }
    print_error("%s: '%s' in the table, %s here\n", name, types, ours ? ours : "nothing");
    mistakes++;
}

static void selectors_agree_with_the_table(void **state)
{
    (void)state;
    char line[1024], class_name[256] = "", sign, selector[512], types[256];
    FILE *table = fopen(SOFTMETAL_TEST_DATA "/selectors/table.txt", "r");
    assert_non_null(table);
    while (fgets(line, sizeof line, table)) {
        if (sscanf(line, "class %255s", class_name) == 1 || strncmp(class_name, "NS", 2) != 0) continue;
        if (sscanf(line, "%c %511s %255s", &sign, selector, types) == 3) compare(class_name, sign, selector, types);
    }
    fclose(table);
    assert_int_equal(mistakes, 0);
    assert_true(compared > 100);
    for (size_t i = 0; i < GAPS; i++) {
        if (!used[i]) fail_msg("'%s' is no gap", gaps[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(selectors_agree_with_the_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
