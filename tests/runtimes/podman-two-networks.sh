#!/usr/bin/env bash
# isolated-host.sh podman-two-networks.sh CONFLIST
#
# One container of Podman (CNI back end) in the network of CONFLIST and in that of weft-second.conflist beside it, with
# published ports: Podman gives the same mappings to both. Prints PASS and FAIL lines; exit status 1 on any FAIL.
#
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh podman-two-networks.sh CONFLIST" >&2; exit 2; }

NET=$(install_network "$1")
cp "$here/weft-second.conflist" /etc/cni/net.d/20-second.conflist
. "$here/podman-lib.sh"

# publish NAME NETWORK[,NETWORK]: a web server with ports for everybody, for the host, and of both families.
publish() {
    podman run -d --pull never --name "$1" --network "$2" --cap-add NET_RAW \
        -p 8080:80 -p 127.0.0.1:8081:80 $IMAGE httpd -f -p '[::]:80' -h /www
}
# served NAME: the published ports answer, and the container gets out.
served() {
    check_soon "$1: port from outside" fetch_outside $HOST4:8080
    check_soon "$1: port from outside, IPv6" fetch_outside "[$HOST6]:8080"
    check_soon "$1: port from the host" fetch_host 127.0.0.1:8080
    check_soon "$1: port of the host alone" fetch_host 127.0.0.1:8081
    check "$1: that one not from outside" refused fetch_outside $HOST4:8081
    check_soon "$1: the container gets out" pings a $OUTSIDE4
}
interfaces() { equal "interfaces" "$(inside a ls /sys/class/net | grep -c '^eth')" "$1"; }
closed() { check "$1: the port is closed" refused fetch_outside $HOST4:8080; }

configure
make_rootfs_tar "$WEFT_RT_TMP/rootfs.tar"
must "image" podman import "$WEFT_RT_TMP/rootfs.tar" $IMAGE
must "warm-up: run" publish warm "$NET,second"
check "warm-up: remove" remove warm
leak_warm

must "run in both at once" publish a "$NET,second"
check "two interfaces" interfaces 2
served "both at once"
check "remove" remove a
closed "removed"
leak_check "both at once"

for leave in "$NET" second; do
    must "run in both, to leave $leave" publish a "$NET,second"
    check "disconnect from $leave" podman network disconnect "$leave" a
    check "one interface" interfaces 1
    served "without $leave"
    check "connect to $leave again" podman network connect "$leave" a
    check "two interfaces again" interfaces 2
    served "$leave again"
    check "remove" remove a
    closed "removed after $leave"
    leak_check "disconnect from $leave"
done

must "run in one" publish a "$NET"
check "connect to the second later" podman network connect second a
served "connected later"
check "restart" podman restart -t 0 a
served "restarted"
check "stop" podman stop -t 0 a
closed "stopped"
check "start again" podman start a
served "started again"
check "kill" podman kill a
check "start after the kill" podman start a
served "killed and started"
# Podman can only remove it then.
check "kill container and monitor" kill_hard a
check "remove the killed" remove a
must "run in both again" publish a "$NET,second"
served "run again"
check "remove" remove a
closed "all over"
leak_check_warm "all in all"
summary
