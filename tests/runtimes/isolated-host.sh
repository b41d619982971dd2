#!/usr/bin/env bash
# isolated-host.sh CMD [ARG...]
#
# Runs CMD as root in a throw-away host: own mounts, network, hostname, IPC, processes and
# cgroups, so that a real container runtime can be driven without touching the machine it
# runs on. Several of them may run at the same time.
#
#   WEFT_BIN_DIR   directory of plugins, seen as /opt/cni/bin (and /usr/lib/cni where that
#                  exists). 'dir1:dir2' merges: a name is taken from the first that has it.
#   WEFT_RT_COVER  more directories to hide behind an empty tmpfs, ':'-separated.
#
# CMD sees:
#   WEFT_RT_TMP    an empty directory (tmpfs) for storage roots, sockets, images.
#   a namespace "outside" (ip netns exec outside ...), a machine beyond the uplink. It has no
#   route back to any container subnet, so whoever gets an answer from it was masqueraded.
set -euo pipefail

UPLINK4=192.0.2.2 OUTSIDE4=192.0.2.1 UPLINK6=2001:db8:2::2 OUTSIDE6=2001:db8:2::1

die() { echo "isolated-host: $*" >&2; exit 2; }

# ---- on the real host: only a temporary directory and cgroups, both removed at the end ----

# The runtimes make cgroups by name ("libpod_parent", "default"). Starting below an own cgroup
# and unsharing the cgroup namespace there keeps these names apart and easy to remove.
make_cgroups() {
    local name=$1 id controllers path top
    while IFS=: read -r id controllers path; do
        case $controllers in
            name=*) top=/sys/fs/cgroup/${controllers#name=} ;;
            '') top=/sys/fs/cgroup; [ ! -d $top/unified ] || top=$top/unified ;;
            *) top=/sys/fs/cgroup/$controllers ;;
        esac
        [ -e "$top$path/cgroup.procs" ] || continue
        top=${top}${path%/}/$name
        mkdir "$top"
        cgroups+=("$top")
        if [ "$controllers" = cpuset ]; then
            # A cpuset without processors or memory nodes takes no process.
            cat "$top/../cpuset.cpus" >"$top/cpuset.cpus"
            cat "$top/../cpuset.mems" >"$top/cpuset.mems"
        fi
    done </proc/self/cgroup
}

