/* The device that a test runs on: the CPU, or what PENSIEVE_TEST_DEVICE names ("metal"), on the library PENSIEVE_METAL. */
#ifndef TEST_SUPPORT_DEVICE_H
#define TEST_SUPPORT_DEVICE_H

#include <stdlib.h>

/* NULL: the CPU. */
static inline const char *test_device(void) { return getenv("PENSIEVE_TEST_DEVICE"); }
static inline const char *test_metal_library(void) { return getenv("PENSIEVE_METAL"); }

#endif
