//! Real runtimes: Podman (CNI backend), containerd's ctr and its CRI, each in a throw-away host.

use std::path::Path;
use std::process::Command;

use weft_testkit::{Feature, Suite, require};

/// Runs a script of checks in a throw-away host; it prints PASS and FAIL lines.
fn checks(script: &str, conflist: &str, dual_stack: bool) {
    let bin = Suite::weft().bin_dir;
    let with_others = format!("{}:/usr/lib/cni", bin.display());
    checks_with(&with_others, script, conflist, dual_stack);
}

/// The same with the plugins of these directories.
fn checks_with(bin_dirs: &str, script: &str, conflist: &str, dual_stack: bool) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtimes");
    let mut command = Command::new(here.join("isolated-host.sh"));
    command
        .arg(here.join(script))
        .arg(here.join(conflist))
        .env("WEFT_BIN_DIR", bin_dirs)
        .env("WEFT_RT_COVER", "/var/lib/weft")
        .env("WEFT_STATE_CMD", "/opt/cni/bin/weft store dump");
    if dual_stack {
        command.env("V6", "1");
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = text.lines().filter(|line| line.starts_with("PASS")).count();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{stderr}");
    assert!(passed >= 15, "only {passed} checks: {text}");
    println!("{script} {conflist}: {passed} checks passed");
}

#[test]
fn podman_runs_containers_on_weft() {
    checks("podman.sh", "weft-v4.conflist", false);
}

#[test]
fn podman_runs_containers_on_weft_with_both_families() {
    checks("podman.sh", "weft-dual.conflist", true);
}

#[test]
fn podman_publishes_ports_of_a_container_in_two_networks() {
    checks("podman-two-networks.sh", "weft-dual.conflist", true);
}

#[test]
fn podman_uses_networks_that_weft_has_made() {
    checks("networks.sh", "weft-v4.conflist", false);
}

#[test]
fn podmans_containers_find_each_other_by_name() {
    checks("podman-dns.sh", "weft-v4.conflist", false);
}

#[test]
fn podman_runs_containers_in_overlays() {
    checks("podman-overlay.sh", "weft-v4.conflist", false);
}

/// Docker and its own networks: weftd alone is Weft's.
#[test]
fn dockers_containers_are_led_through_others() {
    checks("warp-docker.sh", "weft-v4.conflist", false);
}

/// Podman's containers on networks of other plugins, by the API of its service.
#[test]
fn podmans_containers_are_led_through_others() {
    checks("warp-podman.sh", "weft-v4.conflist", false);
}

/// The same by weft-warp in the chain of a network of Weft's, on a host that drops by default.
#[test]
fn podmans_chains_lead_containers_through_others() {
    checks("warp-chain.sh", "weft-v4.conflist", false);
}

#[test]
fn podman_runs_containers_on_a_macvlan() {
    checks("podman.sh", "weft-macvlan.conflist", false);
}

#[test]
fn podman_runs_containers_on_an_ipvlan() {
    if require(
        Feature::Ipvlan,
        "runtimes::podman_runs_containers_on_an_ipvlan",
    ) {
        checks("podman.sh", "weft-ipvlan.conflist", false);
    }
}

#[test]
fn ctr_runs_containers_on_weft() {
    checks("ctr.sh", "weft-v4.conflist", false);
}

#[test]
fn ctr_runs_containers_on_weft_with_both_families() {
    checks("ctr.sh", "weft-dual.conflist", true);
}

/// As on a Kubernetes node: containerd itself calls a plugin named `loopback`, and there is none but Weft's.
#[test]
fn containerds_cri_runs_pods_with_no_other_plugins() {
    let bin = Suite::weft().bin_dir;
    checks_with(bin.to_str().unwrap(), "cri.sh", "weft-dual.conflist", true);
}
