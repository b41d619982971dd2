#!/usr/bin/env bash
# Writes a script for the linker: the functions that calls of the plugins run, put next
# to each other: every page that a short process touches is a page fault. The calls are those of a
# chain as Podman writes it and of a closed network, watched by valgrind, on a host of their own (a
# network namespace).
set -euo pipefail
cd "$(dirname "$0")/.."
output=$1

# As make builds it, but with the names of its functions.
target=$(scripts/target.sh)
program=$PWD/target/order/$target/release/weft
if [ -z "${WEFT_ORDER_HOST:-}" ]; then
  cargo build --quiet --locked --release --target "$target" -p weft --target-dir target/order \
    --config 'profile.release.strip="none"'
  exec env WEFT_ORDER_HOST=1 unshare --net --mount --propagation private "$0" "$output"
fi

mount -t tmpfs tmpfs /run
ip link set lo up
mkdir -p /run/programs /run/watched /run/traces /run/conf
for plugin in bridge portmap firewall tuning; do
  ln -s "$program" "/run/programs/weft-$plugin"
  cat >"/run/watched/weft-$plugin" <<EOF
#!/bin/sh
exec valgrind --tool=callgrind --demangle=no --log-file=/dev/null \
  --callgrind-out-file="/run/traces/$plugin.\$CNI_COMMAND.%p" /run/programs/weft-$plugin
EOF
  chmod +x "/run/watched/weft-$plugin"
done

cp conflist-examples/full-isolation.conflist /run/conf/
cat >/run/conf/chain.conflist <<'EOF'
{ "cniVersion": "1.0.0", "name": "chain", "plugins": [
  { "type": "weft-bridge", "bridge": "cni-podman1", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": { "type": "weft-ipam", "routes": [{ "dst": "0.0.0.0/0" }],
              "ranges": [[{ "subnet": "10.89.0.0/24", "gateway": "10.89.0.1" }]] } },
  { "type": "weft-portmap", "capabilities": { "portMappings": true } },
  { "type": "weft-firewall" },
  { "type": "weft-tuning" } ] }
EOF
export NETCONFPATH=/run/conf CNI_PATH=/run/watched WEFT_STATE_DIR=/run/weft WEFT_DATA_DIR=/run/weft-data
call() {
  CAP_ARGS="{\"portMappings\":[{\"hostPort\":$4,\"containerPort\":80,\"protocol\":\"tcp\"}]}" \
    "$program" cni "$1" "$2" "/run/netns/$3" --cache-dir /run/cni >/dev/null
}
# The first of a network makes what the second one finds, and so with the last.
for network in chain weft-closed; do
  for verb in add del; do
    for container in one two; do
      [ $verb = del ] || ip netns add $container
      [ $container = one ] && port=8080 || port=8081
      call $verb "$network" $container $port
      [ $verb = add ] || ip netns del $container
    done
  done
done

nm --print-size "$program" >/run/sizes
python3 >/run/order.ld <<'EOF'
import collections, pathlib, re, sys

def pattern(name):
    """A function's section whatever the compiler's and the crates' hashes are."""
    name = re.sub(r"17h[0-9a-f]{16}E", "17h*E", name)
    name = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name)
    return name.replace("$", "?")

sizes = {}
for line in open("/run/sizes"):
    words = line.split()
    if len(words) == 4 and words[2] in "tTwW":
        sizes[words[3]] = int(words[1], 16)

# By each function, the kinds of calls that run it: a plugin's ADD or DEL.
kinds = collections.defaultdict(set)
for trace in pathlib.Path("/run/traces").iterdir():
    names, run = {}, set()
    for line in open(trace):
        if found := re.match(r"c?fn=\((\d+)\)(?: ([^'\n]*))?", line):
            number, name = found.groups()
            if name:
                names[number] = name
            if line.startswith("fn="):
                run.add(number)
    for number in run:
        kinds[names[number]].add(trace.name.rsplit(".", 1)[0])

# One pattern may stand for several instances of a generic function, of which few are run.
of = collections.defaultdict(set)
run, idle = collections.Counter(), collections.Counter()
for name, size in sizes.items():
    one = pattern(name)
    of[one] |= kinds[name]
    (run if kinds[name] else idle)[one] += size
kept = [one for one in of if of[one] and idle[one] <= run[one]]
print("/* First what every kind of call runs, last what one does. */")
print("SECTIONS\n{\n  .text.order :\n  {")
for one in sorted(kept, key=lambda one: (-len(of[one]), sorted(of[one]), one)):
    print(f"    *(.text.{one} .text.unlikely.{one})")
print("  }\n}\nINSERT BEFORE .text;")
print(f"{len(kept)} functions of {run.total() + idle.total():,} bytes: {sum(run[one] for one in kept):,} are run,",
      f"{sum(idle[one] for one in kept):,} come with them", file=sys.stderr)
EOF
cp /run/order.ld "$output"
