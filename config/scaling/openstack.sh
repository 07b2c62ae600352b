#!/bin/sh
# Workers as virtual machines of OpenStack, by its command line client: for `service-gateway scale`.
#
#   [services.words.scaling]
#   start_time = "3m"                       # until a machine has booted and its worker consumes
#   spawn = ["/etc/service-gateway/openstack.sh", "spawn", "{name}"]
#   stop = ["/etc/service-gateway/openstack.sh", "stop", "{name}"]
#   list = ["/etc/service-gateway/openstack.sh", "list"]
#
# The image starts `service-gateway worker` (or Celery) at boot, and powers the machine off when that has ended: so a
# machine that is told to stop finishes its task. Set SG_IMAGE, SG_FLAVOR, SG_NETWORK, SG_KEY, and OpenStack's OS_*.
set -eu
case "${1:?spawn, stop or list}" in
spawn)
    openstack server create --image "${SG_IMAGE:?}" --flavor "${SG_FLAVOR:?}" --network "${SG_NETWORK:?}" \
        --key-name "${SG_KEY:?}" --property service-gateway=worker "${2:?a name}" >/dev/null
    ;;
# Soft: ACPI tells the machine, systemd sends its worker SIGTERM and waits (TimeoutStopSec of the unit).
stop) openstack server stop "${2:?a name}" ;;
list)
    # What has powered itself off is done with.
    for name in $(openstack server list --status SHUTOFF --name '^sg-' -f value -c Name); do
        openstack server delete "$name"
    done
    openstack server list --name '^sg-' -f value -c Name
    ;;
*) exit 2 ;;
esac
