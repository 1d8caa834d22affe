# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# lib.sh - what the scripts of this folder share. Source it first: it sets the
# shell's strictness and moves to the root of the checkout.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"

# Everything the scripts make, besides .venv and .deps, lies here.
build=$root/.build

# PIP_* variables of the user stay in force; these only quieten pip.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# version_at_least FOUND WANTED
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# need_space FOLDER MEGABYTES - stop while nothing is half written.
need_space() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] ||
        die "$1 has $free MB free, $2 MB are needed: make room and try again"
}

# quietly WHAT CMD [ARG...] - run CMD; show its output only when it fails or
# when RSLOOP_C_VERBOSE is set.
quietly() {
    local what=$1 log status=0
    shift
    if [ -n "${RSLOOP_C_VERBOSE:-}" ]; then
        "$@" || die "$what failed"
        return
    fi
    log=$(mktemp "${TMPDIR:-/tmp}/rsloop_c.XXXXXX") ||
        die "cannot write to ${TMPDIR:-/tmp}: is the disk full?"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" >&2 || true
        if grep -q 'No space left on device' "$log"; then
            what="$what failed: the disk is full"
        elif grep -qE 'Temporary failure (in name )?resolving|Could not resolve|Failed to establish a new connection|Network is unreachable|Connection timed out' "$log"; then
            what="$what failed: no network"
        else
            what="$what failed (its last lines are above)"
        fi
    fi
    rm -f "$log"
    [ "$status" -eq 0 ] || die "$what"
}

# hash_of PATH... - one hash over names and contents of files and folders.
hash_of() {
    local path
    for path in "$@"; do
        [ ! -e "$path" ] || find "$path" -type f \
            ! -name '*.pyc' ! -path '*/.git/*' -print0
    done | LC_ALL=C sort -z | xargs -0 -r sha256sum | sha256sum | cut -c 1-32
}

# stamped STAMP KEY - true when STAMP was written with KEY.
stamped() {
    [ -f "$1" ] && [ "$(<"$1")" = "$2" ]
}

stamp() {
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1.new"
    mv "$1.new" "$1"
}
