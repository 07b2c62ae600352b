#!/usr/bin/env bash
# Runs a command in a throwaway copy of this machine: as root, with everything that is here, and all that it writes is
# gone afterwards. For trying what installs something.
#
#   throwaway.sh DIR COMMAND…      DIR is /input there, not to be written
#
# Needs root (or a sudo that does not ask) and overlayfs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/common.sh"

[ $# -ge 2 ] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2; }
as_root true || die "needs root, or a sudo that does not ask, for a throwaway copy of this machine"
input=$(realpath "$1")
shift
work=$(mktemp -d)
trap 'rmdir "$work"' EXIT

# In namespaces of its own: every mount and every process goes with it.
# shellcheck disable=SC2016 # the inner shell's variables
as_root unshare --mount --pid --fork --kill-child bash -c '
    set -euo pipefail
    work=$1 input=$2
    shift 2
    mount -t tmpfs -o mode=755 tmpfs "$work"
    mkdir "$work/upper" "$work/work" "$work/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
    root=$work/root
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mkdir -p "$root/input"
    mount --bind -o ro "$input" "$root/input"
    # What Debian asks before it starts a service: here nothing is.
    printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    export TMPDIR=/var/tmp
    exec chroot "$root" "$@"
' throwaway "$work" "$input" "$@"
