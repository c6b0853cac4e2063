# Under its title README starts with PROGRAM, whole and unchanged.
file(READ ${README} readme HEX)
file(READ ${PROGRAM} program HEX)
string(HEX "# softmetal\n\n```c\n" open)
string(HEX "```\n" close)
string(FIND "${readme}" "${open}${program}${close}" at)
if(NOT at EQUAL 0)
    message(FATAL_ERROR "${README} does not start with the text of ${PROGRAM}")
endif()
