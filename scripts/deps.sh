#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, and unpacks the kernel of the virtual
# machine; does nothing if they are there.
set -euo pipefail

packages=(
  gcc g++ libc6-dev make                        # building; g++ for the fuzzing runtime
  iproute2 iputils-ping procps util-linux       # namespaces, pings, sysctls in tests
  nftables iptables                             # reading rules in tests; the reference needs iptables
  strace tcpdump python3 time                   # killing at system calls, watching packets, memory
  podman conmon runc containerd busybox-static  # real runtimes
  containernetworking-plugins                   # the reference plugins: oracle and rival
  qemu-system-x86 kmod xz-utils                 # a machine with Debian's kernel, for what others lack
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
    missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "make deps: missing ${missing[*]}; run it as root" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
scripts/vm-kernel.sh
