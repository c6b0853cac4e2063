/* A Core ML model of the kind "ML Program", written from C: Apple's Model.proto and MIL.proto, and the file of weights beside
 * them. A program has one function, of operations over matrices; it is written in one pass, weights straight to their file.
 *
 *   pv_mil_create(...); x = pv_mil_input(...); w = pv_mil_matrix(...); y = pv_mil_apply(...); pv_mil_output(...);
 * pv_mil_finish(...)
 *
 * Failures are kept until finish. What the operations mean is Core ML's business: "CoreML6" (macOS 13) names them. */
#ifndef PV_ANE_MIL_H
#define PV_ANE_MIL_H

#include "backend/ane/proto.h"
#include "base/file.h"

/* Numbers of MIL.proto's DataType. */
typedef enum pv_mil_type { PV_MIL_BOOL = 1, PV_MIL_STRING = 2, PV_MIL_F16 = 10, PV_MIL_F32 = 11, PV_MIL_I32 = 23 } pv_mil_type;

typedef struct pv_mil_value {
    uint32_t number; /* its name is v<number>, but for inputs and outputs */
    char name[16];   /* of those: "x0" */
    pv_mil_type type;
    uint32_t rank, shape[2];
} pv_mil_value;

/* A value by the name that the operation knows it by. */
typedef struct pv_mil_argument {
    const char *parameter;
    pv_mil_value value;
} pv_mil_argument;

/* Gives row `row` of a matrix as f32. */
typedef void pv_mil_row(void *user, uint32_t row, float *out);

typedef struct pv_mil {
    const pv_allocator *allocator;
    pv_proto inputs, outputs; /* of the description; inputs of the function as well */
    pv_proto function_inputs, block_outputs, operations;
    pv_writer weights;
    bool open; /* the file of weights */
    uint32_t tensors, promised;
    uint32_t values;
    pv_status status;
    pv_error *error;
} pv_mil;

/* Begins a program whose weights, `tensors` in number, go to a file. Errors come from finish. */
void pv_mil_create(pv_mil *mil, const pv_allocator *allocator, const char *weights_path, uint32_t tensors, pv_error *error);
/* f32 [rows, cols], given at each run. */
pv_mil_value pv_mil_input(pv_mil *mil, const char *name, uint32_t rows, uint32_t cols);
/* A matrix of weights, kept in f16; a vector of weights, in f16 or f32. */
pv_mil_value pv_mil_matrix(pv_mil *mil, uint32_t rows, uint32_t cols, pv_mil_row *row, void *user);
pv_mil_value pv_mil_vector(pv_mil *mil, pv_mil_type type, uint32_t cols, const float *elements);
/* Small constants, in the program itself. */
pv_mil_value pv_mil_text(pv_mil *mil, const char *text);
pv_mil_value pv_mil_bool(pv_mil *mil, bool value);
pv_mil_value pv_mil_float(pv_mil *mil, float value);
pv_mil_value pv_mil_ints(pv_mil *mil, const int32_t *values, uint32_t count);
/* The result, of `type` and [rows, cols], of an operation. With a name it can be an output. */
pv_mil_value pv_mil_apply(pv_mil *mil, const char *operation, const char *name, pv_mil_type type, uint32_t rows, uint32_t cols,
                          const pv_mil_argument *arguments, size_t count);
/* What a run gives: an f32 value that has a name. */
void pv_mil_output(pv_mil *mil, const pv_mil_value *value);
/* The model's message in `model` (empty before), and the file of weights whole; after a failure neither. Ends the program
 * either way. Errors: PV_OUT_OF_MEMORY, PV_IO (the file of weights), PV_INTERNAL (not as many tensors as promised). */
pv_status pv_mil_finish(pv_mil *mil, pv_proto *model);

#endif
