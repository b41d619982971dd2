#!/usr/bin/env bash
# The integration tests under Debian's kernel, where nothing may be skipped. Left out is what says
# the same everywhere (what Weft reads, writes, gives away and shares), or has said it about another driver; of the
# crash tests a dozen kills each, because this machine is about twenty times slower.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --locked -q -p weft-tests --test suite --no-run
program=$(cargo test --locked -p weft-tests --test suite --no-run 2>&1 | sed -n 's/.*(\(target[^)]*\))$/\1/p')
export WEFT_REQUIRE=all WEFT_FEW_CRASHES=1 RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
# A slow machine is no failure; one that hangs ends long before whoever waits for it loses patience.
export VM_TIMEOUT=${VM_TIMEOUT:-2700}
everywhere=(layers:: dependencies:: docs:: bad_input:: commands:: ipam:: store:: leaving:: put_back:: neighbours::
  conformance::bridge conformance::macvlan conformance::the_suite crash:: concurrency:: runtimes:: host:: macvlan::
  examples::host examples::macvlan_)
only=(crash::ipvlan crash::macvlan_vlan concurrency::a_storm_of_ipvlans runtimes::podman_runs_containers_on_an
  localhost:: macvlan::vlan_ examples::macvlan_vlan)
scripts/vm.sh "
  echo \"Linux \$(uname -r), in a virtual machine\"
  unshare --mount --propagation private $program ${everywhere[*]/#/--skip } && \
  unshare --mount --propagation private $program ${only[*]}
"
