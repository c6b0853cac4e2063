/* Type encodings: whether two of them agree, how a method returns its result, and what hosts say that they send. */
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SM_ENCODING_DEPTH 16 /* nested structs */

/* ---- Walking over an encoding */

static const char *skip_qualifiers(const char *at)
{
    while (*at && strchr("rnNoORVAj0123456789+-", *at)) at++;
    return at;
}

/* Behind the bracket that closes the one at `at`. */
static const char *skip_brackets(const char *at)
{
    int depth = 0;
    do {
        if (strchr("{[(<", *at)) depth++;
        if (strchr("}])>", *at)) depth--;
        at++;
    } while (*at && depth > 0);
    return at;
}

static const char *skip_type(const char *at)
{
    at = skip_qualifiers(at);
    while (*at == '^') at = skip_qualifiers(at + 1);
    if (*at == '\0') return at;
    if (strchr("{[(", *at)) return skip_brackets(at);
    if (*at++ != '@') return at;
    if (*at == '?') return at[1] == '<' ? skip_brackets(at + 1) : at + 1;
    if (*at != '"') return at;
    const char *end = strchr(at + 1, '"');
    return end ? end + 1 : at + strlen(at);
}

/* Types that are passed alike are one. */
static char kind(const char *at)
{
    switch (*at) {
    case 'l': return 'q';
    case 'L': return 'Q';
    case 'c': return 'B';
    case '*': return '^';
    case '#': return '@';
    default: return *at;
    }
}

/* ---- Agreement */

static bool types_agree(const char *one, const char *other, int depth);

/* All types up to the end or a closing bracket. */
static bool lists_agree(const char *one, const char *other, int depth)
{
    for (;;) {
        one = skip_qualifiers(one);
        other = skip_qualifiers(other);
        bool one_ends = !*one || strchr("}])", *one), other_ends = !*other || strchr("}])", *other);
        if (one_ends || other_ends) return one_ends && other_ends;
        if (!types_agree(one, other, depth)) return false;
        one = skip_type(one);
        other = skip_type(other);
    }
}

static bool struct_names_agree(const char *one, size_t one_length, const char *other, size_t other_length)
{
    if (one_length == 1 && *one == '?') return true;
    if (other_length == 1 && *other == '?') return true;
    return one_length == other_length && memcmp(one, other, one_length) == 0;
}

static bool structs_agree(const char *one, const char *other, int depth)
{
    one += 1 + strspn(one + 1, "_"); /* _NSRange is NSRange */
    other += 1 + strspn(other + 1, "_");
    size_t one_length = strcspn(one, "=})"), other_length = strcspn(other, "=})");
    if (!struct_names_agree(one, one_length, other, other_length)) return false;
    if (one[one_length] != '=' || other[other_length] != '=') return true; /* declared only */
    return lists_agree(one + one_length + 1, other + other_length + 1, depth + 1);
}

static bool arrays_agree(const char *one, const char *other, int depth)
{
    char *one_end, *other_end;
    if (strtoul(one + 1, &one_end, 10) != strtoul(other + 1, &other_end, 10)) return false;
    return types_agree(one_end, other_end, depth + 1);
}

static bool types_agree(const char *one, const char *other, int depth)
{
    one = skip_qualifiers(one);
    other = skip_qualifiers(other);
    if (depth > SM_ENCODING_DEPTH || kind(one) != kind(other)) return false;
    if (*one == '{' || *one == '(') return structs_agree(one, other, depth);
    if (*one == '[') return arrays_agree(one, other, depth);
    return true;
}

bool sm_encodings_agree(const char *one, const char *other)
{
    return lists_agree(one, other, 0);
}

/* ---- Results */

typedef struct sm_extent {
    size_t size, align;
    unsigned floats, doubles, others; /* leaves */
} sm_extent;

static sm_extent leaf(const char *at)
{
    switch (kind(at)) {
    case 'B':
    case 'C': return (sm_extent){1, 1, 0, 0, 1};
    case 's':
    case 'S': return (sm_extent){2, 2, 0, 0, 1};
    case 'i':
    case 'I': return (sm_extent){4, 4, 0, 0, 1};
    case 'f': return (sm_extent){4, 4, 1, 0, 0};
    case 'd': return (sm_extent){8, 8, 0, 1, 0};
    case 'D': return (sm_extent){16, 16, 0, 0, 1};
    case 'v': return (sm_extent){0, 1, 0, 0, 0};
    default: return (sm_extent){8, 8, 0, 0, 1};
    }
}

static sm_extent extent(const char *at, int depth);

static void add_member(sm_extent *whole, sm_extent member, bool in_union)
{
    size_t offset = in_union ? 0 : (whole->size + member.align - 1) / member.align * member.align;
    if (offset + member.size > whole->size) whole->size = offset + member.size;
    if (member.align > whole->align) whole->align = member.align;
    whole->floats += member.floats;
    whole->doubles += member.doubles;
    whole->others += member.others;
}

