//! Real runtimes: Podman (CNI backend) and containerd's ctr, each in a throw-away host.

use std::path::Path;
use std::process::Command;

use weft_testkit::{Feature, Suite, require};

/// Runs a script of checks in a throw-away host; it prints PASS and FAIL lines.
fn checks(script: &str, conflist: &str, dual_stack: bool) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtimes");
    let bin = Suite::weft().bin_dir;
    let mut command = Command::new(here.join("isolated-host.sh"));
    command
        .arg(here.join(script))
        .arg(here.join(conflist))
        .env("WEFT_BIN_DIR", format!("{}:/usr/lib/cni", bin.display()))
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
