#!/usr/bin/env bash
# ./quickstart.sh ["a question"]
#
# From nothing to an answer: installs the packages that are missing, builds the command into build/, fetches a small model
# (SmolLM2-135M-Instruct, 94 MiB) into the cache folder, and answers the question. What is there already is not done again.
#
# Packages are installed as root or with a sudo that asks no password; otherwise the exact command is printed and the exit code
# is 3. Run on Debian 12. Written for Ubuntu 24.04 and for macOS with Homebrew too, and not run there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

build=build
case ${1:-} in
-h | --help)
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}"
    exit 0
    ;;
esac
question=${*:-Why is the sky blue? Answer in two sentences.}

apt_packages=(gcc libc6-dev cmake ninja-build pkg-config libpcre2-dev libutf8proc-dev libxxhash-dev libedit-dev
    libcurl4-openssl-dev curl ca-certificates python3 python3-pip)
brew_packages=(cmake ninja pkg-config pcre2 utf8proc xxhash python3)

say() { printf 'quickstart: %s\n' "$*" >&2; }

# ---- Packages ----

missing_apt() {
    local package
    for package in "${apt_packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s\n' "$package"
    done
}

install_apt() {
    local missing log as_root=()
    read -r -a missing <<<"$(missing_apt | tr '\n' ' ')"
    ((${#missing[@]} == 0)) && return
    if (($(id -u) != 0)); then
        if ! sudo -n true 2>/dev/null; then
            say "packages are missing; run this, then ./quickstart.sh again:"
            printf 'sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n' "${missing[*]}" >&2
            exit 3
        fi
        as_root=(sudo -n)
    fi
    say "installing ${missing[*]}"
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
    log=$(mktemp)
    if ! { "${as_root[@]}" update && "${as_root[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "the packages could not be installed; all of apt's output is in $log"
        exit 3
    fi
    rm -f "$log"
}

install_brew() {
    local package missing=() folder
    for folder in /opt/homebrew/bin /usr/local/bin; do # where it lies, found or not
        [[ ! -x $folder/brew ]] || export PATH="$folder:$PATH"
    done
    if ! xcode-select -p >/dev/null 2>&1; then
        say "Xcode's command-line tools are missing; with them: xcode-select --install"
        exit 3
    fi
    if ! command -v brew >/dev/null; then
        say "Homebrew is missing; with it: brew install ${brew_packages[*]}"
        exit 3
    fi
    for package in "${brew_packages[@]}"; do
        brew list --versions "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    ((${#missing[@]} == 0)) && return
    say "installing ${missing[*]}"
    brew install "${missing[@]}" >&2 || exit 3
}

install_packages() {
    case $(uname -s) in
    Darwin) install_brew ;;
    *)
        if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
            install_apt
        elif ! command -v cmake >/dev/null || ! command -v ninja >/dev/null; then
            say "this system has no apt-get; install the likes of: ${apt_packages[*]}"
            exit 3
        fi
        ;;
    esac
}

# ---- Build ----

compile() { cmake --build "$build" -j "$(getconf _NPROCESSORS_ONLN)" --target pensieve_command; }

configured_here() {
    [[ -f $build/build.ninja || -f $build/Makefile ]] &&
        [[ $(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt" 2>/dev/null) -ef . ]]
}

# Only what the command needs. A folder that was configured keeps its settings, unless the sources were moved since.
configure() {
    if configured_here; then
        cmake -S . -B "$build"
    else
        rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"
        cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=OFF -DPENSIEVE_EXAMPLES=OFF
    fi
}

build_command() {
    local log
    # What was built as root or by somebody else is taken as it is.
    if [[ -x $build/pensieve && ! -w $build ]]; then
        return
    fi
    # A folder that was built before needs no look at packages; the build knows what changed.
    if [[ -x $build/pensieve ]] && configured_here && compile >/dev/null 2>&1; then
        return
    fi
    install_packages
    if ! mkdir -p "$build" || [[ ! -w $build ]]; then
        say "the folder $PWD/$build cannot be written"
        exit 3
    fi
    say "building (a minute or two)"
    log=$(mktemp)
    if ! { configure && compile; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        say "the build failed; all of its output is in $log"
        exit 1
    fi
    rm -f "$log"
}

# ---- From nothing to an answer ----

SECONDS=0
build_command
model=$(PENSIEVE="$build/pensieve" scripts/fetch-model)
((SECONDS > 5)) && say "ready after $SECONDS s"
say "asking: $question"
# a model this small may repeat itself without end
"$build/pensieve" run "$model" --max-tokens 400 -- "$question"
say "a chat: $build/pensieve run $model"
