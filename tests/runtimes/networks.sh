#!/usr/bin/env bash
# isolated-host.sh networks.sh CONFLIST
#
# Networks that `weft network create` makes beside that of CONFLIST, used by Podman (CNI back end). Prints PASS and FAIL
# lines; exit status 1 on any FAIL.
#
#   WEFT_STATE_CMD   a command whose output belongs to the leak check (a dump of the store)
#   VERBOSE=1        print the differences that the leak checks find
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/checks.sh"

[ $# -eq 1 ] || { echo "usage: isolated-host.sh networks.sh CONFLIST" >&2; exit 2; }

NET=$(install_network "$1")
. "$here/podman-lib.sh"
export WEFT_POLICY_DIR=$WEFT_RT_TMP/policies
mkdir -p "$WEFT_POLICY_DIR"
weft() { /opt/cni/bin/weft "$@"; }
# in_network NETWORK NAME [OPTION...]: a web server there.
in_network() { local NET=$1; shift; start "$@"; }
# says PATTERN CMD...: whether it succeeds or not.
says() { local said; said=$("${@:2}" 2>&1 || true); grep -q -- "$1" <<<"$said" || { echo "$said"; return 1; }; }
reaches_once() { timeout $LIMIT podman run --rm --pull never --network "$1" --cap-add NET_RAW $IMAGE ping -c 1 -W 1 "$2"; }
cannot_ping() { ! pings "$@"; }
has() { inside "$1" test -e "/sys/class/net/$2"; }
has_not() { ! has "$@"; }
first_file() { find /etc/cni/net.d -name '*.conflist' -printf '%f\n' | LC_ALL=C sort | head -n 1; }

configure
make_rootfs_tar "$WEFT_RT_TMP/rootfs.tar"
must "image" podman import "$WEFT_RT_TMP/rootfs.tar" $IMAGE
must "warm-up: create" weft network create --isolation none warm
must "warm-up: run" in_network warm w
check "warm-up: remove" remove w
check "warm-up: remove the network" weft network rm warm
leak_warm

must "create demo" weft network create demo
must "create open" weft network create --isolation none --label tier=front open
check "the pods' network is still the first" equal "first file" "$(first_file)" 10-test.conflist
check "podman sees them" says '^demo$' podman network ls --format '{{.Name}}'
check_soon "outside is reached from open" reaches_once open $OUTSIDE4

must "run a in demo" in_network demo a
must "run b in demo" in_network demo b
NET=demo
know B address b
check "a neighbour is refused" cannot_ping a "$B"
printf '[[allow]]\nfrom = { name = "a" }\nto = { name = "b" }\nports = ["icmp"]\n' >"$WEFT_POLICY_DIR/demo.toml"
check "the policy is applied" weft policy apply
check_soon "and is reached" pings a "$B"
check "not the other way" cannot_ping b "$(address a)"
check "weft shows both" equal "endpoints" "$(weft endpoint ls --network demo --quiet | wc -l)" 2
check "as they were made" says 'as it was made' weft endpoint inspect a

check "a running container is connected" weft network connect open a
check "it has a second interface" has a eth1
check "and is in two networks" equal "networks of a" "$(weft endpoint ls --json | grep -c '"name": "a"')" 2
check "and disconnected" weft network disconnect open a
check "the second interface is gone" has_not a eth1
check "a network in use stays" says 'has 2 endpoints' weft network rm demo
check "remove both" remove a b
rm "$WEFT_POLICY_DIR/demo.toml"
check "policies are empty" weft policy apply
check "remove demo" weft network rm demo
leak_check "a network with its containers"

# A container that Weft has no record of.
must "run one without network" in_network none lone
check "it is found by its runtime" weft network connect --interface net1 open lone
check_soon "and reaches outside" pings lone $OUTSIDE4
check "remove it" remove lone
check_soon "what its runtime does not know of ends with gc" says 'ended open/' weft gc

must "run c in open with a port" in_network open c -p 8080:80
check_soon "port from outside" fetch_outside $HOST4:8080
check "a container that Weft does not know by its runtime" weft network disconnect open c
check "is no longer in it" has_not c eth0
check "remove c" remove c
check "podman's word for removing" podman network rm open
check "nothing is listed any more" equal "networks" "$(weft network ls --quiet)" "$(python3 -c 'import json, sys; print(json.load(open("/etc/cni/net.d/10-test.conflist"))["name"])')"
check "prune forgets what is left" weft network prune

must "podman creates one" podman network create --label a=b own
check "it is a network" says '^own .* bridge ' weft network ls
check "its labels are read" says 'labels .*a=b' weft network inspect own
check "weft does not remove it by itself" says 'own.conflist' weft network rm own
check "podman removes it" podman network rm own
leak_check_warm "all in all"
summary
