#!/usr/bin/env bash
# The command and the examples stand on the public header alone; the library keeps its direction (engine over model and text
# over runtime over backend, format and base below) and never prints, exits or reads the environment.
# usage: layering.sh SOURCE_FOLDER
set -u
. "$(dirname "$0")/../tap.sh"
cd "$1" || exit 1

# Includes with quotes in the folders $2..., whose path does not match the pattern $1.
includes_only()
{
    local allowed=$1
    shift
    ! grep -rnE '^ *# *include "' "$@" --include='*.[ch]' | grep -vE "#\s*include \"($allowed)"
}

# Folder by folder, what each may include.
check "base includes base" includes_only 'pensieve\.h|base/' src/base
check "format includes base" includes_only 'pensieve\.h|base/|format/|[a-z_]+\.h"' src/format
check "text includes format" includes_only 'pensieve\.h|(base|format|text)/' src/text
check "backends know no model" includes_only 'pensieve\.h|(base|format|runtime|backend)/|[a-z0-9_]+\.h"' src/backend
check "the runtime knows no model" includes_only 'pensieve\.h|(base|format|runtime|backend)/' src/runtime
check "the model knows no engine" includes_only 'pensieve\.h|(base|format|runtime|backend|text|model)/' src/model
for folder in src/cli src/server; do
    [ -d $folder ] && check "$folder includes the public header only" includes_only "pensieve\\.h|${folder#src/}/|[a-z0-9_]+\\.h\"" $folder
done
check "the examples include the public header only" includes_only 'pensieve\.h' examples

library="src/base src/runtime src/backend src/format src/text src/model src/engine"
calls_nothing()
{
    ! grep -rnE "(^|[^a-zA-Z_0-9>.\"])($1) *\(" $library --include='*.c' --include='*.h' | grep -vE '^[^:]*:[0-9]+: *(/\*|\*|//)'
}

check "the library never prints" calls_nothing 'printf|fprintf|vprintf|perror|puts|putchar|fputs'
check "the library never ends the process" calls_nothing 'exit|_exit|abort|quick_exit|raise|kill|assert'
check "the library reads no environment" calls_nothing 'getenv|secure_getenv|setenv|putenv'
check "all memory goes through the allocator" bash -c '! grep -rnE "(^|[^a-zA-Z_0-9])(malloc|calloc|realloc|strdup|asprintf|strndup) *\(" '"$library"' --include="*.c" | grep -v "^src/base/alloc.c:"'
finish
