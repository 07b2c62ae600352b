#!/usr/bin/env bash
# A private PostgreSQL server on loopback for tests.
#
#   postgres.sh install        makes sure that PostgreSQL is on the machine (Debian: apt-get; needs root or sudo)
#   postgres.sh start DIR      starts a server that keeps everything in DIR; prints, for eval,
#                                export SG_TEST_POSTGRES_URL=postgres://gateway:secret@127.0.0.1:PORT/postgres
#                                export SG_TEST_POSTGRES_CA=DIR/server.crt
#   postgres.sh stop DIR       stops it in good order; connections are cut
#   postgres.sh kill DIR       stops it at once, without a word to the disk: it recovers at the next start
#   postgres.sh kill9 DIR      kills it and every process of its (SIGKILL)
#   postgres.sh give PATH      gives a file or directory to the user that the server runs as
#
# `start` after one of these brings the same server back: same port, same data. Nothing of it is the system's, so that
# neither a PostgreSQL of the system nor another server of ours is touched. Only a process that `start` recorded in DIR
# is ever stopped. PostgreSQL refuses to run as root: then it runs as the user `postgres` (or `nobody`).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

readonly START_SECONDS=60 STOP_SECONDS=30

# The newest of the installed ones.
find_programs() {
    local candidate
    for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/local/pgsql/bin | sort -rV); do
        if [ -x "$candidate/postgres" ] && [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_isready" ]; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

install() {
    find_programs >/dev/null || apt_install postgresql openssl
    find_programs >/dev/null || die "postgresql is installed, but its programs are not where we look (see find_programs)"
    command -v openssl >/dev/null || apt_install openssl
}

# as_user COMMAND…: runs it as a user that PostgreSQL accepts. It becomes the command: same process id.
as_user() {
    if [ "$(id -u)" -ne 0 ]; then
        exec "$@"
    fi
    local user=postgres
    id -u "$user" >/dev/null 2>&1 || user=nobody
    exec setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups "$@"
}

give() {
    [ "$(id -u)" -ne 0 ] || chown "$(id -u postgres 2>/dev/null || id -u nobody)" "$1"
}

# make DIR: a new cluster. As root, others may pass through DIR and the directory above it, without looking into them.
make() {
    local dir=$1 programs
    programs=$(find_programs)
    mkdir -p "$dir/data" "$dir/log"
    chmod 700 "$dir/data"
    if [ "$(id -u)" -eq 0 ]; then
        chmod o+x "$dir" "$(dirname "$dir")"
        local user=postgres
        id -u "$user" >/dev/null 2>&1 || user=nobody
        chown "$user" "$dir/data" "$dir/log"
        (as_user test -x "$dir/data") || die "the user $user cannot reach $dir: a directory above it keeps others out"
    fi
    printf 'secret' >"$dir/password"
    chmod 644 "$dir/password"
    (
        cd "$dir"
        as_user "$programs/initdb" --pgdata="$dir/data" --username=gateway --pwfile="$dir/password" \
            --auth=scram-sha-256 --encoding=UTF8 --no-locale --no-instructions >"$dir/log/initdb.log" 2>&1
    ) || {
        cat "$dir/log/initdb.log" >&2
        die "initdb failed"
    }
    (
        as_user openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test \
            -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
            -keyout "$dir/data/server.key" -out "$dir/data/server.crt" >"$dir/log/openssl.log" 2>&1
    ) || die "openssl could not make a certificate; log in $dir/log"
    cp "$dir/data/server.crt" "$dir/server.crt"
    chmod 644 "$dir/server.crt"
    # Everybody by SCRAM, but for the one whom the tests are most of the time: it costs an unoptimised program a lot.
    sed -i '1i host all gateway 127.0.0.1/32 password' "$dir/data/pg_hba.conf"
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 64MB
max_wal_size = 256MB
ssl = on
log_line_prefix = '%m [%p] %a '
CONF
}

# launch DIR: starts the server as the leader of a session of its own (a Ctrl-C at the terminal is not for it: whoever
# started it stops it in order), and waits for it. Gives 0, 1 if it ended, 2 if it does not answer.
launch() {
    local dir=$1 port programs pid
    port=$(cat "$dir/port")
    programs=$(find_programs)
    (
        export SG_TEST_RIG_DIR=$dir
        cd "$dir/data"
        as_user setsid "$programs/postgres" -D "$dir/data" -p "$port" >>"$dir/log/postgres.log" 2>&1 </dev/null
    ) &
    pid=$!
    echo "$pid" >"$dir/server.pid"
    local deadline=$((SECONDS + START_SECONDS))
    until "$programs/pg_isready" -q -h 127.0.0.1 -p "$port" -t 2; do
        kill -0 "$pid" 2>/dev/null || return 1
        [ "$SECONDS" -lt "$deadline" ] || return 2
        sleep 0.1
    done
    # Somebody else's server may have taken the port while ours ended.
    is_ours "$pid" "$dir" || return 1
}

start() {
    local dir=$1 fresh='' tries=0 status
    find_programs >/dev/null || die "PostgreSQL is not installed: run '$0 install'"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if [ -s "$dir/server.pid" ] && is_ours "$(cat "$dir/server.pid")" "$dir"; then
        die "a server runs in $dir already"
    fi
    [ -s "$dir/data/PG_VERSION" ] || { make "$dir" && fresh=yes; }
    while :; do
        tries=$((tries + 1))
        [ -z "$fresh" ] || python3 "$here/net.py" free 1 "$dir" >"$dir/port"
        status=0
        launch "$dir" || status=$?
        [ "$status" -ne 0 ] || break
        stop "$dir"
        # Somebody may have taken the port in between: a new server tries another, an old one must have its own.
        if [ -z "$fresh" ] || [ "$status" -ne 1 ] || [ "$tries" -ge 3 ]; then
            tail -n 30 "$dir/log/postgres.log" >&2
            [ "$status" -eq 1 ] && die "PostgreSQL ended while starting; logs in $dir/log"
            die "PostgreSQL did not answer within $START_SECONDS s; logs in $dir/log"
        fi
    done
    echo "export SG_TEST_POSTGRES_URL=postgres://gateway:secret@127.0.0.1:$(cat "$dir/port")/postgres"
    printf 'export SG_TEST_POSTGRES_CA=%q\n' "$dir/server.crt"
}

end() {
    local dir
    [ -d "$1" ] || return 0
    dir=$(cd "$1" && pwd)
    end_process "$dir/server.pid" "$dir" "$2" "$STOP_SECONDS"
}

# Backends lead sessions of their own; what the server was started with tells them.
kill9() {
    local dir environment
    [ -d "$1" ] || return 0
    dir=$(cd "$1" && pwd)
    end_process "$dir/server.pid" "$dir" KILL 5
    { grep -slzxF "SG_TEST_RIG_DIR=$dir" /proc/[0-9]*/environ || true; } | while IFS=/ read -r _ _ pid _; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    # Whoever adopted the server may take its time to notice its end; until then the next one would take it for alive.
    rm -f "$dir/data/postmaster.pid"
}

# INT: connections are cut and the data is written down; TERM would wait for the clients.
stop() { end "$1" INT; }

case "${1:-} $#" in
    'install 1') install ;;
    'start 2') start "$2" ;;
    'stop 2') stop "$2" ;;
    'kill 2') end "$2" QUIT ;;
    'kill9 2') kill9 "$2" ;;
    'give 2') give "$2" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
