//! A host's whole networking state as comparable text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::Host;

/// A snapshot: links, addresses, routes, rules, nft, sysctls, Weft's store. What moves by itself
/// (counters, timers, carrier, link-local addresses on their way) is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    parts: BTreeMap<&'static str, Vec<String>>,
}

impl HostState {
    /// Takes one.
    pub fn of(host: &Host) -> Self {
        let mut parts = host.run(|| {
            let (links, addresses) = links_and_addresses();
            let rules = [lines("ip rule"), lines("ip -6 rule")].concat();
            BTreeMap::from([
                ("links", links),
                ("addresses", addresses),
                ("routes", lines("ip -o route show table all")),
                ("rules", rules),
                ("nft", lines("nft --stateless list ruleset")),
                ("queues", lines("tc qdisc show")),
                ("sysctls", sysctls()),
            ])
        });
        for (name, part) in &mut parts {
            // What an interface has that was up once, and does not have that never was.
            if *name == "queues" {
                part.retain(|line| !line.contains("noqueue"));
            }
            if *name == "routes" {
                part.retain(|line| !line.contains("fe80::") && !line.contains("ff00::"));
                for line in part.iter_mut() {
                    *line = line.replace(" linkdown", "");
                }
            }
            part.sort();
        }
        parts.insert("store", store(host));
        parts.insert("files", files(&host.data_dir()));
        Self { parts }
    }

    /// The lines that one has and the other lacks; empty if they are equal.
    pub fn differences(&self, later: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, before) in &self.parts {
            let after = &later.parts[name];
            let gone = before.iter().filter(|line| !after.contains(line));
            differences.extend(gone.map(|line| format!("- {name}: {line}")));
            let new = after.iter().filter(|line| !before.contains(line));
            differences.extend(new.map(|line| format!("+ {name}: {line}")));
        }
        differences
    }

    /// Requires that a host is as it was.
    #[track_caller]
    pub fn assert_same(&self, host: &Host, what: &str) {
        let differences = self.differences(&Self::of(host));
        assert!(
            differences.is_empty(),
            "{what}: the host has changed:\n{}",
            differences.join("\n")
        );
    }
}

/// What a program prints. Thousands of snapshots are taken: without a shell. Two snapshots of nothing
/// would be the same, so it must succeed.
fn printed(line: &str) -> Vec<u8> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let output = command.args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    output.stdout
}

fn lines(command: &str) -> Vec<String> {
    String::from_utf8_lossy(&printed(command))
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// All interfaces with their addresses. An IPv6 address has its local route only when duplicate address
/// detection is over, so that is awaited: call this before reading routes.
fn links_and_addresses() -> (Vec<String>, Vec<String>) {
    let read = || -> Vec<Value> { serde_json::from_slice(&printed("ip -j -d addr")).unwrap() };
    let mut all = read();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut has_waited = false;
    while Instant::now() < deadline && all.iter().any(has_tentative) {
        thread::sleep(Duration::from_millis(100));
        all = read();
        has_waited = true;
    }
    if has_waited {
        // The kernel takes the flag away a moment before it adds the route.
        thread::sleep(Duration::from_millis(50));
    }
    (all.iter().map(link).collect(), addresses(&all))
}

fn link(link: &Value) -> String {
    let text = |key: &str| link[key].to_string();
    let is_up = link["flags"]
        .as_array()
        .is_some_and(|flags| flags.contains(&"UP".into()));
    let keys = [
        "ifname",
        "ifalias",
        "mtu",
        "master",
        "address",
        "group",
        "promiscuity",
    ];
    let fields: Vec<String> = keys
        .iter()
        .map(|key| format!("{key}={}", text(key)))
        .collect();
    format!(
        "{} up={is_up} {}",
        fields.join(" "),
        link["linkinfo"]["info_kind"]
    )
}

/// The addresses, link-local ones left out.
fn addresses(links: &[Value]) -> Vec<String> {
    let mut all = Vec::new();
    for link in links {
        for address in link["addr_info"].as_array().into_iter().flatten() {
            if address["scope"] == "link" && address["family"] == "inet6" {
                continue;
            }
            all.push(format!(
                "{} {}/{}",
                link["ifname"], address["local"], address["prefixlen"]
            ));
        }
    }
    all
}

fn has_tentative(link: &Value) -> bool {
    let mut addresses = link["addr_info"].as_array().into_iter().flatten();
    addresses.any(|address| {
        address["scope"] != "link" && address["tentative"] == true && address["dadfailed"] != true
    })
}

/// The parameters Weft could have touched, of every interface.
fn sysctls() -> Vec<String> {
    let mut all = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let Ok(entries) = fs::read_dir(format!("/proc/sys/net/{family}/conf")) else {
            continue;
        };
        for entry in entries.flatten() {
            let names: &[&str] = match family {
                "ipv4" => &["forwarding", "arp_notify", "route_localnet", "rp_filter"],
                _ => &[
                    "forwarding",
                    "accept_ra",
                    "disable_ipv6",
                    "accept_dad",
                    "keep_addr_on_down",
                ],
            };
            for name in names {
                let path = entry.path().join(name);
                let value = fs::read_to_string(&path).unwrap_or_default();
                all.push(format!("{} = {}", path.display(), value.trim()));
            }
        }
    }
    all
}

fn store(host: &Host) -> Vec<String> {
    let dump = host.store().read(|transaction| {
        let dump = transaction.dump()?;
        let idle = transaction.idle_objects()?;
        Ok::<_, weft_store::StoreError>((dump, idle))
    });
    match dump {
        Ok((dump, idle)) => {
            let mut all = vec![format!("idle {idle:?}")];
            all.extend(dump.attachments.iter().map(|record| format!("{record:?}")));
            all.extend(dump.leases.iter().map(|lease| format!("{lease:?}")));
            all.extend(dump.shared.iter().map(|state| format!("{state:?}")));
            all
        }
        Err(error) => vec![format!("unreadable: {error}")],
    }
}

fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        all.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            all.extend(files(&entry.path()));
        }
    }
    all
}
