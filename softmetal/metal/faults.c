/* Faults that are armed, and what the system says for each.
 *
 * SOFTMETAL_FAULTS is a list with commas between faults, each KIND[:NTH][:count=N][:code=N][:domain=TEXT][:text=TEXT]; KIND is
 * device, queue, allocation, library, function, pipeline, command_buffer, command_buffer_partial, hang, removal or archive;
 * count=all means for ever. Example: SOFTMETAL_FAULTS="allocation:2,command_buffer:1:code=8:count=3". */
#include "metal/metal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What is said */

typedef struct sm_command_text {
    int64_t code;
    const char *text;
} sm_command_text;

/* Texts as in recorded logs. The driver's own number stands in brackets; several of its errors share a public code. */
static const sm_command_text command_texts[] = {
    {SM_COMMAND_INTERNAL, "Internal Error (0000000e:Internal Error)"},
    {SM_COMMAND_TIMEOUT, "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)"},
    {SM_COMMAND_PAGE_FAULT, "Caused GPU Address Fault Error (0000000b:kIOGPUCommandBufferCallbackErrorPageFault)"},
    {SM_COMMAND_ACCESS_REVOKED,
     "Ignored (for causing prior/excessive GPU errors) (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)"},
    {SM_COMMAND_NOT_PERMITTED, "Insufficient Permission (to submit GPU work from background) "
                               "(00000006:kIOGPUCommandBufferCallbackErrorBackgroundExecutionNotPermitted)"},
    {SM_COMMAND_OUT_OF_MEMORY, "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"},
    {SM_COMMAND_INVALID_RESOURCE, "Invalid Resource (00000009:kIOGPUCommandBufferCallbackErrorInvalidResource)"},
    {SM_COMMAND_MEMORYLESS,
     "Insufficient Memory (for memoryless resources) (0000000a:kIOGPUCommandBufferCallbackErrorMemoryless)"},
    {SM_COMMAND_DEVICE_REMOVED, "Device was removed (00000010:kIOGPUCommandBufferCallbackErrorDeviceRemoved)"},
    {SM_COMMAND_STACK_OVERFLOW, "Stack Overflow (00000011:kIOGPUCommandBufferCallbackErrorStackOverflow)"},
};

const char *sm_command_error_text(int64_t code)
{
    for (size_t i = 0; i < SM_COUNT(command_texts); i++) {
        if (command_texts[i].code == code) return command_texts[i].text;
    }
    return "Internal Error (0000000e:Internal Error)";
}

typedef struct sm_usual {
    const char *name, *domain;
    int64_t code;
    const char *text; /* NULL: by the code */
} sm_usual;

static const sm_usual usual[SOFTMETAL_FAULT_KINDS] = {
    [SOFTMETAL_FAULT_DEVICE] = {"device", "", 0, ""},
    [SOFTMETAL_FAULT_QUEUE] = {"queue", "", 0, ""},
    [SOFTMETAL_FAULT_ALLOCATION] = {"allocation", "", 0, ""},
    [SOFTMETAL_FAULT_LIBRARY] = {"library", SM_LIBRARY_DOMAIN, SM_LIBRARY_COMPILE,
                                 "program_source:1:1: error: softmetal was told to refuse this library\n"},
    [SOFTMETAL_FAULT_FUNCTION] = {"function", SM_LIBRARY_DOMAIN, SM_LIBRARY_NO_FUNCTION,
                                  "Function was not found in the library"},
    [SOFTMETAL_FAULT_PIPELINE] = {"pipeline", "CompilerError", 2, "Compiler encountered an internal error"},
    [SOFTMETAL_FAULT_COMMAND_BUFFER] = {"command_buffer", SM_COMMAND_DOMAIN, SM_COMMAND_INTERNAL, NULL},
    [SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL] = {"command_buffer_partial", SM_COMMAND_DOMAIN, SM_COMMAND_PAGE_FAULT, NULL},
    [SOFTMETAL_FAULT_HANG] = {"hang", SM_COMMAND_DOMAIN, SM_COMMAND_TIMEOUT,
                              "Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)"},
    [SOFTMETAL_FAULT_REMOVAL] = {"removal", SM_COMMAND_DOMAIN, SM_COMMAND_DEVICE_REMOVED, NULL},
    [SOFTMETAL_FAULT_ARCHIVE] = {"archive", SM_ARCHIVE_DOMAIN, SM_ARCHIVE_INVALID_FILE, "The binary archive is not valid"},
};

/* ---- What is armed */

typedef struct sm_armed {
    struct sm_armed *next;
    softmetal_fault_kind kind;
    uint64_t first, last, seen; /* events, counted from 1 */
    sm_outcome outcome;
} sm_armed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static sm_armed *armed;
static uint64_t fired, releases;
static bool read_already;

static void put(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text ? text : "");
}

static const char *text_for(const softmetal_fault *fault, int64_t code)
{
    const sm_usual *is = &usual[fault->kind];
    if (fault->description) return fault->description;
    if (is->text && (fault->code == 0 || fault->code == is->code)) return is->text;
    return strcmp(is->domain, SM_COMMAND_DOMAIN) == 0 ? sm_command_error_text(code) : is->text;
}

