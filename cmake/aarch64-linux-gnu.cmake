# Cross-builds for Linux on 64-bit Arm, against Debian's :arm64 packages; tests run under qemu-user.
# QEMU_CPU chooses the processor: "max" has dot product and i8mm, "cortex-a72" has neither.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
find_program(PENSIEVE_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(PENSIEVE_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${PENSIEVE_QEMU})
endif()
