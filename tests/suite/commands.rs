//! The command line.

use std::process::{Command, Output};

use weft_testkit::{Host, HostState, Suite};

pub(crate) fn weft(suite: &Suite, host: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(suite.bin_dir.join("weft"));
    command
        .args(arguments)
        .env("WEFT_STATE_DIR", host.state_dir())
        .env("WEFT_DATA_DIR", host.data_dir())
        .env("WEFT_POLICY_DIR", host.policy_dir())
        .env("WEFT_CONFIG", host.dir().join("weft.toml"))
        .env("WEFT_CACHE_DIR", host.dir().join("cache"))
        .env("NETCONFPATH", host.dir().join("conf"))
        .env("CNI_PATH", &suite.bin_dir);
    host.run(|| command.output().unwrap())
}

#[track_caller]
pub(crate) fn ok(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
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

/// Runtimes call the program by its names in a directory; what a killed call has left there goes.
#[test]
fn a_directory_gets_the_names() {
    let suite = Suite::weft();
    let directory = tempfile::tempdir().unwrap();
    let link = |arguments: &[&str]| {
        let mut command = Command::new(suite.bin_dir.join("weft"));
        let path = directory.path().as_os_str();
        command.args(["plugins", "link"]).args(arguments).arg(path);
        command.output().unwrap()
    };
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::symlink_metadata(directory.path().join(name)).ok()?;
        Some(meta.ino())
    };
    std::fs::write(directory.path().join(".weft-new-4194305"), "half").unwrap();
    std::fs::write(directory.path().join("bridge"), "the reference's").unwrap();
    std::fs::create_dir(directory.path().join("weft-bandwidth")).unwrap();

    let output = link(&[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("weft-bandwidth"),
        "{error}"
    );
    let program = inode("weft");
    for name in ["weft-bridge", "weft-tuning", "weft-ipam", "loopback"] {
        assert_eq!(inode(name), program, "{name}");
    }
    assert_ne!(inode("bridge"), program);
    std::fs::remove_dir(directory.path().join("weft-bandwidth")).unwrap();

    ok(&link(&["--other-names"]));
    let program = inode("weft");
    for name in ["weft-bandwidth", "bridge", "host-local"] {
        assert_eq!(inode(name), program, "{name}");
    }
    let list = Command::new(directory.path().join("weft"))
        .args(["plugins", "list"])
        .output()
        .unwrap();
    let list = ok(&list);
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in &names {
        assert!(
            name == "weft" || list.contains(name.as_str()),
            "{name}: {list}"
        );
    }
}
