#!/usr/bin/env bash
# Containers of Docker whose traffic goes through another container, the gateway, and one whose traffic does not. The outside
# says by which way packets come. The gateway comes back at another address, and the targets follow; it dies, and nothing
# leaves. Docker, its containers and the networks are in a host of their own: nothing on this machine is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${WEFT_RT_TMP:-}" ]; then
  exec env WEFT_BIN_DIR="$PWD/target/bin" WEFT_RT_COVER=/var/lib/weft tests/runtimes/isolated-host.sh "$PWD/scripts/demo-warp.sh"
fi
# shellcheck source=../tests/runtimes/docker-lib.sh
source tests/runtimes/docker-lib.sh
PATH=/opt/cni/bin:$PATH

say() { if [ -t 1 ]; then printf "\n\033[1m# %s\033[0m\n" "$*"; else printf "\n# %s\n" "$*"; fi; }
show() { printf '$ %s\n' "$*"; "$@"; }
fail() { echo "demo: $*" >&2; exit 1; }
# soon COMMAND...: until it succeeds, ten seconds at most.
soon() { for _ in $(seq 500); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.02; done; fail "$* does not succeed"; }
# A host outside that says from which address a container's request comes: the gateway has a way out of its own.
asks() { docker exec "$1" wget -q -O - "http://198.51.100.1/cgi-bin/who" 2>/dev/null || echo nobody; }
comes_from() {
  local from
  from=$(asks "$1")
  echo "$1 is seen as $from"
  [ "$from" = "$2" ] || fail "$1 is to be seen as $2"
}

say "A host outside, which answers with the address that it is asked from"
ip netns exec outside ip addr add 198.51.100.1/32 dev lo
mkdir -p "$WEFT_RT_TMP/outside/cgi-bin"
# shellcheck disable=SC2016
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n%%s" "${REMOTE_ADDR#::ffff:}"\n' >"$WEFT_RT_TMP/outside/cgi-bin/who"
chmod +x "$WEFT_RT_TMP/outside/cgi-bin/who"
ip netns exec outside busybox httpd -f -p 198.51.100.1:80 -h "$WEFT_RT_TMP/outside" &
# Two ways out: Docker's networks leave with one address of the host, the gateway's with another.
ip addr add 192.0.2.3/24 dev uplink

say "Docker, and weftd"
start_docker
import_image
docker version --format 'Docker {{.Server.Version}}'
docker network create inner >/dev/null
docker network create --subnet 10.77.0.0/24 way-out >/dev/null
iptables -t nat -I POSTROUTING -s 10.77.0.0/24 -o uplink -j SNAT --to-source 192.0.2.3
printf '[warp]\n[warp.docker]\nnetns_dir = "%s"\n' $DOCKER_NETNS >/run/weft.toml
export WEFT_CONFIG=/run/weft.toml WEFT_LOG=error
weftd run &
soon weft warp status

say "A gateway, two targets, and a bystander"
# gateway: in the network of the targets, and in one of its own.
gateway() {
  docker create --name warp-gw --network inner $IMAGE sleep 100000 >/dev/null
  docker network connect way-out warp-gw
  docker start warp-gw >/dev/null
}
gateway
run web --network inner --label weft.warp.via=warp-gw
run db --network inner --label weft.warp.via=warp-gw
run bystander --network inner
soon weft warp status
show weft warp status
show weft warp explain web 198.51.100.1 tcp/80
comes_from web 192.0.2.3
comes_from db 192.0.2.3
comes_from bystander 192.0.2.2

say "The gateway comes back at another address: another container has the old one"
old=$(address warp-gw inner)
docker stop -t 0 warp-gw >/dev/null
run stranger --network inner
echo "the stranger has $(address stranger inner), the gateway had $old"
docker start warp-gw >/dev/null
soon weft warp status
echo "the gateway has $(address warp-gw inner)"
comes_from web 192.0.2.3
comes_from db 192.0.2.3

say "The gateway is killed: nothing leaves"
docker kill warp-gw >/dev/null
sleep 0.2
comes_from web nobody
comes_from db nobody
comes_from bystander 192.0.2.2
show weft warp status || true

say "Warp is switched off: containers are as Docker made them"
show weft warp off
comes_from web 192.0.2.2
[ "$(in_netns web ip rule | wc -l)" = 3 ] || fail "web still has rules"

say "Everything of this demonstration goes with its host"
