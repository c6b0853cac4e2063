/* Running a kernel as one thread, with a small stand-in for the executor. */
#ifndef SOFTMETAL_TESTS_SUPPORT_MSL_H
#define SOFTMETAL_TESTS_SUPPORT_MSL_H

#include "msl/msl.h"

/* The text of tests/msl/NAME. The caller frees it. Fails the test if it is not there. */
char *test_msl_text(const char *name);
/* A library that must compile. */
sm_msl_library *test_library(const char *text, const sm_msl_options *options);
/* A kernel that must build. */
sm_built test_build(sm_msl_library *library, const char *function, const sm_constant_value *values, size_t value_count);
/* Runs it once; missing fields of the lane are zero. Threadgroup variables live until the next run. */
void test_run(const sm_built *built, const sm_lane *lane);
/* Threadgroup variables asked for by the last run, and their bytes. */
uint32_t test_threadgroup_variables(void);
size_t test_threadgroup_bytes(void);
/* The argument of a kernel by name; fails the test if there is none. */
const sm_argument *test_argument(const sm_kernel *kernel, const char *name);

#endif
