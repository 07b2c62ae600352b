#!/usr/bin/env bash
# A private NGINX on loopback for tests.
#
#   nginx.sh install        makes sure that NGINX and openssl are on the machine (Debian: apt-get; needs root or sudo)
#   nginx.sh certificate DIR  makes DIR/tls.pem and DIR/tls.key for localhost
#   nginx.sh start DIR      starts one with DIR/nginx.conf, which keeps everything in DIR, and waits until DIR/ports
#                             (one number a line) all take connections
#   nginx.sh stop DIR       stops it
#
# NGINX's own pid file is DIR/nginx.pid; only a process that `start` recorded in DIR is ever stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

readonly START_SECONDS=30 STOP_SECONDS=10
PATH=$PATH:/usr/sbin

install() {
    command -v nginx >/dev/null || apt_install nginx-light
    command -v openssl >/dev/null || apt_install openssl
    command -v nginx >/dev/null || die "NGINX is installed, but nginx is not in the PATH"
}

certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout "$1/tls.key" -out "$1/tls.pem" \
        >"$1/openssl.log" 2>&1 || die "openssl could not make a certificate; log in $1/openssl.log"
}

# answers PORT: does somebody take connections there?
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() {
    local dir deadline=$((SECONDS + START_SECONDS)) port pid
    command -v nginx >/dev/null || die "NGINX is not installed: run '$0 install'"
    dir=$(cd "$1" && pwd)
    nginx -t -q -p "$dir" -c "$dir/nginx.conf" -g 'daemon off;' 2>>"$dir/error.log" || {
        tail -n 20 "$dir/error.log" >&2
        die "NGINX refuses $dir/nginx.conf"
    }
    (
        cd "$dir"
        setsid nginx -p "$dir" -c "$dir/nginx.conf" -g 'daemon off;' >>"$dir/error.log" 2>&1 </dev/null &
        echo $! >"$dir/started.pid"
    )
    pid=$(cat "$dir/started.pid")
    while read -r port; do
        until answers "$port"; do
            if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
                tail -n 20 "$dir/error.log" >&2
                die "NGINX did not start; log in $dir/error.log"
            fi
            sleep 0.05
        done
    done <"$dir/ports"
}

# runs PID DIR: is it the NGINX that `start` started there? Its title overwrites the mark in its environment, but not
# where it is.
runs() { [ "$(readlink "/proc/$1/exe" 2>/dev/null)" = "$(readlink -f "$(command -v nginx)")" ] && [ "/proc/$1/cwd" -ef "$2" ]; }

stop() {
    local dir pid deadline=$((SECONDS + STOP_SECONDS))
    [ -s "$1/started.pid" ] || return 0
    dir=$(cd "$1" && pwd)
    pid=$(cat "$dir/started.pid")
    if runs "$pid" "$dir"; then kill -TERM "$pid" 2>/dev/null || true; fi
    while runs "$pid" "$dir"; do
        if [ "$SECONDS" -ge "$deadline" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
        sleep 0.05
    done
    rm -f "$dir/started.pid"
}

case "${1:-} $#" in
    'install 1') install ;;
    'certificate 2') certificate "$2" ;;
    'start 2') start "$2" ;;
    'stop 2') stop "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
