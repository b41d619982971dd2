#!/usr/bin/env bash
# The main job, shown: two containers on a bridge, attached and detached by Weft's own commands,
# and a host that is the same before and after. It happens on a host of its own (a network
# namespace), so that nothing on this machine is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
weft=$PWD/target/bin/weft

if [ -z "${WEFT_DEMO_HOST:-}" ]; then
  exec env WEFT_DEMO_HOST=1 unshare --net --mount --propagation private "$0" "$@"
fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '  $ %s\n' "$*"; "$@" | sed 's/^/    /'; }
# Links, addresses, routes, rules and sysctls: what a container could leave behind.
host_state() {
  ip -br link; ip -br addr; ip route; ip -6 route
  nft --stateless list ruleset; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
}

mount -t tmpfs tmpfs /run
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
export NETCONFPATH=$PWD/conflist-examples CNI_PATH=$PWD/target/bin
export WEFT_STATE_DIR=/run/weft WEFT_DATA_DIR=/run/weft-data
cni() { verb=$1 name=$2; shift 2; run "$weft" cni "$verb" weft-dual "/run/netns/$name" --cache-dir /run/cni "$@"; }
host_state >/run/before

say "Two containers (network namespaces), attached by conflist-examples/dual-stack.conflist"
ip netns add blue
ip netns add green
cni add blue
cni add green

say "Their addresses"
run ip -n blue -br addr show eth0
run ip -n green -br addr show eth0

say "They reach each other and the host"
run ip netns exec blue ping -n -q -c 3 -i 0.2 10.89.0.3
run ip netns exec blue ping -n -q -c 3 -i 0.2 fd89::3
run ip netns exec green ping -n -q -c 1 10.89.0.1

say "CHECK finds them as they should be; the rules name their owners"
cni check blue
run nft list set inet weft masq4

say "What Weft remembers of it"
run "$weft" store check
"$weft" store dump | python3 -c '
import json, sys
dump = json.load(sys.stdin)
for lease, holder in dump["leases"].items():
    print("    lease", lease, "->", holder)
for shared in dump["shared"]:
    print("    shared by", shared["users"], "attachments:", shared["object"]["kind"])'

say "Detached again"
cni del blue
cni del green
ip netns del blue
ip netns del green

say "The host is as it was before"
host_state >/run/after
if diff /run/before /run/after; then
  echo "    no difference in links, addresses, routes, rules and sysctls"
else
  echo "demo: the host has changed" >&2
  exit 1
fi
run "$weft" store dump
