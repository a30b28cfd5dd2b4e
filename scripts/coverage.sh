#!/usr/bin/env bash
# Region coverage of the core by the simulator alone: scripts/coverage.sh [SEEDS]   (default 2000)
#
# Builds the simulator with -C instrument-coverage into a directory of its own, runs its scenarios and seeds, and prints
# the regions of crates/core/src/{ha,lease,sync,slots} that were reached, a line per file, then every region that was
# not. The llvm tools must be of the compiler's own LLVM major; Debian's suites have them as llvm-N.
set -eu
seeds=${1:-2000}
cd "$(dirname "$0")/.."
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
tools=/usr/lib/llvm-$major/bin
if [ ! -x "$tools/llvm-cov" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "the tools of LLVM $major are not here: apt-get install llvm-$major" >&2
        exit 1
    fi
    echo "installing: llvm-$major"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "llvm-$major" >/dev/null
fi
cache=${JOGI_COVERAGE_DIR:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/jogi/target}/coverage}
mkdir -p "$cache"
rm -f "$cache"/*.profraw
export CARGO_TARGET_DIR=$cache/target RUSTFLAGS="-C instrument-coverage" CARGO_INCREMENTAL=0
export LLVM_PROFILE_FILE=$cache/build-%p-%m.profraw
cargo test --quiet -p jogi-sim --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' >"$cache/programs"
rm -f "$cache"/*.profraw
export LLVM_PROFILE_FILE=$cache/run-%p-%m.profraw
# The simulator's own tests of scenarios and seeds; its unit tests drive no core.
runs=()
while read -r program; do
    case "$(basename "$program")" in
        scenarios-* | seeds-*) runs+=("$program") ;;
    esac
done <"$cache/programs"
failed=0
for program in "${runs[@]}"; do
    (cd crates/sim && JOGI_SIM_SEEDS="0..$seeds" "$program" --quiet) >"$cache/$(basename "$program").log" 2>&1 || failed=1
done
[ "$failed" = 0 ] || echo "some of the runs failed; their logs are in $cache" >&2
"$tools/llvm-profdata" merge -sparse "$cache"/run-*.profraw -o "$cache/all.profdata"
objects=("${runs[0]}")
for program in "${runs[@]:1}"; do objects+=(-object "$program"); done
files=$(git ls-files crates/core/src/ha crates/core/src/lease crates/core/src/sync crates/core/src/slots |
    grep -v '/tests\.rs$\|/model\.rs$' | sed "s|^|$PWD/|")
# shellcheck disable=SC2086
"$tools/llvm-cov" report "${objects[@]}" -instr-profile "$cache/all.profdata" -sources $files | awk '{ print $1, $2, $3, $4 }' | column -t
# shellcheck disable=SC2086
"$tools/llvm-cov" export "${objects[@]}" -instr-profile "$cache/all.profdata" --format=lcov -sources $files >"$cache/core.lcov"
# shellcheck disable=SC2086
"$tools/llvm-cov" show "${objects[@]}" -instr-profile "$cache/all.profdata" --show-regions \
    --show-line-counts=false --use-color=false -sources $files >"$cache/core.txt"
echo "lines never reached:"
awk -F: -v here="$PWD/" '
    /^SF/ { file = substr($0, 4); sub(here, "", file) }
    /^DA/ { split($2, d, ","); if (d[2] == 0) print file ":" d[1] }' "$cache/core.lcov" >"$cache/missed"
awk -F: '{ if ($1 == f && $2 == last + 1) { last = $2 } else { if (f) print f ":" first "-" last; f = $1; first = last = $2 } }
    END { if (f) print f ":" first "-" last }' "$cache/missed"
