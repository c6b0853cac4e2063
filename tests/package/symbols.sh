#!/usr/bin/env bash
# The shared library exports the functions of the public header, all of them and nothing else; the static library defines no
# outside name that does not begin with pv_, or tmpl_ in the template engine.
# usage: symbols.sh HEADER STATIC_LIBRARY SHARED_LIBRARY
set -u
. "$(dirname "$0")/../tap.sh"
header=$1 static=$2 shared=$3

declared()
{
    tr '\n' ' ' <"$header" | grep -oE 'PV_API [^;(]*\(' | grep -oE 'pv_[a-z0-9_]+ ?\($' | tr -d ' (' | sort -u
}

exports_are_the_header()
{
    local found
    found=$(declared | wc -l)
    [ "$found" -ge 30 ] && [ "$found" -eq "$(grep -c '^PV_API ' "$header")" ] || { echo "$found functions found in $header"; return 1; }
    diff <(declared) <(nm -D --defined-only "$shared" | awk '{print $3}' | sort -u) # < is missing, > is not public
}

static_names_have_the_prefix()
{
    local names
    names=$(nm -g --defined-only "$static" 2>/dev/null | awk 'NF == 3 {print $3}' | sort -u)
    [ -n "$names" ] || { echo "no names in $static"; return 1; }
    ! grep -vE '^(pv|tmpl)_' <<<"$names"
}

no_executable_stack()
{
    readelf -lW "$shared" | grep GNU_STACK | grep -qv 'RWE'
}

check "exported names are those of the header" exports_are_the_header
check "every outside name has the prefix" static_names_have_the_prefix
check "the stack is not executable" no_executable_stack
check "the name carries the interface's version" bash -c 'readelf -d "$1" | grep -q "SONAME.*libpensieve.so.0"' - "$shared"
finish
