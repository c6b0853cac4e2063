/* Message sending on x86-64 (System V). Arguments stay where they are: the implementation is jumped to.
 *
 * objc_msgSend:        rdi receiver, rsi selector
 * objc_msgSend_stret:  rdi where the result goes, rsi receiver, rdx selector
 * r10, r11 and the flags are free to use; rax holds the number of vector arguments of a variadic call. */
#if defined(__x86_64__)
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
    .type \name, @function
    .p2align 5
\name:
    .cfi_startproc
.endm

.macro END name
    .cfi_endproc
    .size \name, . - \name
.endm

/* Jumps to the implementation if the class's cache has it, to the local label `slow` otherwise. */
.macro FROM_CACHE receiver, selector, cache, slow
    lock incq sm_messages(%rip)
    cmpl $SM_ALIVE, SM_OBJECT_MAGIC(\receiver)
    jne \slow
    movq (\receiver), %r11
    movq \cache(%r11), %r11
    movq \selector, %r10
    andq SM_CACHE_MASK(%r11), %r10
    leaq SM_CACHE_BUCKETS(%r11,%r10), %r11
1:  cmpq \selector, (%r11)
    je 2f
    cmpq $1, (%r11)
    je \slow
    addq $SM_BUCKET, %r11
    jmp 1b
2:  jmp *8(%r11)
.endm

/* Everything that can hold an argument, and an aligned stack. */
.macro SAVE
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    subq $192, %rsp
    movdqu %xmm0, 0(%rsp)
    movdqu %xmm1, 16(%rsp)
    movdqu %xmm2, 32(%rsp)
    movdqu %xmm3, 48(%rsp)
    movdqu %xmm4, 64(%rsp)
    movdqu %xmm5, 80(%rsp)
    movdqu %xmm6, 96(%rsp)
    movdqu %xmm7, 112(%rsp)
    movq %rdi, 128(%rsp)
    movq %rsi, 136(%rsp)
    movq %rdx, 144(%rsp)
    movq %rcx, 152(%rsp)
    movq %r8, 160(%rsp)
    movq %r9, 168(%rsp)
    movq %rax, 176(%rsp)
.endm

.macro RESTORE
    movdqu 0(%rsp), %xmm0
    movdqu 16(%rsp), %xmm1
    movdqu 32(%rsp), %xmm2
    movdqu 48(%rsp), %xmm3
    movdqu 64(%rsp), %xmm4
    movdqu 80(%rsp), %xmm5
    movdqu 96(%rsp), %xmm6
    movdqu 112(%rsp), %xmm7
    movq 128(%rsp), %rdi
    movq 136(%rsp), %rsi
    movq 144(%rsp), %rdx
    movq 152(%rsp), %rcx
    movq 160(%rsp), %r8
    movq 168(%rsp), %r9
    movq 176(%rsp), %rax
    leave
    .cfi_def_cfa %rsp, 8
    .cfi_restore %rbp
.endm

/* Asks `lookup` and jumps to what it says. Receiver and selector are in rdi and rsi, or one further behind a result's place. */
.macro ASK lookup, send
    SAVE
.if \send == SM_SEND_STRUCT
    movq %rsi, %rdi
    movq %rdx, %rsi
.endif
    movl $\send, %edx
    call \lookup
    movq %rax, %r11
    RESTORE
    jmp *%r11
.endm

FUNCTION objc_msgSend
    testq %rdi, %rdi
    jz 4f
    FROM_CACHE %rdi, %rsi, SM_CLASS_CACHE, 3f
3:  ASK sm_message_lookup, SM_SEND_PLAIN
4:  lock incq sm_messages(%rip)
    jmp sm_return_zero
END objc_msgSend

FUNCTION objc_msgSend_fpret
    testq %rdi, %rdi
    jz 4f
    FROM_CACHE %rdi, %rsi, SM_CLASS_CACHE, 3f
3:  ASK sm_message_lookup, SM_SEND_FLOAT
4:  lock incq sm_messages(%rip)
    jmp sm_return_zero_float
END objc_msgSend_fpret

FUNCTION objc_msgSend_stret
    testq %rsi, %rsi
    jz 4f
    FROM_CACHE %rsi, %rdx, SM_CLASS_STRUCT_CACHE, 3f
3:  ASK sm_message_lookup, SM_SEND_STRUCT
4:  lock incq sm_messages(%rip)
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    movq %rdx, %rsi
    call sm_message_nil_struct
    popq %rax
    .cfi_adjust_cfa_offset -8
    ret
END objc_msgSend_stret

/* The receiver's place takes an objc_super: {receiver, class where the search begins}. */
FUNCTION objc_msgSendSuper
    lock incq sm_messages(%rip)
    SAVE
    movl $SM_SEND_PLAIN, %edx
    call sm_message_lookup_super
    movq %rax, %r11
    RESTORE
    movq (%rdi), %rdi
    jmp *%r11
END objc_msgSendSuper

FUNCTION objc_msgSendSuper_stret
    lock incq sm_messages(%rip)
    SAVE
    movq %rsi, %rdi
    movq %rdx, %rsi
    movl $SM_SEND_STRUCT, %edx
    call sm_message_lookup_super
    movq %rax, %r11
    RESTORE
    movq (%rsi), %rsi
    jmp *%r11
END objc_msgSendSuper_stret

FUNCTION sm_return_zero
    xorl %eax, %eax
    xorl %edx, %edx
    xorps %xmm0, %xmm0
    xorps %xmm1, %xmm1
    ret
END sm_return_zero

FUNCTION sm_return_zero_float
    fldz
    jmp sm_return_zero
END sm_return_zero_float

FUNCTION sm_return_zero_struct
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    movq %rdx, %rsi
    call sm_message_zero_struct
    popq %rax
    .cfi_adjust_cfa_offset -8
    ret
END sm_return_zero_struct

#endif

    .section .note.GNU-stack, "", %progbits
