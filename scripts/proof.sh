#!/usr/bin/env bash
# The long proofs, run for a release or a claim, with date and commit noted: scripts/proof.sh [red|seeds|versions|all]
#
#   red       each protection switched off in turn: the tests that then show the harm
#   seeds     SEEDS simulated herds (default 20000) with random faults
#   versions  the black-box tests against other PostgreSQL versions
set -eu
what=${1:-all}
cd "$(dirname "$0")/.."
run() { echo "+ $*"; "$@"; }
echo "proof of $(git describe --always --dirty) on $(date -u +%F)"

red() { run cargo nextest run -p jogi --no-fail-fast --run-ignored only; }
seeds() { JOGI_SIM_SEEDS="0..${SEEDS:-20000}" run cargo nextest run -p jogi-sim --test seeds --no-capture; }
versions() { run scripts/pg-matrix.sh; }

case "$what" in
    red) red ;;
    seeds) seeds ;;
    versions) versions ;;
    all)
        red
        seeds
        versions
        ;;
    *)
        echo "usage: scripts/proof.sh [red|seeds|versions|all]" >&2
        exit 2
        ;;
esac
