/* NSProcessInfo, NSBundle and NSDate, as far as a host of Metal asks them. */
#include "foundation/foundation.h"
#include "objc/runtime.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- NSProcessInfo */

typedef struct sm_version {
    NSInteger major, minor, patch;
} sm_version; /* NSOperatingSystemVersion */

#define SM_DEFAULT_MACOS 15

static _Atomic uint32_t macos_major = SM_DEFAULT_MACOS;

void sm_process_set_macos(uint32_t major)
{
    atomic_store(&macos_major, major > 0 ? major : SM_DEFAULT_MACOS);
}

static sm_version version(void)
{
    return (sm_version){atomic_load(&macos_major), 0, 0};
}

static sm_version operating_system_version(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return version();
}

static BOOL is_at_least(id self, SEL _cmd, sm_version wanted)
{
    (void)self, (void)_cmd;
    sm_version here = version();
    if (here.major != wanted.major) return here.major > wanted.major;
    if (here.minor != wanted.minor) return here.minor > wanted.minor;
    return here.patch >= wanted.patch;
}

static id operating_system_version_string(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return sm_autorelease(sm_string_createf("Version %d.0 (softmetal)", (int)version().major));
}

static uint64_t physical_memory(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static NSUInteger processor_count(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (NSUInteger)count : 1;
}

static int process_identifier(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return getpid();
}

static id executable(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    return sm_autorelease(sm_string_create(path));
}

static id process_name(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return sm_autorelease(sm_string_create(program_invocation_short_name));
}

static double system_uptime(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static NSInteger thermal_state(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return 0; /* nominal */
}

static BOOL no(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return false;
}

/* An object that is made once and never ends. */
static id only(Class class, _Atomic(id) *place)
{
    id object = atomic_load(place);
    if (object) return object;
    id fresh = sm_make_immortal(sm_new(class));
    if (!fresh || atomic_compare_exchange_strong(place, &object, fresh)) return fresh;
    free(fresh);
    return object;
}

static id process_info(id self, SEL _cmd)
{
    (void)_cmd;
    static _Atomic(id) the_process;
    return only((Class)self, &the_process);
}

static const sm_method process_methods[] = {
    SM_METHOD("operatingSystemVersion", "{?=qqq}@:", operating_system_version),
    SM_METHOD("isOperatingSystemAtLeastVersion:", "B@:{?=qqq}", is_at_least),
    SM_METHOD("operatingSystemVersionString", "@@:", operating_system_version_string),
    SM_METHOD("physicalMemory", "Q@:", physical_memory),
    SM_METHOD("processorCount", "Q@:", processor_count),
    SM_METHOD("activeProcessorCount", "Q@:", processor_count),
    SM_METHOD("processIdentifier", "i@:", process_identifier),
    SM_METHOD("processName", "@@:", process_name),
    SM_METHOD("systemUptime", "d@:", system_uptime),
    SM_METHOD("thermalState", "q@:", thermal_state),
    SM_METHOD("isLowPowerModeEnabled", "B@:", no),
    SM_METHOD("isMacCatalystApp", "B@:", no),
    SM_METHOD("isiOSAppOnMac", "B@:", no),
};

static const sm_method process_class_methods[] = {
    SM_METHOD("processInfo", "@@:", process_info),
};

static sm_class process_class = {
    .name = "NSProcessInfo",
    SM_METHODS(process_methods),
    SM_CLASS_METHODS(process_class_methods),
};
SM_REGISTER_AT_LOAD(process_class)

/* ---- NSBundle: a program that is not in one, as a command-line tool on a Mac */

static id main_bundle(id self, SEL _cmd)
{
    (void)_cmd;
    static _Atomic(id) the_bundle;
    return only((Class)self, &the_bundle);
}

static id executable_path(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return executable();
}

static id bundle_path(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    char folder[PATH_MAX];
    const char *path = sm_string_utf8(executable()), *slash = path ? strrchr(path, '/') : NULL;
    if (!slash) return NULL;
    size_t length = slash > path ? (size_t)(slash - path) : 1;
    memcpy(folder, path, length);
    folder[length] = '\0';
    return sm_autorelease(sm_string_create(folder));
}

static id nothing(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return NULL;
}

static id bundle_url(id self, SEL _cmd)
{
    return sm_autorelease(sm_url_create_path(sm_string_utf8(bundle_path(self, _cmd))));
}

static const sm_method bundle_methods[] = {
    SM_METHOD("executablePath", "@@:", executable_path),
    SM_METHOD("bundlePath", "@@:", bundle_path),
    SM_METHOD("resourcePath", "@@:", bundle_path),
    SM_METHOD("bundleURL", "@@:", bundle_url),
    SM_METHOD("resourceURL", "@@:", bundle_url),
    SM_METHOD("bundleIdentifier", "@@:", nothing),
    SM_METHOD("infoDictionary", "@@:", nothing),
    SM_METHOD("objectForInfoDictionaryKey:", "@@:@", nothing),
    SM_METHOD("pathForResource:ofType:", "@@:@@", nothing),
    SM_METHOD("URLForResource:withExtension:", "@@:@@", nothing),
};

static const sm_method bundle_class_methods[] = {
    SM_METHOD("mainBundle", "@@:", main_bundle),
};

static sm_class bundle_class = {
    .name = "NSBundle",
    SM_METHODS(bundle_methods),
    SM_CLASS_METHODS(bundle_class_methods),
};
SM_REGISTER_AT_LOAD(bundle_class)

/* ---- NSDate */

#define SM_REFERENCE_DATE 978307200.0 /* 2001-01-01, in Unix time */

typedef struct sm_date {
    sm_object object;
    double time; /* seconds of Unix time */
} sm_date;

static double unix_time(void)
{
    struct timespec time_now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &time_now);
    return (double)time_now.tv_sec + (double)time_now.tv_nsec * 1e-9;
}

static id date(id self, double time)
{
    id object = sm_new((Class)self);
    if (object) ((sm_date *)object)->time = time;
    return sm_autorelease(object);
}

static id date_now(id self, SEL _cmd)
{
    (void)_cmd;
    return date(self, unix_time());
}

static id date_from_now(id self, SEL _cmd, double seconds)
{
    (void)_cmd;
    return date(self, unix_time() + seconds);
}

static id date_from_1970(id self, SEL _cmd, double seconds)
{
    (void)_cmd;
    return date(self, seconds);
}

static id date_init(id self, SEL _cmd)
{
    (void)_cmd;
    ((sm_date *)self)->time = unix_time();
    return self;
}

static double since_1970(id self, SEL _cmd)
{
    (void)_cmd;
    return ((sm_date *)self)->time;
}

static double since_now(id self, SEL _cmd)
{
    return since_1970(self, _cmd) - unix_time();
}

static double since_reference(id self, SEL _cmd)
{
    return since_1970(self, _cmd) - SM_REFERENCE_DATE;
}

static double since_date(id self, SEL _cmd, id other)
{
    return since_1970(self, _cmd) - (other ? since_1970(other, _cmd) : 0);
}

static const sm_method date_methods[] = {
    SM_METHOD("init", "@@:", date_init),
    SM_METHOD("timeIntervalSince1970", "d@:", since_1970),
    SM_METHOD("timeIntervalSinceNow", "d@:", since_now),
    SM_METHOD("timeIntervalSinceReferenceDate", "d@:", since_reference),
    SM_METHOD("timeIntervalSinceDate:", "d@:@", since_date),
};

static const sm_method date_class_methods[] = {
    SM_METHOD("date", "@@:", date_now),
    SM_METHOD("dateWithTimeIntervalSinceNow:", "@@:d", date_from_now),
    SM_METHOD("dateWithTimeIntervalSince1970:", "@@:d", date_from_1970),
};

static sm_class date_class = {
    .name = "NSDate",
    SM_METHODS(date_methods),
    SM_CLASS_METHODS(date_class_methods),
    .size = sizeof(sm_date),
};
SM_REGISTER_AT_LOAD(date_class)
