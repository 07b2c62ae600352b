#!/usr/bin/env bash
# What `debian.rs` does with the package, in a throwaway copy of a machine: installs it, looks, upgrades, removes, purges.
#
#   installed.sh PACKAGE
set -euo pipefail
package=$1

# same WHAT FOUND EXPECTED
same() {
    [ "$2" = "$3" ] || { printf '%s: found %q, expected %q\n' "$@" >&2 && exit 1; }
}

as_gateway() { # COMMAND…: as the services' user, with what systemd would read from the file beside the configuration
    env $(cat /etc/service-gateway/environment) setpriv --reuid service-gateway --regid service-gateway --clear-groups \
        --no-new-privs "$@"
}

dpkg --install "$package"
echo "-- installed"
same "the configuration's owner" "$(stat -c '%U:%G %a' /etc/service-gateway/gateway.toml)" 'root:service-gateway 640'
same "the key's file" "$(stat -c '%U:%G %a' /etc/service-gateway/environment)" 'root:root 600'
same "the user's shell" "$(getent passwd service-gateway | cut -d: -f7)" /usr/sbin/nologin
cd /
service-gateway --version
as_gateway service-gateway check --config /etc/service-gateway/gateway.toml
as_gateway service-gateway token --config /etc/service-gateway/gateway.toml | grep -qE '^[^.]+\.[^.]+\.[^.]+$'
for page in service-gateway service-gateway-worker service-gateway-serve; do
    gzip -t "/usr/share/man/man1/$page.1.gz"
done
bash -n /usr/share/bash-completion/completions/service-gateway
grep -q '#compdef service-gateway' /usr/share/zsh/vendor-completions/_service-gateway
grep -q 'complete -c service-gateway' /usr/share/fish/vendor_completions.d/service-gateway.fish
dpkg --verify service-gateway | (! grep -v ' c ') # every file as in the package; the configuration's owner is ours

echo "-- the units"
units=(service-gateway-worker@speech.service)
[ ! -e /usr/lib/systemd/system/service-gateway.service ] || units+=(service-gateway.service)
# A systemd that does not know notify-reload yet (before 253) says so and goes on: the unit has another line for it.
found=$(systemd-analyze verify --man=no --recursive-errors=no "${units[@]}" 2>&1 | grep -v 'ignoring: notify-reload' || true)
same "what systemd finds in the units" "$found" ''
for unit in "${units[@]}"; do
    # 0 is all that can be taken away, 100 nothing. Below 30 systemd calls it OK.
    systemd-analyze security --no-pager --offline=true --threshold=30 "$unit" | tail -n 1
done

echo "-- upgraded"
key=$(cat /etc/service-gateway/environment)
echo '# mine' >>/etc/service-gateway/gateway.toml
dpkg --install "$package" </dev/null
tail -n 1 /etc/service-gateway/gateway.toml | grep -qx '# mine'
same "the key after an upgrade" "$(cat /etc/service-gateway/environment)" "$key"
same "the configuration's owner after an upgrade" "$(stat -c '%U:%G %a' /etc/service-gateway/gateway.toml)" \
    'root:service-gateway 640'

echo "-- removed"
dpkg --remove service-gateway
[ ! -e /usr/bin/service-gateway ]
[ -e /etc/service-gateway/gateway.toml ]
mkdir -p /var/lib/service-gateway
touch /var/lib/service-gateway/gateway.db
dpkg --purge service-gateway
for path in /etc/service-gateway /var/lib/service-gateway /usr/share/doc/service-gateway; do
    [ ! -e "$path" ] || { echo "$path is left after a purge" >&2 && exit 1; }
done
echo "-- purged"
