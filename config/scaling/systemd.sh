#!/bin/sh
# Workers as instances of a systemd template unit on this machine: for `service-gateway scale`.
#
#   [services.words.scaling]
#   spawn = ["/etc/service-gateway/systemd.sh", "spawn", "{name}"]
#   stop = ["/etc/service-gateway/systemd.sh", "stop", "{name}"]
#   list = ["/etc/service-gateway/systemd.sh", "list"]
#
# The unit /etc/systemd/system/words-worker@.service: ExecStart=service-gateway worker --name %i words, KillMode=mixed,
# TimeoutStopSec= as long as a task may take, Restart=no (the daemon replaces it).
set -eu
unit=${SG_UNIT:-words-worker}
case "${1:?spawn, stop or list}" in
spawn) systemctl start --no-block "$unit@${2:?a name}.service" ;;
# --no-block: it finishes its task first.
stop) systemctl stop --no-block "$unit@${2:?a name}.service" ;;
list)
    systemctl list-units --plain --no-legend --state=active,activating,deactivating "$unit@*.service" |
        sed -n "s/^$unit@\([^ ]*\)\.service .*/\1/p"
    ;;
*) exit 2 ;;
esac
