#!/usr/bin/env bash
# promtool, which checks alert rules and metrics as Prometheus would: the one in the PATH, or the one of Debian's package
# prometheus, unpacked (not installed: no server is started).
#
#   promtool.sh install DIR      unpacks it into DIR, unless it is there; prints, for eval,
#                                  export SG_TEST_PROMTOOL=DIR/usr/bin/promtool
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

install() {
    local dir=$1 tool
    tool=$(command -v promtool || true)
    if [ -z "$tool" ]; then
        tool=$dir/usr/bin/promtool
        if [ ! -x "$tool" ]; then
            command -v apt-get >/dev/null || die "needs promtool (of Prometheus), and there is no apt-get to fetch it with"
            say "fetching promtool (apt-get download prometheus)"
            rm -rf "$dir"
            mkdir -p "$dir"
            # Package lists may be missing: a failed update alone is not the end.
            (cd "$dir" && apt-get download -qq prometheus >&2) || {
                as_root apt-get update -qq >&2 || say "apt-get update failed, trying with the lists at hand"
                (cd "$dir" && apt-get download -qq prometheus >&2) || die "apt-get could not download prometheus"
            }
            dpkg-deb -x "$dir"/prometheus_*.deb "$dir" || die "the package prometheus cannot be unpacked"
            rm -f "$dir"/prometheus_*.deb
        fi
        tool=$(cd "$dir" && pwd)/usr/bin/promtool
    fi
    "$tool" --version >/dev/null 2>&1 || die "$tool does not run"
    printf 'export SG_TEST_PROMTOOL=%q\n' "$tool"
}

case "${1:-} $#" in
    'install 2') install "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
