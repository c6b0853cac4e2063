# Every kernel source is compiled once for each instruction set, through a shim that names it. Lists of {name, flags}.
set(kernels_dir ${CMAKE_CURRENT_LIST_DIR})
set(kernel_sources linear attention rows sample table)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(kernel_isas generic avx512)
    set(kernel_flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c -mavx2)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(kernel_isas generic)
else()
    set(kernel_isas generic)
endif()
set(kernel_flags_generic -Wno-psabi)

foreach(isa ${kernel_isas})
    string(TOUPPER ${isa} isa_upper)
    target_compile_definitions(pensieve_objects PRIVATE PV_CPU_HAVE_${isa_upper})
    foreach(source ${kernel_sources})
        set(shim ${CMAKE_BINARY_DIR}/kernels/${source}_${isa}.c)
        file(CONFIGURE OUTPUT ${shim} CONTENT [[
#define PV_ISA @isa@
#define PV_ISA_HEADER "simd_@isa@.h"
#include "@kernels_dir@/@source@.c"
]] @ONLY)
        target_sources(pensieve_objects PRIVATE ${shim})
        set_source_files_properties(${shim} PROPERTIES COMPILE_OPTIONS "${kernel_flags_${isa}}")
    endforeach()
endforeach()
