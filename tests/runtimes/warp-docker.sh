#!/usr/bin/env bash
# Containers of Docker that are led through another one. The outside tells by which way a packet has come: the gateway's network
# leaves the host with an address of its own. Run through isolated-host.sh.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=checks.sh
source "$here/checks.sh"
# shellcheck source=docker-lib.sh
source "$here/docker-lib.sh"
# shellcheck source=warp-lib.sh
source "$here/warp-lib.sh"
PATH=/opt/cni/bin:$PATH

OUTSIDE=192.0.2.1 HOST=192.0.2.2 BY_GATEWAY=192.0.2.3 OUTSIDE6=2001:db8:2::1
export WEFT_CONFIG=/run/weft.toml WEFT_PUBLIC_DIR=/run/weft-pub

# ---- the daemon ----

start_warp() { weftd warp "$@" >>"$WEFT_RT_TMP/warp.log" 2>&1 & WARP=$!; eventually weft warp status --json >/dev/null; eventually answers docker; }
answers() { weft warp status --json | grep -q '"version": "1'; }
stop_warp() { kill "${1:--TERM}" $WARP; wait $WARP 2>/dev/null || true; }

# ---- what the outside sees ----

# direct, led: whether a container's echo request comes as it would without Weft, or by the gateway.
seen_as() {
    local from=$1 name=$2 to=${3:-$OUTSIDE}
    watch "icmp and icmp[0] == 8 and src $from"
    docker exec "$name" ping -c 2 -i 0.1 -W 1 "$to" >/dev/null || true
    [ "$(counted)" -ge 1 ]
}
led() { seen_as $BY_GATEWAY "$1"; }
direct() { seen_as $HOST "$1"; }
pings() { docker exec "$1" ping -c 1 -W 1 "${2:-$OUTSIDE}"; }
pings6() { docker exec "$1" ping6 -c 1 -W 1 "${2:-$OUTSIDE6}"; }
refused() { ! "$@"; }
field() { weft warp status --json | python3 -c "
import json, sys
all = json.load(sys.stdin)
print([one['$2'] for one in all['targets'] + all['gateways'] if one['name'] == '$1'][0])"; }
rules() { in_netns "$1" ip -4 rule; in_netns "$1" ip -6 rule; in_netns "$1" ip -4 route show table all; in_netns "$1" ip -6 route show table all; }
# Weft's own.
own() { { in_netns "$1" ip -4 rule; in_netns "$1" ip -6 rule; in_netns "$1" ip -4 route show table all; in_netns "$1" ip -6 route show table all; } | grep -c 'proto 142' || true; }
own_is() { equal "what Weft has in $1" "$(own "$1")" "$2"; }
target() { local name=$1; shift; run "$name" --network inner --label weft.warp.via=warp-gw "$@"; }

gateway() {
    docker create --name "${1:-warp-gw}" --network inner $IMAGE sleep 100000 >/dev/null
    docker network connect out "${1:-warp-gw}"
    docker start "${1:-warp-gw}" >/dev/null
}

ip addr add $BY_GATEWAY/24 dev uplink
start_docker --live-restore
import_image
docker network create --subnet 10.70.0.0/24 inner >/dev/null
docker network create --subnet 10.77.0.0/24 out >/dev/null
docker network create --subnet 10.78.0.0/24 other >/dev/null
docker network create --ipv6 --subnet 10.79.0.0/24 --subnet fd79::/64 six >/dev/null
iptables -t nat -I POSTROUTING -s 10.77.0.0/24 -o uplink -j SNAT --to-source $BY_GATEWAY
ip netns exec outside ip -6 route add fd79::/64 via 2001:db8:2::2
ip6tables -P FORWARD ACCEPT
sysctl -qw net.ipv6.conf.all.forwarding=1
cat >/run/weft.toml <<TOML
[warp]
[warp.docker]
netns_dir = "$DOCKER_NETNS"
TOML

# ---- a bystander is not touched ----

run bystander --network inner
rules bystander >"$WEFT_RT_TMP/bystander"
start_warp
gateway
target web
check_soon "a target is led" state_is web led
check "the outside sees the gateway" led web
check "a bystander is seen as itself" direct bystander
unchanged() { rules bystander | diff "$WEFT_RT_TMP/bystander" -; }
check "a bystander's rules and routes are the same, byte for byte" unchanged
check "neighbours are reached without the gateway" pings web "$(address bystander inner)"
check "the way is explained" grep -q "by the gateway warp-gw" <(weft warp explain web $OUTSIDE tcp/443)

# ---- from its first instruction on ----

# first NAME...: a container whose first instruction sends; nothing of it may come by the old way.
first() {
    watch "ip and src $HOST"
    local name
    for name in "$@"; do
        docker run -d --name "$name" --network inner --label weft.warp.via=warp-gw $IMAGE \
            sh -c "for n in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 1 $OUTSIDE; echo x | nc -u -w 1 $OUTSIDE 7; done; sleep 100000" >/dev/null &
    done
    local jobs
    jobs=$(jobs -rp | grep -vx -e "$WARP" -e "$TCPDUMP" -e "$DOCKERD" || true)
    for name in $jobs; do [ "$(cat "/proc/$name/comm" 2>/dev/null)" = containerd ] || wait "$name"; done
    sleep 1
    equal "packets by the old way" "$(counted)" 0
}
check "the first instruction's packets go by the gateway" first early
check "20 targets that start together: no packet by the old way" first many-{1..20}
check_soon "the last of them is led" state_is many-20 led
docker rm -f early many-{1..20} >/dev/null

# ---- the gateway's life ----

check "a gateway is restarted" docker restart -t 0 warp-gw
check_soon "its targets follow" led web
stranger() {
    local old
    old=$(address warp-gw inner)
    docker stop -t 0 warp-gw && run stranger --network inner && docker start warp-gw
    equal "the stranger's address" "$(address stranger inner)" "$old"
}
check "it comes back at another address, and a stranger has the old one" stranger
check_soon "its targets follow it there" led web
# In the stranger's namespace nothing of the target is seen.
told_stranger() {
    local pid
    pid=$(docker inspect -f '{{.State.Pid}}' stranger)
    docker stop -t 0 warp-gw >/dev/null
    nsenter -t "$pid" -n tcpdump -lnni eth0 "icmp and dst $OUTSIDE" >"$WEFT_RT_TMP/stranger" 2>/dev/null &
    local dump=$!
    sleep 0.3
    pings web >/dev/null 2>&1 || true
    sleep 0.3
    kill $dump
    [ ! -s "$WEFT_RT_TMP/stranger" ]
}
check "a stopped gateway's stranger hears nothing of its targets" told_stranger
check "without a gateway nothing leaves" refused pings web
check "nor does it for a container that starts then" target late
check_soon "it is closed" state_is late closed
says_why() { equal "the problem" "$(field late problem 2>/dev/null)" "the gateway warp-gw does not run"; }
check_soon "and says why" says_why
check "the gateway starts" docker start warp-gw
check_soon "both are led" led late
check_soon "both are led, the first one too" led web
docker rm -f stranger late >/dev/null
killed() { docker kill warp-gw >/dev/null; refused pings web; }
check "the moment a gateway is killed nothing leaves" killed
docker start warp-gw >/dev/null
check_soon "it is back" led web
removed() { docker rm -f warp-gw >/dev/null && refused pings web && gateway; }
check "a gateway is removed and made anew" removed
check_soon "its targets follow the new one" led web

# ---- what targets ask for ----

run direct --network inner --label weft.warp.via=warp-none --label weft.warp.on-missing=direct
check "on-missing direct: it leaves as it would without Weft" direct direct
check_soon "its state says so" state_is direct direct
run waits --network inner --label weft.warp.via=warp-none --label weft.warp.on-missing=wait
check "on-missing wait: it is closed" refused pings waits
gateway warp-none
check_soon "both are led when there is one" led waits
check_soon "the one that was open too" led direct
docker rm -f waits direct warp-none >/dev/null
run some --network inner --label weft.warp.via=warp-gw --label "weft.warp.rules=198.51.100.0/24; all tcp:9"
ip netns exec outside ip addr add 198.51.100.1/32 dev lo
check_soon "only some destinations: those are led" seen_as $BY_GATEWAY some 198.51.100.1
check "others are not" direct some
watch "tcp[tcpflags] == tcp-syn and dst port 9 and src $BY_GATEWAY"
docker exec some nc -w 1 $OUTSIDE 9 </dev/null >/dev/null 2>&1 || true
check "a port is led by its rule" [ "$(counted)" -ge 1 ]
docker rm -f some >/dev/null
run by-network --network inner --label weft.warp.via=inner/warp-gw
check_soon "network/name" led by-network
run by-prefix --network inner --label weft.warp.via=warp-g
check "a name that begins like a gateway's is none" refused pings by-prefix
run broken --network inner --label weft.warp.via=a/b/c
check "a label that cannot be understood opens nothing" refused pings broken
check "it is said in one line" grep -q "broken: label weft.warp.via: \"a/b/c\" must be" "$WEFT_RT_TMP/warp.log"
check "the others go on" led by-network
docker rm -f by-network by-prefix broken >/dev/null

# ---- networks come and go ----

target two
docker network connect other two
check_soon "a target in two networks" led two
docker network disconnect inner two
check_soon "the network of the gateway is gone: nothing leaves" refused pings two
docker network connect inner two
check_soon "it is back: it is led" led two
docker rm -f two >/dev/null

# ---- published ports ----

docker run -d --name server --network inner --label weft.warp.via=warp-gw -p 8080:80 $IMAGE httpd -f -p 80 -h /www >/dev/null
fetches() { [ "$(ip netns exec outside timeout 3 busybox wget -q -O - http://$HOST:8080/)" = 'hello from a container' ]; }
check_soon "a published port of a target answers" fetches
check "what it sends itself is led" led server
docker rm -f server >/dev/null

# ---- IPv6 ----

docker network connect six warp-gw
run v6 --network six --label weft.warp.via=warp-gw
sends6() { # direct6 COUNT
    watch "icmp6 and ip6[40] == 128 and src $(docker inspect -f '{{.NetworkSettings.Networks.six.GlobalIPv6Address}}' v6)"
    pings6 v6 >/dev/null 2>&1 || true
    counted
}
check_soon "both families are led" state_is v6 led
check "IPv6 goes to the gateway" equal "packets by the old way" "$(sends6)" 0
docker network disconnect six warp-gw
docker rm -f v6 >/dev/null
run v6 --network six --label weft.warp.via=warp-gw
docker network connect inner v6
check_soon "the gateway has no IPv6: IPv4 is led" led v6
check "and IPv6 is closed" equal "packets by the old way" "$(sends6)" 0
docker rm -f v6 >/dev/null
run v6 --network six --label weft.warp.via=warp-gw --label weft.warp.ipv6=keep
docker network connect inner v6
check_soon "ipv6: keep" led v6
kept6() { [ "$(sends6)" -ge 1 ]; }
check "IPv6 leaves as it would without Weft" kept6
docker rm -f v6 >/dev/null

# ---- the daemons come and go ----

stop_warp -KILL
check "without weftd what was right stays" led web
target dark
check "a target that starts without weftd is not led" direct dark
start_warp
check_soon "weftd is back: it is led" led dark
exposed() { [ "$(field dark exposed_seconds 2>/dev/null || field dark exposedSeconds)" != None ]; }
check "and said to have been open" exposed
check "one that was led all the time is not" equal exposed "$(field web exposedSeconds)" None
docker rm -f dark >/dev/null
stop_dockerd() { kill "$(cat $DOCKER_RUN/docker.pid)"; wait "$DOCKERD" 2>/dev/null || true; }
away() { weft warp status --json | grep -q '"error": "'; }
stop_dockerd
check_soon "Docker is away, and it is said" away
gateway_pid() { pgrep -f 'sleep 100000' >/dev/null; }
check "rules stay as they are" gateway_pid
start_dockerd --live-restore
check_soon "Docker is back" answers
check_soon "targets are led" led web
pid=$(docker inspect -f '{{.State.Pid}}' warp-gw)
target_pid=$(docker inspect -f '{{.State.Pid}}' web)
stop_dockerd
kill -KILL "$pid"
closed_now() { ! nsenter -t "$target_pid" -n ping -c 1 -W 1 $OUTSIDE; }
check_soon "a gateway that dies while Docker is away: nothing leaves" closed_now
start_dockerd --live-restore
eventually docker start warp-gw >/dev/null
check_soon "it is back, and targets are led" led web

# Without live restore Docker starts its containers again before it answers.
docker run -d --name sender --restart always --network inner --label weft.warp.via=warp-gw $IMAGE \
    sh -c "while :; do ping -c 1 -W 1 $OUTSIDE; sleep 0.05; done" >/dev/null
docker update --restart always warp-gw web bystander >/dev/null
check_soon "a target that sends all the time" state_is sender led
watch "ip and src $HOST and icmp"
stop_dockerd
start_dockerd
check_soon "Docker is restarted with its containers, and answers" answers
check_soon "and the sender is led" state_is sender led
sleep 0.5
check "nothing of it has come by the old way" equal "packets" "$(counted)" 0
docker rm -f sender >/dev/null
check "a bystander has nothing of Weft's, as Docker has started it again" own_is bystander 0
rules bystander >"$WEFT_RT_TMP/bystander"

# ---- killed at each message ----

calls() { ip link del leftover 2>/dev/null; strace -f -qq -o "$WEFT_RT_TMP/calls" -e trace=sendto,sendmsg "$@"; }
kills() {
    local number wrong=''
    for number in $(seq 1 7 60); do
        docker restart -t 0 web >/dev/null &
        local restart=$!
        strace -f -qq -o /dev/null -e trace=sendto,sendmsg -e inject=sendto,sendmsg:signal=KILL:when="$number" \
            weftd warp >/dev/null 2>&1 &
        local traced=$!
        wait $restart
        kill -KILL $traced 2>/dev/null || true
        wait $traced 2>/dev/null || true
        pkill -KILL -x weftd || true
        start_warp
        eventually led web || wrong="$wrong $number"
        # Two rules and two routes a family.
        eventually own_is web 7 || wrong="$wrong $number:$(own web)"
        stop_warp -KILL
    done
    equal "wrong after message" "$wrong" ''
}
stop_warp
check "killed at each message, it is all put right" kills
start_warp

# ---- off ----

check "weft warp off" weft warp off
check "nothing of Weft's is in a target" own_is web 0
check "nor in a gateway" own_is warp-gw 0
check "nor its table" refused in_netns warp-gw nft list table inet weft-warp
check "forwarding is as it was" equal forwarding "$(in_netns warp-gw cat /proc/sys/net/ipv4/ip_forward)" 0
check "containers are as Docker made them" direct web
check "weft warp on" weft warp on
check_soon "it is led again" led web
stop_warp -KILL
check "off without a daemon" weft warp off
check "leaves nothing either" own_is web 0
check "no record is left" equal records "$(find /run/weft/warp -type f | wc -l)" 0
check "a bystander's rules and routes are the same, to the end" unchanged

# ---- by TCP, in clear and with certificates ----

# proxy PORT [CERTIFICATES]: to Docker's socket; with certificates by TLS, for those that have one of the same authority.
cat >"$WEFT_RT_TMP/proxy.py" <<'PYTHON'
import socket, ssl, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
context = None
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2] + "/docker.pem", sys.argv[2] + "/docker-key.pem")
    context.load_verify_locations(sys.argv[2] + "/ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
def carry(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end in one, other:
        try: end.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    client, _ = server.accept()
    try:
        if context: client = context.wrap_socket(client, server_side=True)
    except (ssl.SSLError, OSError):
        continue
    docker = socket.socket(socket.AF_UNIX)
    docker.connect("/run/docker.sock")
    for pair in (client, docker), (docker, client):
        threading.Thread(target=carry, args=pair, daemon=True).start()
PYTHON
weft pki init --dir /run/pki >/dev/null
for name in docker weft; do weft pki issue $name 127.0.0.1 --dir /run/pki >/dev/null; done
mkdir /run/pki/weft
cp /run/pki/ca.pem /run/pki/weft/ca.pem
cp /run/pki/weft.pem /run/pki/weft/cert.pem
cp /run/pki/weft-key.pem /run/pki/weft/key.pem
/usr/bin/python3 "$WEFT_RT_TMP/proxy.py" 2375 &
/usr/bin/python3 "$WEFT_RT_TMP/proxy.py" 2376 /run/pki 2>/dev/null &
by() { weft warp check -- --docker-connection-method "$1" --docker-host "127.0.0.1:$2" | grep -q "docker: $3.* answers"; }
check_soon "Docker answers by TCP" by http 2375 http
export WEFT_WARP_DOCKER_CERT_DIR=/run/pki/weft
check_soon "Docker answers by TLS" by ssl 2376 https
cp /run/pki/ca.pem /run/other-ca.pem
weft pki init --dir /run/other >/dev/null
cp /run/other/ca.pem /run/pki/weft/ca.pem
check "one of another authority is not believed" refused by ssl 2376 https
cp /run/other-ca.pem /run/pki/weft/ca.pem
start_warp --docker-connection-method ssl --docker-host 127.0.0.1:2376
check_soon "a target is led by what is said by TLS" led web
docker restart -t 0 warp-gw >/dev/null
check_soon "and follows" led web
stop_warp

# ---- without rights ----

lacking() {
    local rc=0 out
    out=$(setpriv --bounding-set -sys_admin --inh-caps -sys_admin weftd warp 2>&1) || rc=$?
    equal "exit status" $rc 77 && equal lines "$(wc -l <<<"$out")" 1 && grep -q CAP_SYS_ADMIN <<<"$out"
}
check "without CAP_SYS_ADMIN it says so in one line" lacking
check "the configuration is checked" weft warp check
printf '[warp]\ntarget = 1\n' >/run/wrong.toml
wrong() { ! WEFT_CONFIG=/run/wrong.toml weft warp check 2>&1 | tee /dev/stderr | grep -q understood; }
check "a wrong one is refused" wrong
summary
