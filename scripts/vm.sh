#!/usr/bin/env bash
# vm.sh COMMAND...: runs a shell command as root under Debian 12's own kernel, which has what the
# kernel of a build machine may lack (ipvlan, 8021q, vrf, ...). Needs no KVM, it is only slower.
# The guest sees the host's files, copy on write: of what it changes only target/vm/shared remains.
# Its stdin is empty, stderr goes where stdout goes, WEFT_* are passed on.
#
#   VM_TIMEOUT   seconds until the machine is killed (1500)
#   VM_MEMORY    its memory (4G)
set -euo pipefail
cd "$(dirname "$0")/.."
vm=$PWD/target/vm

die() { echo "vm.sh: $*" >&2; exit 125; }
[ $# -gt 0 ] || die "usage: vm.sh COMMAND..."

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
  mv -T "$new" "$vm/kernel" 2>/dev/null || rm -r "$new" # another run was first
}

# Just enough to mount the host's files.
make_initrd() {
  local tree=$1/initrd.d module
  mkdir -p "$tree"/{bin,proc,host,top,root}
  cp "$(command -v busybox)" "$tree/bin/"
  for module in virtio_pci virtio_console 9pnet_virtio 9p overlay; do
    modprobe -d "$1" -S "$2" --show-depends "$module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    cp "$module" "$tree/"
    echo "insmod /${module##*/}"
  done >"$tree/modules"
  # The kernel makes the vm= and run= of its command line environment variables.
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
mkdir -p "/root$vm/shared" "/root/lib/modules/$(uname -r)"
mount -t 9p -o "$p9" shared "/root$vm/shared"
mount -o bind "/host$vm/kernel/lib/modules/$(uname -r)" "/root/lib/modules/$(uname -r)"
umount /proc
exec switch_root /root /bin/bash "$run/init"
INIT
  chmod +x "$tree/init"
  (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$1/initrd"
}

mkdir -p "$vm/shared"
[ -d "$vm/kernel" ] || unpack_kernel

run=$(mktemp -d "$vm/shared/run.XXXXXX")
trap 'kill "${machine:-}" 2>/dev/null || true; rm -r "$run"' EXIT
trap 'exit 130' INT TERM HUP

{
  printf 'cd %q\nexport HOME=%q PATH=%q\nunset vm run\n' "$PWD" "$HOME" "$PATH"
  for name in "${!WEFT_@}"; do printf 'export %s=%q\n' "$name" "${!name}"; done
  printf '%s\n' "$*"
} >"$run/command"
# cat: a port opens only once, but a command may open /dev/stderr.
cat >"$run/init" <<'INIT'
mount -t proc proc /proc
ln -s /proc/self/fd /dev/fd
for i in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${i%:*}" "/dev/${i#*:}"; done
ip link set lo up
{ bash "$run/command"; echo $? >"$run/rc"; } </dev/null 2>&1 | cat >/dev/vport*p1
mv "$run/rc" "$run/status"
poweroff -f
INIT

options=(
  -machine q35 -cpu max -accel tcg,thread=multi -smp "$(nproc)" -m "${VM_MEMORY:-4G}"
  -nodefaults -no-user-config -display none -no-reboot
  -kernel "$vm/kernel/vmlinux" -initrd "$vm/kernel/initrd"
  -append "console=ttyS0 panic=-1 mitigations=off vm=$vm run=$run"
  -serial "file:$run/console"
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap
  -virtfs "local,path=$vm/shared,mount_tag=shared,security_model=none"
  # Not stdio: at the end of its stdin that stops writing, and the guest would wait for ever.
  -device virtio-serial -chardev file,id=out,path=/dev/stdout,append=on
  -device virtserialport,chardev=out
)
# In the background, so that a signal to this script is acted upon at once; and the machine goes
# when we do, whatever the reason. cat: qemu opens its stdout anew, which a socket would refuse.
{ setpriv --pdeathsig TERM timeout -k 5 "${VM_TIMEOUT:-1500}" qemu-system-x86_64 "${options[@]}" </dev/null | cat; } &
machine=$!
rc=0
wait "$machine" || rc=$?
if [ -e "$run/status" ]; then exit "$(cat "$run/status")"; fi
tail -n 20 "$run/console" >&2 || true
if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then die "killed after ${VM_TIMEOUT:-1500} s (VM_TIMEOUT)"; fi
die "the machine stopped without a result (qemu: $rc)"
