/* From MSL text to objects that the executor runs.
 *
 * text → preprocessor (with empty metal_* headers) → tokens rewritten into C++17 over the shim → compiler → shared object →
 * table of kernels. Function constants become constexpr values: one object for each function and its values; a few functions
 * without constants share one. Objects are cached on disk by a hash of text, options, values, shim and compiler. Any thread.
 *
 * Environment: SOFTMETAL_CXX, the C++ compiler (a name or path; else g++, clang++-19, clang++, c++; on Arm clang++ first); SOFTMETAL_CLANG, that of
 * the strict check (else clang-19 or later); SOFTMETAL_CACHE, the cache's folder (else $XDG_CACHE_HOME/softmetal,
 * ~/.cache/softmetal); SOFTMETAL_CACHE_LIMIT in MiB (2048); SOFTMETAL_COMPILE_TIMEOUT in seconds (600); SOFTMETAL_INCLUDE,
 * folders for #include with colons between, which newLibraryWithSource: does not have: for scripts that compile the files of
 * others. */
#ifndef SOFTMETAL_MSL_MSL_H
#define SOFTMETAL_MSL_MSL_H

#include "executor/abi.h"
#include "softmetal.h"

typedef struct sm_macro {
    const char *name, *value;
} sm_macro;

typedef struct sm_msl_options {
    const sm_macro *macros; /* preprocessorMacros */
    size_t macro_count;
    bool fast_math;            /* mathMode fast: Metal's default */
    uint32_t language_version; /* major << 16 | minor; 0: the newest known, 3.2 */
    const char *name;          /* what errors call the text; NULL: "program_source" */
    softmetal_world world;     /* build, strict, jitter, what the family lacks */
} sm_msl_options;

typedef struct sm_constant_info {
    const char *name;
    uint32_t index;
    uint32_t type; /* MTLDataType */
    bool required; /* no function of this library asks is_function_constant_defined for it */
} sm_constant_info;

typedef struct sm_function_info {
    const char *name; /* host_name */
    uint32_t line;
    const sm_constant_info *constants; /* that it uses */
    size_t constant_count;
} sm_function_info;

typedef struct sm_constant_value {
    uint32_t index;
    const char *name; /* NULL: by index */
    uint32_t type;    /* MTLDataType */
    uint8_t bytes[16];
} sm_constant_value;

typedef struct sm_msl_library sm_msl_library;

/* Checks the text and lists its functions. On failure NULL, and *errors is a malloc'ed text like Apple's (NULL if
 * there is no memory for it): "program_source:3:7:
 * error: …", a line each, with the line of the text and its column. What is taken but may not mean what it seems to is a STRICT
 * report. */
sm_msl_library *sm_msl_library_create(const char *text, const sm_msl_options *options, char **errors);
void sm_msl_library_destroy(sm_msl_library *library);
size_t sm_msl_function_count(const sm_msl_library *library);
const sm_function_info *sm_msl_function(const sm_msl_library *library, size_t index);

typedef struct sm_built {
    const sm_kernel *kernel;
    const sm_services **services;
    void *object; /* dlopen handle; stays open */
    bool checked, from_cache;
} sm_built;

/* Builds (or finds) the object for one function with these constant values. False: *errors as above; a constant that is
 * required and absent is named. */
bool sm_msl_build(sm_msl_library *library, const char *function, const sm_constant_value *values, size_t value_count,
                  sm_built *built, char **errors);

/* The strict check alone: true if Apple's compiler would take the text as far as can be told. */
bool sm_msl_strict(const char *text, const sm_msl_options *options, char **errors);

/* Objects compiled and objects found in the cache, since the start. */
void sm_msl_counts(uint64_t *compiles, uint64_t *cache_hits);

#endif
