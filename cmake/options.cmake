# What all of the project's own code is compiled with. Not installed: users of the library choose their own flags.
add_library(pensieve_options INTERFACE)
target_compile_options(pensieve_options INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wvla -fno-math-errno -ffp-contract=off
    -Wno-missing-field-initializers) # what an op leaves out is absent, by the language's own rule; clang would have it written
option(PENSIEVE_WERROR "warnings are errors, where tests are built" ON)
if((PENSIEVE_TESTS OR PENSIEVE_FUZZ) AND PENSIEVE_WERROR)
    # Who only uses it shall not fail on what a newer compiler warns of.
    target_compile_options(pensieve_options INTERFACE -Werror)
endif()
target_include_directories(pensieve_options INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(pensieve_options INTERFACE _GNU_SOURCE)
if(PENSIEVE_SANITIZE)
    target_compile_options(pensieve_options INTERFACE -fsanitize=${PENSIEVE_SANITIZE} -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
    if(CMAKE_C_COMPILER_ID STREQUAL GNU)
        # gcc's manual: sanitizers give these warnings where there is nothing to warn of; the plain builds have them.
        target_compile_options(pensieve_options INTERFACE -Wno-maybe-uninitialized -Wno-format-truncation)
    endif()
    target_link_options(pensieve_options INTERFACE -fsanitize=${PENSIEVE_SANITIZE})
endif()
if(PENSIEVE_FUZZ)
    # Coverage for libFuzzer in the library; the targets add the driver.
    target_compile_options(pensieve_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