static sm_extent struct_extent(const char *at, int depth)
{
    sm_extent whole = {0, 1, 0, 0, 0};
    bool in_union = *at == '(';
    at += strcspn(at, "=})");
    if (*at != '=') return whole;
    for (at = skip_qualifiers(at + 1); *at && *at != '}' && *at != ')'; at = skip_qualifiers(skip_type(at)))
        add_member(&whole, extent(at, depth + 1), in_union);
    whole.size = (whole.size + whole.align - 1) / whole.align * whole.align;
    return whole;
}

static sm_extent array_extent(const char *at, int depth)
{
    char *type;
    unsigned long count = strtoul(at + 1, &type, 10);
    sm_extent whole = extent(type, depth + 1);
    whole.size *= count;
    whole.floats *= (unsigned)count;
    whole.doubles *= (unsigned)count;
    whole.others *= (unsigned)count;
    return whole;
}

static sm_extent extent(const char *at, int depth)
{
    at = skip_qualifiers(at);
    if (depth > SM_ENCODING_DEPTH) return (sm_extent){0, 1, 0, 0, 1};
    if (*at == '{' || *at == '(') return struct_extent(at, depth);
    if (*at == '[') return array_extent(at, depth);
    return leaf(at);
}

size_t sm_result_size(const char *types)
{
    types = skip_qualifiers(types);
    return *types == '{' || *types == '(' ? extent(types, 0).size : 0;
}

bool sm_returns_struct(const char *types)
{
    types = skip_qualifiers(types);
    if (*types != '{' && *types != '(') return false;
    sm_extent result = extent(types, 0);
#if defined(__aarch64__)
    bool floats_only = result.others == 0 && (result.floats == 0 || result.doubles == 0);
    if (floats_only && result.floats + result.doubles <= 4) return false;
#endif
    return result.size > 16;
}

/* ---- What hosts say that they send */

typedef struct sm_expectation {
    struct sm_expectation *next;
    char *class_name, *selector, *encoding; /* class_name: of a class or protocol, or NULL */
} sm_expectation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sm_expectation *expectations;

typedef enum sm_meets { SM_NOT_MEANT, SM_MISSING, SM_DIFFERS, SM_AGREES } sm_meets;

static bool is_meant(const sm_expectation *expected, Class class)
{
    if (!expected->class_name || sm_conforms(class, expected->class_name)) return true;
    for (Class above = class; above; above = above->super) {
        if (strcmp(above->name, expected->class_name) == 0) return true;
    }
    return false;
}

static Method method_meant(const sm_expectation *expected, Class class)
{
    const char *name = expected->selector;
    Method method = *name != '+' ? sm_find_method(class, name + (*name == '-')) : NULL;
    if (!method && *name != '-') method = sm_find_method(class->object.isa, name + (*name == '+'));
    return method;
}

static sm_meets meets(const sm_expectation *expected, Class class)
{
    if (!is_meant(expected, class)) return SM_NOT_MEANT;
    Method method = method_meant(expected, class);
    if (!method && !expected->class_name) return SM_NOT_MEANT;
    if (!method) {
        sm_reportf(SOFTMETAL_UNKNOWN_SELECTOR, "[%s %s]: the host sends it, and there is no such method", class->name,
                   expected->selector);
        return SM_MISSING;
    }
    if (sm_encodings_agree(method->types, expected->encoding)) return SM_AGREES;
    sm_reportf(SOFTMETAL_BAD_SIGNATURE, "[%s %s]: the host sends '%s', the method takes '%s'", class->name, expected->selector,
               expected->encoding, method->types);
    return SM_DIFFERS;
}

static void forget(sm_expectation *expected)
{
    if (!expected) return;
    free(expected->class_name);
    free(expected->selector);
    free(expected->encoding);
    free(expected);
}

static sm_expectation *remember(const char *class_name, const char *selector, const char *encoding)
{
    sm_expectation *expected = sm_allocate(sizeof *expected);
    if (!expected) return NULL;
    if (class_name) expected->class_name = sm_copy_bytes(class_name, strlen(class_name));
    expected->selector = sm_copy_bytes(selector, strlen(selector));
    expected->encoding = sm_copy_bytes(encoding, strlen(encoding));
    if ((class_name && !expected->class_name) || !expected->selector || !expected->encoding) {
        forget(expected);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    expected->next = expectations;
    expectations = expected;
    pthread_mutex_unlock(&lock);
    return expected;
}

bool softmetal_expect_signature(const char *class_or_protocol, const char *selector, const char *encoding)
{
    const sm_expectation *expected = selector && encoding ? remember(class_or_protocol, selector, encoding) : NULL;
    if (!expected) return false;
    size_t agree = 0, fail = 0;
    for (size_t i = 0; i < sm_class_count(); i++) {
        sm_meets result = meets(expected, sm_class_at(i));
        agree += result == SM_AGREES;
        fail += result == SM_MISSING || result == SM_DIFFERS;
    }
    return agree > 0 && fail == 0;
}

void sm_check_expectations(Class class)
{
    pthread_mutex_lock(&lock);
    for (const sm_expectation *expected = expectations; expected; expected = expected->next) (void)meets(expected, class);
    pthread_mutex_unlock(&lock);
}
