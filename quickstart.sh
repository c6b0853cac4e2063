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

question=${1:-Why is the sky blue? Answer in two sentences.}
build=build

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
    local missing as_root=()
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
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq)
    if ! "${as_root[@]}" update >&2 || ! "${as_root[@]}" install -y --no-install-recommends "${missing[@]}" >&2; then
        say "the packages could not be installed"
        exit 3
    fi
}

install_brew() {
    local package missing=()
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

compile() { ninja -C "$build" pensieve_command; }

configure() {
    # only what the command needs
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=OFF -DPENSIEVE_EXAMPLES=OFF
}

build_command() {
    local log
    # A folder that was built before needs no look at packages; ninja knows what changed.
    if [[ -x $build/pensieve && -f $build/build.ninja ]] && command -v ninja >/dev/null && compile >/dev/null 2>&1; then
        return
    fi
    install_packages
    say "building (a minute or two)"
    log=$(mktemp)
    if ! { [[ -f $build/build.ninja ]] || configure; } >"$log" 2>&1 || ! compile >>"$log" 2>&1; then
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
if "$build/pensieve" run "$model" "$question"; then
    say "a chat: $build/pensieve run $model"
else
    exit $?
fi
