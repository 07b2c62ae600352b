# shellcheck shell=bash
# Shared by the scripts of the test rig; sourced, never run. Linux (Debian) only: reads /proc.

# say TEXT…: tells the person at the terminal. Standard output belongs to `export` lines.
say() { printf 'test rig: %s\n' "$*" >&2; }

# die TEXT…: says why the rig cannot go on, and stops.
die() {
    say "$*"
    exit 1
}

# as_root COMMAND…: runs it as root, directly or by a sudo that does not ask.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 126
    fi
}

# apt_install PACKAGE…: installs Debian packages without starting a service of theirs, or dies.
# A policy-rc.d that says 101 ("forbidden") is Debian's way to keep a new service from starting; one that is already
# there is the administrator's and stays.
apt_install() {
    command -v apt-get >/dev/null || die "needs $*, and there is no apt-get to install it with: install it by hand"
    as_root true || die "needs $*: run 'apt-get install $*' as root (this is neither root nor a user with a sudo that does not ask)"
    say "installing $* (apt-get)"
    local policy=/usr/sbin/policy-rc.d ours='' status=0 log
    log=$(mktemp)
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    # Package lists may be missing or old: a failed update alone is not the end, a failed install is.
    as_root apt-get update -qq >"$log" 2>&1 || say "apt-get update failed, trying with the lists at hand"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 || status=$?
    [ -z "$ours" ] || as_root rm -f "$policy"
    [ "$status" -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    [ "$status" -eq 0 ] || die "apt-get could not install $*"
}

# make_certificate DIR: an authority of DIR's own (ca.crt), and a certificate by it for 127.0.0.1 (server.crt, server.key).
make_certificate() {
    command -v openssl >/dev/null || apt_install openssl
    (
        cd "$1"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=test authority' -keyout ca.key -out ca.crt
        openssl req -newkey rsa:2048 -nodes -subj /CN=test -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out server.crt \
            -extfile <(printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n')
    ) >"$1/openssl.log" 2>&1 || die "openssl could not make a certificate; log in $1/openssl.log"
}

# is_ours PID DIR: does the process live, and did a script of ours start it for DIR? A process id read from a file may
# belong to somebody else by now; the mark in the environment does not.
is_ours() {
    # Not through a pipe: grep ends at the first match, and whoever still writes to it then would fail the pipeline.
    grep -zqxF "SG_TEST_RIG_DIR=$2" "/proc/$1/environ" 2>/dev/null
}

# end_process FILE DIR SIGNAL SECONDS: sends SIGNAL to the process whose id is in FILE, waits so long for its end, then
# sends KILL. Does nothing if the process is gone or not ours.
end_process() {
    local pid
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    if is_ours "$pid" "$2"; then
        kill "-$3" "$pid" 2>/dev/null || true
        local deadline=$((SECONDS + $4))
        while is_ours "$pid" "$2"; do
            if [ "$SECONDS" -ge "$deadline" ]; then
                say "process $pid did not end within $4 s: killed"
                kill -KILL "$pid" 2>/dev/null || true
                deadline=$((SECONDS + 5))
            fi
            sleep 0.1
        done
    fi
    rm -f "$1"
}
