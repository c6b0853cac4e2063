# cmake --install: both libraries, the header, a pkg-config file and a CMake package with pensieve::static and pensieve::shared.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pensieve)
install(TARGETS ${pensieve_libraries} EXPORT pensieve ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/pensieve.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT pensieve NAMESPACE pensieve:: DESTINATION ${package_dir} FILE pensieveTargets.cmake)

configure_package_config_file(cmake/pensieveConfig.cmake.in ${PROJECT_BINARY_DIR}/pensieveConfig.cmake
    INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may break the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pensieveConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pensieveConfig.cmake ${PROJECT_BINARY_DIR}/pensieveConfigVersion.cmake
    DESTINATION ${package_dir})

file(RELATIVE_PATH prefix_from_pc /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/pensieve.pc.in ${PROJECT_BINARY_DIR}/pensieve.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pensieve.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
