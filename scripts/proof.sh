#!/usr/bin/env bash
# The long proofs, run for a release or a claim, with date and commit noted: scripts/proof.sh [red|gap|large|seeds|mutations|models|store|stores|versions|kubernetes|all]
#
#   red       each protection switched off in turn: the tests that then show the harm
#   gap       for how long a host that was frozen with its guard acknowledges commits after the thaw
#   large     memory of each member and requests to the store, of 3 members and of 15
#   seeds     SEEDS simulated herds (default 200000) with random faults
#   mutations each protection taken away from simulated herds until a check notices
#   models    300 random sequences on PostgreSQL and on its model, 300 on etcd and on its model
#   store     the built-in store killed 200 times while clients write; its state machine beside etcd with ten seeds
#   stores    herds of ours and with one of Patroni's on every other store, the losses of the store among it
#   kubernetes builds the API server where it is missing, the tests on it, and requests at rest beside Patroni's
#   versions  the black-box tests against other PostgreSQL versions
set -eu
what=${1:-all}
cd "$(dirname "$0")/.."
run() { echo "+ $*"; "$@"; }
echo "proof of $(git describe --always --dirty) on $(date -u +%F)"

red() { run cargo nextest run -p jogi --no-fail-fast --run-ignored only -E 'not (binary(frozen_host) or binary(kubernetes) or binary(large_herd) or binary(other_stores))'; }
gap() { run cargo nextest run -p jogi --test frozen_host --run-ignored only --no-capture; }
large() { run cargo nextest run --cargo-profile release -p jogi --test large_herd --run-ignored only --no-capture; }
seeds() { JOGI_SIM_SEEDS="0..${SEEDS:-200000}" run cargo nextest run -p jogi-sim --test seeds --no-capture; }
mutations() { run cargo nextest run -p jogi-sim --test mutations --run-ignored only --no-capture; }
models() {
    local from
    for from in 0 60 120 180 240; do
        JOGI_MODEL_SEQUENCES="$from..$((from + 60))" run cargo nextest run -p jogi-sim --test model_postgres --no-capture
    done
    JOGI_MODEL_STORE=0..300 run cargo nextest run -p jogi-sim --test model_store --no-capture
}
store() {
    local seed
    JOGI_STORE_KILLS=200 run cargo nextest run -p jogi --test store_crash --no-capture
    for seed in 11 12 13 14 15 16 17 18 19 20; do
        JOGI_KV_SEED=$seed run cargo nextest run -p jogi-kv --test etcd
    done
}
stores() { run cargo nextest run -p jogi --test other_stores --run-ignored all --no-fail-fast --no-capture; }
kubernetes() {
    [ -x /var/cache/jogi/kube-apiserver/kube-apiserver ] || run scripts/kube-apiserver.sh build
    run cargo nextest run -p jogi-dcs --test kubernetes
    run cargo nextest run -p jogi --test kubernetes --run-ignored all --no-capture
}
versions() { run scripts/pg-matrix.sh; }

case "$what" in
    red) red ;;
    gap) gap ;;
    large) large ;;
    seeds) seeds ;;
    mutations) mutations ;;
    models) models ;;
    store) store ;;
    versions) versions ;;
    kubernetes) kubernetes ;;
    stores) stores ;;
    all)
        red
        gap
        large
        seeds
        mutations
        models
        store
        versions
        kubernetes
        stores
        ;;
    *)
        echo "usage: scripts/proof.sh [red|gap|large|seeds|mutations|models|store|stores|versions|kubernetes|all]" >&2
        exit 2
        ;;
esac
