#!/usr/bin/env bash
# Builds what the named suites need and runs them; with no name, what CI runs. usage: ./test.sh [suite]...
#
# core is unit, conformance, golden, e2e and fault. clang builds everything with clang and runs unit and conformance. fuzz re-runs
# the corpus and lets every libFuzzer target search for FUZZ_SECONDS (20). sanitize runs the suites under ASan and UBSan, the
# threaded ones under TSan. metal builds the software Metal device and runs its own tests and the Metal backend on it; on a Mac it runs
# the suites of devices on the Mac's own. cross builds for 64-bit Arm and runs its kernels under qemu, and builds the library and the command for macOS on Apple Silicon. JOBS: processes at
# once.
#
# Build folders build, build-asan ... stay and are reused. Exit: 0 all passed, 1 something failed, 2 an unknown suite.
set -u
cd "$(dirname "$0")" || exit 1
exec </dev/null

known="core unit conformance golden e2e fault clang fuzz sanitize cross metal cuda all"
core="unit conformance golden e2e fault"
ci="$core metal clang fuzz sanitize cross"
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
fuzz_seconds=${FUZZ_SECONDS:-20}
# Tests that run several threads of the library's, or call it from several.
# The golden models have every op on a team.
threaded='engine|session|cpu_(attention|bits|device|rows|sample)|batch|schedule|fault\.test_(faults|allocations)|conformance\.test_(attention|plan)|golden\.test_models'
export CMOCKA_MESSAGE_OUTPUT=TAP
mac=$([ "$(uname -s)" = Darwin ] && echo yes)
export ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1
[ "$mac" ] || ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=1 # Apple's ends every program that asks for it
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

passed=0 failed=0 skipped=0

note()
{
    printf '%s\n' "$*"
}

skip()
{
    note "  skipped: $*"
    skipped=$((skipped + 1))
}

fail()
{
    note "  FAILED: $*"
    failed=$((failed + 1))
}

have()
{
    command -v "$1" >/dev/null
}

# build FOLDER CMAKE_ARGUMENTS...: configures and builds $source (or this folder); a failure counts as one and shows its end.
build()
{
    local folder=$1 log=$1/build.log
    shift
    mkdir -p "$folder"
    local generator=()
    [ -f "$folder/CMakeCache.txt" ] || { have ninja && generator=(-G Ninja); }
    # bash 3.2, a Mac's, takes an empty list for an unset one
    if ! cmake -S "${source:-.}" -B "$folder" ${generator[@]+"${generator[@]}"} "$@" >"$log" 2>&1 || ! cmake --build "$folder" -j "$jobs" >>"$log" 2>&1; then
        grep -nE 'error|undefined|FAILED|Error' "$log" | head -30
        tail -n 15 "$log"
        fail "the build in $folder (whole log: $log)"
        return 1
    fi
}

