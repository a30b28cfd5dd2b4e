#!/usr/bin/env bash
# Makes sure that what jogi needs is on this machine: installs it where it is missing and we are root, and says
# exactly what to install otherwise. Quiet when there is nothing to do.
#
#   scripts/prepare.sh up     what a herd needs: PostgreSQL, etcd, a Rust toolchain
#   scripts/prepare.sh test   what the tests need besides: network namespaces, a client of etcd
set -eu
what=${1:-up}

rust_at_least=1.95

have() { command -v "$1" >/dev/null 2>&1; }

postgres_bin() {
    local dir
    for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
        [ -x "$dir/postgres" ] && [ -x "$dir/pg_basebackup" ] && { echo "$dir"; return 0; }
    done
    have postgres && have pg_basebackup && dirname "$(command -v postgres)"
}

missing=()
postgres_bin >/dev/null || missing+=(postgresql)
have etcd || [ -x /usr/bin/etcd ] || missing+=(etcd-server)
have cc || missing+=(gcc libc6-dev)
if [ "$what" = test ]; then
    have etcdctl || missing+=(etcd-client)
    have ip || missing+=(iproute2)
    have setpriv || missing+=(util-linux)
fi

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        echo "jogi needs packages that are not here. Install them, then run this again:" >&2
        echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # A herd makes its own servers: the distribution's default cluster would only take a port.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    { apt-get update && apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"; } \
        >"$log" 2>&1 || {
        echo "the packages could not be installed; apt-get said:" >&2
        tail -n 20 "$log" >&2
        exit 1
    }
    rm -f "$log"
fi

if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
    echo "cargo is in ~/.cargo/bin, which is not in PATH: run '. ~/.cargo/env' first" >&2
    exit 1
fi
rust_version() { rustc --version 2>/dev/null | awk '{print $2}'; }
newer_or_equal() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }
if ! have cargo || ! newer_or_equal "$(rust_version)" "$rust_at_least"; then
    if [ "$(id -u)" = 0 ] && have apt-get && ! have rustup && apt-cache show rustup >/dev/null 2>&1; then
        echo "installing: rustup"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rustup >/dev/null 2>&1 || true
    fi
    have rustup && rustup toolchain install stable --profile minimal --component clippy,rustfmt >/dev/null 2>&1 || true
    if ! have cargo || ! newer_or_equal "$(rust_version)" "$rust_at_least"; then
        echo "jogi is built with Rust $rust_at_least or newer; found: $(rust_version || true)." >&2
        echo "Install it with rustup (https://rustup.rs), then run this again." >&2
        exit 1
    fi
fi
