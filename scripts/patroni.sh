#!/usr/bin/env bash
# Prints the folder of the programs of a real Patroni, which tests put beside ours; installs it from PyPI into a virtual
# environment outside the clone when it is not there yet.
#
# JOGI_TEST_PATRONI   the folder of a Patroni's programs: then nothing is looked for and nothing installed
set -eu
version=4.1.5

if [ -n "${JOGI_TEST_PATRONI:-}" ]; then
    echo "$JOGI_TEST_PATRONI"
    exit 0
fi
# PostgreSQL's user must be able to enter.
if [ "$(id -u)" = 0 ]; then cache=/var/cache; else cache=${XDG_CACHE_HOME:-$HOME/.cache}; fi
# Named by what is in it: an older one without is left to whoever uses it.
home=$cache/jogi/patroni-$version-stores
umask 022
mkdir -p "$cache/jogi"

# Several tests may ask at once. The mark comes last: what was broken off is made anew.
exec 9>"$home.lock"
flock -w 300 9
if [ ! -e "$home/complete" ]; then
    rm -rf "$home"
    log=$home.log
    # The system's own first: another may lie in root's home, which is closed to PostgreSQL's user.
    python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    if ! { "$python" -m venv "$home" &&
        "$home/bin/pip" install --quiet --disable-pip-version-check "patroni[etcd,etcd3,consul,zookeeper,jsonlogger]==$version" psycopg2-binary; } >"$log" 2>&1 9>&-; then
        echo "Patroni $version could not be installed from PyPI: $(grep -v '^ *$' "$log" | tail -n 1) (all of it: $log)" >&2
        exit 1
    fi
    touch "$home/complete"
    rm -f "$log"
fi
echo "$home/bin"