# Counts the TAP lines of `ctest -V` and prints what failed. A program that ends badly without having failed a case (a crash, a
# time-out, a leak found at its end) is one more failure.
count_tap()
{
    awk '
        /^[0-9]+: / {
            number = $1 + 0
            line = $0
            sub(/^[0-9]+: /, "", line)
            if (line ~ /^(not )?ok .*# *SKIP/) { skipped++; cases[number]++ }
            else if (line ~ /^not ok/) { failed++; bad[number]++; cases[number]++ }
            else if (line ~ /^ok /) { passed++; cases[number]++ }
            if (kept[number]++ < 400) output[number] = output[number] "    " line "\n"
            next
        }
        /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
            number = $0; sub(/^.*Test +#/, "", number); number = number + 0
            name = $0; sub(/^.*Test +#[0-9]+: /, "", name); sub(/ .*$/, "", name)
            if ($0 ~ / Passed /) {
                if (!cases[number]) { failed++; printf "  FAILED: %s printed no test case\n", name }
            } else {
                if (!bad[number]) failed++
                reason = $0; sub(/^.*\*\*\*/, "", reason)
                printf "  FAILED: %s (%s)\n%s", name, reason, output[number]
            }
        }
        END { print "counts", passed + 0, failed + 0, skipped + 0 }
    ' "$1"
}

# run FOLDER CTEST_ARGUMENTS...: runs tests and adds to the counts.
run()
{
    local folder=$1 log=$1/tests-$suite.log line
    shift
    (cd "$folder" && ctest -V -j "$jobs" --no-tests=ignore "$@") >"$log" 2>&1
    while IFS= read -r line; do
        if [[ $line == counts\ * ]]; then
            read -r _ p f s <<<"$line"
            passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
            note "  $p passed, $f failed, $s skipped"
            [ $((p + f + s)) -gt 0 ] || fail "no tests were found"
        else
            note "$line"
        fi
    done < <(count_tap "$log")
}

clang_compiler()
{
    local name
    for name in clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14; do
        have $name && { echo $name; return 0; }
    done
    return 1
}

# works COMPILER FLAGS...: compiles a program and runs it (a sanitizer may be absent, or refuse this kernel).
works()
{
    local folder status
    folder=$(mktemp -d)
    echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n); int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { (void)d; (void)n; return 0; }
#ifndef FUZZ
int main(void) { return 0; }
#endif' >"$folder/a.c"
    "$@" "$folder/a.c" -o "$folder/a" >/dev/null 2>&1 && "$folder/a" -runs=1 >/dev/null 2>&1
    status=$?
    rm -rf "$folder"
    return $status
}

# ---- Suites ----

suite_core_part()
{
    build build -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=ON -DPENSIEVE_EXAMPLES=ON && run build -L "^$1\$"
}

suite_clang()
{
    local clang
    clang=$(clang_compiler) || { skip "no clang"; return; }
    build build-clang -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$clang" && run build-clang -L '^(unit|conformance)$'
}

# bounded SECONDS COMMAND...: ends it after that time, where the system has a command for that.
bounded()
{
    local seconds=$1
    shift
    if have timeout; then timeout "$seconds" "$@"; elif have gtimeout; then gtimeout "$seconds" "$@"; else "$@"; fi
}

# Lets a target search; NAME.good in the build folder says that it found nothing bad.
search()
{
    local name=${1##*/fuzz_} corpus=()
    # What is found grows in the build folder; the corpus is only read.
    rm -f "build-fuzz/$name.good"
    mkdir -p "build-fuzz/found/$name" "build-fuzz/crashes"
    [ -d "tests/fuzz/corpus/$name" ] && corpus=("tests/fuzz/corpus/$name")
    bounded $((fuzz_seconds * 10 + 60)) "$1" -max_total_time="$fuzz_seconds" -timeout=20 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix=build-fuzz/crashes/"$name"- "build-fuzz/found/$name" ${corpus[@]+"${corpus[@]}"} \
        >"build-fuzz/$name.log" 2>&1 &&
        touch "build-fuzz/$name.good"
}

suite_fuzz()
{
    build build -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=ON -DPENSIEVE_EXAMPLES=ON && run build -L '^fuzz$'
    local clang target name
    clang=$(clang_compiler) || { skip "fuzzing: no clang"; return; }
    works "$clang" -DFUZZ -fsanitize=fuzzer || { skip "fuzzing: $clang has no libFuzzer"; return; }
    build build-fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER="$clang" -DPENSIEVE_FUZZ=ON -DPENSIEVE_CLI=OFF \
        -DPENSIEVE_EXAMPLES=OFF -DPENSIEVE_SANITIZE=address,undefined || return
    local targets=() running=0
    for target in build-fuzz/tests/fuzz_*; do
        [ -x "$target" ] && [ -f "$target" ] || continue
        targets+=("$target")
        search "$target" &
        [ $((++running % jobs)) -eq 0 ] && wait # all take the same time
    done
    wait
    for target in ${targets[@]+"${targets[@]}"}; do
        name=${target##*/fuzz_}
        if [ -e "build-fuzz/$name.good" ]; then
            note "  $name: $(awk '/number_of_executed_units/ {print $2}' "build-fuzz/$name.log") inputs"
            passed=$((passed + 1))
        else
            tail -n 40 "build-fuzz/$name.log"
            fail "fuzzing $name (inputs are in build-fuzz/crashes)"
        fi
    done
}

suite_sanitize()
{
    if works cc -fsanitize=address,undefined; then
        note "  ASan and UBSan"
        build build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPENSIEVE_SANITIZE=address,undefined -DPENSIEVE_EXAMPLES=OFF \
            -DPENSIEVE_TEST_TIMEOUT=1800 && run build-asan -L '^(unit|conformance|golden|fault|fuzz)$'
    else
        skip "ASan and UBSan: the compiler lacks them"
    fi
    if works g++ -xc -fsanitize=address,undefined; then
        note "  softmetal under ASan and UBSan"
        source=softmetal build build-softmetal-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSOFTMETAL_SANITIZE=address,undefined &&
            run build-softmetal-asan -L '^metal$' -E test_shim # kernels are compiled without sanitizers
    fi
    if works cc -fsanitize=thread; then
        note "  TSan"
        build build-tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPENSIEVE_SANITIZE=thread -DPENSIEVE_EXAMPLES=OFF -DPENSIEVE_CLI=OFF \
            -DPENSIEVE_TEST_TIMEOUT=1800 && run build-tsan -R "$threaded"
    else
        skip "TSan: the compiler lacks it or it does not run on this kernel"
    fi
}

cross_linux()
{
    have aarch64-linux-gnu-gcc || { skip "no aarch64-linux-gnu-gcc (scripts/install-deps cross)"; return; }
    have qemu-aarch64-static || have qemu-aarch64 || { skip "no qemu-aarch64-static (scripts/install-deps cross)"; return; }
    local package
    for package in libpcre2-8 libutf8proc libxxhash cmocka; do
        PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig pkg-config --exists $package ||
            { skip "no $package for arm64 (scripts/install-deps cross)"; return; }
    done
    build build-arm64 -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64-linux-gnu.cmake" -DPENSIEVE_CLI=OFF \
        -DPENSIEVE_EXAMPLES=OFF -DPENSIEVE_TEST_TIMEOUT=1800 || return
    # "max" has all that the kernels can use, and the tests run the plainer kernels there too; a processor without dot product
    # shows that those are chosen by themselves and hold no instruction that it lacks.
    note "  qemu -cpu max"
    QEMU_CPU=max run build-arm64 -R '^conformance\.test_(attention|cache_types|comparators|linear|moe|rows)|^unit\.test_(cpu|layout|seeded)'
    note "  qemu -cpu cortex-a72"
    QEMU_CPU=cortex-a72 run build-arm64 -R '^conformance\.test_(linear|rows)|^unit\.test_cpu_(device|rows|team)'
    note "  softmetal"
    source=softmetal build build-softmetal-arm64 -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64-linux-gnu.cmake" &&
        run build-softmetal-arm64 -R 'objc|foundation|executor|checker|host_(bad|memory|objects|order|validation)'
}

# Counts the TAP lines of a script.
script()
{
    local log=$1 line
    shift
    "$@" >"$log" 2>&1
    while IFS= read -r line; do
        case $line in
        "not ok "*) fail "${line#not ok }" ;;
        "ok "*"# SKIP"*) skip "${line#ok }" ;;
        "ok "*) passed=$((passed + 1)) ;;
        "#"*) note "    $line" ;;
        esac
    done <"$log"
    grep -q '^1\.\.[1-9]' "$log" || { tail -n 15 "$log"; fail "$2 did not come to its end (whole log: $log)"; }
}

