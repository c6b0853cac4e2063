#include "backend/ane/mil.h"

#include <stdio.h>
#include <string.h>

#include "format/layout.h"

#define OPSET "CoreML6"
#define SPECIFICATION 7 /* macOS 13 */
#define WEIGHTS "@model_path/weights/weight.bin"

/* ---- The file of weights: a head, then for each tensor a record of 64 bytes and its elements, all at multiples of 64 ---- */

#define ALIGNMENT 64u
#define SENTINEL 0xdeadbeefu
#define FILE_VERSION 2u

typedef struct head {
    uint32_t tensors, version;
    uint64_t reserved[7];
} head;

typedef struct record {
    uint32_t sentinel, type; /* type: 1 f16, 2 f32 */
    uint64_t bytes, offset;  /* of the elements */
    uint64_t padding_bits, reserved[4];
} record;

static void write_weights(pv_mil *mil, const void *bytes, size_t length)
{
    if (mil->status == PV_OK) mil->status = pv_writer_write(&mil->weights, bytes, length, mil->error);
}

static void pad_weights(pv_mil *mil)
{
    static const uint8_t zeros[ALIGNMENT];
    if (mil->weights.written % ALIGNMENT != 0) write_weights(mil, zeros, ALIGNMENT - mil->weights.written % ALIGNMENT);
}

/* Begins a tensor; where its record stands is its name in the program. */
static uint64_t begin_tensor(pv_mil *mil, pv_mil_type type, uint64_t elements)
{
    pad_weights(mil);
    const uint64_t place = mil->weights.written;
    const record one = {.sentinel = SENTINEL,
                        .type = type == PV_MIL_F16 ? 1 : 2,
                        .bytes = elements * (type == PV_MIL_F16 ? 2 : 4),
                        .offset = place + sizeof one};
    write_weights(mil, &one, sizeof one);
    mil->tensors++;
    return place;
}

static void write_halves(pv_mil *mil, const float *elements, uint32_t count)
{
    uint16_t halves[256];
    for (uint32_t done = 0; done < count;) {
        uint32_t n = 0;
        for (; n < 256 && done < count; n++, done++) halves[n] = pv_f32_to_f16(elements[done]);
        write_weights(mil, halves, n * sizeof halves[0]);
    }
}

/* ---- Types, values, constants ---- */

static void put_value_type(pv_proto *proto, uint32_t field, const pv_mil_value *value)
{
    const size_t type = pv_proto_open(proto, field), tensor = pv_proto_open(proto, 1);
    pv_proto_uint(proto, 1, value->type);
    if (value->rank > 0) pv_proto_uint(proto, 2, value->rank);
    for (uint32_t i = 0; i < value->rank; i++) {
        const size_t dimension = pv_proto_open(proto, 3), constant = pv_proto_open(proto, 1);
        pv_proto_uint(proto, 1, value->shape[i]);
        pv_proto_close(proto, constant);
        pv_proto_close(proto, dimension);
    }
    pv_proto_close(proto, tensor);
    pv_proto_close(proto, type);
}

static const char *name_of(const pv_mil_value *value, char text[16])
{
    if (value->name[0] != 0) return value->name;
    snprintf(text, 16, "v%u", (unsigned)value->number);
    return text;
}

/* A name and a type: inputs of functions, outputs of operations. */
static void put_named(pv_proto *proto, uint32_t field, const pv_mil_value *value)
{
    char text[16];
    const size_t named = pv_proto_open(proto, field);
    pv_proto_text(proto, 1, name_of(value, text));
    put_value_type(proto, 2, value);
    pv_proto_close(proto, named);
}

static pv_mil_value new_value(pv_mil *mil, pv_mil_type type, uint32_t rank, uint32_t rows, uint32_t cols)
{
    return (pv_mil_value){
        .number = mil->values++, .type = type, .rank = rank, .shape = {rank == 2 ? rows : cols, rank == 2 ? cols : 0}};
}

/* Attribute `key` of the operation that is open: {key, {type, a tensor's immediate value}}; the caller writes field `kind` of
 * it. */
