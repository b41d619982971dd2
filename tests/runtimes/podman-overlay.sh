#!/usr/bin/env bash
# isolated-host.sh podman-overlay.sh CONFLIST
#
# Containers of Podman (CNI back end) in overlays that weftd makes, by networks of `weft network create --driver overlay`:
# alone, in two networks, with a published port, without the daemon, and after its restart. CONFLIST is the pods' network.
# Prints PASS and FAIL lines; exit status 1 on any FAIL.
#
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh podman-overlay.sh CONFLIST" >&2; exit 2; }

NET=$(install_network "$1")
. "$here/podman-lib.sh"
weft() { /opt/cni/bin/weft "$@"; }
says() { local said; said=$("${@:2}" 2>&1 || true); grep -q -- "$1" <<<"$said" || { echo "$said"; return 1; }; }
in_network() { local NET=$1; shift; start "$@"; }
daemon() { /opt/cni/bin/weftd run 2>"$WEFT_RT_TMP/weftd.log" & DAEMON=$!; }
address_on() { inside "$1" ip -4 -o addr show dev "$2" | first_address; }

mkdir -p /etc/weft
cat >/etc/weft/weft.toml <<CONFIG
[node]
id = "here"
[security.control_plane]
insecure = true
[[overlay]]
vni = 50
name = "pods"
mode = "routed"
networks = ["10.50.0.0/16"]
underlay = { address = "$HOST4" }
bridge = { name = "br-pods", ipv4 = "10.50.1.1/24" }
[[overlay]]
vni = 40
name = "blue"
underlay = { address = "$HOST4" }
bridge = { name = "br-blue", ipv4 = "10.40.0.1/24" }
containers = ["10.40.0.16/28"]
CONFIG

configure
make_rootfs_tar "$WEFT_RT_TMP/rootfs.tar"
must "image" podman import "$WEFT_RT_TMP/rootfs.tar" $IMAGE
daemon
check_soon "the overlays are there" weft overlay ls
must "a network" weft network create pods --driver overlay --isolation none
must "another one" weft network create blue --driver overlay --isolation peer
must "warm-up: run" in_network pods warm
check "warm-up: remove" remove warm
must "warm-up: run there" in_network blue warm
check "warm-up: remove there" remove warm
leak_warm

must "run a" in_network pods a
must "run b with a published port" in_network pods b -p 8080:80
NET=pods
know A address a
know B address b
check "a has an address of this host's part" equal "address" "${A%.*}" 10.50.1
check_soon "b from a" pings a "$B"
check "by TCP" fetch a "$B"
check_soon "outside" pings a $OUTSIDE4
check "the published port" fetch_outside "$HOST4:8080"
must "run c in both" podman run -d --pull never --name c --network pods,blue --cap-add NET_RAW $IMAGE httpd -f -p '[::]:80' -h /www
check "it has two addresses" equal "addresses of c" "$(inside c ip -4 -o addr show scope global | wc -l)" 2
check_soon "a from c" pings c "$A"
must "run d in the other" in_network blue d
NET=blue
know D address d
check "d has one of the shared subnet's part" equal "address" "${D%.*}" 10.40.0
check_soon "d from c" pings c "$D"
check "outside is refused to a closed network" refused pings d $OUTSIDE4
check "weft says nothing is wrong but the clear" says '^1 finding' weft doctor

must "kill the daemon" kill -9 $DAEMON
wait $DAEMON 2>/dev/null || true
NET=pods
must "run e without it" in_network pods e
check_soon "a from e" pings e "$A"
must "restart b" podman restart -t 0 b
know B address b
check_soon "b from a again" pings a "$B"
daemon
check_soon "nothing is to be changed" says '^nothing to be changed' weft overlay apply --dry-run
check_soon "b from a with it" pings a "$B"
check "remove one after the other" remove c
check "remove the rest" remove a b d e
leak_check_warm "all"
must "remove the network" weft network rm pods
must "and the other" weft network rm blue
check "take the overlays down" weft overlay down
check "nothing is left" refused ip link show br-pods
kill -TERM $DAEMON
wait $DAEMON || true
summary
