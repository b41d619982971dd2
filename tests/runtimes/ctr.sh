#!/usr/bin/env bash
# isolated-host.sh ctr.sh CONFLIST
#
# Drives the network of CONFLIST through containerd's ctr and prints PASS or FAIL lines; exit
# status 1 on any FAIL. The conflist needs isGateway and ipMasq.
#
# ctr takes the first file in /etc/cni/net.d and plugins from /opt/cni/bin and /usr/lib/cni,
# both compiled in. It gives no namespace on DEL: the container is gone by then. With -d it
# never runs DEL at all, so the containers here run in the foreground.
#
#   V6=1             the network is dual stack: IPv6 checks too
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh ctr.sh CONFLIST" >&2; exit 2; }

HOST4=192.0.2.2 OUTSIDE4=192.0.2.1 HOST6=2001:db8:2::2 OUTSIDE6=2001:db8:2::1
install_network "$1" >/dev/null
. "$here/containerd-lib.sh"

# run NAME CMD...: in the foreground, to its end. ctr deletes the container's task, then the
# network, then the container.
run() { timeout 300 ctr run --rm --cni $IMAGE "$@" </dev/null; }
# inside NAME CMD...: in a running container.
inside() {
    EXECS=$((${EXECS:-0} + 1))
    timeout $LIMIT ctr task exec --exec-id "x$BASHPID-$EXECS" "$@" </dev/null
}
# serve NAME: a web server in the background, until it is ended. As process 1 it would ignore
# SIGTERM, hence the shell. The status goes to a file, as checks run in subshells.
serve() {
    local log=$WEFT_RT_TMP/serve.$1
    rm -f "$log.status"
    { rc=0; run "$1" sh -c 'trap "exit 0" TERM; httpd -f -p "[::]:80" -h /www & wait' || rc=$?
      echo $rc >"$log.status"; } >"$log" 2>&1 &
}
# An answer proves more than an address: ADD is over and the process has its signal handler.
serves() { fetch "$1" 127.0.0.1; }
# stop NAME SIGNAL STATUS: ends the container; ctr must notice, clean up and end with STATUS.
stop() {
    local log=$WEFT_RT_TMP/serve.$1
    ctr task kill -s "$2" "$1"
    eventually test -s "$log.status" || { echo "ctr run does not end"; return 1; }
    equal status "$(cat "$log.status")" "$3" || { cat "$log"; return 1; }
}
pings() { inside "$1" ping -c 1 -W 1 "$2"; }
pings6() { inside "$1" ping6 -c 1 -W 1 "$2"; }
fetch() { [ "$(inside "$1" timeout 10 wget -q -O - "http://$2/")" = 'hello from a container' ]; }
address() { inside "$1" ip -4 -o addr show dev eth0 | first_address; }
address6() { inside "$1" ip -6 -o addr show dev eth0 scope global | first_address; }
differ() { [ "$1" != "$2" ] || { echo "both have $1"; return 1; }; }

# What one short container does: it prints "ok NAME" for everything that works, and tries
# for a while, as an answer may be late just after the set-up (ARP, duplicate addresses).
PROBE='
ip addr show dev eth0
soon() { n=0; until "$@" >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 30 ] || return 1; done; }
try() { name=$1; shift; soon "$@" && echo "ok $name" || echo "failed $name"; }
gw=$(ip route | sed -n "s/^default via \([^ ]*\).*/\1/p")
ip -4 -o addr show dev eth0 | grep -q inet && echo ok address
try gateway ping -c 1 -W 1 "$gw"
try host ping -c 1 -W 1 '$HOST4'
try outside ping -c 1 -W 1 '$OUTSIDE4'
[ -z "$1" ] && exit
gw=$(ip -6 route | sed -n "s/^default via \([^ ]*\).*/\1/p")
ip -6 -o addr show dev eth0 scope global | grep -q inet6 && echo ok address6
try gateway6 ping6 -c 1 -W 1 "$gw"
try host6 ping6 -c 1 -W 1 '$HOST6'
try outside6 ping6 -c 1 -W 1 '$OUTSIDE6'
exit 0'
said() { grep -qx "ok $1" <<<"$OUTPUT" || { grep -x "failed $1" <<<"$OUTPUT"; return 1; }; }

# Not by "must", which would run it in a subshell: it sets CONTAINERD.
# CRI would load the network as well.
if start_containerd io.containerd.grpc.v1.cri >/dev/null; then pass "containerd starts"; else fail "containerd starts" "$(tail -n 2 "$ROOT/log")"; exit 1; fi
make_image
must "image" ctr image import "$WEFT_RT_TMP/image.tar"

# A network's shared parts (bridge, base chains) may stay: they belong to the warm state.
must "warm-up" run warm true
leak_warm

OUTPUT=$(run probe sh -c "$PROBE" probe "${V6:-}" 2>&1) && pass "run" || fail "run" "$OUTPUT"
check "address on eth0" said address
check "ping gateway" said gateway
check "ping host" said host
check "ping outside, masqueraded" said outside
if [ -n "${V6:-}" ]; then
    check "IPv6 address on eth0" said address6
    check "ping gateway, IPv6" said gateway6
    check "ping host, IPv6" said host6
    check "ping outside, masqueraded, IPv6" said outside6
fi
[ -z "${VERBOSE:-}" ] || echo "$OUTPUT"
leak_check "run"

serve a
serve b
must "a runs" eventually serves a
must "b runs" eventually serves b
know A address a
know B address b
check "a and b have different addresses" differ "$A" "$B"
check_soon "a pings b" pings a "$B"
check_soon "b pings a" pings b "$A"
check_soon "http from b to a" fetch b "$A"
check_soon "b pings outside" pings b $OUTSIDE4
if [ -n "${V6:-}" ]; then
    know A6 address6 a
    know B6 address6 b
    check_soon "a pings b, IPv6" pings6 a "$B6"
    check_soon "http from b to a, IPv6" fetch b "[$A6]"
fi
check "end a" stop a TERM 0
check_soon "b is unharmed" pings b $OUTSIDE4
check "end b" stop b TERM 0
leak_check "two at once"

serve c
check_soon "c runs" serves c
check "kill c" stop c KILL 137
leak_check "killed"

# A command that does not exist: runc fails before or after the network, and nothing may stay.
if run missing /no/such/command >/dev/null 2>&1; then fail "missing command" "ctr says it ran"; else pass "missing command"; fi
leak_check "missing command"

check "containerd stops" stop_containerd
summary