typedef struct attribute {
    size_t entry, value, immediate, tensor, kind;
} attribute;

static attribute open_attribute(pv_proto *proto, const char *key, const pv_mil_value *of, uint32_t kind)
{
    attribute a;
    a.entry = pv_proto_open(proto, 5);
    pv_proto_text(proto, 1, key);
    a.value = pv_proto_open(proto, 2);
    put_value_type(proto, 2, of);
    a.immediate = pv_proto_open(proto, 3);
    a.tensor = pv_proto_open(proto, 1);
    a.kind = pv_proto_open(proto, kind);
    return a;
}

static void close_attribute(pv_proto *proto, attribute a)
{
    pv_proto_close(proto, a.kind);
    pv_proto_close(proto, a.tensor);
    pv_proto_close(proto, a.immediate);
    pv_proto_close(proto, a.value);
    pv_proto_close(proto, a.entry);
}

/* Kinds of a tensor's immediate value. */
enum { FLOATS = 1, INTS = 2, BOOLS = 3, STRINGS = 4 };

/* Every operation has a name beside its result's. */
static void put_operation_name(pv_proto *proto, const pv_mil_value *result)
{
    char text[16];
    const pv_mil_value string = {.type = PV_MIL_STRING};
    const attribute a = open_attribute(proto, "name", &string, STRINGS);
    pv_proto_text(proto, 1, name_of(result, text));
    close_attribute(proto, a);
}

static size_t open_constant(pv_mil *mil, const pv_mil_value *value)
{
    const size_t operation = pv_proto_open(&mil->operations, 3);
    pv_proto_text(&mil->operations, 1, "const");
    put_named(&mil->operations, 3, value);
    return operation;
}

static void close_constant(pv_mil *mil, const pv_mil_value *value, size_t operation)
{
    put_operation_name(&mil->operations, value);
    pv_proto_close(&mil->operations, operation);
}

pv_mil_value pv_mil_text(pv_mil *mil, const char *text)
{
    const pv_mil_value value = new_value(mil, PV_MIL_STRING, 0, 0, 0);
    const size_t operation = open_constant(mil, &value);
    const attribute a = open_attribute(&mil->operations, "val", &value, STRINGS);
    pv_proto_text(&mil->operations, 1, text);
    close_attribute(&mil->operations, a);
    close_constant(mil, &value, operation);
    return value;
}

pv_mil_value pv_mil_bool(pv_mil *mil, bool given)
{
    const uint8_t byte = given;
    const pv_mil_value value = new_value(mil, PV_MIL_BOOL, 0, 0, 0);
    const size_t operation = open_constant(mil, &value);
    const attribute a = open_attribute(&mil->operations, "val", &value, BOOLS);
    pv_proto_bytes(&mil->operations, 1, &byte, 1); /* packed */
    close_attribute(&mil->operations, a);
    close_constant(mil, &value, operation);
    return value;
}

pv_mil_value pv_mil_float(pv_mil *mil, float given)
{
    const pv_mil_value value = new_value(mil, PV_MIL_F32, 0, 0, 0);
    const size_t operation = open_constant(mil, &value);
    const attribute a = open_attribute(&mil->operations, "val", &value, FLOATS);
    pv_proto_floats(&mil->operations, 1, &given, 1);
    close_attribute(&mil->operations, a);
    close_constant(mil, &value, operation);
    return value;
}

pv_mil_value pv_mil_ints(pv_mil *mil, const int32_t *given, uint32_t count)
{
    const pv_mil_value value = new_value(mil, PV_MIL_I32, 1, 0, count);
    const size_t operation = open_constant(mil, &value);
    const attribute a = open_attribute(&mil->operations, "val", &value, INTS);
    pv_proto_ints(&mil->operations, 1, given, count);
    close_attribute(&mil->operations, a);
    close_constant(mil, &value, operation);
    return value;
}

