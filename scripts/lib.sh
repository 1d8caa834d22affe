# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# lib.sh - what the scripts of this folder share. Source it first: it sets the
# shell's strictness and moves to the root of the checkout.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034 # scripts/run uses it
invoked_in=$PWD
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
    # Not `|| status=$?`: that would switch -e off inside a function called.
    set +e
    (set -e && "$@") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        if grep -q 'No space left on device' "$log"; then
            what="$what failed: the disk is full"
        elif grep -qE 'Temporary failure (in name )?resolving|Could not resolve|Failed to establish a new connection|Network is unreachable|Connection timed out' "$log"; then
            what="$what failed: no network"
        else
            tail -n 40 "$log" >&2 || true
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

may_be_root() {
    [ "$(id -u)" -eq 0 ] ||
        { have sudo && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; }
}

# install_packages PACKAGE... - with the system's apt.
install_packages() {
    local as_root=()
    [ $# -gt 0 ] || return 0
    have apt-get || die "missing, by Debian's names: $*: install them by the system's own means"
    may_be_root ||
        die "not root, and sudo is not to be had; as root: apt-get install $*"
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    need_space /var/cache 600
    say "installing $*"
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    # A broken third-party list is no reason to stop; the install will tell.
    (quietly "apt-get update" "${as_root[@]}" -o APT::Update::Error-Mode=any update) ||
        say "going on without"
    quietly "apt-get install $*" "${as_root[@]}" install -y --no-install-recommends "$@"
}

# private_apt FOLDER SUITE deb|deb-src - give FOLDER an apt of its own, which
# knows only Debian SUITE; `apt_in FOLDER apt-get ARG...` uses it. It needs no root and leaves the
# system's lists alone.
private_apt() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    local mirror=${RSLOOP_C_DEBIAN_MIRROR:-http://deb.debian.org/debian}
    [ -f "$keyring" ] || install_packages debian-archive-keyring
    mkdir -p "$1"/etc/{apt.conf.d,preferences.d,trusted.gpg.d} \
        "$1"/state/lists/partial "$1"/cache/archives/partial
    : >"$1/status"
    echo "$3 [signed-by=$keyring] $mirror $2 main" >"$1/etc/sources.list"
    quietly "reading the package lists of $mirror $2" apt_in "$1" apt-get update
}

apt_in() {
    local folder=$1 tool=$2
    shift 2
    "$tool" -qq -o Dir::Etc="$folder/etc" \
        -o Dir::Etc::SourceList="$folder/etc/sources.list" \
        -o Dir::Etc::SourceParts=/nonexistent \
        -o Dir::State="$folder/state" -o Dir::State::Status="$folder/status" \
        -o Dir::Cache="$folder/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o APT::Update::Error-Mode=any "$@"
}

# source_package FOLDER SUITE PACKAGE VERSION - put the upstream archive of one of
# Debian's source packages into FOLDER.
source_package() (
    apt=$(mktemp -d "${TMPDIR:-/tmp}/rsloop_c.XXXXXX")
    trap 'rm -rf "$apt"' EXIT
    private_apt "$apt" "$2" deb-src
    cd "$1"
    quietly "downloading the source of $3 $4" \
        apt_in "$apt" apt-get source --download-only --tar-only "$3=$4"
)

# python_fault PYTHON - why PYTHON cannot serve; nothing if it can.
python_fault() {
    local answer
    if answer=$("$1" - 2>&1 <<'PYTHON'
import os, sys, sysconfig as s
if sys.implementation.name != "cpython" or sys.version_info < (3, 10):
    sys.exit("is not CPython 3.10 or newer")
try:
    import ensurepip, ssl, venv
except ImportError as error:
    sys.exit(f"has no module {error.name}")
paths = s.get_path("include"), s.get_path("platinclude"), s.get_config_var("INCLUDEPY")
if not any(os.path.exists(os.path.join(p, "Python.h")) for p in paths):
    sys.exit("has no headers")
print("usable")
PYTHON
    ) && [ "$answer" = usable ]; then
        return 0
    fi
    answer=$(tail -n 1 <<<"$answer")
    echo "${answer:-does not run}"
}

# python_name PYTHON - such as 3.13 or 3.13t.
python_name() {
    "$1" -c 'import sys, sysconfig as s
print("%d.%d" % sys.version_info[:2] + "t" * bool(s.get_config_var("Py_GIL_DISABLED")))'
}

# install_here VENV EXTRAS [PIP-ARGUMENT...] - build the checkout and install it
# into VENV, unless that was done with the same sources. Build folders are kept:
# only what changed is compiled.
install_here() {
    local venv=$1 extras=$2 key requires
    shift 2
    key="$* $extras $(hash_of runtime pyext cmake CMakeLists.txt \
        pyproject.toml .deps/stamp)"
    if [[ " $* " == *" -e "* ]]; then
        key="$key $(find python -name '*.py*' ! -name '*.pyc' | sort | sha256sum)"
    else
        key="$key $(hash_of python)"
    fi
    ! stamped "$venv/rsloop_c.stamp" "$key" || return 0
    need_space "$root" 300
    requires=$(sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml)
    "$venv/bin/python" -c 'import scikit_build_core' 2>/dev/null ||
        quietly "installing $requires" "$venv/bin/pip" install -q "$requires"
    # A build asks the package that is installed for its CMake files, which a
    # sanitized one cannot tell without its runtime.
    if [[ $* =~ RSL_SANITIZE=[a-z] ]] && [ -f "$venv/rsloop_c.stamp" ]; then
        rm "$venv/rsloop_c.stamp"
        quietly "uninstalling the old rsloop_c" "$venv/bin/pip" uninstall -q -y rsloop_c
    fi
    quietly "building rsloop_c for ${venv#"$root"/}" \
        "$venv/bin/pip" install -v --no-build-isolation \
        --config-settings=build-dir="$build/cmake/$(basename "$venv")" "$@" ".[$extras]"
    stamp "$venv/rsloop_c.stamp" "$key"
}

# install_extra VENV NAME - into a VENV that has the package already.
install_extra() {
    local wanted key requirements
    wanted=$(sed -n "s/^$2 = \[\(.*\)\]\$/\1/p" pyproject.toml)
    key="$wanted $(<"$1/python.stamp")"
    ! stamped "$1/$2.stamp" "$key" || return 0
    IFS=', ' read -ra requirements <<<"${wanted//\"/}"
    say "installing ${requirements[*]}"
    quietly "installing the packages of $2" "$1/bin/pip" install -q "${requirements[@]}"
    stamp "$1/$2.stamp" "$key"
}

# make_venv VENV PYTHON - nothing to do when VENV is PYTHON's already. VENV is
# whole only once install_here has stamped it; drop_unfinished sees to the rest.
make_venv() {
    local key
    key=$("$2" -c 'import sys; print(sys.base_prefix, sys.version)') ||
        die "$2 does not run"
    if venv_ready "$1" && stamped "$1/python.stamp" "$key"; then
        return 0
    fi
    need_space "$root" 400
    rm -rf "$1"
    quietly "making ${1#"$root"/}" "$2" -m venv "$1"
    stamp "$1/python.stamp" "$key"
}

venv_ready() {
    [ -f "$1/rsloop_c.stamp" ] && [ -x "$1/bin/python" ]
}

drop_unfinished() {
    venv_ready "$1" || rm -rf "$1"
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
