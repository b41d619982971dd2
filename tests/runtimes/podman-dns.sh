#!/usr/bin/env bash
# isolated-host.sh podman-dns.sh CONFLIST
#
# Containers of Podman (CNI back end) that find each other by name: in networks of `podman network create`, which calls
# weft-dns by the name dnsname, and of `weft network create --dns`. CONFLIST is the pods' network and has no names.
# Prints PASS and FAIL lines; exit status 1 on any FAIL.
#
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh podman-dns.sh CONFLIST" >&2; exit 2; }

NET=$(install_network "$1")
. "$here/podman-lib.sh"
weft() { /opt/cni/bin/weft "$@"; }
says() { local said; said=$("${@:2}" 2>&1 || true); grep -q -- "$1" <<<"$said" || { echo "$said"; return 1; }; }
in_network() { local NET=$1; shift; start "$@"; }
# finds CONTAINER NAME ADDRESS: the name leads there, by the container's own resolv.conf.
finds() { says "^Address[^:]*: *$3\$" inside "$1" nslookup "$2"; }
no_name() { says "NXDOMAIN" inside "$1" nslookup "$2"; }
find_with_musl() { fetch "$1" "$2"; }
daemon() { /opt/cni/bin/weftd run 2>"$WEFT_RT_TMP/weftd.log" & DAEMON=$!; }
# up: the daemon knows all that the store says.
up() { weft status | grep -q '^daemon *ok *weftd answers'; }

# Upstream: a server outside that knows one name.
ip netns exec outside dnsmasq -u root -C /dev/null --no-resolv --no-hosts --local-ttl=60 --pid-file= --log-facility=- \
    --listen-address=$OUTSIDE4 --bind-interfaces --address=/www.example.org/198.51.100.7
mkdir -p /etc/weft-test
printf 'nameserver %s\n' $OUTSIDE4 >"$WEFT_RT_TMP/resolv.conf"
mount --bind "$WEFT_RT_TMP/resolv.conf" /etc/resolv.conf

configure
make_rootfs_tar "$WEFT_RT_TMP/rootfs.tar"
must "image" podman import "$WEFT_RT_TMP/rootfs.tar" $IMAGE
daemon
must "podman makes a network" podman network create --subnet 10.90.0.0/24 --ipv6 --subnet fd90::/64 named
check "with names" says '"type": "dnsname"' cat /etc/cni/net.d/named.conflist
# Podman writes the reference bridge's type; Weft's answers to it.
sed -i 's/"type": "bridge"/"type": "weft-bridge"/' /etc/cni/net.d/named.conflist
must "weft makes one" weft network create --isolation peer --subnet 10.91.0.0/24 --domain prox.example second
must "warm-up: run there" in_network second warm
check "warm-up: remove there" remove warm
# The last one is that which stays: Podman's configuration says nothing of clean-up.
must "warm-up: run" in_network named warm
check "warm-up: remove" remove warm
check_soon "the daemon answers" up
leak_warm

must "run a" in_network named a --network-alias first --network-alias www
must "run b" in_network named b --hostname bee
NET=named
know A address a
know B address b
know B6 address6 b
check "b by its name" finds a b "$B"
check "b by its name, IPv6" finds a b "$B6"
check "b with the network" finds a b.named "$B"
check "b with the domain" finds a b.named.weft.internal "$B"
check "b with the domain that Podman gives" finds a b.dns.podman "$B"
check "a by an alias" finds b www "$A"
check "a by the other alias" finds b first.named.weft.internal "$A"
check "b by its address" says 'name = b\.dns\.podman' inside a nslookup "$B"
check "b by the C library" find_with_musl a b
check "the host" finds a host.containers.internal 10.90.0.1
check "a name outside" finds a www.example.org 198.51.100.7
check "again, from memory" finds a www.example.org 198.51.100.7
check "weft says so" says 'www.example.org' weft dns cache
check "no such name" no_name a nobody.named.weft.internal
check "weft dns query" says "10.90.0" weft dns query b --from a
check "weft dns ls" says 'www.named.weft.internal' weft dns ls --network named

must "run c in the other network" in_network second c
check "c is not found from a" says 'NXDOMAIN\|REFUSED' inside a nslookup c.prox.example
must "podman network connect" podman network connect --alias sea second a
NET=second
know C address c
check_soon "now it is" finds a c.prox.example "$C"
check "by the alias there" says 'sea' weft dns ls --network second
check "a from c by the alias" says '10.91.0' inside c nslookup sea.prox.example
must "podman network disconnect" podman network disconnect second a
check_soon "and not any more" says 'NXDOMAIN\|REFUSED\|SERVFAIL' inside a nslookup c.prox.example
NET=named

must "restart b" podman restart -t 0 b
know B address b
check_soon "b after a restart" finds a b "$B"
must "remove b" remove b
check "b is gone at once" no_name a b.named.weft.internal

must "kill the daemon" kill -9 $DAEMON
wait $DAEMON 2>/dev/null || true
must "run without it" in_network named late
daemon
know LATE address late
check_soon "found when it is back" finds a late "$LATE"
# Podman removes several at once, in whatever order; the last one is that which was the last before.
check "remove c" remove c
check "remove all" remove a late
leak_check_warm "all"
must "remove the network" podman network rm named
must "and the other" weft network rm second
kill -TERM $DAEMON
wait $DAEMON || true
check "the daemon has complained of nothing" refused grep -v ' INFO ' "$WEFT_RT_TMP/weftd.log"
summary