cross_macos()
{
    scripts/cross-macos where >/dev/null || { skip "macOS: nothing to link against (scripts/install-deps macos)"; return; }
    mkdir -p build-macos
    scripts/cross-macos build build-macos >build-macos/build.log 2>&1 || {
        grep -nE 'error|undefined|FAILED|cross-macos' build-macos/build.log | head -30
        fail "the build in build-macos (whole log: build-macos/build.log)"
        return
    }
    note "  macOS on arm64"
    script build-macos/tests-cross.log bash tests/package/macos.sh build-macos include/pensieve.h
}

suite_cross()
{
    cross_linux
    cross_macos
}

suite_metal()
{
    if [ "$mac" ]; then
        build build -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=ON -DPENSIEVE_EXAMPLES=ON &&
            PENSIEVE_TEST_DEVICE=metal run build -L '^device$'
        return
    fi
    have g++ || have clang++-19 || { skip "no g++ (scripts/install-deps metal)"; return; }
    build build-metal -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=ON -DPENSIEVE_SOFTMETAL=ON -DPENSIEVE_CLI=ON -DPENSIEVE_EXAMPLES=OFF &&
        run build-metal -L '^metal$'
}

suite_cuda()
{
    skip "there is no CUDA backend yet"
}

# ---- Which suites ----

wanted=""
for name in "${@:-ci}"; do
    case " $known ci " in
    *" $name "*) ;;
    *)
        note "unknown suite '$name'; these are known: $known" >&2
        exit 2
        ;;
    esac
    case $name in
    ci) wanted="$wanted $ci" ;;
    core) wanted="$wanted $core" ;;
    all) wanted="$wanted $ci metal cuda" ;;
    *) wanted="$wanted $name" ;;
    esac
done

ran=" "
for suite in $wanted; do
    case $ran in *" $suite "*) continue ;; esac
    ran="$ran$suite "
    note "$suite"
    started=$SECONDS
    case " $core " in
    *" $suite "*) suite_core_part "$suite" ;;
    *) "suite_$suite" ;;
    esac
    note "  $suite: $((SECONDS - started)) s"
done

note "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
