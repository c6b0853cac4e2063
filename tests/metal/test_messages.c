/* Every message that the backend sends, against the methods of the device that it runs on and against Apple's own headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_metal.h"

#include "backend/metal/objc.h"

typedef struct message {
    const char *class, *selector, *encoding;
    bool to_class;
} message;

static const message messages[] = {
#define GETTER(result, name, class, selector, encoding) {#class, selector, encoding, false},
#define CALL(result, name, class, selector, encoding, parameters, passed) {#class, selector, encoding, false},
#define CLASS_GETTER(result, name, class, selector, encoding) {#class, selector, encoding, true},
#define CLASS_CALL(result, name, class, selector, encoding, parameters, passed) {#class, selector, encoding, true},
    PV_METAL_GETTERS(GETTER) PV_METAL_CALLS(CALL) PV_METAL_CLASS_GETTERS(CLASS_GETTER) PV_METAL_CLASS_CALLS(CLASS_CALL)};
#define MESSAGES (sizeof messages / sizeof messages[0])

static void the_device_has_every_method_with_these_types(void **state)
{
    (void)state;
    softmetal_reset();
    for (size_t i = 0; i < MESSAGES; i++) {
        char selector[128];
        snprintf(selector, sizeof selector, "%s%s", messages[i].to_class ? "+" : "", messages[i].selector);
        if (!softmetal_expect_signature(messages[i].class, selector, messages[i].encoding)) {
            metal_assert_no_reports();
            fail_msg("%s has no %s", messages[i].class, selector);
        }
    }
}

static void classes_are_there_by_their_names(void **state)
{
    (void)state;
    pv_objc objc;
    pv_error error = {0};
    if (pv_objc_open(test_metal_library(), &objc, &error) != PV_OK) fail_msg("%s", error.message);
#define CLASS(name) assert_non_null(objc.classes.name);
    PV_METAL_CLASSES(CLASS)
    pv_objc_close(&objc);
}

/* ---- Apple's headers, as a table of metal-cpp's ---- */

static char *table; /* the whole file */

static int read_table(void **state)
{
    (void)state;
    FILE *file = fopen(PV_TEST_DATA "/../softmetal/tests/selectors/table.txt", "rb");
    if (file == NULL) return -1;
    fseek(file, 0, SEEK_END);
    const size_t size = (size_t)ftell(file);
    rewind(file);
    table = calloc(1, size + 1);
    const bool whole = table != NULL && fread(table, 1, size, file) == size;
    fclose(file);
    return whole ? 0 : -1;
}

static int free_table(void **state)
{
    (void)state;
    free(table);
    return 0;
}

/* The lines of a class, "class NAME PARENT" before them; NULL if there is none. */
static const char *class_at(const char *name)
{
    char head[192];
    snprintf(head, sizeof head, "\nclass %s ", name);
    const char *at = strstr(table, head);
    return at != NULL ? at + strlen(head) : NULL;
}

/* Looks in the class and those that it inherits from; copies the encoding. */
static bool find_method(const message *sent, char encoding[128])
{
    char line[192], parent[128], class[128];
    const int length = snprintf(line, sizeof line, "\n%c %s ", sent->to_class ? '+' : '-', sent->selector);
    snprintf(class, sizeof class, "%s", sent->class);
    for (const char *body = class_at(class); body != NULL; body = class_at(class)) {
        const char *end = strstr(body, "\nclass "), *at = strstr(body, line);
        if (at != NULL && (end == NULL || at < end)) return sscanf(at + length, "%127s", encoding) == 1;
        if (sscanf(body, "%127s", parent) != 1) return false;
        memcpy(class, parent, sizeof class);
    }
    return false;
}

/* metal-cpp makes strings another way, and asks data for bytes that may be written. */
static bool beyond_the_table(const message *sent)
{
    return strcmp(sent->selector, "stringWithUTF8String:") == 0 || strcmp(sent->selector, "bytes") == 0;
}

/* The table has no names of structs: "{MTLSize=QQQ}" is "{?=QQQ}". */
static void drop_names(const char *encoding, char plain[128])
{
    size_t at = 0;
    for (; *encoding != '\0' && at < 125; encoding++) {
        plain[at++] = *encoding;
        if (*encoding != '{') continue;
        plain[at++] = '?';
        while (encoding[1] != '=' && encoding[1] != '\0') encoding++;
    }
    plain[at] = '\0';
}

static void apples_headers_have_every_method_with_these_types(void **state)
{
    (void)state;
    size_t found = 0;
    for (size_t i = 0; i < MESSAGES; i++) {
        char encoding[128] = "", sent[128];
        if (beyond_the_table(&messages[i])) continue;
        if (!find_method(&messages[i], encoding))
            fail_msg("%s %s is not in the table", messages[i].class, messages[i].selector);
        drop_names(messages[i].encoding, sent);
        if (strcmp(encoding, sent) != 0)
            fail_msg("%s %s: %s is sent, %s is declared", messages[i].class, messages[i].selector, sent, encoding);
        found++;
    }
    assert_true(found == MESSAGES - 2);
}

static void a_wrong_message_would_be_found(void **state)
{
    (void)state;
    char encoding[128];
    softmetal_reset();
    assert_false(softmetal_expect_signature("MTLCommandBuffer", "status", "@@:"));
    assert_false(softmetal_expect_signature("MTLCommandBuffer", "comit", "v@:"));
    assert_false(find_method(&(message){"MTLCommandBuffer", "comit", "v@:", false}, encoding));
    assert_true(find_method(&(message){"MTLComputeCommandEncoder", "endEncoding", "v@:", false}, encoding)); /* inherited */
    softmetal_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_has_every_method_with_these_types),
        cmocka_unit_test(classes_are_there_by_their_names),
        cmocka_unit_test(apples_headers_have_every_method_with_these_types),
        cmocka_unit_test(a_wrong_message_would_be_found),
    };
    return cmocka_run_group_tests(tests, read_table, free_table);
}
