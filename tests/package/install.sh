#!/usr/bin/env bash
# What `cmake --install` puts down is enough to build and run a program: with pkg-config, shared and static, and with CMake.
# usage: install.sh BUILD_FOLDER C_COMPILER
set -u
. "$(dirname "$0")/../tap.sh"
build=$1 cc=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
readme=$(dirname "$0")/../../README.md

cat >"$work/main.c" <<'C'
#include <pensieve.h>
#include <stdio.h>
int main(void)
{
    pv_runtime *runtime = NULL;
    pv_error error;
    pv_runtime_options options = {.threads = 1};
    if (pv_runtime_create(&options, &runtime, &error) != PV_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    printf("%s %zu\n", pv_version(), pv_device_count(runtime));
    pv_runtime_destroy(runtime);
    return 0;
}
C
cat >"$work/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.22)
project(user C)
find_package(pensieve 0.1 REQUIRED)
add_executable(with_static main.c)
target_link_libraries(with_static pensieve::static)
add_executable(with_shared main.c)
target_link_libraries(with_shared pensieve::shared)
C

runs()
{
    local said
    said=$(LD_LIBRARY_PATH=$(dirname "$(find "$prefix" -name libpensieve.so)") "$@") && [[ $said =~ ^0\.1\.0\ [1-9] ]] || { echo "said: $said"; return 1; }
}

with_pkg_config()
{
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name pensieve.pc)")
    "$cc" "$work/main.c" -o "$work/shared" $(pkg-config --cflags --libs pensieve) && runs "$work/shared"
}

with_pkg_config_static()
{
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name pensieve.pc)")
    local flags
    flags=$(pkg-config --cflags --libs --static pensieve) || return 1
    "$cc" "$work/main.c" -o "$work/static" ${flags/-lpensieve/-l:libpensieve.a} && ! ldd "$work/static" | grep libpensieve && runs "$work/static"
}

with_cmake()
{
    cmake -S "$work" -B "$work/build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$work/build" && ! ldd "$work/build/with_static" | grep libpensieve && runs "$work/build/with_static" &&
        runs "$work/build/with_shared"
}

# The README's program as it is printed, by the lines printed there, says what the command says.
readme_program()
{
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name pensieve.pc)")
    awk '/^```/ {inside = $0 == "```c"; next} inside' "$readme" >"$work/app.c"
    grep -q 'int main' "$work/app.c" && grep -qF 'cc app.c $(pkg-config --cflags --libs pensieve)' "$readme" || return 1
    (cd "$work" && "$cc" -Wall -Werror app.c $(pkg-config --cflags --libs pensieve)) || return 1
    "$prefix"/bin/pensieve synth --shape tiny --seed 6 -q "$work/tiny.gguf" || return 1 # one that does not say the same all the time
    local libraries said wanted
    libraries=$(dirname "$(find "$prefix" -name libpensieve.so)")
    said=$(LD_LIBRARY_PATH=$libraries "$work/a.out" "$work/tiny.gguf") || return 1
    wanted=$("$prefix"/bin/pensieve run -q "$work/tiny.gguf" "Why is the sky blue?" -n 256)
    [ ${#wanted} -gt 200 ] && [ "$said" = "$wanted" ] || { echo "said '$said', wanted '$wanted'"; return 1; }
    LD_LIBRARY_PATH=$libraries "$work/a.out" "$work/nothing.gguf" 2>&1 | grep -q nothing.gguf
}

no_internal_header()
{
    [ "$(find "$prefix" -name '*.h' | sed 's#.*/include/##')" = pensieve.h ]
}

check "cmake --install" cmake --install "$build" --prefix "$prefix"
check "one header is installed" no_internal_header
check "a program with pkg-config, shared" with_pkg_config
check "a program with pkg-config, static" with_pkg_config_static
check "programs with CMake, static and shared" with_cmake
if [ -x "$prefix/bin/pensieve" ]; then
    check "the README's program" readme_program
else
    skip "the README's program" "built without the command"
fi
finish
