# Writes a C file with the texts of FILES (a ;-list) as a table ARRAY of {name without ending, text}, ended by a NULL name.
# -DOUTPUT= -DFILES= -DARRAY= -DHEADER=: what declares the array.
set(text "/* Made by embed_text.cmake. */\n#include <stddef.h>\n#include \"${HEADER}\"\n\n")
set(table "")
foreach(file ${FILES})
    file(READ ${file} hex HEX)
    get_filename_component(name ${file} NAME_WE)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND text "static const char ${name}_text[] = {${bytes}0};\n")
    string(APPEND table "    {\"${name}\", ${name}_text},\n")
endforeach()
string(APPEND text "\nconst ${TYPE} ${ARRAY}[] = {\n${table}    {NULL, NULL},\n};\n")
file(WRITE ${OUTPUT} "${text}")
