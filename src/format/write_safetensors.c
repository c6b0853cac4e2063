/* SafeTensors: what stands before the tensors' data. */
#include <inttypes.h>
#include <string.h>

#include "format/source_internal.h"
#include "format/write_internal.h"

static void add_string(pv_bytes *out, const char *text)
{
    pv_bytes_add(out, "\"", 1);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            pv_bytes_format(out, "\\%c", *text);
        else if ((uint8_t)*text < 0x20)
            pv_bytes_format(out, "\\u%04x", *text);
        else
            pv_bytes_add(out, text, 1);
    }
    pv_bytes_add(out, "\"", 1);
}

static void add_meta(pv_bytes *out, const char *key, const pv_value *value)
{
    if (out->length > 0) pv_bytes_add(out, ",", 1);
    add_string(out, key);
    pv_bytes_add(out, ":", 1);
    add_string(out, *(const char *const *)value->data);
}

static void add_tensor(pv_bytes *out, const pv_written_tensor *tensor, uint64_t start)
{
    add_string(out, tensor->name);
    pv_bytes_format(out, ":{\"dtype\":\"%s\",\"shape\":[", tensor->dtype);
    for (uint32_t d = 0; d < tensor->dims; d++) pv_bytes_format(out, "%s%" PRIu64, d ? "," : "", tensor->dim[d]);
    pv_bytes_format(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", start, start + tensor->bytes);
}

static void add_header(pv_bytes *out, const pv_bytes *metas, size_t meta_count, const pv_written_tensor *tensors,
                       size_t tensor_count, size_t padding)
{
    uint64_t offset = 0;
    pv_bytes_add(out, "\0\0\0\0\0\0\0\0{", 9);
    if (meta_count > 0) {
        pv_bytes_format(out, "\"__metadata__\":{");
        pv_bytes_add(out, metas->data, metas->length);
        pv_bytes_add(out, "}", 1);
    }
    for (size_t i = 0; i < tensor_count; i++) {
        if (i > 0 || meta_count > 0) pv_bytes_add(out, ",", 1);
        add_tensor(out, &tensors[i], offset);
        offset += tensors[i].bytes;
    }
    pv_bytes_add(out, "}", 1);
    while (!out->failed && out->length % padding != 0) pv_bytes_add(out, " ", 1);
    for (size_t i = 0; i < 8 && !out->failed; i++) out->data[i] = (char)((uint64_t)(out->length - 8) >> 8 * i);
}

static bool knows(pv_layout layout)
{
    return layout == PV_LAYOUT_F32 || layout == PV_LAYOUT_F16 || layout == PV_LAYOUT_BF16;
}

static bool takes(const pv_value *value)
{
    return value->type == PV_META_STRING;
}

const pv_write_format pv_write_safetensors = {"SafeTensors", PV_MAX_NAME, 1, knows, takes, add_meta, add_header};
