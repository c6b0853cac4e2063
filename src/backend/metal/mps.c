#include "backend/metal/mps.h"

#include <dlfcn.h>
#include <string.h>

#include "backend/metal/check.h"
#include "backend/metal/mps_messages.h"

#define FRAMEWORK "/System/Library/Frameworks/MetalPerformanceShaders.framework/MetalPerformanceShaders"
#define MPS_FLOAT32 0x10000020u /* MPSDataType: MPSDataTypeFloatBit | 32 */
#define MPS_FLOAT16 0x10000010u
#define ALIGNMENT 16u /* of what begins a matrix: more than MPS is known to ask */

struct pv_metal_mps {
    void *library;
    struct {
        pv_id descriptor, matrix, multiplication;
    } classes;
    struct {
#define SELECTOR(result, name, ...) pv_sel name;
        PV_MPS_GETTERS(SELECTOR)
        PV_MPS_CALLS(SELECTOR)
        PV_MPS_CLASS_GETTERS(SELECTOR)
        PV_MPS_CLASS_CALLS(SELECTOR)
#undef SELECTOR
    } selectors;
};

/* ---- Typed messages ---- */

#define GETTER(result, name, class, selector, encoding)                                                        \
    static inline result send_##name(const pv_objc *objc, const pv_metal_mps *mps, pv_id self)                 \
    {                                                                                                          \
        return ((result(*)(pv_id, pv_sel))objc->send)(self, mps->selectors.name);                              \
    }
PV_MPS_GETTERS(GETTER)
PV_MPS_CLASS_GETTERS(GETTER)
#undef GETTER
#define PARAMETERS(...) (const pv_objc *objc, const pv_metal_mps *mps, pv_id self, __VA_ARGS__)
#define SIGNATURE(...) (pv_id, pv_sel, __VA_ARGS__)
#define PASSED(...) __VA_ARGS__
#define CALL(result, name, class, selector, encoding, parameters, passed)                                      \
    static inline result send_##name PARAMETERS parameters                                                     \
    {                                                                                                          \
        return ((result(*) SIGNATURE parameters)objc->send)(self, mps->selectors.name, PASSED passed);         \
    }
PV_MPS_CALLS(CALL)
PV_MPS_CLASS_CALLS(CALL)
#undef CALL

/* ---- Opening ---- */

static void *find_function(const pv_objc *objc, const char *name)
{
    void *found = NULL;
    for (size_t i = 0; i < sizeof objc->libraries / sizeof objc->libraries[0] && found == NULL; i++) {
        if (objc->libraries[i] != NULL) found = dlsym(objc->libraries[i], name);
    }
    return found;
}

/* Classes and selectors; false if a class is missing, or MPS does not do with this device. */
static bool look_up(const pv_metal_device *device, pv_metal_mps *mps)
{
    pv_id (*get_class)(const char *) = NULL;
    pv_sel (*name_selector)(const char *) = NULL;
    bool (*supports)(pv_id) = NULL;
    void *found[3] = {find_function(&device->objc, "objc_getClass"), find_function(&device->objc, "sel_registerName"),
                      mps->library != NULL ? dlsym(mps->library, "MPSSupportsMTLDevice") : NULL};
    if (found[0] == NULL || found[1] == NULL || found[2] == NULL) return false;
    memcpy(&get_class, &found[0], sizeof found[0]);
    memcpy(&name_selector, &found[1], sizeof found[1]);
    memcpy(&supports, &found[2], sizeof found[2]);
    mps->classes.descriptor = get_class("MPSMatrixDescriptor");
    mps->classes.matrix = get_class("MPSMatrix");
    mps->classes.multiplication = get_class("MPSMatrixMultiplication");
#define SELECTOR(result, name, class, selector, ...) mps->selectors.name = name_selector(selector);
    PV_MPS_GETTERS(SELECTOR)
    PV_MPS_CALLS(SELECTOR)
    PV_MPS_CLASS_GETTERS(SELECTOR)
    PV_MPS_CLASS_CALLS(SELECTOR)
#undef SELECTOR
    return mps->classes.descriptor != NULL && mps->classes.matrix != NULL && mps->classes.multiplication != NULL &&
           supports(device->device);
}

pv_metal_mps *pv_metal_mps_open(const pv_metal_device *device)
{
    if (device->environment->metal_library != NULL)
        return NULL; /* a stand-in has none, and Apple's must not meet its objects */
    pv_metal_mps *mps = pv_calloc(device->allocator, 1, sizeof *mps);
    if (mps == NULL) return NULL;
    mps->library = dlopen(FRAMEWORK, RTLD_NOW | RTLD_LOCAL);
    if (mps->library != NULL && look_up(device, mps)) return mps;
    pv_metal_mps_close(device, mps);
    return NULL;
}

