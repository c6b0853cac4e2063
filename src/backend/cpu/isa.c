#include "backend/cpu/isa.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

static bool always(void) { return true; }

#if defined(__x86_64__)
/* Leaf 1 of cpuid, register ecx; clang 14's own function does not know the name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

/* The compiler's function asks the operating system for the state of the registers as well. */
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__)
static bool has_dotprod(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#elif defined(__APPLE__)
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, NULL, 0) == 0 && value != 0;
#else
    return false;
#endif
}
#endif

/* PV_CPU_HAVE_… say what the build compiled: kernels.cmake. The fastest first. */
#define PV_ISA_LIST_GENERIC(X) X(generic, always)
#ifdef PV_CPU_HAVE_AVX512
#define PV_ISA_LIST_AVX512(X) X(avx512, has_avx512)
#else
#define PV_ISA_LIST_AVX512(X)
#endif
#ifdef PV_CPU_HAVE_AVX2
#define PV_ISA_LIST_AVX2(X) X(avx2, has_avx2)
#else
#define PV_ISA_LIST_AVX2(X)
#endif
#ifdef PV_CPU_HAVE_DOTPROD
#define PV_ISA_LIST_DOTPROD(X) X(dotprod, has_dotprod)
#else
#define PV_ISA_LIST_DOTPROD(X)
#endif
#ifdef PV_CPU_HAVE_NEON
#define PV_ISA_LIST_NEON(X) X(neon, always)
#else
#define PV_ISA_LIST_NEON(X)
#endif
#define PV_ISA_LIST(X)                                                                                                                       \
    PV_ISA_LIST_AVX512(X) PV_ISA_LIST_AVX2(X) PV_ISA_LIST_DOTPROD(X) PV_ISA_LIST_NEON(X) PV_ISA_LIST_GENERIC(X)

#define PV_ISA_EXTERN(name, present) extern const pv_cpu_kernels pv_cpu_kernels_##name;
PV_ISA_LIST(PV_ISA_EXTERN)

static const struct {
    const pv_cpu_kernels *kernels;
    bool (*present)(void);
} sets[] = {
#define PV_ISA_ROW(name, present) {&pv_cpu_kernels_##name, present},
    PV_ISA_LIST(PV_ISA_ROW)};

pv_status pv_cpu_find_kernels(const char *name, const pv_cpu_kernels **kernels, pv_error *error)
{
    char there[96] = "";
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (!sets[i].present()) continue;
        if (name == NULL || strcmp(name, sets[i].kernels->name) == 0) {
            *kernels = sets[i].kernels;
            return PV_OK;
        }
        const size_t used = strlen(there);
        snprintf(there + used, sizeof there - used, "%s%s", used > 0 ? ", " : "", sets[i].kernels->name);
    }
    return pv_fail_at(error, PV_NOT_FOUND, "cpu", PV_NO_OFFSET, "cpu kernels \"%s\" are not there; this build on this processor has %s", name,
                      there);
}
