/* A loaded model: its description, its text side, and its place on a device. */
#ifndef PV_MODEL_MODEL_H
#define PV_MODEL_MODEL_H

#include "model/placement.h"
#include "runtime/runtime.h"
#include "text/template.h"
#include "text/tokenizer.h"

/* Constant after loading, as any thread may look at it, but for `device`, `plain_programs` and `placement`: these belong to the engine. */
struct pv_model {
    pv_runtime *runtime;
    const pv_allocator *allocator;
    pv_source *source;   /* kept open: a lost device is filled from it again */
    pv_decoder decoder;
    pv_capacity capacity;
    pv_budget budget;
    bool allow_non_finite, plain_programs, text_only;
    _Atomic(const pv_runtime_device *) device;
    pv_placement *placement;
    uint64_t weight_bytes, parameters;
    pv_tokenizer *tokenizer;     /* NULL: the files have none; ids still run */
    pv_template *template;       /* NULL: the model has none, or template_error tells why it does not compile */
    pv_error template_error;
    int32_t ends[PV_MAX_END_TOKENS * 2];
    size_t end_count;
    char name[128];
    atomic_bool has_engine;
};

/* Places the model anew: on `device`, with the plainest programs if asked. The old placement is destroyed first.
 * On failure the model has no placement. Errors: those of pv_placement_create, PV_IO (the files are not what was loaded). */
pv_status pv_model_replace(pv_model *model, const pv_runtime_device *device, bool plain, pv_error *error);

/* Finds and compiles the model's chat template. A model without a usable one loads all the same and is refused when it is asked to
 * chat. Errors: PV_BAD_FILE, PV_OUT_OF_MEMORY. */
pv_status pv_chat_load(pv_model *model, pv_error *error);

#endif
