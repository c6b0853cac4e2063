# Every kernel source is compiled once for each instruction set, through a shim that names it.
set(kernels_dir ${CMAKE_CURRENT_LIST_DIR})
set(kernel_sources linear moe attention rows sample table)

set(kernel_isas generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND kernel_isas avx2 avx512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    list(APPEND kernel_isas neon dotprod)
endif()
set(kernel_flags_generic -Wno-psabi)
set(kernel_flags_avx2 -mavx2 -mfma -mf16c)
set(kernel_flags_avx512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)
set(kernel_flags_dotprod -march=armv8.2-a+dotprod)
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    # Before registers are given out gcc moves loads so far ahead that half of the sums go to memory.
    set(kernel_flags_neon -fno-schedule-insns)
    list(APPEND kernel_flags_dotprod -fno-schedule-insns)
endif()
# Sets that share a header.
set(kernel_header_dotprod neon)

foreach(isa ${kernel_isas})
    string(TOUPPER ${isa} isa_upper)
    target_compile_definitions(pensieve_objects PRIVATE PV_CPU_HAVE_${isa_upper})
    set(header ${isa})
    if(DEFINED kernel_header_${isa})
        set(header ${kernel_header_${isa}})
    endif()
    foreach(source ${kernel_sources})
        set(shim ${CMAKE_BINARY_DIR}/kernels/${source}_${isa}.c)
        file(CONFIGURE OUTPUT ${shim} CONTENT [[
#define PV_ISA @isa@
#define PV_ISA_HEADER "simd_@header@.h"
#include "@kernels_dir@/@source@.c"
]] @ONLY)
        target_sources(pensieve_objects PRIVATE ${shim})
        set_source_files_properties(${shim} PROPERTIES COMPILE_OPTIONS "${kernel_flags_${isa}}")
    endforeach()
endforeach()

# Not part of the build: ninja bench_kernels.
add_executable(bench_kernels EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/kernels.c)
target_link_libraries(bench_kernels PRIVATE pensieve pensieve_options)
