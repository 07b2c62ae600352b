#!/usr/bin/env bash
# The Python environment of the tests: Celery, Flower, what garbage.py needs (pinned in requirements.txt), VestaService
# (requirements-vesta.txt), and our own package (src/worker/python).
#
#   celery.sh install DIR      makes the environment in DIR, or leaves it if it is there and right; prints, for eval,
#                                export SG_TEST_PYTHON=DIR/bin/python
#                                export SG_TEST_CELERY=DIR/bin/celery
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

# install_package DIR: our package as it is now.
install_package() {
    local dir=$1 package=$here/../../src/worker/python stamp
    stamp=$(cd "$package" && cat pyproject.toml README.md service_gateway_worker/*.py | sha256sum)
    if [ ! -f "$dir/package-from" ] || [ "$(cat "$dir/package-from")" != "$stamp" ]; then
        say "installing src/worker/python (pip)"
        "$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$package" >&2 ||
            die "pip could not install src/worker/python"
        printf '%s' "$stamp" >"$dir/package-from"
    fi
}

install() {
    local dir=$1 stamp
    command -v python3 >/dev/null || apt_install python3
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "needs Python 3.10 or newer, found $(python3 --version)"
    # What the environment was made from; written last, so that a half-made one is made anew.
    stamp="$(python3 -c 'import sys; print(sys.version, sys.base_prefix)') $(cat "$here/requirements.txt" "$here/requirements-vesta.txt")"
    if [ ! -f "$dir/made-from" ] || [ "$(cat "$dir/made-from")" != "$stamp" ]; then
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        say "installing Celery into $dir (pip)"
        rm -rf "$dir"
        mkdir -p "$(dirname "$dir")"
        python3 -m venv "$dir" >&2 || die "python3 -m venv failed"
        "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2 ||
            die "pip could not install tests/support/requirements.txt"
        "$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements-vesta.txt" >&2 ||
            die "pip could not install tests/support/requirements-vesta.txt"
        printf '%s' "$stamp" >"$dir/made-from"
    fi
    install_package "$dir"
    dir=$(cd "$dir" && pwd)
    printf 'export SG_TEST_PYTHON=%q\nexport SG_TEST_CELERY=%q\n' "$dir/bin/python" "$dir/bin/celery"
}

case "${1:-} $#" in
    'install 2') install "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