void pv_metal_mps_close(const pv_metal_device *device, pv_metal_mps *mps)
{
    if (mps == NULL) return;
    if (mps->library != NULL) dlclose(mps->library);
    pv_free(device->allocator, mps);
}

/* ---- What it can do ---- */

static bool dense(const pv_tensor *weight)
{
    return pv_metal_canonical(weight) && (weight->layout == PV_LAYOUT_F32 || weight->layout == PV_LAYOUT_F16);
}

static bool same_place(const pv_tensor *a, const pv_tensor *b)
{
    return a->buffer == b->buffer && a->offset == b->offset && a->scratch == b->scratch && a->row_bytes == b->row_bytes;
}

bool pv_metal_mps_wants(const pv_metal_device *device, const pv_op_linear *linear)
{
    if (device->mps == NULL || linear->x.rows < device->tuning.mps_rows || linear->x.extent != PV_EXTENT_ROWS) return false;
    /* what is added to must be where the sum goes */
    if (pv_tensor_present(&linear->residual) &&
        (linear->part_count > 1 || !same_place(&linear->residual, &linear->parts[0].out)))
        return false;
    for (uint32_t p = 0; p < linear->part_count; p++) {
        const pv_linear_part *part = &linear->parts[p];
        if (!dense(&part->weight) || part->weight.cols != linear->x.cols || pv_tensor_present(&part->bias)) return false;
        if (part->weight.offset % ALIGNMENT != 0 || part->weight.row_bytes % ALIGNMENT != 0) return false;
    }
    return true;
}

const char *pv_metal_mps_declines(const pv_op_linear *linear)
{
    if (pv_tensor_present(&linear->norm)) return "a norm in a product that MPS does";
    if (linear->glu != PV_ACTIVATION_NONE) return "a glu in a product that MPS does";
    if (linear->part_count > 1) return "several parts in a product that MPS does";
    return NULL;
}

/* ---- Encoding ---- */

pv_metal_product pv_metal_mps_product(const pv_op_linear *linear)
{
    const pv_linear_part *part = &linear->parts[0];
    return (pv_metal_product){
        .x = pv_metal_buffer_of(linear->x.buffer),
        .weight = pv_metal_buffer_of(part->weight.buffer),
        .out = pv_metal_buffer_of(part->out.buffer),
        .x_offset = linear->x.offset,
        .weight_offset = part->weight.offset,
        .out_offset = part->out.offset,
        .x_row_bytes = linear->x.row_bytes,
        .weight_row_bytes = part->weight.row_bytes,
        .out_row_bytes = part->out.row_bytes,
        .cols = linear->x.cols,
        .out_cols = part->weight.rows,
        .halves = part->weight.layout == PV_LAYOUT_F16,
        .adds = pv_tensor_present(&linear->residual),
    };
}

static pv_id matrix_of(const pv_metal_device *device, pv_id buffer, uint64_t offset, uint64_t rows, uint64_t cols,
                       uint64_t row_bytes, uint32_t type)
{
    const pv_metal_mps *mps = device->mps;
    const pv_id descriptor = send_descriptor(&device->objc, mps, mps->classes.descriptor, rows, cols, row_bytes, type);
    return send_matrix(&device->objc, mps, send_alloc(&device->objc, mps, mps->classes.matrix), buffer, offset, descriptor);
}

pv_id pv_metal_mps_command_buffer(const pv_metal_device *device)
{
    return send_command_buffer(&device->objc, device->mps, device->queue);
}

/* A product's objects are made for each step: what they cost the host is part of what tuning measures. */
bool pv_metal_mps_encode(const pv_metal_device *device, pv_id command_buffer, const pv_metal_product *product, uint32_t rows)
{
    const pv_objc *objc = &device->objc;
    const pv_metal_mps *mps = device->mps;
    const pv_id matrices[3] = {
        matrix_of(device, product->x, product->x_offset, rows, product->cols, product->x_row_bytes, MPS_FLOAT32),
        matrix_of(device, product->weight, product->weight_offset, product->out_cols, product->cols, product->weight_row_bytes,
                  product->halves ? MPS_FLOAT16 : MPS_FLOAT32),
        matrix_of(device, product->out, product->out_offset, rows, product->out_cols, product->out_row_bytes, MPS_FLOAT32),
    };
    const pv_id fresh = send_alloc(objc, mps, mps->classes.multiplication);
    const pv_id kernel = send_multiplication(objc, mps, fresh, device->device, false, true, rows, product->out_cols,
                                             product->cols, 1.0, product->adds ? 1.0 : 0.0);
    const bool whole = matrices[0] != NULL && matrices[1] != NULL && matrices[2] != NULL && kernel != NULL;
    if (whole) send_encode(objc, mps, kernel, command_buffer, matrices[0], matrices[1], matrices[2]);
    if (kernel != NULL) objc->release(kernel);
    for (int i = 0; i < 3; i++) {
        if (matrices[i] != NULL) objc->release(matrices[i]);
    }
    return whole;
}
