#!/usr/bin/env bash
# A private RabbitMQ node on loopback for tests.
#
#   rabbitmq.sh install        makes sure that RabbitMQ is on the machine (Debian: apt-get; needs root or sudo)
#   rabbitmq.sh start DIR      starts a node that keeps everything in DIR; prints, for eval,
#                                export SG_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:PORT/%2f
#                                export SG_TEST_RABBITMQCTL=DIR/rabbitmqctl
#   rabbitmq.sh stop DIR       stops it in good order, and its epmd
#   rabbitmq.sh kill DIR       kills it at once, as a power cut would
#
# `start` after `stop` or `kill` brings the same node back: same ports, same queues. Ports, data, logs, cookie and epmd
# are the node's own, so that neither a RabbitMQ of the system nor another node of ours is touched. Only processes that
# `start` recorded in DIR are ever stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

readonly START_SECONDS=120 STOP_SECONDS=30

# The scripts that run as any user. Debian's own wrapper in /usr/sbin insists on the user rabbitmq and its directories.
find_scripts() {
    local candidate
    for candidate in /usr/lib/rabbitmq/bin /usr/lib/rabbitmq/lib/*/sbin /opt/rabbitmq/sbin; do
        if [ -x "$candidate/rabbitmq-server" ] && [ -x "$candidate/rabbitmqctl" ]; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

install() {
    if ! find_scripts >/dev/null; then
        apt_install rabbitmq-server
        say "the system's own RabbitMQ was not started; to keep it off after a reboot: systemctl disable rabbitmq-server"
    fi
    find_scripts >/dev/null || die "rabbitmq-server is installed, but its scripts are not where we look (see find_scripts)"
    command -v epmd >/dev/null || die "rabbitmq-server is installed, but Erlang's epmd is not in the PATH"
}

# write_files DIR AMQP_PORT DIST_PORT EPMD_PORT CTL_PORT TLS_PORT: the node's configuration and its rabbitmqctl.
write_files() {
    local dir=$1 scripts
    scripts=$(find_scripts)
    mkdir -p "$dir/home" "$dir/log" "$dir/mnesia"
    printf '%s\n' "$2" "$3" "$4" "$5" "$6" >"$dir/ports"
    [ -s "$dir/server.crt" ] || make_certificate "$dir"
    cat >"$dir/rabbitmq.conf" <<CONF
listeners.tcp.local = 127.0.0.1:$2
listeners.ssl.local = 127.0.0.1:$6
ssl_options.cacertfile = $dir/ca.crt
ssl_options.certfile = $dir/server.crt
ssl_options.keyfile = $dir/server.key
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 50MB
log.file.level = info
CONF
    echo '[].' >"$dir/enabled_plugins"
    : >"$dir/rabbitmq-env.conf" # so that /etc/rabbitmq/rabbitmq-env.conf is not read
    # The variables hold for the server and for rabbitmqctl alike. The +sbw flags keep idle schedulers from spinning;
    # net_setuptime is how long node and rabbitmqctl may take for their handshake: its 7 s are too few for a crowded machine.
    cat >"$dir/environment" <<ENVIRONMENT
export SG_TEST_RIG_DIR='$dir' HOME='$dir/home'
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$4
export RABBITMQ_NODENAME=test-$2@localhost RABBITMQ_DIST_PORT=$3
export RABBITMQ_CTL_DIST_PORT_MIN=$5 RABBITMQ_CTL_DIST_PORT_MAX=$(($5 + 20))
export RABBITMQ_CONFIG_FILE='$dir/rabbitmq.conf' RABBITMQ_CONF_ENV_FILE='$dir/rabbitmq-env.conf'
export RABBITMQ_ENABLED_PLUGINS_FILE='$dir/enabled_plugins' RABBITMQ_PID_FILE='$dir/node.written-by-rabbitmq'
export RABBITMQ_MNESIA_BASE='$dir/mnesia' RABBITMQ_LOG_BASE='$dir/log' RABBITMQ_LOGS='$dir/log/rabbitmq.log'
export RABBITMQ_FEATURE_FLAGS_FILE='$dir/mnesia/feature_flags' RABBITMQ_GENERATED_CONFIG_DIR='$dir/config'
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} net_setuptime 60 +sbwt none +sbwtdcpu none +sbwtdio none'
export RABBITMQ_CTL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} net_setuptime 60 +sbwt none +sbwtdcpu none +sbwtdio none'
unset ERL_FLAGS ERL_AFLAGS ERL_ZFLAGS NOTIFY_SOCKET
ENVIRONMENT
    cat >"$dir/rabbitmqctl" <<CTL
#!/bin/sh
. '$dir/environment'
unset SG_TEST_RIG_DIR # only what start started carries the mark
exec '$scripts/rabbitmqctl' "\$@"
CTL
    chmod 755 "$dir/rabbitmqctl"
}

# launch DIR: starts epmd and the node, each leader of a session of its own (a Ctrl-C at the terminal is not for them:
# whoever started them stops them in order), and waits for the node. Gives 0, or net.py's code.
launch() {
    local dir=$1 port scripts status=0
    scripts=$(find_scripts)
    port=$(head -n 1 "$dir/ports")
    (
        # shellcheck source=/dev/null
        . "$dir/environment"
        cd "$dir"
        # Foreground mode (no -daemon), so that the recorded id is the process itself.
        setsid epmd >>"$dir/log/epmd.log" 2>&1 </dev/null &
        echo $! >"$dir/epmd.pid"
        # RUNNING_UNDER_SYSTEMD makes the script exec the virtual machine: the recorded id is the node itself.
        RUNNING_UNDER_SYSTEMD=true setsid "$scripts/rabbitmq-server" >>"$dir/log/console.log" 2>&1 </dev/null &
        echo $! >"$dir/node.pid"
    )
    python3 "$here/net.py" await-amqp "$port" "$(cat "$dir/node.pid")" "$START_SECONDS" || status=$?
    return "$status"
}

start() {
    local dir=$1 fresh='' tries=0 status
    find_scripts >/dev/null || die "RabbitMQ is not installed: run '$0 install'"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    case $dir in *"'"*) die "a directory with a quote in its name will not do: $dir" ;; esac
    if [ -s "$dir/node.pid" ] && is_ours "$(cat "$dir/node.pid")" "$dir"; then
        die "a node runs in $dir already"
    fi
    [ -s "$dir/ports" ] || fresh=yes
    while :; do
        tries=$((tries + 1))
        # shellcheck disable=SC2046 # five words are meant
        [ -z "$fresh" ] || write_files "$dir" $(python3 "$here/net.py" free 5 "$dir")
        status=0
        launch "$dir" || status=$?
        [ "$status" -ne 0 ] || break
        stop "$dir"
        # Somebody may have taken a port in between: a new node tries others, an old one must have its own.
        if [ -z "$fresh" ] || [ "$status" -ne 1 ] || [ "$tries" -ge 3 ]; then
            tail -n 30 "$dir/log/console.log" >&2
            [ "$status" -eq 1 ] && die "RabbitMQ ended while starting; logs in $dir/log"
            die "RabbitMQ did not answer within $START_SECONDS s; logs in $dir/log"
        fi
    done
    echo "export SG_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:$(head -n 1 "$dir/ports")/%2f"
    echo "export SG_TEST_AMQPS_URL=amqps://guest:guest@127.0.0.1:$(tail -n 1 "$dir/ports")/%2f"
    printf 'export SG_TEST_AMQPS_CA=%q\n' "$dir/ca.crt"
    printf 'export SG_TEST_RABBITMQCTL=%q\n' "$dir/rabbitmqctl"
}

# end DIR SIGNAL: the node first, then its epmd.
end() {
    local dir
    [ -d "$1" ] || return 0
    dir=$(cd "$1" && pwd)
    end_process "$dir/node.pid" "$dir" "$2" "$STOP_SECONDS"
    end_process "$dir/epmd.pid" "$dir" TERM 5
}

stop() { end "$1" TERM; }

case "${1:-} $#" in
    'install 1') install ;;
    'start 2') start "$2" ;;
    'stop 2') stop "$2" ;;
    'kill 2') end "$2" KILL ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
