/* The table of kernels of one instruction set. */
#include "kernel.h"
#include "simd.h"

#define PV_KERNEL_EXTERN(name) extern const pv_cpu_kernel PV_K(pv_cpu_##name);
PV_OP_LIST(PV_KERNEL_EXTERN)

#define PV_TEXT_OF(x) #x
#define PV_TEXT(x) PV_TEXT_OF(x)

extern const pv_cpu_kernels PV_K(pv_cpu_kernels);
const pv_cpu_kernels PV_K(pv_cpu_kernels) = {
    .name = PV_TEXT(PV_ISA),
    .op = {
#define PV_KERNEL_ROW(name) [PV_OP_##name] = &PV_K(pv_cpu_##name),
        PV_OP_LIST(PV_KERNEL_ROW)
    },
};
