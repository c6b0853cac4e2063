#include "support_msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define VARIABLES 64

static struct {
    void *memory[VARIABLES];
    size_t bytes[VARIABLES];
    const sm_lane *lane;
} here;

static void barrier(sm_scope scope, uint32_t fences, uint32_t line)
{
    (void)scope;
    (void)fences;
    (void)line;
}

/* A simdgroup of one lane. */
static void meet(sm_scope scope, sm_meeting meeting, void *value, const void *constant, uint32_t line, const void *site)
{
    (void)scope;
    (void)line;
    (void)site;
    void *values[SM_LANES] = {value};
    meeting(values, 1, constant);
}

static void *threadgroup_variable(uint32_t id, size_t size, size_t align, uint32_t line)
{
    (void)align;
    assert_in_range(id, 0, VARIABLES - 1);
    assert_int_not_equal(line, 0);
    if (!here.memory[id]) {
        here.memory[id] = malloc(size);
        here.bytes[id] = size;
        memset(here.memory[id], 0xff, size);
    }
    assert_int_equal(here.bytes[id], size);
    return here.memory[id];
}

static const sm_lane *self(void)
{
    return here.lane;
}
static float jitter(float value)
{
    return value;
}

static void nobody(const void *address, size_t size, uint32_t kind, const void *pc)
{
    (void)address;
    (void)size;
    (void)kind;
    (void)pc;
}

static const sm_services services = {SM_ABI, barrier, meet, threadgroup_variable, self, jitter, nobody};

char *test_msl_text(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/msl/%s", SOFTMETAL_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is not there", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *text = calloc(1, (size_t)length + 1);
    assert_int_equal(fread(text, 1, (size_t)length, file), length);
    fclose(file);
    return text;
}

sm_msl_library *test_library(const char *text, const sm_msl_options *options)
{
    char *errors;
    const sm_msl_options plain = {0};
    sm_msl_library *library = sm_msl_library_create(text, options ? options : &plain, &errors);
    if (!library) fail_msg("%s", errors);
    assert_null(errors);
    return library;
}

sm_built test_build(sm_msl_library *library, const char *function, const sm_constant_value *values, size_t value_count)
{
    sm_built built;
    char *errors;
    if (!sm_msl_build(library, function, values, value_count, &built, &errors)) fail_msg("%s: %s", function, errors);
    assert_null(errors);
    assert_string_equal(built.kernel->name, function);
    return built;
}

void test_run(const sm_built *built, const sm_lane *lane)
{
    for (uint32_t i = 0; i < VARIABLES; i++) {
        free(here.memory[i]);
        here.memory[i] = NULL;
        here.bytes[i] = 0;
    }
    here.lane = lane;
    *built->services = &services;
    built->kernel->run(lane);
}

uint32_t test_threadgroup_variables(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < VARIABLES; i++) count += here.memory[i] != NULL;
    return count;
}

size_t test_threadgroup_bytes(void)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < VARIABLES; i++) bytes += here.bytes[i];
    return bytes;
}

const sm_argument *test_argument(const sm_kernel *kernel, const char *name)
{
    for (uint32_t i = 0; i < kernel->argument_count; i++) {
        if (strcmp(kernel->arguments[i].name, name) == 0) return &kernel->arguments[i];
    }
    fail_msg("%s has no argument '%s'", kernel->name, name);
    return NULL;
}
