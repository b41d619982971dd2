# shellcheck shell=bash
# Sourced by the suites that drive Podman: its configuration, and what is asked of its containers.

HOST4=192.0.2.2 OUTSIDE4=192.0.2.1 HOST6=2001:db8:2::2 OUTSIDE6=2001:db8:2::1
IMAGE=localhost/busybox:test

# Not above the hard limits of the caller: raising them needs CAP_SYS_RESOURCE.
hard() { local n; n=$(ulimit "$1"); [ "$n" != unlimited ] && [ "$n" -lt 1024 ] && echo "$n" || echo 1024; }

configure() {
    local root=$WEFT_RT_TMP/podman nofile nproc
    nofile=$(hard -Hn) nproc=$(hard -Hu)
    mkdir -p "$root"
    cat >"$root/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=$nofile:$nofile", "nproc=$nproc:$nproc"]
# No limits: this host's cgroup may lack controllers.
pids_limit = 0
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "$NET"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
static_dir = "$root/libpod"
volume_path = "$root/volumes"
tmp_dir = "/run/libpod"
image_copy_tmp_dir = "$root"
CONF
    cat >"$root/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$root/storage"
runroot = "/run/containers/storage"
CONF
    export CONTAINERS_CONF=$root/containers.conf CONTAINERS_STORAGE_CONF=$root/storage.conf
}

# start NAME [OPTION...]: a web server in the background. NET_RAW is for ping.
start() {
    local name=$1
    shift
    podman run -d --pull never --name "$name" --network "$NET" --cap-add NET_RAW "$@" \
        $IMAGE httpd -f -p '[::]:80' -h /www
}
inside() { local c=$1; shift; timeout $LIMIT podman exec "$c" "$@"; }
pings() { inside "$1" ping -c 1 -W 1 "$2"; }
pings6() { inside "$1" ping6 -c 1 -W 1 "$2"; }
fetch() { [ "$(inside "$1" timeout 10 wget -q -O - "http://$2/")" = 'hello from a container' ]; }
fetch_host() { [ "$(timeout 3 busybox wget -q -O - "http://$1/")" = 'hello from a container' ]; }
fetch_outside() {
    [ "$(timeout 3 ip netns exec outside busybox wget -q -O - "http://$1/")" = 'hello from a container' ]
}
refused() { ! "$@"; }
field() { podman inspect -f "{{(index .NetworkSettings.Networks \"$NET\").$2}}" "$1"; }
address() { inside "$1" ip -4 -o addr show dev eth0 | first_address; }
address6() { inside "$1" ip -6 -o addr show dev eth0 scope global | first_address; }
# address_is CONTAINER ADDRESS: inside, and to podman's knowledge.
address_is() { equal "address inside" "$(address "$1")" "$2" && equal "podman's address" "$(field "$1" IPAddress)" "$2"; }
mac_is() { equal "MAC inside" "$(inside "$1" cat /sys/class/net/eth0/address)" "$2" && equal "podman's MAC" "$(field "$1" MacAddress)" "$2"; }
# -t 0: busybox as process 1 does not mind SIGTERM, so waiting would be in vain.
remove() { podman rm -f -t 0 "$@"; }
visible() { podman network ls --format '{{.Name}}' | grep -qx "$NET"; }
no_eth0() { inside "$1" test ! -e /sys/class/net/eth0; }
host_pings() { ping -c 1 -W 1 "$1"; }

reaches() {   # what every working container can do
    local c=$1 peer=$2 at
    know at address "$peer"
    check_soon "$3: ping the other container" pings "$c" "$at"
    check_soon "$3: ping outside" pings "$c" $OUTSIDE4
    if [ -n "${V6:-}" ]; then
        know at address6 "$peer"
        check_soon "$3: ping6 the other container" pings6 "$c" "$at"
    fi
}

# Kills a container together with its monitor, so that nobody cleans up in time.
kill_hard() {
    local pids pid
    read -ra pids <<<"$(podman inspect -f '{{.State.ConmonPid}} {{.State.Pid}}' "$1")"
    for pid in "${pids[@]}"; do kill -KILL "$pid" || return 1; done
    for pid in "${pids[@]}"; do eventually gone "$pid" || return 1; done
}
