#!/usr/bin/env bash
# Podman's containers on networks of Weft, led by weft-warp in the plugin chain: the gateway is in two networks, and both give it a
# default route. Run through isolated-host.sh.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=checks.sh
source "$here/checks.sh"
NET=inner
# shellcheck source=podman-lib.sh
source "$here/podman-lib.sh"
PATH=/opt/cni/bin:$PATH
BY_GATEWAY=192.0.2.3
export WEFT_PUBLIC_DIR=/run/weft-pub

# network NAME SUBNET MASQUERADE [PLUGIN]
network() {
    cat >"/etc/cni/net.d/$1.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "$1", "plugins": [
  {"type": "weft-bridge", "bridge": "br-$1", "isDefaultGateway": true, "ipMasq": $3, "antiSpoof": true,
   "ipam": {"type": "weft-ipam", "ranges": [[{"subnet": "$2"}]]}}, {"type": "weft-firewall", "ingressPolicy": "open"}${4:-}]}
JSON
}
mkdir -p /etc/cni/net.d
network inner 10.70.0.0/24 true ', {"type": "weft-warp", "via": "warp-gw"}'
network out 10.77.0.0/24 false
configure
ip addr add $BY_GATEWAY/24 dev uplink
iptables -P FORWARD DROP
iptables -t nat -A POSTROUTING -s 10.77.0.0/24 -o uplink -j SNAT --to-source $BY_GATEWAY
make_rootfs_tar "$WEFT_RT_TMP/image.tar"
podman import "$WEFT_RT_TMP/image.tar" $IMAGE >/dev/null 2>&1
run() { podman run -d --pull never --cap-add NET_RAW --name "$1" --network "$2" "${@:3}" $IMAGE sleep 100000 >/dev/null; }
# seen_as ADDRESS CONTAINER
seen_as() {
    ip netns exec outside tcpdump -lnni uplink -Q in "icmp and icmp[0] == 8 and src $1" >"$WEFT_RT_TMP/seen" 2>"$WEFT_RT_TMP/tcpdump" &
    local dump=$!
    until grep -q listening "$WEFT_RT_TMP/tcpdump"; do sleep 0.01; done
    podman exec "$2" ping -c 2 -W 1 $OUTSIDE4 >/dev/null || true
    sleep 0.2
    kill $dump
    grep -q ' > ' "$WEFT_RT_TMP/seen"
}
refused() { ! "$@"; }
weftd run >"$WEFT_RT_TMP/weftd.log" 2>&1 &
check_soon "weftd answers" weft dns ls
run warp-gw inner,out
run web inner
check_soon "a target is led" weft warp status
check_soon "the outside sees the gateway's own network" seen_as $BY_GATEWAY web
check "a record names its gateway" grep -q '"ledBy"' <(weft store dump)
check "the way is explained" grep -q "by the gateway warp-gw" <(weft warp explain web $OUTSIDE4)
know neighbour address warp-gw
check "neighbours are reached" pings web "$neighbour"
podman stop -t 0 warp-gw >/dev/null
check "the gateway is stopped: nothing leaves" refused pings web $OUTSIDE4
run filler inner
podman start warp-gw >/dev/null
check_soon "it is back at another address, and is followed" seen_as $BY_GATEWAY web
podman restart -t 0 web >/dev/null
check_soon "a target is restarted" seen_as $BY_GATEWAY web
check "disconnect" podman network disconnect inner web
check "connect again" podman network connect inner web
check_soon "it is led again" seen_as $BY_GATEWAY web
check "remove" remove web filler warp-gw
check_soon "no record is left" refused grep -q '"warp"' <(weft store dump)
check "the ruleset is as it should be" weft firewall diff
summary
