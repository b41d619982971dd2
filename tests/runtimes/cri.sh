#!/usr/bin/env bash
# isolated-host.sh cri.sh CONFLIST
#
# Drives the network of CONFLIST through containerd's CRI, as a kubelet does, and prints PASS or FAIL lines; exit status
# 1 on any FAIL. containerd runs a plugin called `loopback` before all others. The machine has Weft's programs alone.
#
#   V6=1             the network is dual stack: IPv6 checks too
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh cri.sh CONFLIST" >&2; exit 2; }

HOST4=192.0.2.2 OUTSIDE4=192.0.2.1 HOST6=2001:db8:2::2
install_network "$1" >/dev/null
. "$here/containerd-lib.sh"
# This host's cgroup may lack controllers, and the score may not be lowered.
CRI_CONFIG="[plugins.\"io.containerd.grpc.v1.cri\"]
sandbox_image = \"$IMAGE\"
disable_cgroup = true
restrict_oom_score_adj = true
disable_apparmor = true"

cri() { timeout 120 /usr/bin/python3 "$here/cri.py" "$CONTAINERD_ADDRESS" "$@"; }
ip4() { cri ip "$1" | sed -n 1p; }
pings() { cri exec "$1" ping -c 1 -W 1 "$2"; }
fetch() { [ "$(cri exec "$1" timeout 10 wget -q -O - "http://$2/")" = 'hello from a container' ]; }
fetch_outside() {
    [ "$(timeout 3 ip netns exec outside busybox wget -q -O - "http://$1/")" = 'hello from a container' ]
}
refused() { ! "$@"; }
only_weft() { local file; for file in /opt/cni/bin/*; do [ "$file" -ef /opt/cni/bin/weft ] || [ "$file" = /opt/cni/bin/weftd ] || { echo "$file"; return 1; }; done; }
# pod NAME [HOSTPORT]: runs it; POD is the sandbox, WWW its web server.
pod() {
    local ids
    ids=$(cri run "$1" "$IMAGE" "${@:2}" 2>&1) || { fail "run pod $1" "$ids"; exit 1; }
    read -r POD WWW <<<"$ids"
    pass "run pod $1"
}

check "no other plugin than Weft's" only_weft
if start_containerd >/dev/null; then pass "containerd starts"; else fail "containerd starts" "$(tail -n 2 "$ROOT/log")"; exit 1; fi
make_image
must "image" ctr -n k8s.io image import "$WEFT_RT_TMP/image.tar"
check_soon "the node's network is ready" cri status

# A network beside the node's own is never the pods'.
must "another network" /opt/cni/bin/weft network create other
pod warm
check "the pod is in the node's network" equal "networks" "$(/opt/cni/bin/weft endpoint ls --network other --quiet)" ""
check "the other network goes" /opt/cni/bin/weft network rm other
check "stop" cri stop "$POD"
leak_warm

pod a 8080
A=$POD A_WWW=$WWW
pod b
B=$POD B_WWW=$WWW
know A4 ip4 "$A"
know B4 ip4 "$B"
check "lo is up" cri exec "$A_WWW" ping -c 1 -W 1 127.0.0.1
check_soon "a pings b" pings "$A_WWW" "$B4"
check_soon "http from b to a" fetch "$B_WWW" "$A4"
check_soon "a pings the host" pings "$A_WWW" $HOST4
check_soon "a pings outside, masqueraded" pings "$A_WWW" $OUTSIDE4
check_soon "hostPort from outside" fetch_outside $HOST4:8080
if [ -n "${V6:-}" ]; then
    check "two families" equal "addresses" "$(cri ip "$A" | wc -l)" 2
    check_soon "hostPort from outside, IPv6" fetch_outside "[$HOST6]:8080"
fi
check "stop a" cri stop "$A"
check "hostPort is closed" refused fetch_outside $HOST4:8080
check_soon "b is unharmed" pings "$B_WWW" $OUTSIDE4
check "stop b" cri stop "$B"
leak_check "two pods"

# The port is free for the next pod.
pod c 8080
check_soon "hostPort again" fetch_outside $HOST4:8080
check "stop c" cri stop "$POD"
leak_check_warm "all in all"
check "containerd stops" stop_containerd
summary
