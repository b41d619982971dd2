#!/usr/bin/env bash
# Puts Debian 12's kernel, and what mounts the host's files in a virtual machine, into
# target/vm/kernel; does nothing if it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
vm=$PWD/target/vm

die() { echo "vm-kernel.sh: $*" >&2; exit 1; }

# The kernel is unpacked only, not installed: the host keeps its own.
unpack_kernel() {
  local new image boot version offset
  new=$(mktemp -d "$vm/new.XXXXXX")
  image=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2 }')
  [ -n "$image" ] || die "apt knows no linux-image-amd64; try apt-get update"
  # The warning is about a directory that apt's own user cannot write.
  (cd "$new" && apt-get download -qq -o APT::Sandbox::User=root "$image" && dpkg -x ./*.deb . && rm ./*.deb)
  version=${image#linux-image-} boot=$new/boot/vmlinuz-$version
  depmod -b "$new" "$version"
  # Decompressed here it starts sooner: the emulated processor is slow at that.
  offset=$(LC_ALL=C grep -abo -m 1 -P '\xfd7zXZ\x00' "$boot" | cut -d: -f1 | sed -n 1p)
  xz -dc --single-stream < <(tail -c "+$((offset + 1))" "$boot") >"$new/vmlinux"
  make_initrd "$new" "$version"
  cp scripts/vm-kernel.sh "$new/made-by"
  mv -T "$new" "$vm/kernel" 2>/dev/null || rm -r "$new" # another run was first
}

# Just enough to mount the host's files.
make_initrd() {
  local tree=$1/initrd.d module
  mkdir -p "$tree"/{bin,proc,host,shared,checkout,top,root}
  cp "$(command -v busybox)" "$tree/bin/"
  for module in virtio_pci virtio_console 9pnet_virtio 9p overlay; do
    modprobe -d "$1" -S "$2" --show-depends "$module"
  done | sed -n 's/^insmod \(.*\.ko\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
    cp "$module" "$tree/"
    echo "insmod /${module##*/}"
  done >"$tree/modules"
  # The kernel makes the run= of its command line an environment variable.
  cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
. /modules
p9=trans=virtio,version=9p2000.L,msize=512000
# loose: without a cache every start of a program would read it from the host again.
mount -t 9p -o "ro,cache=loose,$p9" host /host
mount -t tmpfs tmpfs /top
mkdir /top/upper /top/work
mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work overlay /root
mount -t tmpfs -o mode=1777 tmpfs /root/tmp
mount -t tmpfs -o mode=755 tmpfs /root/run
mount -t sysfs sysfs /root/sys
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
mount -t 9p -o "$p9" shared /shared
vm=$(cat "/shared/$run/vm")
# The checkout once more, where it is on the host: it may be below /tmp, or another directory that is the guest's own.
checkout=${vm%/target/vm}
mkdir -p "/root$checkout" /top/changed /top/changing
mount -o bind "/host$checkout" /checkout
mount -t overlay -o lowerdir=/checkout,upperdir=/top/changed,workdir=/top/changing overlay "/root$checkout"
mkdir -p "/root$vm/shared" "/root/lib/modules/$(uname -r)"
mount -o move /shared "/root$vm/shared"
run=$vm/shared/$run
export run
mount -o bind "/host$vm/kernel/lib/modules/$(uname -r)" "/root/lib/modules/$(uname -r)"
umount /proc
exec switch_root /root /bin/bash "$run/init"
INIT
  chmod +x "$tree/init"
  (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$1/initrd"
}

mkdir -p "$vm"
# Made by another version of this script, it may lack something.
if [ -d "$vm/kernel" ] && ! cmp -s scripts/vm-kernel.sh "$vm/kernel/made-by"; then rm -r "$vm/kernel"; fi
[ -d "$vm/kernel" ] || unpack_kernel
