/* Pipelines: a kernel of the embedded MSL with its function constants. Compiled when first asked for, kept while the device is
 * open, and on disk in a binary archive where there is a cache folder. */
#ifndef PV_METAL_PROGRAM_H
#define PV_METAL_PROGRAM_H

#include "backend/metal/metal.h"

#define PV_METAL_CONSTANTS 12 /* function constants of a kernel, all of type uint, with the indices 0, 1 … */

typedef struct pv_metal_kernel {
    const char *source;   /* "linear": a file of kernels/ without its ending */
    const char *function; /* "linear_rows" */
    uint32_t constants[PV_METAL_CONSTANTS];
    uint32_t constant_count;
} pv_metal_kernel;

typedef struct pv_metal_pipeline {
    pv_id state;
    uint32_t max_threads;
    pv_metal_kernel kernel;
} pv_metal_pipeline;

/* An archive in the cache folder that cannot be read is made anew; the log is told. */
pv_status pv_metal_programs_create(pv_metal_device *device, pv_metal_programs **programs, pv_error *error);
/* Writes what the archive lacks. */
void pv_metal_programs_destroy(pv_metal_device *device, pv_metal_programs *programs);
/* Lives as long as the device. Errors: PV_PROGRAM (the compiler's message, with file and line), PV_OUT_OF_MEMORY. */
pv_status pv_metal_pipeline_get(pv_metal_device *device, const pv_metal_kernel *kernel, const pv_metal_pipeline **pipeline,
                                pv_error *error);

#define PV_METAL_PATH_BYTES 2048
/* A file of the cache folder, of this device and these kernels: false if its name is too long. */
bool pv_metal_cache_path(const pv_metal_device *device, const char *ending, char path[PV_METAL_PATH_BYTES]);
/* The folders of a file. The path is as it was afterwards. */
void pv_metal_make_folders(char *path);

/* The embedded sources, made by the build: name and text; a NULL name ends them. Every program is "common", then "layouts",
 * then its own. */
typedef struct pv_metal_source {
    const char *name;
    const char *text;
} pv_metal_source;
extern const pv_metal_source pv_metal_sources[];

#endif
