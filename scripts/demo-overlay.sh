#!/usr/bin/env bash
# One network over three hosts: each a network namespace with a weftd of its own, joined by a switch. What is taken away
# comes back; a host is killed and is there again; nothing is left. Nothing on this machine is touched.
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
    WEFT_PUBLIC_DIR=/run/"$1"/public WEFT_POLICY_DIR=/run/"$1"/policies.d)
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
for number in 1 2 3; do
  host=host$number
  mkdir -p /run/$host/policies.d
  ip netns add $host
  ip link add port$number type veth peer name eth0 netns $host
  ip link set port$number master switch up
  ip -n $host link set lo up
  ip -n $host addr add 192.0.2.$number/24 dev eth0
  ip -n $host link set eth0 up
  {
    printf '[[overlay]]\nvni = 40\nname = "vx-blue"\nunderlay = { prefer_interfaces = ["eth0"] }\n'
    printf 'bridge = { name = "br-blue", ipv4 = "10.40.0.%s/24", ipv6 = "fd40::%s/64" }\n' $number $number
    for peer in 1 2 3; do printf '[[peer]]\nid = "host%s"\naddress = "192.0.2.%s"\n' $peer $peer; done
  } >/run/$host/weft.toml
done

say "The file of each host; only the host's own addresses differ"
cat /run/host1/weft.toml
say "A daemon on each host makes bridge, VXLAN device and the list of receivers"
for host in host1 host2 host3; do start $host; done
for host in host1 host2 host3; do soon quietly $host ip link show vx-blue; done
on host1 weft overlay ls
on host1 bridge fdb show dev vx-blue | grep -E '00:00:00:00:00:00|^host1'

say "Containers on each host, here bare network namespaces on the overlay's bridge"
for number in 1 2 3; do
  ip netns add c$number
  ip -n host$number link add veth-c$number type veth peer name eth0 netns c$number
  ip -n host$number link set veth-c$number master br-blue up
  ip -n c$number addr add 10.40.0.1$number/24 dev eth0
  ip -n c$number addr add fd40::1$number/64 dev eth0 nodad
  ip -n c$number link set eth0 mtu 1450 up
done
soon ip netns exec c1 ping -n -q -c 1 -W 1 10.40.0.13
soon ip netns exec c1 ping -n -q -c 1 -W 1 fd40::12
on c1 ping -n -q -c 3 -i 0.2 10.40.0.13
on c1 ping -n -q -c 3 -i 0.2 fd40::12
echo 'c2$ nc -l -p 5000; c1$ nc 10.40.0.12 5000'
ip netns exec c2 busybox nc -l -p 5000 >/run/heard &
sleep 0.3
echo "by TCP, from c1 to c2" | ip netns exec c1 busybox nc 10.40.0.12 5000
wait $!
cat /run/heard

say "Taken away, and put back"
on host1 ip link del vx-blue
soon quietly host1 ip link show vx-blue
soon ip netns exec c1 ping -n -q -c 1 -W 1 10.40.0.13
on c1 ping -n -q -c 1 10.40.0.13

say "A daemon is killed and started again, with packets on their way"
ip netns exec c1 ping -n -q -i 0.02 -c 100 10.40.0.13 >/run/pings &
pings=$!
{ kill -9 "${daemons[host1]}" && wait "${daemons[host1]}" || true; } 2>/dev/null
start host1
wait $pings
grep received /run/pings

say "Removed again"
for host in host1 host2 host3; do on $host weft overlay down; done
for number in 1 2 3; do
  if quietly host$number ip link show br-blue >/dev/null; then echo "demo: br-blue is still there" >&2; exit 1; fi
done
echo "no bridge and no device of the overlay is left on any host"
