/* Stands in for executor/report.c until that is here: all weak. */
#include "executor/executor.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SM_MOST 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static softmetal_report reports[SM_MOST];
static size_t count;

__attribute__((weak)) void sm_report(const softmetal_report *report)
{
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < count && (reports[i].kind != report->kind || strcmp(reports[i].message, report->message) != 0)) i++;
    if (i < count) {
        reports[i].count++;
    } else if (count < SM_MOST) {
        reports[count] = *report;
        reports[count].message = strdup(report->message);
        reports[count++].count = 1;
    }
    pthread_mutex_unlock(&lock);
}

__attribute__((weak)) void sm_reportf(softmetal_report_kind kind, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    sm_report(&(softmetal_report){.kind = kind, .message = message, .thread = -1, .other_thread = -1, .threadgroup = -1, .other_threadgroup = -1});
}

__attribute__((weak)) size_t softmetal_report_count(void)
{
    pthread_mutex_lock(&lock);
    size_t result = count;
    pthread_mutex_unlock(&lock);
    return result;
}

__attribute__((weak)) bool softmetal_get_report(size_t index, softmetal_report *report)
{
    pthread_mutex_lock(&lock);
    bool there = index < count;
    if (there) *report = reports[index];
    pthread_mutex_unlock(&lock);
    return there;
}

__attribute__((weak)) const char *softmetal_report_name(softmetal_report_kind kind)
{
    static const char *const names[] = {
#define SOFTMETAL_REPORT_NAME(name, text) #name,
        SOFTMETAL_REPORT_LIST(SOFTMETAL_REPORT_NAME)
    };
    return kind < SOFTMETAL_REPORT_KINDS ? names[kind] : "UNKNOWN";
}
