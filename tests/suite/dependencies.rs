//! What is linked: under which licences, from where, and once.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

/// Permissive only: Weft's program is static and carries everything it links.
const ALLOWED: [&str; 6] = [
    "Apache-2.0",
    "MIT",
    "Unicode-3.0",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// syn is of procedural macros only, while the ecosystem moves from one to the other; ring's getrandom is older than that of
/// databases and temporary files; a bit vector is proptest's and, of another version, that of what writes certificates.
const TWICE: [&str; 3] = ["bit-vec", "getrandom", "syn"];

/// Every package of a build, those of tests and of the build itself included; fetched if need be.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-musl"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let used: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    let all = metadata["packages"].as_array().unwrap().iter();
    let packages: Vec<Value> = all
        .filter(|package| used.contains(&package["id"].as_str().unwrap()))
        .cloned()
        .collect();
    assert!(packages.len() > 50, "only {} packages", packages.len());
    packages
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

fn is_allowed(licence: &str) -> bool {
    let may = |one: &LicenseReq| {
        let name = one.license.id().map(|id| id.name);
        name.is_some_and(|name| ALLOWED.contains(&name))
    };
    Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|parsed| parsed.evaluate(may))
}

#[test]
fn licences_are_permissive() {
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !is_allowed(text(package, "license")))
        .map(|package| format!("{}: {}", text(package, "name"), package["license"]))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    for licence in [
        "GPL-2.0",
        "MIT AND LGPL-3.0-only",
        "LGPL-2.1",
        "no licence",
        "",
    ] {
        assert!(!is_allowed(licence), "{licence:?} is allowed");
    }
    assert!(is_allowed("GPL-2.0 OR MIT"), "a choice is one");
}

#[test]
fn crates_are_the_registrys_own() {
    for package in packages() {
        let source = package["source"].as_str();
        let name = text(&package, "name");
        match source {
            Some(source) => assert_eq!(source, REGISTRY, "{name}"),
            None => assert!(name.starts_with("weft"), "{name} is from nowhere"),
        }
    }
}

#[test]
fn no_crate_is_there_twice() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let version = text(&package, "version").to_owned();
        versions
            .entry(text(&package, "name").to_owned())
            .or_default()
            .push(version);
    }
    versions.retain(|name, versions| versions.len() > 1 && !TWICE.contains(&name.as_str()));
    assert!(versions.is_empty(), "{versions:?}");
}
