//! Which crate may use which, and what files may look like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The layer of each crate, by its folder: a crate uses only crates of lower layers.
fn layer(folder: &str) -> u8 {
    match folder {
        "lib/cni" => 1,
        "lib/kernel" | "lib/store" | "lib/api" => 2,
        "lib/node" => 3,
        "lib/ipam" | "lib/firewall" => 4,
        "lib/attach" => 5,
        "lib/vnet" => 6,
        "weft" | DAEMON => 7,
        "lib/testkit" => 8,
        "tests" => 9,
        folder if CORES.contains(&folder) => 3,
        folder if folder.starts_with("plugins/") => 6,
        other => panic!("{other} has no layer: name one in this test"),
    }
}

/// Protocol cores: inputs and outputs are values, so that they can be tested without root and without waiting.
const CORES: [&str; 4] = ["lib/dns", "lib/dhcp", "lib/overlay", "lib/warp"];
/// A program of its own, which alone may use an asynchronous runtime.
const DAEMON: &str = "plugins/dns-sidecar";
const ASYNCHRONOUS: [&str; 4] = ["tokio", "async-std", "mio", "futures"];
/// What a protocol core does not see of the world.
const WORLD: [&str; 6] = [
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "Instant::now",
    "SystemTime::now",
];

#[test]
fn crates_use_only_lower_layers() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut folders = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
        folders.insert(
            package["name"].as_str().unwrap(),
            folder.to_str().unwrap().to_owned(),
        );
    }
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let own = layer(&folders[name]);
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            if let Some(folder) = folders.get(used).filter(|_| used != name) {
                assert!(
                    layer(folder) < own,
                    "{name} uses {used}, which is not of a lower layer"
                );
            }
            assert!(
                !ASYNCHRONOUS.contains(&used) || folders[name] == DAEMON,
                "{name} uses {used}: only the daemon does"
            );
            assert!(
                used != "nix" || !CORES.contains(&folders[name].as_str()),
                "{name} uses {used}: a protocol core asks the system for nothing"
            );
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn protocol_cores_see_neither_sockets_nor_clocks() {
    for core in CORES {
        let mut files = Vec::new();
        let dir = root().join(core);
        if dir.is_dir() {
            sources(&dir, &mut files);
        }
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in WORLD {
                assert!(!text.contains(word), "{} uses {word}", file.display());
            }
        }
    }
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if text.starts_with("// This file is @generated") {
            continue;
        }
        assert!(lines <= 600, "{} has {lines} lines", file.display());
        let name = file.file_stem().unwrap().to_str().unwrap();
        let vague = [
            "util", "utils", "common", "helpers", "misc", "manager", "mod",
        ];
        assert!(
            !vague.contains(&name),
            "{} is named for nothing",
            file.display()
        );
        let is_plugin =
            file.starts_with(root().join("plugins")) && !file.starts_with(root().join(DAEMON));
        let is_program = name == "main" && is_plugin;
        assert!(!is_program, "{}: plugins are libraries", file.display());
    }
}
