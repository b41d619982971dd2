#!/usr/bin/env bash
# Containers of Podman, on networks of the reference plugins, that are led through another one: by the API of its service. Run
# through isolated-host.sh.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=checks.sh
source "$here/checks.sh"
NET=inner
# shellcheck source=podman-lib.sh
source "$here/podman-lib.sh"
# shellcheck source=warp-lib.sh
source "$here/warp-lib.sh"
PATH=/opt/cni/bin:$PATH
BY_GATEWAY=192.0.2.3
export WEFT_CONFIG=/run/weft.toml WEFT_PUBLIC_DIR=/run/weft-pub

network() {
    cat >"/etc/cni/net.d/$1.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "$1", "plugins": [
  {"type": "bridge", "bridge": "br-$1", "isGateway": true, "ipMasq": $3, "hairpinMode": true,
   "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$2"}]]}}]}
JSON
}
mkdir -p /etc/cni/net.d
network inner 10.70.0.0/24 true
network out 10.77.0.0/24 false
configure
ip addr add $BY_GATEWAY/24 dev uplink
iptables -t nat -A POSTROUTING -s 10.77.0.0/24 -o uplink -j SNAT --to-source $BY_GATEWAY
make_rootfs_tar "$WEFT_RT_TMP/image.tar"
podman import "$WEFT_RT_TMP/image.tar" $IMAGE >/dev/null 2>&1
podman system service -t 0 unix:///run/podman.sock >"$WEFT_RT_TMP/service.log" 2>&1 &
SERVICE=$!
cat >/run/weft.toml <<TOML
[warp]
docker_connection_method = "none"
[warp.podman]
socket = "/run/podman.sock"
TOML
start_warp() { weftd warp >>"$WEFT_RT_TMP/warp.log" 2>&1 & WARP=$!; }
answers() { weft warp status --json | grep -q '"version": "1'; }

run() { podman run -d --pull never --cap-add NET_RAW --name "$1" --network "$2" "${@:3}" $IMAGE sleep 100000 >/dev/null; }
seen_as() {
    watch "icmp and icmp[0] == 8 and src $1"
    podman exec "$2" ping -c 2 -i 0.1 -W 1 $OUTSIDE4 >/dev/null || true
    [ "$(counted)" -ge 1 ]
}
in_netns() { local pid; pid=$(podman inspect -f '{{.State.Pid}}' "$1") && nsenter -t "$pid" -n "${@:2}"; }
rules() { in_netns "$1" ip -4 rule; in_netns "$1" ip -4 route show table all; }
refused() { ! "$@"; }

run bystander inner
rules bystander >"$WEFT_RT_TMP/bystander"
start_warp
check_soon "Podman's service answers" answers
run warp-gw inner,out
run web inner --label weft.warp.via=warp-gw
check_soon "a target is led" state_is web led
check "the outside sees the gateway" seen_as $BY_GATEWAY web
check "a bystander is seen as itself" seen_as $HOST4 bystander
unchanged() { rules bystander | diff "$WEFT_RT_TMP/bystander" -; }
check "its rules and routes are the same, byte for byte" unchanged
# With events in a file Podman tells of a container up to 250 ms late: then what it sent meanwhile is said.
first() {
    watch "ip and src $HOST4 and icmp"
    podman run -d --pull never --cap-add NET_RAW --name "$1" --network inner --label weft.warp.via=warp-gw $IMAGE \
        sh -c "for n in 1 2 3 4 5; do ping -c 1 -W 1 $OUTSIDE4; done; sleep 100000" >/dev/null
    sleep 1
    [ "$(counted)" = 0 ] || weft warp status --json | grep -q '"exposedSeconds": [0-9]'
}
check "what the first instruction sends by the old way is said" first early
check_soon "it is led" state_is early led
podman rm -f -t 0 early >/dev/null
podman restart -t 0 warp-gw >/dev/null
check_soon "the gateway is restarted, and its targets follow" seen_as $BY_GATEWAY web
podman stop -t 0 warp-gw >/dev/null
check "it is stopped: nothing leaves" refused podman exec web ping -c 1 -W 1 $OUTSIDE4
run filler inner
podman start warp-gw >/dev/null
check_soon "it is back at another address, and they follow" seen_as $BY_GATEWAY web
podman kill warp-gw >/dev/null
closed() { ! podman exec web ping -c 1 -W 1 $OUTSIDE4; }
check "it is killed: nothing leaves" closed
podman start warp-gw >/dev/null
check_soon "it is back" seen_as $BY_GATEWAY web
podman restart -t 0 web >/dev/null
check_soon "a target is restarted" seen_as $BY_GATEWAY web
kill $SERVICE
wait $SERVICE 2>/dev/null || true
away() { weft warp status --json | grep -q '"error": "'; }
check_soon "the service ends, and it is said" away
check "rules and routes stay as they are" seen_as $BY_GATEWAY web
check "weft warp off" weft warp off
check "the target is as Podman made it" seen_as $HOST4 web
check "and has no rule" refused grep -q 'lookup 77' <(rules web)
kill $WARP
summary
