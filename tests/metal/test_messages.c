/* Every message that is sent to Metal, MPS, Core ML and Foundation: against the methods of the software device, against Apple's
 * own headers, and against the types of the C functions that send it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_metal.h"

#include "backend/ane/messages.h"
#include "backend/metal/mps_messages.h"
#include "backend/metal/objc.h"

typedef struct message {
    const char *class, *selector, *encoding;
    bool to_class;
    const char *result, *parameters; /* of the C function: "(pv_id object, uint64_t index)" */
} message;

#define GETTER(result, name, class, selector, encoding) {#class, selector, encoding, false, #result, "()"},
#define CALL(result, name, class, selector, encoding, parameters, passed) \
    {#class, selector, encoding, false, #result, #parameters},
#define CLASS_GETTER(result, name, class, selector, encoding) {#class, selector, encoding, true, #result, "()"},
#define CLASS_CALL(result, name, class, selector, encoding, parameters, passed) \
    {#class, selector, encoding, true, #result, #parameters},
static const message messages[] = {PV_METAL_GETTERS(GETTER) PV_METAL_CALLS(CALL) PV_METAL_CLASS_GETTERS(CLASS_GETTER)
                                       PV_METAL_CLASS_CALLS(CLASS_CALL)};
static const message mps_messages[] = {PV_MPS_GETTERS(GETTER) PV_MPS_CALLS(CALL) PV_MPS_CLASS_GETTERS(CLASS_GETTER)
                                           PV_MPS_CLASS_CALLS(CLASS_CALL)};
static const message ane_messages[] = {PV_ANE_GETTERS(GETTER) PV_ANE_CALLS(CALL) PV_ANE_CLASS_GETTERS(CLASS_GETTER)
                                           PV_ANE_CLASS_CALLS(CLASS_CALL)};
#define COUNT(array) (sizeof array / sizeof array[0])
#define MESSAGES COUNT(messages)
static const struct {
    const message *messages;
    size_t count;
} lists[] = {{messages, MESSAGES}, {mps_messages, COUNT(mps_messages)}, {ane_messages, COUNT(ane_messages)}};

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

static char *table, *declarations; /* the whole files */

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    const size_t size = (size_t)ftell(file);
    rewind(file);
    char *text = calloc(1, size + 1);
    const bool whole = text != NULL && fread(text, 1, size, file) == size;
    fclose(file);
    if (whole) return text;
    free(text);
    return NULL;
}

static int read_tables(void **state)
{
    (void)state;
    table = read_whole(PV_TEST_DATA "/../softmetal/tests/selectors/table.txt");
    declarations = read_whole(PV_TEST_DATA "/metal/declarations.txt");
    return table != NULL && declarations != NULL ? 0 : -1;
}

static int free_tables(void **state)
{
    (void)state;
    free(table);
    free(declarations);
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

/* ---- Declarations, as Apple documents them ---- */

/* A declared type's encoding. */
static void encode_declared(const char *type, size_t length, char encoding[128])
{
    static const struct {
        const char *type, *encoding;
    } known[] = {
        {"void", "v"},           {"BOOL", "B"},          {"NSUInteger", "Q"},           {"NSInteger", "q"}, {"double", "d"},
        {"id", "@"},             {"instancetype", "@"},  {"Class", "#"},                {"void *", "^v"},   {"const void *", "^v"},
        {"const char *", "*"},   {"const id *", "^@"},   {"NSError **", "^@"},
        {"MPSDataType", "I"}, /* uint32_t */
        {"MLComputeUnits", "q"}, {"MLMultiArrayDataType", "q"},
    };
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)length, type);
    for (size_t i = 0; i < COUNT(known); i++) {
        if (strcmp(known[i].type, text) == 0) strcat(encoding, known[i].encoding);
        if (strcmp(known[i].type, text) == 0) return;
    }
    const bool object = length > 2 && strcmp(text + length - 2, " *") == 0 && text[0] >= 'A' && text[0] <= 'Z';
    if (!object && strstr(text, "(^)") == NULL) fail_msg("the type %s is not known", text);
    strcat(encoding, object ? "@" : "@?");
}

