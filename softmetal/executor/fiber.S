/* sm_fiber_switch(save, to): see fiber.h. A fiber that was left has its preserved registers on top of its stack, then where to go on. */
#if defined(__x86_64__)
    .text
    .globl sm_fiber_switch
    .hidden sm_fiber_switch
    .type sm_fiber_switch, @function
    .p2align 4
sm_fiber_switch:
    .cfi_startproc
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    .globl sm_fiber_resume
    .hidden sm_fiber_resume
sm_fiber_resume:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
    .size sm_fiber_switch, . - sm_fiber_switch
#elif defined(__aarch64__)
    .text
    .globl sm_fiber_switch
    .hidden sm_fiber_switch
    .type sm_fiber_switch, %function
    .p2align 4
sm_fiber_switch:
    .cfi_startproc
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    .globl sm_fiber_resume
    .hidden sm_fiber_resume
sm_fiber_resume:
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .cfi_endproc
    .size sm_fiber_switch, . - sm_fiber_switch
#else
#error "softmetal knows x86-64 and 64-bit Arm"
#endif
    .section .note.GNU-stack, "", %progbits
