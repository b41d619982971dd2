//! Kernel parameters of a container, by the names people write: `net.ipv4.ip_forward`,
//! `net/ipv4/conf/eth0.5/arp_notify`, with IFNAME for the container's interface.
//!
//! Why it is so: docs/decisions/interfaces.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex_lite::Regex;
use serde_json::Value;
use weft_cni::Request;
use weft_cni::conf::{Fields, KeySpec};
use weft_kernel::sysctl;
use weft_node::{Container, WeftError};

/// `sysctl`.
pub const SYSCTL: KeySpec = KeySpec::new(
    "sysctl",
    "object",
    "",
    "kernel parameters of the container below net, set before the interface is up; `IFNAME` in a name stands for the interface",
);

/// Parameters to be set, by name with slashes below `/proc/sys`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sysctls(BTreeMap<String, String>);

impl Sysctls {
    /// Reads the key `sysctl`.
    pub fn read(fields: &Fields<'_>, request: &Request) -> Self {
        let mut sysctls = Self::default();
        sysctls.extend(fields, request);
        sysctls
    }

    /// Adds those of another object's key `sysctl`, which replace what is there. The administrator
    /// of the host may have said which are allowed.
    pub fn extend(&mut self, fields: &Fields<'_>, request: &Request) {
        let Some(map) = fields.map(SYSCTL).filter(|map| !map.is_empty()) else {
            return;
        };
        let (path, problems) = (fields.at(SYSCTL), fields.problems());
        // STATUS and GC have no interface: there only the rest can be judged.
        let ifname = request.env.get("CNI_IFNAME").unwrap_or_default();
        let ifname = if ifname.is_empty() { "IFNAME" } else { ifname };
        let allowed = Allowlist::read(&request.env.sysctl_allowlist());
        let allowed = allowed.unwrap_or_else(|text| {
            problems.conflict(text);
            Allowlist::default()
        });
        let mut named = BTreeSet::new();
        for (name, value) in map {
            let at = format!("{path}.{name}");
            if !allowed.allows(name) {
                let list = request.env.sysctl_allowlist();
                problems.conflict(format!("{at}: is not allowed by {}", list.display()));
                continue;
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    problems.invalid(&at, value, "must be a string or a number");
                    continue;
                }
            };
            match path_of(name, ifname) {
                Some(path) if !named.insert(path.clone()) => {
                    problems.conflict(format!("{at}: is named twice, with other separators"));
                }
                Some(path) => drop(self.0.insert(path, text)),
                None => problems.invalid(&at, &"", "must name a parameter below net"),
            }
        }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The same, owned.
    pub fn to_list(&self) -> Vec<(String, String)> {
        let pairs = self.iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets them in a container.
    pub fn apply(&self, container: &Container) -> Result<(), WeftError> {
        if self.is_empty() {
            return Ok(());
        }
        let write_all = || {
            self.iter()
                .try_for_each(|(name, value)| sysctl::write(name, value))
        };
        Ok(container.run(write_all)??)
    }
}

/// Which parameters may be set: regular expressions, one a line; none means all.
#[derive(Debug, Default)]
struct Allowlist(Option<Vec<Regex>>);

impl Allowlist {
    fn read(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let compiled = lines.map(|line| {
            Regex::new(line).map_err(|error| format!("{}: {line}: {error}", path.display()))
        });
        Ok(Self(Some(compiled.collect::<Result<_, _>>()?)))
    }

    fn allows(&self, name: &str) -> bool {
        match &self.0 {
            None => true,
            Some(list) => list.iter().any(|expression| expression.is_match(name)),
        }
    }
}

/// A parameter's path below `/proc/sys`. As with sysctl(8) the first separator decides what the
/// other one means. Only what a network namespace has of its own may be changed.
fn path_of(name: &str, ifname: &str) -> Option<String> {
    let first = name.find(['.', '/'])?;
    let path = if name.as_bytes().get(first) == Some(&b'.') {
        // A slash then stands for a dot in an interface's name.
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    } else {
        name.to_owned()
    };
    let path = path.replace("IFNAME", ifname);
    let is_safe = path
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'));
    (is_safe && path.starts_with("net/")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_below_net() {
        let path = |name| path_of(name, "eth0.5");
        assert_eq!(
            path("net.ipv4.ip_forward").as_deref(),
            Some("net/ipv4/ip_forward")
        );
        for name in [
            "net.ipv4.conf.IFNAME.arp_notify",
            "net/ipv4/conf/IFNAME/arp_notify",
            "net.ipv4.conf.eth0/5.arp_notify",
        ] {
            let wanted = Some("net/ipv4/conf/eth0.5/arp_notify");
            assert_eq!(path(name).as_deref(), wanted, "{name}");
        }
        for name in [
            "",
            "net",
            "kernel.hostname",
            "net/../kernel/hostname",
            "net..ipv4",
            "/net/ipv4",
            "net/ipv4/",
            "netto.a",
        ] {
            assert_eq!(path(name), None, "{name}");
        }
    }
}
