#!/usr/bin/env bash
# Networks over three hosts: each a network namespace with a weftd of its own, joined by a switch. One overlay is routed, two
# are segments with the same addresses, which do not meet. Hosts speak by mutual TLS. What is taken away comes back; a host is
# killed and is there again; nothing is left. Nothing on this machine is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${WEFT_DEMO_HOST:-}" ]; then
  exec env WEFT_DEMO_HOST=1 unshare --net --mount --propagation private "$0" "$@"
fi

export PATH=$PWD/target/bin:$PATH
say() { if [ -t 1 ]; then printf "\n\033[1m# %s\033[0m\n" "$*"; else printf "\n# %s\n" "$*"; fi; }
# on HOST COMMAND...: runs it there, and shows it.
on() { printf '%s$ %s\n' "$1" "${*:2}"; quietly "$@"; }
# places HOST: where the daemon and the commands of a host keep what is theirs; into the array `place`.
places() {
  place=(WEFT_STATE_DIR=/run/"$1"/state WEFT_DATA_DIR=/run/"$1"/data WEFT_CONFIG=/run/"$1"/weft.toml
    WEFT_PUBLIC_DIR=/run/"$1"/public WEFT_POLICY_DIR=/run/"$1"/policies.d NETCONFPATH=/run/"$1"/net.d
    WEFT_CACHE_DIR=/run/"$1"/cache CNI_PATH=$PWD/target/bin)
}
quietly() { places "$1"; ip netns exec "$1" env "${place[@]}" "${@:2}" 2>&1; }
# soon COMMAND...: until it succeeds, ten seconds at most.
soon() { for _ in $(seq 200); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.05; done; echo "demo: $* does not succeed" >&2; exit 1; }
start() { places "$1"; ip netns exec "$1" env "${place[@]}" WEFT_LOG=error weftd run & daemons[$1]=$!; }

mount -t tmpfs tmpfs /run
mkdir -p /run/netns
declare -A daemons
trap 'kill "${daemons[@]}" 2>/dev/null || true' EXIT
ip link add switch type bridge && ip link set switch up

say "An authority, and a certificate for each host"
weft pki init --dir /run/pki
for number in 1 2 3; do weft pki issue host$number 192.0.2.$number --dir /run/pki >/dev/null; done
weft pki show --dir /run/pki

for number in 1 2 3; do
  host=host$number
  mkdir -p /run/$host/policies.d /run/$host/net.d
  ip netns add $host
  ip link add port$number type veth peer name eth0 netns $host
  ip link set port$number master switch up
  ip -n $host link set lo up
  ip -n $host addr add 192.0.2.$number/24 dev eth0
  ip -n $host link set eth0 up
  cat >/run/$host/weft.toml <<CONFIG
[node]
id = "$host"

[security.control_plane.tls]
cert_file = "/run/pki/$host.pem"
key_file = "/run/pki/$host-key.pem"
ca_file = "/run/pki/ca.pem"

[[overlay]]
vni = 50
name = "pods"
mode = "routed"
networks = ["10.50.0.0/16", "fd50::/48"]
underlay = { prefer_interfaces = ["eth0"] }
bridge = { name = "br-pods", ipv4 = "10.50.$number.1/24", ipv6 = "fd50:0:0:$number::1/64" }
routing.import.install.route_lease_seconds = 3

[[overlay]]
vni = 40
name = "blue"
underlay = { prefer_interfaces = ["eth0"] }
bridge = { name = "br-blue", ipv4 = "10.40.0.$number/24" }
containers = ["10.40.0.$((number * 16))/28"]
CONFIG
  # A second segment with the addresses of the first, where the host has none of its own.
  printf '\n[[overlay]]\nvni = 41\nname = "red"\nunderlay = { prefer_interfaces = ["eth0"] }\n' >>/run/$host/weft.toml
  printf 'bridge = { name = "br-red" }\n\n' >>/run/$host/weft.toml
  for peer in 1 2 3; do
    printf '[[peer]]\nid = "host%s"\naddress = "192.0.2.%s"\n' $peer $peer
    printf 'health = { keepalive_interval_ms = 500, dead_after_ms = 2000 }\n'
  done >>/run/$host/weft.toml
done

