#!/usr/bin/env bash
# The public header compiles by itself as C99, C11 and C++, with nothing to complain about, by every compiler that is here.
# usage: header.sh INCLUDE_FOLDER
set -u
. "$(dirname "$0")/../tap.sh"
include=$1

compiles()
{
    local language=$2 standard=$3
    printf '#include "pensieve.h"\n#include "pensieve.h"\npv_status status = PV_OK;\n' |
        "$1" -x "$language" -std="$standard" -pedantic -Wall -Wextra -Werror -I "$include" -fsyntax-only -
}

for compiler in gcc clang; do
    for standard in c99 c11 c17; do
        if command -v $compiler >/dev/null; then
            check "$compiler -std=$standard -pedantic" compiles $compiler c $standard
        else
            skip "$compiler -std=$standard -pedantic" "no $compiler"
        fi
    done
done
for compiler in g++ clang++; do
    for standard in c++11 c++20; do
        if command -v $compiler >/dev/null; then
            check "$compiler -std=$standard -pedantic" compiles $compiler c++ $standard
        else
            skip "$compiler -std=$standard -pedantic" "no $compiler"
        fi
    done
done
finish
