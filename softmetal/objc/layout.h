/* What the assembly of message sending knows of the C structs; asserted in cache.c. The assembler reads it too. */
#ifndef SOFTMETAL_OBJC_LAYOUT_H
#define SOFTMETAL_OBJC_LAYOUT_H

#define SM_ALIVE 0x4c4d5331 /* magic of objects and classes */
#define SM_ENDED 0x444d5330

#define SM_OBJECT_MAGIC 12
#define SM_CLASS_CACHE 88
#define SM_CLASS_STRUCT_CACHE 96

#define SM_CACHE_MASK 0     /* of a selector's address, which gives the bucket's offset */
#define SM_CACHE_BUCKETS 16
#define SM_BUCKET 16        /* selector, implementation */

/* How a message was sent. */
#define SM_SEND_PLAIN 0
#define SM_SEND_STRUCT 1    /* objc_msgSend_stret: the result goes through a pointer, x86-64 only */
#define SM_SEND_FLOAT 2     /* objc_msgSend_fpret: the result is a long double, x86-64 only */

#endif
