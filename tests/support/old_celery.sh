#!/usr/bin/env bash
# Old Celery for the tests of the amqp result backend, which Celery 5 no longer has: 4.3 and 3.1, each where the machine
# has a Python that runs it (in the PATH, or pyenv's). Where it has none, the tests play recorded frames of that version
# instead, and say so.
#
#   old_celery.sh install DIR      makes the environments in DIR, or leaves those that are there and right; prints, for eval,
#                                    export SG_TEST_CELERY_43=DIR/4.3/celery      (if there is a Python 3.6 or 3.7)
#                                    export SG_TEST_CELERY_31=DIR/3.1/celery      (if there is a Python 2.7)
#                                    export SG_TEST_CELERY_VESTA=DIR/vesta/celery (the same: VestaService on Celery 4.3)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

# find_python VERSION…: the first that runs and has pip.
find_python() {
    local version candidate
    for version in "$@"; do
        for candidate in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python "$(command -v "python$version" || true)"; do
            if [ -x "$candidate" ] && "$candidate" -m pip --version >/dev/null 2>&1; then
                echo "$candidate"
                return 0
            fi
        done
    done
    return 1
}

# environment DIR NAME PYTHON: Celery of that version, beside the interpreter's own packages (2.7 has no venv).
environment() {
    local dir=$1/$2 python=$3 requirements=$here/requirements-celery-$2.txt stamp
    stamp="$("$python" -c 'import sys; print(sys.version)') $(cat "$requirements")"
    if [ ! -f "$dir/made-from" ] || [ "$(cat "$dir/made-from")" != "$stamp" ]; then
        say "installing Celery $2 into $dir (pip)"
        rm -rf "$dir"
        mkdir -p "$dir"
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/packages" \
            -r "$requirements" >"$dir/pip.log" 2>&1 || return 1
        cat >"$dir/celery" <<CELERY
#!/bin/sh
PYTHONPATH='$dir/packages':\$PYTHONPATH exec '$python' -m celery "\$@"
CELERY
        chmod 755 "$dir/celery"
        PYTHONPATH='' "$dir/celery" --version >>"$dir/pip.log" 2>&1 || return 1
        printf '%s' "$stamp" >"$dir/made-from"
    fi
    local name=${2//./}
    printf 'export SG_TEST_CELERY_%s=%q\n' "${name^^}" "$dir/celery"
}

# offer DIR NAME PYTHON-VERSION…
offer() {
    local dir=$1 name=$2 python
    shift 2
    if ! python=$(find_python "$@"); then
        say "no Python $* here: Celery $name is played from recorded frames, or tested with a current Celery (vesta)"
    elif ! environment "$dir" "$name" "$python"; then
        say "Celery $name cannot be installed for $python (see $dir/$name/pip.log): it is played from recorded frames"
    fi
}

install() {
    local dir
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    case $dir in *"'"*) die "a directory with a quote in its name will not do: $dir" ;; esac
    offer "$dir" 4.3 3.6 3.7
    offer "$dir" 3.1 2.7
    offer "$dir" vesta 2.7
}

case "${1:-} $#" in
    'install 2') install "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
