#!/usr/bin/env bash
# The library and the command that were built for macOS: what a Mac's loader would look at. Nothing is run.
# usage: macos.sh BUILD_FOLDER HEADER
set -u
. "$(dirname "$0")/../tap.sh"
folder=$1 header=$2
llvm=/usr/lib/llvm-19/bin
library=$folder/libpensieve.dylib command=$folder/pensieve objects=$folder/CMakeFiles/pensieve_objects.dir/kernels

header_of()
{
    "$llvm/llvm-objdump" --macho --private-headers "$1" 2>/dev/null
}

# is FILE TYPE: a Mach-O file of this type for arm64.
is()
{
    header_of "$1" | grep -E 'MH_MAGIC_64 +ARM64 ' | grep -qw "$2" || { file -L "$1"; return 1; }
}

is_no_linux_file()
{
    ! is "$1" EXECUTE
}

# Apple Silicon starts nothing that is not signed; the linker signs with no identity. 13.0 is the oldest system it is built for.
signed_for_macos_13()
{
    local file
    for file in "$library" "$command"; do
        header_of "$file" | grep -q LC_CODE_SIGNATURE || { echo "$file is not signed"; return 1; }
        header_of "$file" | grep -A 5 LC_BUILD_VERSION | tr -s ' \n' ' ' | grep -q 'platform macos .*minos 13.0' ||
            { header_of "$file" | grep -A 5 LC_BUILD_VERSION; return 1; }
    done
}

# uses FILE NAME...: these dynamic libraries and no other.
uses()
{
    local file=$1
    shift
    diff <(printf '%s\n' "$@" | sort) <("$llvm/llvm-objdump" --macho --dylibs-used "$file" | sed 1d | awk '{print $1}' |
        grep -v '/libpensieve\.0\.dylib$' | sort)
}

# Names bound to something else than the C library, and whether there are any at all.
only_libsystem()
{
    local names
    names=$("$llvm/llvm-nm" -m -u "$1")
    [ "$(grep -c '(from libSystem)$' <<<"$names")" -gt 20 ] || { echo "nothing is undefined in $1"; return 1; }
    ! grep -vE '\(from libSystem\)$' <<<"$names" | grep -vE "${2:-^$}"
}

declared()
{
    tr '\n' ' ' <"$header" | grep -oE 'PV_API [^;(]*\(' | grep -oE 'pv_[a-z0-9_]+ ?\($' | tr -d ' (' | sort -u
}

exports_are_the_header()
{
    [ "$(declared | wc -l)" -ge 30 ] &&
        diff <(declared) <("$llvm/llvm-nm" -g --defined-only "$library" | awk '{print $3}' | sed 's/^_//' | sort -u)
}

# instructions OBJECT NAME: how often one stands in it.
instructions()
{
    "$llvm/llvm-objdump" -d --no-show-raw-insn "$objects/$1.c.o" | grep -cE "[[:space:]]$2"
}

has_neon_kernels()
{
    [ "$(instructions linear_neon fmla)" -gt 50 ] && [ "$(instructions linear_dotprod 'sdot|udot')" -gt 10 ] ||
        { echo "$(instructions linear_neon fmla) fmla, $(instructions linear_dotprod 'sdot|udot') dot products"; return 1; }
    "$llvm/llvm-nm" --defined-only "$library" | grep -qw _pv_cpu_kernels_neon ||
        { echo "the library has no neon kernels"; return 1; }
}

# Frameworks are opened by name when they are wanted.
names()
{
    local name
    for name; do
        grep -qF "$name" "$library" || { echo "$name is not in the library"; return 1; }
    done
}

check "the library is Mach-O for arm64" is "$library" DYLIB
check "the command is Mach-O for arm64" is "$command" EXECUTE
check "a file of this system is told from them" is_no_linux_file "$(command -v bash)"
check "both are signed, for macOS 13" signed_for_macos_13
check "the library needs libSystem alone" uses "$library" /usr/lib/libSystem.B.dylib
check "the command needs what macOS has" uses "$command" /usr/lib/libSystem.B.dylib /usr/lib/libedit.3.dylib \
    /usr/lib/libcurl.4.dylib
check "what the library leaves undefined is libSystem's" only_libsystem "$library"
check "what the command leaves undefined is libSystem's, libedit's and libcurl's" only_libsystem "$command" \
    '\(from lib(edit|curl)\)$'
check "exported names are those of the header" exports_are_the_header
check "NEON and dot-product kernels are in it" has_neon_kernels
check "Metal and Core ML are opened by name" names /System/Library/Frameworks/Metal.framework/Metal /usr/lib/libobjc.A.dylib \
    /System/Library/Frameworks/CoreML.framework/CoreML
check "kernels for Metal are in it" names 'kernel void'
finish
