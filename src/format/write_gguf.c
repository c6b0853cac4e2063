/* GGUF v3: what stands before the tensors' data. */
#include <string.h>

#include "format/source_internal.h"
#include "format/write_internal.h"

#define ALIGNMENT 32

static void add_number(pv_bytes *out, uint64_t value, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++) little[i] = (uint8_t)(value >> 8 * i);
    pv_bytes_add(out, little, bytes);
}

static void add_string(pv_bytes *out, const char *text)
{
    size_t length = strlen(text);
    add_number(out, length, 8);
    pv_bytes_add(out, text, length);
}

/* Element i of the value's data. */
static void add_element(pv_bytes *out, pv_meta_type type, const void *data, uint64_t i)
{
    uint32_t bits;
    if (type == PV_META_STRING) {
        add_string(out, ((const char *const *)data)[i]);
    } else if (type == PV_META_BOOL) {
        add_number(out, ((const uint8_t *)data)[i], 1);
    } else {
        memcpy(&bits, (const uint8_t *)data + i * sizeof bits, sizeof bits);
        add_number(out, bits, sizeof bits);
    }
}

static void add_meta(pv_bytes *out, const char *key, const pv_value *value)
{
    add_string(out, key);
    add_number(out, value->type, 4);
    if (value->type == PV_META_ARRAY) {
        add_number(out, value->element, 4);
        add_number(out, value->count, 8);
    }
    for (uint64_t i = 0; i < value->count; i++) add_element(out, value->element, value->data, i);
}

static void add_header(pv_bytes *out, const pv_bytes *metas, size_t meta_count, const pv_written_tensor *tensors,
                       size_t tensor_count, size_t padding)
{
    (void)padding; /* the format has its own */
    static const char zeros[ALIGNMENT];
    uint64_t offset = 0;
    pv_bytes_add(out, "GGUF", 4);
    add_number(out, 3, 4);
    add_number(out, tensor_count, 8);
    add_number(out, meta_count, 8);
    pv_bytes_add(out, metas->data, metas->length);
    for (size_t i = 0; i < tensor_count; i++) {
        const pv_written_tensor *tensor = &tensors[i];
        add_string(out, tensor->name);
        add_number(out, tensor->dims, 4);
        for (uint32_t d = tensor->dims; d-- > 0;) add_number(out, tensor->dim[d], 8); /* the fastest varying first */
        add_number(out, pv_layout_get(tensor->layout)->gguf_type, 4);
        add_number(out, offset, 8);
        offset += (tensor->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    pv_bytes_add(out, zeros, (ALIGNMENT - out->length % ALIGNMENT) % ALIGNMENT);
}

static bool knows(pv_layout layout)
{
    return layout < PV_LAYOUT_COUNT && pv_layout_get(layout)->gguf_type != PV_NO_GGUF_TYPE;
}

static bool takes(const pv_value *value)
{
    return value->count <= PV_MAX_ELEMENTS;
}

const pv_write_format pv_write_gguf = {"GGUF", PV_MAX_TENSOR_NAME_GGUF, ALIGNMENT, knows, takes, add_meta, add_header};
