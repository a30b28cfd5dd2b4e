#!/usr/bin/env bash
# Makes sure that what jogi needs is on this machine: installs it where it is missing and we are root, and says
# exactly what to install otherwise. Quiet when there is nothing to do.
#
#   scripts/prepare.sh up [OPTIONS OF jogi up]   what a herd needs: PostgreSQL, a Rust toolchain
#   scripts/prepare.sh test                      what the tests need besides: etcd, network namespaces, a client of etcd, a Patroni
set -eu
what=${1:-up}
[ "$#" = 0 ] || shift

rust_at_least=1.95

have() { command -v "$1" >/dev/null 2>&1; }
am_root() { [ "$(id -u)" = 0 ]; }
if am_root; then sudo=; else sudo='sudo '; fi

# --- packages --------------------------------------------------------------------------------------------------------

# The folder that the herd's options name, if they do: then no other PostgreSQL is asked for.
pg_bin_option() {
    while [ "$#" -gt 0 ]; do
        case $1 in
            --pg-bin=*) echo "${1#*=}" ;;
            --pg-bin) echo "${2-}" ;;
        esac
        shift
    done
}

# Must find what `jogi up` and the tests find.
has_postgres() {
    local dir
    [ -z "$(pg_bin_option "$@")" ] || return 0
    for dir in "${JOGI_TEST_PG_BIN:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$dir/postgres" ] && [ -x "$dir/pg_rewind" ] && return 0
    done
    have postgres && have pg_rewind
}

missing=()
has_postgres "$@" || missing+=(postgresql)
have cc || missing+=(gcc libc6-dev)
if [ "$what" = test ]; then
    have etcd || missing+=(etcd-server)
    have etcdctl || missing+=(etcd-client)
    [ -x /sbin/ip ] || have ip || missing+=(iproute2)
    have setpriv && have unshare || missing+=(util-linux)
    # For the tests that compare with Patroni, which can be left out.
    ! am_root || /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
fi

# A herd makes its own servers: the distribution's default cluster would only take a port and memory.
no_default_cluster() {
    local file=/etc/postgresql-common/createcluster.conf
    [ ! -e "$file" ] || return 0
    mkdir -p "${file%/*}"
    echo 'create_main_cluster = false' >"$file"
    echo "($file: PostgreSQL's package makes no cluster of its own)"
}

install_packages() {
    local log
    log=$(mktemp)
    echo "installing: $*"
    case " $* " in *" postgresql "*) no_default_cluster ;; esac
    if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold "$@"; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    echo "the packages could not be installed; apt-get said:" >&2
    tail -n 20 "$log" >&2
    echo "(all of it: $log)" >&2
    return 1
}

# Packages and toolchain are both looked at before we give up: who must install something wants to know all of it.
lacking=
if [ "${#missing[@]}" -gt 0 ]; then
    if ! have apt-get; then
        echo "jogi needs what is not here. Install what Debian calls ${missing[*]}, then run this again." >&2
        lacking=1
    elif ! am_root; then
        echo "jogi needs packages that are not here. Install them, then run this again:" >&2
        echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        lacking=1
    else
        install_packages "${missing[@]}" || exit 1
    fi
fi

# --- the Rust toolchain ----------------------------------------------------------------------------------------------

rust_version() { rustc --version 2>/dev/null | awk '{print $2}'; }
newer_or_equal() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }
has_rust() { have cargo && [ -n "$(rust_version)" ] && newer_or_equal "$(rust_version)" "$rust_at_least"; }
has_tools() { [ "$what" != test ] || { cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1; }
apt_has() { have apt-cache && [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# What puts the toolchain here, as a person would type it.
how_to_get_rust() {
    local install="rustup toolchain install stable --profile minimal --component clippy --component rustfmt"
    if have rustup; then
        echo "$install && rustup default stable"
    elif apt_has rustup; then
        echo "${sudo}apt-get install rustup && $install && rustup default stable"
    else
        have curl || echo "${sudo}apt-get install curl ca-certificates"
        echo "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt"
        echo ". ~/.cargo/env"
    fi
}

if ! has_rust && [ -x "$HOME/.cargo/bin/cargo" ] && [ "$(command -v cargo)" != "$HOME/.cargo/bin/cargo" ]; then
    echo "cargo is in ~/.cargo/bin, which does not come first in PATH. Run this, then try again:" >&2
    echo "    . ~/.cargo/env" >&2
    exit 1
fi

if ! has_rust && am_root && ! have rustup && apt_has rustup; then
    install_packages rustup || exit 1
fi
if have rustup && { ! has_rust || ! has_tools; }; then
    echo "installing: Rust (stable) by rustup"
    log=$(mktemp)
    if { rustup toolchain install stable --profile minimal --component clippy --component rustfmt &&
        { rustup default >/dev/null 2>&1 || rustup default stable; }; } >"$log" 2>&1; then
        rm -f "$log"
    else
        echo "rustup could not install it; it said:" >&2
        tail -n 10 "$log" >&2
    fi
fi
if ! has_rust; then
    found=$(rust_version)
    echo "jogi is built with Rust $rust_at_least or newer; here is ${found:-none}. Install it, then run this again:" >&2
    how_to_get_rust | sed 's/^/    /' >&2
    lacking=1
elif ! has_tools; then
    echo "the tests need clippy and rustfmt of Rust $(rust_version). Install them, then run this again:" >&2
    echo "    rustup component add clippy rustfmt" >&2
    lacking=1
fi
[ -z "$lacking" ] || exit 1

# The tests that compare with Patroni, and those on a store that is not to be had, say themselves that they did not run: no reason to stop here.
if [ "$what" = test ]; then
    "$(dirname "$0")/patroni.sh" >/dev/null || true
    "$(dirname "$0")/stores.sh" consul >/dev/null || true
    "$(dirname "$0")/moto.sh" >/dev/null || true
fi
