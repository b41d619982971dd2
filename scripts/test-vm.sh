#!/usr/bin/env bash
# test-vm.sh [all | core | covered]: the integration tests under Debian's kernel, where nothing may be skipped. `core` is
# what `make test` runs. `all` leaves out tests whose result does not depend on the kernel, or that run with another driver,
# and kills a dozen times in each crash test, because this machine is about twenty times slower. `covered` runs
# nothing: it fails if a test that was skipped on the host (WEFT_SKIP_LOG) is not in the core.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --locked -q -p weft-tests --test suite --no-run
program=$(cargo test --locked -p weft-tests --test suite --no-run 2>&1 | sed -n 's/.*(\(target[^)]*\))$/\1/p')
export WEFT_REQUIRE=all WEFT_FEW_CRASHES=1 RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
# A slow machine is no failure; one that hangs ends long before whoever waits for it loses patience.
export VM_TIMEOUT=${VM_TIMEOUT:-2700}
everywhere=(checkout:: layers:: dependencies:: docs:: bad_input:: commands:: ipam:: store:: leaving:: put_back:: neighbours::
  conformance::bridge conformance::macvlan conformance::the_suite crash:: crash_chained:: concurrency:: runtimes:: host:: macvlan::
  examples::host examples::macvlan_)
# What that leaves out for being alike in name, or with others of its kind that have a kernel elsewhere.
only=(crash::ipvlan crash::macvlan_vlan concurrency::a_storm_of_ipvlans runtimes::podman_runs_containers_on_an
  localhost:: macvlan::vlan_ examples::macvlan_vlan)
# What was skipped on a kernel without ipvlan, 802.1Q and VLAN filtering, and what rests most on this one's nf_tables.
core=(ipvlan macvlan_vlan macvlan::vlan_ examples::vlan vlan::closed_ vlan::containers_ vlan::the_ vlan::trunks_
  bandwidth:: localhost:: first_packet:: spoofing::nothing_ isolation::full_ isolation::peer_ isolation::a_rule_
  masquerade::outside_ masquerade::a_flushed_ portmap::a_published_ portmap::nothing_ policy::rules_open_
  overlay_routed::a_slow_ overlay_routed::containers_ warp:: firewall::networks_ firewall_state::what_is_ tuning::settings_ bridge::containers_ gateway::forwarding_)
run="unshare --mount --propagation private $program"
case ${1:-all} in
  core) lists="$run ${core[*]}" ;;
  covered)
    listed=$("$program" --list "${core[@]}")
    sed -n 's/^SKIPPED \([^ ]*\): .*/\1/p' "${WEFT_SKIP_LOG:-/dev/null}" | while read -r name; do
      grep -qxF "$name: test" <<<"$listed" ||
        { echo "test-vm.sh: $name was skipped, and the core lacks it" >&2 && exit 1; }
    done
    exit
    ;;
  all) lists="$run ${everywhere[*]/#/--skip } && $run ${only[*]}" ;;
  *) echo "usage: $0 [all | core | covered]" >&2 && exit 2 ;;
esac
exec scripts/vm.sh "
  echo \"Linux \$(uname -r), in a virtual machine\"
  $lists
"