/* A constant whose elements stand in the file of weights. */
static void put_file_constant(pv_mil *mil, const pv_mil_value *value, uint64_t place)
{
    pv_proto *proto = &mil->operations;
    const size_t operation = open_constant(mil, value);
    const size_t entry = pv_proto_open(proto, 5);
    pv_proto_text(proto, 1, "val");
    const size_t held = pv_proto_open(proto, 2);
    put_value_type(proto, 2, value);
    const size_t file = pv_proto_open(proto, 5);
    pv_proto_text(proto, 1, WEIGHTS);
    pv_proto_uint(proto, 2, place);
    pv_proto_close(proto, file);
    pv_proto_close(proto, held);
    pv_proto_close(proto, entry);
    close_constant(mil, value, operation);
}

pv_mil_value pv_mil_matrix(pv_mil *mil, uint32_t rows, uint32_t cols, pv_mil_row *row, void *user)
{
    const pv_mil_value value = new_value(mil, PV_MIL_F16, 2, rows, cols);
    const uint64_t place = begin_tensor(mil, PV_MIL_F16, (uint64_t)rows * cols);
    float *elements = pv_alloc(mil->allocator, cols, sizeof *elements);
    if (elements == NULL && mil->status == PV_OK)
        mil->status = pv_fail_memory(mil->error, cols * sizeof *elements, "a row of weights");
    for (uint32_t r = 0; r < rows && mil->status == PV_OK; r++) {
        row(user, r, elements);
        write_halves(mil, elements, cols);
    }
    pv_free(mil->allocator, elements);
    put_file_constant(mil, &value, place);
    return value;
}

pv_mil_value pv_mil_vector(pv_mil *mil, pv_mil_type type, uint32_t cols, const float *elements)
{
    const pv_mil_value value = new_value(mil, type, 1, 0, cols);
    const uint64_t place = begin_tensor(mil, type, cols);
    if (type == PV_MIL_F16) {
        write_halves(mil, elements, cols);
    } else {
        write_weights(mil, elements, cols * sizeof *elements);
    }
    put_file_constant(mil, &value, place);
    return value;
}

/* ---- Operations ---- */

pv_mil_value pv_mil_apply(pv_mil *mil, const char *kind, const char *name, pv_mil_type type, uint32_t rows, uint32_t cols,
                          const pv_mil_argument *arguments, size_t count)
{
    pv_proto *proto = &mil->operations;
    pv_mil_value result = new_value(mil, type, 2, rows, cols);
    char text[16];
    if (name != NULL) snprintf(result.name, sizeof result.name, "%s", name);
    const size_t operation = pv_proto_open(proto, 3);
    pv_proto_text(proto, 1, kind);
    for (size_t i = 0; i < count; i++) {
        const size_t entry = pv_proto_open(proto, 2);
        pv_proto_text(proto, 1, arguments[i].parameter);
        const size_t argument = pv_proto_open(proto, 2), binding = pv_proto_open(proto, 1);
        pv_proto_text(proto, 1, name_of(&arguments[i].value, text));
        pv_proto_close(proto, binding);
        pv_proto_close(proto, argument);
        pv_proto_close(proto, entry);
    }
    put_named(proto, 3, &result);
    put_operation_name(proto, &result);
    pv_proto_close(proto, operation);
    return result;
}

/* ---- The whole ---- */

/* An input or output as the model's description has it: a "multi array" of f32. */
static void put_feature(pv_proto *proto, uint32_t field, const pv_mil_value *value)
{
    enum { MULTI_ARRAY = 5, FLOAT32 = 65568 };
    const int32_t shape[] = {(int32_t)value->shape[0], (int32_t)value->shape[1]};
    const size_t feature = pv_proto_open(proto, field);
    pv_proto_text(proto, 1, value->name);
    const size_t type = pv_proto_open(proto, 3), array = pv_proto_open(proto, MULTI_ARRAY);
    pv_proto_ints(proto, 1, shape, 2);
    pv_proto_uint(proto, 2, FLOAT32);
    pv_proto_close(proto, array);
    pv_proto_close(proto, type);
    pv_proto_close(proto, feature);
}

