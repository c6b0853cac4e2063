# COMMAND prints the line WANTED and nothing else. Says so in TAP.
execute_process(COMMAND ${COMMAND} OUTPUT_VARIABLE output ERROR_VARIABLE errors RESULT_VARIABLE result)
if(NOT result EQUAL 0 OR NOT output STREQUAL "${WANTED}\n" OR errors)
    message(FATAL_ERROR "not ok 1 - the example: exit ${result}, it printed '${output}${errors}', '${WANTED}' is wanted")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E echo "ok 1 - the example prints what it should")
