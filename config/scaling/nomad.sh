#!/bin/sh
# Workers as dispatched instances of a parameterized Nomad job: for `service-gateway scale`.
#
#   [services.words.scaling]
#   spawn = ["/etc/service-gateway/nomad.sh", "spawn", "{name}"]
#   stop = ["/etc/service-gateway/nomad.sh", "stop", "{name}"]
#   list = ["/etc/service-gateway/nomad.sh", "list"]
#
# The job `words-worker` is of type batch, with `parameterized { meta_required = ["worker"] }`; its task runs
# `service-gateway worker --name ${NOMAD_META_worker} words`, with kill_signal = "SIGTERM" and a kill_timeout as long as a
# task may take.
set -eu
job=${SG_JOB:-words-worker}
case "${1:?spawn, stop or list}" in
spawn) nomad job dispatch -detach -meta "worker=${2:?a name}" -id-prefix-template "${2}" "$job" >/dev/null ;;
stop)
    nomad job status | awk -v name="${2:?a name}" 'index($1, name) && $4 != "dead" { print $1 }' |
        while read -r id; do nomad job stop -detach "$id" >/dev/null; done
    ;;
list) nomad job status | awk -v job="$job/dispatch-" 'index($1, job) && $4 != "dead" { print $1 }' |
    sed -n 's/^.*\/dispatch-\(sg-[a-z0-9-]*-[0-9a-f]\{8\}\).*/\1/p' ;;
*) exit 2 ;;
esac
