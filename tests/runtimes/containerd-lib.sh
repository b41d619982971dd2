# shellcheck shell=bash
# Sourced by the suites that drive containerd: the daemon and an image.

IMAGE=localhost/busybox:test
ROOT=$WEFT_RT_TMP/containerd
export CONTAINERD_ADDRESS=$ROOT/containerd.sock

# start_containerd [PLUGIN]: without the plugins that are not needed: other snapshotters are slow to find out that they
# cannot work.
start_containerd() {
    mkdir -p "$ROOT"
    cat >"$ROOT/config.toml" <<CONF
version = 2
root = "$ROOT/root"
state = "/run/containerd"
disabled_plugins = [${1:+"\"$1\", "}"io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "$CONTAINERD_ADDRESS"
[ttrpc]
address = "$CONTAINERD_ADDRESS.ttrpc"
${CRI_CONFIG:-}
CONF
    containerd --config "$ROOT/config.toml" >"$ROOT/log" 2>&1 &
    CONTAINERD=$!
    eventually ctr version
}

stop_containerd() {
    kill -TERM "$CONTAINERD" && eventually gone "$CONTAINERD"
}

# An image archive as "docker save" makes it, from one layer.
make_image() {
    local dir=$WEFT_RT_TMP/image sum arch
    mkdir "$dir"
    make_rootfs_tar "$dir/layer.tar"
    sum=$(sha256sum "$dir/layer.tar" | cut -d ' ' -f 1)
    case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
    cat >"$dir/config.json" <<JSON
{"architecture":"$arch","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sleep","86400"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$sum"]}}
JSON
    echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"$IMAGE\"],\"Layers\":[\"layer.tar\"]}]" \
        >"$dir/manifest.json"
    tar -C "$dir" -cf "$WEFT_RT_TMP/image.tar" manifest.json config.json layer.tar
    rm -rf "$dir"
}
