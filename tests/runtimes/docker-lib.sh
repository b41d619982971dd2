# shellcheck shell=bash
# Sourced by what drives Docker in an isolated host: dockerd with a containerd of its own, and a small image.

# Debian's programs, where others come first on the PATH.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
DOCKER_RUN=/run/docker-test
DOCKER_NETNS=$DOCKER_RUN/exec/netns
IMAGE=weft-busybox
export DOCKER_HOST=unix:///run/docker.sock

start_containerd() {
    containerd --root $DOCKER_RUN/containerd/root --state $DOCKER_RUN/containerd/state -a $DOCKER_RUN/containerd.sock \
        >>"$WEFT_RT_TMP/containerd.log" 2>&1 &
    until [ -S $DOCKER_RUN/containerd.sock ]; do sleep 0.02; done
}

# start_dockerd [OPTION...]: until it answers.
start_dockerd() {
    local tries=500
    dockerd --containerd $DOCKER_RUN/containerd.sock --data-root "$WEFT_RT_TMP/docker" --exec-root $DOCKER_RUN/exec \
        -H $DOCKER_HOST -p $DOCKER_RUN/docker.pid "$@" >>"$WEFT_RT_TMP/dockerd.log" 2>&1 &
    DOCKERD=$!
    until docker version >/dev/null 2>&1; do
        sleep 0.02
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { tail -n 20 "$WEFT_RT_TMP/dockerd.log" >&2; return 1; }
    done
}

# start_docker [OPTION...]
start_docker() {
    mkdir -p $DOCKER_RUN "$WEFT_RT_TMP/docker"
    start_containerd
    start_dockerd "$@"
}

# A root file system out of the static busybox.
import_image() {
    local root=$WEFT_RT_TMP/image applet busybox
    busybox=$(command -v busybox)
    mkdir -p "$root"/{bin,proc,sys,dev,etc,tmp,www}
    cp "$busybox" "$root/bin/busybox"
    for applet in sh ip ping ping6 wget httpd sleep nc cat ls true awk; do ln -sf busybox "$root/bin/$applet"; done
    echo 'hello from a container' >"$root/www/index.html"
    tar -C "$root" --numeric-owner -c . | docker import - $IMAGE >/dev/null
    rm -rf "$root"
}

# run NAME [OPTION...]: a container that stays.
run() {
    local name=$1
    shift
    docker run -d --name "$name" "$@" $IMAGE sleep 100000 >/dev/null
}

# in_netns CONTAINER COMMAND...: in its network namespace, with the host's programs.
in_netns() {
    local name=$1 pid
    shift
    pid=$(docker inspect -f '{{.State.Pid}}' "$name") && nsenter -t "$pid" -n "$@"
}

# address CONTAINER NETWORK
address() { docker inspect -f "{{(index .NetworkSettings.Networks \"$2\").IPAddress}}" "$1"; }