/* Behind the parenthesis that closes the one at `at`. */
static const char *behind(const char *at)
{
    for (int depth = 0;; at++) {
        depth += *at == '(' ? 1 : *at == ')' ? -1 : 0;
        if (depth == 0) return at + 1;
        assert_true(*at != '\0' && *at != '\n');
    }
}

/* Reads "- (result)first:(type)name second:(type)name;". */
static void read_declaration(const char *at, char selector[128], char encoding[128])
{
    const char *end = behind(at + 2);
    selector[0] = encoding[0] = '\0';
    encode_declared(at + 3, (size_t)(end - 1 - (at + 3)), encoding);
    strcat(encoding, "@:");
    for (at = end; *at != ';';) {
        const size_t word = strcspn(at, ":;");
        assert_true(word > 0 && strlen(selector) + word < 126);
        strncat(selector, at, word + (at[word] == ':'));
        at += word;
        if (*at == ';') break;
        end = behind(at + 1);
        encode_declared(at + 2, (size_t)(end - 1 - (at + 2)), encoding);
        at = end + strcspn(end, " ;");
        at += *at == ' ';
    }
}

static bool find_declaration(const message *sent, char encoding[128])
{
    char head[160], selector[128];
    snprintf(head, sizeof head, "\n%s | %c ", sent->class, sent->to_class ? '+' : '-');
    for (const char *at = declarations; (at = strstr(at, head)) != NULL; at++) {
        read_declaration(at + strlen(head) - 2, selector, encoding);
        if (strcmp(selector, sent->selector) == 0) return true;
    }
    return false;
}

static void apples_documentation_has_every_method_with_these_types(void **state)
{
    (void)state;
    size_t lines = 0, found = 0;
    for (const char *at = declarations; (at = strchr(at, '\n')) != NULL; at++) lines += at[1] != '#' && at[1] != '\0';
    for (size_t l = 0; l < COUNT(lists); l++) {
        for (size_t i = 0; i < lists[l].count; i++) {
            const message *sent = &lists[l].messages[i];
            char declared[128];
            if (l == 0 && !beyond_the_table(sent)) continue; /* metal-cpp has it */
            if (!find_declaration(sent, declared)) fail_msg("%s %s is not declared", sent->class, sent->selector);
            if (strcmp(declared, sent->encoding) != 0)
                fail_msg("%s %s: %s is sent, %s is declared", sent->class, sent->selector, sent->encoding, declared);
            found++;
        }
    }
    assert_int_equal(found, lines + 2); /* alloc and stringWithUTF8String: have two senders */
}

/* ---- The C functions ---- */

/* A C type's encoding; NULL: any pointer. */
static const char *encode_c(const char *type, size_t length)
{
    static const struct {
        const char *type, *encoding;
    } known[] = {
        {"void", "v"},      {"bool", "B"},         {"uint64_t", "Q"},          {"int64_t", "q"},
        {"uint32_t", "I"},  {"double", "d"},       {"pv_id", "@"},             {"id", "@"},
        {"pv_sel", ":"},    {"const char *", "*"}, {"pv_id *", "^@"},          {"id *", "^@"},
        {"const id *", "^@"}, {"const pv_id *", "^@"}, {"uint64_t *", "^Q"},   {"const uint64_t *", "^Q"},
        {"pv_metal_size", "{MTLSize=QQQ}"},        {"pv_metal_range", "{_NSRange=QQ}"},
        {"void *", NULL},   {"const void *", NULL},
    };
    for (size_t i = 0; i < COUNT(known); i++) {
        if (strlen(known[i].type) == length && strncmp(known[i].type, type, length) == 0) return known[i].encoding;
    }
    fail_msg("the type %.*s is not known", (int)length, type);
    return "";
}

