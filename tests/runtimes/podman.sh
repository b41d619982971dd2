#!/usr/bin/env bash
# isolated-host.sh podman.sh CONFLIST
#
# Drives the network of CONFLIST through podman (CNI back end) and prints PASS or FAIL lines;
# exit status 1 on any FAIL. The conflist needs an IPAM that takes requests, a way to the host, and one
# to outside: isGateway and ipMasq, or the uplink as a master with hostAccess.
#
#   V6=1             the network is dual stack: IPv6 checks too
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh podman.sh CONFLIST" >&2; exit 2; }

NET=$(install_network "$1")
. "$here/podman-lib.sh"

configure
must "network visible" visible
make_rootfs_tar "$WEFT_RT_TMP/rootfs.tar"
must "image" podman import "$WEFT_RT_TMP/rootfs.tar" $IMAGE

# Published ports, where the network has a plugin for them.
PUBLISH=()
! grep -q portMappings "$1" || PUBLISH=(-p 8080:80 -p 127.0.0.1:8081:80)

# A network's shared parts (bridge, base chains) may stay: they belong to the warm state.
must "warm-up: run" start warm ${PUBLISH[@]+"${PUBLISH[@]}"}
check "warm-up: remove" remove warm
leak_warm

must "run a" start a
must "run b" start b
know A address a
know B address b
GATEWAY=$(field a Gateway)
check_soon "a pings b" pings a "$B"
check_soon "b pings a" pings b "$A"
check_soon "ping gateway" pings a "$GATEWAY"
check_soon "ping host" pings a $HOST4
check_soon "host pings container" host_pings "$A"
check_soon "ping outside, masqueraded" pings a $OUTSIDE4
check_soon "http from b to a" fetch b "$A"
if [ -n "${V6:-}" ]; then
    know A6 address6 a
    know B6 address6 b
    GATEWAY6=$(field a IPv6Gateway)
    check_soon "a pings b, IPv6" pings6 a "$B6"
    check_soon "b pings a, IPv6" pings6 b "$A6"
    check_soon "ping gateway, IPv6" pings6 a "$GATEWAY6"
    check_soon "ping host, IPv6" pings6 a $HOST6
    check_soon "ping outside, masqueraded, IPv6" pings6 a $OUTSIDE6
    check_soon "http from b to a, IPv6" fetch b "[$A6]"
fi
check "remove b" remove b
check "remove a" remove a
leak_check "remove two"

# Two containers: one option must not hide that the other was not honoured.
start a >/dev/null
WANT=${A%.*}.77
check "run with --ip" start c --ip "$WANT"
check "--ip honoured" address_is c "$WANT"
reaches c a "--ip"
if ! grep -q weft-ipvlan "$1"; then   # whose MAC is the master's
    check "run with --mac-address" start d --mac-address 0a:58:0a:4d:00:99
    check "--mac-address honoured" mac_is d 0a:58:0a:4d:00:99
    reaches d a "--mac-address"
    check "remove d" remove d
fi
check "remove both" remove a c
leak_check "static address and MAC"

start a >/dev/null
start b >/dev/null
check "disconnect" podman network disconnect "$NET" b
check "disconnected: no eth0" no_eth0 b
check "connect" podman network connect "$NET" b
reaches b a "reconnected"
check "restart" podman restart -t 0 b
reaches b a "restarted"
# Unlike restart, these are two commands: DEL and ADD come from different processes.
check "stop" podman stop -t 0 b
check "start again" podman start b
reaches b a "started again"
check "remove both" remove a b
leak_check "disconnect, connect, restart, stop"

start a >/dev/null
start b >/dev/null
check "kill container and monitor" kill_hard b
check "remove the killed" remove b
check_soon "the other is unharmed" pings a $OUTSIDE4
check "remove the other" remove a
leak_check "killed"

if [ ${#PUBLISH[@]} -gt 0 ]; then
    must "run with published ports" start a "${PUBLISH[@]}"
    start b >/dev/null
    check_soon "port from outside" fetch_outside $HOST4:8080
    check_soon "port from the host, 127.0.0.1" fetch_host 127.0.0.1:8080
    check_soon "port from the host, own address" fetch_host $HOST4:8080
    check_soon "port from another container" fetch b $HOST4:8080
    check_soon "port from the container itself" fetch a $HOST4:8080
    check_soon "loopback port from the host" fetch_host 127.0.0.1:8081
    check "loopback port not from outside" refused fetch_outside $HOST4:8081
    [ -z "${V6:-}" ] || check_soon "port from outside, IPv6" fetch_outside "[$HOST6]:8080"
    check "restart with published ports" podman restart -t 0 a
    check_soon "port from outside after a restart" fetch_outside $HOST4:8080
    check "remove the publisher" remove a
    check "removed port is closed" refused fetch_outside $HOST4:8080
    check "remove the other one" remove b
    leak_check "published ports"
fi

leak_check_warm "all in all"
summary
