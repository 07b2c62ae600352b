#!/usr/bin/env bash
# A private Redis server on loopback for tests.
#
#   redis.sh install        makes sure that Redis is on the machine (Debian: apt-get; needs root or sudo)
#   redis.sh start DIR      starts a server that keeps everything in DIR; prints, for eval,
#                             export SG_TEST_REDIS_URL=redis://:PASSWORD@127.0.0.1:PORT/0
#                             export SG_TEST_REDISS_URL=rediss://…     the same by TLS
#                             export SG_TEST_REDISS_CA=FILE            who vouches for its certificate
#   redis.sh stop DIR       stops it in good order
#   redis.sh kill DIR       kills it at once, as a power cut would
#
# `start` after `stop` or `kill` brings the same server back: same port, same keys (every write is on disk before it is
# answered). Only processes that `start` recorded in DIR are ever stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

readonly START_SECONDS=30 STOP_SECONDS=10
# A server on loopback that lives for one test run: no secret, but a password to be kept out of logs.
readonly PASSWORD=redis-test-password

install() {
    if ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null; then
        apt_install redis-server redis-tools
    fi
    command -v redis-server >/dev/null || die "Redis is installed, but redis-server is not in the PATH"
}

# answers PORT: does the server take commands (and not only connections: it reads its file first)?
answers() {
    [ "$(REDISCLI_AUTH=$PASSWORD redis-cli -h 127.0.0.1 -p "$1" ping 2>/dev/null)" = PONG ]
}

# launch DIR PORT TLS_PORT: starts the server, leader of a session of its own, and waits for it. Gives 1 if it ended.
launch() {
    local dir=$1 port=$2 tls=$3 deadline=$((SECONDS + START_SECONDS)) pid
    (
        cd "$dir"
        export SG_TEST_RIG_DIR="$dir"
        # Without a process title: writing one overwrites the environment, and with it the mark.
        setsid redis-server --set-proc-title no --bind 127.0.0.1 --port "$port" --dir "$dir" --daemonize no \
            --tls-port "$tls" --tls-ca-cert-file ca.crt --tls-cert-file server.crt --tls-key-file server.key \
            --tls-auth-clients no --requirepass "$PASSWORD" --save '' --appendonly yes --appendfsync always >>"$dir/redis.log" 2>&1 </dev/null &
        echo $! >"$dir/redis.pid"
    )
    pid=$(cat "$dir/redis.pid")
    until answers "$port"; do
        kill -0 "$pid" 2>/dev/null || return 1
        [ "$SECONDS" -lt "$deadline" ] || return 2
        sleep 0.05
    done
    # Somebody else's server would answer too, with this password not.
    is_ours "$pid" "$dir"
}

start() {
    local dir=$1 fresh='' tries=0
    command -v redis-server >/dev/null || die "Redis is not installed: run '$0 install'"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if [ -s "$dir/redis.pid" ] && is_ours "$(cat "$dir/redis.pid")" "$dir"; then
        die "a server runs in $dir already"
    fi
    [ -s "$dir/port" ] || fresh=yes
    [ -s "$dir/server.crt" ] || make_certificate "$dir"
    while :; do
        tries=$((tries + 1))
        [ -z "$fresh" ] || python3 "$here/net.py" free 2 "$dir" >"$dir/port"
        # shellcheck disable=SC2046 # two words are meant
        if launch "$dir" $(cat "$dir/port"); then break; fi
        stop "$dir"
        # Somebody may have taken the port in between: a new server tries another, an old one must have its own.
        if [ -z "$fresh" ] || [ "$tries" -ge 3 ]; then
            tail -n 20 "$dir/redis.log" >&2
            die "Redis did not start; log in $dir/redis.log"
        fi
    done
    echo "export SG_TEST_REDIS_URL=redis://:$PASSWORD@127.0.0.1:$(head -n 1 "$dir/port")/0"
    echo "export SG_TEST_REDISS_URL=rediss://:$PASSWORD@127.0.0.1:$(tail -n 1 "$dir/port")/0"
    printf 'export SG_TEST_REDISS_CA=%q\n' "$dir/ca.crt"
}

# end DIR SIGNAL
end() {
    local dir
    [ -d "$1" ] || return 0
    dir=$(cd "$1" && pwd)
    end_process "$dir/redis.pid" "$dir" "$2" "$STOP_SECONDS"
}

stop() { end "$1" TERM; }

case "${1:-} $#" in
    'install 1') install ;;
    'start 2') start "$2" ;;
    'stop 2') stop "$2" ;;
    'kill 2') end "$2" KILL ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
