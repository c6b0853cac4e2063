# What others build against: the header, the exported names, the installed package.
set(package_dir ${CMAKE_CURRENT_LIST_DIR})
pensieve_script_test(unit package_header bash ${package_dir}/header.sh ${PROJECT_SOURCE_DIR}/include)
pensieve_script_test(unit package_layering bash ${package_dir}/layering.sh ${PROJECT_SOURCE_DIR})
if(PENSIEVE_SHARED AND NOT APPLE) # they look with the tools of ELF; macos.sh looks at what is built for macOS
    pensieve_script_test(unit package_symbols bash ${package_dir}/symbols.sh ${PROJECT_SOURCE_DIR}/include/pensieve.h
        $<TARGET_FILE:pensieve> $<TARGET_FILE:pensieve_shared>)
    pensieve_script_test(unit package_install bash ${package_dir}/install.sh ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
endif()