void pv_mil_create(pv_mil *mil, const pv_allocator *allocator, const char *weights_path, uint32_t tensors, pv_error *error)
{
    const pv_proto empty = {.allocator = allocator};
    const head first = {.tensors = tensors, .version = FILE_VERSION};
    *mil = (pv_mil){.allocator = allocator,
                    .inputs = empty,
                    .outputs = empty,
                    .function_inputs = empty,
                    .block_outputs = empty,
                    .operations = empty,
                    .promised = tensors,
                    .error = error};
    mil->status = pv_writer_open(allocator, weights_path, &mil->weights, error);
    mil->open = mil->status == PV_OK;
    write_weights(mil, &first, sizeof first);
}

pv_mil_value pv_mil_input(pv_mil *mil, const char *name, uint32_t rows, uint32_t cols)
{
    pv_mil_value value = new_value(mil, PV_MIL_F32, 2, rows, cols);
    snprintf(value.name, sizeof value.name, "%s", name);
    put_feature(&mil->inputs, 1, &value);
    put_named(&mil->function_inputs, 1, &value);
    return value;
}

void pv_mil_output(pv_mil *mil, const pv_mil_value *value)
{
    put_feature(&mil->outputs, 10, value);
    pv_proto_text(&mil->block_outputs, 2, value->name);
}

/* What was written before, as the next fields of the message that is open. */
static void put_all(pv_proto *proto, const pv_proto *part)
{
    if (proto->failed || part->length == 0) return;
    if (!pv_grow(proto->allocator, (void **)&proto->bytes, &proto->capacity, proto->length + part->length, 1)) {
        proto->failed = true;
        return;
    }
    memcpy(proto->bytes + proto->length, part->bytes, part->length);
    proto->length += part->length;
}

static void put_model(const pv_mil *mil, pv_proto *model)
{
    enum { DESCRIPTION = 2, ML_PROGRAM = 502 };
    pv_proto_uint(model, 1, SPECIFICATION);
    const size_t description = pv_proto_open(model, DESCRIPTION);
    put_all(model, &mil->inputs);
    put_all(model, &mil->outputs);
    pv_proto_close(model, description);
    const size_t program = pv_proto_open(model, ML_PROGRAM);
    pv_proto_uint(model, 1, 1); /* version */
    const size_t functions = pv_proto_open(model, 2);
    pv_proto_text(model, 1, "main");
    const size_t function = pv_proto_open(model, 2);
    put_all(model, &mil->function_inputs);
    pv_proto_text(model, 2, OPSET);
    const size_t specializations = pv_proto_open(model, 3);
    pv_proto_text(model, 1, OPSET);
    const size_t block = pv_proto_open(model, 2);
    put_all(model, &mil->block_outputs);
    put_all(model, &mil->operations);
    pv_proto_close(model, block);
    pv_proto_close(model, specializations);
    pv_proto_close(model, function);
    pv_proto_close(model, functions);
    pv_proto_close(model, program);
}

pv_status pv_mil_finish(pv_mil *mil, pv_proto *model)
{
    *model = (pv_proto){.allocator = mil->allocator};
    pv_proto *parts[] = {&mil->inputs, &mil->outputs, &mil->function_inputs, &mil->block_outputs, &mil->operations};
    pad_weights(mil);
    put_model(mil, model);
    bool failed = model->failed;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        failed = failed || parts[i]->failed;
        pv_proto_free(parts[i]);
    }
    if (mil->status == PV_OK && failed) mil->status = pv_fail_memory(mil->error, model->length, "a Core ML program");
    if (mil->status == PV_OK && mil->tensors != mil->promised) {
        mil->status = pv_fail_at(mil->error, PV_INTERNAL, "ane", PV_NO_OFFSET,
                                 "a Core ML program with %u tensors, %u were promised", mil->tensors, mil->promised);
    }
    if (mil->open && mil->status == PV_OK) {
        mil->status = pv_writer_commit(&mil->weights, mil->error);
    } else if (mil->open) {
        pv_writer_discard(&mil->weights);
    }
    mil->open = false;
    if (mil->status != PV_OK) pv_proto_free(model);
    return mil->status;
}
