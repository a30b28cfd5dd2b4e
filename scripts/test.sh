#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [all|lint|unit|e2e]
set -eu
what=${1:-all}
cd "$(dirname "$0")/.."

run() { echo "+ $*"; "$@"; }

lint() {
    run cargo fmt --all --check
    run cargo clippy --quiet --workspace --all-targets -- -D warnings
}

# nextest runs each test in a process of its own and keeps the groups of .config/nextest.toml; without it cargo's
# own runner does, one test at a time where they share the machine.
tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        run cargo nextest run "$@"
    else
        run cargo test "$@" -- --test-threads=1
    fi
}

case "$what" in
    lint) lint ;;
    unit) tests --workspace --exclude jogi ;;
    e2e) tests -p jogi ;;
    all)
        lint
        tests --workspace
        ;;
    *)
        echo "usage: scripts/test.sh [all|lint|unit|e2e]" >&2
        exit 2
        ;;
esac
