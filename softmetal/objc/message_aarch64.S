/* Message sending on 64-bit Arm (AAPCS64). Arguments stay where they are: the implementation is jumped to.
 *
 * x0 receiver, x1 selector, x8 where a large struct goes. x9 to x17 are free to use. */
#if defined(__aarch64__)
#include "objc/layout.h"

    .hidden sm_messages
    .hidden sm_message_lookup
    .hidden sm_message_lookup_super
    .hidden sm_message_nil_struct
    .hidden sm_message_zero_struct
    .hidden sm_return_zero
    .hidden sm_return_zero_struct
    .hidden sm_return_zero_float

    .text

.macro FUNCTION name
    .globl \name
    .type \name, %function
    .p2align 5
\name:
    .cfi_startproc
.endm

.macro END name
    .cfi_endproc
    .size \name, . - \name
.endm

/* Without the large-system extension, which the first 64-bit processors lack. */
.macro COUNT
    adrp x9, sm_messages
    add x9, x9, :lo12:sm_messages
1:  ldxr x10, [x9]
    add x10, x10, #1
    stxr w11, x10, [x9]
    cbnz w11, 1b
.endm

.macro SAVE
    stp x29, x30, [sp, #-224]!
    .cfi_def_cfa_offset 224
    .cfi_offset 29, -224
    .cfi_offset 30, -216
    mov x29, sp
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    str x8, [sp, #80]
    stp q0, q1, [sp, #96]
    stp q2, q3, [sp, #128]
    stp q4, q5, [sp, #160]
    stp q6, q7, [sp, #192]
.endm

/* The implementation is in x17, through which an indirect tail call goes. */
.macro RESTORE
    mov x17, x0
    ldp x0, x1, [sp, #16]
    ldp x2, x3, [sp, #32]
    ldp x4, x5, [sp, #48]
    ldp x6, x7, [sp, #64]
    ldr x8, [sp, #80]
    ldp q0, q1, [sp, #96]
    ldp q2, q3, [sp, #128]
    ldp q4, q5, [sp, #160]
    ldp q6, q7, [sp, #192]
    ldp x29, x30, [sp], #224
    .cfi_restore 29
    .cfi_restore 30
    .cfi_def_cfa_offset 0
.endm

FUNCTION objc_msgSend
    COUNT
    cbz x0, 5f
    ldr w9, [x0, #SM_OBJECT_MAGIC]
    movz w10, #(SM_ALIVE & 0xffff)
    movk w10, #(SM_ALIVE >> 16), lsl #16
    cmp w9, w10
    b.ne 4f
    ldr x9, [x0]
    add x9, x9, #SM_CLASS_CACHE
    ldar x9, [x9]
    ldr x10, [x9, #SM_CACHE_MASK]
    and x10, x10, x1
    add x9, x9, x10
    add x9, x9, #SM_CACHE_BUCKETS
2:  ldar x10, [x9] /* before the implementation beside it */
    cmp x10, x1
    b.eq 3f
    cmp x10, #1
    b.eq 4f
    add x9, x9, #SM_BUCKET
    b 2b
3:  ldr x17, [x9, #8]
    br x17
4:  SAVE
    mov w2, #SM_SEND_PLAIN
    bl sm_message_lookup
    RESTORE
    br x17
5:  stp x29, x30, [sp, #-16]!
    .cfi_def_cfa_offset 16
    .cfi_offset 29, -16
    .cfi_offset 30, -8
    mov x0, x8
    bl sm_message_nil_struct
    ldp x29, x30, [sp], #16
    .cfi_restore 29
    .cfi_restore 30
    .cfi_def_cfa_offset 0
    b sm_return_zero
END objc_msgSend

FUNCTION objc_msgSendSuper
    COUNT
    SAVE
    mov w2, #SM_SEND_PLAIN
    bl sm_message_lookup_super
    RESTORE
    ldr x0, [x0]
    br x17
END objc_msgSendSuper

FUNCTION sm_return_zero
    mov x0, #0
    mov x1, #0
    movi v0.2d, #0
    movi v1.2d, #0
    movi v2.2d, #0
    movi v3.2d, #0
    ret
END sm_return_zero

FUNCTION sm_return_zero_float
    b sm_return_zero
END sm_return_zero_float

/* x8 is an address if some method of this name returns a large struct. */
FUNCTION sm_return_zero_struct
    stp x29, x30, [sp, #-16]!
    .cfi_def_cfa_offset 16
    .cfi_offset 29, -16
    .cfi_offset 30, -8
    mov x0, x8
    bl sm_message_zero_struct
    ldp x29, x30, [sp], #16
    .cfi_restore 29
    .cfi_restore 30
    .cfi_def_cfa_offset 0
    b sm_return_zero
END sm_return_zero_struct

#endif

    .section .note.GNU-stack, "", %progbits
