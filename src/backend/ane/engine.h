/* Who runs Core ML programs: Core ML itself (coreml.c), or a stand-in for tests. */
#ifndef PV_ANE_ENGINE_H
#define PV_ANE_ENGINE_H

#include "backend/ane/block.h"

/* f32 [rows, cols], rows one behind the other. */
typedef struct pv_ane_matrix {
    const char *name; /* of the program's input or output */
    float *elements;
    uint32_t rows, cols;
} pv_ane_matrix;

typedef struct pv_ane_engine {
    void *context;
    /* Compiles and loads a package, which may go afterwards. `linear` is what it does, for who cannot read it. Errors:
     * PV_PROGRAM. */
    pv_status (*load)(void *context, const char *package, const pv_op_linear *linear, void **program, pv_error *error);
    void (*unload)(void *context, void *program);
    /* Runs to its end. Errors: PV_DEVICE_TRANSIENT. */
    pv_status (*run)(void *context, void *program, const pv_ane_matrix *inputs, size_t input_count,
                     const pv_ane_matrix *outputs, size_t output_count, pv_error *error);
    void (*close)(void *context);
} pv_ane_engine;

/* Core ML, opened by name, if it and a Neural Engine are there. Errors: PV_NOT_FOUND (what is missing). */
pv_status pv_coreml_open(const pv_allocator *allocator, pv_ane_engine *engine, pv_error *error);

#endif
