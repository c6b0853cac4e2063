/* What the tests of the runtime and of Foundation share: messages of the usual types, and a look at the reports. */
#ifndef SOFTMETAL_TESTS_OBJC_SUPPORT_H
#define SOFTMETAL_TESTS_OBJC_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "foundation/foundation.h"
#include "objc/runtime.h"
#include "softmetal.h"

static inline id send(id receiver, const char *selector)
{
    return ((id (*)(id, SEL))sm_sender())(receiver, sel_registerName(selector));
}
static inline uint64_t send_uint(id receiver, const char *selector)
{
    return ((uint64_t (*)(id, SEL))sm_sender())(receiver, sel_registerName(selector));
}
static inline id send_id(id receiver, const char *selector, id argument)
{
    return ((id (*)(id, SEL, id))sm_sender())(receiver, sel_registerName(selector), argument);
}
static inline bool send_test(id receiver, const char *selector, id argument)
{
    return ((BOOL (*)(id, SEL, id))sm_sender())(receiver, sel_registerName(selector), argument) != 0;
}
static inline id class_named(const char *name) { return (id)objc_getClass(name); }
static inline id text(const char *utf8)
{
    SEL selector = sel_registerName("stringWithUTF8String:");
    return ((id (*)(id, SEL, const char *))sm_sender())(class_named("NSString"), selector, utf8);
}

/* How often something of this kind was reported whose message has this in it. */
static inline uint64_t reported(softmetal_report_kind kind, const char *part)
{
    uint64_t count = 0;
    softmetal_report report;
    for (size_t i = 0; softmetal_get_report(i, &report); i++) {
        if (report.kind == kind && strstr(report.message, part)) count += report.count;
    }
    return count;
}

/* All reports so far. */
static inline uint64_t all_reports(void)
{
    uint64_t count = 0;
    softmetal_report report;
    for (size_t i = 0; softmetal_get_report(i, &report); i++) count += report.count;
    return count;
}

/* Runs code that is to add exactly one report, of this kind, with this in its message. */
#define assert_reports(kind, part, ...)                                                                               \
    do {                                                                                                              \
        uint64_t reports_before = all_reports(), such_before = reported(kind, part);                                  \
        __VA_ARGS__;                                                                                                  \
        assert_int_equal(reported(kind, part), such_before + 1);                                                      \
        assert_int_equal(all_reports(), reports_before + 1);                                                          \
    } while (0)

/* Runs code that is to add none. */
#define assert_reports_nothing(...)                                                                                   \
    do {                                                                                                              \
        uint64_t reports_before = all_reports();                                                                      \
        __VA_ARGS__;                                                                                                  \
        assert_int_equal(all_reports(), reports_before);                                                              \
    } while (0)

#endif
