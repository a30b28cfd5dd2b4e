#!/usr/bin/env bash
# Prints the path of an S3 server for tests (moto's), which speaks S3's protocol on loopback; installs it from PyPI into
# a virtual environment outside the clone when it is not there yet.
#
# JOGI_TEST_MOTO   the program: then nothing is looked for and nothing installed
set -eu
version=5.2.5

if [ -n "${JOGI_TEST_MOTO:-}" ]; then
    echo "$JOGI_TEST_MOTO"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then cache=/var/cache; else cache=${XDG_CACHE_HOME:-$HOME/.cache}; fi
home=$cache/jogi/moto-$version
umask 022
mkdir -p "$cache/jogi"

# Several tests may ask at once. The mark comes last: what was broken off is made anew.
exec 9>"$home.lock"
flock -w 300 9
if [ ! -e "$home/complete" ]; then
    rm -rf "$home"
    log=$home.log
    python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    if ! { "$python" -m venv "$home" &&
        "$home/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$version"; } >"$log" 2>&1 9>&-; then
        echo "moto $version could not be installed from PyPI: $(grep -v '^ *$' "$log" | tail -n 1) (all of it: $log)" >&2
        exit 1
    fi
    touch "$home/complete"
    rm -f "$log"
fi
echo "$home/bin/moto_server"
