#!/bin/sh
# Makes .env for compose.yaml: passwords and the key that tokens are signed with. One that is there stays.
set -eu
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "$PWD/.env is there already: nothing is changed" >&2
    exit 0
fi
umask 077
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
cat >.env.new <<END
GATEWAY_AUTH_KEY=$(head -c 64 /dev/urandom | base64 | tr -d '\n')
RABBITMQ_PASSWORD=$(random 24)
POSTGRES_PASSWORD=$(random 24)
GRAFANA_PASSWORD=$(random 12)
END
mv .env.new .env
