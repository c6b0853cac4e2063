# The kernels travel as text and are compiled on the user's machine, for the device found there.
file(GLOB metal_kernels CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.metal)
list(APPEND metal_kernels ${CMAKE_CURRENT_LIST_DIR}/args.h ${PROJECT_SOURCE_DIR}/src/backend/kernel_args.h)
set(metal_sources ${CMAKE_BINARY_DIR}/kernels/metal_sources.c)
add_custom_command(OUTPUT ${metal_sources} DEPENDS ${metal_kernels} ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${metal_sources} "-DFILES=${metal_kernels}" -DARRAY=pv_metal_sources -DTYPE=pv_metal_source
        -DHEADER=backend/metal/program.h -P ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake VERBATIM)
target_sources(pensieve_objects PRIVATE ${metal_sources})
