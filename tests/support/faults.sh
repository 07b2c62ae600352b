#!/usr/bin/env bash
# What the tests need to make faults: strace, a library that gives one program a clock of its own, and mount.
#
#   faults.sh install     makes sure that they are on the machine (Debian: apt-get; needs root or sudo); prints, for eval,
#                           export SG_TEST_FAKETIME=/…/libfaketimeMT.so.1
#   faults.sh disk DIR SIZE        a file system of that size in DIR, as long as standard input is open; prints "ready"
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

find_faketime() {
    local candidate
    for candidate in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib/faketime/libfaketimeMT.so.1; do
        if [ -e "$candidate" ]; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

install() {
    command -v strace >/dev/null || apt_install strace
    find_faketime >/dev/null || apt_install libfaketime
    find_faketime >/dev/null || die "libfaketime is installed, but not where we look (see find_faketime)"
    printf 'export SG_TEST_FAKETIME=%q\n' "$(find_faketime)"
}

# Gone with whoever asked for it, however that ends. Lazily: a program that still has files open there keeps them.
disk() {
    local dir=$1 size=$2
    as_root mount -t tmpfs -o "size=$size,mode=0777" sg-test-disk "$dir" ||
        die "cannot mount a small file system in $dir: the disk-full tests need root (or a sudo that does not ask) and mount"
    trap '' INT TERM HUP
    echo ready
    read -r _ || true
    as_root umount -l "$dir"
}

case "${1:-} $#" in
    'install 1') install ;;
    'disk 3') disk "$2" "$3" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
