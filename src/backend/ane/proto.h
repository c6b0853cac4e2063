/* Protocol-buffer messages, written front to back into memory. Fields that are their type's zero are for the caller to omit. */
#ifndef PV_ANE_PROTO_H
#define PV_ANE_PROTO_H

#include "base/alloc.h"
#include "base/error.h"

typedef struct pv_proto {
    const pv_allocator *allocator;
    uint8_t *bytes;
    size_t length, capacity;
    bool failed; /* memory ran out: what follows is dropped */
} pv_proto;

void pv_proto_free(pv_proto *proto);
void pv_proto_uint(pv_proto *proto, uint32_t field, uint64_t value);
void pv_proto_bytes(pv_proto *proto, uint32_t field, const void *bytes, size_t length);
void pv_proto_text(pv_proto *proto, uint32_t field, const char *text);
/* Repeated numbers, packed. */
void pv_proto_floats(pv_proto *proto, uint32_t field, const float *values, size_t count);
void pv_proto_ints(pv_proto *proto, uint32_t field, const int32_t *values, size_t count);
/* A message within: what is written between open and close. Opened last, closed first. */
size_t pv_proto_open(pv_proto *proto, uint32_t field);
void pv_proto_close(pv_proto *proto, size_t place);

#endif
