#!/usr/bin/env bash
# Prints the folder of a store's server program for the tests; takes it out of a Debian package, outside the clone, when
# it is not on this machine yet. Nothing is installed.
#
#   scripts/stores.sh consul
set -eu
program=${1:?the name of a program: consul}

if found=$(command -v "$program"); then
    dirname "$found"
    exit 0
fi
case $program in
    # The last release of Debian that has it.
    consul) release=bullseye ;;
    *) echo "no package is known that has $program" >&2; exit 1 ;;
esac

if [ "$(id -u)" = 0 ]; then cache=/var/cache; else cache=${XDG_CACHE_HOME:-$HOME/.cache}; fi
home=$cache/jogi/$program-$release
umask 022
mkdir -p "$cache/jogi"

# Several tests may ask at once. The mark comes last: what was broken off is made anew.
exec 9>"$home.lock"
flock -w 300 9
if [ ! -e "$home/complete" ]; then
    rm -rf "$home"
    mkdir -p "$home/lists/partial" "$home/cache/archives/partial"
    log=$home.log
    fetch() {
        local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
        command -v apt-get && command -v dpkg || { echo "there is no apt-get"; return 1; }
        [ -r "$keys" ] || { echo "$keys is not there"; return 1; }
        # From wherever this machine takes its packages.
        mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" { print $1; exit }')
        [ -n "$mirror" ] || { echo "this machine takes no packages from a Debian mirror"; return 1; }
        echo "deb [signed-by=$keys] $mirror $release main" >"$home/sources.list"
        local options=(-o "Dir::Etc::sourcelist=$home/sources.list" -o Dir::Etc::sourceparts=-
            -o "Dir::State::Lists=$home/lists" -o "Dir::Cache=$home/cache" -o APT::Sandbox::User=root
            -o Acquire::Check-Valid-Until=false)
        apt-get "${options[@]}" update && (cd "$home" && apt-get "${options[@]}" download "$program") &&
            dpkg -x "$home/$program"_*.deb "$home/root" && "$home/root/usr/bin/$program" version
    }
    if ! fetch >"$log" 2>&1 9>&-; then
        echo "$program could not be had from Debian's $release: $(grep -v '^ *$' "$log" | tail -n 1) (all of it: $log)" >&2
        exit 1
    fi
    rm -rf "$home/lists" "$home/cache" "$home/$program"_*.deb "$log"
    touch "$home/complete"
fi
echo "$home/root/usr/bin"
