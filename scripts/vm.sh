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

scripts/vm-kernel.sh
mkdir -p "$vm/shared"

run=$(mktemp -d "$vm/shared/run.XXXXXX")
trap 'kill "${machine:-}" 2>/dev/null || true; rm -r "$run"' EXIT
trap 'exit 130' INT TERM HUP

# Wherever this checkout is, and whatever characters are in its path: the guest reads it from here.
printf '%s' "$vm" >"$run/vm"
{
  printf 'cd %q\nexport HOME=%q PATH=%q\nunset run\n' "$PWD" "$HOME" "$PATH"
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
  # From target/vm: a comma in a path would be qemu's.
  -kernel kernel/vmlinux -initrd kernel/initrd
  -append "console=ttyS0 panic=-1 softlockup_panic=1 watchdog_thresh=30 mitigations=off run=${run##*/}"
  -serial "file:shared/${run##*/}/console"
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap
  -virtfs local,path=shared,mount_tag=shared,security_model=none
  # Not stdio: at the end of its stdin that stops writing, and the guest would wait for ever.
  -device virtio-serial -chardev file,id=out,path=/dev/stdout,append=on
  -device virtserialport,chardev=out
)
# In the background, so that a signal to this script is acted upon at once; and the machine goes
# when we do, whatever the reason. cat: qemu opens its stdout anew, which a socket would refuse.
{ cd "$vm" && setpriv --pdeathsig TERM timeout -k 5 "${VM_TIMEOUT:-1500}" qemu-system-x86_64 "${options[@]}" </dev/null | cat; } &
machine=$!
rc=0
wait "$machine" || rc=$?
if [ -e "$run/status" ]; then exit "$(cat "$run/status")"; fi
# An emulated processor can lose itself where another one has just patched the kernel's code (seen: a
# jump label in ip_local_deliver); it is stuck for good, and the guest's watchdog says so.
if [ -z "${VM_AGAIN:-}" ] && grep -q 'soft lockup' "$run/console"; then
  echo "vm.sh: a processor of the machine got stuck in the kernel; once more" >&2
  grep -m 1 -A 8 'soft lockup' "$run/console" >&2
  rm -r "$run"
  VM_AGAIN=1 exec scripts/vm.sh "$@"
fi
tail -n 20 "$run/console" >&2 || true
if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then die "killed after ${VM_TIMEOUT:-1500} s (VM_TIMEOUT)"; fi
die "the machine stopped without a result (qemu: $rc)"
