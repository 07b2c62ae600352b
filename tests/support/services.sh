#!/usr/bin/env bash
# What the example services run on: ffmpeg from Debian, and a Python environment with examples/services/requirements.txt.
#
#   services.sh install DIR    makes the environment in DIR, or leaves it if it is there and right; prints, for eval,
#                                export SG_TEST_SERVICES=DIR/bin
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

install() {
    local dir=$1 requirements=$here/../../examples/services/requirements.txt stamp
    command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || apt_install ffmpeg
    stamp="$(python3 -c 'import sys; print(sys.version, sys.base_prefix)') $(cat "$requirements")"
    if [ ! -f "$dir/made-from" ] || [ "$(cat "$dir/made-from")" != "$stamp" ]; then
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        say "installing what the example services need into $dir (pip)"
        rm -rf "$dir"
        mkdir -p "$(dirname "$dir")"
        python3 -m venv "$dir" >&2 || die "python3 -m venv failed"
        "$dir/bin/pip" install --quiet --disable-pip-version-check --no-compile -r "$requirements" >&2 ||
            die "pip could not install examples/services/requirements.txt"
        printf '%s' "$stamp" >"$dir/made-from"
    fi
    printf 'export SG_TEST_SERVICES=%q\n' "$(cd "$dir" && pwd)/bin"
}

case "${1:-} $#" in
    'install 2') install "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
