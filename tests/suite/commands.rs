//! The command line, and the examples that come with Weft.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use weft_testkit::{Feature, Host, HostState, Outside, Suite, require};

fn examples() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conflist-examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "conflist")
    });
    files.sort();
    files
}

fn weft(suite: &Suite, host: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(suite.bin_dir.join("weft"));
    command
        .args(arguments)
        .env("WEFT_STATE_DIR", host.state_dir())
        .env("WEFT_DATA_DIR", host.data_dir())
        .env("NETCONFPATH", host.dir().join("conf"))
        .env("CNI_PATH", &suite.bin_dir);
    host.run(|| command.output().unwrap())
}

#[track_caller]
fn ok(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every example is what its network needs: two containers reach each other, and outside where it
/// masquerades; afterwards nothing is left.
#[test]
fn every_example_works() {
    let suite = Suite::weft();
    assert!(examples().len() >= 4);
    for file in examples() {
        let text = std::fs::read_to_string(&file).unwrap();
        let conf: Value = serde_json::from_str(&text).unwrap();
        if text.contains("\"vlan\"")
            && !require(Feature::BridgeVlanFiltering, &file.display().to_string())
        {
            continue;
        }
        let host = Host::new();
        let outside = Outside::join(&host);
        host.sh("ip link add eth1 type veth peer name wire1 && ip link set wire1 up");
        host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        std::fs::create_dir_all(host.dir().join("conf")).unwrap();
        std::fs::copy(&file, host.dir().join("conf/example.conflist")).unwrap();
        let name = conf["name"].as_str().unwrap();
        let cache = host.dir().join("cache").display().to_string();
        let cni = |verb: &str, container: &weft_testkit::Container| {
            let path = container.path().display().to_string();
            let id = container.id();
            weft(
                &suite,
                &host,
                &[
                    "cni",
                    verb,
                    name,
                    &path,
                    "--container-id",
                    id,
                    "--cache-dir",
                    &cache,
                ],
            )
        };
        ok(&weft(
            &suite,
            &host,
            &["config", "check", file.to_str().unwrap()],
        ));
        let (a, b) = (host.container(), host.container());
        ok(&cni("add", &a));
        let result: Value = serde_json::from_str(&ok(&cni("add", &b))).unwrap();
        ok(&cni("check", &a));
        for ip in result["ips"].as_array().into_iter().flatten() {
            let address = ip["address"].as_str().unwrap().split('/').next().unwrap();
            let isolated = text.contains("portIsolation");
            assert_eq!(
                a.succeeds(&format!("ping -n -c 2 -i 0.2 -W 1 {address}")),
                !isolated,
                "{} {address}",
                file.display()
            );
        }
        if text.contains("ipMasq") {
            assert!(a.reaches("192.0.2.1"), "{}", file.display());
        }
        ok(&weft(&suite, &host, &["cni", "status", name]));
        ok(&cni("del", &a));
        ok(&cni("del", &b));
        let dump = host.store().read(|t| t.dump()).unwrap();
        assert!(
            dump.attachments.is_empty() && dump.leases.is_empty(),
            "{}: {dump:?}",
            file.display()
        );
        drop(outside);
    }
}

#[test]
fn the_runtimes_side_drives_the_reference_too() {
    let suite = Suite::weft();
    let host = Host::new();
    std::fs::create_dir_all(host.dir().join("conf")).unwrap();
    let mut conf = Suite::reference().network_conf("ref", "10.6.0.0/24", host.dir());
    conf["cniVersion"] = "0.4.0".into();
    std::fs::write(host.dir().join("conf/ref.conf"), conf.to_string()).unwrap();
    let container = host.container();
    let path = container.path().display().to_string();
    let cache = host.dir().join("cache").display().to_string();
    let run = |verb: &str| {
        weft(
            &suite,
            &host,
            &[
                "cni",
                verb,
                "ref",
                &path,
                "--cache-dir",
                &cache,
                "--path",
                "/usr/lib/cni",
            ],
        )
    };
    ok(&run("add"));
    assert!(container.reaches("10.6.0.1"));
    ok(&run("check"));
    ok(&run("del"));
    assert!(!container.succeeds("ip link show eth0"));
}

#[test]
fn errors_say_what_to_do() {
    let suite = Suite::weft();
    let host = Host::new();
    let output = weft(&suite, &host, &["cni", "add", "nosuch", "/run/netns/x"]);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with("weft: ") && !stderr.contains("panicked"),
        "{stderr}"
    );
}

#[test]
fn collecting_by_hand_spares_the_living() {
    let suite = Suite::weft();
    let host = Host::new();
    std::fs::create_dir_all(host.dir().join("conf")).unwrap();
    let mut conf = suite.network_conf("net", "10.1.0.0/24", host.dir());
    conf["cniVersion"] = "1.1.0".into();
    std::fs::write(host.dir().join("conf/net.conf"), conf.to_string()).unwrap();
    let cache = host.dir().join("cache").display().to_string();
    let container = host.container();
    let path = container.path().display().to_string();
    ok(&weft(
        &suite,
        &host,
        &["cni", "add", "net", &path, "--cache-dir", &cache],
    ));
    ok(&weft(
        &suite,
        &host,
        &["cni", "gc", "net", "--cache-dir", &cache],
    ));
    assert!(
        container.reaches("10.1.0.1"),
        "without a list only the dead are collected"
    );
    let before = HostState::of(&host);
    ok(&weft(
        &suite,
        &host,
        &["cni", "gc", "net", "--all", "--cache-dir", &cache],
    ));
    assert!(!before.differences(&HostState::of(&host)).is_empty());
    assert!(!container.succeeds("ip link show eth0"));
}