say "The file of each host; only its own id and addresses differ"
cat /run/host1/weft.toml
say "A daemon on each host makes the overlays, and speaks with the others"
for host in host1 host2 host3; do start $host; done
for host in host1 host2 host3; do soon quietly $host weft overlay peers; done
on host1 weft overlay ls
on host1 weft overlay peers
on host1 weft overlay routes

say "Networks of containers in them, by command; containers on each host"
for host in host1 host2 host3; do
  quietly $host weft network create pods --driver overlay --isolation peer >/dev/null
  quietly $host weft network create blue --driver overlay >/dev/null
done
echo 'host1$ weft network create pods --driver overlay --isolation peer'
for number in 1 2 3; do
  ip netns add c$number
  quietly host$number weft network connect pods /run/netns/c$number >/dev/null
  ip netns add b$number
  quietly host$number weft network connect blue /run/netns/b$number >/dev/null
done
on c1 ip -br addr show dev eth0
on c3 ip -br addr show dev eth0

say "Routed: from c1 on host1 to c3 on host3, by IPv4 and IPv6"
soon ip netns exec c1 ping -n -q -c 1 -W 1 10.50.3.2
soon ip netns exec c1 ping -n -q -c 1 -W 1 fd50:0:0:3::2
on c1 ping -n -q -c 3 -i 0.2 10.50.3.2
on c1 ping -n -q -c 3 -i 0.2 fd50:0:0:3::2
ip netns exec c2 busybox nc -l -p 5000 >/run/heard &
sleep 0.3
echo "by TCP, from c1 to c2" | ip netns exec c1 busybox nc 10.50.2.2 5000
wait $!
cat /run/heard

say "One segment: from b1 to b2, with addresses of one subnet"
soon ip netns exec b1 ping -n -q -c 1 -W 1 10.40.0.32
on b1 ping -n -q -c 3 -i 0.2 10.40.0.32

say "Another overlay with the same addresses: they do not meet"
for number in 1 2; do
  ip netns add r$number
  ip -n host$number link add veth-r$number type veth peer name eth0 netns r$number
  ip -n host$number link set veth-r$number master br-red up
  ip -n r$number link set eth0 mtu 1450 up
done
ip -n r1 addr add 10.40.0.16/24 dev eth0
ip -n r2 addr add 10.40.0.99/24 dev eth0
soon ip netns exec r1 ping -n -q -c 1 -W 1 10.40.0.99
on r1 ping -n -q -c 1 10.40.0.99
if ip netns exec b1 ping -n -q -c 1 -W 1 10.40.0.99 >/dev/null; then echo "demo: red is reached from blue" >&2; exit 1; fi
echo "from blue it is not reached"

say "Taken away, and put back"
on host1 ip link del pods
on host1 ip rule del pref 100 iif br-pods
on host1 ip nexthop flush proto 142
soon ip netns exec c1 ping -n -q -c 1 -W 1 10.50.3.2
on c1 ping -n -q -c 1 10.50.3.2

say "A daemon is killed and started again, with packets on their way"
ip netns exec c1 ping -n -q -i 0.02 -c 100 10.50.3.2 >/run/pings &
pings=$!
{ kill -9 "${daemons[host1]}" && wait "${daemons[host1]}" || true; } 2>/dev/null
start host1
wait $pings
grep received /run/pings

say "A host is killed: its routes go with their lease"
{ kill -9 "${daemons[host3]}" && wait "${daemons[host3]}" || true; } 2>/dev/null
ip -n host3 link set eth0 down
gone() { ! quietly host1 weft overlay routes | grep -q '10.50.3.0/24'; }
soon gone
on host1 weft overlay peers || true
say "It is back"
ip -n host3 link set eth0 up
start host3
soon quietly host1 weft overlay peers
soon ip netns exec c1 ping -n -q -c 1 -W 1 10.50.3.2
on host1 weft overlay routes

say "Removed again"
for number in 1 2 3; do
  quietly host$number weft network disconnect pods /run/netns/c$number >/dev/null
  quietly host$number weft network disconnect blue /run/netns/b$number >/dev/null
done
for host in host1 host2 host3; do quietly $host weft overlay down >/dev/null; done
on host1 weft overlay ls
for host in host1 host2 host3; do
  if quietly $host ip -br link show | grep -E 'br-|pods|blue|red'; then echo "demo: something is still there" >&2; exit 1; fi
  if quietly $host ip rule | grep 142; then echo "demo: a rule is still there" >&2; exit 1; fi
done
echo "no bridge, no device, no rule of an overlay is left on any host"
