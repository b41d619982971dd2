#!/usr/bin/env bash
# Installs the Debian packages that building and testing need and Rust's standard library for musl,
# and unpacks the kernel of the virtual machine and promtool; does nothing if they are there. Further packages can
# be named.
set -euo pipefail

packages=(
  gcc g++ libc6-dev make                        # building; g++ for the fuzzing runtime
  musl-tools                                    # a C compiler for the cryptography of a static program
  iproute2 iputils-ping procps util-linux       # namespaces, pings, sysctls in tests
  nftables iptables conntrack                   # reading rules and connections in tests; the reference needs iptables
  strace tcpdump python3 time                   # killing at system calls, watching packets, memory
  podman conmon runc containerd busybox-static  # real runtimes
  docker.io                                     # the same, for containers that are led through others
  wireguard-tools                               # keys and peers of a VPN gateway in tests
  python3-grpcio                                # a client of containerd's CRI
  dnsmasq-base aardvark-dns unbound dnsperf      # DHCP in tests; name servers to compare with, and their measure
  python3-dnspython                             # questions to them
  systemd                                       # systemd-analyze, for the units
  containernetworking-plugins                   # the reference plugins: oracle and rival
  iperf3                                        # bytes a second, in make bench
  qemu-system-x86 kmod xz-utils                 # a machine with Debian's kernel, for what others lack
  "$@"
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

# Without it the programs are built with glibc, and work as well (scripts/target.sh).
if ! command -v rustc >/dev/null; then
  echo "make deps: rustc is not on the PATH of $(id -un); building needs Rust (https://rustup.rs)" >&2
elif target=$(scripts/target.sh 2>/dev/null) && [[ $target != *-musl ]]; then
  musl=${target%gnu}musl
  echo "installing Rust's target $musl"
  timeout 120 rustup --quiet target add "$musl" ||
    echo "rustup cannot install $musl; going on without" >&2
fi
scripts/vm-kernel.sh
scripts/promtool.sh
