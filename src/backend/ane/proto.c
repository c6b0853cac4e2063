#include "backend/ane/proto.h"

#include <string.h>

/* Kinds of fields, in the low bits of a tag. */
#define VARINT 0u
#define LENGTH 2u
#define VARINT_BYTES 10

void pv_proto_free(pv_proto *proto)
{
    pv_free(proto->allocator, proto->bytes);
    *proto = (pv_proto){.allocator = proto->allocator};
}

static size_t varint(uint64_t value, uint8_t out[VARINT_BYTES])
{
    size_t length = 0;
    while (value >= 0x80) out[length++] = (uint8_t)(value | 0x80), value >>= 7;
    out[length++] = (uint8_t)value;
    return length;
}

static void append(pv_proto *proto, const void *bytes, size_t length)
{
    if (!proto->failed && !pv_grow(proto->allocator, (void **)&proto->bytes, &proto->capacity, proto->length + length, 1))
        proto->failed = true;
    if (proto->failed || length == 0) return;
    memcpy(proto->bytes + proto->length, bytes, length);
    proto->length += length;
}

static void append_varint(pv_proto *proto, uint64_t value)
{
    uint8_t bytes[VARINT_BYTES];
    append(proto, bytes, varint(value, bytes));
}

static void append_tag(pv_proto *proto, uint32_t field, uint32_t kind)
{
    append_varint(proto, (uint64_t)field << 3 | kind);
}

void pv_proto_uint(pv_proto *proto, uint32_t field, uint64_t value)
{
    append_tag(proto, field, VARINT);
    append_varint(proto, value);
}

void pv_proto_bytes(pv_proto *proto, uint32_t field, const void *bytes, size_t length)
{
    append_tag(proto, field, LENGTH);
    append_varint(proto, length);
    append(proto, bytes, length);
}

void pv_proto_text(pv_proto *proto, uint32_t field, const char *text)
{
    pv_proto_bytes(proto, field, text, strlen(text));
}

void pv_proto_floats(pv_proto *proto, uint32_t field, const float *values, size_t count)
{
    pv_proto_bytes(proto, field, values, count * sizeof *values); /* little-endian, as every machine that this runs on */
}

void pv_proto_ints(pv_proto *proto, uint32_t field, const int32_t *values, size_t count)
{
    const size_t place = pv_proto_open(proto, field);
    for (size_t i = 0; i < count; i++) append_varint(proto, (uint64_t)(int64_t)values[i]); /* a negative one has ten bytes */
    pv_proto_close(proto, place);
}

size_t pv_proto_open(pv_proto *proto, uint32_t field)
{
    append_tag(proto, field, LENGTH);
    return proto->length;
}

/* The length goes before what it counts, which moves. */
void pv_proto_close(pv_proto *proto, size_t place)
{
    uint8_t prefix[VARINT_BYTES];
    if (proto->failed) return;
    const size_t length = proto->length - place, bytes = varint(length, prefix);
    append(proto, prefix, bytes);
    if (proto->failed) return;
    memmove(proto->bytes + place + bytes, proto->bytes + place, length);
    memcpy(proto->bytes + place, prefix, bytes);
}
