#!/usr/bin/env bash
# The main job, shown: networks and containers by Weft's own commands, what may reach what and why, what was done and how
# long it took, and a host that is the same before and after. It happens on a host of its own (a network namespace), so
# that nothing on this machine is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${WEFT_DEMO_HOST:-}" ]; then
  exec env WEFT_DEMO_HOST=1 unshare --net --mount --propagation private "$0" "$@"
fi

export PATH=$PWD/target/bin:$PATH CNI_PATH=$PWD/target/bin
say() { if [ -t 1 ]; then printf "\n\033[1m# %s\033[0m\n" "$*"; else printf "\n# %s\n" "$*"; fi; }
run() { printf '$ %s\n' "$*"; "$@" 2>&1; }
# Its failure is what is to be seen.
fails() { printf '$ %s\n' "$*"; if "$@" 2>&1; then echo "demo: should have failed" >&2; exit 1; fi; }
# Links, addresses, routes, rules and sysctls: what a container could leave behind.
host_state() {
  ip -br link; ip -br addr; ip route; ip -6 route
  nft --stateless list ruleset; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
}

mount -t tmpfs tmpfs /run
export NETCONFPATH=/run/net.d WEFT_STATE_DIR=/run/weft WEFT_DATA_DIR=/run/weft-data WEFT_CACHE_DIR=/run/cni
export WEFT_POLICY_DIR=/run/policies.d WEFT_CONFIG=/run/weft.toml WEFT_PUBLIC_DIR=/run/weft-pub
mkdir -p /run/policies.d
# No server of others: this host is alone.
printf '[dns]\nupstreams = []\n' >/run/weft.toml
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for name in web db guest; do ip netns add $name; done
host_state >/run/before

say "The daemon, which answers questions for names; everything else works without it"
echo '$ weftd run &'
WEFT_LOG=error weftd run &
daemon=$!
trap 'kill $daemon 2>/dev/null || true' EXIT

say "Two networks; any CNI runtime (Podman, containerd, CRI-O) can use them from now on"
run weft network create --dns --label tier=front shop
run weft network create --isolation none --ipv6 open

say "Three containers, here as bare network namespaces"
run weft network connect --label app=web shop /run/netns/web
run weft network connect --label app=db shop /run/netns/db
run weft network connect open /run/netns/guest
run weft network ls
run weft endpoint ls

say "In a network of isolation full no connection is allowed until a policy says so"
fails ip netns exec web ping -n -q -c 1 -W 1 172.20.0.3
run weft policy explain web db icmp
cat >/run/policies.d/shop.toml <<'TOML'
[[allow]]
name = "web asks db"
from = { label = { app = "web" } }
to = { label = { app = "db" } }
ports = ["icmp", "tcp/5432"]
TOML
run cat /run/policies.d/shop.toml
run weft policy apply
run weft policy explain web db icmp
run ip netns exec web ping -n -q -c 1 172.20.0.3

say "Containers find each other by name: at the gateway of their network, and nobody else's names"
run ip netns exec web busybox nslookup db.shop.weft.internal 172.20.0.1
run ip netns exec db busybox nslookup 172.20.0.2 172.20.0.1
fails ip netns exec web busybox nslookup guest.shop.weft.internal 172.20.0.1
run weft dns query --from web db

say "What one of them is like at this moment"
run weft endpoint inspect web

say "What was done, with the time of each part in milliseconds; rules stand before the link is up"
run weft ops --verb ADD --plugin weft-bridge
say "And as metrics for Prometheus"
printf '$ weft metrics | grep ...\n'
weft metrics | grep -E '^(vnet_[a-z_]+_total|weft_firewall|weft_ipam.*shop)'

say "How the host stands"
run weft status
run weft doctor

say "Removed again"
fails weft network rm shop
run weft network rm --force shop open
kill $daemon
wait $daemon
for name in web db guest; do ip netns del $name; done
for name in web db guest; do ip netns add $name; done
host_state >/run/after
if diff /run/before /run/after; then
  echo "no difference in links, addresses, routes, rules and sysctls"
else
  echo "demo: the host has changed" >&2
  exit 1
fi
