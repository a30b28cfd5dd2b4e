#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [all|lint|unit|e2e]
#
# The black-box tests put each member on a host of its own, a network namespace. Root may make those; an ordinary user
# may inside a user namespace, where this script runs them if the machine allows it. What could not run is listed at
# the end, with the reason; under CI=true it is a failure.
set -eu
what=${1:-all}
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

run() { echo "+ $*"; "$@"; }

# --- where hosts can be made -----------------------------------------------------------------------------------------

# Inside we keep our name and have power over networks that are ours alone, the one that we begin in among them: there is
# no way out, so what runs here must have been built. /run is our own, for iproute2's names.
user_namespace() {
    # shellcheck disable=SC2016
    unshare --user --map-current-user --keep-caps --mount --net \
        sh -c 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"' lab "$@"
}

try_networks='ip netns add jogi-try && ip -n jogi-try link add try0 type veth peer name try1 && ip netns del jogi-try'
hosts=
if [ "$(id -u)" != 0 ]; then
    if why=$(user_namespace sh -c "$try_networks" 2>&1); then
        hosts=user_namespace
        echo "(not root: the black-box tests make their networks in a user namespace)"
    else
        echo "Not root, and this machine gives ordinary users no user namespace (${why##*$'\n'})."
        echo "Tests that need networks of their own will not run: run 'make test' as root for those."
    fi
fi
on_hosts() {
    [ -z "$hosts" ] || "$@" --no-run
    echo "+ $*"
    $hosts "$@"
}

# --- the tests -------------------------------------------------------------------------------------------------------

lint() {
    run cargo fmt --all --check
    run cargo clippy --quiet --workspace --all-targets -- -D warnings
}

# nextest runs each test in a process of its own and keeps the groups of .config/nextest.toml; without it cargo's
# own runner does, one test at a time. Always the whole workspace: a part of it would be built with other features.
has_nextest() { cargo nextest --version >/dev/null 2>&1; }
need_hosts='package(jogi) + package(jogi-testkit)'

units() {
    if has_nextest; then
        run cargo nextest run --workspace -E "not ($need_hosts)"
    else
        RUST_TEST_THREADS=1 run cargo test --no-fail-fast --workspace --exclude jogi --exclude jogi-testkit
    fi
}

herds() {
    if has_nextest; then
        on_hosts cargo nextest run --workspace -E "$need_hosts"
    else
        RUST_TEST_THREADS=1 on_hosts cargo test --no-fail-fast -p jogi -p jogi-testkit
    fi
}

# The black-box tests run even when a unit test has failed: one run tells everything.
everything() {
    if has_nextest && [ -z "$hosts" ]; then
        run cargo nextest run --workspace
        return
    fi
    local failed=
    units || failed=1
    herds || failed=1
    [ -z "$failed" ]
}

# Each test that does not run writes its name and the reason here: a runner shows nothing of a test that passes.
JOGI_TEST_SKIPPED=$(mktemp)
export JOGI_TEST_SKIPPED
finish() {
    local code=$?
    if [ -s "$JOGI_TEST_SKIPPED" ]; then
        echo
        echo "NOT RUN on this machine, though counted as passed above ($(sort -u "$JOGI_TEST_SKIPPED" | wc -l)):"
        sort -u "$JOGI_TEST_SKIPPED" | sed 's/^/    /'
    fi
    rm -f "$JOGI_TEST_SKIPPED"
    exit "$code"
}
trap finish EXIT

case "$what" in
    lint) lint ;;
    unit) units ;;
    e2e) herds ;;
    all)
        lint
        everything
        ;;
    *)
        echo "usage: scripts/test.sh [all|lint|unit|e2e]" >&2
        exit 2
        ;;
esac