static void arm_locked(const softmetal_fault *fault)
{
    sm_armed *one = sm_allocate(sizeof *one);
    if (!one) return;
    int64_t code = fault->code ? fault->code : usual[fault->kind].code;
    uint64_t count = fault->count ? fault->count : 1;
    one->kind = fault->kind;
    one->first = fault->nth ? fault->nth : 1;
    one->last = count > UINT64_MAX - one->first ? UINT64_MAX : one->first + count - 1;
    one->outcome.code = code;
    put(one->outcome.domain, sizeof one->outcome.domain, fault->domain ? fault->domain : usual[fault->kind].domain);
    put(one->outcome.text, sizeof one->outcome.text, text_for(fault, code));
    sm_armed **end = &armed;
    while (*end) end = &(*end)->next;
    *end = one;
}

static void disarm_locked(void)
{
    while (armed) {
        sm_armed *next = armed->next;
        free(armed);
        armed = next;
    }
}

/* ---- The environment */

static bool parse_count(const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9') return false;
    *number = strtoull(text, &end, 10);
    return !errno && !*end;
}

static bool parse_part(softmetal_fault *fault, const char *part)
{
    uint64_t number = 0;
    if (strncmp(part, "domain=", 7) == 0)
        fault->domain = part + 7;
    else if (strncmp(part, "text=", 5) == 0)
        fault->description = part + 5;
    else if (strcmp(part, "count=all") == 0)
        fault->count = UINT64_MAX;
    else if (strncmp(part, "count=", 6) == 0)
        return parse_count(part + 6, &fault->count);
    else if (strncmp(part, "code=", 5) == 0 && parse_count(part + 5, &number))
        fault->code = (int64_t)number;
    else
        return parse_count(part, &fault->nth);
    return true;
}

static bool parse_fault(char *text, softmetal_fault *fault)
{
    const char *part = strsep(&text, ":");
    while (fault->kind < SOFTMETAL_FAULT_KINDS && strcmp(usual[fault->kind].name, part) != 0) fault->kind++;
    if (fault->kind == SOFTMETAL_FAULT_KINDS) return false;
    while ((part = strsep(&text, ":")) != NULL) {
        if (!parse_part(fault, part)) return false;
    }
    return true;
}

static void read_environment_locked(void)
{
    read_already = true;
    const char *given = getenv("SOFTMETAL_FAULTS");
    char *text = given ? strdup(given) : NULL, *rest = text;
    for (char *word; rest && (word = strsep(&rest, ",")) != NULL;) {
        softmetal_fault fault = {0};
        char *shown = strdup(word);
        if (*word && parse_fault(word, &fault))
            arm_locked(&fault);
        else if (shown && *shown)
            sm_reportf(SOFTMETAL_VALIDATION, "SOFTMETAL_FAULTS: '%s' is not understood", shown);
        free(shown);
    }
    free(text);
}

/* ---- For the host and for this library */

void softmetal_inject(const softmetal_fault *fault)
{
    pthread_mutex_lock(&lock);
    if (!read_already) read_environment_locked();
    if (!fault)
        disarm_locked();
    else if ((unsigned)fault->kind < SOFTMETAL_FAULT_KINDS)
        arm_locked(fault);
    pthread_mutex_unlock(&lock);
}

uint64_t softmetal_faults_fired(void)
{
    pthread_mutex_lock(&lock);
    uint64_t count = fired;
    pthread_mutex_unlock(&lock);
    return count;
}

void sm_faults_reset(void)
{
    pthread_mutex_lock(&lock);
    read_already = true;
    disarm_locked();
    fired = 0;
    pthread_mutex_unlock(&lock);
}

/* All that are armed count the event; the one armed first says how it fails. */
bool sm_fault(softmetal_fault_kind kind, sm_outcome *outcome)
{
    const sm_armed *hit = NULL;
    pthread_mutex_lock(&lock);
    if (!read_already) read_environment_locked();
    for (sm_armed *one = armed; one; one = one->next) {
        if (one->kind != kind) continue;
        one->seen++;
        if (!hit && one->seen >= one->first && one->seen <= one->last) hit = one;
    }
    if (hit) fired++;
    if (hit && outcome) *outcome = hit->outcome;
    pthread_mutex_unlock(&lock);
    return hit != NULL;
}

bool sm_fault_error(softmetal_fault_kind kind, id *error)
{
    sm_outcome outcome;
    if (!sm_fault(kind, &outcome)) return false;
    sm_error_set(error, outcome.domain, outcome.code, outcome.text);
    return true;
}

void sm_hang(void)
{
    pthread_mutex_lock(&lock);
    for (uint64_t before = releases; before == releases;) pthread_cond_wait(&released, &lock);
    pthread_mutex_unlock(&lock);
}

void softmetal_release_hangs(void)
{
    pthread_mutex_lock(&lock);
    releases++;
    pthread_cond_broadcast(&released);
    pthread_mutex_unlock(&lock);
}