/* Steps over one type of an encoding; NULL if it is another one than C's. A class is an object. */
static const char *step_over(const char *encoding, const char *type, size_t length)
{
    const char *c = encode_c(type, length);
    if (c == NULL) {
        if (encoding[0] == '^') return encoding + 2;
        return strncmp(encoding, "@?", 2) == 0 ? encoding + 2 : NULL;
    }
    if (strcmp(c, "@") == 0 && encoding[0] == '#') return encoding + 1;
    if (strcmp(c, "@") == 0 && encoding[1] == '?') return NULL;
    return strncmp(encoding, c, strlen(c)) == 0 ? encoding + strlen(c) : NULL;
}

static bool c_types_agree(const message *sent)
{
    const char *encoding = step_over(sent->encoding, sent->result, strlen(sent->result));
    if (encoding == NULL || strncmp(encoding, "@:", 2) != 0) return false;
    encoding += 2;
    for (const char *at = sent->parameters + 1; *at != ')' && *at != '\0';) {
        size_t length = strcspn(at, ",)");
        const char *next = at + length + (at[length] == ',') + (at[length] == ',' && at[length + 1] == ' ');
        while (at[length - 1] != ' ' && at[length - 1] != '*') length--; /* the name */
        if (at[length - 1] == ' ') length--;
        encoding = step_over(encoding, at, length);
        if (encoding == NULL) return false;
        at = next;
    }
    return *encoding == '\0';
}

static void c_functions_have_these_types(void **state)
{
    (void)state;
    for (size_t l = 0; l < COUNT(lists); l++) {
        for (size_t i = 0; i < lists[l].count; i++) {
            const message *sent = &lists[l].messages[i];
            if (!c_types_agree(sent))
                fail_msg("%s %s: %s is sent through %s %s", sent->class, sent->selector, sent->encoding, sent->result,
                         sent->parameters);
        }
    }
}

static void a_wrong_message_would_be_found(void **state)
{
    (void)state;
    char encoding[128];
    softmetal_reset();
    assert_false(softmetal_expect_signature("MTLCommandBuffer", "status", "@@:"));
    assert_false(softmetal_expect_signature("MTLCommandBuffer", "comit", "v@:"));
    assert_false(find_method(&(message){.class = "MTLCommandBuffer", .selector = "comit"}, encoding));
    assert_true(find_method(&(message){.class = "MTLComputeCommandEncoder", .selector = "endEncoding"}, encoding));
    assert_false(find_declaration(&(message){.class = "MPSMatrix", .selector = "initWithBuffer:descriptor:"}, encoding));
    assert_false(find_declaration(&(message){.class = "MLModel", .selector = "compileModelAtURL:error:"}, encoding));
    assert_false(c_types_agree(&(message){.encoding = "@@:QQ", .result = "pv_id", .parameters = "(uint64_t a, int64_t b)"}));
    assert_false(c_types_agree(&(message){.encoding = "@@:Q", .result = "pv_id", .parameters = "(uint64_t a, uint64_t b)"}));
    assert_false(c_types_agree(&(message){.encoding = "@@:QQ", .result = "pv_id", .parameters = "(uint64_t a)"}));
    assert_false(c_types_agree(&(message){.encoding = "Q@:", .result = "bool", .parameters = "()"}));
    assert_false(c_types_agree(&(message){.encoding = "v@:@?", .result = "void", .parameters = "(pv_id block)"}));
    softmetal_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_has_every_method_with_these_types),
        cmocka_unit_test(classes_are_there_by_their_names),
        cmocka_unit_test(apples_headers_have_every_method_with_these_types),
        cmocka_unit_test(apples_documentation_has_every_method_with_these_types),
        cmocka_unit_test(c_functions_have_these_types),
        cmocka_unit_test(a_wrong_message_would_be_found),
    };
    return cmocka_run_group_tests(tests, read_tables, free_tables);
}
