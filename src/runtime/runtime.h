/* The runtime: the caller's environment and the devices found in it. */
#ifndef PV_RUNTIME_RUNTIME_H
#define PV_RUNTIME_RUNTIME_H

#include "backend/backend.h"

#define PV_MAX_BACKENDS 4
#define PV_MAX_DEVICES 16

typedef struct pv_runtime_device {
    const pv_backend *backend;
    pv_device_description description;
} pv_runtime_device;

struct pv_runtime {
    pv_allocator allocator;
    pv_environment environment;
    char kernels[32];
    char *metal_library, *cache, *capture; /* copies of what the options named, or NULL */
    pv_runtime_device devices[PV_MAX_DEVICES]; /* in order of preference for "auto" */
    size_t device_count;
};

/* As pv_runtime_create, with these backends in order of preference instead of the built-in ones. */
pv_status pv_runtime_create_with(const pv_runtime_options *options, const pv_backend *const *backends, size_t count,
                                 pv_runtime **runtime, pv_error *error);
/* The device with this id; NULL or "auto" takes the first that is available. Errors: PV_NOT_FOUND (lists what there is). */
pv_status pv_runtime_find_device(const pv_runtime *runtime, const char *id, const pv_runtime_device **device, pv_error *error);
/* Tells who listens of something that began then and ends now. */
void pv_runtime_timing(const pv_runtime *runtime, const char *track, const char *name, double begin, uint32_t rows);
void pv_runtime_log(const pv_runtime *runtime, pv_log_level level, const char *format, ...) PV_PRINTF(3, 4);

#endif