# Runs after SIGTERM too. After SIGKILL all processes, mounts and links still go, but the
# directory and the cgroups stay, empty (weft-rt.*).
cleanup() {
    local left tries=50
    # With its init, every process of the PID namespace dies; mounts and links follow.
    [ -z "${host:-}" ] || kill -KILL "$host" 2>/dev/null || true
    wait || true
    # The last of them may take a moment to leave its cgroup.
    while [ ${#cgroups[@]} -gt 0 ] && [ $tries -gt 0 ]; do
        find "${cgroups[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || true
        left=()
        for c in "${cgroups[@]}"; do [ ! -d "$c" ] || left+=("$c"); done
        cgroups=(${left[@]+"${left[@]}"})
        tries=$((tries - 1))
        [ ${#cgroups[@]} -eq 0 ] || sleep 0.1
    done
    rmdir "$WEFT_RT_TMP" || true
}

outer() {
    [ $# -gt 0 ] || die "usage: isolated-host.sh CMD [ARG...]"
    [ "$(id -u)" = 0 ] || die "must be root"
    export WEFT_RT_TMP WEFT_BIN_DIR=${WEFT_BIN_DIR:-/usr/lib/cni}
    WEFT_RT_TMP=$(mktemp -d -t weft-rt.XXXXXX)
    local -a cgroups=()
    trap cleanup EXIT
    trap 'exit 130' INT TERM HUP
    make_cgroups "$(basename "$WEFT_RT_TMP")"
    (
        for c in ${cgroups[@]+"${cgroups[@]}"}; do echo "$BASHPID" >"$c/cgroup.procs"; done
        # --kill-child takes the namespace down with unshare, --pdeathsig unshare with us.
        exec setpriv --pdeathsig KILL unshare --mount --propagation private --net --uts --ipc \
            --cgroup --pid --fork --kill-child --mount-proc bash "$self" @inside "$@"
    ) <&0 &
    host=$!
    # In the background, so that a signal to this script is acted upon at once.
    local rc=0
    wait "$host" || rc=$?
    host=
    exit "$rc"
}

# ---- inside ----

overlaid=()

# An empty tmpfs over a directory. Where the real host lacks the directory, the nearest parent
# is first covered by an overlay, because creating it for real would leave a trace.
cover() {
    local dir=$1 up=$1 scratch
    if [ ! -d "$dir" ]; then
        while [ ! -d "$up" ]; do up=$(dirname "$up"); done
        # Once: overlays are two deep at most, and a virtual machine's root may be one already.
        if [[ " ${overlaid[*]-} " != *" $up "* ]]; then
            scratch=$(mktemp -d -p "$WEFT_RT_TMP/.host")
            mkdir "$scratch/upper" "$scratch/work"
            mount -t overlay overlay -o "lowerdir=$up,upperdir=$scratch/upper,workdir=$scratch/work" "$up"
            overlaid+=("$up")
        fi
        mkdir -p "$dir"
    fi
    mount -t tmpfs -o mode=755 tmpfs "$dir"
}

mount_sys() {
    local id controllers path top=/sys/fs/cgroup hybrid=
    local -a lines
    mapfile -t lines </proc/self/cgroup
    [ ! -d $top/unified ] || hybrid=/unified
    # A fresh sysfs shows the links of this network namespace, a fresh cgroup mount the part
    # below the root of this cgroup namespace. The old ones go, as runtimes take the first
    # cgroup mount they find in mountinfo.
    umount --recursive --lazy /sys
    mount -t sysfs sysfs /sys
    [ "${#lines[@]}" -eq 1 ] || mount -t tmpfs -o mode=755 tmpfs $top
    while IFS=: read -r id controllers path; do
        case $controllers in
            name=*) mkdir -p "$top/${controllers#name=}"
                    mount -t cgroup -o "none,$controllers" cgroup "$top/${controllers#name=}" ;;
            '') mkdir -p $top$hybrid && mount -t cgroup2 cgroup2 $top$hybrid ;;
            *) mkdir -p "$top/$controllers"
               mount -t cgroup -o "$controllers" cgroup "$top/$controllers" ;;
        esac
    done < <(printf '%s\n' "${lines[@]}")
}

mount_plugins() {
    local merged=$WEFT_RT_TMP/.host/bin dirs dir n=0 f
    mkdir "$merged"
    IFS=: read -ra dirs <<<"$WEFT_BIN_DIR"
    for dir in "${dirs[@]}"; do
        # The sources are reached through a bind mount of their own: one of them may be
        # /usr/lib/cni, which is about to be covered.
        n=$((n + 1))
        mkdir "$WEFT_RT_TMP/.host/bin.$n"
        mount --bind "$dir" "$WEFT_RT_TMP/.host/bin.$n"
        for f in "$WEFT_RT_TMP/.host/bin.$n"/*; do
            [ -e "$merged/${f##*/}" ] || ln -s "$f" "$merged/${f##*/}"
        done
    done
    cover /opt/cni/bin
    # One directory needs no symbolic links, as on a real host.
    [ "${#dirs[@]}" -gt 1 ] || merged=$WEFT_RT_TMP/.host/bin.1
    mount --bind "$merged" /opt/cni/bin
    [ ! -d /usr/lib/cni ] || mount --bind "$merged" /usr/lib/cni
}

make_network() {
    ip link set lo up
    ip netns add outside
    ip link add uplink type veth peer name uplink netns outside
    # nodad: a duplicate address check would only delay the tests.
    ip addr add $UPLINK4/24 dev uplink
    ip addr add $UPLINK6/64 dev uplink nodad
    ip -n outside addr add $OUTSIDE4/24 dev uplink
    ip -n outside addr add $OUTSIDE6/64 dev uplink nodad
    ip -n outside link set lo up
    ip -n outside link set uplink up
    ip link set uplink up
    ip route add default via $OUTSIDE4
    ip -6 route add default via $OUTSIDE6
}

inside() {
    local dirs dir
    mount -t tmpfs -o mode=755 tmpfs "$WEFT_RT_TMP"
    mkdir "$WEFT_RT_TMP"/{.host,home,tmp}
    mount_sys
    for dir in /run /dev/shm /etc/cni /var/lib/cni; do cover "$dir"; done
    IFS=: read -ra dirs <<<"${WEFT_RT_COVER:-}"
    for dir in ${dirs[@]+"${dirs[@]}"}; do cover "$dir"; done
    mount_plugins
    make_network
    hostname weft-test-host
    # Nothing of the caller's configuration, and no systemd of the real host.
    unset XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET
    export HOME=$WEFT_RT_TMP/home TMPDIR=$WEFT_RT_TMP/tmp
    # Not exec: this shell stays process 1 and reaps the orphans that runtimes leave.
    local rc=0
    "$@" || rc=$?
    exit "$rc"
}

self=$(realpath "$0")
if [ "${1:-}" = @inside ]; then shift; inside "$@"; else outer "$@"; fi
